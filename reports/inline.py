"""Drawings as parts of a page: their colours follow its theme, their ids are their own.

An image beside the page could not see whether a reader chose light or dark; a drawing in it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from reports import numbers, theme

_POINT = 4 / 3
"""CSS pixels."""

_REFERENCE = re.compile(r'( id="| href="#|url\(#)(?!shared-)')
_KNOWN = re.compile(r'( id="| href="#|url\(#)([\w.-]+)')


@dataclass(frozen=True)
class Inlined:
    """What is inside a drawing's root, its view box, and its size in CSS pixels."""

    body: str
    box: str
    width: float
    height: float


class Sheet:
    """The drawings of one page: it numbers them, and says once how all that looks alike looks."""

    MARK = "/* drawings */"
    """Where in the page's style the rules for its drawings go; the first that the page has."""

    def __init__(self) -> None:
        self._drawings = 0
        self._looks: dict[str, str] = {}

    def markup(self, drawing: Inlined, words: str) -> Markup:
        """A drawing as markup for one place on the page.

        Every id in it gets the drawing's number, but those that start with `shared-`.  words: for who cannot
        see it.
        """
        self._drawings += 1
        names = rf"\g<1>d{self._drawings}-"
        body = _in_tags(drawing.body, lambda tag: self._dressed(_REFERENCE.sub(names, tag)))
        return Markup(  # of our own making: names in it were escaped when it was drawn
            f'<svg viewBox="{drawing.box}" width="{drawing.width:.0f}" height="{drawing.height:.0f}" '
            f'role="img" aria-label="{escape(numbers.isolated(words))}">{body}</svg>'
        )

    def _dressed(self, tag: str) -> str:
        """A tag with a class in place of its style."""
        if " class=" in tag:
            return tag
        return re.sub(r' style="([^"]*)"', lambda found: f' class="{self._look(found[1])}"', tag, count=1)

    def _look(self, style: str) -> str:
        return self._looks.setdefault(re.sub(r"\s*([:;,])\s*", r"\1", style), f"s{len(self._looks)}")

    def finished(self, page: str) -> str:
        """The page with the rules for its drawings."""
        rules = "\n".join(f".{name}{{{style}}}" for style, name in self._looks.items())
        return page.replace(self.MARK, rules, 1)


def inlined(document: bytes | str) -> Inlined:
    """A standalone SVG document, as `plots.svg` and `tree_drawing.tree_svg` make them, as a part of a page.

    Its own style sheet is left out: the page's has the same rules for all drawings.  Raises `ValueError` for
    a document that has no size, or a colour that is not one of `theme.PLOT`.
    """
    text = document.decode("utf-8") if isinstance(document, bytes) else document
    root = re.match(r"<svg\b[^>]*>", text)
    size = {} if root is None else dict(re.findall(r'\b(width|height|viewBox)="([^"]*)"', root[0]))
    if root is None or len(size) < 3:
        raise ValueError(f"a drawing is an SVG with width, height and viewBox; it starts with {text[:60]!r}")
    body = text[root.end() : text.rindex("</svg>")]
    body = re.sub(r"<style\b.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = _without_bare_groups(body).replace("\n", " ").strip()
    body = _in_tags(body, _plain_tag)
    names = {name: f"{n}" for n, name in enumerate(dict.fromkeys(re.findall(r'<[^>]* id="([^"]*)"', body)))}
    body = _in_tags(body, lambda tag: _KNOWN.sub(lambda found: found[1] + names.get(found[2], found[2]), tag))
    body = re.sub(r">([^<]*)<", lambda found: f">{numbers.turned_apart(found[1])}<", body)
    return Inlined(body, size["viewBox"], *(_pixels(size[name]) for name in ("width", "height")))


def _in_tags(text: str, change: Callable[[str], str]) -> str:
    """The text with its tags changed; what stands between them may be a name and stays as it is."""
    return re.sub(r"<[^>]*>", lambda found: change(found[0]), text)


def _plain_tag(tag: str) -> str:
    """A tag in the page's colours, without the turn by nothing that matplotlib gives to every text."""
    tag = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", tag.replace("xlink:href", "href"))
    return theme.themed(tag)


def _without_bare_groups(body: str) -> str:
    """Groups without attributes group nothing: half of a plot's elements."""
    kept: list[bool] = []

    def seen(found: re.Match[str]) -> str:
        if found[0] == "</g>":
            return found[0] if kept.pop() else ""
        if not found[0].endswith("/>"):
            kept.append(found[0] != "<g>")
        return found[0] if found[0] != "<g>" else ""

    return re.sub(r"<g\b[^>]*>|</g>", seen, body)


def _pixels(length: str) -> float:
    return float(length.removesuffix("pt")) * (_POINT if length.endswith("pt") else 1.0)
