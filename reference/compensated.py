"""Second and third tier for sums of products of float32 numbers: compensated, then exact.

Ogita, Rump & Oishi 2005, "Accurate sum and dot product", SIAM J. Sci. Comput. 26(6), algorithm 4.4 (Sum2),
here in `LANES` interleaved sums. The products need no TwoProduct: 24 + 24 bits fit in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference.jit import compiled

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
def _dot(left: Any, right: Any, row: int, bias: float, sums: Any, errors: Any, result: Any) -> None:
    sums[:] = 0.0
    errors[:] = 0.0
    for k in range(0, left.size, LANES):
        for j in range(LANES):
            term = left[k + j] * np.float64(right[row, k + j])
            total = sums[j] + term
            partner = total - sums[j]
            errors[j] += (sums[j] - (total - partner)) + (term - partner)
            sums[j] = total
    high, low = bias, 0.0
    for j in range(LANES):
        high, error = two_sum(high, sums[j])
        low += error
    for j in range(LANES):
        low += errors[j]
    if np.isfinite(high):
        result[0], result[1] = two_sum(high, low)
        result[0] += 0.0
    else:  # the plain sum has IEEE 754's own meaning; the error terms of infinities have none
        result[0], result[1] = high, 0.0


@compiled
def gather(
    x: Any, geo: Any, rows: Any, cols: Any, channel: Any, group: int, position: int, left: Any
) -> None:
    """left[k] = operand k of one output pixel in one group."""
    oh, ow, sh, sw, top, pad_left, height, width, sn, s_row, s_col, s_c, per_group = geo
    n, pixel = position // (oh * ow), position % (oh * ow)
    h0, w0 = pixel // ow * sh - top, pixel % ow * sw - pad_left
    base = n * sn + group * per_group * s_c
    for k in range(rows.size):
        h, w = h0 + rows[k], w0 + cols[k]
        inside = 0 <= h < height and 0 <= w < width
        left[k] = x[base + h * s_row + w * s_col + channel[k] * s_c] if inside else 0.0


@compiled
def sum_products(
    x: Any, geo: Any, rows: Any, cols: Any, channel: Any, weight: Any, bias: Any,
    per_group: int, positions: Any, filters: Any, out: Any,
) -> None:  # fmt: skip
    """out[e] = (value, residual) of the sum at output pixel positions[e] and filter filters[e].

    `weight` is (filters, terms) with the terms padded by zeros to a multiple of LANES, `bias` one number a
    filter, `per_group` the filters of a group. Elements that share a pixel should be neighbours: its operands
    are gathered once.
    """
    left = np.zeros(weight.shape[1])
    sums, errors = np.empty(LANES), np.empty(LANES)
    last_position, last_group = np.int64(-1), np.int64(-1)
    for e in range(positions.size):
        group = filters[e] // per_group
        if positions[e] != last_position or group != last_group:
            last_position, last_group = positions[e], group
            gather(x, geo, rows, cols, channel, group, last_position, left)
        _dot(left, weight, filters[e], bias[filters[e]], sums, errors, out[e])


def exact_sum(terms: list[float]) -> tuple[float, float, float]:
    """(value, residual, bound) of the sum of float64 terms; the bound is far below an ulp of the residual.

    math.fsum rounds correctly (Shewchuk 1997), so value is the nearest float64, residual the nearest to what
    is left, and a sum that is a tie or zero comes out with bound 0.
    """
    value = math.fsum(terms) + 0.0
    residual = math.fsum([*terms, -value])
    rest = abs(math.fsum([*terms, -value, -residual]))
    return value, residual, math.nextafter(rest, math.inf) if rest else 0.0
