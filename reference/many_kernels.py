"""Kernels that add many terms at once: exactly, or cut to a number of bits as tensor cores do.

Products of float32 numbers are exact in float64.  Cut to a grid, the terms are integers of fewer than 53 bits
in all, so their sum is exact too; otherwise it is kept as an expansion, and rounded once at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.compensated import two_sum
from reference.jit import compiled_nogil
from reference.rounding import _round_pairs

SMALLEST = 2.0**-126  # the smallest normal number of binary32
TINY = SMALLEST * (1.0 - 2.0**-25)  # what is smaller is below it after rounding to 24 bits
_LARGEST = (2.0 - 2.0**-23) * 2.0**127
_LOWEST = -400  # below the exponents of all terms but zeros


@compiled_nogil
def many(
    left: Any, right: Any, leaves: Any, held: int, bits: int, mode: int, zero_start: bool, flush: bool,
    emin: int, shift: Any, along_rows: bool, j_shift: int, at: Any, stack: Any,
) -> None:  # fmt: skip
    """sums[i, j] = exact products of the leaves and values of the `held` blocks from there on, added at once.

    bits < 0: exactly, otherwise every term is truncated to `bits` bits below the largest exponent; emin: the
    least exponent of an operand.
    """
    i0, rows, j0, width, base = at
    count = leaves.size + held
    terms, places = np.empty((count, width)), np.empty(width, np.int64)
    for i in range(rows):
        sums = stack[base + i][:width]
        places[:] = _LOWEST
        for t in range(count):
            k = leaves[t - held] if t >= held else -1
            if 0 <= k < right.shape[0]:
                _products(left[i0 + i, k], right[k][j0 : j0 + width], bits >= 0, emin, terms[t], places)
                continue
            if k < 0:
                terms[t] = stack[base + t * rows + i][:width]
            elif along_rows:
                terms[t] = shift[i0 + i]
            else:
                terms[t] = shift[j_shift : j_shift + width]
            for j in range(width):
                places[j] = max(places[j], _exponent(terms[t, j], -126) if terms[t, j] != 0.0 else _LOWEST)
        if bits >= 0:
            _cut_sums(terms, places, bits, mode, flush, sums)
        else:
            # Without a node among the terms, the accumulator itself is one of them.
            _exact_sums(terms, zero_start and held == 0, mode, flush, sums)


@compiled_nogil
def _products(a: Any, r: Any, placed: bool, emin: int, term: Any, places: Any) -> None:
    """term = a * r, exact; if `placed`, places, the largest exponents so far, take them in."""
    factor = np.float64(a)
    for j in range(r.size):
        term[j] = factor * np.float64(r[j])
    if placed:
        place = _exponent(factor, emin)
        for j in range(r.size):
            found = place + _exponent(np.float64(r[j]), emin)
            places[j] = max(places[j], found if term[j] != 0.0 else _LOWEST)


@compiled_nogil
def _exact_sums(terms: Any, from_zero: bool, mode: int, flush: bool, sums: Any) -> None:
    """sums = terms (count, columns), and +0 if `from_zero`, added exactly and rounded once."""
    count, double = terms.shape[0], sums.itemsize == 8
    column, pair = np.empty(count + 1), np.empty((2, 1))
    out, none = np.empty(1), np.empty(0)
    precision, least = (53, -1022) if double else (24, -126)
    for j in range(sums.size):
        column[:count] = terms[:, j]
        column[count] = 0.0
        pair[0, 0], pair[1, 0] = _expand(column, count + 1 if from_zero else count)
        if double and mode == 0:
            sums[j] = pair[0, 0]
            continue
        _round_pairs(pair[0], pair[1], precision, least, mode, none, out)
        if not double and mode == 2 and np.isfinite(pair[0, 0]):
            out[0] = min(max(out[0], -_LARGEST), _LARGEST)
        if flush and not double and is_tiny(pair[0, 0], pair[1, 0], mode):
            out[0] = np.copysign(0.0, pair[0, 0])
        sums[j] = out[0]


@compiled_nogil
def is_tiny(high: float, low: float, mode: int) -> bool:
    """Whether high + low, rounded to 24 bits, is below the smallest normal number."""
    least = SMALLEST if mode == 2 else TINY
    return bool(abs(high) < least or (abs(high) == least and low * high < 0.0))


@compiled_nogil
def _exponent(x: float, emin: int) -> int:
    """max(floor(log2 |x|), emin); more than any other for what is not finite."""
    found = int((np.float64(x).view(np.int64) >> 52) & 0x7FF) - 1023
    return max(found, emin)


@compiled_nogil
def _cut_sums(terms: Any, places: Any, bits: int, mode: int, flush: bool, sums: Any) -> None:
    """sums = terms (count, columns), each cut to a multiple of 2**(places - bits), added exactly, rounded."""
    width = sums.size
    total, scale = np.zeros(width), np.empty(width)
    for j in range(width):
        places[j] = min(places[j], 600)  # an infinity: any grid will do
        scale[j] = np.int64((bits - places[j] + 1023) << 52).view(np.float64)
    for t in range(terms.shape[0]):
        for j in range(width):
            total[j] += np.trunc(terms[t, j] * scale[j])
    for j in range(width):
        exact = total[j] * np.int64((places[j] - bits + 1023) << 52).view(np.float64)
        exact = exact if exact != 0.0 else 0.0  # tensor cores have no negative zero
        if sums.itemsize == 4:
            if flush and is_tiny(exact, 0.0, mode):
                exact *= 0.0
            if mode > 0:
                exact = _directed(exact, mode)
        sums[j] = exact


@compiled_nogil
def _directed(exact: float, mode: int) -> float:
    """A float64 number to float32, toward zero (mode 2) or to nearest with ties away; 2**128 is infinity."""
    size = abs(exact)
    if size < SMALLEST:
        scaled = size * 2.0**149
        return float(np.copysign(np.floor(scaled + 0.5 if mode == 1 else scaled) * 2.0**-149, exact))
    half = np.int64(1 << 28) if mode == 1 and np.isfinite(exact) else np.int64(0)
    pattern = np.float64(exact).view(np.int64) + half
    kept = np.int64(pattern >> 29 << 29).view(np.float64)
    return float(kept if not abs(kept) >= 2.0**128 else np.copysign(np.inf, exact))


@compiled_nogil
def _expand(terms: Any, count: int) -> tuple[float, float]:
    """The nearest float64 to the exact sum of terms, and a number with the sign of what is left.

    Shewchuk 1997, grow-expansion with zeros eliminated; `terms` is overwritten.  What is not finite is added
    plainly.
    """
    plain, used = terms[0], 0
    for t in range(1, count):
        plain += terms[t]
    if not np.isfinite(plain):
        return plain, 0.0
    for t in range(count):
        x = terms[t]
        kept = 0
        for p in range(used):
            x, rest = two_sum(x, terms[p])
            if rest != 0.0:
                terms[kept] = rest
                kept += 1
        terms[kept] = x
        used = kept + 1
    high, low, at = terms[used - 1], 0.0, used - 2
    while at >= 0 and low == 0.0:
        high, low = two_sum(high, terms[at])
        at -= 1
    if high == 0.0:
        return plain if plain == 0.0 else 0.0, -0.0
    # A tie that is none: what lies below decides.
    while at >= 0 and terms[at] == 0.0:
        at -= 1
    if at >= 0 and (low < 0.0) == (terms[at] < 0.0):
        twice = 2.0 * low
        nearest = high + twice
        if nearest - high == twice:
            return nearest, -low
    return high, low
