"""SGD with Nesterov's momentum, step by step: three frameworks' formulas, exactly and to the bit.

With rate r_t, momentum m, gradient g, parameter p and buffer b, a step is

    torch.optim.SGD                     b = m b + g;        p = p - r_t (g + m b)      (first step: b = g)
    tf.train.MomentumOptimizer (TF1)    b = m b + g;        p = p - (r_t g + r_t m b)
    keras.optimizers.SGD                b = m b - r_t g;    p = p + (m b - r_t g)

In exact arithmetic the three are one path while the rate is constant: Keras's b is -r times the others'. When
the rate changes, Keras's buffer keeps the old one: another path, from the first step with the new rate on.
In float32 every product and sum may round, or a product may be fused into the sum that follows: each way is
tried, and the one that gives every bit of every step is the formula that ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray

from reference.optimizer_formulas import Sgd, sgd_step

Single = NDArray[np.float32]
Double = NDArray[np.float64]

RULES = ("torch", "tf1", "keras")
CONVENTION = {"torch": "torch", "tf1": "torch", "keras": "keras"}
"""Which exact path (`reference.optimizer_formulas`) a rule follows."""


def exact_path(start: Single, grads: Single, rates: Sequence[float], momentum: float, rule: str) -> Double:
    """The parameter after each step without any rounding, to float64; (steps, n).

    rates, momentum: the exact float64 numbers.
    """
    setting = Sgd(lr=rates[0], momentum=momentum, nesterov=True, convention=CONVENTION[rule])
    path = np.empty((len(rates), start.size))
    for column, first in enumerate(start):
        position, buffer = Fraction(float(first)), Fraction(0)
        for step, rate in enumerate(rates):
            now = replace(setting, lr=rate)
            g = Fraction(float(grads[step, column]))
            position, buffer = sgd_step(position, g, buffer, now, step == 0, Fraction)
            path[step, column] = float(position)
    return path


def fused(a: Single, b: Single, c: Single) -> Single:
    """a b + c with one rounding: the float64 sum is rounded to odd, so that float32 rounds it rightly.

    (Boldo & Melquiond 2008, "Emulation of a FMA and correctly rounded sums"; 53 >= 24 + 2 bits.)
    """
    exact = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    other = np.asarray(c, np.float64)
    total = exact + other
    back = total - exact
    left = (exact - (total - back)) + (other - back)
    even = (total.view(np.int64) & 1) == 0
    odd = np.where((left != 0) & even, np.nextafter(total, np.copysign(np.inf, left)), total)
    return np.asarray(odd.astype(np.float32))


def apart(a: Single, b: Single, c: Single) -> Single:
    """a b + c with two roundings."""
    return np.asarray(a * b + c)


Join = Callable[[Single, Single, Single], Single]
_JOINS: dict[str, Join] = {"fused": fused, "rounded": apart}


@dataclass(frozen=True)
class Replay:
    """A way to evaluate a rule in float32, in words, and the path that it gives (steps, n)."""

    words: str
    path: Single


_PLACES = {
    "torch": ("buffer", "look-ahead", "parameter"),
    "tf1": ("buffer", "step"),
    "keras": ("buffer", "look-ahead"),
}
"""Where a product is followed by a sum."""


def replays(
    start: Single, grads: Single, rates: Sequence[float], momentum: float, rule: str
) -> Iterator[Replay]:
    """Every way that is tried; all numbers float32, the hyperparameters rounded to it first."""
    m = np.full_like(start, momentum)
    for names in product(_JOINS, repeat=len(_PLACES[rule])):
        joins = [_JOINS[name] for name in names]
        p, b, path = start, np.zeros_like(start), []
        for step, rate in enumerate(rates):
            p, b = _step(rule, p, b, grads[step], np.full_like(start, rate), m, joins, step == 0)
            path.append(p)
        words = zip(_PLACES[rule], names, strict=True)
        yield Replay(", ".join(f"{place} {name}" for place, name in words), np.stack(path))


def _step(
    rule: str, p: Single, b: Single, g: Single, r: Single, m: Single, joins: Sequence[Join], first: bool
) -> tuple[Single, Single]:
    """(parameter, buffer) after a step; each of `joins` is a product and the sum that follows it."""
    if rule == "keras":
        b = joins[0](m, b, -(r * g))
        return np.asarray(p + joins[1](m, b, -(r * g))), b
    b = g if first and rule == "torch" else joins[0](m, b, g)
    if rule == "torch":
        return joins[2](-r, joins[1](m, b, g), p), b
    return np.asarray(p - joins[1](r, g, b * m * r)), b


def found(output: Single, given: Iterator[Replay]) -> Replay | None:
    """The first replay whose path is the output's, bit for bit; None where none is."""
    for each in given:
        if np.array_equal(each.path, output):
            return each
    return None


def first_parted(one: Single | Double, other: Single | Double) -> int | None:
    """The first step (from 1) at which two paths differ anywhere; None where they never do."""
    steps = np.flatnonzero((one != other).any(axis=1))
    return int(steps[0]) + 1 if steps.size else None
