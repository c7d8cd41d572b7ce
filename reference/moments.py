"""Normalization in double-word arithmetic: statistics of each row, then each element, with their bounds.

Rows of `x` (groups, N) share a mean m and a denominator s = sqrt(variance + eps). Each operation of
`doubleword` has a relative error of at most STEP = 16 u**2; sums of N terms of one sign, at most (N + 3)
STEP.

Mean. S = sum(x) is exact if the grid of the terms leaves room for it in two words; otherwise N additions on
partial sums of at most A = sum|x| give |S^ - S| <= N STEP A. So em = STEP (|m^| + A) bounds |m^ - m|, without
the A where S is exact, and em = 0 where in addition N m^ == S.

Variance. sum (x - m^)**2 = sum (x - m)**2 + N (m - m^)**2 exactly, hence V^ / N is within (N + 3) STEP
relative, plus em**2 absolute. The relative error of s is at most that of s**2.

Element. q = (x - m) w / s: |q^ - q| <= |q^| (rel_s + 4 STEP) + |w| em / s up to second order, for which the
factor 1.001 stands; y = q + b adds STEP |y^|.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference.certify import certain
from reference.doubleword import STEP, over, over_float, plus, plus_float, root, times, times_float, two_prod
from reference.jit import compiled

MEAN, MEAN_LOW, MEAN_ERROR, DENOMINATOR, DENOMINATOR_LOW, RELATIVE, PLAIN, VARIANCE = range(8)
"""Columns of the statistics. PLAIN = 1 marks a row for IEEE 754's rules alone, with 1/s in DENOMINATOR."""


@compiled
def statistics(x: Any, centred: bool, eps: float, grid: int, out: Any) -> None:
    """The statistics of each row of x; 2**grid divides every finite element."""
    count = x.shape[1]
    for row in range(x.shape[0]):
        high, low, absolute = 0.0, 0.0, 0.0
        least = most = np.float64(x[row, 0])
        plain_square = 0.0
        for j in range(count):
            value = np.float64(x[row, j])
            least, most = min(least, value), max(most, value)
            absolute += abs(value)
            plain_square += value * value
            high, low = plus_float(high, low, value)
        if not np.isfinite(absolute):
            mean = np.nan if centred else 0.0
            out[row] = (mean, 0.0, 0.0, 1.0 / math.sqrt(plain_square / count + eps), 0.0, 0.0, 1.0, np.nan)
            continue
        mean, mean_low, error = 0.0, 0.0, 0.0
        if centred and least == most:
            mean = least
        elif centred:
            mean, mean_low = over_float(high, low, np.float64(count))
            summed_exactly = absolute <= math.ldexp(1.0, min(grid + 104, 1000))
            product, rest = two_prod(mean, np.float64(count))
            divided_exactly = mean_low == 0.0 and product == high and rest == low
            if not (summed_exactly and divided_exactly):
                error = STEP * (abs(mean) + (0.0 if summed_exactly else absolute))
        high, low = 0.0, 0.0
        for j in range(count):
            dh, dl = plus_float(-mean, -mean_low, np.float64(x[row, j]))
            sh, sl = times(dh, dl, dh, dl)
            high, low = plus(high, low, sh, sl)
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
        inverse = sh if plain else 1.0 / sh
        for j in range(x.shape[1]):
            entry = (row * row_step + j // inner) % weight.size
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
                    high, low = times_float(dh, dl, w)
                    high, low = over(high, low, sh, sl)
                    margin = abs(high) * (relative + 4.0 * STEP) + abs(w) * error * inverse
                    if b != 0.0:
                        high, low = plus_float(high, low, b)
                        margin += STEP * abs(high)
                    margin *= 1.001
            value[row, j], residual[row, j], bound[row, j] = high + 0.0, low, margin
            magnitude[row, j] = size * (1.0 + 2.0**-40)
            unsure[row, j] = not certain(high, low, margin)
            escalated += unsure[row, j]
    return escalated
