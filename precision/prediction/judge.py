"""The work of `precision.predict`: emulate, evaluate the truths, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.cases import Case
from precision.errors import UserError
from precision.judging.case_folder import CaseError
from precision.prediction import orders
from precision.prediction.agreement import agreement, recorded_outputs
from precision.prediction.figures import Variant, overflowed, parts_of, scored, vanished, worst_elements
from precision.prediction.orders import KOrder, k_orders
from precision.prediction.predict import Prediction
from precision.prediction.sums import (
    Dot,
    Sample,
    by_tree,
    by_unit,
    evaluated,
    has_tensor_cores,
    plan_of,
    products,
    rounded_arrays,
    sample_of,
)
from precision.prediction.target import Target, target_of
from precision.prediction.units import named_unit, operand_rounding
from reference import evaluate, plain_float32
from reference.ops import OPS
from reference.orders import pairwise, sequential
from reference.plan import solve
from reference.scheme import Part, Plan
from reference.tensorcore import OPERAND_MODES, UNITS, Unit
from reference.tree import SummationTree
from reference.truth import Truth

Float32 = npt.NDArray[np.float32]
_ALIKE = {"RNE": "to nearest, ties to even", "RNA": "to nearest, ties away from zero", "RZ": "toward zero"}


def predicted(
    case: Mapping[str, Any] | str | Path | Case,
    architecture: str,
    fmt: str,
    rounding: str,
    order: str,
    bias_joins: str,
    limit: int,
    seed: int,
    against: Path | None,
) -> Prediction:
    """See `precision.predict`."""
    unit = named_unit(architecture, fmt)
    mode, reason = operand_rounding(unit, rounding)
    if bias_joins not in ("first", "last"):
        raise UserError(f"a bias joins first or last; got {bias_joins!r}; name one of them")
    if isinstance(limit, bool) or limit < 1:
        raise UserError(f"a limit is a positive number of multiply-adds; got {limit!r}; give e.g. 500000000")
    target = target_of(case)
    recorded = recorded_outputs(target, against)
    if has_tensor_cores(target.op):
        found = _refused(lambda: _Emulation(target, unit, mode, order, bias_joins, limit, seed).prediction())
    else:
        found = _refused(lambda: _untouched(target, unit))
    found = replace(found, rounding_reason=reason if found.unit is not None else found.rounding_reason)
    if rounding.lower() == "auto" and found.unit is not None:
        found = replace(found, notes=(*found.notes, *_auto_notes(unit)))
    return replace(found, agreement=agreement(found, recorded))


def _refused(function: Callable[[], Prediction]) -> Prediction:
    """The function's result; what the reference refuses of the case as a CaseError of one line."""
    try:
        return function()
    except (UserError, ArithmeticError):
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise CaseError(" ".join(str(error).split())) from None


def _auto_notes(unit: Unit) -> tuple[str, ...]:
    if unit.format.name != "tf32":
        return ()
    return ("the rounding of TF32 operands is assumed; the rows of kind rounding show the others",)


