"""Which parameter would have given an output of another shape than declared."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from numpy.typing import NDArray

from precision.case_folder import Case
from precision.hypotheses import Declaration
from precision.meaning_gather import SUMS, output_shape

_SHAPES: dict[str, tuple[Any, ...]] = {
    "padding": ("valid", "same", 0, 1, 2, 3),
    "stride": (1, 2, 3, 4),
    "dilation": (1, 2, 3, 4),
    "output_padding": (0, 1, 2),
}


def shape_hint(case: Case, output: NDArray[Any], wanted: Sequence[int]) -> str:
    """Which parameter gives the shape of `output`, whatever the values are; wanted: the declared one."""
    if case.op in SUMS:
        for parameter, values in _SHAPES.items():
            for value in values:
                changed = Declaration(case.op, case.arrays, {**case.params, parameter: value})
                try:
                    shape = output_shape(changed)
                except (ValueError, TypeError):
                    continue
                if tuple(shape) == output.shape:
                    return f"{parameter}={value!r} gives that shape, but not these values; check both"
    if output.ndim == len(wanted) and sorted(output.shape) == sorted(wanted):
        return "its axes are in another order; transpose it"
    if output.size == prod(wanted):
        return "it has as many elements; reshape it"
    return "no parameter that was tried gives it; check params, layout and which output was saved"
