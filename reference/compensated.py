"""Second and third tier for sums of products of float32 numbers: compensated, then exact.

Ogita, Rump & Oishi 2005, "Accurate sum and dot product", SIAM J. Sci. Comput. 26(6), algorithm 4.4 (Sum2),
here in `LANES` interleaved sums. The products need no TwoProduct: 24 + 24 bits fit in float64.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.jit import compiled

_NO_ERROR = Fraction(0)
LANES = 64  # independent sums: enough to hide the latency of an addition in the widest vectors


def depth(terms: int) -> int:
    """Most additions that any product, and any error term, goes through in `sum_products`."""
    return -(-terms // LANES) + 2 * LANES + 4


@compiled
def two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b as its rounding and its error (Knuth)."""
    total = a + b
    partner = total - a
    return total, (a - (total - partner)) + (b - partner)


@compiled
def gather(x: Any, base: int, offsets: Any, left: Any) -> None:
    """left[k] = operand k of the position and group that begin at address `base`."""
    for k in range(offsets.size):
        left[k] = x[base + offsets[k]]


@compiled
def sum_products(
    x: Any, starts: Any, run: int, step: int, offsets: Any, groups: Any, weight: Any, bias: Any,
    positions: Any, filters: Any, out: Any,
) -> None:  # fmt: skip
    """out[e] = (value, residual) of the sum at position positions[e] and filter filters[e].

    `weight` is (filters, terms) with the terms padded by zeros to a multiple of LANES, `bias` one number a
    filter; the rest as in `columns`. Elements that share a position should be neighbours: its operands are
    gathered once.
    """
    per_group = weight.shape[0] // groups.size
    left = np.zeros(weight.shape[1])
    # Made here and passed to no other function, and blocks are counted: only so does the compiler see that
    # nothing else writes to the lanes, and makes vectors of them, four times as fast.
    sums, errors = np.empty(LANES), np.empty(LANES)
    gathered = np.int64(-1)
    for e in range(positions.size):
        position = positions[e]
        base = groups[filters[e] // per_group] + starts[position // run] + position % run * step
        if base != gathered:
            gathered = base
            gather(x, base, offsets, left)
        row = filters[e]
        for j in range(LANES):
            sums[j] = errors[j] = 0.0
        for block in range(left.size // LANES):
            first = block * LANES
            for j in range(LANES):
                term = left[first + j] * np.float64(weight[row, first + j])
                before = sums[j]
                total = before + term
                partner = total - before
                errors[j] += (before - (total - partner)) + (term - partner)
                sums[j] = total
        high, low = bias[row], 0.0
        for j in range(LANES):
            high, error = two_sum(high, sums[j])
            low += error
        for j in range(LANES):
            low += errors[j]
        out[e, 1] = 0.0
        if np.isfinite(high):
            high, out[e, 1] = two_sum(high, low)
            high += 0.0
        # else the plain sum has IEEE 754's own meaning; the error terms of infinities have none
        out[e, 0] = high


@compiled
def sum_raw(
    x: Any, starts: Any, run: int, step: int, offsets: Any, groups: Any, weight: Any, bias: Any,
    present: Any, last: bool, out: Any,
) -> None:  # fmt: skip
    """out = the plain sums, NaN and infinity included, in the order of the sums; `weight` is 3-dimensional.

    `present` (empty for everywhere) says which elements of x are factors of a term at all.
    """
    each = weight.shape[1]
    positions = starts.size * run
    for g in range(groups.size):
        for m in range(positions):
            base = groups[g] + starts[m // run] + m % run * step
            for o in range(each):
                total = bias[g * each + o]
                for k in range(offsets.size):
                    at = base + offsets[k]
                    if present.size == 0 or present[at]:
                        total += np.float64(x[at]) * np.float64(weight[g, o, k])
                if last:
                    out[(m * groups.size + g) * each + o] = total
                else:
                    out[(g * each + o) * positions + m] = total


def exact_sum(terms: list[float]) -> tuple[float, float, float]:
    """(value, residual, bound) of the sum of float64 terms; the bound is far below an ulp of the residual.

    math.fsum rounds correctly (Shewchuk 1997), so value is the nearest float64, residual the nearest to what
    is left, and a sum that is a tie or zero comes out with bound 0.
    """
    value = math.fsum(terms) + 0.0
    residual = math.fsum([*terms, -value])
    rest = abs(math.fsum([*terms, -value, -residual]))
    return value, residual, math.nextafter(rest, math.inf) if rest else 0.0


def exact_fraction(terms: npt.NDArray[np.float64]) -> Fraction:
    """The sum of finite float64 terms, exactly.

    Halves of the significands are summed by exponent, which float64 does exactly: 2**25 of 27 bits.
    """
    mantissa, exponent = np.frexp(terms)
    digits, places = (mantissa * 2.0**53).astype(np.int64), exponent.astype(np.int64)
    lowest = int(places.min(initial=0))
    total = 0
    for first in range(0, terms.size, 1 << 25):
        some = slice(first, first + (1 << 25))
        slots = places[some] - lowest
        high = np.bincount(slots, weights=digits[some] >> 26)
        low = np.bincount(slots, weights=digits[some] & ((1 << 26) - 1))
        for place in np.flatnonzero((high != 0.0) | (low != 0.0)).tolist():
            total += ((int(high[place]) << 26) + int(low[place])) << place
    shift = lowest - 53
    return Fraction(total << shift) if shift >= 0 else Fraction(total, 1 << -shift)


def split_fraction(number: Fraction, error: Fraction = _NO_ERROR) -> tuple[float, float, float]:
    """(value, residual, bound): |truth - (value + residual)| <= bound for a truth within `error` of number.

    value is the nearest float64, residual the nearest to what it leaves; bound is 0 only where that is exact.
    """
    value = float(number)
    left = number - Fraction(value)
    residual = float(left)
    rest = abs(left - Fraction(residual)) + error
    return value, residual, math.nextafter(float(rest), math.inf) if rest else 0.0