@dataclass
class _Emulation:
    """One layer on one unit."""

    target: Target
    unit: Unit
    mode: str
    order: str
    bias_joins: str
    limit: int
    seed: int

    def prediction(self) -> Prediction:
        plan = self._plan(self.target.arrays)
        if not any(part.weight.size and part.scheme.terms for part in plan.parts):
            raise CaseError("a prediction needs sums with products; got an op without any; check the shapes")
        self.sample: Sample | None = sample_of(plan, self.limit, self.seed)
        self.channels = orders.channels_of(
            self.target.op, {name: np.shape(a) for name, a in self.target.arrays.items()}, self.target.params
        )
        # A name is looked for where most orders exist: in the part with the longest sums.
        longest = max(plan.parts, key=lambda part: part.scheme.terms)
        named = orders.chosen_first(self._orders(longest), self.order)
        exact_plan = self._few(plan)
        self.truth = solve(exact_plan)
        rounded = rounded_arrays(self.target.arrays, self.unit.format, self.mode)
        few = self._few(self._plan(rounded))
        base = solve(few)
        first = named[0]
        main = self._variant("prediction", first.name, first.words, few, base, self.unit, first.name)
        others = [
            self._variant("order", each.name, each.words, few, base, self.unit, each.name)
            for each in named[1:]
        ]
        others += self._units(few, base, first) + self._roundings(first) + self._float32(exact_plan)
        return Prediction(
            title=self.target.title,
            op=self.target.op,
            format=self.unit.format.name,
            unit=self.unit,
            rounding=self.mode,
            rounding_reason="",
            terms=plan.terms,
            outputs=prod(plan.shape),
            truth=self.truth,
            predicted=main,
            others=tuple(others),
            index=None if self.sample is None else self.sample.index,
            parts=parts_of(self.truth, base, main.output),
            worst=worst_elements(
                self.truth, main.output, plan.shape, None if self.sample is None else self.sample.index
            ),
            notes=self._notes(plan, rounded),
        )

    def _plan(self, arrays: Mapping[str, Any]) -> Plan:
        return plan_of(self.target.op, arrays, self.target.params)

    def _few(self, plan: Plan) -> Plan:
        return plan if self.sample is None else self.sample.of(plan)

    def _orders(self, part: Part, unit: Unit | None = None) -> tuple[KOrder, ...]:
        return k_orders(part, self.channels, (unit or self.unit).terms)

    def _emulated(self, plan: Plan, unit: Unit, name: str) -> Float32:
        def dot_of(part: Part) -> Dot:
            orders = self._orders(part, unit)
            # A part of few taps may lack an order: there it is the same as the default.
            order = next((each for each in orders if each.name == name), orders[0])
            return by_unit(unit, order, self.bias_joins)

        return evaluated(plan, dot_of)

    def _variant(
        self, kind: str, name: str, words: str, plan: Plan, base: Truth | None, unit: Unit, order: str
    ) -> Variant:
        return scored(kind, name, words, self._emulated(plan, unit, order), self.truth, base)

    def _units(self, plan: Plan, base: Truth, first: KOrder) -> list[Variant]:
        """The same unit as WMMA compiles it, where that is another."""
        wmma = UNITS.get((self.unit.architecture, "tf32.wmma"))
        if wmma is None or self.unit.format.name != "tf32" or wmma.terms == self.unit.terms:
            return []
        words = f"compiled through WMMA: fused steps of {wmma.terms} products"
        return [self._variant("unit", "WMMA", words, plan, base, wmma, first.name)]

    def _roundings(self, first: KOrder) -> list[Variant]:
        found = []
        for mode in OPERAND_MODES:
            if mode == self.mode or (self.unit.format.name != "tf32" and mode == "RNA"):
                continue
            plan = self._few(self._plan(rounded_arrays(self.target.arrays, self.unit.format, mode)))
            words = f"operands rounded {_ALIKE[mode]}"
            found.append(self._variant("rounding", mode, words, plan, None, self.unit, first.name))
        return found

    def _float32(self, plan: Plan) -> list[Variant]:
        """Plain float32, unrounded operands: one chain of fused multiply-adds, and halves of halves."""

        def dots(tree_of: Callable[..., SummationTree]) -> Callable[[Part], Dot]:
            def dot_of(part: Part) -> Dot:
                order, count = self._orders(part)[0], part.scheme.terms
                tree = tree_of(count, bias=None if part.bias is None else "last") if count else None
                return by_tree(tree, order.slices[0])

            return dot_of

        return [
            scored("float32", "FMA chain", "float32, one chain of fused multiply-adds, the same order",
                   evaluated(plan, dots(sequential)), self.truth, self.truth),
            scored("float32", "pairwise", "float32, chains of 32 fused multiply-adds, then halves of halves",
                   evaluated(plan, dots(partial(pairwise, leaf_block=32))), self.truth, self.truth),
        ]  # fmt: skip

    def _notes(self, plan: Plan, rounded: Mapping[str, Any]) -> tuple[str, ...]:
        unit, found = self.unit, list(self.target.notes)
        if not unit.recorded:
            found.append(f"the model of {unit.name} was not compared with recorded results of the hardware")
        if self.sample is not None:
            found.append(
                f"predicted for a sample of {self.sample.index.size} of {prod(plan.shape)} outputs (seed "
                f"{self.seed}): the whole layer has {products(plan)} multiply-adds"
            )
        if self.target.op.startswith("conv"):
            found.append(
                "an algorithm that transforms first (Winograd, FFT) adds other numbers: it is not modelled"
            )
        if unit.format.name != "tf32":
            found.append("the result stays float32: a layer that returns 16 bits rounds once more")
        for name, count in overflowed(self.target.arrays, rounded).items():
            found.append(f"{count} elements of {name} are beyond {unit.format.name}: they become infinite")
        for name, count in vanished(self.target.arrays, rounded).items():
            found.append(f"{count} elements of {name} are too small for {unit.format.name}: they become zero")
        part = plan.parts[0]
        if part.weight.shape[0] > 1 and part.weight.shape[1] < 8 and self.target.op.startswith("conv"):
            found.append("groups of few channels are often not run on tensor cores, but in plain float32")
        return tuple(found)


def _untouched(target: Target, unit: Unit) -> Prediction:
    """An op that no tensor core computes: a GPU's float32 is what is left to predict."""
    truth = evaluate(target.op, target.arrays, target.params)
    if OPS[target.op].plain is None:
        raise UserError(
            f"a prediction needs sums of products or a plain float32 formula; {target.op} has neither; TF32 "
            "does not touch it: judge an output with `precision explain`"
        )
    output = plain_float32(target.op, target.arrays, target.params)
    words = "float32, term after term, every operation rounded"
    main = scored("prediction", "plain float32", words, output, truth, truth)
    said = (
        f"{target.op} is no product of two arrays: no tensor core takes part, and {unit.format.name} does "
        "not touch it; what follows is float32"
    )
    return Prediction(
        title=target.title,
        op=target.op,
        format="binary32",
        unit=None,
        rounding="none",
        rounding_reason="no operand is rounded",
        terms=OPS[target.op].terms(**target.arrays, **target.params) if OPS[target.op].terms else 1,  # type: ignore[misc]
        outputs=output.size,
        truth=truth,
        predicted=main,
        others=(),
        worst=worst_elements(truth, output, output.shape, None),
        notes=(*target.notes, said),
    )
