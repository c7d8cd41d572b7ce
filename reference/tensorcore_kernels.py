"""Kernels of a fused multi-term addition, in float64 arithmetic that is exact where the unit is.

A product of two operands of at most 12 bits is exact in float64 and so is its scaling by a power of two;
truncated to the grid of the step, every term is an integer below 2**(F + 2), and the sum of a few of them is
exact too. NaN and infinities go through the same operations and come out as IEEE 754 has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled_nogil

LANES = 64  # dot products side by side: their terms of one step stay in the innermost cache
ABSENT = -4096  # "exponent" of zero, and below the sum of any two real ones if it is part of a sum
_LOWEST = -400  # below every exponent of a product: 2 * -149
_NAN32 = 0x7FFFFFFF  # the one NaN that the units return
_DROPPED = 29  # bits of a float64 significand that float32 does not have


@compiled_nogil
def _place(value: float, emin: int) -> int:
    """max(floor(log2 |value|), emin); emin for zero, 1024 for infinities and NaN."""
    return max(int(((np.float64(value).view(np.int64) >> 52) & 0x7FF) - 1023), emin)


@compiled_nogil
def _power(exponent: int) -> float:
    """2**exponent for -1022 <= exponent <= 1023."""
    return float(np.int64((exponent + 1023) << 52).view(np.float64))


@compiled_nogil
def exponents(values: Any, emin: int, out: Any) -> None:
    """out[i] = max(floor(log2 |values[i]|), emin) for flat float32 values; ABSENT for zero, large for Inf."""
    for i in range(values.size):
        out[i] = np.int32(ABSENT if values[i] == np.float32(0.0) else _place(np.float64(values[i]), emin))


@compiled_nogil
def round_bits(bits: Any, drop: int, mode: int, out: Any) -> None:
    """Round flat float32 bit patterns to 23 - drop fraction bits: mode 0 RNE, 1 RNA, 2 RZ; NaN stays NaN."""
    one = np.uint32(1)
    mask = ~np.uint32((np.uint32(1) << np.uint32(drop)) - one)
    half = np.uint32(1) << np.uint32(drop - 1)
    for i in range(bits.size):
        given = bits[i]
        last = (given >> np.uint32(drop)) & one
        add = np.uint32(0)
        if mode == 0:
            add = half - one + last
        elif mode == 1:
            add = half
        wild = (given & np.uint32(0x7FFFFFFF)) >= np.uint32(0x7F800000)
        nan = (given & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        rounded = (given if wild else given + add) & mask
        out[i] = rounded | np.uint32(0x00400000) if nan else rounded


@compiled_nogil
def step(
    products: Any, places: Any, terms: int, width: int, fraction: int, lowest: int, half: bool,
    total: Any, bound: Any, bounded: bool, top: Any, scale: Any,
) -> None:  # fmt: skip
    """One fused step in every lane: total = round(total + products[0] + ... + products[terms - 1]).

    places: e_a + e_b of each product; total: float64 that holds float32 (or, with `half`, float16) numbers;
    bound: collects (terms + 1) * 2**(emax - F) + one spacing of the result, if `bounded`; top and scale are
    scratch.
    """
    emin = -14 if half else -126
    for j in range(width):
        top[j] = max(_place(total[j], emin) if total[j] != 0.0 else lowest, lowest)
    for t in range(terms):
        for j in range(width):
            top[j] = max(top[j], np.int64(places[t, j]))
    for j in range(width):
        top[j] = min(top[j], 600)  # an infinity: any grid will do
        scale[j] = _power(fraction - top[j])
        total[j] = np.trunc(total[j] * scale[j])
    for t in range(terms):
        for j in range(width):
            total[j] += np.trunc(products[t, j] * scale[j])
    for j in range(width):
        exact = total[j] * _power(top[j] - fraction)
        exact = exact if exact != 0.0 else 0.0  # a sum of zero is +0
        total[j] = _to_half(exact) if half else _to_single(exact)
    if bounded:
        for j in range(width):
            spacing = _power(min(_place(total[j], emin), 200) - (10 if half else 23))
            bound[j] += (terms + 1) / scale[j] + (spacing if np.isfinite(total[j]) else np.inf)


@compiled_nogil
def _to_single(exact: float) -> float:
    """Toward zero to float32; from 2**128 on infinity."""
    kept = np.int64(np.float64(exact).view(np.int64) >> _DROPPED << _DROPPED).view(np.float64)
    small = np.trunc(exact * 2.0**149) * 2.0**-149
    size = abs(exact)
    if size < 2.0**-126:
        return float(small)
    return float(kept if not size >= 2.0**128 else np.copysign(np.inf, exact))


@compiled_nogil
def _to_half(exact: float) -> float:
    """To nearest, ties to even, to float16; from 65520 on infinity."""
    size = abs(exact)
    magic = 1.5 * 2.0**52 * _power(min(_place(exact, -14), 100) - 10)
    rounded = np.copysign((size + magic) - magic, exact)
    return float(rounded if not size >= 65520.0 else np.copysign(np.inf, exact))


@compiled_nogil
def outer(
    left: Any, left_places: Any, right: Any, right_places: Any, terms: int, fraction: int, lowest: int,
    half: bool, first: int, last: int, total: Any, bound: Any,
) -> None:  # fmt: skip
    """Chains over K for rows first..last of left (M, K) and every column of right (K, N), from `total` on.

    total, bound (M, N): float64; bound (0, 0) if it is not wanted.
    """
    count, width = left.shape[1], right.shape[1]
    products, places = np.empty((terms, LANES)), np.empty((terms, LANES), np.int32)
    top, scale = np.empty(LANES, np.int64), np.empty(LANES)
    sums, errors = np.empty(LANES), np.zeros(LANES)
    bounded = bound.size > 0
    for n in range(0, width, LANES):
        lanes = min(LANES, width - n)
        for m in range(first, last):
            for j in range(lanes):
                sums[j] = total[m, n + j]
                errors[j] = bound[m, n + j] if bounded else 0.0
            for k in range(0, count, terms):
                some = min(terms, count - k)
                for t in range(some):
                    factor, place = np.float64(left[m, k + t]), left_places[m, k + t]
                    for j in range(lanes):
                        products[t, j] = factor * np.float64(right[k + t, n + j])
                        places[t, j] = place + right_places[k + t, n + j]
                step(products, places, some, lanes, fraction, lowest, half, sums, errors, bounded, top, scale)
            for j in range(lanes):
                total[m, n + j] = sums[j]
                if bounded:
                    bound[m, n + j] = errors[j]


@compiled_nogil
def paired(
    left: Any, left_places: Any, right: Any, right_places: Any, terms: int, fraction: int, lowest: int,
    half: bool, total: Any, bound: Any,
) -> None:  # fmt: skip
    """Chains over K for each pair of rows of left and right, (B, K) both; total and bound (B,)."""
    count = left.shape[1]
    products, places = np.empty((terms, LANES)), np.empty((terms, LANES), np.int32)
    top, scale = np.empty(LANES, np.int64), np.empty(LANES)
    for n in range(0, left.shape[0], LANES):
        lanes = min(LANES, left.shape[0] - n)
        for k in range(0, count, terms):
            some = min(terms, count - k)
            for t in range(some):
                for j in range(lanes):
                    products[t, j] = np.float64(left[n + j, k + t]) * np.float64(right[n + j, k + t])
                    places[t, j] = left_places[n + j, k + t] + right_places[n + j, k + t]
            step(
                products, places, some, lanes, fraction, lowest, half,
                total[n : n + lanes], bound[n : n + lanes], True, top, scale,
            )  # fmt: skip


@compiled_nogil
def to_float32(total: Any, out: Any) -> None:
    """Flat float64 that holds float32 numbers, as bit patterns; every NaN becomes the units' one."""
    for i in range(total.size):
        value = np.float32(total[i]).view(np.uint32)
        out[i] = np.uint32(_NAN32) if np.isnan(total[i]) else value
