"""Double-word arithmetic: a number as the unevaluated sum of two float64, |low| <= ulp(high)/2.

Algorithms and proven relative errors, u = 2**-53: Joldes, Muller & Popescu 2017, "Tight and rigorous error
bounds for basic building blocks of double-word arithmetic", ACM TOMS 44(2), for +, *, /; Lefevre, Louvet,
Muller, Picot & Rideau 2023, "Accurate calculation of Euclidean norms using double-word arithmetic", ACM TOMS
49(1), for sqrt. All hold barring underflow and overflow, which float32 operands exclude. `STEP` is at least
each of them.
"""

from __future__ import annotations

import math

from reference.compensated import two_sum
from reference.jit import compiled

STEP = 2.0**-102
"""16 u**2, a bound on the relative error of every operation here (the largest is 15 u**2 + 56 u**3)."""

_SPLITTER = 2.0**27 + 1.0


@compiled
def fast_two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b as its rounding and its error, for |a| >= |b| or a == 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


@compiled
def two_prod(a: float, b: float) -> tuple[float, float]:
    """a * b as its rounding and its error (Veltkamp's splitting, Dekker's product): no FMA needed."""
    product = a * b
    c = _SPLITTER * a
    a_high = c - (c - a)
    a_low = a - a_high
    c = _SPLITTER * b
    b_high = c - (c - b)
    b_low = b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def plus_float(high: float, low: float, y: float) -> tuple[float, float]:
    """Algorithm 4, DWPlusFP: 2 u**2."""
    total, error = two_sum(high, y)
    return fast_two_sum(total, low + error)


@compiled
def plus(xh: float, xl: float, yh: float, yl: float) -> tuple[float, float]:
    """Algorithm 6, AccurateDWPlusDW: 3 u**2 + 13 u**3, whatever the signs."""
    sh, sl = two_sum(xh, yh)
    th, tl = two_sum(xl, yl)
    vh, vl = fast_two_sum(sh, sl + th)
    return fast_two_sum(vh, tl + vl)


@compiled
def times_float(high: float, low: float, y: float) -> tuple[float, float]:
    """Algorithm 7, DWTimesFP1: 3/2 u**2 + 4 u**3."""
    ch, c1 = two_prod(high, y)
    th, t1 = fast_two_sum(ch, low * y)
    return fast_two_sum(th, t1 + c1)


@compiled
def times(xh: float, xl: float, yh: float, yl: float) -> tuple[float, float]:
    """Algorithm 10, DWTimesDW1: 5 u**2."""
    ch, c1 = two_prod(xh, yh)
    return fast_two_sum(ch, c1 + (xh * yl + xl * yh))


@compiled
def over_float(high: float, low: float, y: float) -> tuple[float, float]:
    """Algorithm 15, DWDivFP3: 3 u**2."""
    th = high / y
    ph, pl = two_prod(th, y)
    return fast_two_sum(th, ((high - ph) + (low - pl)) / y)


@compiled
def over(xh: float, xl: float, yh: float, yl: float) -> tuple[float, float]:
    """Algorithm 17, DWDivDW2: 15 u**2 + 56 u**3."""
    th = xh / yh
    rh, rl = times_float(yh, yl, th)
    return fast_two_sum(th, ((xh - rh) + (xl - rl)) / yh)


@compiled
def root(high: float, low: float) -> tuple[float, float]:
    """Square root, SQRTDWtoDW of Lefevre et al.: 25/8 u**2. The argument is positive."""
    sh = math.sqrt(high)
    ph, pl = two_prod(sh, sh)
    return fast_two_sum(sh, (low + ((high - ph) - pl)) / (2.0 * sh))
