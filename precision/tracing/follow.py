"""B, fed the truth chain of A, and judged unit by unit on what A declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError
from precision.tracing.declared import Declared, Difference, declare, differences, reordered, same_weights
from precision.tracing.errors import split_of
from precision.tracing.fitting import distance, equal_inputs, fitted
from precision.tracing.judge import FINE, OTHER_INPUT, RANDOM, UNKNOWN, Finding, UnitJudge, other_finding
from precision.tracing.match import Matching
from precision.tracing.run import Chain, Ordinary, Row, Side, count_inputs, unknown_finding, wild_finding
from precision.tracing.turned import turned
from precision.tracing.units import Unit

Float32 = NDArray[np.float32]
AGREED = 1e-5
"""Relative distance of two inputs that is taken for the rounding of the unmatched units before them."""


@dataclass(frozen=True)
class Wiring:
    """A unit of B whose input is not A's: where each takes it; the unmatched units that B's passes through;
    how far apart the two are, in Euclidean norms over A's, None where the shapes differ."""

    a: str
    b: str
    through: tuple[str, ...]
    apart: float | None
    left_out: str = ""
    """A layer of A without a partner that B's unit takes the input of, rather than what it makes of it."""

    @property
    def settled(self) -> bool:
        """Whether what lies between computes what A computes there, but for rounding."""
        return bool(self.through) and self.apart is not None and self.apart < AGREED

    @property
    def notes(self) -> list[str]:
        if not self.through:
            return []
        size = "in another shape" if self.apart is None else f"and is {self.apart:.2g} from A's, relatively"
        return [f"its input comes through {', '.join(self.through)}, which has no partner in A, {size}"]

    def judged(self, found: Finding, op: str) -> Finding:
        """The verdict on the unit where its input is taken into account."""
        if self.settled or found.verdict == "semantics":
            return found
        if self.through and self.apart is None:
            detail = "B's layers before it have no partner and give another shape: it was not fed A's"
            return found if found.verdict in FINE else Finding(RANDOM, detail=detail)
        if found.verdict in FINE or op == "concat":
            evidence = "consistent" if self.through else "proved"
            detail = f"the layer takes {self.b}; A's takes {self.a}"
            if self.a == self.b:
                detail = f"the layer takes {self.b} too, but other elements of it, or in another order"
            mend = f"take {self.a}"
            if self.left_out:
                detail += f": {self.left_out} is left out, and has no partner in B"
                mend = f"put {self.left_out} in, as A has it"
            return Finding("semantics", OTHER_INPUT, self.a, self.b, evidence, detail, mend)
        return found


