"""Determinism and invariance as a fragment of a page, as a page of its own, and for a terminal."""

from __future__ import annotations

import unicodedata
from html import escape
from itertools import accumulate

import pandas as pd
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from reports import numbers
from reports.cells import Row
from reports.invariance import Summary, apart, grouping, remedy, rows_of, sentence, summaries, worst_first
from reports.rendering import environment, small_page
from reports.tables import Cell, Head, Table
from reports.theme import PLOT

TITLE = "Determinism and invariance"
_CELL, _LINE, _LEFT, _TOP = 118, 30, 260, 34
_EM = 13
WIDTH = 100
_INK, _FRAME, _BAR = (f"var(--{name}, {PLOT[name][0]})" for name in ("pen", "axis", "red"))


def section(frame: pd.DataFrame) -> Markup:
    """The section as HTML: a sentence, a figure with its words, the tables.  Text of the frame is escaped.

    Raises `reports.SchemaError` for a frame that breaks `reports.invariance.COLUMNS`.
    """
    rows = rows_of(frame)
    found = summaries(rows)
    context = {
        "sentence": sentence(rows),
        "figure": Markup(grid_svg(found)) if found else "",
        "caption": "Share of the cases whose bits depend on the factor; shorter bars are better. "
        "A dash: the factor does not apply to any case, or was not asked.",
        "summary": summary_table(found),
        "varying": varying_table(rows),
    }
    return Markup(environment().get_template("invariance.html.j2").render(context))


def page(frame: pd.DataFrame) -> str:
    """The section as a page of its own: self-contained, nothing from the network."""
    rows = rows_of(frame)
    return small_page(TITLE, "Precision", not worst_first(rows), sentence(rows), section(frame))


def grid_svg(found: list[Summary]) -> str:
    """Modes (down) by factors (across): a bar for the share of cases that vary, and the counts as text."""
    modes = list(dict.fromkeys(each.mode for each in found))
    factors = list(dict.fromkeys(each.factor for each in found))
    at = {(each.mode, each.factor): each for each in found}
    width, height = _LEFT + _CELL * len(factors), _TOP + _LINE * len(modes) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(_words(found), quote=True)}" '
        f'font-family="system-ui, sans-serif" font-size="{_EM}">'
    ]
    for column, factor in enumerate(factors):
        x = _LEFT + _CELL * column
        parts.append(f'<text x="{x}" y="20" fill="{_INK}">{escape(_fitting(factor, _CELL - 8))}</text>')
    for line, mode in enumerate(modes):
        y = _TOP + _LINE * line
        label = escape(_fitting(mode, _LEFT - 8))
        parts.append(f'<text x="0" y="{y + 17}" fill="{_INK}">{label}</text>')
        for column, factor in enumerate(factors):
            parts += _bar(_LEFT + _CELL * column, y, at.get((mode, factor)))
    return "\n".join([*parts, "</svg>"])


def _fitting(name: str, room: float) -> str:
    """A name that fits so many pixels, shortened in its middle; the table beside the figure has it whole."""
    shown = numbers.visible(name)
    wide = [
        _EM if unicodedata.east_asian_width(each) in "WF" or each.isupper() else 0.6 * _EM for each in shown
    ]
    if sum(wide) <= room:
        return numbers.turned_apart(shown)
    half = (room - _EM) / 2
    head = sum(total <= half for total in accumulate(wide))
    tail = sum(total <= half for total in accumulate(reversed(wide)))
    return numbers.turned_apart(f"{shown[:head]}…{shown[len(shown) - tail :]}")


def _bar(x: int, y: int, each: Summary | None) -> list[str]:
    room = _CELL - 58
    if each is None or not each.asked:
        sign = numbers.SIGNS["error"] if each is not None and each.failed else "–"
        return [f'<text x="{x}" y="{y + 17}" fill="{_INK}">{sign}</text>']
    long = round(room * each.varying / each.asked, 1)
    return [
        f'<rect x="{x}" y="{y + 5}" width="{room}" height="16" fill="none" stroke="{_FRAME}"/>',
        f'<rect x="{x}" y="{y + 5}" width="{long}" height="16" fill="{_BAR}"/>',
        f'<text x="{x + room + 5}" y="{y + 18}" fill="{_INK}">{each.varying}/{each.asked}</text>',
    ]


