"""Which parameter would have given an output of another shape than declared."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import Case
from precision.meaning.gather import SUMS, output_shape
from precision.meaning.hypotheses import Declaration
from reference import evaluate

_SHAPES: dict[str, tuple[Any, ...]] = {
    "padding": ("valid", "same", 0, 1, 2, 3),
    "stride": (1, 2, 3, 4),
    "dilation": (1, 2, 3, 4),
    "output_padding": (0, 1, 2),
}
_WINDOWS: dict[str, tuple[Any, ...]] = {
    "kernel_size": (1, 2, 3, 4, 5),
    "stride": (1, 2, 3, 4),
    "padding": (0, 1, 2, "same", "valid"),
    "dilation": (1, 2),
    "ceil_mode": (True, False),
}
_AXES = (None, 0, 1, 2, 3, -1, (0, 2, 3), (2, 3), (1, 2))
_REDUCTIONS: dict[str, tuple[Any, ...]] = {"keepdim": (True, False), "dim": _AXES}
_LOSSES: dict[str, tuple[Any, ...]] = {"reduction": ("mean", "sum", "none")}
_RESIZES: dict[str, tuple[Any, ...]] = {"scale_factor": (0.25, 0.5, 2, 3, 4)}
_BLOCKS: dict[str, tuple[Any, ...]] = dict.fromkeys(
    ("upscale_factor", "downscale_factor", "block_size"), (2, 3, 4)
)


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
                    return _named(parameter, value)
    for parameter, values in _tried(case.op).items():
        for value in values:
            if _shape(case, {**case.params, parameter: value}) == output.shape:
                return _named(parameter, value)
    if output.ndim == len(wanted) - 1 and output.shape == tuple(wanted[1:]) and wanted[0] == 1:
        return "the axis of the batch, of one sample, is missing; save the output with it"
    if output.ndim == len(wanted) and sorted(output.shape) == sorted(wanted):
        return "its axes are in another order; transpose it"
    if output.size == prod(wanted):
        return "it has as many elements; reshape it"
    return "no parameter that was tried gives it; check params, layout and which output was saved"


def _named(parameter: str, value: Any) -> str:
    return f"{parameter}={value!r} gives that shape, but not these values; check both"


def _tried(op: str) -> dict[str, tuple[Any, ...]]:
    if "pool" in op:
        return _WINDOWS
    if op in ("sum", "mean", "var", "std", "logsumexp"):
        return _REDUCTIONS
    if op in ("cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"):
        return _LOSSES
    if op == "interpolate":
        return _RESIZES
    return _BLOCKS if "pixel" in op or "depth" in op else {}


def _shape(case: Case, params: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape that the op gives, from arrays of zeros; None where it refuses."""
    arrays = {
        name: np.zeros_like(array) if array.dtype == np.float32 else array
        for name, array in case.arrays.items()
    }
    if case.op == "interpolate":
        params.pop("size", None)
    try:
        return evaluate(case.op, arrays, params).value.shape
    except (ValueError, TypeError, IndexError):
        return None
