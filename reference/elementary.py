"""exp, expm1, log, log1p, tanh and the logistic function in double-word arithmetic, with proven errors.

u = 2**-53. Arguments are double words, results too. The constants below bound the relative error for an exact
argument; a relative error d of the argument adds d times the condition number, at most |x| for exp. Each
operation of `doubleword` costs at most: sum with a float 2 u**2, sum 3.1 u**2, product 5 u**2, quotient 15
u**2, by a float 3 u**2; terms of third order are covered by rounding the constants up.

expm1 on |r| <= 0.36. s = r/512, |s| < 2**-10.4. p = s (1 + s/2 (1 + s/3 (... + s/9))) leaves out less than
s**9/10! of it, 2**-115; every Horner step but the last is damped by |s|/k, so p is within 9 u**2. Nine times
p <- p (2 + p), which is expm1 of the doubled argument: 7 u**2 each, and errors before it grow by
(2 + 2p)/(2 + p) < 1 + |p|/(2 + p), together by less than 1.7. Sum: 1.7 (9 + 63) u**2 < 2**-99.

exp on |x| <= 745. x = k log 2 + r, |r| <= 0.35, log 2 in three parts of which k times the first two is exact;
r is off by less than 4 u**2. exp = (1 + p) 2**k, where p's error counts 0.42/1.42 at most: 2**-99 + 6 u**2.
Scaling into float64's subnormal range loses at most 2**-1074 more, absolutely.

expm1 beyond 0.35: exp - 1, at least 0.29 in size; the error of exp counts at most 3.5 times.

log1p on -0.3 <= t <= 0.5. s = t/(2 + t), |s| < 0.2, log1p = 2 s (1 + w/3 + w**2/5 + ...), w = s**2 < 0.04. 24
terms leave out less than 0.04**24/49/0.96 = 2**-116 of it. Horner steps are damped by w: the series is within
6 u**2, s within 18 u**2, the product 5 u**2.

log. x = m 2**k, 0.7 <= m < 1.42, log1p(m - 1) + k log 2. Where k != 0 the sum is at least 0.33 and half of k
log 2: errors count at most 2.1 times.

log1p elsewhere: log(1 + t), where the 2 u**2 of the sum is divided by a logarithm of at least 0.35.

tanh |x| = -e/(2 + e), e = expm1(-2|x|) in (-1, 0]; the condition of that quotient is below 2.
logistic(x) = 1/(1 + e) or e/(1 + e), e = exp(-|x|); softplus(x) = max(x, 0) + log1p(e), of one sign.
"""

from __future__ import annotations

import math

import numpy as np

from reference.doubleword import over, over_float, plus, plus_float, times, times_float
from reference.jit import compiled

EXPM1_NEAR, EXP, EXPM1 = 2.0**-99, 2.0**-98, 2.0**-96
LOG1P_NEAR, LOG, LOG1P = 2.0**-101, 2.0**-99, 2.0**-98
TANH, LOGISTIC, SOFTPLUS = 2.0**-94, 2.0**-96, 2.0**-96
LOST = 2.0**-1073
"""What exp, expm1 and the logistic function may lose absolutely where float64 is subnormal."""
LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
_LN2_A, _LN2_B, _LN2_C = (
    float.fromhex("0x1.62e42fefa38p-1"),
    float.fromhex("0x1.ef35793c76p-45"),
    float.fromhex("0x1.cc01f97b57a08p-87"),
)


@compiled
def expm1_near(rh: float, rl: float) -> tuple[float, float]:
    """exp(r) - 1 for |r| <= 0.36: EXPM1_NEAR."""
    sh, sl = rh / 512.0, rl / 512.0
    ph, pl = 1.0, 0.0
    for k in range(9, 1, -1):
        ph, pl = times(ph, pl, sh, sl)
        ph, pl = over_float(ph, pl, np.float64(k))
        ph, pl = plus_float(ph, pl, 1.0)
    ph, pl = times(ph, pl, sh, sl)
    for _ in range(9):
        qh, ql = plus_float(ph, pl, 2.0)
        ph, pl = times(ph, pl, qh, ql)
    return ph, pl