class Follower:
    """B, fed the truth chain of A."""

    def __init__(self, side: Side, ordinary: Ordinary, chain: Chain, matching: Matching) -> None:
        self.side, self.ordinary, self.chain = side, ordinary, chain
        self.partner, self.only_a = matching.partner, set(matching.only_a)
        self.wiring: dict[int, Wiring] = {}
        self.masked: set[int] = set()
        self._fed: dict[int, tuple[list[str], dict[str, str], str]] = {}
        """Of every unit the keys of its inputs, weights and output, as it was fed."""

    def declaration(self, number: int) -> Declared:
        """What B's unit declares, on what it was fed.  Raises KeyError for one that was not run."""
        inputs, weights, output = self._fed[number]
        get = self.chain.store.get
        held = {name: get(key) for name, key in weights.items()}
        return declare(self.side.units[number], list(map(get, inputs)), held, get(output))

    def run(self) -> None:
        """The whole pass."""
        self.side.process.run(self.side.asked("fed"), self.side.arrays, self._answer)

    def _answer(
        self, head: Mapping[str, Any], arrays: dict[str, Float32]
    ) -> tuple[dict[str, Any], Mapping[str, Float32]]:
        number = int(head["unit"])
        if number not in self.partner:
            return {}, {}
        self.chain.advance(self.partner[number])
        if head["event"] == "start":
            return self._start(number, arrays)
        return {}, self._end(number, arrays)

    def _start(self, number: int, arrays: dict[str, Float32]) -> tuple[dict[str, Any], Mapping[str, Float32]]:
        """What the unit is fed: its own inputs where they are A's already, else A's where they fit."""
        own = [arrays[f"in{k}"] for k in range(count_inputs(arrays))]
        unit, row = self.side.units[number], self.chain.rows[self.partner[number]]
        wanted = self.chain.store.all(row.inputs)
        if equal_inputs(own, wanted, row.a.op):
            return {}, {}
        wiring = self.wiring[number] = self._wired(unit, row, own, wanted)
        if len(own) != len(wanted) or (row.a.op == "concat" and not wiring.through):
            return {}, {}
        shaped = [fitted(a, b.shape) for a, b in zip(wanted, own, strict=True)]
        if any(each is None for each in shaped):
            return {}, {}
        return {"feed": True}, {f"in{k}": each for k, each in enumerate(shaped) if each is not None}

    def _wired(self, unit: Unit, row: Row, own: Sequence[Float32], wanted: Sequence[Float32]) -> Wiring:
        """Where B's unit takes its input, and how far that is from A's."""
        rows, through = self.chain.rows, []
        a = [" + ".join(rows[s].a.name if s >= 0 else "input" for s in group) for group in row.a.sources]
        b = []
        for group in unit.sources:
            names = []
            for s in group:
                if s >= 0 and s not in self.partner:
                    through.append(self.side.units[s].name)
                    names.append(self.side.units[s].name)
                else:
                    names.append(rows[self.partner[s]].a.name if s >= 0 else "input")
            b.append(" + ".join(names))
        joined = " + ".join(a), " + ".join(b)
        return Wiring(*joined, tuple(through), distance(own, wanted), self._left_out(row.a, b))

    def _left_out(self, unit: Unit, taken: Sequence[str]) -> str:
        """The layer of A before the unit that B goes past; "" where there is none."""
        rows = self.chain.rows
        for group, name in zip(unit.sources, taken, strict=False):
            for s in group:
                before = rows[s].a if s >= 0 and s in self.only_a else None
                if before is None or len(before.sources) != 1:
                    continue
                names = [rows[n].a.name if n >= 0 else "input" for n in before.sources[0]]
                if " + ".join(names) == name:
                    return f"{before.name} ({before.op})"
        return ""

    def _end(self, number: int, arrays: dict[str, Float32]) -> Mapping[str, Float32]:
        unit, chain = self.side.units[number], self.chain
        at = self.partner[number]
        row, store = chain.rows[at], chain.store
        row.b = unit
        output = arrays["output"]
        if any(s in self.masked for group in unit.sources for s in group) or unit.op == "random":
            self.masked.add(number)
        row.keys["ordinary_b"] = self.ordinary.outputs[number]
        truth = store.get(row.keys["truth"])
        ordinary = store.get(row.keys["ordinary_b"])
        shaped, before = fitted(output, truth.shape), fitted(ordinary, truth.shape)
        found = output if shaped is None else shaped
        row.keys["fed_b"] = store.put(found)
        row.keys["ordinary_b"] = store.put(ordinary if before is None else before)
        inputs = [arrays[f"in{k}"] for k in range(count_inputs(arrays))]
        weights = {
            name.removeprefix("weight."): a for name, a in arrays.items() if name.startswith("weight.")
        }
        self._fed[number] = (
            [store.put(each) for each in inputs],
            {name: store.put(array) for name, array in weights.items()},
            store.put(output),
        )
        declared = declare(unit, inputs, weights, output)
        judge = chain.judge(at)
        if judge is None or row.a.op in ("random", UNKNOWN) or unit.op in ("random", UNKNOWN):
            row.finding_b = self._without_truth(row, unit, declared, found, truth)
        else:
            row.finding_b = self._judged(row, unit, declared, judge, found, number)
        if judge is not None:
            ordinary_inputs = store.all(self.ordinary.inputs[number])
            fed = found if row.a.op != "random" else None
            total = before if number not in self.masked else None
            row.split_b = split_of(judge.truth, fed, total, inputs, ordinary_inputs)
        # Of A's shape where B's is another: what comes after is then judged all the same.
        answer = fitted(truth, output.shape)
        answer = truth if answer is None else answer
        return {} if np.array_equal(answer, output) else {"output": answer}

    def _judged(
        self, row: Row, unit: Unit, declared: Declared, judge: UnitJudge, output: Float32, number: int
    ) -> Finding:
        ours = judge.declared
        wild = [name for name, array in declared.weights.items() if not np.isfinite(array).all()]
        if wild:
            return wild_finding(wild, declared.weights)
        declared, same, note = _aligned_weights(ours, declared)
        if ours.weights or declared.weights:
            row.weights = "same" if same else f"differ: {note}"
        row.differences = tuple(differences(row.a, unit, ours, declared))
        wiring = self.wiring.get(number)
        try:
            if not same:
                # Weights of their own may well be made for their own order.
                judge = UnitJudge(with_weights(ours.flattened(declared.flatten), declared))
            if same and row.finding_a.verdict in FINE and np.array_equal(output, self._of_a(row)):
                found = row.finding_a  # the same bits of the same declaration
            else:
                found = other_finding(judge, declared, row.differences, self.side.framework, output)
        except (CaseError, ValueError) as error:
            found = Finding("unexplained", detail=str(error))
        if wiring is not None:
            found = wiring.judged(found, row.a.op)
            row.notes += wiring.notes
        if found.verdict in FINE and not same:
            moved = _turned(ours, declared)
            parameter, words = ("weights", note) if moved is None else moved
            detail = f"with its own weights it is {found.verdict}, but {words}"
            fix = "copy A's weights, --weights a carries them"
            return Finding("data", parameter, "A's", words, "proved", detail, fix)
        return found

    def _of_a(self, row: Row) -> Float32:
        return self.chain.store.get(row.keys["fed_a"])

    def _without_truth(
        self, row: Row, unit: Unit, declared: Declared, output: Float32, truth: Float32
    ) -> Finding:
        if "random" in (row.a.op, unit.op):
            scale = ""
            if declared.known and declared.op == "dropout":
                own = UnitJudge(declared).explained(self.side.framework, output)
                wanted, has = row.a.params.get("p"), unit.params["p"]
                if own.verdict in FINE and row.a.op == "random" and wanted not in (None, has):
                    row.differences = (Difference("p", wanted, has),)
                    detail = f"dropout: p is {has}, A's is {wanted}; with B's own mask every output is B's"
                    return Finding("semantics", "p", wanted, has, "proved", detail, f"drop with p={wanted}")
                scale = f"; with the mask that its own output shows, B's is {own.verdict}"
            detail = f"random state: the two draw other masks{scale}; B goes on with A's"
            return Finding(RANDOM, detail=detail, mend="set dropout to inference, or compare without it")
        if UNKNOWN in (row.finding_a.verdict, unit.op):
            if output.shape != truth.shape:
                return Finding(
                    UNKNOWN, detail=f"{unknown_finding(unit).detail}; B's shape is {list(output.shape)}"
                )
            apart = distance([output], [truth])
            size = "by nothing" if apart == 0 else f"by {apart:.2g} of the output (Euclidean norms)"
            if np.array_equal(output, truth, equal_nan=True):
                apart, size = 0.0, "by nothing"
            known = UNKNOWN not in (row.a.op, unit.op)
            lead = f"the reference has no {unit.main.detail or unit.op}: nothing is proved of it"
            detail = (
                f"{row.finding_a.detail if known else lead}; on the same input, the layers before it "
                f"settled, A and B differ {size}"
            )
            if apart is None or not apart < AGREED:
                fix = "compare the layer's parameters and weights by hand: rounding is not known to do this"
                return Finding("unexplained", detail=detail, mend=fix)
            return Finding(UNKNOWN, detail=detail)
        return (
            row.finding_a
            if row.finding_a.verdict == "data"
            else Finding("unexplained", detail=row.finding_a.detail)
        )


