"""Every cell of a suite at a glance: cases down, worst first, modes across, each a link to its figures.

A cell shows its median error, the sign of its verdict and a colour of nine steps; nothing is said by colour
alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.anchors import anchor, cell_anchor
from reports.cells import LOST, Row, per_cell, severity

MOST_CASES = 60
"""Rows of the picture; the table of findings has the rest."""

_TOP = 8


@dataclass(frozen=True)
class HeatCell:
    """A cell: its text, its step of colour (empty without a figure), where it leads, all of it in words."""

    text: str
    step: str
    link: str
    words: str


@dataclass(frozen=True)
class HeatMap:
    """Modes across; rows of (title, link, cells); what the colours mean; the figure in words."""

    modes: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[HeatCell, ...]], ...]
    legend: tuple[tuple[str, str], ...]
    words: str
    note: str


def heat_map(rows: Sequence[Row], titles: Mapping[str, str]) -> HeatMap | None:
    """Median error of every cell, of several outputs the worst; None if there is no cell."""
    cells = per_cell(rows)
    if not cells:
        return None
    modes = tuple(dict.fromkeys(row["mode"] for row in cells))
    at = {(row["case"], row["mode"]): row for row in cells}
    groups: dict[str, list[Row]] = {}
    for row in cells:
        groups.setdefault(row["case"], []).append(row)
    order = sorted(groups, key=lambda case: min(severity(row) for row in groups[case]))
    shown = order[:MOST_CASES]
    note = ""
    if len(order) > len(shown):
        note = f"The worst {len(shown)} of {len(order):,} cases; the list of results has all."
    return HeatMap(
        modes,
        tuple(
            (titles[case], anchor("case", case), tuple(_cell(at.get((case, mode))) for mode in modes))
            for case in shown
        ),
        tuple((f"h{step}", _range(step)) for step in range(_TOP + 1)),
        _words(cells),
        note,
    )


def step_of(ulp: float) -> int:
    """0 for at most 0.5 ulp, then a step for every two doublings, 8 at the end."""
    if not ulp > 0.5:
        return 0
    return _TOP if math.isinf(ulp) else min(_TOP, 1 + math.floor((math.log2(ulp) + 1) / 2))


def _range(step: int) -> str:
    if step == 0:
        return "at most 0.5 ulp"
    low = 0.5 * 4.0 ** (step - 1)
    return f"above {low:g}" if step == _TOP else f"to {4 * low:g}"


def _cell(row: Row | None) -> HeatCell:
    if row is None:
        return HeatCell(numbers.SIGNS["not run"], "", "", "no such cell")
    sign = numbers.SIGNS.get(row["verdict"], "?")
    ulp = row["error_ulp_median"]
    link = anchor("case", row["case"]) if row["verdict"] == "not run" else cell_anchor(row)
    if row["verdict"] in LOST or ulp is None:
        words = row["verdict"] if row["verdict"] in LOST else f"{row['verdict']}, median not measured"
        return HeatCell(sign, "", link, f"{words}: {row['mode']}")
    words = f"{numbers.figure(ulp)} ulp, {row['verdict']} ({row['evidence']}): {row['mode']}"
    return HeatCell(f"{numbers.short(ulp)} {sign}", f"h{step_of(ulp)}", link, words)


def _words(cells: Sequence[Row]) -> str:
    known = [row for row in cells if row["error_ulp_median"] is not None]
    text = f"Median error in ulp of {numbers.times(len(cells), 'cell')}, worst cases first."
    if known:
        worst = max(known, key=lambda row: row["error_ulp_median"])
        figure = numbers.figure(worst["error_ulp_median"])
        text += f" Largest: {figure} ulp, {worst['case']} in {worst['mode']}."
    return text
