"""Numbers followed with a bound on what float32 arithmetic makes of them: running error analysis.

A `Tracked` array is a float64 array v and an array e: whatever a float32 evaluation holds in its place, in
the order and with the rounding that `Rules` allows, is within e of v. Each operation adds what it rounds:

    x^ + y^  is within  e_x + e_y                          of v_x + v_y
    x^ y^               |v_x| e_y + |v_y| e_x + e_x e_y       v_x v_y
    x^ / y^             (e_x + |v_x / v_y| e_y) / (|v_y| - e_y)
    sqrt(x^)            e / (sqrt(v) + sqrt(max(0, v - e)))
    sum of n            sum e + gamma_{n-1} sum (|v| + e)     in any order
    f(x^)               s e + F (|f(v)| + s e), s >= |f'| between: F is `Rules.function`

then u (|v| + e) for the rounding of the result, 2**-126 for its underflow, gradual or flushed to zero, and
2**-50 |v| for the float64 arithmetic here. Operands below 2**-126 may be flushed to zero too. A constant that
float32 does not have is off by u of it. Where |v| + e comes near the largest number the error is infinite,
since the intermediate result may overflow; so it is where nothing is known (a divisor within e of zero).

v itself need not be exact: a bound on the error of an output is e plus the difference of v and the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reference.formats import BINARY32, Array
from reference.operands import Single

LAMBDA = 8.0
"""Deviations allowed to a probabilistic bound: failure below 3e-14 * n for each sum of n terms."""
INFLATION = 1.0 + 2.0**-20
FLUSH = 2.0**-126

Gamma = Callable[[float], float]


@dataclass(frozen=True)
class Rules:
    """What float32 arithmetic is assumed to do."""

    u: float  # unit roundoff of every operation
    gamma: Gamma  # relative error of n roundings in a row
    function: float  # relative error of exp, log, tanh, erf, ... as a library has them
    algorithm: str  # of a variance: "two_pass", "one_pass" or "welford"

    @property
    def second(self) -> float:
        """What turns the first order of at most four functions and 32 roundings into a bound: s becomes
        (1 + s_1) ... (1 + s_n) - 1 <= s / (1 - s) for the sum s of all."""
        first = 4.0 * self.function + 32.0 * self.u
        return 1.0 / (1.0 - first) if first < 1.0 else math.inf


def gamma(n: float, u: float) -> float:
    """n u / (1 - n u), infinite from n u = 1 on."""
    return n * u / (1.0 - n * u) if n * u < 1.0 else math.inf


def probabilistic_gamma(n: float, u: float, deviations: float = LAMBDA) -> float:
    """Higham & Mary's gamma; never above the deterministic one."""
    exponent = deviations * math.sqrt(n) * u + n * u * u / (1.0 - u)
    return min(math.expm1(exponent) if exponent < 700.0 else math.inf, gamma(n, u))


@dataclass(frozen=True, eq=False)
class Tracked:
    """v and e of the module's docstring, of one shape; no warnings are suppressed here."""

    value: Array
    error: Array
    rules: Rules

    @classmethod
    def given(cls, array: Single, rules: Rules) -> Tracked:
        """An operand."""
        value = array.astype(np.float64)
        return cls(value, np.where(np.abs(value) < FLUSH, np.abs(value), 0.0), rules)

    def made(self, value: Array, error: Array) -> Tracked:
        """The rounded result of an operation whose exact result is within `error` of `value`."""
        size = np.abs(value)
        whole = error + self.rules.u * (size + error) + FLUSH + 2.0**-50 * size
        known = (size + whole) * (1.0 + self.rules.u) < BINARY32.largest
        return Tracked(value, np.where(known, whole, np.inf), self.rules)

    def arranged(self, change: Callable[[Array], Array]) -> Tracked:
        """The same numbers with `change` (a reshape, a selection) applied to both arrays."""
        return Tracked(change(self.value), change(self.error), self.rules)

    def constant(self, number: float) -> Tracked:
        """A constant of the formula, rounded to float32 on its way into it."""
        with np.errstate(over="ignore", under="ignore"):
            exact = float(np.float32(number)) == number and not 0.0 < abs(number) < FLUSH
        error = 0.0 if exact else self.rules.u * abs(number) + FLUSH
        return Tracked(np.full(1, number), np.full(1, error), self.rules)

    def _other(self, other: Tracked | float) -> Tracked:
        return other if isinstance(other, Tracked) else self.constant(float(other))

    def __add__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        return self.made(self.value + b.value, self.error + b.error)

    def __neg__(self) -> Tracked:
        return Tracked(-self.value, self.error, self.rules)

    def __sub__(self, other: Tracked | float) -> Tracked:
        return self + (-self._other(other))

    def __rsub__(self, other: float) -> Tracked:
        return self._other(other) + (-self)

    def __mul__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        spread = np.abs(self.value) * b.error + np.abs(b.value) * self.error + self.error * b.error
        return self.made(self.value * b.value, spread)

    def __truediv__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        value, room = self.value / b.value, np.abs(b.value) - b.error
        spread = (self.error + np.abs(value) * b.error) / np.where(room > 0.0, room, np.nan)
        return self.made(value, np.where(room > 0.0, spread, np.inf))

    __radd__ = __add__
    __rmul__ = __mul__

    def root(self) -> Tracked:
        """The square root of what is known to be >= 0."""
        value = np.sqrt(np.maximum(self.value, 0.0))
        least = value + np.sqrt(np.maximum(self.value - self.error, 0.0))
        spread = self.error / np.where(least > 0.0, least, 1.0)
        return self.made(value, np.where(least > 0.0, spread, np.sqrt(self.error)))

    def total(self) -> Tracked:
        """The sum over the last axis, in any order."""
        size = (np.abs(self.value) + self.error).sum(axis=-1)
        count = self.value.shape[-1]
        spread = self.error.sum(axis=-1) + self.rules.gamma(max(0, count - 1)) * size + count * FLUSH
        # In some order a partial sum is that of all positive terms.
        known = size + spread < BINARY32.largest * (1.0 - self.rules.u)
        return self.made(self.value.sum(axis=-1), np.where(known, spread, np.inf))

    def through(self, function: Callable[[Array], Array], slope: Array | float) -> Tracked:
        """A library's function, of which `slope` bounds the derivative within the error of the argument."""
        value = function(self.value)
        spread = np.where(self.error > 0.0, slope * self.error, 0.0)
        return self.made(value, spread + self.rules.function * (np.abs(value) + spread))

    def exp(self) -> Tracked:
        """exp of a library."""
        return self.through(np.exp, np.exp(self.value + self.error))

    def log(self) -> Tracked:
        """log of a library; nothing is known where the argument may be 0."""
        least = self.value - self.error
        return self.through(np.log, np.where(least > 0.0, 1.0 / np.where(least > 0.0, least, 1.0), np.inf))

    def spread(self, more: Array) -> Tracked:
        """The same with another error added: that of other forms of the same formula."""
        return Tracked(self.value, self.error + more, self.rules)
