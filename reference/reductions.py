"""The truth of sums, means, variances and standard deviations along axes of an array.

    sum   y = sum x                              magnitude sum |x|
    mean  y = sum x / N                          magnitude sum |x| / N
    var   y = sum (x - mean)**2 / (N - c)        magnitude y
    std   y = sqrt(var)                          magnitude y

over the axes `dim` (an integer, several, or None for all; negative ones count from the end), which `keepdim`
keeps with size 1; N elements each; c is `correction`: 1 for the unbiased variance (torch's default), 0 for
the biased one (TensorFlow's, Keras's, NumPy's). Sum, mean and variance of float32 numbers are fractions,
hence exact in the last tier; a standard deviation is the root of one.

An empty sum is 0, an empty mean NaN. A variance divides by max(0, N - c) as torch does: with N <= c it is NaN
where all elements are equal, else infinite. A row that holds NaN or infinity has what IEEE 754 makes of its
sum; its variance is NaN.

Double-double tier, in the words of `moments`: N additions of relative error STEP on partial sums of at most
A = sum |x| leave N STEP A, or nothing where the grid leaves room; the squares are within
(N + 4) STEP sum (x - m)**2 + N em**2; a division or a root adds STEP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.certify import certain
from reference.doubleword import STEP, over_float, root
from reference.jit import compiled
from reference.moments import constant, mean_of_sum, row_squares, row_sum
from reference.norm import element_refiner, settle_elements
from reference.operands import Single, operand, survey
from reference.rational import exact_moments, exact_total, remembered
from reference.surds import SurdSum
from reference.truth import Truth

Like = npt.ArrayLike
Dim = int | Sequence[int] | None
SUM, MEAN, VAR, STD = range(4)


def sum_(input: Like, *, dim: Dim = None, keepdim: bool = False) -> Truth:
    """Certified sum along `dim`. Raises ValueError for axes that the input does not have, or has twice."""
    return _reduced(input, dim, keepdim, SUM, 0)


def mean(input: Like, *, dim: Dim = None, keepdim: bool = False) -> Truth:
    """Certified mean along `dim`. Errors as `sum_`."""
    return _reduced(input, dim, keepdim, MEAN, 0)


def var(input: Like, *, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Truth:
    """Certified variance along `dim`, divided by N - correction. Errors as `sum_`, and a bad correction."""
    return _reduced(input, dim, keepdim, VAR, checked_correction(correction))


def std(input: Like, *, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Truth:
    """Certified standard deviation along `dim`: the root of `var`. Errors as `var`."""
    return _reduced(input, dim, keepdim, STD, checked_correction(correction))


def terms(input: Like, *, dim: Dim = None, keepdim: bool = False, correction: int = 0) -> int:
    """Elements of one sum."""
    shape = np.shape(input)
    return math.prod(shape[a] for a in reduced_axes(dim, len(shape)))


def reduced_axes(dim: Dim, rank: int) -> tuple[int, ...]:
    """`dim` as sorted, non-negative axes; raises ValueError."""
    given = range(rank) if dim is None else dim if isinstance(dim, tuple | list | range) else (dim,)
    for axis in given:
        if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -rank <= axis < rank:
            raise ValueError(
                f"dim must name axes of the input, of which there are {rank}, got {axis!r}: choose one"
            )
    axes = sorted(int(axis) % rank for axis in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim must name each axis once, got {dim!r}: leave out the repetition")
    return tuple(axes)


def checked_correction(correction: int) -> int:
    """A whole number >= 0; raises ValueError."""
    if isinstance(correction, bool) or not isinstance(correction, int | np.integer) or correction < 0:
        raise ValueError(
            f"correction must be a whole number >= 0, got {correction!r}: give 1 (unbiased) or 0 (biased)"
        )
    return int(correction)


def rows_of(x: Single, dim: Dim, keepdim: bool) -> tuple[Single, list[int]]:
    """The elements of each output as a row, and the outputs' shape."""
    axes = reduced_axes(dim, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = [1 if a in axes else x.shape[a] for a in range(x.ndim)] if keepdim else [x.shape[a] for a in kept]
    outputs, count = (math.prod(x.shape[a] for a in group) for group in (kept, axes))
    return np.ascontiguousarray(x.transpose([*kept, *axes])).reshape(outputs, count), shape


def _reduced(input: Like, dim: Dim, keepdim: bool, kind: int, correction: int) -> Truth:
    rows, shape = rows_of(operand(input, "input"), dim, keepdim)
    return reduced_rows(rows, kind, correction).arranged(lambda a: a.reshape(shape))


def reduced_rows(rows: Single, kind: int, correction: int = 0) -> Truth:
    """The truth of one reduction of each row of (outputs, N)."""
    outputs, count = rows.shape
    divisor = {SUM: 1, MEAN: count}.get(kind, max(0, count - correction))
    out = np.zeros((4, outputs))
    unsure = np.zeros(outputs, np.bool_)
    if count:
        _reduce(rows, kind, float(divisor), survey(rows).grid, out, unsure)
    elif kind != SUM:
        out[0] = np.nan
        out[3] = np.inf
    surds = _surds(rows, kind, divisor)
    found = np.flatnonzero(unsure)
    settle_elements(found, surds, (out[0], out[1], out[2]))
    tiers = {"float64": 0, "double-double": outputs - found.size, "exact": int(found.size)}
    return Truth(out[0], out[1], out[2], out[3], tiers, element_refiner(surds))


def _surds(rows: Single, kind: int, divisor: int) -> Callable[[int], SurdSum]:
    def of_row(row: int) -> SurdSum:
        if kind in (SUM, MEAN):
            return [(exact_total(rows[row]) / divisor, Fraction(1))]
        variance = exact_moments(rows[row], True)[1] * rows.shape[1] / divisor
        return [(variance, Fraction(1))] if kind == VAR else [(Fraction(1), variance)]

    return remembered(of_row)


@compiled
def _reduce(x: Any, kind: int, divisor: float, grid: int, out: Any, unsure: Any) -> None:
    """(value, residual, bound, magnitude) of each row into the columns of out; marks what is unsure."""
    for row in range(x.shape[0]):
        high, low, absolute, exact = row_sum(x[row], grid)
        bound = 0.0
        if not np.isfinite(absolute):
            high = 0.0
            for j in range(x.shape[1]):
                high += np.float64(x[row, j])
            high, low = high if kind <= 1 else np.nan, 0.0
            magnitude = np.inf
        elif kind <= 1:
            bound = 0.0 if exact else x.shape[1] * STEP * absolute
            if divisor != 1.0 and high != 0.0:
                high, low = over_float(high, low, divisor)
                bound = bound / divisor + STEP * abs(high)
            elif divisor != 1.0:
                bound /= divisor
            magnitude = absolute / divisor
        elif divisor == 0.0:
            high, low = np.nan if constant(x[row]) else np.inf, 0.0
            magnitude = np.inf
        elif constant(x[row]):
            high, low, magnitude = 0.0, 0.0, 0.0
        else:
            center, center_low, error = mean_of_sum(high, low, absolute, exact, np.float64(x.shape[1]))
            high, low = row_squares(x[row], center, center_low)
            high, low = over_float(high, low, divisor)
            bound = (x.shape[1] + 5) * STEP * high + x.shape[1] / divisor * error * error
            if kind == 3:
                relative = bound / high if high > 0.0 else np.inf
                high, low = root(high, low)
                # |sqrt(v) - sqrt(v^)| <= |v - v^| / sqrt(v^), whatever v >= 0
                bound = high * (relative + STEP)
            magnitude = high + bound
        bound *= 1.001
        out[0, row], out[1, row], out[2, row] = high + 0.0, low, bound
        out[3, row] = magnitude * (1.0 + 2.0**-20)
        unsure[row] = not certain(high, low, bound)
