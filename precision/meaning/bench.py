"""The bench on which hypotheses are tried: a few elements first, all of them where those agree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning import gather, norm_form
from precision.meaning.after import after_changes, solved_changes
from precision.meaning.functions import FUNCTIONS, in_place_of
from precision.meaning.gather import SUMS
from precision.meaning.gradients import gradient_changes
from precision.meaning.hypotheses import (
    IDENTITY,
    SUM,
    Declaration,
    Float64,
    Indices,
    Known,
    Memory,
    Sample,
    Shape,
    unravelled,
)
from precision.meaning.limits import direct
from precision.meaning.norm_form import NORMS, Statistics, form_of
from precision.meaning.norms import norm_changes, solved_eps
from precision.meaning.operands import narrow_formats, operand_changes, result_changes
from precision.meaning.others import other_changes
from precision.meaning.sums import sum_changes
from reference import Truth, evaluate, terms

LOOKS = (4, 16)
FEWEST, MOST, PRODUCTS = 32, 160, 400_000
"""Elements of the first looks; of the last one, as many as hold this number of products within the limits."""
_HELD_BYTES = 1 << 28
_COUNTED = 1 << 16
"""Outputs that are looked at to see how many are different."""
_LARGE, _IMAGES = 1 << 17, 2
"""Outputs from which on an op that treats every image by itself is tried on so many of them."""


class Bench:
    """One output, and everything that was computed to explain it."""

    def __init__(self, declared: Declaration, output: NDArray[Any], truth: Truth | None = None) -> None:
        self.output: Float64 = np.asarray(output, np.float64)
        whole_single = bool(np.array_equal(self.output.astype(np.float32), self.output, equal_nan=True))
        # Twice the unit roundoff of float64: hypotheses are evaluated in float64 too.
        self.unit = 2.0**-24 if whole_single else 2.0**-52
        self.memory = Memory()
        self.narrow = narrow_formats(self.output)
        self.declared = declared
        self.stats = Statistics(declared.arrays["input"]) if declared.op in NORMS else None
        self._stats: dict[int, Statistics] = {}
        self._cores: dict[Any, Known] = {}
        self._sampled: dict[Any, Known] = {}
        self._sources: dict[Any, NDArray[Any]] = {}
        self._places: dict[Shape, NDArray[Any]] = {}
        self.known = self._declared(truth)
        self.planes = self._planes()
        self.fine = self._sample()
        self.looks = (*(self.fine.first(count) for count in LOOKS if count < self.fine.flat.size), self.fine)

    def _declared(self, truth: Truth | None) -> Known:
        op, arrays, params = self.declared.op, self.declared.arrays, self.declared.params
        self.truth = evaluate(op, arrays, params) if truth is None else truth
        known = direct(op, arrays, params, self.unit, self.truth)
        if op in NORMS:
            self.declared = Declaration(op, arrays, params, form_of(op, arrays, params))
        self._cores[self.declared.core] = known
        return known

    @property
    def fits_shape(self) -> bool:
        return self.known.value.shape == self.output.shape

    @cached_property
    def witnesses(self) -> int:
        """How many outputs speak for themselves: where channels are alike, equal ones say one thing."""
        flat = self.output.reshape(-1)
        some = flat[:: max(1, flat.size // _COUNTED)]
        different = int(np.unique(some).size)
        return int(flat.size) if 2 * different > some.size else different

    def _statistics(self, declared: Declaration) -> Statistics:
        """Those of the input, which may be a rounded one."""
        x = declared.arrays["input"]
        if self.stats is not None and x is self.declared.arrays["input"]:
            return self.stats
        return self._stats.setdefault(id(x), Statistics(x))

    def _planes(self) -> Indices:
        """Images (sample and channel, as one number) that stand for all where each is treated by itself."""
        op, shape = self.declared.op, self.output.shape
        if not ("pool" in op or op == "interpolate") or self.output.size < _LARGE or len(shape) < 3:
            return np.zeros(0, np.int64)
        if self.fits_shape:
            wrong = self._by_planes(self.known.violated(self.output)).sum(axis=1)
        else:
            wrong = np.zeros(len(self._by_planes(self.output)), np.int64)
        return np.argsort(-wrong, kind="stable")[:_IMAGES].astype(np.int64)

    def _by_planes(self, array: NDArray[Any]) -> NDArray[Any]:
        """(images, positions) of an array of activations."""
        last = str(self.declared.params.get("layout", "NCHW")).endswith("C")
        moved = np.moveaxis(array, -1, 1) if last else array
        return moved.reshape(array.shape[0] * moved.shape[1], -1)

    def _sample(self) -> Sample:
        """Worst elements, corners, and others drawn from a fixed seed, mixed."""
        shape, size = self.output.shape, self.output.size
        rng = np.random.default_rng(20260728)
        count = min(size, max(FEWEST, min(MOST, PRODUCTS // self.work)))
        picks: list[NDArray[Any]] = [np.zeros(0, np.int64), np.zeros(0, np.int64)]
        picks.append(rng.choice(size, count, replace=False))
        if self.fits_shape:
            wrong = np.flatnonzero(self.known.violated(self.output))
            picks[0] = rng.choice(wrong, min(count // 3, wrong.size), replace=False)
        ends = [np.array([0, n - 1, n // 2]) for n in shape]
        if shape and count >= 3:
            corners = [[end[rng.integers(0, 3)] for end in ends] for _ in range(count // 3)]
            picks[1] = np.asarray(np.ravel_multi_index(tuple(np.array(corners).T), shape))
        places = np.argsort(np.concatenate([np.arange(pick.size) for pick in picks]), kind="stable")
        order = np.concatenate(picks).astype(np.int64)[places]
        _, first = np.unique(order, return_index=True)
        flat = order[np.sort(first)][:count]
        if self.planes.size:
            inside = self._by_planes(np.arange(size).reshape(shape))[self.planes].reshape(-1)
            flat = rng.choice(inside, min(count, inside.size), replace=False).astype(np.int64)
        return Sample(shape, flat, self.output.reshape(-1)[flat])

    @property
    def work(self) -> int:
        """Products, or elements of a statistic, that one output takes."""
        return max(1, terms(self.declared.op, self.declared.arrays, self.declared.params))

    def changes(self, declared: Declaration, *, operands: bool = True) -> Iterator[Declaration]:
        """Every single change of a declaration."""
        if declared.op in NORMS and not isinstance(declared.form, str):
            yield from norm_changes(declared)
            if self.stats is not None and not any(step.function for step in declared.after):
                yield from solved_eps(declared, self.stats, self.output)
        yield from sum_changes(declared, self.output.shape, self.memory)
        if declared.op in FUNCTIONS and declared.form is None and not declared.after:
            yield from in_place_of(declared, self.fine)
        yield from other_changes(declared, self.output.shape)
        yield from gradient_changes(declared, self.output, self.memory)
        try:
            shape = self.core_shape(declared)
        except ValueError:
            return
        yield from after_changes(declared, shape)
        if self.shape(declared) == self.output.shape:
            core = self.sampled(declared, self.fine)
            if core is not None:
                yield from solved_changes(declared, core.value + core.rest, self.fine)
        if operands:
            yield from operand_changes(declared)
        yield from result_changes(declared, self.narrow)

    def core_shape(self, declared: Declaration) -> Shape:
        """The shape of the op's result, before the steps after it."""
        if declared.op in SUMS:
            return gather.output_shape(declared)
        if declared.op in NORMS or declared.op in FUNCTIONS:
            return np.shape(declared.arrays["input"])
        if self.planes.size:
            found = self._images(declared).value.shape
            x, last = np.shape(declared.arrays["input"]), str(declared.params.get("layout", "")).endswith("C")
            return (x[0], *found[2:], x[-1]) if last else (*x[:2], *found[2:])
        return self.core(declared).value.shape

    def shape(self, declared: Declaration) -> Shape:
        """The shape of the result."""
        shape = self.core_shape(declared)
        for step in declared.after:
            if step.arrange is not None:
                shape = self._source(declared, shape, step.name).shape
        return shape

    def _source(self, declared: Declaration, shape: Shape, name: str) -> NDArray[Any]:
        """Where an arrangement takes each element from, plus one; 0 where it takes none."""
        key = shape, name
        if key not in self._sources:
            (step,) = (item for item in declared.after if item.name == name)
            count = int(np.prod(shape, initial=1))
            # Half the memory where the places fit: these arrays are what a large output's search costs.
            kind = np.int32 if count < 2**31 - 1 else np.int64
            if shape not in self._places:
                self._places[shape] = np.arange(1, count + 1, dtype=kind).reshape(shape)
            assert step.arrange is not None
            self._sources[key] = step.arrange(self._places[shape])
        return self._sources[key]

    def sampled(self, declared: Declaration, sample: Sample) -> Known | None:
        """The function at the sample's places with a limit; None where the shape is another."""
        shape = self.core_shape(declared)
        flat, gaps = sample.flat, np.zeros(sample.flat.shape, np.bool_)
        arrangements = [step for step in declared.after if step.arrange is not None]
        for step in arrangements:  # at most one
            source = self._source(declared, shape, step.name)
            if source.shape != sample.shape:
                return None
            flat = np.asarray(source[unravelled(flat, source.shape)], np.int64) - 1
            gaps = flat < 0
            flat = np.where(gaps, 0, flat)
        if not arrangements and shape != sample.shape:
            return None
        known = self._sampled_core(
            declared, shape, flat, (sample.flat.size, tuple(s.name for s in arrangements))
        )
        if gaps.any():
            known = known.mapped(lambda a: np.where(gaps, 0.0, a))
        for step in declared.after:
            known = step.apply(known, self.unit) if step.arrange is None else known
        return known

    def _sampled_core(self, declared: Declaration, shape: Shape, flat: Indices, name: Any) -> Known:
        key = declared.core, name
        if key not in self._sampled:
            self._sampled[key] = self._sample_core(declared, shape, flat)
        return self._sampled[key]

    def _sample_core(self, declared: Declaration, shape: Shape, flat: Indices) -> Known:
        at = unravelled(flat, shape)
        if declared.core in self._cores:
            return self._cores[declared.core].mapped(lambda a: a.reshape(-1)[flat])
        if declared.form == IDENTITY:
            return _exactly(np.asarray(declared.arrays["input"]).reshape(-1)[flat])
        if declared.op in SUMS:
            return gather.gathered(declared, at, self.unit)
        if declared.op in NORMS:
            return norm_form.rough(declared.form, self._statistics(declared), self.unit, at)
        return self._sample_others(declared, shape, flat)

    def _sample_others(self, declared: Declaration, shape: Shape, flat: Indices) -> Known:
        if declared.op in FUNCTIONS:
            x = np.asarray(declared.arrays["input"], np.float32).reshape(-1)[flat]
            return direct(declared.op, {"input": x}, declared.params, self.unit)
        if self.planes.size:
            return self._sampled_images(declared, shape, flat)
        return self.core(declared).mapped(lambda a: a.reshape(-1)[flat])

    def _images(self, declared: Declaration) -> Known:
        """The function before the steps after it, on the chosen images alone: (images, 1, ...)."""
        key = declared.core, "images"
        if key not in self._sampled:
            self._sampled[key] = self._on_images(declared)
        return self._sampled[key]

    def _on_images(self, declared: Declaration) -> Known:
        x = np.asarray(declared.arrays["input"])
        last = str(declared.params.get("layout", "NCHW")).endswith("C")
        moved = np.moveaxis(x, -1, 1) if last else x
        chosen = moved.reshape(-1, 1, *moved.shape[2:])[self.planes]
        params = {**declared.params, "layout": "NCHW"}
        return direct(declared.op, {"input": chosen}, params, self.unit)

    def _sampled_images(self, declared: Declaration, shape: Shape, flat: Indices) -> Known:
        known = self._images(declared).mapped(lambda a: a.reshape(len(self.planes), -1))
        places = self._by_planes(np.arange(int(np.prod(shape))).reshape(shape))[self.planes].reshape(-1)
        order = np.argsort(places)
        at = np.clip(np.searchsorted(places, flat, sorter=order), 0, places.size - 1)
        if not np.array_equal(places[order[at]], flat):
            raise ValueError("an arrangement takes elements of other images: too large to be tried")
        return known.mapped(lambda a: a.reshape(-1)[order[at]])

    def core(self, declared: Declaration) -> Known:
        """The function before the steps after it, everywhere."""
        key = declared.core
        if key not in self._cores:
            self._cores[key] = self._whole(declared)
            room = max(2, _HELD_BYTES // max(24 * self.output.size, 1))
            for old in [k for k in self._cores if k not in (key, self.declared.core)][: -room or None]:
                del self._cores[old]
        return self._cores[key]

    def _whole(self, declared: Declaration) -> Known:
        if declared.form == IDENTITY:
            return _exactly(np.asarray(declared.arrays["input"]))
        if declared.op in NORMS:
            return norm_form.whole(declared.form, self._statistics(declared), self.unit)
        arrays = gather.rounded_arrays(declared)
        if SUM not in gather.form_of_operands(declared):
            return direct(declared.op, arrays, declared.params, self.unit)
        bias = arrays.pop("bias").astype(np.float64)
        known = direct(declared.op, arrays, declared.params, self.unit)
        last = declared.op == "linear" or str(declared.params.get("layout", "NCHW")).endswith("C")
        added = bias if last else bias.reshape(-1, *(1,) * (known.value.ndim - 2))
        return gather.joined(known, added, declared, self.unit)

    def whole(self, declared: Declaration) -> Known:
        """The declared function everywhere, with its steps."""
        known = self.core(declared)
        for step in declared.after:
            known = step.apply(known, self.unit)
        return known

    def passes(self, declared: Declaration) -> bool:
        """Whether the sampled elements are within their limits; changes that do not fit are not."""
        try:
            for sample in self.looks:
                known = self.sampled(declared, sample)
                if known is None or known.violated(sample.output).any():
                    return False
        except ValueError:
            return False
        return True


def _exactly(values: Any) -> Known:
    value = np.asarray(values, np.float64)
    return Known(value, np.zeros_like(value), np.zeros_like(value))
