"""Normalization in double-word arithmetic: statistics of each row, then each element, with their bounds.

Rows of `x` (groups, N) share a mean m and a denominator s = sqrt(variance + eps). Each operation of
`doubleword` has a relative error of at most STEP = 16 u**2; sums of N terms of one sign, at most (N + 3)
STEP.

Mean. S = sum(x) is exact if the grid of the terms leaves room for it in two words; otherwise N additions on
partial sums of at most A = sum|x| give |S^ - S| <= N STEP A. So em = STEP (|m^| + A) bounds |m^ - m|, without
the A where S is exact, and em = 0 where in addition N m^ == S.

Variance. sum (x - m^)**2 = sum (x - m)**2 + N (m - m^)**2 exactly, hence V^ / N is within (N + 3) STEP
relative, plus em**2 absolute. The relative error of s is at most that of s**2.

Element. q = (x - m) (1/s) w, with 1/s within rel_s + STEP: |q^ - q| <= |q^| (rel_s + 4 STEP) + |w| em / s up
to second order, for which the factor 1.001 stands; y = q + b adds STEP |y^|.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference.certify import certain
from reference.doubleword import STEP, over, over_float, plus, plus_float, root, times, times_float, two_prod
from reference.jit import compiled
from reference.rounding import clear

MEAN, MEAN_LOW, MEAN_ERROR, DENOMINATOR, DENOMINATOR_LOW, RELATIVE, PLAIN, VARIANCE = range(8)
"""Columns of the statistics. PLAIN = 1 marks a row for IEEE 754's rules alone, with 1/s in DENOMINATOR."""


@compiled
def row_sum(row: Any, grid: int) -> tuple[float, float, float, bool]:
    """(high, low) of the sum, sum of absolute values, whether the sum is exact; 2**grid divides all."""
    ah = al = bh = bl = ch = cl = dh = dl = absolute = 0.0
    whole = row.size - row.size % 4
    for j in range(0, whole, 4):  # four sums side by side: one alone waits for its own last addition
        v, w, x, y = (
            np.float64(row[j]),
            np.float64(row[j + 1]),
            np.float64(row[j + 2]),
            np.float64(row[j + 3]),
        )
        absolute += (abs(v) + abs(w)) + (abs(x) + abs(y))
        ah, al = plus_float(ah, al, v)
        bh, bl = plus_float(bh, bl, w)
        ch, cl = plus_float(ch, cl, x)
        dh, dl = plus_float(dh, dl, y)
    for j in range(whole, row.size):
        v = np.float64(row[j])
        absolute += abs(v)
        ah, al = plus_float(ah, al, v)
    ah, al = plus(ah, al, bh, bl)
    ch, cl = plus(ch, cl, dh, dl)
    high, low = plus(ah, al, ch, cl)
    return high, low, absolute, absolute <= math.ldexp(1.0, min(grid + 104, 1000))


@compiled
def mean_of_sum(
    high: float, low: float, absolute: float, summed_exactly: bool, count: float
) -> tuple[float, float, float]:
    """(high, low) of the mean of a finite row and the bound on its error, from what `row_sum` returned."""
    mean, mean_low = over_float(high, low, count)
    product, rest = two_prod(mean, count)
    if summed_exactly and mean_low == 0.0 and product == high and rest == low:
        return mean, mean_low, 0.0
    return mean, mean_low, STEP * (abs(mean) + (0.0 if summed_exactly else absolute))


@compiled
def row_squares(row: Any, mean: float, mean_low: float) -> tuple[float, float]:
    """sum (x - mean)**2, within (N + 3) STEP relatively."""
    ah = al = bh = bl = ch = cl = dh = dl = 0.0
    whole = row.size - row.size % 4
    for j in range(0, whole, 4):
        ah, al = _plus_square(ah, al, mean, mean_low, np.float64(row[j]))
        bh, bl = _plus_square(bh, bl, mean, mean_low, np.float64(row[j + 1]))
        ch, cl = _plus_square(ch, cl, mean, mean_low, np.float64(row[j + 2]))
        dh, dl = _plus_square(dh, dl, mean, mean_low, np.float64(row[j + 3]))
    for j in range(whole, row.size):
        ah, al = _plus_square(ah, al, mean, mean_low, np.float64(row[j]))
    ah, al = plus(ah, al, bh, bl)
    ch, cl = plus(ch, cl, dh, dl)
    return plus(ah, al, ch, cl)


@compiled
def _plus_square(high: float, low: float, mean: float, mean_low: float, value: float) -> tuple[float, float]:
    dh, dl = plus_float(-mean, -mean_low, value)
    sh, sl = times(dh, dl, dh, dl)
    return plus(high, low, sh, sl)


@compiled
def constant(row: Any) -> bool:
    """Whether all elements are equal; then so is the mean, exactly."""
    j = 1
    while j < row.size and row[j] == row[0]:
        j += 1
    return bool(j >= row.size)


