"""Kernels of Winograd convolutions in float32: transforms of columns of numbers, and sums over channels.

A transform maps (q, lanes) to (p, lanes), every lane for itself. `by_matrix` follows the rows of a matrix;
`factored_*` are the ones of F(6x6, 3x3) with shared subexpressions, as NNPACK's AVX2 kernels order them (see
`reference.winograd`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled_nogil
from reference.replay_kernels import fma


@compiled_nogil
def by_matrix(matrix: Any, x: Any, fused: bool, out: Any) -> None:
    """out[i] = sum over j of matrix[i, j] * x[j], zeros of the matrix left out, in the order of j.

    The first product is rounded; the others are added to it by FMA or, if not `fused`, rounded and added.
    """
    for i in range(matrix.shape[0]):
        first = True
        for j in range(matrix.shape[1]):
            factor = matrix[i, j]
            if factor == np.float32(0.0):
                continue
            for n in range(x.shape[1]):
                if first:
                    out[i, n] = factor * x[j, n]
                elif fused:
                    out[i, n] = fma(factor, x[j, n], out[i, n])
                else:
                    out[i, n] = out[i, n] + factor * x[j, n]
            first = False


@compiled_nogil
def factored_input(x: Any, out: Any) -> None:
    """B^T x of F(6, 3): sums of even and of odd elements, then their sum and difference."""
    low, mid, high, five = np.float32(1.25), np.float32(4.25), np.float32(5.25), np.float32(5.0)
    quarter, two, four = np.float32(0.25), np.float32(2.0), np.float32(4.0)
    for n in range(x.shape[1]):
        x0, x1, x2, x3 = x[0, n], x[1, n], x[2, n], x[3, n]
        x4, x5, x6, x7 = x[4, n], x[5, n], x[6, n], x[7, n]
        out[0, n] = fma(high, x4 - x2, x0 - x6)
        out[7, n] = fma(high, x3 - x5, x7 - x1)
        even, odd = fma(-mid, x4, x2 + x6), fma(-mid, x3, x1 + x5)
        out[1, n], out[2, n] = even + odd, even - odd
        even = fma(-low, x4, fma(quarter, x2, x6))
        odd = two * fma(-low, x3, fma(quarter, x1, x5))
        out[3, n], out[4, n] = even + odd, even - odd
        even = fma(four, x2, fma(-five, x4, x6))
        odd = two * fma(-low, x3, fma(quarter, x5, x1))
        out[5, n], out[6, n] = even + odd, even - odd


@compiled_nogil
def factored_weight(x: Any, out: Any) -> None:
    """G x of F(6, 3) before its rows are scaled: the factors -2/9, 1/90 and 1/180 come at the end."""
    two, four = np.float32(2.0), np.float32(4.0)
    for n in range(x.shape[1]):
        x0, x1, x2 = x[0, n], x[1, n], x[2, n]
        out[0, n], out[7, n] = x0, x2
        outer = x0 + x2
        out[1, n], out[2, n] = outer + x1, outer - x1
        outer = fma(four, x2, x0)
        out[3, n], out[4, n] = fma(two, x1, outer), fma(-two, x1, outer)
        outer = fma(four, x0, x2)
        out[5, n], out[6, n] = fma(two, x1, outer), fma(-two, x1, outer)


@compiled_nogil
def factored_output(x: Any, out: Any) -> None:
    """A^T x of F(6, 3): sums and differences of pairs, then the largest factor first."""
    two, four, eight = np.float32(2.0), np.float32(4.0), np.float32(8.0)
    sixteen, most = np.float32(16.0), np.float32(32.0)
    for n in range(x.shape[1]):
        s1, d1 = x[1, n] + x[2, n], x[1, n] - x[2, n]
        s3, d3 = x[3, n] + x[4, n], x[3, n] - x[4, n]
        s5, d5 = x[5, n] + x[6, n], x[5, n] - x[6, n]
        out[0, n] = fma(most, s5, x[0, n] + s1) + s3
        out[1, n] = fma(two, d3, fma(sixteen, d5, d1))
        out[2, n] = fma(four, s3, fma(eight, s5, s1))
        out[3, n] = fma(four, d5, fma(eight, d3, d1))
        out[4, n] = fma(two, s5, fma(sixteen, s3, s1))
        out[5, n] = fma(most, d3, x[7, n] + d1) + d5


@compiled_nogil
def channel_sums(left: Any, right: Any, block: int, fused: bool, out: Any) -> None:
    """out[p, o, t] = sum over c of left[p, c, o] * right[p, c, t]: a chain from zero for every `block`
    channels, the blocks added one after another."""
    places, channels, width = right.shape
    sums = np.empty(width, np.float32)
    for p in range(places):
        for o in range(left.shape[2]):
            for start in range(0, channels, block):
                sums[:] = np.float32(0.0)
                for c in range(start, min(start + block, channels)):
                    factor = left[p, c, o]
                    if fused:
                        for t in range(width):
                            sums[t] = fma(factor, right[p, c, t], sums[t])
                    else:
                        for t in range(width):
                            sums[t] = sums[t] + factor * right[p, c, t]
                for t in range(width):
                    out[p, o, t] = sums[t] if start == 0 else out[p, o, t] + sums[t]
