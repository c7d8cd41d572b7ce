"""The rows of `reports.schema.BUDGETS`: what each cause has of the error of one cell."""

from __future__ import annotations

import json
from typing import Any

from precision.judging.finding import Cause, OutputExplained, plain

Row = dict[str, Any]

_NEGLIGIBLE = 1e-9
"""A share that is the last digits' rounding of a budget, not a cause."""
_FIGURES = {"part_ulp_rms": "rms_ulp", "part_ulp_mean": "mean_ulp", "part_abs_max": "abs_max"}
_SLOTS = {"data": "semantics"}
"""Changed data take the place of a changed function in the budget."""


def budget_rows(explained: OutputExplained) -> list[Row]:
    """A row for each cause of an output; the shares add up to 1 where there is any error.

    The causes are the search's own, in its words.  Where a part of the budget has none, it is a row without
    words; where several causes share a part whose split is not known, the first has its figures.
    """
    left = {row["cause"]: row for row in explained.parts.table()} if explained.parts is not None else {}
    rows = []
    for cause in explained.causes:
        slot = _SLOTS.get(cause.cause, cause.cause)
        same = [each for each in explained.causes if _SLOTS.get(each.cause, each.cause) == slot]
        split = len(same) > 1 and all(each.share is not None for each in same)
        figures = left.pop(slot, None) if not split else None
        rows.append(_row(cause, figures))
        if split and cause is same[-1]:
            left.pop(slot, None)
    for name, figures in left.items():
        if abs(figures["share"]) > _NEGLIGIBLE:
            rows.append(_row(Cause(name, evidence=figures["evidence"]), figures))
    return rows


def hidden_row(row: Row) -> Row:
    """The row of a cause that a probe shows and the data hide: it has no part in their error."""
    none = dict.fromkeys(_FIGURES)
    detail = f"{row['detail']}; the probe shows it, on these data it is hidden"
    return {**row, **none, "share": 0.0, "detail": detail}


def with_formula(row: Row) -> Row:
    """The row of another formula, as what differs from the declaration; any other row as it is."""
    if row["cause"] != "algorithm" or row["parameter"] is not None:
        return row
    return {**row, "parameter": "variance", "declared": _json("two passes"), "found": _json("one pass")}


def with_transform(row: Row, words: str) -> Row:
    """The row of accumulation as what a replay of transformed tiles proves; any other row as it is."""
    if row["cause"] != "accumulation" or not words:
        return row
    return {**row, "evidence": "proved", "detail": f"{words}: what its transforms and its sums round"}


def _row(cause: Cause, figures: Row | None) -> Row:
    """figures: those of the cause's part of the budget, which are the cause's own where it has all of it."""
    found: Row = {"share": cause.share, "part_ulp_rms": cause.rms_ulp}
    found |= {"part_ulp_mean": None, "part_abs_max": None}
    if figures is not None:
        found = {"share": figures["share"], **{name: figures[key] for name, key in _FIGURES.items()}}
    return {
        "cause": cause.cause,
        "evidence": cause.evidence,
        **found,
        "parameter": cause.parameter,
        "declared": _json(cause.declared),
        "found": _json(cause.found),
        "detail": cause.detail,
        "fix": cause.fix,
    }


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
