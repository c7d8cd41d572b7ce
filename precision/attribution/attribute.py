"""What a captured output of narrow operands is made of: their rounding, exactly, and how it was added.

    operand rounding   truth of the rounded operands - truth: exact; which rounding it was, the probes prove
    accumulation       the output by the architecture's model, bit for bit, where a candidate order gives it;
                       else what is left, within the model's bound for any order, leaning as the model leans

A rounding that the output itself contradicts is refused, whatever the probes said of another call: another
rounding that the output follows instead is looked for in every case, for float32 as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.attribution.models import (
    FLOAT32,
    FLOAT32_ADDER,
    UNKNOWN,
    Adder,
    OperandRounding,
)
from precision.attribution.signs import Lean, Projection, lean, leans_alike, projection
from precision.attribution.sums import any_order_bound, replayed, rows_of, sizes
from precision.judging.budget import Budget, budget
from precision.prediction.orders import KOrder, channels_of, k_orders
from precision.prediction.sums import has_tensor_cores, rounded_arrays
from reference import Truth, error_bound, evaluate
from reference.formats import FORMATS
from reference.scheme import Indices
from reference.tensorcore import OPERAND_MODES, Unit

Single = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Replay = Callable[[Mapping[str, Any]], Single]
Choice = tuple[str, str]
"""Format and mode of a rounding; ("float32", "") for none."""

_FIRST = 64
"""Elements on which every candidate order is tried before the others."""
_LEANING = 1024
"""Elements by which a model's lean is known."""
_NONE: Choice = (FLOAT32, "")


@dataclass(frozen=True)
class Attribution:
    """The parts of an output's error, and what was found on the way.

    order: the candidate that gives every bit, and where the bias joins; "" where none does.
    share_equal: of the elements that the best candidate gives bit for bit, of those tried.
    lean, model_lean: of the accumulation and of the model's default order (missing without a model); alike:
    whether they agree, None where it cannot be told.
    """

    budget: Budget
    rounding: OperandRounding
    order: str
    share_equal: float
    lean: Lean
    model_lean: Lean | None
    alike: bool | None
    words: str


@dataclass(frozen=True)
class _Cell:
    """One output and its declaration; `index`: the flat places of the elements that were kept."""

    op: str
    arrays: Mapping[str, Single]
    params: Mapping[str, Any]
    output: Single
    index: Indices

    def operands(self, choice: Choice) -> dict[str, Any]:
        if choice == _NONE:
            return dict(self.arrays)
        return rounded_arrays(self.arrays, FORMATS[choice[0]], choice[1])

    def truth(self, choice: Choice) -> Truth:
        """Of the operands as rounded, at the kept elements."""
        found = evaluate(self.op, self.operands(choice), self.params)
        return found.arranged(lambda array: array.reshape(-1)[self.index])


def attribute(
    op: str,
    arrays: Mapping[str, Single],
    params: Mapping[str, Any],
    output: Single,
    rounding: OperandRounding,
    adder: Adder,
    index: Indices | None = None,
    revealed: Replay | None = None,
) -> Attribution:
    """Attribute the error of one output of float32 arrays.

    output: all elements in the op's shape, or those at the flat places `index`.  rounding: what the probes of
    the mode showed.  adder: how the device adds.  revealed: the whole output of the op's rounded arrays in
    an order that was revealed (`Revealed.replay`, say), tried first.  Raises ValueError for an op that is no
    sum of products of two arrays, and for an output of another shape.
    """
    if not has_tensor_cores(op):
        raise ValueError(
            f"operands are those of convolutions, linear layers and products; got {op!r}: leave it"
        )
    values = np.ascontiguousarray(output, np.float32).reshape(-1)
    places = np.arange(values.size) if index is None else np.asarray(index, np.int64)
    if values.size != places.size:
        raise ValueError(f"each kept element has a place, got {values.size} and {places.size}: give both")
    cell = _Cell(op, arrays, params, values, places)
    whole = evaluate(op, dict(arrays), params)
    if index is None and whole.value.shape != np.shape(output):
        raise ValueError(f"{op} has the shape {whole.value.shape}, got {np.shape(output)}: check params")
    declared = whole.arranged(lambda array: array.reshape(-1)[places])
    return _Judge(cell, declared, rounding, adder, revealed).attribution()


