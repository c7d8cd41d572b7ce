"""Kernels that replay a tree of additions on a tile of outputs at a time, each output with its own sum.

A tile is a block of rows and columns; its accumulators are a stack of such blocks, which stays in the cache.
The program of a tree is an array of steps (code, first, last, extra) that push, fill, join and pop blocks:
see `reference.replay`.  Nothing here depends on the size of the tile or on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from reference.compensated import two_sum
from reference.jit import compiled_nogil
from reference.many_kernels import SMALLEST, TINY, many

BEGIN, FUSED_RUN, PLAIN_RUN, BIAS, ADD, MANY = range(6)


@intrinsic  # type: ignore[untyped-decorator]
def fma(_context: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once, for three float32 or three float64 numbers (IEEE 754-2019, section 5.4.1).

    The compiler's own operation: an instruction where the processor has one, vectors included.
    """
    if not (x == y == z and x in (types.float32, types.float64)):
        return None

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        function = ir.FunctionType(kind, (kind, kind, kind))
        return builder.call(builder.module.declare_intrinsic("llvm.fma", (kind,), function), arguments)

    return x(x, y, z), emit


@compiled_nogil
def fused_run(left: Any, right: Any, leaves: Any, at: Any, stack: Any) -> None:
    """sums[i, j] = fma(left[i, k], right[k, j], sums[i, j]) for each k of leaves, in order.

    at: first row of left, rows, first column of right, columns, first row of the sums in `stack`.
    """
    i0, rows, j0, width, base = at
    n = 0
    while n + 4 <= leaves.size:
        k0, k1, k2, k3 = leaves[n], leaves[n + 1], leaves[n + 2], leaves[n + 3]
        r0, r1 = right[k0][j0 : j0 + width], right[k1][j0 : j0 + width]
        r2, r3 = right[k2][j0 : j0 + width], right[k3][j0 : j0 + width]
        for i in range(rows):
            row = left[i0 + i]
            a0, a1, a2, a3 = row[k0], row[k1], row[k2], row[k3]
            s = stack[base + i][:width]
            for j in range(width):
                s[j] = fma(a3, r3[j], fma(a2, r2[j], fma(a1, r1[j], fma(a0, r0[j], s[j]))))
        n += 4
    while n < leaves.size:
        r0 = right[leaves[n]][j0 : j0 + width]
        for i in range(rows):
            a0 = left[i0 + i, leaves[n]]
            s = stack[base + i][:width]
            for j in range(width):
                s[j] = fma(a0, r0[j], s[j])
        n += 1


@compiled_nogil
def plain_run(left: Any, right: Any, leaves: Any, at: Any, stack: Any) -> None:
    """sums[i, j] = sums[i, j] + left[i, k] * right[k, j], both rounded; otherwise as `fused_run`."""
    i0, rows, j0, width, base = at
    n = 0
    while n + 4 <= leaves.size:
        k0, k1, k2, k3 = leaves[n], leaves[n + 1], leaves[n + 2], leaves[n + 3]
        r0, r1 = right[k0][j0 : j0 + width], right[k1][j0 : j0 + width]
        r2, r3 = right[k2][j0 : j0 + width], right[k3][j0 : j0 + width]
        for i in range(rows):
            row = left[i0 + i]
            a0, a1, a2, a3 = row[k0], row[k1], row[k2], row[k3]
            s = stack[base + i][:width]
            for j in range(width):
                s[j] = (((s[j] + a0 * r0[j]) + a1 * r1[j]) + a2 * r2[j]) + a3 * r3[j]
        n += 4
    while n < leaves.size:
        r0 = right[leaves[n]][j0 : j0 + width]
        for i in range(rows):
            a0 = left[i0 + i, leaves[n]]
            s = stack[base + i][:width]
            for j in range(width):
                s[j] = s[j] + a0 * r0[j]
        n += 1


@compiled_nogil
def flushing_run(left: Any, right: Any, leaves: Any, fused: bool, at: Any, stack: Any, spare: Any) -> None:
    """As `fused_run` or `plain_run`, and subnormal results become zeros of their sign; spare: (columns,).

    What is rounded to the smallest normal number may have been below it with 24 bits: such rows, rare ones,
    are done again element by element.
    """
    i0, rows, j0, width, base = at
    smallest, zero = np.float32(SMALLEST), np.float32(0.0)
    for k in leaves:
        r = right[k][j0 : j0 + width]
        for i in range(rows):
            a = left[i0 + i, k]
            s = stack[base + i][:width]
            doubtful = 0
            if fused:
                for j in range(width):
                    after = fma(a, r[j], s[j])
                    doubtful |= abs(after) == smallest
                    spare[j] = after * zero if abs(after) < smallest else after
            else:
                for j in range(width):
                    term = a * r[j]
                    doubtful |= abs(term) == smallest
                    after = s[j] + (term * zero if abs(term) < smallest else term)
                    spare[j] = after * zero if abs(after) < smallest else after
            if doubtful:
                for j in range(width):
                    spare[j] = _flushed(a, r[j], s[j], fused)
            s[:] = spare[:width]


