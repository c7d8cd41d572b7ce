"""One kernel for all functions of one number: which function, its two parameters, and each element's bound.

Each branch gives (high, low, relative, lost): |truth - (high + low)| <= relative * |high| + lost. The
relative errors of `elementary` and `error_function` are for exact arguments; what an argument adds is derived
at its branch. `lost` is what underflow may take: far below anything that float32 can tell from zero; a
number of that size is given as 4 * lost with a bound of 4 * lost, so that its sign is kept.

Most elements are settled before that, by `single_word`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference import elementary, error_function, single_word
from reference.certify import certain
from reference.doubleword import STEP, over_float, plus_float, times, times_float, two_prod
from reference.jit import compiled

_exp, _expm1, _log, _log1p = elementary.exp, elementary.expm1, elementary.log, elementary.log1p
_tanh, _logistic, _softplus = elementary.tanh, elementary.logistic, elementary.softplus
_erf, _erfc = error_function.erf, error_function.erfc

EXP, EXPM1, LOG, LOG1P, ERF, ERFC, TANH, SIGMOID, SILU, SOFTPLUS, ELU, GELU, GELU_TANH, SCALE = range(14)
LOST = 2.0**-1050

_E_EXP, _E_EXPM1, _E_LOG, _E_LOG1P = elementary.EXP, elementary.EXPM1, elementary.LOG, elementary.LOG1P
_E_TANH, _E_LOGISTIC, _E_SOFTPLUS = elementary.TANH, elementary.LOGISTIC, elementary.SOFTPLUS
_ROOT_HALF, _ROOT_HALF_LOW = 0.7071067811865476, -4.833646656726457e-17
_ROOT_8_BY_PI, _ROOT_8_BY_PI_LOW = 1.5957691216057308, -9.96930880911092e-17
_CUBIC, _CUBIC_LOW = 0.044715, 2.1960211427085595e-18


@compiled
def _plain(kind: int, x: float, a: float, b: float) -> float:  # noqa: PLR0911
    """The value where x is NaN or infinite, or the function has a pole or no value: IEEE 754's."""
    if np.isnan(x):
        return np.nan
    if kind in {LOG, LOG1P}:
        return np.inf if x > 0.0 else -np.inf if x == (0.0 if kind == LOG else -1.0) else np.nan
    if kind == SCALE:
        return x * (a if x < 0.0 else b)
    if x > 0.0:
        return 1.0 if kind in {ERF, TANH, SIGMOID} else 0.0 if kind == ERFC else x * b if kind == ELU else x
    if kind in {EXP, SIGMOID, SOFTPLUS}:
        return 0.0
    if kind in {EXPM1, ERF, TANH}:
        return -1.0
    if kind == ELU:
        return -a if b == 1.0 else -a * b
    return 2.0 if kind == ERFC else np.nan  # SILU and both GELU: -inf * 0


@compiled
def _gelu(x: float) -> tuple[float, float, float]:
    """x erfc(-x / sqrt 2) / 2; the argument is within 4 u**2."""
    zh, zl = times_float(_ROOT_HALF, _ROOT_HALF_LOW, -x)
    yh, yl, relative = _erfc(zh, zl)
    yh, yl = times_float(yh, yl, 0.5 * x)
    size = min(abs(zh), 40.0)
    return yh, yl, relative + 2.0**-104 * (2.0 * size * size + 2.0) + STEP


@compiled
def _gelu_tanh(x: float) -> tuple[float, float, float]:
    """x / (1 + exp(-z)), z = sqrt(8/pi) (x + 0.044715 x**3), within 20 u**2, x**3 being exact."""
    if abs(x) > 100.0:
        return (x if x > 0.0 else 0.0), 0.0, 2.0**-200
    qh, ql = times_float(x * x, 0.0, x)
    qh, ql = times(qh, ql, _CUBIC, _CUBIC_LOW)
    qh, ql = plus_float(qh, ql, x)
    zh, zl = times(qh, ql, _ROOT_8_BY_PI, _ROOT_8_BY_PI_LOW)
    yh, yl = _logistic(zh, zl)
    yh, yl = times_float(yh, yl, x)
    return yh, yl, _E_LOGISTIC + 2.0**-101 * (min(abs(zh), 750.0) + 1.0)


@compiled
def _branch(  # noqa: PLR0912
    kind: int, x: float, a: float, b: float
) -> tuple[float, float, float, float]:
    lost, relative = LOST, 0.0
    high, low = 0.0, 0.0
    if kind == EXP:
        high, low = _exp(x, 0.0)
        relative = _E_EXP
    elif kind == EXPM1:
        high, low = _expm1(x, 0.0)
        relative = _E_EXPM1
    elif kind == LOG:
        high, low = _log(x, 0.0)
        relative = _E_LOG
    elif kind == LOG1P:
        high, low = _log1p(x, 0.0)
        relative = _E_LOG1P
    elif kind == ERF:
        high, low, relative = _erf(x, 0.0)
    elif kind == ERFC:
        high, low, relative = _erfc(x, 0.0)
    elif kind == TANH:
        high, low = _tanh(x, 0.0)
        relative = _E_TANH
    elif kind == SIGMOID:
        high, low = _logistic(x, 0.0)
        relative = _E_LOGISTIC
    elif kind == SILU:
        high, low = _logistic(x, 0.0)
        high, low = times_float(high, low, x)
        relative = _E_LOGISTIC + STEP
    elif kind == SOFTPLUS:  # a = beta, b = threshold
        yh, yl = two_prod(x, a)
        if yh > b or (yh == b and yl > 0.0):
            return x, 0.0, 0.0, 0.0
        high, low = _softplus(yh, yl)
        high, low = over_float(high, low, a)
        relative = _E_SOFTPLUS + STEP
        lost = LOST * max(1.0, 1.0 / abs(a))
    elif kind == ELU:  # a = alpha, b = scale
        high, low = _expm1(x, 0.0)
        ph, pl = two_prod(a, b)
        high, low = times(high, low, ph, pl)
        relative = _E_EXPM1 + STEP if ph != 0.0 else 0.0
    elif kind == GELU:
        high, low, relative = _gelu(x)
    else:
        high, low, relative = _gelu_tanh(x)
    return high, low, relative, lost