class _Judge:
    def __init__(
        self,
        cell: _Cell,
        declared: Truth,
        rounding: OperandRounding,
        adder: Adder,
        revealed: Replay | None,
    ) -> None:
        self.cell, self.declared, self.rounding, self.adder = cell, declared, rounding, adder
        self.revealed = revealed
        self._truths: dict[Choice, Truth] = {_NONE: declared}

    def attribution(self) -> Attribution:
        if self.rounding.format == UNKNOWN:
            return self._unproved()
        choice = (self.rounding.format, self.rounding.mode) if self.rounding.rounded else _NONE
        other = self._refuted_by(choice)
        if other is not None:
            return self._refused(_named(choice), _named(other))
        return self._accumulated(choice, self.rounding.words, "proved")

    def _truth(self, choice: Choice) -> Truth:
        if choice not in self._truths:
            self._truths[choice] = self.cell.truth(choice)
        return self._truths[choice]

    def _rivals(self, choice: Choice) -> list[Choice]:
        names = dict.fromkeys((choice[0], "tf32", "bfloat16") if choice != _NONE else ("tf32", "bfloat16"))
        found = [_NONE, *((name, mode) for name in names for mode in OPERAND_MODES)]
        return [each for each in found if each != choice]

    def _adder_of(self, choice: Choice) -> Adder:
        # Tensor cores take no float32: what is not rounded is added elsewhere.
        if choice == _NONE:
            return FLOAT32_ADDER
        if self.adder.unit is not None and self.adder.unit.format != FORMATS[choice[0]]:
            return Adder(UNKNOWN, None, f"{self.adder.unit.name}: not a model for {choice[0]}")
        return self.adder

    def _refuted_by(self, choice: Choice) -> Choice | None:
        """Another rounding that the output follows."""
        found = [(self._projection(choice, other), other) for other in self._rivals(choice)]
        sure = [(each.value / each.error if each.error else np.inf, o) for each, o in found if each.refutes]
        return max(sure)[1] if sure else None

    def _projection(self, choice: Choice, other: Choice) -> Projection:
        a, b = self._truth(choice), self._truth(other)
        with np.errstate(invalid="ignore"):
            change = (b.value - a.value) + (b.residual - a.residual)
        return projection(a.error(self.cell.output), change, a.value, a.magnitude)

    def _unproved(self) -> Attribution:
        """Without a proof by probes: the rounding that the output follows, every other parted from it."""
        for choice in (_NONE, *self._rivals(_NONE)):
            found = [self._projection(choice, other) for other in self._rivals(choice)]
            if all(each.parted and not each.refutes for each in found):
                words = f"{self.rounding.words}; the output follows {_named(choice)}, which is no proof"
                return self._accumulated(choice, words, "consistent")
        return self._refused("", "", self.rounding.words)

    def _refused(self, claimed: str, found: str, words: str = "") -> Attribution:
        words = words or f"refused: the probes showed {claimed}, this output follows {found}"
        parts = budget(self.declared, self.cell.output)
        left = self._lean(self.declared)
        return Attribution(parts, self.rounding, "", 0.0, left, None, None, words)

    def _lean(self, truth: Truth) -> Lean:
        return lean(truth.error(self.cell.output), truth.value, truth.magnitude)

    def _accumulated(self, choice: Choice, words: str, evidence: str) -> Attribution:
        truth, adder = self._truth(choice), self._adder_of(choice)
        rounded = truth if choice != _NONE else None
        found = self._lean(truth)

        def parts(**known: Any) -> Budget:
            return budget(
                self.declared, self.cell.output, rounded=rounded, rounding_evidence=evidence, **known
            )

        known = self._in_revealed_order(choice)
        if known is not None:
            told = f"{words}; every bit is that of the order that was revealed"
            name = "the order that was revealed"
            return Attribution(parts(replay=known), self.rounding, name, 1.0, found, None, None, told)
        if adder.unit is None:
            if adder.kind != FLOAT32:
                return Attribution(
                    parts(), self.rounding, "", 0.0, found, None, None, f"{words}; {adder.words}"
                )
            told = f"{words}; {adder.words}"
            return Attribution(
                parts(worst=self._any_float32(choice)), self.rounding, "", 0.0, found, None, None, told
            )
        name, share, replay = self._replay(choice, adder.unit)
        if replay is not None:
            told = f"{words}; every bit is that of {adder.words}: {name}"
            return Attribution(parts(replay=replay), self.rounding, name, 1.0, found, found, True, told)
        models = self._model_leans(choice, adder.unit)
        alike = leans_alike(found, models)
        told = f"{words}; {adder.words}: no candidate order gives every bit; "
        told += (
            f"the accumulation leans {found.words} in 2^-24 of the sum of sizes, the model {models[0].words}"
        )
        # A model that leans otherwise is not how this was added: its bound says nothing.
        worst = None if alike is False else self._worst(choice, adder.unit)
        told += ", which it does not explain" if alike is False else ""
        return Attribution(parts(worst=worst), self.rounding, "", share, found, models[0], alike, told)

    def _in_revealed_order(self, choice: Choice) -> Single | None:
        """The output in the order that was revealed, where that gives every bit."""
        if self.revealed is None:
            return None
        try:
            whole = self.revealed(self.cell.operands(choice))
        except ValueError:  # revealed for other shapes
            return None
        replay = np.ascontiguousarray(whole, np.float32).reshape(-1)[self.cell.index]
        return replay if _equal(replay, self.cell.output) == 1.0 else None

    def _any_float32(self, choice: Choice) -> Float64:
        operands = self.cell.operands(choice)
        whole = evaluate(self.cell.op, operands, self.cell.params)
        bound = error_bound(self.cell.op, operands, self.cell.params, whole)
        return np.asarray(bound.reshape(-1)[self.cell.index])

    def _worst(self, choice: Choice, unit: Unit) -> Float64:
        operands = self.cell.operands(choice)
        count, rows = rows_of(self.cell.op, operands, self.cell.params, self.cell.index)
        return any_order_bound(*sizes(count, rows, unit.format.emin), unit)

    def _candidates(self, choice: Choice, unit: Unit) -> list[tuple[KOrder, str]]:
        """Orders of the first part's names, with the place where the bias joins, the default first."""
        _, rows = rows_of(self.cell.op, self.cell.operands(choice), self.cell.params, self.cell.index[:1])
        biggest = max(rows, key=lambda each: each.part.scheme.terms)
        joins = ("last", "first") if self.cell.arrays.get("bias") is not None else ("last",)
        return [(order, each) for order in self._orders(biggest.part, unit) for each in joins]

    def _orders(self, part: Any, unit: Unit) -> tuple[KOrder, ...]:
        shapes = {name: np.shape(array) for name, array in self.cell.arrays.items()}
        return k_orders(part, channels_of(self.cell.op, shapes, self.cell.params), unit.terms)

    def _emulated(
        self, choice: Choice, unit: Unit, chosen: Indices, order: str | None = None, joins: str = "last"
    ) -> Single:
        """Some of the kept outputs in the named order (the default without a name), by the unit."""
        operands = self.cell.operands(choice)
        count, rows = rows_of(self.cell.op, operands, self.cell.params, self.cell.index[chosen])
        orders = {}
        for number, each in enumerate(rows):
            known = self._orders(each.part, unit)
            orders[number] = next((o for o in known if o.name == order), known[0])
        return replayed(count, rows, unit, orders, joins)

    def _replay(self, choice: Choice, unit: Unit) -> tuple[str, float, Single | None]:
        """The candidate that gives every bit and its output; else the best share on the first elements."""
        some = np.unique(np.linspace(0, self.cell.output.size - 1, _FIRST).astype(np.int64))
        shares = []
        for order, joins in self._candidates(choice, unit):
            share = _equal(self._emulated(choice, unit, some, order.name, joins), self.cell.output[some])
            if share == 1.0:
                everything = np.arange(self.cell.output.size)
                replay = self._emulated(choice, unit, everything, order.name, joins)
                share = _equal(replay, self.cell.output)
                if share == 1.0:
                    bias = f", the bias {joins}" if "bias" in self.cell.arrays else ""
                    return order.words + bias, 1.0, replay
            shares.append(share)
        return "", max(shares, default=0.0), None

    def _model_leans(self, choice: Choice, unit: Unit) -> list[Lean]:
        """Of the default order, and of every other."""
        truth = self._truth(choice)
        count = self.cell.output.size
        some = np.unique(np.linspace(0, count - 1, min(count, _LEANING)).astype(np.int64))
        small = truth.arranged(lambda array: array[some])
        found = []
        for order, joins in self._candidates(choice, unit):
            if joins == "last":
                output = self._emulated(choice, unit, some, order.name)
                found.append(lean(small.error(output), small.value, small.magnitude))
        return found


def _equal(a: Single, b: Single) -> float:
    """Share of elements with the same bits; a NaN is equal to any NaN."""
    same = (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))
    return float(np.mean(same)) if same.size else 1.0


def _named(choice: Choice) -> str:
    return (
        "operands left as they are" if choice == _NONE else f"operands rounded to {choice[0]} by {choice[1]}"
    )
