"""The truth of interpolation: every result is a rational number, and known exactly.

The weights are exact rational numbers, also where a framework computes them in float32; see `resize_weights`
for the coordinates. Weights of zero are terms, so an infinite neighbour of weight zero gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.escalate import finish
from reference.operands import NO_BITS, operand, survey
from reference.resize_kernels import interpolate as _sums
from reference.resize_weights import COORDINATES, Axis, axis, step
from reference.truth import Truth

_KINDS = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
}


def interpolate(
    input: npt.ArrayLike,
    size: Any = None,
    *,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
    recompute_scale_factor: bool = False,
    coordinates: str | None = None,
    cubic_coefficient: float = -0.75,
    border: str = "replicate",
    layout: str = "NCHW",
) -> Truth:
    """Certified resizing, as torch.nn.functional.interpolate without antialiasing; input (N, C, 1 to 3 axes).

    Give size (one integer or one an axis) or scale_factor (outputs per input; the size is then
    floor(input * scale_factor), in float64 as in PyTorch, and the step the float64 1/scale_factor unless
    recompute_scale_factor). coordinates, if given, overrules align_corners: tf.image.resize is "half_pixel"
    (nearest too), tf.compat.v1's is "asymmetric" or "align_corners". TensorFlow's bicubic has
    cubic_coefficient -0.5 and border "exclude" with "half_pixel", -0.75 and "replicate" before.
    layout "NHWC": channels last. magnitude = sum |weight x|.

    Raises ValueError for parameters or shapes that do not fit and dtypes that `operand` refuses.
    """
    x = operand(input, "input")
    if layout not in {"NCHW", "NHWC"}:
        raise ValueError(f"layout must be 'NCHW' or 'NHWC', got {layout!r}: name the layout of your arrays")
    last = layout == "NHWC"
    moved = np.moveaxis(x, -1, 1) if last and x.ndim > 2 else x
    axes = _axes(
        moved.shape, size, scale_factor, mode, align_corners, recompute_scale_factor, coordinates,
        cubic_coefficient, border,
    )  # fmt: skip
    spatial = moved.shape[2:]
    rows = np.ascontiguousarray(moved).reshape(-1, *(1,) * (3 - len(spatial)), *spatial)
    full = [Axis([[(0, Fraction(1))]])] * (3 - len(spatial)) + axes
    shape = (rows.shape[0], *(len(a.taps) for a in full))
    value, residual, bound, magnitude = (np.empty(shape) for _ in range(4))
    (zh, zl), (yh, yl), (xh, xl) = (a.words() for a in full)
    iz, iy, ix = (a.index for a in full)
    grid = _grid(rows, full)
    _sums(rows, iz, zh, zl, iy, yh, yl, ix, xh, xl, grid, value, residual, bound, magnitude)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        n, *place = (int(i) for i in np.unravel_index(index, shape))
        total = Fraction(0)
        for (i, u), (j, v), (k, w) in product(*(a.taps[p] for a, p in zip(full, place, strict=True))):
            total += u * v * w * Fraction(float(rows[n, i, j, k]))
        return total, Fraction(0)

    truth = finish(value, residual, bound, magnitude, refine, signed=False)
    out = (*moved.shape[:2], *shape[4 - len(spatial) :])
    return truth.arranged(lambda a: np.moveaxis(a.reshape(out), 1, -1) if last else a.reshape(out))


def interpolate_terms(input: npt.ArrayLike, size: Any = None, *, mode: str = "nearest", **others: Any) -> int:
    """Neighbours of one output."""
    rank = max(1, np.ndim(input) - 2)
    return int({"nearest": 1, "linear": 2, "cubic": 4}[_kind(mode)[0]] ** rank)


def _kind(mode: str) -> tuple[str, tuple[int, ...]]:
    if mode not in _KINDS:
        raise ValueError(f"mode must be one of {sorted(_KINDS)}, got {mode!r}: name one of them")
    return _KINDS[mode]


def _axes(
    shape: tuple[int, ...], size: Any, factor: Any, mode: str, align: bool, recompute: bool,
    coordinates: str | None, a: float, border: str,
) -> list[Axis]:  # fmt: skip
    kind, ranks = _kind(mode)
    spatial = shape[2:]
    if len(spatial) not in ranks or min(spatial) < 1:
        raise ValueError(
            f"{mode} takes (N, C) and {ranks} axes that are not empty, got shape {shape}: reshape it"
        )
    if coordinates is None:
        plain = "asymmetric" if mode == "nearest" else "half_pixel"
        coordinates = "align_corners" if align else plain
    if coordinates not in COORDINATES:
        raise ValueError(f"coordinates must be one of {COORDINATES}, got {coordinates!r}: name one of them")
    if border not in {"replicate", "exclude"}:
        raise ValueError(f"border must be 'replicate' or 'exclude', got {border!r}: name one of them")
    if isinstance(a, bool) or not isinstance(a, int | float) or not -10 <= a <= 10:
        raise ValueError(f"cubic_coefficient must be a number within -10..10, got {a!r}: give e.g. -0.75")
    if (size is None) == (factor is None):
        raise ValueError(f"give size or scale_factor, one of them; got {size!r} and {factor!r}")
    if factor is None:
        factors: list[float | None] = [None] * len(spatial)
        outs = _each(size, len(spatial), "size", int)
    else:
        given = _each(factor, len(spatial), "scale_factor", float)
        outs = [math.floor(float(n) * f) for n, f in zip(spatial, given, strict=True)]
        factors = [None if recompute else f for f in given]
    if min(outs) < 1 or max(outs) > 1 << 20:
        raise ValueError(
            f"the result's axes must have 1..2**20 elements, got {outs}: change size or scale_factor"
        )
    return [
        axis(kind, n, out, step(n, out, f, coordinates), coordinates, Fraction(a), border == "exclude")
        for n, out, f in zip(spatial, outs, factors, strict=True)
    ]


def _each(value: Any, rank: int, name: str, kind: type[int] | type[float]) -> list[Any]:
    single = isinstance(value, int | float | np.number)
    items = [value] * rank if single else value
    known = (int, np.integer) if kind is int else (int, float, np.number)
    good = isinstance(items, Sequence | np.ndarray) and not isinstance(items, str) and len(items) == rank
    if not good or any(isinstance(i, bool) or not isinstance(i, known) or not 0 < i < 2**31 for i in items):
        raise ValueError(f"{name} must be one positive number or one for each of {rank} axes, got {value!r}")
    return [kind(i) for i in items]


def _grid(rows: npt.NDArray[np.float32], axes: list[Axis]) -> int:
    """Every term is a multiple of 2**grid and its weights have one word; NO_BITS where that is not so."""
    places = [a.places() for a in axes]
    known = [p for p in places if p is not None]
    grid = survey(rows).grid if rows.size else NO_BITS
    if len(known) < len(places) or sum(known) > 40 or grid == NO_BITS:
        return NO_BITS
    return grid - sum(known)
