"""A table of a report as LaTeX and as Markdown: what is text stays text, whatever letters it has."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports import numbers
from reports.tables import Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
_SIGNS = {
    "≈": r"\approx", "≠": r"\neq", "×": r"\times", "·": r"\cdot", "Σ": r"\Sigma", "√": r"\surd",
    "∞": r"\infty", "γ": r"\gamma", "≤": r"\leq", "≥": r"\geq", "→": r"\rightarrow", "±": r"\pm",
    "‖": r"\Vert", "✗": r"\times", "−": "-", "ₙ": "_{n}", "μ": r"\mu", "σ": r"\sigma",
}  # fmt: skip
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_TEXT = {"–": "--", "—": "---", "…": r"\ldots{}", "\u2009": r"\,", "“": "``", "”": "''"}
_LETTERS = {**_SPECIAL, **{sign: f"${words}$" for sign, words in _SIGNS.items()}, **_TEXT}


def latex_text(text: str) -> str:
    """Text for LaTeX: what it would read as a command is escaped, signs of mathematics are set as such.

    Letters of other scripts stay as they are: LaTeX reads UTF-8.
    """
    flat = " ".join(numbers.visible(text).split())
    parts = re.split("([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", flat)  # every other part is an exponent
    return "".join(
        f"$^{{{part.translate(_RAISED)}}}$" if number % 2 else "".join(_LETTERS.get(c, c) for c in part)
        for number, part in enumerate(parts)
    )


def latex(table: Table) -> str:
    """The table in the style of `booktabs`, breaking over pages (`longtable`), with its caption and note.

    Needs the packages booktabs and longtable.  Columns of numbers are aligned right; text that is long gets a
    column of a width of its own.
    """
    spec = "".join(_align(table, place) for place in range(len(table.heads)))
    heads = " & ".join(rf"\textbf{{{latex_text(head.text)}}}" for head in table.heads)
    lines = [
        "% needs \\usepackage{booktabs,longtable}",
        rf"\begin{{longtable}}{{{spec}}}",
        rf"\caption{{{latex_text(_caption(table))}}}\\",
        r"\toprule", heads + r" \\", r"\midrule", r"\endfirsthead",
        r"\toprule", heads + r" \\", r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot",
    ]  # fmt: skip
    lines += [" & ".join(latex_text(text) for text in row) + r" \\" for row in texts(table)]
    return "\n".join([*lines, r"\end{longtable}", ""])


def _align(table: Table, place: int) -> str:
    if table.heads[place].number:
        return "r"
    longest = max((len(row[place]) for row in texts(table)), default=0)
    return r"p{0.3\linewidth}" if longest > 60 else r"p{0.2\linewidth}" if longest > 30 else "l"


def markdown(table: Table) -> str:
    """The table with a caption above and its note below, in GitHub's Markdown; numbers are aligned right."""
    heads = [markdown_text(head.text) or " " for head in table.heads]
    rules = ["---:" if head.number else "---" for head in table.heads]
    body = [[markdown_text(text) for text in row] for row in texts(table)]
    lines = [f"| {' | '.join(row)} |" for row in (heads, rules, *body)]
    return "\n".join([f"**{markdown_text(_caption(table))}**", "", *lines, ""])


def markdown_text(text: str) -> str:
    """Text with all that Markdown or HTML would read as markup escaped, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", " ".join(numbers.visible(text).split()))


def texts(table: Table) -> Sequence[Sequence[str]]:
    """The rows as text: a cell's words, and its line of detail behind them."""
    return [
        [f"{cell.text} ({cell.under})" if cell.under else cell.text for cell in row] for row in table.rows
    ]


def _caption(table: Table) -> str:
    return f"{table.caption}. {table.note}" if table.note else table.caption
