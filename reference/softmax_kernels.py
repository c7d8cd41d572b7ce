"""Sums of exponentials in double-word arithmetic: softmax, its logarithm, and the logarithm of the sum.

Each row is shifted by its largest element m; x - m is exact in two words. rest = sum of exp(x_j - m) over all
but one largest element: terms of one sign, so N terms are within EXP + (N + 1) STEP of it, relatively, and
N * 2**-1073 absolutely, which is covered by LOST. The sum of all is 1 + rest, its logarithm m + log1p(rest),
where log1p's condition number is at most 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import elementary
from reference.compensated import two_sum
from reference.doubleword import STEP, over, plus, plus_float
from reference.jit import compiled

LOST = 2.0**-1040
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = range(3)
ORDINARY, EQUAL, NOT_A_NUMBER, INFINITE, EMPTY = range(5)
"""What a row is: EQUAL if all its elements but -Inf are one number, EMPTY if there is none but -Inf."""

_exp, _log1p = elementary.exp, elementary.log1p
_E_EXP, _E_LOG1P = elementary.EXP, elementary.LOG1P


@compiled
def shifted_sum(row: Any) -> tuple[int, float, float, float, float]:
    """(what the row is, m, rest as two words, its relative error)."""
    top, first = -np.inf, -1
    for j in range(row.size):
        if np.isnan(row[j]):
            return NOT_A_NUMBER, np.nan, 0.0, 0.0, 0.0
        if row[j] > top:
            top, first = np.float64(row[j]), j
    if np.isinf(top):
        return (INFINITE if top > 0.0 else EMPTY), top, 0.0, 0.0, 0.0
    high, low = 0.0, 0.0
    equal = True
    for j in range(row.size):
        if j != first and not np.isinf(row[j]):
            equal = equal and row[j] == top
            dh, dl = two_sum(np.float64(row[j]), -top)
            eh, el = _exp(dh, dl)
            high, low = plus(high, low, eh, el)
    if equal:
        return EQUAL, top, high, 0.0, 0.0
    return ORDINARY, top, high, low, _E_EXP + (row.size + 1) * STEP


@compiled
def _share(
    what: int, top: float, rest: float, rest_low: float, relative: float, x: float
) -> tuple[float, float, float, float]:
    """(high, low, bound, magnitude) of softmax at x, in a row with a finite largest element."""
    if np.isinf(x):
        return 0.0, 0.0, 0.0, 0.0
    dh, dl = two_sum(x, -top)
    eh, el = _exp(dh, dl)
    sh, sl = plus_float(rest, rest_low, 1.0)
    high, low = over(eh, el, sh, sl)
    if what == EQUAL:
        exact = low == 0.0 and high * sh == 1.0 and np.float64(sh).view(np.int64) % 2**52 == 0
        return high, low, 0.0 if exact else STEP * high, high
    if high < 4.0 * LOST:
        return 4.0 * LOST, 0.0, 4.0 * LOST, 8.0 * LOST
    return high, low, high * (relative + _E_EXP + 3.0 * STEP) * 1.001 + LOST, high


@compiled
def logarithm(
    what: int, top: float, rest: float, rest_low: float, relative: float, x: float
) -> tuple[float, float, float, float]:
    """(high, low, bound, magnitude) of log_softmax at x, in a row with a finite largest element."""
    if np.isinf(x):
        return x, 0.0, 0.0, 0.0
    dh, dl = two_sum(x, -top)
    if what == EQUAL and rest == 0.0:
        return dh, dl, 0.0, abs(dh)
    lh, ll = _log1p(rest, rest_low)
    high, low = plus(dh, dl, -lh, -ll)
    if abs(high) < 4.0 * LOST:
        return -4.0 * LOST, 0.0, 4.0 * LOST, 8.0 * LOST
    margin = (lh * (relative + _E_LOG1P) + abs(high) * STEP) * 1.001 + LOST
    return high, low, margin, abs(dh) + lh


@compiled
def entries(mode: int, x: Any, value: Any, residual: Any, bound: Any, magnitude: Any) -> None:
    """softmax or log_softmax of each row of x."""
    for i in range(x.shape[0]):
        what, top, rest, rest_low, relative = shifted_sum(x[i])
        for j in range(x.shape[1]):
            high, low, margin, size = np.nan, 0.0, 0.0, np.inf
            if what in {ORDINARY, EQUAL} and mode == SOFTMAX:
                high, low, margin, size = _share(what, top, rest, rest_low, relative, np.float64(x[i, j]))
            elif what in {ORDINARY, EQUAL}:
                high, low, margin, size = logarithm(what, top, rest, rest_low, relative, np.float64(x[i, j]))
            value[i, j], residual[i, j], bound[i, j] = high, low, margin
            magnitude[i, j] = size * (1.0 + 2.0**-40)


@compiled
def sums(x: Any, value: Any, residual: Any, bound: Any, magnitude: Any) -> None:
    """logsumexp of each row of x."""
    for i in range(x.shape[0]):
        what, top, rest, rest_low, relative = shifted_sum(x[i])
        high, low, margin, size = top, 0.0, 0.0, abs(top)
        if what in {ORDINARY, EQUAL} and not (what == EQUAL and rest == 0.0):
            lh, ll = _log1p(rest, rest_low)
            high, low = plus_float(lh, ll, top)
            margin = (lh * (relative + _E_LOG1P) + abs(high) * STEP) * 1.001 + LOST
            size = abs(top) + lh
            if abs(high) < 4.0 * LOST and top == 0.0:
                high, low, margin = 4.0 * LOST, 0.0, 4.0 * LOST
        value[i], residual[i], bound[i] = high, low, margin
        magnitude[i] = size * (1.0 + 2.0**-40)
