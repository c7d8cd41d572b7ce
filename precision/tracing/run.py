"""The passes over two models, layer by layer: A makes the truth chain, B follows it.

The truth chain: the input, and for each unit of A its certified truth on the truth-side input, rounded to
float32. Both models are fed that chain, so that a unit's error is its own; an ordinary pass of each gives the
total. Both passes run at once: A goes ahead to the unit that B asks for. Arrays wait on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError
from precision.tracing.declared import Declared, Difference, declare
from precision.tracing.errors import Split, split_of
from precision.tracing.glue import GLUE
from precision.tracing.judge import RANDOM, UNKNOWN, Finding, UnitJudge, own_finding
from precision.tracing.process import TraceProcess, units_of
from precision.tracing.store import Store
from precision.tracing.units import Unit
from reference import Truth

Float32 = NDArray[np.float32]
Progress = Callable[[str], None]
_HELD = 1 << 28
"""Bytes of truths that wait for B in memory; others are computed again."""


@dataclass
class Row:
    """What is found of one unit of A and its partner in B."""

    a: Unit
    b: Unit | None = None
    split_a: Split = field(default_factory=Split)
    split_b: Split = field(default_factory=Split)
    finding_a: Finding = field(default_factory=lambda: Finding("not run"))
    finding_b: Finding | None = None
    differences: tuple[Difference, ...] = ()
    weights: str = ""
    notes: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    """Of the arrays in the store: truth, fed_a, fed_b, ordinary_a, ordinary_b."""
    inputs: list[str] = field(default_factory=list)
    truth: Truth | None = None
    """Of the last units alone: of the others only the rounded one is kept."""


@dataclass(frozen=True)
class Side:
    """One model: its process, its units, and the request that every pass makes of it."""

    process: TraceProcess
    units: Sequence[Unit]
    request: Mapping[str, Any]
    arrays: Mapping[str, Float32]
    outputs: Sequence[int] = ()

    @property
    def framework(self) -> str:
        return self.process.mode.framework

    def asked(self, kind: str) -> dict[str, Any]:
        return {
            "do": "run",
            "kind": kind,
            "units": units_of([unit.chain for unit in self.units]),
            **self.request,
        }


@dataclass
class Ordinary:
    """Keys of what an ordinary pass gave: outputs and inputs of every unit."""

    outputs: dict[int, str] = field(default_factory=dict)
    inputs: dict[int, list[str]] = field(default_factory=dict)


def ordinary_pass(side: Side, store: Store, progress: Progress) -> Ordinary:
    """The model as it is, its activations put on disk."""
    found = Ordinary()

    def answer(head: Mapping[str, Any], arrays: dict[str, Float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        number = int(head["unit"])
        found.outputs[number] = store.put(arrays["output"])
        found.inputs[number] = [store.put(arrays[f"in{k}"]) for k in range(count_inputs(arrays))]
        progress(side.units[number].name)
        return {}, {}

    side.process.run(side.asked("ordinary"), side.arrays, answer)
    return found


class Chain:
    """The truth chain of A, advanced as far as it is asked for."""

    def __init__(
        self, side: Side, ordinary: Ordinary, store: Store, rows: list[Row], progress: Progress
    ) -> None:
        self.side, self.ordinary, self.store, self.rows, self.progress = side, ordinary, store, rows, progress
        self.declared: dict[int, dict[str, str]] = {}
        self.done: set[int] = set()
        self.masked: set[int] = set()
        """Units whose numbers come through random ones that were drawn otherwise in the ordinary pass."""
        self._judges: OrderedDict[int, UnitJudge] = OrderedDict()
        self._without: set[int] = set()
        """Units that have no truth."""
        self._weights: dict[int, dict[str, str]] = {}
        self._steps: Iterator[Any] = side.process.steps(side.asked("truth"), side.arrays)

    def advance(self, number: int | None = None) -> None:
        """Go on until the unit is done; to the end without a number."""
        while number is None or number not in self.done:
            step = next(self._steps, None)
            if step is None:
                return
            head, arrays, reply = step
            if head["event"] == "start":
                continue
            at = int(head["unit"])
            rounded = self._unit(self.side.units[at], arrays)
            if rounded is not None and not np.array_equal(rounded, arrays["output"]):
                reply["arrays"] = {"output": rounded}
            self.done.add(at)
            self.progress(self.side.units[at].name)

    def judge(self, number: int) -> UnitJudge | None:
        """The judge of a unit that is done; None where there is no truth of it."""
        if number in self._judges:
            self._judges.move_to_end(number)
            return self._judges[number]
        if number not in self._weights or number in self._without:
            return None
        declared = self.declaration(number)
        return self._kept(number, UnitJudge(declared)) if declared.known else None

    def limit(self, number: int) -> NDArray[np.float64] | None:
        """The rigorous bound of a unit's own rounding; None where there is none."""
        judge = self.judge(number)
        return None if judge is None else judge.limit

    def known(self, number: int) -> Declared | None:
        """The declaration of a unit that is done; None where there is no truth of it."""
        if number not in self._weights or number in self._without:
            return None
        return self.declaration(number)

    def declaration(self, number: int) -> Declared:
        row, store = self.rows[number], self.store
        weights = {name: store.get(key) for name, key in self._weights[number].items()}
        return declare(row.a, store.all(row.inputs), weights, store.get(row.keys["fed_a"]))

    def _unit(self, unit: Unit, arrays: Mapping[str, Float32]) -> Float32 | None:
        """Judge A's unit; return what the chain goes on with, None for the output itself."""
        row, output = self.rows[unit.number], arrays["output"]
        inputs = [arrays[f"in{k}"] for k in range(count_inputs(arrays))]
        weights = {
            name.removeprefix("weight."): a for name, a in arrays.items() if name.startswith("weight.")
        }
        row.inputs = [self.store.put(each) for each in inputs]
        row.keys["fed_a"] = self.store.put(output)
        row.keys["ordinary_a"] = self.ordinary.outputs[unit.number]
        self._weights[unit.number] = {name: self.store.put(array) for name, array in weights.items()}
        ordinary = self.store.get(row.keys["ordinary_a"])
        if any(source in self.masked for group in unit.sources for source in group):
            self.masked.add(unit.number)
        if unit.op == "random" and not np.array_equal(output == 0, ordinary == 0):
            self.masked.add(unit.number)
        declared = declare(unit, inputs, weights, output)
        judge = None
        wild = [name for name, array in declared.weights.items() if not np.isfinite(array).all()]
        if wild:
            row.finding_a = wild_finding(wild, weights)
        elif declared.known and unit.op not in GLUE and not all(map(_finite, declared.arrays.values())):
            detail = "its input holds NaN or Inf: nothing is judged by it; its own output goes on"
            row.finding_a = Finding(UNKNOWN, detail=detail)
        elif declared.known:
            try:
                judge = UnitJudge(declared)
            except (CaseError, ValueError) as error:
                row.finding_a = Finding("unexplained", detail=str(error))
        else:
            row.finding_a = unknown_finding(unit)
        if judge is None:
            self._without.add(unit.number)
            row.keys["truth"] = row.keys["fed_a"]
            return None
        row.finding_a = own_finding(judge, self.side.framework, output)
        if unit.op == "random":
            row.finding_a = replace(
                row.finding_a, detail="the mask is read from the output; " + row.finding_a.detail
            )
        before = self.store.all(self.ordinary.inputs[unit.number])
        masked = unit.number in self.masked
        row.split_a = split_of(judge.truth, output, None if masked else ordinary, inputs, before)
        row.keys["truth"] = self.store.put(judge.rounded)
        if unit.number in self.side.outputs:
            row.truth = judge.truth
        self._kept(unit.number, judge)
        return judge.rounded

    def _kept(self, number: int, judge: UnitJudge) -> UnitJudge:
        self._judges[number] = judge
        self._judges.move_to_end(number)
        while len(self._judges) > 1 and sum(32 * j.truth.value.size for j in self._judges.values()) > _HELD:
            self._judges.popitem(last=False)
        return judge


def wild_finding(names: Sequence[str], weights: Mapping[str, Float32]) -> Finding:
    """What is said of a layer whose weights hold NaN or infinities: nothing can be judged by them."""
    bad = ~np.isfinite(weights[names[0]])
    at = [int(i) for i in np.argwhere(bad)[0]]
    detail = (
        f"its {names[0]} holds {int(bad.sum())} NaN or Inf among {bad.size} values, the first at {at}: "
        "nothing after it is judged by the truth"
    )
    return Finding("data", names[0], "finite numbers", "NaN or Inf", "proved", detail, "find what made them")


def unknown_finding(unit: Unit) -> Finding:
    """What is said of a unit that has no truth."""
    what = unit.main.detail or unit.op
    detail = f"the reference has no {what}: nothing is proved of it; its own output goes on as the truth side"
    return Finding(RANDOM if unit.op == "random" else UNKNOWN, detail=detail)


def _finite(array: Float32) -> bool:
    return bool(np.isfinite(array).all())


def count_inputs(arrays: Mapping[str, Float32]) -> int:
    """How many operands a message holds: in0, in1, …"""
    count = 0
    while f"in{count}" in arrays:
        count += 1
    return count
