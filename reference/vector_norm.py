"""Vectors scaled to length one (`normalize`), filters to mean 0 and variance 1 (`weight_standardization`).

normalize, over the axes `dim`, S = sum x**2:

    y = x / max(sqrt(S), eps)            torch.nn.functional.normalize with p = 2
    y = x / sqrt(max(S, eps))            tf.math.l2_normalize: squared_eps=True

With r = 1 / that denominator: dx = r (g - y sum(g y)) where the norm is the larger of the two (or equal to
eps), else dx = r g. A vector of zeros with eps 0 gives NaN, 0/0.

weight_standardization (Qiao et al. 2019, "Weight standardization", arXiv 1903.10520, eq. 5 to 7), for each
filter of I/groups * kernel elements:

    y = (w - mean) / sqrt(var + eps)     var biased, eps within the root

that is layer normalization of each filter, and so is its gradient. magnitude as for `reference.norm` and
`reference.norm_gradients`. Every function raises ValueError for axes, eps, layouts, shapes that do not fit.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.doubleword import STEP, plus, root
from reference.formats import Array
from reference.gradient_rows import given_gradient, input_gradient, input_gradient_rows
from reference.grouped import Grouped, channelled
from reference.jit import compiled
from reference.moments import PLAIN, VARIANCE, plain_squares, row_squares
from reference.norm import Statistics, certify_rows, certify_with, check_eps
from reference.operands import operand
from reference.rational import exact_moments, remembered
from reference.reductions import Dim, reduced_axes
from reference.truth import Truth

Like = npt.ArrayLike


def normalize(input: Like, *, dim: Dim = 1, eps: float = 1e-12, squared_eps: bool = False) -> Truth:
    """Certified x / max(|x|, eps), or TensorFlow's form with `squared_eps`."""
    rows, floor = vectors_of(input, dim, eps, squared_eps)
    return certify_with(rows, _lengths(rows, floor), _exact_lengths(rows, floor))


def normalize_input_grad(
    grad_output: Like, input: Like, *, dim: Dim = 1, eps: float = 1e-12, squared_eps: bool = False
) -> Truth:
    """Certified dx of `normalize`."""
    rows, floor = vectors_of(input, dim, eps, squared_eps)
    stats, exact = _lengths(rows, floor), _exact_lengths(rows, floor)
    short = stats[:, PLAIN] == 0.0
    short &= stats[:, VARIANCE] <= float(floor) * (1.0 + 2.0**-20)
    for row in np.flatnonzero(short):
        short[row] = exact_moments(rows.x[row], False)[1] * rows.x.shape[1] < floor
    dy = rows.flatten(given_gradient(grad_output, rows.shape))
    return input_gradient_rows(rows, dy, stats, exact, divisor=1, fixed=short)


def weight_standardization(weight: Like, *, eps: float = 1e-5, layout: str = "NCHW") -> Truth:
    """Certified standardized weight of a convolution: O, I, ... in NCHW, ..., I, O in NHWC."""
    return certify_rows(filters_of(weight, layout), check_eps(eps))


def weight_standardization_weight_grad(
    grad_output: Like, weight: Like, *, eps: float = 1e-5, layout: str = "NCHW"
) -> Truth:
    """Certified gradient of `weight_standardization` with respect to the weight."""
    return input_gradient(filters_of(weight, layout), grad_output, check_eps(eps))


def normalize_terms(input: Like, *, dim: Dim = 1, **_: Any) -> int:
    """Elements of a vector."""
    shape = np.shape(input)
    return math.prod(shape[a] for a in reduced_axes(dim, len(shape)))


def filter_terms(weight: Like, *, layout: str = "NCHW", **_: Any) -> int:
    """Elements of a filter."""
    return int(filters_of(weight, layout).x.shape[1])


def filters_of(weight: Like, layout: str) -> Grouped:
    """The filters as rows; raises ValueError."""
    w, _ = channelled(weight, layout, "weight")
    if w.size == 0:
        raise ValueError(f"the weight must have elements, got shape {w.shape}: give some")
    last = w.ndim - 1
    axes = (last, *range(last)) if layout == "NHWC" else tuple(range(w.ndim))
    rows = np.ascontiguousarray(w.transpose(axes)).reshape(w.shape[axes[0]], -1)
    return Grouped(rows, None, None, 0, 1, axes, w.shape)


def vectors_of(input: Like, dim: Dim, eps: float, squared_eps: bool) -> tuple[Grouped, Fraction]:
    """The vectors as rows, and the least square of a denominator."""
    x = operand(input, "input")
    reduced = reduced_axes(dim, x.ndim)
    axes = (*(a for a in range(x.ndim) if a not in reduced), *reduced)
    count = math.prod(x.shape[a] for a in reduced)
    vectors = math.prod(x.shape[a] for a in range(x.ndim) if a not in reduced)
    rows = np.ascontiguousarray(x.transpose(axes)).reshape(vectors, count)
    least = Fraction(check_eps(eps))
    floor = least if squared_eps else least * least
    return Grouped(rows, None, None, 0, 1, axes, x.shape, None, False), floor


def _exact_lengths(rows: Grouped, floor: Fraction) -> Statistics:
    def of_row(row: int) -> tuple[Fraction, Fraction]:
        return Fraction(0), max(exact_moments(rows.x[row], False)[1] * rows.x.shape[1], floor)

    return remembered(of_row)


def _lengths(rows: Grouped, floor: Fraction) -> Array:
    """The columns of `moments`, with mean 0 and max(S, floor) for variance + eps."""
    stats = np.zeros((rows.x.shape[0], 8))
    high = float(floor)
    if rows.x.size:
        _measure(rows.x, high, float(floor - Fraction(high)), stats)
    return stats


@compiled
def _measure(x: Any, floor: float, floor_low: float, out: Any) -> None:
    for row in range(x.shape[0]):
        high, low = floor, floor_low
        sh, sl = row_squares(x[row], 0.0, 0.0)
        finite = np.isfinite(sh)
        if finite:
            difference, _ = plus(sh, sl, -floor, -floor_low)
            # Where the wrong one is taken the two agree within the error of S: so does their maximum.
            if difference > 0.0:
                high, low = sh, sl
        if finite and high > 0.0:
            sh, sl = root(high, low)
            out[row] = (0.0, 0.0, 0.0, sh, sl, (x.shape[1] + 6) * STEP, 0.0, high)
        else:  # 1/0, 1/inf or 1/NaN
            square = plain_squares(x[row])
            out[row] = (0.0, 0.0, 0.0, 1.0 / math.sqrt(square), 0.0, 0.0, 1.0, square)
