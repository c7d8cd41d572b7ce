"""How far softmax and log_softmax in float32 may be from the truth: what `tracked` says of them, row by row.

    e_j = exp(x_j - max), S = sum e_j in any order; softmax y = e_i / S, or e_i times 1/S;
    log_softmax y = (x_i - max) - log S

Each step is one of `tracked`, with the same terms for its rounding, its underflow and its overflow; a slope
of exp within an error e <= 1 of its argument is at most exp(x) (1 + 2 e).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import single_word
from reference.formats import BINARY32, Array
from reference.jit import compiled
from reference.operands import Single
from reference.tracked import FLUSH, Rules, gamma
from reference.truth import Truth

_LARGEST = BINARY32.largest
_OWN = 2.0**-50
"""Of every result: the float64 arithmetic here."""


def softmax_bound(x: Single, truth: Truth, rules: Rules, logarithm: bool) -> Array:
    """The bound of each element of rows x (groups, N), of which `truth` holds the results, in that shape."""
    bound = np.empty(x.shape)
    adding = rules.gamma(max(0, x.shape[1] - 1))
    flat = (truth.value, truth.residual, truth.bound)
    value, residual, own = (np.ascontiguousarray(a).reshape(x.shape) for a in flat)
    both = gamma(2, rules.u)
    _of_rows(x, value, residual, own, logarithm, rules.u, rules.function, adding, both, bound)
    return bound


@compiled
def _made(size: float, error: float, u: float) -> float:
    """The error of a rounded result of this size whose exact one is within `error`: `Tracked.made`."""
    whole = error + u * (size + error) + FLUSH + _OWN * size
    return whole if (size + whole) * (1.0 + u) < _LARGEST else np.inf


@compiled
def _exp(x: float) -> float:
    return single_word.exp(x) if abs(x) <= single_word.REACH else np.exp(x)


@compiled
def _flushed(x: float) -> float:
    return abs(x) if abs(x) < FLUSH else 0.0


@compiled
def _missed(found: float, value: float, residual: float) -> float:
    """|found - truth|, 0 where both are NaN or the same infinity: `Truth.error`."""
    if (found == value and not np.isfinite(found)) or (np.isnan(found) and np.isnan(value)):
        return 0.0
    return abs((found - value) - residual)


@compiled
def _of_rows(
    x: Any, value: Any, residual: Any, own: Any, logarithm: bool, u: float, function: float, adding: float,
    twice: float, bound: Any,
) -> None:  # fmt: skip
    powers, errors = np.empty(x.shape[1]), np.empty(x.shape[1])
    for i in range(x.shape[0]):
        top = np.float64(x[i, 0])
        for j in range(x.shape[1]):
            element = np.float64(x[i, j])
            if np.isnan(element) or element > top:
                top = element
            if np.isnan(top):
                break
        total, size, spread = 0.0, 0.0, x.shape[1] * FLUSH
        for j in range(x.shape[1]):
            element = np.float64(x[i, j])
            away = element - top
            off = _made(abs(away), _flushed(element) + _flushed(top), u)
            power = _exp(away)
            slope = power * (1.0 + 2.0 * off) if off <= 1.0 else np.exp(away + off)
            moved = slope * off if off > 0.0 else 0.0
            error = _made(power, moved + function * (power + moved), u)
            if np.isneginf(element):
                power, error = 0.0, 0.0
            powers[j], errors[j] = power, error
            total += power
            size += power + error
            spread += error
        spread += adding * size
        known = size + spread < _LARGEST * (1.0 - u)
        off_total = _made(total, spread if known else np.inf, u)
        least = total - off_total
        log = np.log(total)
        moved = (off_total / least if least > 0.0 else np.inf) if off_total > 0.0 else 0.0
        off_log = _made(abs(log), moved + function * (abs(log) + moved), u)
        for j in range(x.shape[1]):
            if logarithm:
                element = np.float64(x[i, j])
                away = element - top
                off = _made(abs(away), _flushed(element) + _flushed(top), u)
                found = away - log
                error = _made(abs(found), off + off_log, u)
            else:
                found = powers[j] / total
                error = (errors[j] + found * off_total) / least if least > 0.0 else np.inf
                error = _made(found, error, u) + twice * found
            bound[i, j] = error + _missed(found, value[i, j], residual[i, j]) + own[i, j]