@compiled
def _reduced(xh: float, xl: float) -> tuple[float, float, float]:
    k = np.rint(xh / LN2)
    rh, rl = plus_float(xh, xl, -k * _LN2_A)
    rh, rl = plus_float(rh, rl, -k * _LN2_B)
    rh, rl = plus_float(rh, rl, -k * _LN2_C)
    return rh, rl, k


@compiled
def exp(xh: float, xl: float) -> tuple[float, float]:
    """exp(x): EXP, and LOST; 0 below -746, infinity above 709.7."""
    if xh < -746.0:
        return 0.0, 0.0
    if xh > 709.7:
        return np.inf, 0.0
    rh, rl, k = _reduced(xh, xl)
    ph, pl = expm1_near(rh, rl)
    ph, pl = plus_float(ph, pl, 1.0)
    return math.ldexp(ph, int(k)), math.ldexp(pl, int(k))


@compiled
def expm1(xh: float, xl: float) -> tuple[float, float]:
    """exp(x) - 1: EXPM1, at any size."""
    if abs(xh) <= 0.35:
        return expm1_near(xh, xl)
    eh, el = exp(xh, xl)
    if np.isinf(eh):
        return eh, 0.0
    return plus_float(eh, el, -1.0)


@compiled
def log1p_near(th: float, tl: float) -> tuple[float, float]:
    """log(1 + t) for -0.3 <= t <= 0.5: LOG1P_NEAR."""
    dh, dl = plus_float(th, tl, 2.0)
    sh, sl = over(th, tl, dh, dl)
    wh, wl = times(sh, sl, sh, sl)
    ph, pl = 0.0, 0.0
    for k in range(23, -1, -1):
        ph, pl = times(ph, pl, wh, wl)
        ch, cl = over_float(1.0, 0.0, np.float64(2 * k + 1))
        ph, pl = plus(ph, pl, ch, cl)
    ph, pl = times(ph, pl, sh, sl)
    return 2.0 * ph, 2.0 * pl


@compiled
def log(xh: float, xl: float) -> tuple[float, float]:
    """log(x), x > 0: LOG."""
    mantissa, k = math.frexp(xh)
    if mantissa < 0.7071:
        k -= 1
    mh, ml = math.ldexp(xh, -k), math.ldexp(xl, -k)
    th, tl = plus_float(mh, ml, -1.0)
    yh, yl = log1p_near(th, tl)
    if k == 0:
        return yh, yl
    kh, kl = times_float(LN2, LN2_LOW, np.float64(k))
    return plus(kh, kl, yh, yl)


@compiled
def log1p(th: float, tl: float) -> tuple[float, float]:
    """log(1 + t), t > -1: LOG1P."""
    if -0.3 <= th <= 0.5:
        return log1p_near(th, tl)
    xh, xl = plus_float(th, tl, 1.0)
    return log(xh, xl)


@compiled
def tanh(xh: float, xl: float) -> tuple[float, float]:
    """tanh(x): TANH."""
    sign = -1.0 if xh < 0.0 else 1.0
    eh, el = expm1(-2.0 * abs(xh), -2.0 * sign * xl)
    dh, dl = plus_float(eh, el, 2.0)
    yh, yl = over(eh, el, dh, dl)
    return -sign * yh, -sign * yl


@compiled
def logistic(xh: float, xl: float) -> tuple[float, float]:
    """1 / (1 + exp(-x)): LOGISTIC, and LOST."""
    if xh >= 0.0:
        eh, el = exp(-xh, -xl)
        dh, dl = plus_float(eh, el, 1.0)
        return over(1.0, 0.0, dh, dl)
    eh, el = exp(xh, xl)
    dh, dl = plus_float(eh, el, 1.0)
    return over(eh, el, dh, dl)


@compiled
def softplus(xh: float, xl: float) -> tuple[float, float]:
    """log(1 + exp(x)): SOFTPLUS, and LOST."""
    if xh > 0.0:
        eh, el = exp(-xh, -xl)
        yh, yl = log1p(eh, el)
        return plus(xh, xl, yh, yl)
    eh, el = exp(xh, xl)
    return log1p(eh, el)
