"""What each switch changes: modes that differ in the fewest settings, cell by cell, before and after."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from reports import numbers
from reports.anchors import cell_anchor
from reports.cells import LOST, Row, in_order
from reports.store import Results
from reports.tables import Cell, Head, Table

ALIKE = 1.1
"""Up to this ratio of rms errors, either way, two results are as good as each other."""


@dataclass(frozen=True)
class Change:
    """One cell before and after: rms errors in ulp of Σ|terms|, their ratio, whether the bits are equal.

    A ratio or an equality that is not known is None.
    """

    case: str
    output: str
    before: float | None
    after: float | None
    ratio: float | None
    equal: bool | None
    verdicts: tuple[str, str]
    link: str

    @property
    def size(self) -> float:
        """How many times the error grew or shrank, as a logarithm; 0 where it is not known."""
        if self.equal or self.ratio is None:
            return 0.0
        return math.inf if self.ratio == 0 or math.isinf(self.ratio) else abs(math.log(self.ratio))

    @property
    def kind(self) -> str:
        """`equal bits`, `as good`, `better`, `worse`, or `unknown`."""
        if self.equal:
            return "equal bits"
        if self.ratio is None:
            return "unknown"
        if self.ratio > ALIKE:
            return "worse"
        return "better" if self.ratio < 1 / ALIKE else "as good"


@dataclass(frozen=True)
class Switch:
    """Two modes of one framework and device, what differs in their settings, and the cells they share."""

    before: str
    after: str
    framework: str
    device: str
    settings: str
    changes: tuple[Change, ...]

    def count(self, *kinds: str) -> int:
        """Cells of these kinds."""
        return sum(change.kind in kinds for change in self.changes)

    @property
    def ratios(self) -> list[float]:
        """Ratios of the cells whose bits changed, from the best to the worst."""
        return sorted(each.ratio for each in self.changes if each.ratio is not None and not each.equal)


def switches(results: Results, rows: Sequence[Row]) -> list[Switch]:
    """Each mode that ran beside the earlier one that it differs least from, in the order of modes.

    rows: those of `cells.grid`.  Modes with the same settings, or that share no scored cell, are left out.
    """
    cells = {(row["mode"], row["case"], row["output"]): row for row in rows if row["verdict"] not in LOST}
    ran = {mode for mode, _, _ in cells}
    earlier: list[tuple[Row, dict[str, str]]] = []
    found = []
    for mode in in_order(results.modes):
        if mode["mode"] not in ran:
            continue
        own = _settings(mode)
        kin = [
            (other, theirs)
            for other, theirs in earlier
            if (other["framework"], other["device"]) == (mode["framework"], mode["device"])
        ]
        earlier.append((mode, own))
        if not kin:
            continue
        other, theirs = min(kin, key=lambda each: len(_differing(each[1], own)))
        differing = _differing(theirs, own)
        changes = _changes(cells, other["mode"], mode["mode"])
        if differing and changes:
            words = ", ".join(f"{n} {theirs.get(n, 'unset')} → {own.get(n, 'unset')}" for n in differing)
            found.append(
                Switch(other["mode"], mode["mode"], mode["framework"], mode["device"], words, changes)
            )
    return found


def _settings(mode: Row) -> dict[str, str]:
    """Switches and environment of a mode as text; what is no object of them is left out."""
    found: dict[str, str] = {}
    for column in ("environment", "switches"):
        try:
            known = json.loads(mode[column] or "{}")
        except ValueError:
            known = {}
        if isinstance(known, dict):
            found |= {str(name): numbers.plain(value) for name, value in known.items()}
    return found


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _changes(cells: Mapping[tuple[str, str, str], Row], before: str, after: str) -> tuple[Change, ...]:
    found = []
    for (mode, case, output), row in cells.items():
        other = cells.get((before, case, output))
        if mode == after and other is not None:
            sizes = other["error_scaled_ulp_rms"], row["error_scaled_ulp_rms"]
            groups = other["bits_group"], row["bits_group"]
            equal = None if None in groups else groups[0] == groups[1]
            verdicts = other["verdict"], row["verdict"]
            ratio = _ratio(*sizes)
            found.append(Change(case, output, *sizes, ratio, equal, verdicts, cell_anchor(row)))
    return tuple(found)


def _ratio(before: float | None, after: float | None) -> float | None:
    """After over before; infinite where only before is 0, None where it says nothing."""
    if before is None or after is None or math.isinf(before):
        return None
    if before == 0:
        return 1.0 if after == 0 else math.inf
    return after / before


def summary_table(found: Sequence[Switch]) -> Table:
    """One row a switch: how many cells kept their bits, how many got better or worse, by how much."""
    heads = (
        Head("switch"), Head("what differs"), Head("equal bits", True, "cells with the same bits in both"),
        Head("worse", True, f"cells whose rms error is more than {ALIKE:g} times as large"),
        Head("better", True), Head("as good", True, "other bits, an rms error about as large"),
        Head("median ratio", True, "of the rms errors where the bits changed, after over before"),
        Head("largest ratio", True), Head("in"),
    )  # fmt: skip
    rows = []
    for switch in found:
        ratios, total = switch.ratios, len(switch.changes)
        worst = max(
            (each for each in switch.changes if each.ratio is not None and not each.equal),
            key=lambda each: each.ratio or 0.0,
            default=None,
        )
        counts = [switch.count(kind) for kind in ("equal bits", "worse", "better", "as good")]
        rows.append(
            (
                Cell(f"{switch.before} → {switch.after}", style="modes"),
                Cell(switch.settings, style="reason"),
                Cell(f"{counts[0]} of {total}", str(counts[0]), "num"),
                *(Cell(str(count), str(count), "num") for count in counts[1:]),
                *(_figure(value) for value in ((median(ratios), ratios[-1]) if ratios else (None, None))),
                Cell(worst.case, link=worst.link) if worst else Cell("–"),
            )
        )
    return Table("What each switch changes", heads, tuple(rows))


def change_table(found: Sequence[Switch], titles: Mapping[str, str]) -> Table:
    """Every cell whose bits a switch changed, the largest ratio first within a switch."""
    heads = (
        Head("switch"), Head("case"), Head("before", True, "rms error in ulp of Σ|terms|; less is better"),
        Head("after", True), Head("ratio", True, "after over before; less is better"), Head("bits"),
        Head("verdict"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(f"{switch.before} → {switch.after}", style="modes"),
            Cell(titles[each.case] + ("" if each.output in ("", "output") else f" [{each.output}]"),
                 link=each.link),
            *(_figure(value) for value in (each.before, each.after, each.ratio)),
            Cell("not compared" if each.equal is None else "differ"),
            Cell(_verdicts(each)),
        )
        for switch in found
        for each in sorted(switch.changes, key=lambda each: -(each.ratio or 0.0))
        if not each.equal
    )  # fmt: skip
    return Table("Cells whose bits a switch changed", heads, rows)


def _verdicts(change: Change) -> str:
    before, after = (f"{numbers.SIGNS.get(verdict, '?')} {verdict}" for verdict in change.verdicts)
    return before if before == after else f"{before} → {after}"


def _figure(value: float | None) -> Cell:
    if value is None:
        return Cell("–", style="num")
    return Cell(numbers.figure(value), repr(value), "num")
