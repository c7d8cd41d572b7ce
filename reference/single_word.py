"""exp, log, erf and their like in plain float64 with proven errors: a first tier, for vectors of arguments.

u = 2**-53; every operation is rounded once, none contracted. The constants bound the relative error of the
result for an exact argument, underflow excluded; an argument that is off by a absolutely adds what is said.

exp on |x| <= REACH. x = k log 2 + r, log 2 = A + B, k A exact, so r is off by at most 0.8 u (the rounding of
k B, 2**-87; two subtractions of results up to 0.36). Taylor's series to r**13/13! leaves out 2**-57 of
e**r. Horner's last addition loses u, all before it less than 2.3 u of the sum, as |r| <= 0.36. EXP: 4 u. An
absolute error a of the argument, below 2**-20, adds 1.01 a.

expm1 by r times the series of (e**r - 1)/r, to r**14, for |x| <= 0.36: 4 u; elsewhere exp - 1, of a size of
at least 0.3 while exp is off by 4 u e**x: 15 u. EXPM1: 16 u.

log1p on -0.29 <= t <= 0.41. s = t/(2 + t), |s| < 0.1716, off by 2 u; 2 s (1 + w/3 + ... + w**10/21), w = s**2
< 0.0295 leaves out 2**-60; the series, damped by w, is within 1.1 u, the product u: 4.2 u.
log: x = m 2**k, m - 1 exact; for k != 0 a sum of at least 0.34, whose exact part k A is joined by what is off
by 1.9 u: 6.3 u. log1p elsewhere adds the rounding of 1 + t, over a logarithm of at least 0.34: 9.3 u.
LOG: 8 u, LOG1P: 10 u. A relative error d of t >= 0 adds d, since t/((1 + t) log(1 + t)) <= 1.

tanh = -e/(2 + e), e = expm1(-2|x|) in (-1, 0]: 16 u twice and 3 u. TANH: 40 u.
logistic: e = exp(-|x|) counts half in 1 + e: 8 u. LOGISTIC. An absolute error a of x adds 1.01 a.
softplus = max(x, 0) + log1p(exp(-|x|)), of one sign: 10 u + 4 u + u. SOFTPLUS: 16 u.

erf below 2.2 by the series of `error_function`, at most 70 terms of one sign, each 4 u from the one before,
and their additions: 350 u, with exp of a product that is off by 5 u of 4.84, constant and products. ERF: 400
u. erfc from 2.2 on by the fraction there, started in the middle of an interval whose width is carried along:
660 u for its steps, (5 x**2 + 16) u for exp, constant, product and quotient.
"""

from __future__ import annotations

import math

import numpy as np

from reference.jit import compiled

UNIT = 2.0**-53
REACH = 700.0
"""exp of more, or less, is left to the next tier."""
EXP, EXPM1, LOG, LOG1P = 4.0 * UNIT, 16.0 * UNIT, 8.0 * UNIT, 10.0 * UNIT
TANH, LOGISTIC, SOFTPLUS, ERF = 40.0 * UNIT, 8.0 * UNIT, 16.0 * UNIT, 400.0 * UNIT
BORDER = 2.2
_1_BY_LN2 = 1.4426950408889634
_LN2_A, _LN2_B = float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c76731p-45")
_2_BY_ROOT_PI, _1_BY_ROOT_PI = 1.1283791670955126, 0.5641895835477563
_C = tuple(1.0 / math.factorial(n) for n in range(16))
_C2, _C3, _C4, _C5, _C6, _C7, _C8 = _C[2:9]
_C9, _C10, _C11, _C12, _C13, _C14, _C15 = _C[9:16]


@compiled
def exp(x: float) -> float:
    """exp(x) for |x| <= REACH: EXP."""
    k = np.rint(x * _1_BY_LN2)
    r = (x - k * _LN2_A) - k * _LN2_B
    p = _C13
    p = p * r + _C12
    p = p * r + _C11
    p = p * r + _C10
    p = p * r + _C9
    p = p * r + _C8
    p = p * r + _C7
    p = p * r + _C6
    p = p * r + _C5
    p = p * r + _C4
    p = p * r + _C3
    p = p * r + _C2
    p = p * r + 1.0
    p = p * r + 1.0
    return float(p * np.int64((np.int64(k) + 1023) << 52).view(np.float64))


