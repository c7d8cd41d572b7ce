"""Cells as the reports show them: every case in every mode, grouped where the bits are identical."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.store import Results

Row = dict[str, Any]
"""One row of a table; a missing figure is None."""

LOST = ("error", "not run")
"""Verdicts of cells that have no score."""

CONCERN = ("semantics", "unexplained", "data")
"""Verdicts of scored cells that rounding does not account for."""

_RANKS = {"semantics": 0, "unexplained": 0, "data": 0, "error": 1, "rounding": 2, "exact": 3, "not run": 4}


@dataclass(frozen=True)
class Line:
    """Cells that share a line: modes of one case and output that gave identical bits.

    Lost cells share a line where they share the reason.  `row` is the first mode's score.
    """

    modes: tuple[str, ...]
    row: Row

    @property
    def verdict(self) -> str:
        """The verdict all its cells share."""
        return str(self.row["verdict"])

    @property
    def label(self) -> str:
        """The names of its modes: joined by '=' where the bits are identical, else listed."""
        return self.joint.join(self.modes)

    @property
    def joint(self) -> str:
        """What stands between its modes."""
        return " = " if self.scored else ", "

    @property
    def scored(self) -> bool:
        """Whether there is a score."""
        return self.verdict not in LOST


@dataclass(frozen=True)
class Absent:
    """Modes that ran no case at all, and why."""

    modes: tuple[str, ...]
    reason: str


def records(frame: pd.DataFrame) -> list[Row]:
    """The frame's rows as dictionaries in which every missing value is None."""
    return [
        {str(key): None if _missing(value) else value for key, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _missing(value: object) -> bool:
    return value is pd.NA or value is None or (isinstance(value, float) and math.isnan(value))


def grid(results: Results) -> list[Row]:
    """Scores of every case in every mode, in the order of cases and modes.

    Of several outputs the one named `output` comes first, then by name.
    A cell that the scores lack is a row too, `not run`, with the mode's reason.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for row in records(results.scores):
        found.setdefault((row["case"], row["mode"]), []).append(row)
    for outputs in found.values():
        outputs.sort(key=lambda row: (row["output"] != "output", row["output"]))
    modes = in_order(results.modes)
    return [
        row
        for case in in_order(results.cases)
        for mode in modes
        for row in found.get((case["case"], mode["mode"])) or [_blank(case["case"], mode, results.scores)]
    ]


def in_order(frame: pd.DataFrame) -> list[Row]:
    """The rows of `cases` or `modes`, sorted by their `order` column, then by name."""
    return records(frame.sort_values(["order", frame.columns[0]], kind="stable"))


def _blank(case: str, mode: Row, scores: pd.DataFrame) -> Row:
    blank: Row = dict.fromkeys((str(name) for name in scores.columns), None)
    status = mode["status"] if mode["status"] in LOST else "not run"
    blank.update(case=case, mode=mode["mode"], output="", framework=mode["framework"], device=mode["device"])
    blank.update(verdict=status, evidence="none", reason=mode["reason"] or "the results have no score of it")
    return blank


def lines(rows: Iterable[Row]) -> list[Line]:
    """Group rows into lines, in the order in which each line's first row comes."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for number, row in enumerate(rows):
        key: tuple[Any, ...] = (row["case"], row["output"], row["verdict"], row["evidence"])
        if row["verdict"] in LOST:
            key += ("lost", row["reason"])
        elif row["bits_group"] is not None:
            key += ("bits", row["bits_group"])
        else:
            key += ("row", number)
        groups.setdefault(key, []).append(row)
    return [Line(tuple(row["mode"] for row in group), group[0]) for group in groups.values()]


def severity(row: Row) -> tuple[int, float]:
    """Sort key, worst first: what rounding does not explain, then errors, then by median ulp error."""
    ulp = row["error_ulp_median"]
    return _RANKS.get(row["verdict"], 0), -(ulp if ulp is not None else -1.0)


def per_cell(rows: Iterable[Row]) -> list[Row]:
    """One row for each case and mode: the worst of its outputs, by `severity`."""
    worst: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["case"], row["mode"])
        if key not in worst or severity(row) < severity(worst[key]):
            worst[key] = row
    return list(worst.values())


def worst_first(found: Sequence[Line]) -> list[Line]:
    """The lines sorted by `severity`; equals keep their order."""
    return sorted(found, key=lambda line: severity(line.row))


def absent(results: Results, rows: Sequence[Row]) -> list[Absent]:
    """Modes of which no cell was run, grouped by reason, in the order of modes."""
    ran = {row["mode"] for row in rows if row["verdict"] != "not run"}
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["mode"] not in ran:
            reasons.setdefault(row["mode"], {})[row["reason"] or "no reason given"] = None
    if not rows:  # no case at all: the modes still say why they did not run
        modes = in_order(results.modes)
        reasons = {mode["mode"]: {mode["reason"]: None} for mode in modes if mode["status"] == "not run"}
    grouped: dict[str, list[str]] = {}
    for mode, texts in reasons.items():
        grouped.setdefault("; ".join(texts), []).append(mode)
    return [Absent(tuple(modes), reason) for reason, modes in grouped.items()]