def _turned(ours: Declared, theirs: Declared) -> tuple[str, str] | None:
    """What moves A's weight to B's, where that is all that differs."""
    for name, array in ours.weights.items():
        other = theirs.weights.get(name, array)
        if other.shape != array.shape or np.array_equal(other, array, equal_nan=True):
            continue
        found = turned(array, other) if name == "weight" else None
        if found is None:
            return None
        rest = {each: value for each, value in ours.weights.items() if each != name}
        same = all(np.array_equal(theirs.weights.get(each, value), value) for each, value in rest.items())
        return (found[0], f"{name} is A's {found[1]}") if same else None
    return None


def _aligned_weights(ours: Declared, theirs: Declared) -> tuple[Declared, bool, str]:
    """B's declaration, whether its weights are A's, and what is not.

    A linear layer's weight that was reordered for B's flatten order is the same weight: B's layer is then the
    same function of the image, and is declared as A declares it.
    """
    same, note = same_weights(ours, theirs)
    if same or ours.image is None or theirs.image is None or ours.flatten == theirs.flatten:
        return theirs, same, note
    turned = reordered(theirs.arrays["weight"], ours.image.shape, str(theirs.flatten), str(ours.flatten))
    again = replace(theirs.flattened(ours.flatten), arrays={
        **theirs.flattened(ours.flatten).arrays, "weight": turned,
    })  # fmt: skip
    if same_weights(ours, again)[0]:
        return again, True, ""
    return theirs, same, note


def with_weights(ours: Declared, theirs: Declared) -> Declared:
    """A's declaration with B's weights, where both have them in one shape."""
    shared = {
        name: theirs.arrays[name]
        for name, array in ours.weights.items()
        if name in theirs.arrays and theirs.arrays[name].shape == array.shape
    }
    return replace(ours, arrays={**ours.arrays, **shared})