@compiled
def expm1(x: float) -> float:
    """exp(x) - 1 for |x| <= REACH: EXPM1."""
    if abs(x) > 0.36:
        return exp(x) - 1.0
    p = _C15
    p = p * x + _C14
    p = p * x + _C13
    p = p * x + _C12
    p = p * x + _C11
    p = p * x + _C10
    p = p * x + _C9
    p = p * x + _C8
    p = p * x + _C7
    p = p * x + _C6
    p = p * x + _C5
    p = p * x + _C4
    p = p * x + _C3
    p = p * x + _C2
    p = p * x + 1.0
    return p * x


@compiled
def _log1p_near(t: float) -> float:
    s = t / (2.0 + t)
    w = s * s
    p = 1.0 / 21.0
    for n in range(19, 0, -2):
        p = p * w + 1.0 / n
    return 2.0 * s * p


@compiled
def log(x: float) -> float:
    """log(x), x a positive normal number: LOG."""
    bits = np.float64(x).view(np.int64)
    k = (bits >> 52) - 1023
    m = np.int64((bits & 0xFFFFFFFFFFFFF) | (1023 << 52)).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        k += 1
    near = _log1p_near(m - 1.0)
    if k == 0:
        return near
    return k * _LN2_A + (k * _LN2_B + near)


@compiled
def log1p(t: float) -> float:
    """log(1 + t), t > -1: LOG1P."""
    if -0.29 <= t <= 0.41:
        return _log1p_near(t)
    return log(1.0 + t)


@compiled
def tanh(x: float) -> float:
    """tanh(x), 2 |x| <= REACH: TANH."""
    e = expm1(-2.0 * abs(x))
    return math.copysign(e / (2.0 + e), x)


@compiled
def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), |x| <= REACH: LOGISTIC."""
    e = exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@compiled
def softplus(x: float) -> float:
    """log(1 + exp(x)), |x| <= REACH: SOFTPLUS."""
    return max(x, 0.0) + log1p(exp(-abs(x)))


@compiled
def erf(x: float) -> float:
    """erf(x), 0 <= x < BORDER: ERF."""
    s = x * x
    term = total = x
    n = 0
    while True:
        n += 1
        term = term * (2.0 * s) / (2 * n + 1)
        total += term
        if 4.0 * s < 2 * n + 2.9 and term < 2.0**-56 * total:
            break
    return total * exp(-s) * _2_BY_ROOT_PI


@compiled
def erfc(x: float) -> tuple[float, float]:
    """(erfc(x), its relative error), BORDER <= x <= 26."""
    depth = int(16.0 + 480.0 / (x * x))
    tail = x + (depth + 1) * 0.25 / x
    distance = (depth + 1) * 0.25 / x * (1.0 + 2.0**-40)
    for k in range(depth, 0, -1):
        half = 0.5 * k
        distance = half * distance / (tail * (tail - distance)) * (1.0 + 2.0**-40)
        tail = half / tail + x
    value = exp(-(x * x)) * _1_BY_ROOT_PI / tail
    return value, (676.0 + 5.0 * x * x) * UNIT + 1.01 * distance / tail


@compiled
def gelu(x: float) -> tuple[float, float]:
    """(x erfc(-x / sqrt 2) / 2, its relative error), |x| <= 36; the error of x / sqrt 2, 2 u, is in it."""
    z = abs(x) * 0.7071067811865476
    if z < BORDER:
        e = erf(z)
        share = 1.0 + e if x > 0.0 else 1.0 - e
        return 0.5 * x * share, (ERF + 4.0 * UNIT) * e / share * 1.01 + 8.0 * UNIT
    e, relative = erfc(z)
    relative += 4.0 * UNIT * (2.0 * z * z + 2.0)
    if x < 0.0:
        return 0.5 * x * e, relative + 4.0 * UNIT
    return 0.5 * x * (2.0 - e), relative * e + 8.0 * UNIT


@compiled
def gelu_tanh(x: float) -> tuple[float, float]:
    """(x / (1 + exp(-z)), its relative error), z = sqrt(8/pi) (x + 0.044715 x**3) off by 10 u, |x| <= 20."""
    z = 1.5957691216057308 * (x + 0.044715 * (x * x * x))
    return x * logistic(z), LOGISTIC + 4.0 * UNIT + 10.1 * UNIT * abs(z)
