"""Determinism and invariance: does a mode give the same bits again, in a batch, on other threads?

For every case, mode and factor of `precision.invariance.settings`: how many distinct results there are, how
far apart they are, which modes give one result only, and what the fastest of those costs in time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from precision.cases import Case
from precision.errors import CannotRun
from precision.inputs import Float32
from precision.invariance.ask import Collected, Found, Plan, ask_mode, steps_of
from precision.invariance.cost import Cost, costs
from precision.live import KernelError
from precision.modes import Mode
from precision.requirements import missing
from reference.formats import BINARY32, ulp, ulp_distance

Progress = Callable[[str], None]
Row = dict[str, Any]

COLUMNS = (
    "case", "mode", "framework", "device", "factor", "status", "reason", "settings", "groups", "distinct",
    "elements", "elements_differing", "ulp_max_between", "ulp_of_largest_between", "equal_by", "cheapest",
    "seconds_ratio", "call_seconds", "timed",
)  # fmt: skip
"""Columns of the table; `reports.invariance` says what each holds."""


def invariance(
    cases: Sequence[Case],
    modes: Sequence[Mode],
    plan: Plan | None = None,
    progress: Progress = lambda what: None,
    *,
    timed: bool = True,
) -> pd.DataFrame:
    """Return one row for each case, mode and factor, in that order of columns: `COLUMNS`.

    settings and groups are JSON lists: settings with the same group gave the same bits.  ulp_max_between is
    the largest distance of two results in float32 steps, over elements and pairs; infinite where NaN or
    another shape is on one side only.  Near zero steps are small: ulp_of_largest_between is the largest
    difference in ulp of the largest result.  equal_by: modes among those asked that give one result where
    this one gives several; cheapest and seconds_ratio: the one with the least time, its time of a call over
    this mode's, measured in turn.  A mode that cannot run here has rows that say so.
    """
    plan = plan or Plan()
    found = {mode.name: _found(mode, cases, plan, progress) for mode in modes}
    rows = [
        _row(case, mode, factor, found[mode.name][case.id, factor])
        for case in cases
        for mode in modes
        for factor in plan.factors
    ]
    _add_remedies(rows, {mode.name: mode for mode in modes}, {case.id: case for case in cases}, plan, timed)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def steps(cases: Sequence[Case], modes: Sequence[Mode], plan: Plan) -> int:
    """How often `invariance` reports progress."""
    return sum(len(cases) * steps_of(mode, plan) for mode in modes if not missing(mode))


def _found(mode: Mode, cases: Sequence[Case], plan: Plan, progress: Progress) -> Found:
    reason = missing(mode)
    if not reason:
        try:
            return ask_mode(mode, cases, plan, progress)
        except (CannotRun, KernelError) as error:
            reason = str(error)
    return {(c.id, f): Collected(status="not run", reason=reason) for c in cases for f in plan.factors}


def _row(case: Case, mode: Mode, factor: str, found: Collected) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"case": case.id, "mode": mode.name, "framework": mode.framework, "device": mode.device}
    row |= {"factor": factor, "status": found.status, "reason": found.reason, "cheapest": "", "timed": ""}
    row |= {"settings": "[]", "groups": "[]", "equal_by": "[]"}
    if found.status != "asked":
        return row
    differing, apart, scaled = distance_between(found.distinct)
    return row | {
        "settings": json.dumps(found.labels),
        "groups": json.dumps(found.groups),
        "distinct": len(found.distinct),
        "elements": found.distinct[0].size,
        "elements_differing": differing,
        "ulp_max_between": apart,
        "ulp_of_largest_between": scaled,
    }


def distance_between(results: Sequence[Float32]) -> tuple[int, float, float]:
    """Over all pairs: most elements that differ in a bit, and the largest distance in two units.

    These are float32 steps, and ulp of the largest finite result (0 where all are 0).  Infinite where a NaN
    is on one side only, or the shapes differ; -0 and +0 differ and are 0 apart.
    """
    differing, apart, gap = 0, 0.0, 0.0
    for one, other in combinations(results, 2):
        if one.shape != other.shape:
            return max(one.size, other.size), math.inf, math.inf
        bits = one.reshape(-1).view(np.uint32) != other.reshape(-1).view(np.uint32)
        differing = max(differing, int(np.count_nonzero(bits)))
        steps_apart = ulp_distance(one.reshape(-1)[bits], other.reshape(-1)[bits], BINARY32, nan="mark")
        most = int(steps_apart.max(initial=0))
        apart = max(apart, math.inf if most >= 2**63 else float(most))
        with np.errstate(invalid="ignore"):
            gaps = np.abs(one.reshape(-1)[bits].astype(np.float64) - other.reshape(-1)[bits])
        gap = max(gap, math.inf if np.isnan(gaps).any() and most else float(np.max(gaps, initial=0.0)))
    sizes = np.concatenate([np.abs(each.reshape(-1).astype(np.float64)) for each in results])
    largest = float(np.max(sizes[np.isfinite(sizes)], initial=0.0))
    return differing, apart, gap / float(ulp(largest, BINARY32)) if gap else 0.0


def equal_modes(rows: list[Row]) -> None:
    """Name in each row that has several results the modes of its framework and device that give one there."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        if row["status"] == "asked" and row["distinct"] == 1:
            key = (row["case"], row["factor"], row["framework"], row["device"])
            alike.setdefault(key, []).append(row["mode"])
    for row in rows:
        if row["status"] == "asked" and row["distinct"] > 1:
            key = (row["case"], row["factor"], row["framework"], row["device"])
            row["equal_by"] = json.dumps(alike.get(key, []))


def _add_remedies(
    rows: list[Row], modes: dict[str, Mode], cases: dict[str, Case], plan: Plan, timed: bool
) -> None:
    """Name the modes that give one result where another gives several, and time them."""
    equal_modes(rows)
    wanted: dict[tuple[str, str], dict[str, Case]] = {}
    for row in rows:
        for other in json.loads(row["equal_by"]):
            wanted.setdefault((row["mode"], other), {})[row["case"]] = cases[row["case"]]
    if not timed:
        return
    known: dict[tuple[str, str, str], Cost] = {}
    for (name, other), some in wanted.items():
        for case_id, cost in costs(modes[name], modes[other], list(some.values()), plan.timeout).items():
            known[name, other, case_id] = cost
    for row in rows:
        choices = [(known[row["mode"], name, row["case"]], name) for name in json.loads(row["equal_by"])]
        good = [(cost.ratio, name, cost) for cost, name in choices if not math.isnan(cost.ratio)]
        if good:
            ratio, name, cost = min(good, key=lambda each: each[0])
            row |= {"cheapest": name, "seconds_ratio": ratio}
            row |= {"call_seconds": cost.seconds, "timed": cost.how}
        elif choices:
            row["timed"] = f"not timed: {choices[0][0].how}"
