"""The gradients of two models, layer by layer: the truth chain goes back, and both autograds follow it.

The function that is differentiated is L = sum over the model's outputs of c * output, with cotangents c of
standard normal numbers from the seed. The gradient truth chain starts with c; of each unit of A, from the
last to the first, the exact vector-Jacobian products on its truth-side inputs and the truth-side gradient at
its output are certified and rounded to float32, and go on to the units before it; where several meet they
are added in float64 and rounded once. Each framework's autograd is run unit by unit on the same numbers
(own), and over the whole model as it is (total).

Where it cannot be told how an operand comes out of the units before it (a slice, a split), or a unit has no
exact gradient, A's own gradient stands on the truth side.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError
from precision.tracing.backward.pullback import Pullback, pullbacks
from precision.tracing.backward.totals import TotalPass, Totals, asked, input_keys, input_split
from precision.tracing.declared import Declared
from precision.tracing.errors import Split, split_of
from precision.tracing.fitting import fitted
from precision.tracing.judge import RANDOM, UNKNOWN, Finding, finding_of
from precision.tracing.run import Chain, Progress, Row
from precision.tracing.store import Store
from reference.escalate import exact

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Arrays = Mapping[str, Float32]

STOPPED = "autograd lets no gradient through here (no_grad, detach, stop_gradient)"
CHOICES = ("gradient at the kink", "ties")
"""What frameworks choose where several values are right: a slope at a kink, one of equal maxima."""
_KINKED = ("relu", "leaky_relu", "prelu")
_NOT_WEIGHTS = ("running_mean", "running_var", "mask", "indices")
_HELD = 1 << 28
"""Bytes of certified gradients that wait for B in memory; others are computed again."""


@dataclass
class GradientRow:
    """What is found of the gradient with respect to one operand of a unit of A; row: None for an input of
    the model itself."""

    row: Row | None
    name: str
    of: str
    shape: tuple[int, ...]
    a: Finding
    b: Finding | None = None
    split_a: Split = field(default_factory=Split)
    split_b: Split = field(default_factory=Split)
    keys: dict[str, str] = field(default_factory=dict)
    """Of the arrays in the store: truth, fed_a, fed_b, total_a, total_b."""
    notes: list[str] = field(default_factory=list)
    scaled: dict[str, float] = field(default_factory=dict)
    """Of A ("a") and B: the total error over the sum of absolute terms, in Euclidean norms."""


class GradientChain:
    """The gradient truth chain of A, and A's own gradients beside it."""

    def __init__(self, chain: Chain, total: TotalPass, progress: Progress) -> None:
        self.chain, self.side, self.store, self.progress = chain, chain.side, chain.store, progress
        self.total = total
        self.rows: list[GradientRow] = []
        self.at: dict[tuple[int, str], GradientRow] = {}
        self.arriving: dict[int, str] = {}
        """Keys of the truth-side gradients at the outputs of units."""
        self.of_inputs: dict[int, Float64] = {}
        self._sums: dict[int, Float64] = {}
        self._otherwise: set[int] = set()
        """Units whose gradient on the truth side is A's own."""
        self._lost: set[int] = set()
        """Inputs of the model that are taken in a way that cannot be told."""
        self._own: dict[int, dict[str, str]] = {}
        self._pulled: OrderedDict[int, dict[str, Pullback]] = OrderedDict()

    def run(self) -> None:
        """The whole pass."""
        self._start_from_outputs()
        self.side.process.run(asked(self.side, "gradients"), self.side.arrays, self._answer)
        self._inputs()

    def pullbacks(self, number: int) -> dict[str, Pullback]:
        """The exact gradients of a unit that is done; empty where there are none."""
        if number in self._pulled:
            self._pulled.move_to_end(number)
            return self._pulled[number]
        declared = self.chain.known(number)
        found = {} if declared is None else pulled(declared, self.store.get(self.arriving[number]))
        self._pulled[number] = found
        while len(self._pulled) > 1 and sum(map(_bytes, self._pulled.values())) > _HELD:
            self._pulled.popitem(last=False)
        return found

    def own(self, number: int) -> dict[str, Float32]:
        """What A's autograd gave for a unit."""
        return {name: self.store.get(key) for name, key in self._own.get(number, {}).items()}

    def _answer(self, head: Mapping[str, Any], arrays: dict[str, Float32]) -> tuple[dict[str, Any], Arrays]:
        number = int(head["unit"])
        if head["event"] == "end":
            key = self.chain.rows[number].keys.get("truth")
            return {}, {} if key is None else {"output": self.store.get(key)}
        if head["event"] == "pull":
            gradient = self._arrive(number)
            return ({"skip": True}, {}) if gradient is None else ({}, {"gradient": gradient})
        if head["event"] == "pulled":
            self._judge(number, head, arrays)
            self.progress(self.side.units[number].name)
        return {}, {}

    def _start_from_outputs(self) -> None:
        """Give each cotangent to the unit that gives that output."""
        ends, total = set(self.side.outputs), self.total
        for key, cotangent in zip(total.outputs, total.cotangents, strict=True):
            output = self.store.get(key)
            for s in sorted(ends):
                own = fitted(self.store.get(self.chain.ordinary.outputs[s]), output.shape)
                if own is not None and np.array_equal(own, output, equal_nan=True):
                    self._add(s, cotangent)
                    break
        self._otherwise |= {s for s in ends if s not in self._sums}

    def _arrive(self, number: int) -> Float32 | None:
        """The truth-side gradient at a unit's output; None where nothing flows, or nothing is known."""
        gradient: Float32 | None = None
        row = self.chain.rows[number]
        if number in self._otherwise:
            key = self.total.found.outputs.get(number)
            gradient = None if key is None else self.store.get(key)
            if gradient is not None:
                row.notes.append("the gradient that arrives is A's own: it passes through moves of elements")
        elif number in self._sums:
            gradient = self._sums.pop(number).astype(np.float32)
        if gradient is None or not np.isfinite(gradient).all():
            if gradient is not None or number in self._otherwise:
                self._otherwise |= {s for group in row.a.sources for s in group if s >= 0}
            return None
        self.arriving[number] = self.store.put(gradient)
        return gradient

    def _judge(self, number: int, head: Mapping[str, Any], arrays: Arrays) -> None:
        row, unit = self.chain.rows[number], self.side.units[number]
        found = {name.removeprefix("weight."): array for name, array in arrays.items()}
        self._own[number] = {name: self.store.put(array) for name, array in found.items()}
        known, error = self.pullbacks(number), head.get("error")
        count = len(row.inputs)
        for name in names_of(known, found):
            own, pull = found.get(name), known.get(name)
            shape = pull.truth.value.shape if pull is not None else own.shape if own is not None else ()
            finding = self._finding(row, pull, own, error)
            at = GradientRow(row, name, word_of(name, count), tuple(shape), finding)
            if pull is not None and own is not None:
                self.measure(at, "a", self.total.found, number, name, pull, own)
            at.notes += kinks(row, name, self.store.all(self.chain.ordinary.inputs[number]), self.store, "A")
            self.rows.append(at)
            self.at[number, name] = at
        if error and not known:
            at = GradientRow(row, "", "gradient", unit.shape, self._finding(row, None, None, error))
            self.rows.append(at)
        self._hand_on(number, head, found, known)

    def _finding(self, row: Row, pull: Pullback | None, own: Float32 | None, error: Any) -> Finding:
        if own is None:
            return Finding("not run", detail=str(error)) if error else Finding(RANDOM, detail=STOPPED)
        if pull is None:
            if row.a.op == "random":
                return Finding(RANDOM, detail="random state")
            what = row.a.main.detail or row.a.op
            detail = f"the reference has no gradient of {what}: A's own goes on as the truth side"
            return Finding(UNKNOWN, detail=detail)
        found = finding_of(pull.explained(self.side.framework, own))
        if found.parameter not in CHOICES:
            return found
        # Which of several right values a model takes is for A to choose, and for B to take too.
        detail = f"A chooses among right values, and its own goes on as the truth side: {found.detail}"
        return replace(found, verdict=RANDOM, mend="", detail=detail)

    def measure(
        self, of: GradientRow, side: str, totals: Totals, number: int, name: str, pull: Pullback, own: Float32
    ) -> None:
        """The figures of one gradient of A or B, and its arrays; number, name: of the unit of that model.

        The input of its amplification is the gradient that arrives.
        """
        shape, get = pull.truth.value.shape, self.store.get
        key = totals.parts.get(number, {}).get(name)
        shared = name in totals.shared.get(number, ())
        total = None if key is None or shared else fitted(get(key), shape)
        before = totals.outputs.get(number)
        arrived = get(self.arriving[of.row.a.number]) if of.row is not None else None
        came = None if before is None or arrived is None else fitted(get(before), arrived.shape)
        fed = fitted(own, shape)
        inputs = ([arrived], [came]) if arrived is not None and came is not None else ([], [])
        found = split_of(pull.truth, fed, total, *inputs)
        of.keys |= {"truth": of.keys.get("truth") or self.store.put(pull.rounded)}
        of.keys |= {f"{word}_{side}": self.store.put(each) for word, each in (("fed", fed), ("total", total))
                    if each is not None}  # fmt: skip
        if total is not None:
            apart, terms = pull.truth.error(total), pull.truth.magnitude
            size = float(np.linalg.norm(terms[np.isfinite(terms)]))
            of.scaled[side] = float(np.linalg.norm(apart[np.isfinite(apart)])) / size if size else 0.0
        if side == "a":
            of.split_a = found
        else:
            of.split_b = found

    def _hand_on(
        self, number: int, head: Mapping[str, Any], own: Arrays, known: Mapping[str, Pullback]
    ) -> None:
        row = self.chain.rows[number]
        groups = row.a.sources
        for k, group in enumerate(groups):
            name = f"in{k}"
            at = self.at.get((number, name))
            chosen = at is not None and at.a.parameter in CHOICES  # A's choice is what A declares
            exact_one = None if chosen or name not in known else known[name].rounded
            gradient = own.get(name) if exact_one is None else exact_one
            if len(groups) != len(row.inputs) or ("error" in head and gradient is None):
                self._unknown(group)
                continue
            stopped = name in self.total.found.stopped.get(number, ())
            if gradient is None or stopped or name in head.get("missing", ()):
                continue  # autograd lets nothing through
            operand = self.store.get(row.inputs[k])
            if len(group) == 1 and self._is(group[0], operand):
                self._add(group[0], gradient)
            else:
                self._unknown(group)

    def _is(self, source: int, operand: Float32) -> bool:
        """Whether an operand is what a unit, or an input of the model, gives on the truth side."""
        if source < 0:
            given: Float32 | None = self.side.arrays.get(f"in{-1 - source}")
        else:
            key = self.chain.rows[source].keys.get("truth")
            given = None if key is None else self.store.get(key)
        if given is None:
            return False
        same = fitted(operand, given.shape)
        return same is not None and np.array_equal(same, given, equal_nan=True)

    def _add(self, source: int, gradient: Float32) -> None:
        shape = self.side.arrays[f"in{-1 - source}"].shape if source < 0 else self._shape(source)
        shaped = fitted(gradient, shape)
        if shaped is None:
            self._unknown((source,))
            return
        sums = self.of_inputs if source < 0 else self._sums
        before = sums.get(source, np.zeros(shape))
        sums[source] = before + shaped

    def _shape(self, number: int) -> tuple[int, ...]:
        row = self.chain.rows[number]
        key = row.keys.get("truth")
        return row.a.shape if key is None else self.store.get(key).shape

    def _unknown(self, sources: Sequence[int]) -> None:
        self._otherwise |= {s for s in sources if s >= 0}
        self._lost |= {s for s in sources if s < 0}

    def _inputs(self) -> None:
        """Rows of the inputs of the model: what arrives there, beside the total gradient."""
        for source, value in sorted(self.of_inputs.items(), reverse=True):
            if source in self._lost:
                continue
            name = f"in{-1 - source}"
            truth = exact(value.astype(np.float32))
            detail = "sum of what the layers hand on; its total error is all inherited"
            at = GradientRow(None, name, word_of(name, len(self.side.arrays)), value.shape,
                             Finding("exact", evidence="proved", detail=detail))  # fmt: skip
            at.split_a = input_split(self.total.found, name, truth.round(np.float32), self.store)
            at.keys["truth"] = self.store.put(truth.round(np.float32))
            at.keys |= input_keys(self.total.found, name, "total_a")
            self.rows.append(at)
            self.at[-1, name] = at


