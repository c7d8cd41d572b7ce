"""Two results side by side: what improved, what got worse, what only changed its bits, what is new or gone.

A cell is a case in a mode and one output of it.  The rule:

- another rank of verdict decides first: exact, rounding, a concern (semantics, data, unexplained), error;
- then NaN or Inf: more elements that differ from the truth are worse, fewer better;
- then the root mean square error in ulp of sum|terms|, which elements near zero do not decide: more than
  `WORSE` times is worse, less than 1 / `WORSE` times better;
- what is left changed its bits only, or is equal.

A cell whose case is declared otherwise in the two is not comparable: it is gone, and a new one came.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from precision.errors import UserError

WORSE = 1.1
MARKS: Mapping[str, str] = {
    "worse": "-",
    "improved": "+",
    "changed bits only": "~",
    "new": "x",
    "gone": "x",
    "equal": "=",
}
"""The changes, most telling first, and their marks."""

_RANKS = {"exact": 0, "rounding": 1, "semantics": 2, "data": 2, "unexplained": 2, "error": 3}
_FIGURES = ("error_ulp_rms", "error_ulp_max", "error_scaled_ulp_rms")
_DECLARED = ("op", "params", "shapes", "data")
_KEY = ("case", "mode", "output")
Row = dict[str, Any]
Key = tuple[str, str, str]

COLUMNS = (
    "mark", "change", *_KEY, "why", "verdict_a", "verdict_b", "evidence_a", "evidence_b", "bits_equal",
    *(f"{name}_{side}" for name in _FIGURES for side in "ab"), "ratio_scaled_rms", "ratio_ulp_rms",
)  # fmt: skip


class Tables(Protocol):
    """What is compared: tables as in `reports.schema`."""

    @property
    def scores(self) -> pd.DataFrame: ...
    @property
    def cases(self) -> pd.DataFrame: ...
    @property
    def modes(self) -> pd.DataFrame: ...
    @property
    def run(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Comparison:
    """cells: one row a cell, `COLUMNS`, most telling first; provenance: (what, in A, in B) where they differ.

    not_run: cells that were run in neither.
    """

    cells: pd.DataFrame
    provenance: tuple[tuple[str, str, str], ...]
    not_run: int

    @property
    def counts(self) -> dict[str, int]:
        """Cells of each change, most telling change first."""
        return {change: int((self.cells["change"] == change).sum()) for change in MARKS}

    @property
    def worse(self) -> bool:
        """Whether a cell got worse."""
        return self.counts["worse"] > 0

    @property
    def worst_ratio(self) -> float | None:
        """Largest ratio of the root mean square errors in ulp, B over A, of the cells in both."""
        known = [ratio for ratio in self.cells["ratio_ulp_rms"].tolist() if not math.isnan(ratio)]
        return max(known, default=None)


def compare(a: Tables, b: Tables) -> Comparison:
    """Compare results B with results A, cell by cell.

    Raises `UserError` where they share no cell that was run in both.
    """
    left, right = _cells(a), _cells(b)
    other = _redeclared(a, b)
    rows = []
    not_run = shared = 0
    for key in dict.fromkeys([*left, *right]):
        one, two = left.get(key), right.get(key)
        if not _present(one) and not _present(two):
            not_run += 1
            continue
        if _present(one) and _present(two) and key[0] in other:
            why = f"the case is declared otherwise: {other[key[0]]}"
            rows += [_row(key, one, None, "gone", why), _row(key, None, two, "new", why)]
            continue
        shared += _present(one) and _present(two)
        rows.append(_row(key, one, two, *_change(one, two)))
    if not shared:
        raise UserError(
            f"two results share cells that were run; of {len(left)} and {len(right)} these share none; "
            "compare results of the same cases and modes"
        )
    order = list(MARKS)
    rows.sort(key=lambda row: (order.index(row["change"]), row["verdict_a"] == row["verdict_b"], -_size(row)))
    return Comparison(pd.DataFrame(rows, columns=list(COLUMNS)), tuple(_provenance(a, b)), not_run)


def _size(row: Row) -> float:
    """How far a ratio is from 1, for sorting."""
    ratio = row["ratio_scaled_rms"]
    if math.isnan(ratio):
        return 0.0
    return math.inf if ratio in (0.0, math.inf) else abs(math.log(ratio))


def _cells(tables: Tables) -> dict[Key, Row]:
    found = {}
    for row in _records(tables.scores):
        found[str(row["case"]), str(row["mode"]), str(row["output"])] = row
    return found


def _records(frame: pd.DataFrame) -> list[Row]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _present(row: Row | None) -> bool:
    return row is not None and row["verdict"] != "not run"


def _redeclared(a: Tables, b: Tables) -> dict[str, str]:
    """Cases of both whose declarations differ, and what differs."""
    left, right = ({row["case"]: row for row in _records(each.cases)} for each in (a, b))
    found = {}
    for case in left.keys() & right.keys():
        names = [name for name in _DECLARED if _plain(left[case][name]) != _plain(right[case][name])]
        if names:
            found[case] = ", ".join(names)
    return found


def _plain(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _change(one: Row | None, two: Row | None) -> tuple[str, str]:
    """The change from A to B and why it is called so."""
    if one is None or not _present(one):
        return "new", "" if one is None else f"not run in A: {one['reason']}"
    if two is None or not _present(two):
        return "gone", "" if two is None else f"not run in B: {two['reason']}"
    same = one["bits_sha256"] is not None and one["bits_sha256"] == two["bits_sha256"]
    ranks = _RANKS[one["verdict"]], _RANKS[two["verdict"]]
    if ranks[0] != ranks[1]:
        judged = ": the bits are equal, the judgement is not" if same else ""
        change = "worse" if ranks[1] > ranks[0] else "improved"
        return change, f"the verdict was {one['verdict']}, is {two['verdict']}{judged}"
    if one["verdict"] == "error":
        return "equal", "an error in both"
    return ("equal", _rejudged(one, two)) if same else _other_bits(one, two)


def _other_bits(one: Row, two: Row) -> tuple[str, str]:
    """The change of a cell whose bits changed and whose verdict has the same rank."""
    wild = [int(row["nonfinite_mismatches"] or 0) for row in (one, two)]
    if wild[0] != wild[1]:
        change = "worse" if wild[1] > wild[0] else "improved"
        return change, f"NaN or Inf differ from the truth at {wild[0]} elements in A, {wild[1]} in B"
    ratio = _ratio(one, two, "error_scaled_ulp_rms")
    why = _rejudged(one, two)
    if ratio > WORSE or ratio < 1.0 / WORSE:
        return "worse" if ratio > WORSE else "improved", why
    return "changed bits only", why


def _rejudged(one: Row, two: Row) -> str:
    """What else the judgement says, in words."""
    told = [
        f"the {what} was {one[what]}, is {two[what]}"
        for what in ("verdict", "evidence")
        if one[what] != two[what]
    ]
    return "; ".join(told)


def _ratio(one: Row | None, two: Row | None, name: str) -> float:
    """B over A: 1 where both are 0, infinite where only A is, NaN where one is missing."""
    before, after = (None if row is None else row[name] for row in (one, two))
    if before is None or after is None:
        return math.nan
    if before == 0.0:
        return 1.0 if after == 0.0 else math.inf
    return float(after / before)


def _row(key: Key, one: Row | None, two: Row | None, change: str, why: str) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"mark": MARKS[change], "change": change, "why": why} | dict(zip(_KEY, key, strict=True))
    for side, found in (("a", one), ("b", two)):
        row[f"verdict_{side}"] = "" if found is None else found["verdict"]
        row[f"evidence_{side}"] = "" if found is None else found["evidence"]
        for name in _FIGURES:
            row[f"{name}_{side}"] = math.nan if found is None or found[name] is None else float(found[name])
    digests = [None if found is None else found["bits_sha256"] for found in (one, two)]
    row["bits_equal"] = digests[0] is not None and digests[0] == digests[1]
    row["ratio_scaled_rms"] = _ratio(one, two, "error_scaled_ulp_rms")
    row["ratio_ulp_rms"] = _ratio(one, two, "error_ulp_rms")
    return row


_SHOWN = ("suite", "created", "machine", "versions")


def _provenance(a: Tables, b: Tables) -> Iterator[tuple[str, str, str]]:
    """Where the runs, and the modes that are in both, differ: versions, machines, switches."""
    for name in _SHOWN:
        yield from _differences(name, a.run.get(name), b.run.get(name))
    left, right = ({row["mode"]: row for row in _records(each.modes)} for each in (a, b))
    seen: dict[tuple[str, str, str], list[str]] = {}
    for mode in left:
        if mode not in right:
            continue
        for name in ("switches", "read_back", "environment", "versions"):
            for what, one, two in _differences(
                name.replace("_", " "), _plain(left[mode][name]), _plain(right[mode][name])
            ):
                seen.setdefault((what, one, two), []).append(str(mode))
    for (what, one, two), modes in seen.items():
        yield f"{what} ({', '.join(modes)})", one, two


def _differences(what: str, one: Any, two: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(one, dict) and isinstance(two, dict):
        for name in dict.fromkeys([*one, *two]):
            yield from _differences(f"{what}: {name}", one.get(name), two.get(name))
    elif one != two:
        yield what, _text(one), _text(two)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
