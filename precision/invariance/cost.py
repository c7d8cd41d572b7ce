"""What one mode costs in time against another: medians of calls made in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from precision.cases import Case
from precision.errors import CannotRun
from precision.inputs import Float32
from precision.live import KernelError, Live
from precision.modes import FRAMEWORKS, Mode

ROUNDS = 7
ONE, TWO = "in one process, in turn", "in two processes, in turn"
MODULE = "precision.invariance.far"

_DEFAULTS: Mapping[str, Any] = {"memory_format": "contiguous"}
"""Switches that are read back only where they were set."""


@dataclass(frozen=True)
class Cost:
    """Time of a call in the other mode over that in this one: a ratio of medians, and how it was timed.

    NaN where it could not be timed; `how` then says why.
    """

    ratio: float
    seconds: float
    """Median of a call in this mode."""
    how: str


class _Timer(Live):
    """A process that also times calls."""

    def timed(self, case: Case, sets: list[dict[str, Any]], rounds: int) -> Float32:
        """(sets of switches, rounds) seconds; see `precision.invariance.far`."""
        params = {
            "backend": FRAMEWORKS[self.mode.framework].backend,
            "device": self.mode.device,
            "call": case.call(self.mode.framework, "data"),
            "switches": sets,
            "rounds": rounds,
        }
        call = {"op": case.op, "params": params, "function": "timed", "module": MODULE}
        return self._call(call, case.make("data"))["seconds"]


def costs(mode: Mode, other: Mode, cases: Sequence[Case], timeout: float = 120.0) -> dict[str, Cost]:
    """Compare the times of two modes of one framework, by case id.

    PyTorch's own switches change in a running process, so both modes are timed in one; what libraries read at
    start-up needs a process for each, and the calls then alternate between the two.
    """
    try:
        with ExitStack() as stack:
            if _switchable(mode, other):
                # A process without any switch shows what each of them is where a mode does not set it.
                one = stack.enter_context(_Timer(replace(mode, switches={}), timeout))
                fresh = {**_DEFAULTS, **one.read_back}
                names = sorted({*mode.switches, *other.switches})
                sets = [{n: each.switches.get(n, fresh[n]) for n in names} for each in (mode, other)]
                return {case.id: _cost(_together(one, case, sets), ONE) for case in cases}
            pair = [stack.enter_context(_Timer(each, timeout)) for each in (mode, other)]
            return {case.id: _cost(_alternating(pair, case), TWO) for case in cases}
    except (CannotRun, KernelError) as reason:
        return {case.id: Cost(math.nan, math.nan, str(reason)) for case in cases}


def _cost(measured: Float32 | str, how: str) -> Cost:
    if isinstance(measured, str):
        return Cost(math.nan, math.nan, measured)
    here, there = (float(np.median(row)) for row in measured)
    return Cost(there / here if here > 0.0 else math.nan, here, how)


def _together(one: _Timer, case: Case, sets: list[dict[str, Any]]) -> Float32 | str:
    try:
        return one.timed(case, sets, ROUNDS)
    except (CannotRun, KernelError) as reason:
        return str(reason)


def _alternating(pair: list[_Timer], case: Case) -> Float32 | str:
    try:
        # Every asking warms up first: the other process may have taken the caches.
        rounds = [[each.timed(case, [{}], 1)[0, 0] for each in pair] for _ in range(ROUNDS)]
    except (CannotRun, KernelError) as reason:
        return str(reason)
    return np.array(rounds, np.float32).T


def _switchable(mode: Mode, other: Mode) -> bool:
    """Whether one process can go from one mode to the other: PyTorch, nothing that is read at start-up."""
    return (
        mode.framework == other.framework == "torch"
        and dict(mode.environment) == dict(other.environment)
        and "compile" not in {*mode.switches, *other.switches}
    )
