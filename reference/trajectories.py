"""Many optimizer steps without a rounding between them: where exact arithmetic would have gone.

The gradients are given, one array a step, so the path depends on nothing that float32 arithmetic made. SGD is
carried in fractions. Adam's moments are too; its parameter is a sum of one enclosed change a step, each asked
for with as many bits as the end needs. Numbers grow by about 53 bits a step: these are for tens of steps and
thousands of elements, to tell how fast a framework's path leaves the exact one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reference.escalate import finish
from reference.operands import Single, operand
from reference.optimizer_formulas import Adam, Sgd, adam_moments, sgd_step
from reference.optimizers import new_parameter
from reference.truth import Refine, Truth


def sgd_path(param: npt.ArrayLike, grads: Sequence[npt.ArrayLike], rule: Sgd) -> list[Truth]:
    """The parameter after each step of SGD, from no momentum buffer; raises ValueError as `sgd` does."""
    p, given = _operands(param, grads)

    def follow(index: int, steps: int) -> Fraction:
        position, buffer = Fraction(float(p.reshape(-1)[index])), Fraction(0)
        for t in range(steps):
            g = Fraction(float(given[t].reshape(-1)[index]))
            position, buffer = sgd_step(position, g, buffer, rule, t == 0, Fraction)
        return position

    return [
        _truth(p, lambda index, bits, steps=t + 1: (follow(index, steps), Fraction(0)))  # type: ignore[misc]
        for t in range(len(given))
    ]


def adam_path(param: npt.ArrayLike, grads: Sequence[npt.ArrayLike], rule: Adam) -> list[Truth]:
    """The parameter after each step of Adam from moments of zero; rule.step numbers the first step.

    Weight decay must be 0: with it the moments would depend on enclosed parameters.
    """
    p, given = _operands(param, grads)
    if rule.weight_decay:
        raise ValueError(
            f"weight_decay must be 0 in an exact path of Adam, got {rule.weight_decay!r}: leave it out"
        )

    def follow(index: int, bits: int, steps: int) -> tuple[Fraction, Fraction]:
        position, radius = Fraction(float(p.reshape(-1)[index])), Fraction(0)
        first = second = Fraction(0)
        for t in range(steps):
            now = replace(rule, step=rule.step + t)
            g = Fraction(float(given[t].reshape(-1)[index]))
            first, second = adam_moments(position, g, first, second, now, Fraction)
            change, error = new_parameter(Fraction(0), first, second, now, bits)
            position, radius = position + change, radius + error
        return position, radius

    def enclosed(index: int, bits: int, steps: int) -> tuple[Fraction, Fraction]:
        more = bits + 32
        while True:
            centre, radius = follow(index, more, steps)
            if radius * (1 << bits) <= abs(centre):
                return centre, radius
            if more > 1 << 16:
                raise ArithmeticError(f"element {index} is zero to {more} bits after {steps} steps")
            more *= 2

    return [
        _truth(p, lambda index, bits, steps=t + 1: enclosed(index, bits, steps))  # type: ignore[misc]
        for t in range(len(given))
    ]


def _operands(param: npt.ArrayLike, grads: Sequence[npt.ArrayLike]) -> tuple[Single, list[Single]]:
    p, given = operand(param, "param"), [operand(g, "grads") for g in grads]
    for t, g in enumerate(given):
        if g.shape != p.shape:
            raise ValueError(
                f"the gradient of step {t} must have param's shape {p.shape}, got {g.shape}: reshape it"
            )
    if not all(np.isfinite(a).all() for a in (p, *given)):
        raise ValueError(
            "an exact path needs finite parameters and gradients, got NaN or infinity: mask them"
        )
    return p, given


def _truth(p: Single, refine: Refine) -> Truth:
    """Every element by its refinement: a bound of infinity sends them all to the last tier."""
    value, residual, magnitude = np.zeros(p.size), np.zeros(p.size), np.zeros(p.size)
    truth = finish(value, residual, np.full(p.size, np.inf), magnitude, refine, signed=False)
    magnitude[...] = np.abs(truth.value) * (1.0 + 2.0**-40)
    return truth.arranged(lambda array: array.reshape(p.shape))