def _words(found: list[Summary]) -> str:
    """The figure for who cannot see it."""
    told = [f"{e.mode}, {e.factor}: {e.varying} of {e.asked} cases vary" for e in found if e.varying]
    head = "Share of cases whose bits depend on a factor, by mode"
    return numbers.isolated(f"{head}. {'; '.join(told) or 'None varies'}.")


def summary_table(found: list[Summary]) -> Table:
    """The figure's data: modes by factors."""
    modes = list(dict.fromkeys(each.mode for each in found))
    factors = list(dict.fromkeys(each.factor for each in found))
    at = {(each.mode, each.factor): each for each in found}
    heads = (Head("mode"), *(Head(factor) for factor in factors))
    rows = tuple(
        (Cell(mode, style="modes"), *(Cell(short(at.get((mode, factor)))) for factor in factors))
        for mode in modes
    )
    caption = "Cases whose bits depend on a factor, and the largest difference in ulp of the largest result"
    return Table(caption, heads, rows)


def short(each: Summary | None) -> str:
    """A summary in a few letters: `3 of 12, 2.4 ulp`."""
    if each is None:
        return "–"
    if each.failed:
        return f"{each.failed} {'not run' if not each.asked else 'failed'}"
    if not each.asked:
        return "–"
    if each.worst is None:
        return f"{each.varying} of {each.asked}"
    return f"{each.varying} of {each.asked}, {numbers.short(each.worst)} ulp"


def varying_table(rows: list[Row]) -> Table:
    """Every row with more than one result, worst first."""
    heads = (
        Head("case"), Head("mode"), Head("factor"), Head("same bits"), Head("distinct", True),
        Head("elements differing", True),
        Head("max, ulp of largest", True, "largest difference in ulp of the largest result; less is better"),
        Head("max, steps", True, "largest distance in float32 numbers; huge where a result is nearly 0"),
        Head("one result in"),
    )  # fmt: skip
    found = tuple(
        (
            Cell(row["case"]),
            Cell(row["mode"], style="modes"),
            Cell(row["factor"]),
            Cell(grouping(row), style="reason"),
            Cell(str(row["distinct"]), str(row["distinct"]), "num"),
            Cell(
                f"{row['elements_differing']:,} of {row['elements']:,}",
                str(row["elements_differing"]),
                "num",
            ),
            Cell(numbers.figure(row["ulp_of_largest_between"]), repr(row["ulp_of_largest_between"]), "num"),
            Cell(apart(row["ulp_max_between"]), repr(row["ulp_max_between"]), "num"),
            Cell(remedy(row), style="reason"),
        )
        for row in worst_first(rows)
    )
    return Table("What depends on a setting, worst first", heads, found)


def print_invariance(frame: pd.DataFrame, console: Console, lines: int = 40) -> None:
    """Print the sentence, modes by factors, and at most `lines` of what varies."""
    rows = rows_of(frame)
    found = summaries(rows)
    varying = worst_first(rows)
    _say(console, sentence(rows), "bold" if not varying else "bold red")
    _say(console, "")
    factors = list(dict.fromkeys(each.factor for each in found))
    for factor in factors:
        _say(console, f"{factor}", "bold")
        for each in found:
            if each.factor == factor:
                why = f"  {each.reason}" if each.reason and not each.asked else ""
                _say(console, f"  {each.mode:<34} {short(each)}{why}"[: 2 * WIDTH])
    for row in varying[:lines]:
        _say(console, "")
        size = f"{numbers.figure(row['ulp_of_largest_between'])} ulp of the largest result, "
        size += f"{apart(row['ulp_max_between'])} float32 steps, {row['elements_differing']:,} elements"
        _say(console, f"{row['factor']}: {row['case']}, {row['mode']}", "bold")
        _say(console, f"  {grouping(row)}: {size}")
        _say(console, f"  one result in: {remedy(row)}", "dim")
    if len(varying) > lines:
        _say(console, f"… and {len(varying) - lines} more; the CSV has all", "dim")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(numbers.visible(text), style=style), soft_wrap=True)
