"""From kernels' results to a Truth: what their bounds leave uncertain is refined until it is certain."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.certify import certain
from reference.compensated import split_fraction
from reference.formats import Array
from reference.jit import compiled
from reference.truth import Refine, Truth

DUST = 2.0**-1074
"""The smallest float64: stands for a truth of known sign that is smaller."""
_FIRST_BITS, _LAST_BITS = 160, 1 << 12
_BELOW_FLOAT32 = 2.0**-161  # 2**-10 ulp of float32 and half: no rounding to float32 is in doubt


def finish(
    value: Array, residual: Array, bound: Array, magnitude: Array, refine: Refine, *, signed: bool,
    first: int = 0, finer: Callable[[], Truth] | None = None,
) -> Truth:  # fmt: skip
    """The truth that the arrays (of any one shape, changed in place) and `refine` make.

    `refine` is only asked for elements with a bound above 0: one of bound 0 is its value and residual.
    signed: every non-zero value has the truth's sign by construction, so a number too small for float64 is
    settled though its bound reaches zero. Elements that are exact have bound 0; NaN and infinity have
    residual and bound 0 and an infinite magnitude. first: how many float64 settled; finer: as of `Truth`.
    """
    v, r, b = value.reshape(-1), residual.reshape(-1), bound.reshape(-1)
    unsure = np.empty(value.size, np.bool_)
    escalated = _mark(v, r, b, magnitude.reshape(-1), signed, unsure)
    for i in np.flatnonzero(unsure):
        v[i], r[i], b[i] = settle(refine, int(i))
    tiers = {"float64": first, "double-double": value.size - first - escalated, "exact": escalated}

    def known_first(index: int, bits: int) -> tuple[Fraction, Fraction]:
        if b[index] == 0.0:
            return Fraction(float(v[index])) + Fraction(float(r[index])), Fraction(0)
        return refine(index, bits)

    return Truth(value, residual, bound, magnitude, tiers, known_first, finer if first else None)


def exact(value: npt.NDArray[Any]) -> Truth:
    """The truth of an operation that only selects or moves elements."""
    found = np.ascontiguousarray(value, np.float64).reshape(np.shape(value)) + 0.0
    zero = np.zeros_like(found)
    magnitude = np.where(np.isfinite(found), np.abs(found), np.inf)
    flat = found.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        return Fraction(float(flat[index])), Fraction(0)

    tiers = {"float64": found.size, "double-double": 0, "exact": 0}
    return Truth(found, zero, zero.copy(), magnitude, tiers, refine)


def settle(refine: Refine, index: int) -> tuple[float, float, float]:
    """(value, residual, bound) of one element, certain for float32.

    Less than 2**-_LAST_BITS away from a tie, three float64 numbers cannot say on which side: such an element
    keeps a tiny bound, and `Truth.round` asks `refine`.
    """
    bits = _FIRST_BITS
    while True:
        centre, radius = refine(index, bits)
        found = split_fraction(centre, radius)
        if settled(*found, False):
            return found
        known_sign = abs(centre) > radius
        if known_sign and abs(centre) + radius < Fraction(_BELOW_FLOAT32):
            value = found[0] or math.copysign(DUST, centre)
            return value, 0.0, max(found[2] + abs(found[1]), DUST)
        if bits > _LAST_BITS:
            return found
        bits *= 2


@compiled
def settled(value: float, residual: float, bound: float, signed: bool) -> bool:
    """`certain`, or far outside float32's range: above its largest number, or too small with a known sign."""
    size = abs(value)
    if size > 2.0**129 and np.isfinite(value):
        return bound <= 2.0**-40 * size
    if signed and size > 0.0 and size + bound < _BELOW_FLOAT32:
        return True
    return bool(certain(value, residual, bound))


@compiled
def _mark(value: Any, residual: Any, bound: Any, magnitude: Any, signed: bool, unsure: Any) -> int:
    count = 0
    for i in range(value.size):
        if not np.isfinite(value[i]):
            residual[i], bound[i], magnitude[i] = 0.0, 0.0, np.inf
        unsure[i] = not settled(value[i], residual[i], bound[i], signed)
        count += unsure[i]
        value[i] += 0.0  # an exact zero is +0
    return count