@compiled
def _in_one_word(  # noqa: PLR0911, PLR0912
    kind: int, x: float, a: float, b: float
) -> tuple[float, float]:
    """(the value in plain float64, its relative error): infinite where that tier does not reach."""
    size = abs(x)
    if kind == GELU:
        return single_word.gelu(x) if size <= 36.0 else (0.0, np.inf)
    if kind == GELU_TANH:
        return single_word.gelu_tanh(x) if size <= 20.0 else (0.0, np.inf)
    if kind == LOG:
        return single_word.log(x), single_word.LOG
    if kind == LOG1P:
        return single_word.log1p(x), single_word.LOG1P
    if size > 0.5 * single_word.REACH:
        return 0.0, np.inf
    if kind == EXP:
        return single_word.exp(x), single_word.EXP
    if kind == EXPM1:
        return single_word.expm1(x), single_word.EXPM1
    if kind == TANH:
        return single_word.tanh(x), single_word.TANH
    if kind == SIGMOID:
        return single_word.logistic(x), single_word.LOGISTIC
    if kind == SILU:
        return x * single_word.logistic(x), single_word.LOGISTIC + 2.0 * single_word.UNIT
    if kind == SOFTPLUS and a == 1.0 and x <= b:
        return single_word.softplus(x), single_word.SOFTPLUS
    if kind == ELU:
        return single_word.expm1(x) * (a * b), single_word.EXPM1 + 4.0 * single_word.UNIT
    if kind == ERF and size < single_word.BORDER:
        return math.copysign(single_word.erf(size), x), single_word.ERF
    if kind == ERF and size <= 26.0:
        e, relative = single_word.erfc(size)
        return math.copysign(1.0 - e, x), relative * e * 1.01 + 2.0 * single_word.UNIT
    if kind == ERFC and size < single_word.BORDER:
        e = single_word.erf(size)
        share = 1.0 - e if x > 0.0 else 1.0 + e
        return share, single_word.ERF * e / share * 1.01 + 4.0 * single_word.UNIT
    if kind == ERFC and 0.0 < x <= 26.0:
        return single_word.erfc(x)
    return 0.0, np.inf


@compiled
def _exact(kind: int, x: float) -> tuple[bool, float]:
    """Arguments at which the function has a rational value that is written down at once."""
    if x == 0.0 and kind not in {LOG, SOFTPLUS}:
        return True, (0.5 if kind == SIGMOID else 1.0 if kind in {EXP, ERFC} else 0.0)
    return kind == LOG and x == 1.0, 0.0


@compiled
def apply(
    kind: int, x: Any, a: Any, b: float, first: bool, value: Any, residual: Any, bound: Any, magnitude: Any
) -> int:
    """The function at every element of x; `a` is one number for all or one for each element.

    first: plain float64 is tried before two words; returns how many elements it settled.
    """
    settled = 0
    for i in range(x.size):
        element, factor = np.float64(x[i]), np.float64(a[i % a.size])
        high, low, margin = 0.0, 0.0, 0.0
        outside = (kind == LOG and element <= 0.0) or (kind == LOG1P and element <= -1.0)
        if not np.isfinite(element) or outside or (kind == SCALE and not np.isfinite(factor)):
            high = _plain(kind, element, factor, b)
        elif kind == SCALE or (kind == ELU and element > 0.0):
            high, low = two_prod(element, b if element > 0.0 else factor)
        else:
            known, high = _exact(kind, element)
            if not known:
                relative = np.inf
                if first:
                    high, relative = _in_one_word(kind, element, factor, b)
                    margin = relative * abs(high) * 1.001
                if relative < 1.0 and abs(high) > 2.0**-900 and certain(high, 0.0, margin):
                    settled += 1
                else:
                    high, low, margin = _in_two_words(kind, element, factor, b)
        value[i], residual[i], bound[i] = high, low, margin
        magnitude[i] = abs(high) * (1.0 + 2.0**-40)
    return settled


@compiled
def _in_two_words(kind: int, x: float, a: float, b: float) -> tuple[float, float, float]:
    """(high, low, bound) where the function has no rational value that is written down at once."""
    high, low, relative, lost = _branch(kind, x, a, b)
    if relative == 0.0:
        return high, low, 0.0
    if abs(high) < 4.0 * lost:  # lies between zero and 5 * lost
        negative = x < 0.0 and kind in {SILU, GELU, GELU_TANH}
        negative = negative or (kind == SOFTPLUS and a < 0.0)
        return (-4.0 * lost if negative else 4.0 * lost), 0.0, 4.0 * lost
    return high, low, relative * abs(high) * 1.001 + lost
