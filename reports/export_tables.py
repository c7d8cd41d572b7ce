"""A table of a report as LaTeX and as Markdown: what is text stays text, whatever letters it has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from reports import numbers
from reports.tables import Head, Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\symbol{34}", "`": r"\`{}", "'": "'{}", ",": ",{}", "-": "-{}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""Two of ' , - would become one sign, and [ or * after the end of a row be taken for a part of that end."""

_SIGNS = {
    "≈": r"\approx", "≠": r"\neq", "×": r"\times", "·": r"\cdot", "Σ": r"\Sigma", "√": r"\surd",
    "∞": r"\infty", "γ": r"\gamma", "≤": r"\leq", "≥": r"\geq", "→": r"\rightarrow", "←": r"\leftarrow",
    "±": r"\pm", "‖": r"\Vert", "✗": r"\times", "−": "-", "ₙ": "_{n}", "μ": r"\mu", "µ": r"\mu",
    "σ": r"\sigma", "⟨": r"\langle", "⟩": r"\rangle", "⌈": r"\lceil", "⌉": r"\rceil", "⌊": r"\lfloor",
    "⌋": r"\rfloor", "τ": r"\tau", "ρ": r"\rho", "ε": r"\varepsilon", "π": r"\pi", "Δ": r"\Delta",
    "°": r"^{\circ}", "½": r"\frac{1}{2}", "∈": r"\in", "∑": r"\Sigma", "∘": r"\circ",
}  # fmt: skip
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_TEXT = {
    "–": "--", "—": "---", "…": r"\ldots{}", "\u2009": r"\,", "\u202f": r"\,", "\u00a0": "~",
    "“": "``", "”": "''", "‘": "`", "’": "'",
}  # fmt: skip
_LETTERS = {**_SPECIAL, **{sign: f"${words}$" for sign, words in _SIGNS.items()}, **_TEXT}
_LETTER, _GAP = 0.0108, 0.014
"""Widths of a letter and of what is between two columns, of the line's."""

_WORDS = re.compile(r"[\s./_-]")
"""Where a line may end."""


def latex_text(text: str) -> str:
    """Text for LaTeX: what it would read as a command is escaped, signs of mathematics are set as such.

    Accented Latin letters stay as they are.  Other letters, which the usual fonts lack, are written as their
    number (\\u4e2d): every LaTeX can set the result, and only ASCII and Latin letters are in it.
    """
    flat = " ".join(numbers.visible(text).split())
    parts = re.split("([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", flat)  # every other part is an exponent
    return "".join(
        f"$^{{{part.translate(_RAISED)}}}$" if number % 2 else _BREAKS.sub(r"\1\\allowbreak{}", _plain(part))
        for number, part in enumerate(parts)
    )


def _plain(text: str) -> str:
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    known = _LETTERS.get(letter)
    if known is not None:
        return known
    base = unicodedata.normalize("NFD", letter)
    latin = base[0].isascii() and base[0].isalpha() and len(base) == 2 and base[1] in _ACCENTS
    return letter if letter.isascii() or latin else rf"\textbackslash{{}}u{ord(letter):04x}"


_BREAKS = re.compile(r"((?:[./]|\\_)(?=[A-Za-z]))")
"""A long name may be broken after these; a number may not."""

_ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030c"
"""Grave, acute, circumflex, tilde, diaeresis, caron: every encoding of LaTeX's fonts can set them."""


def latex(table: Table) -> str:
    """The table in the style of `booktabs`, breaking over pages (`longtable`), with its caption and note.

    Needs the packages array, booktabs and longtable.  Columns of numbers are aligned right; long texts share
    what width is left, set ragged.  It fits the line, at the size of the letters that it is set in.
    """
    spec = "".join(_columns(table))
    heads = " & ".join(rf"\textbf{{{_head(head)}}}" for head in table.heads)
    lines = [
        "% needs \\usepackage{array,booktabs,longtable}",
        r"{\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{longtable}}{{{spec}}}",
        rf"\caption{{{latex_text(_caption(table))}}}\\",
        r"\toprule", heads + r" \\", r"\midrule", r"\endfirsthead",
        r"\toprule", heads + r" \\", r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot",
    ]  # fmt: skip
    lines += [" & ".join(latex_text(text) for text in row) + r" \\" for row in texts(table)]
    return "\n".join([*lines, r"\end{longtable}}", ""])


def _head(head: Head) -> str:
    """A column's heading; over figures, which are narrow, its words stand on top of each other."""
    if head.number and " " in head.text:
        lines = r" \\ ".join(map(latex_text, head.text.split()))
        return rf"\shortstack[r]{{{lines}}}"
    return latex_text(head.text)


def _longest_word(text: str) -> str:
    return max(text.split(), key=len, default="")


def _columns(table: Table) -> list[str]:
    """What LaTeX is told of each column: those of long text have room for a word, and share what is left."""
    rows = [[_longest_word(head.text) if head.number else head.text for head in table.heads], *texts(table)]
    longest = [max(len(row[place]) for row in rows) for place in range(len(table.heads))]
    wide = [size > 16 and not head.number for size, head in zip(longest, table.heads, strict=True)]
    words = [max(max(map(len, _WORDS.split(row[place]))) for row in rows) for place in range(len(longest))]
    least = [_LETTER * min(word, 14) if each else 0.0 for word, each in zip(words, wide, strict=True)]
    means = [sum(len(row[place]) for row in rows) / len(rows) for place in range(len(longest))]
    weight = [mean**0.7 if each else 0.0 for mean, each in zip(means, wide, strict=True)]
    fixed = sum(_LETTER * size for size, each in zip(longest, wide, strict=True) if not each)
    room = max(0.3, 1.0 - fixed - _GAP * len(longest))
    if sum(least) > 0.8 * room:
        least = [each * 0.8 * room / sum(least) for each in least]
    rest = room - sum(least)
    return [
        rf">{{\raggedright\arraybackslash}}p{{{least[i] + rest * weight[i] / sum(weight):.3f}\linewidth}}"
        if wide[i]
        else "r"
        if head.number
        else "l"
        for i, head in enumerate(table.heads)
    ]


def markdown(table: Table) -> str:
    """The table with a caption above and its note below, in GitHub's Markdown; numbers are aligned right."""
    heads = [markdown_text(head.text) or " " for head in table.heads]
    rules = ["---:" if head.number else "---" for head in table.heads]
    body = [[markdown_text(text) for text in row] for row in texts(table)]
    lines = [f"| {' | '.join(row)} |" for row in (heads, rules, *body)]
    return "\n".join([f"**{markdown_text(_caption(table))}**", "", *lines, ""])


def markdown_text(text: str) -> str:
    """Text with all that Markdown or HTML would read as markup escaped, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#&~$@:])", r"\\\1", " ".join(numbers.visible(text).split()))


def texts(table: Table) -> Sequence[Sequence[str]]:
    """The rows as text: a cell's words, and its line of detail behind them."""
    return [
        [f"{cell.text} ({cell.under})" if cell.under else cell.text for cell in row] for row in table.rows
    ]


def _caption(table: Table) -> str:
    return f"{table.caption}. {table.note}" if table.note else table.caption
