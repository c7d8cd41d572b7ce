"""Asks one mode for the same results in several settings, and keeps the distinct ones.

Threads and memory formats are switches of processes of their own; all else is asked in one.  A failed call
costs its case and factor only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from precision.cases import Case
from precision.errors import CannotRun, UserError
from precision.inputs import Float32
from precision.invariance.settings import FACTORS, NotApplicable, settings
from precision.live import KernelError, Live
from precision.modes import Mode

FORMATS = ("contiguous", "channels_last")


@dataclass
class Collected:
    """Results of one case, mode and factor: labels of the settings, which distinct result each gave, these.

    status: "asked", "not applicable", "not run" or "error", the last three with a reason.
    """

    labels: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    distinct: list[Float32] = field(default_factory=list)
    status: str = "asked"
    reason: str = ""

    def add(self, label: str, result: Float32) -> None:
        """Take one result in.  Two are the same where the shape and every bit are: -0 is not +0."""
        here = (result.shape, result.tobytes())
        same = [n for n, known in enumerate(self.distinct) if (known.shape, known.tobytes()) == here]
        if not same:
            self.distinct.append(np.asarray(result, order="C"))
        self.labels.append(label)
        self.groups.append(same[0] if same else len(self.distinct) - 1)

    def fail(self, status: str, reason: str) -> None:
        """Say why there are no results; what was collected is not judged."""
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Plan:
    """What to vary.  repeats: calls of one kind; threads: numbers of them; timeout: seconds for one call."""

    factors: Sequence[str] = FACTORS
    repeats: int = 20
    threads: Sequence[int] = (1, 2, 4)
    timeout: float = 120.0


def checked_plan(factors: Sequence[str], repeats: int, threads: Sequence[int], timeout: float) -> Plan:
    """A plan of what to vary.  Raises `UserError` for an unknown factor and for numbers out of range."""
    unknown = [name for name in factors if name not in FACTORS]
    if unknown or not factors:
        given = repr(unknown[0]) if unknown else "none"
        raise UserError(f"a factor is one of {', '.join(FACTORS)}; got {given}; choose from these")
    if repeats < 2:
        raise UserError(f"at least 2 repeats can differ; got {repeats}; give --repeats 20, say")
    if not threads or min(threads) < 1:
        raise UserError(f"numbers of threads are 1 or more; got {list(threads)}; give --threads 1,2,4, say")
    if not timeout > 0:
        raise UserError(f"the time limit is above 0 seconds; got {timeout:g}; give --timeout 120, say")
    return Plan(tuple(factors), repeats, tuple(threads), timeout)


Found = dict[tuple[str, str], Collected]
"""By case id and factor."""

Progress = Callable[[str], None]


def steps_of(mode: Mode, plan: Plan) -> int:
    """How often `ask_mode` reports progress, a case."""
    return 1 + len(_variants(mode, plan))


def ask_mode(mode: Mode, cases: Sequence[Case], plan: Plan, progress: Progress) -> Found:
    """Return what the mode gave for every case and factor."""
    found: Found = {(case.id, factor): Collected() for case in cases for factor in plan.factors}
    with _Process(mode, plan.timeout) as process:
        for case in cases:
            _ask_here(process, case, plan, found)
            progress(f"{mode.name} {case.id}")
    for factor, label, variant in _variants(mode, plan):
        with _Process(variant, plan.timeout) as process:
            for case in cases:
                _answer(process, case, found[case.id, factor], label)
                progress(f"{variant.name} {label} {case.id}")
    return found


def _variants(mode: Mode, plan: Plan) -> list[tuple[str, str, Mode]]:
    """What runs in processes of their own: factor, label, mode.  A switch of the mode itself stays."""
    found: list[tuple[str, str, Mode]] = []
    if "processes" in plan.factors:
        found.append(("processes", "process 2", mode))
    if "threads" in plan.factors:
        counts = [mode.switches["threads"]] if "threads" in mode.switches else plan.threads
        found += [("threads", f"threads: {n}", _switched(mode, "threads", n)) for n in counts]
    if "memory format" in plan.factors and mode.framework == "torch":
        formats = [mode.switches["memory_format"]] if "memory_format" in mode.switches else FORMATS
        found += [("memory format", name, _switched(mode, "memory_format", name)) for name in formats]
    return found


def _switched(mode: Mode, name: str, value: Any) -> Mode:
    return replace(mode, switches={**mode.switches, name: value})


def _image(mode: Mode, case: Case) -> bool:
    image = case.op.startswith(("conv", "batch_norm", "group_norm", "instance_norm", "avg_pool", "max_pool"))
    return mode.framework == "torch" and image and any(len(a.shape) in (4, 5) for a in case.arrays.values())


def _ask_here(process: _Process, case: Case, plan: Plan, found: Found) -> None:
    """The factors that are varied within one process."""
    framework = process.mode.framework
    if "repeats" in plan.factors:
        for number in range(plan.repeats):
            _answer(process, case, found[case.id, "repeats"], f"call {number + 1}")
    if "processes" in plan.factors:
        _answer(process, case, found[case.id, "processes"], "process 1")
    if "memory format" in plan.factors and not _image(process.mode, case):
        reason = "no image" if framework == "torch" else f"no switch of {framework} sets a memory format"
        found[case.id, "memory format"].fail("not applicable", reason)
    for factor in ("batch", "position", "width"):
        if factor not in plan.factors:
            continue
        collected = found[case.id, factor]
        try:
            chosen = settings(case, framework, factor)
        except NotApplicable as reason:
            collected.fail("not applicable", str(reason))
            continue
        for setting in chosen:
            _answer(process, case, collected, setting.label, (setting.params, setting.arrays), setting.kept)


def _answer(
    process: _Process,
    case: Case,
    collected: Collected,
    label: str,
    call: tuple[Mapping[str, Any], Mapping[str, Float32]] | None = None,
    kept: Callable[[Float32], Float32] = lambda output: output,
) -> None:
    if collected.status != "asked":
        return
    params, arrays = call or (case.call(process.mode.framework, "data"), case.make("data"))
    try:
        collected.add(label, kept(process.live().run(case.op, params, arrays)))
    except CannotRun as reason:
        collected.fail("not run", str(reason))
    except KernelError as reason:
        collected.fail("error", f"{label}: {reason}")


class _Process:
    """A live process of a mode; after a crash or a time-out the next call gets a new one."""

    def __init__(self, mode: Mode, timeout: float) -> None:
        self.mode, self.timeout = mode, timeout
        self._live: Live | None = None

    def live(self) -> Live:
        if self._live is not None and not self._live.alive:
            self.close()
        if self._live is None:
            self._live = Live(self.mode, self.timeout)
        return self._live

    def close(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
