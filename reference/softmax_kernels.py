"""Sums of exponentials in double-word arithmetic: softmax, its logarithm, and the logarithm of the sum.

Each row is shifted by its largest element m; x - m is exact in two words. rest = sum of exp(x_j - m) over all
but one largest element: terms of one sign, so N terms are within EXP + (N + 1) STEP of it, relatively, and
N * 2**-1073 absolutely, which is covered by LOST. The sum of all is 1 + rest, its logarithm m + log1p(rest),
where log1p's condition number is at most 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import elementary, single_word
from reference.certify import certain
from reference.compensated import two_sum
from reference.doubleword import STEP, over, plus, plus_float
from reference.jit import compiled

LOST = 2.0**-1040
_SIDE = 2.0**-950
"""What stands for any smaller number that only breaks a tie: see `Truth.bound`."""
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
    if abs(dh) > lh * 2.0**60:
        # What is subtracted only tells on which side of x - m the truth lies, or little more.
        if dl == 0.0 and lh < 2.0**-960:
            return dh, -_SIDE, _SIDE, abs(dh)
        high, low = two_sum(dh, dl - lh)
        margin = (lh * (relative + _E_LOG1P) + abs(ll) + abs(dl - lh) * 2.0**-52) * 1.001 + LOST
        return high, low, margin, abs(dh) + lh
    high, low = plus(dh, dl, -lh, -ll)
    if abs(high) < 4.0 * LOST:
        return -4.0 * LOST, 0.0, 4.0 * LOST, 8.0 * LOST
    margin = (lh * (relative + _E_LOG1P) + abs(high) * STEP) * 1.001 + LOST
    return high, low, margin, abs(dh) + lh


@compiled
def _shifted(row: Any, powers: Any) -> tuple[int, float, float, float]:
    """(what the row is, m, rest in plain float64, its error); powers: exp(x - m), 0 for m itself.

    `single_word.exp` is off by EXP and by what x - m is, u |x - m|; sums in four lanes by u each addition.
    """
    top, first = -np.inf, -1
    equal = True
    for j in range(row.size):
        if np.isnan(row[j]):
            return NOT_A_NUMBER, np.nan, 0.0, 0.0
        if row[j] > top:
            equal = equal and np.isinf(top)
            top, first = np.float64(row[j]), j
        elif row[j] < top and not np.isinf(row[j]):
            equal = False
    if np.isinf(top):
        return (INFINITE if top > 0.0 else EMPTY), top, 0.0, 0.0
    if equal:
        return EQUAL, top, 0.0, np.inf
    for j in range(row.size):
        powers[j] = single_word.exp(max(np.float64(row[j]) - top, -single_word.REACH))
    powers[first] = 0.0
    a = b = c = d = slope = 0.0
    whole = row.size - row.size % 4
    for j in range(0, whole, 4):
        a += powers[j]
        b += powers[j + 1]
        c += powers[j + 2]
        d += powers[j + 3]
    for j in range(whole, row.size):
        a += powers[j]
    for j in range(row.size):
        slope += powers[j] * min(top - np.float64(row[j]), single_word.REACH)
    rest = (a + b) + (c + d)
    steps = 8.0 + row.size / 4
    error = single_word.UNIT * (steps * rest + 1.1 * slope) + single_word.EXP * rest
    return ORDINARY, top, rest, error * 1.001 + 2.0**-900


@compiled
def _in_one_word(
    mode: int, top: float, rest: float, error: float, lh: float, x: float, power: float
) -> tuple[float, float, float]:
    """(value, bound, magnitude) in plain float64; power: exp(x - m); lh: log1p(rest)."""
    away = x - top
    off = single_word.UNIT * abs(away)
    if away < -single_word.REACH and mode == SOFTMAX:
        return 0.0, np.inf, 0.0
    if mode == SOFTMAX:
        whole = 1.0 + rest
        value = power / whole
        relative = single_word.EXP + 1.01 * off + 1.01 * error / whole + 3.0 * single_word.UNIT
        return value, value * relative * 1.001, value
    value = away - lh
    margin = off + single_word.LOG1P * lh + 1.01 * error / rest * lh + 2.0 * single_word.UNIT * abs(value)
    return value, margin * 1.001, abs(away) + lh


@compiled
def entries(mode: int, x: Any, first: bool, value: Any, residual: Any, bound: Any, magnitude: Any) -> int:
    """softmax or log_softmax of each row of x; returns how many elements plain float64 settled.

    first: whether it is tried; rows and elements that it does not settle are in two words.
    """
    settled = 0
    powers = np.empty(x.shape[1])
    for i in range(x.shape[0]):
        plain = False
        top, rest, error, lh = 0.0, 0.0, np.inf, 0.0
        if first:
            what, top, rest, error = _shifted(x[i], powers)
            plain = what == ORDINARY and rest > 2.0**-800
            lh = single_word.log1p(rest) if plain else 0.0
        known, high_top, high_rest, low_rest, relative = -1, 0.0, 0.0, 0.0, 0.0
        for j in range(x.shape[1]):
            element = np.float64(x[i, j])
            if plain and not np.isinf(element):
                power = powers[j] if element != top or powers[j] != 0.0 else 1.0
                high, margin, size = _in_one_word(mode, top, rest, error, lh, element, power)
                if abs(high) > 2.0**-900 and certain(high, 0.0, margin):
                    value[i, j], residual[i, j], bound[i, j] = high, 0.0, margin
                    magnitude[i, j] = size * (1.0 + 2.0**-40)
                    settled += 1
                    continue
            if known < 0:
                known, high_top, high_rest, low_rest, relative = shifted_sum(x[i])
            high, low, margin, size = np.nan, 0.0, 0.0, np.inf
            if known in {ORDINARY, EQUAL} and mode == SOFTMAX:
                high, low, margin, size = _share(known, high_top, high_rest, low_rest, relative, element)
            elif known in {ORDINARY, EQUAL}:
                high, low, margin, size = logarithm(known, high_top, high_rest, low_rest, relative, element)
            value[i, j], residual[i, j], bound[i, j] = high, low, margin
            magnitude[i, j] = size * (1.0 + 2.0**-40)
    return settled


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
