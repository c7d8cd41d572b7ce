"""From templates to pages: what every page has in common."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reports import assets, numbers
from reports.inline import Sheet


def environment() -> Environment:
    """The templates, with everything escaped that is not markup of our own; for one page.

    `sheet` takes the drawings of the page; the filter `exact` is for text to be copied.
    """
    found = Environment(
        loader=FileSystemLoader(assets.TEMPLATES),
        autoescape=True,
        finalize=lambda value: numbers.isolated(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["sheet"] = Sheet()
    found.filters["exact"] = exact
    return found


def sheet(found: Environment) -> Sheet:
    """What the environment's templates keep of the drawings of their page."""
    kept = found.globals["sheet"]
    return kept if isinstance(kept, Sheet) else Sheet()


def exact(text: str) -> Markup:
    """Text to be copied: escaped, and nothing set beside its letters."""
    return escape(numbers.visible(text))


def small_page(title: str, over: str, fine: bool, sentence: str, body: str) -> str:
    """A page with one sentence at its top and `body`, which is markup, below it; all else is escaped."""
    template = environment().get_template("small.html.j2")
    return template.render(
        title=title,
        over=over,
        fine=fine,
        sentence=sentence,
        style=assets.style(),
        script=assets.script(),
        script_hash=assets.script_hash(),
        body=Markup(body),
    )
