"""Elements that their bound leaves open, decided by raising the precision until the answer is one number.

`Truth.refine` encloses an element in [centre - radius, centre + radius]. A rounding is decided once both
ends round to the same number, sign included: rounding is monotone. That must happen, because an element on a
boundary (a tie, a number of the format) is rational and comes out with radius 0; `LIMIT` turns a `refine`
that breaks this promise into an error instead of an endless loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath

from reference.formats import Format
from reference.rounding import round_fraction

Refine = Callable[[int, int], tuple[Fraction, Fraction]]

LIMIT = 1 << 16  # bits; an algebraic or elementary function of float32 numbers is decided long before


class UncertainError(ArithmeticError):
    """The bound does not prove which number of the format is nearest."""


def decide(refine: Refine, index: int, fmt: Format, mode: str, drawn: float) -> float:
    """Element `index` rounded to `fmt` as if it had no largest number: see `rounding.round_fraction`.

    Raises UncertainError where `LIMIT` bits do not decide it.
    """
    bits = 2 * fmt.precision + 16
    while bits <= LIMIT:
        centre, radius = refine(index, bits)
        ends = [
            round_fraction(centre + step, fmt.precision, fmt.emin, mode, drawn) for step in (-radius, radius)
        ]
        if ends[0] == ends[1] and math.copysign(1.0, ends[0]) == math.copysign(1.0, ends[1]):
            return ends[0]
        bits *= 2
    raise UncertainError(
        f"the rounding to {fmt.name} of element {index} is not decided by {LIMIT} bits: its refinement does "
        "not recognise an exact case, which is a defect of the toolkit"
    )


def enclose(refine: Refine | None, index: int, known: tuple[float, float, float], bits: int) -> Fraction:
    """The exact number at `index`, or one within 2**-bits of it, relatively.

    `known` is its value, residual and bound, all finite. Raises UncertainError where that is not enough and
    there is no `refine`, or it only tells that the number is too small to be written out (exp(-1e30)).
    """
    value, residual, bound = known
    centre = Fraction(value) + Fraction(residual)
    radius = Fraction(bound)
    # |exact| >= |centre| - radius, so the error relative to the exact number is at most radius / that.
    if refine is not None and radius * (1 << bits) > abs(centre) - radius:
        centre, radius = refine(index, bits + 1)
    if radius * (1 << bits) > abs(centre) - radius:
        raise UncertainError(
            f"element {index} is not known to {bits} bits: value {value!r}, residual {residual!r}, "
            f"bound {bound!r}"
        )
    return centre


def number(exact: Fraction, context: Any) -> Any:
    """`exact` as an mpf of `context`, rounded to nearest at its precision."""
    return context.mpf(exact.numerator) / context.mpf(exact.denominator)


def private_context(bits: int) -> Any:
    """An mpmath context of this precision that nobody else has."""
    context = mpmath.MPContext()
    context.prec = bits
    return context
