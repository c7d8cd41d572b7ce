"""The truth of softmax, log_softmax and logsumexp along one axis.

-Inf counts as a term of zero, exactly. A row with NaN is NaN throughout. +Inf makes softmax and log_softmax
NaN (Inf - Inf), logsumexp +Inf. A row of nothing but -Inf makes them NaN and -Inf. Where all finite elements
of a row are equal softmax is the rational 1/count; otherwise all three are irrational (Lindemann-Weierstrass:
exponentials of different rationals are linearly independent over the rationals), so no tie exists.

Each raises ValueError for an axis that is not there and for dtypes that `operand` refuses.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reference import softmax_kernels as kernels
from reference.escalate import finish
from reference.intervals import Interval, Reals, enclose
from reference.operands import Single, operand
from reference.rows import rows
from reference.truth import Refine, Truth


def softmax(input: npt.ArrayLike, *, dim: int = -1) -> Truth:
    """exp(x_i) / sum exp(x_j) along `dim`; magnitude is the truth itself."""
    return _entries(input, dim, kernels.SOFTMAX)


def log_softmax(input: npt.ArrayLike, *, dim: int = -1) -> Truth:
    """x_i - log sum exp(x_j) along `dim`; magnitude = |x_i - max| + log sum exp(x_j - max)."""
    return _entries(input, dim, kernels.LOG_SOFTMAX)


def logsumexp(input: npt.ArrayLike, *, dim: int = -1, keepdim: bool = False) -> Truth:
    """log sum exp(x_j) along `dim`; magnitude = |max| + log sum exp(x_j - max). -Inf for an empty axis."""
    found = rows(operand(input, "input"), dim)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        return enclose(lambda reals: log_of_sum(reals, found.x[index]), bits)

    value, residual, bound, magnitude = (np.empty(found.x.shape[0]) for _ in range(4))
    kernels.sums(found.x, value, residual, bound, magnitude)
    truth = finish(value, residual, bound, magnitude, refine, signed=False)
    return truth.arranged(lambda array: found.reduce(array, bool(keepdim)))


def log_of_sum(reals: Reals, row: Single) -> Interval:
    """log sum exp(x_j) of a row with a finite largest element."""
    top = Fraction(float(row.max()))
    return reals.rational(top) + log_of_shifted_sum(reals, row)


def log_of_shifted_sum(reals: Reals, row: Single) -> Interval:
    """log sum exp(x_j - max), accurate where a single element stands out."""
    return reals.log1p_positive(_rest(reals, row))


def _rest(reals: Reals, row: Single) -> Interval:
    """sum exp(x_j - max) over all but one largest element; of those far below the others an interval."""
    falling = np.sort(row[np.isfinite(row)])[::-1]
    top = Fraction(float(falling[0]))
    total, reach = reals.rational(0), Fraction(0)
    for n, number in enumerate(falling[1:].tolist()):
        away = Fraction(number) - top
        term = reals.exp(reals.rational(away))
        if n and away < reach:
            return total + reals.between(reals.rational(0), (falling.size - 1 - n) * term)
        if not n:
            reach = away - reals.prec - 64
        total = total + term
    return total


def _entries(input: npt.ArrayLike, dim: int, mode: int) -> Truth:
    found = rows(operand(input, "input"), dim)
    return _of_rows(found.x, mode, True).arranged(found.restore)


def _of_rows(x: Single, mode: int, first: bool) -> Truth:
    value, residual, bound, magnitude = (np.empty(x.shape) for _ in range(4))
    settled = kernels.entries(mode, x, first, value, residual, bound, magnitude)
    return finish(
        value, residual, bound, magnitude, _refine(x, mode), signed=True, first=settled,
        finer=lambda: _of_rows(x, mode, False),
    )  # fmt: skip


def _refine(x: Single, mode: int) -> Refine:
    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        i, j = divmod(index, x.shape[1])
        row = x[i]
        top, number = Fraction(float(row.max())), Fraction(float(row[j]))
        finite = row[np.isfinite(row)]
        if mode == kernels.LOG_SOFTMAX:
            return enclose(lambda r: r.rational(number - top) - log_of_shifted_sum(r, row), bits)
        if (finite == row[j]).all():
            return Fraction(1, finite.size), Fraction(0)
        return enclose(lambda r: r.exp(r.rational(number - top)) / (1 + _rest(r, row)), bits)

    return refine