@compiled_nogil
def _flushed(a: Any, b: Any, before: Any, fused: bool) -> Any:
    """before + a * b in float32 with subnormal results, and products rounded by themselves, flushed."""
    smallest, zero = np.float32(SMALLEST), np.float32(0.0)
    exact = np.float64(a) * np.float64(b)
    if fused:
        after = fma(a, b, before)
        if abs(after) == smallest:
            high, low = two_sum(exact, np.float64(before))
            if abs(high) < TINY or (abs(high) == TINY and low * high < 0.0):
                return np.copysign(zero, after)
    else:
        after = before + (np.copysign(zero, np.float32(exact)) if abs(exact) < TINY else a * b)
    return np.copysign(zero, after) if abs(after) < smallest else after


@compiled_nogil
def add_number(shift: Any, along_rows: bool, flush: bool, i0: int, j0: int, at: Any, stack: Any) -> None:
    """sums[i, j] += shift[i0 + i] or shift[j0 + j]; float32 sums are exact where they are subnormal."""
    _, rows, _, width, base = at
    for i in range(rows):
        s = stack[base + i][:width]
        if along_rows:
            number = shift[i0 + i]
            for j in range(width):
                s[j] = s[j] + number
        else:
            terms = shift[j0 : j0 + width]
            for j in range(width):
                s[j] = s[j] + terms[j]
        if flush:
            _flush(s)


@compiled_nogil
def add_block(flush: bool, at: Any, stack: Any) -> None:
    """sums += the block above them on the stack."""
    _, rows, _, width, base = at
    for i in range(rows):
        s, m = stack[base + i][:width], stack[base + rows + i][:width]
        for j in range(width):
            s[j] = s[j] + m[j]
        if flush:
            _flush(s)


@compiled_nogil
def _flush(s: Any) -> None:
    smallest, zero = np.float32(SMALLEST), np.float32(0.0)
    for j in range(s.size):
        s[j] = s[j] * zero if abs(s[j]) < smallest else s[j]


@compiled_nogil
def replay_tile(
    program: Any, order: Any, left: Any, right: Any, shift: Any, along_rows: bool, zero_start: bool,
    flush: bool, emin: int, i0: int, rows: int, j0: int, width: int, j_right: int, stack: Any, spare: Any,
    result: Any,
) -> None:  # fmt: skip
    """result[i0 + i, j0 + j] = the tree's sum of left[i0 + i, k] * right[k, j_right + j].

    The bias is shift[i0 + i] or, unless `along_rows`, shift[j0 + j].  stack (depth * rows, columns) and spare
    (columns,) are scratch.
    """
    start = 0.0 if zero_start else -0.0
    double = stack.itemsize == 8
    top = -1
    for step in range(program.shape[0]):
        code, first, last, held, bits, mode = program[step]
        leaves = order[first:last]
        if code == BEGIN:
            top += 1
            stack[top * rows : (top + 1) * rows] = start
            continue
        top -= held - 1 if code == MANY else code == ADD
        at = (i0, rows, j_right, width, top * rows)
        if code == ADD:
            add_block(flush and not double, at, stack)
        elif code == BIAS:
            add_number(shift, along_rows, flush and not double, i0, j0, at, stack)
        elif code == MANY:
            many(
                left, right, leaves, held, bits, mode, zero_start, flush, emin, shift, along_rows, j0, at,
                stack,
            )  # fmt: skip
        elif flush and not double:
            flushing_run(left, right, leaves, code == FUSED_RUN, at, stack, spare)
        elif code == FUSED_RUN:
            fused_run(left, right, leaves, at, stack)
        else:
            plain_run(left, right, leaves, at, stack)
    for i in range(rows):
        for j in range(width):
            value = stack[i, j]
            if flush and abs(np.float64(value)) < TINY:
                value = value * 0.0
            result[i0 + i, j0 + j] = value


@compiled_nogil
def transpose(source: Any, first: int, width: int, out: Any) -> None:
    """out[k, j] = source[first + j, k], in squares that fit the cache."""
    for k0 in range(0, source.shape[1], 16):
        for j in range(width):
            row = source[first + j]
            for k in range(k0, min(k0 + 16, source.shape[1])):
                out[k, j] = row[k]


@compiled_nogil
def lowest_digit(bits: Any) -> int:
    """The least exponent of a set bit among flat float32 numbers (int32 patterns); 200 if there is none."""
    lowest = 200
    for n in range(bits.size):
        size = bits[n] & np.int32(0x7FFFFFFF)
        if size == 0 or size >= np.int32(0x7F800000):
            continue
        biased = size >> np.int32(23)
        digits = (size & np.int32(0x7FFFFF)) | (np.int32(0x800000) if biased > 0 else np.int32(0))
        # The lowest set bit as a float32 carries its own position in its exponent.
        place = (np.float32(digits & -digits).view(np.int32) >> np.int32(23)) - np.int32(127)
        lowest = min(lowest, max(biased, np.int32(1)) - np.int32(150) + place)
    return int(lowest)


@compiled_nogil
def kahan_products(left: Any, right: Any, bias: Any, has_bias: bool, out: Any) -> None:
    """out[p, c] = the compensated sum of rounded products in order, then the bias: Kahan 1965."""
    width = right.shape[1]
    total, lost = np.empty(width, np.float32), np.empty(width, np.float32)
    for p in range(left.shape[0]):
        total[:] = np.float32(0.0)
        lost[:] = np.float32(0.0)
        for k in range(left.shape[1] + has_bias):
            row = right[min(k, left.shape[1] - 1)]
            for c in range(width):
                term = left[p, k] * row[c] if k < left.shape[1] else bias[c]
                term = term - lost[c]
                after = total[c] + term
                lost[c] = (after - total[c]) - term
                total[c] = after
        out[p] = total
