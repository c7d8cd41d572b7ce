"""Real functions to any precision: intervals on a private mpmath context, narrowed until they are narrow
enough.

Sums, products, quotients and roots round their ends outwards (mpmath's interval context). Its exp, log and pi
promise one unit of the last bit, but not the direction where the result looks exact (exp(-9e-35) at 140 bits
has both ends on one side): they are widened by 2**10 units. So an interval contains the truth whatever
cancels; where it is too wide, the whole formula is evaluated again with twice the bits. That ends
for every number but zero. An interval that stays wide at 2**18 bits raises ArithmeticError.

exp(x) below 2**-DEEP is not written out, since x may be -1e38: it becomes the interval from 2**(-2 DEEP) to
2**-DEEP, which stands for every positive number that is as small. No rounding to a format tells them apart:
they are all nearer to zero than to anything else, and on the same side of it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mpmath import libmp
from mpmath.ctx_iv import MPIntervalContext

DEEP = 1 << 14
_MINUTE = Fraction(1, 1 << DEEP - 1024)
_ENOUGH, _MOST_BITS = 2 * DEEP + 1024, 1 << 18

Interval = Any
Enclosure = tuple[Fraction, Fraction]  # (centre, radius)


class Reals:
    """Interval arithmetic of `prec` bits, and the functions that the operations need."""

    def __init__(self, prec: int) -> None:
        self.prec = prec
        self._context = MPIntervalContext()
        self._context.prec = prec
        slack = Fraction(1, 1 << prec - 10)
        self._spread = self.between(self.rational(1 - slack), self.rational(1 + slack))
        self.pi: Interval = self._context.pi * self._spread

    def exp(self, x: Interval) -> Interval:
        if x.b < -0.6931471805599454 * DEEP:
            return self.between(
                self.rational(Fraction(1, 1 << 2 * DEEP)), self.rational(Fraction(1, 1 << DEEP))
            )
        return self._context.exp(x) * self._spread

    def log(self, x: Interval) -> Interval:
        return self._context.log(x) * self._spread

    def sqrt(self, x: Interval) -> Interval:
        return self._context.sqrt(x)

    def between(self, low: Interval, high: Interval) -> Interval:
        """The smallest interval with the low end of one and the high end of another."""
        return self._context.mpf([low.a, high.b])

    def rational(self, number: Fraction | float | int) -> Interval:
        """The interval of a fraction, a finite float or an integer."""
        exact = Fraction(number)
        ends = [libmp.from_rational(exact.numerator, exact.denominator, self.prec, way) for way in "fc"]
        return self._context.make_mpf((ends[0], ends[1]))

    def log1p_positive(self, x: Interval) -> Interval:
        """log(1 + x) for x >= 0; where x is minute, from x - x**2/2 <= log(1 + x) <= x."""
        if x.b < self.rational(Fraction(1, 1 << self.prec)).a:
            least = x - x * x / 2
            return self.between(least, x)
        return self.log(1 + x)

    def expm1(self, x: Interval) -> Interval:
        return self.exp(x) - 1

    def sigmoid(self, x: Interval) -> Interval:
        if x.b < 0:
            raised = self.exp(x)
            return raised / (1 + raised)
        return 1 / (1 + self.exp(-x))

    def tanh(self, x: Interval) -> Interval:
        if x.b < 0:
            return -self.tanh(-x)
        minus = self.exp(-2 * x)
        return (1 - minus) / (1 + minus)

    def softplus(self, x: Interval) -> Interval:
        """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)); x does not straddle zero."""
        if x.a >= 0:
            return x + self.log1p_positive(self.exp(-x))
        return self.log1p_positive(self.exp(x))

    def erf(self, x: Interval) -> Interval:
        """2/sqrt(pi) exp(-x**2) sum 2**n x**(2n+1) / (1 * 3 ... (2n+1)): one sign, and a geometric tail."""
        if x.b <= 0 and x.a < 0:
            return -self.erf(-x)
        square = x * x
        if x.a > 0 and square.a > self.prec:
            return 1 - self._upper_tail(x, square)
        term = total = x
        n = 0
        smallest = self.rational(Fraction(1, 1 << self.prec + 8))
        while True:
            n += 1
            term = term * square * 2 / (2 * n + 1)
            total = total + term
            if square.b * 4 < 2 * n + 3 and term.b <= (smallest * total).b:
                total = total + self.between(
                    self.rational(0), term
                )  # ratios below 1/2: the tail is below the last term
                return 2 / self.sqrt(self.pi) * self.exp(-square) * total

    def erfc(self, x: Interval) -> Interval:
        """1 - erf(x), by its continued fraction where 1 - erf(x) would cancel."""
        if x.a > 0 and (x * x).a > 9:
            return self._upper_tail(x, x * x)
        return 1 - self.erf(x)

    def _upper_tail(self, x: Interval, square: Interval) -> Interval:
        """exp(-x**2)/sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))): a tail lies in [x, x + a/x]."""
        # The fraction converges like exp(-x sqrt(8 n)).
        depth = 8 + int(self.prec * self.prec * 0.07 / float(square.a)) if square.a < 1e12 else 8
        tail = x + self.between(self.rational(0), self.rational(Fraction(depth + 1, 2)) / x)
        for k in range(depth, 0, -1):
            tail = x + self.rational(Fraction(k, 2)) / tail
        return self.exp(-square) / (self.sqrt(self.pi) * tail)


def enclose(formula: Callable[[Reals], Interval], bits: int) -> Enclosure:
    """(centre, radius) of the number that `formula` computes, radius <= 2**-bits * |centre|.

    An interval that is one number is exact, zero included. Where numbers below 2**-DEEP take part, and more
    bits than that are asked for, the radius stays wider; the interval still excludes zero.
    """
    prec = bits + 40
    while True:
        low, high = (_fraction(end) for end in formula(Reals(prec))._mpi_)
        if low is not None and high is not None:
            centre, radius = (low + high) / 2, (high - low) / 2
            if low == high:
                return centre, radius
            narrow = radius * (1 << bits) <= abs(centre)
            if low * high > 0 and (narrow or abs(centre) + radius < _MINUTE or prec > _ENOUGH):
                return centre, radius
        if prec > _MOST_BITS:
            raise ArithmeticError(f"an interval is still too wide at {prec} bits: the truth may be zero")
        prec *= 2


def _fraction(end: Any) -> Fraction | None:
    sign, mantissa, exponent, _ = end
    if not mantissa or abs(exponent) > 1 << 20:
        return Fraction(0) if not mantissa and exponent == 0 else None
    number = Fraction(int(mantissa)) * (
        Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
    )
    return -number if sign else number