@compiled
def plain_squares(row: Any) -> float:
    """Sum of squares in plain float64: inf and NaN where IEEE 754 has them."""
    square = 0.0
    for j in range(row.size):
        square += np.float64(row[j]) ** 2
    return square


@compiled
def statistics(x: Any, centred: bool, eps: float, grid: int, out: Any) -> None:
    """The statistics of each row of x; 2**grid divides every finite element."""
    count = x.shape[1]
    for row in range(x.shape[0]):
        mean, mean_low, error = 0.0, 0.0, 0.0
        if centred:
            high, low, absolute, exact = row_sum(x[row], grid)
            if constant(x[row]):
                mean = np.float64(x[row, 0])
            else:
                mean, mean_low, error = mean_of_sum(high, low, absolute, exact, np.float64(count))
        high, low = row_squares(x[row], mean, mean_low)
        if not np.isfinite(high):  # as anything that is not finite makes it; finite elements never do
            mean = np.nan if centred else 0.0
            square = plain_squares(x[row])
            out[row] = (mean, 0.0, 0.0, 1.0 / math.sqrt(square / count + eps), 0.0, 0.0, 1.0, np.nan)
            continue
        high, low = over_float(high, low, np.float64(count))
        th, tl = plus_float(high, low, eps)
        if th <= 0.0:  # eps = 0 and all elements equal (to zero, if not centred): 1/s is infinite
            out[row] = (mean, 0.0, 0.0, np.inf, 0.0, 0.0, 1.0, 0.0)
            continue
        relative = ((count + 4) * STEP * high + error * error) / th * 1.001 + 3.0 * STEP
        sh, sl = root(th, tl)
        out[row] = (mean, mean_low, error, sh, sl, relative if relative < 2.0**-20 else np.inf, 0.0, high)


@compiled
def given_statistics(mean: Any, variance: Any, eps: float, out: Any) -> None:
    """The same columns from a known mean and variance."""
    for row in range(mean.size):
        th, tl = plus_float(np.float64(variance[row]), 0.0, eps)
        if np.isfinite(mean[row]) and np.isfinite(th) and th > 0.0:
            sh, sl = root(th, tl)
            out[row] = (mean[row], 0.0, 0.0, sh, sl, 3.0 * STEP, 0.0, variance[row])
        else:
            total = variance[row] + eps
            inverse = 1.0 / math.sqrt(total) if total >= 0.0 else np.nan
            out[row] = (mean[row], 0.0, 0.0, inverse, 0.0, 0.0, 1.0, variance[row])


@compiled
def normalize(
    x: Any, stats: Any, weight: Any, bias: Any, row_step: int, inner: int,
    value: Any, residual: Any, bound: Any, magnitude: Any, unsure: Any,
) -> int:  # fmt: skip
    """y = (x - m) / s * w + b for each element; returns how many the bound leaves unsure, and marks them.

    Element j of a row takes the affine entry (row * row_step + j // inner) % weight.size.
    """
    escalated = 0
    for row in range(x.shape[0]):
        mean, mean_low, error, sh, sl, relative, plain, _ = stats[row]
        inverse, inverse_low = (sh, 0.0) if plain else over(1.0, 0.0, sh, sl)
        entry, left = row * row_step % weight.size, inner
        for j in range(x.shape[1]):
            if left == 0:
                entry, left = (entry + 1 if entry + 1 < weight.size else 0), inner
            left -= 1
            w, b, element = weight[entry], bias[entry], np.float64(x[row, j])
            size = (abs(element) + abs(mean)) * inverse * abs(w) + abs(b)
            high, low, margin = 0.0, 0.0, 0.0
            ieee = plain or not (np.isfinite(element) and np.isfinite(w) and np.isfinite(b))
            if np.isfinite(element) and not plain and np.isinf(w) and not np.isnan(b):
                margin = np.inf  # the sign of x - m decides, and only exact arithmetic knows it
            elif ieee:
                high = (element - mean) * inverse * w + b
                size = size if np.isfinite(high) else np.inf
            else:
                dh, dl = plus_float(-mean, -mean_low, element)
                if w == 0.0 or (dh == 0.0 and error == 0.0):
                    high = b
                else:
                    high, low = times(dh, dl, inverse, inverse_low)
                    if w != 1.0:
                        high, low = times_float(high, low, w)
                    margin = abs(high) * (relative + 4.0 * STEP) + abs(w) * error * inverse
                    if b != 0.0:
                        high, low = plus_float(high, low, b)
                        margin += STEP * abs(high)
                    margin *= 1.001
            value[row, j], residual[row, j], bound[row, j] = high + 0.0, low, margin
            magnitude[row, j] = size * (1.0 + 2.0**-40)
            unsure[row, j] = not (clear(high, margin) or certain(high, low, margin))
            escalated += unsure[row, j]
    return escalated