def pulled(declared: Declared, gradient: Float32) -> dict[str, Pullback]:
    """The exact gradients of a declaration; empty where it cannot be evaluated."""
    try:
        return pullbacks(declared, gradient)
    except (CaseError, ValueError):
        return {}


def kinks(row: Row, name: str, ordinary: Sequence[Float32], store: Store, side: str) -> list[str]:
    """What is said where elements lie on the other side of a kink in an ordinary pass than in the chain's."""
    if row.a.op not in _KINKED or name != "in0" or not ordinary:
        return []
    exact_input = store.get(row.inputs[0])
    own = fitted(ordinary[0], exact_input.shape)
    count = 0 if own is None else int(((own > 0) != (exact_input > 0)).sum())
    if not count:
        return []
    verb = "lies" if count == 1 else "lie"
    return [
        f"{count} of {exact_input.size} elements {verb} on the other side of the kink in {side}'s ordinary "
        "pass: from here on its total gradient is another one"
    ]


def names_of(known: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Operands in order: inputs, then weights by name."""
    names = {*known, *found} - set(_NOT_WEIGHTS)
    return sorted(names, key=lambda name: (not name.startswith("in"), name != "weight", name))


def word_of(name: str, count: int) -> str:
    """What the table calls an operand."""
    if not name.startswith("in") or not name[2:].isdigit():
        return name
    return "input" if count == 1 else f"input {int(name[2:]) + 1}"


def _bytes(found: Mapping[str, Pullback]) -> int:
    return sum(48 * each.truth.value.size for each in found.values())
