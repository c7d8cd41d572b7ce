"""erf and erfc in double-word arithmetic, with an error bound that comes with each result.

Below |x| = 2.2: erf(x) = 2/sqrt(pi) exp(-x**2) sum t_n, t_0 = x, t_n = t_(n-1) 2 x**2/(2n + 1) (Abramowitz &
Stegun 7.1.6): terms of one sign, so nothing cancels. The sum stops where the next ratio is below 1/2 and t_n
< 2**-112 of it, so the tail is below that too. Up to 70 terms, each 13 u**2 from the one before, and 70
additions of 3 u**2: below 2**-95.5; with exp and its argument (x**2 5 u**2 < 25 u**2), the constant and two
products: SERIES. erfc = 1 - erf there, which scales that by erf/erfc.

From 2.2 on: erfc(x) = exp(-x**2)/sqrt(pi) / T_0, T_(k-1) = x + (k/2)/T_k (Abramowitz & Stegun 7.1.14). Every
tail T_N lies in [x, x + (N+1)/(2x)]; the kernel starts in the middle, and carries the distance: |T_(k-1) -
t_(k-1)| = (k/2) |T_k - t_k| / (T_k t_k). The rounding errors of at most 220 steps, 18 u**2 each and never
amplified, since T_(k-1) is the sum of x and what T_k enters: below 2**-94; with exp and its argument (x**2 5
u**2, x < 28, 2**-94), the constant, a product and a quotient: FRACTION.

A relative error d of the argument adds d (2 x**2 + 2) to erfc at x > 0, since -x erfc'/erfc < 2 x**2 + 1
(7.1.13), and at most d to erf.
"""

from __future__ import annotations

import numpy as np

from reference.doubleword import over, over_float, plus, plus_float, times
from reference.elementary import exp
from reference.jit import compiled

SERIES, FRACTION = 2.0**-94, 2.0**-92
BORDER = 2.2
_2_BY_ROOT_PI, _2_BY_ROOT_PI_LOW = 1.1283791670955126, 1.533545961316588e-17
_1_BY_ROOT_PI, _1_BY_ROOT_PI_LOW = 0.5641895835477563, 7.66772980658294e-18


@compiled
def _series(xh: float, xl: float) -> tuple[float, float]:
    """erf(x), 0 < x < BORDER (or a little above): SERIES."""
    sh, sl = times(xh, xl, xh, xl)
    th, tl = xh, xl
    total, low = xh, xl
    n = 0
    while True:
        n += 1
        th, tl = times(th, tl, 2.0 * sh, 2.0 * sl)
        th, tl = over_float(th, tl, np.float64(2 * n + 1))
        total, low = plus(total, low, th, tl)
        if 4.0 * sh < 2 * n + 2.9 and th < 2.0**-113 * total:
            break
    eh, el = exp(-sh, -sl)
    yh, yl = times(total, low, eh, el)
    return times(yh, yl, _2_BY_ROOT_PI, _2_BY_ROOT_PI_LOW)


@compiled
def _fraction(xh: float, xl: float) -> tuple[float, float, float]:
    """erfc(x), x >= BORDER, and its relative error."""
    depth = int(16.0 + 960.0 / (xh * xh))
    th = xh + (depth + 1) * 0.25 / xh
    tl = 0.0
    distance = (depth + 1) * 0.25 / xh * (1.0 + 2.0**-40) + th * 2.0**-50
    for k in range(depth, 0, -1):
        half = 0.5 * k
        distance = half * distance / (th * (th - distance)) * (1.0 + 2.0**-40)
        th, tl = over(half, 0.0, th, tl)
        th, tl = plus(th, tl, xh, xl)
    sh, sl = times(xh, xl, xh, xl)
    eh, el = exp(-sh, -sl)
    yh, yl = times(eh, el, _1_BY_ROOT_PI, _1_BY_ROOT_PI_LOW)
    yh, yl = over(yh, yl, th, tl)
    return yh, yl, FRACTION + 1.01 * distance / th


@compiled
def erf(xh: float, xl: float) -> tuple[float, float, float]:
    """(high, low, relative error) of erf(x)."""
    sign = -1.0 if xh < 0.0 else 1.0
    ah, al = sign * xh, sign * xl
    if ah == 0.0:
        return 0.0, 0.0, 0.0
    if ah < BORDER:
        yh, yl = _series(ah, al)
        return sign * yh, sign * yl, SERIES
    yh, yl, relative = _fraction(min(ah, 40.0), al if ah < 40.0 else 0.0)
    yh, yl = plus_float(-yh, -yl, 1.0)
    return sign * yh, sign * yl, relative + 2.0**-104


@compiled
def erfc(xh: float, xl: float) -> tuple[float, float, float]:
    """(high, low, relative error) of erfc(x); absolutely it may lose 2**-1072 more. 0 beyond 28."""
    if xh == 0.0:
        return 1.0, 0.0, 0.0
    if xh < BORDER:
        yh, yl, relative = erf(xh, xl)
        size = abs(yh)
        yh, yl = plus_float(-yh, -yl, 1.0)
        return yh, yl, 1.01 * relative * size / yh + 2.0**-104
    if xh > 28.0:
        return 0.0, 0.0, FRACTION
    return _fraction(xh, xl)
