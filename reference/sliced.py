"""Exact matrix products of float32 numbers at the speed of float64 matrix products: sums of exact slices.

Ozaki, Ogita, Oishi & Rump 2012, "Error-free transformations of matrix multiplication by using fast routines
of matrix multiplication and its applications", Numer. Algorithms 59, 95-118. Each row of the left and each
column of the right operand is cut into slices: multiples of a power of two, the slice's unit, and at most
2**bits units large. A product of two slices over K terms is exact in float64, in any order and
fused or not, if bits_left + bits_right + ceil(log2 K) <= 53, because every partial sum is an integer of at
most 53 bits times the product of the units. The slices of one operand add up to it, so the sum of all their
products is the exact product; it is added in double-double arithmetic, which tells what it lost.

Cutting, for |x| < 2**top: the first unit is 2**(top - bits), and rounding to it leaves at most half a unit,
so every further unit is 2**-(bits + 1) of the one before: n slices hold n * (bits + 1) - 1 bits. The two
operands need not be cut alike: a 24-bit operand stays whole if the other one is cut for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.jit import compiled
from reference.operands import Single, operand

Result = tuple[Array, Array, Array]

LIMIT = 24  # products of slices: with more, other ways to the truth are faster
WIDEST = 50  # bits of a slice: cutting adds 1.5 * 2**52 units, and the sum must stay in that binade
PASS = 20  # adding a product to the sums costs about as much as this many of its terms
TILE = 1 << 18  # outputs at a time: their sums stay in the cache
LEFT = 1 << 21  # elements of the left slices at a time: 16 MiB


class TooWideError(ArithmeticError):
    """The exponents spread too far for `LIMIT` products of slices. Internal: callers take another way."""


@dataclass(frozen=True)
class Plan:
    """How to cut two operands of K terms, and into how many blocks of terms."""

    left_bits: int
    right_bits: int
    products: int
    block: int


def plan(left_span: int, right_span: int, terms: int) -> Plan:
    """The cheapest cut. A span is the bits from the largest to the smallest in a row: see `spans`.

    Raises TooWideError if it takes more than `LIMIT` products.
    """
    best: tuple[int, Plan] | None = None
    blocks = 1
    while blocks == 1 or terms // blocks >= 128:
        block = -(-max(terms, 1) // blocks)
        total = 53 - (block - 1).bit_length()
        for bits in range(min(total - 1, WIDEST), 0, -1):  # of equals the one that cuts the right, once
            right_bits = min(total - bits, WIDEST)
            products = slices(left_span, bits) * slices(right_span, right_bits)
            cost = products * (terms + PASS * blocks)
            if products <= LIMIT and (best is None or cost < best[0]):
                best = cost, Plan(bits, right_bits, products, block)
        blocks *= 2
    if best is None:
        raise TooWideError(
            f"spans of {left_span} and {right_span} bits over {terms} terms need more than {LIMIT} products"
        )
    return best[1]


def slices(span: int, bits: int) -> int:
    """Slices of `bits` bits that hold `span` bits."""
    return max(1, -(-(span + 1) // (bits + 1)))


def spans(rows: Single) -> int:
    """The largest span of a row of finite elements: bits from above its largest to the lowest set bit."""
    return _ranges(rows)[1]


def _ranges(rows: Single) -> tuple[npt.NDArray[np.int64], int]:
    """For each row the exponent `top` with |x| < 2**top; and the largest span."""
    tops = np.empty(rows.shape[0], np.int64)
    return tops, int(_survey_rows(np.ascontiguousarray(rows).view(np.int32), tops))


@compiled
def _survey_rows(bits: Any, tops: Any) -> int:
    span = 0
    for row in range(bits.shape[0]):
        largest, lowest = np.int32(0), np.int32(1000)
        for k in range(bits.shape[1]):
            size = bits[row, k] & np.int32(0x7FFFFFFF)
            exponent = max(size >> np.int32(23), np.int32(1))
            hidden = np.int32(0x800000) if size >= np.int32(0x800000) else np.int32(0)
            significand = (size & np.int32(0x7FFFFF)) | hidden
            # The lowest set bit as a float32 carries its own position in its exponent.
            place = (np.float32(significand & -significand).view(np.int32) >> np.int32(23)) - np.int32(127)
            lowest = min(lowest, exponent - np.int32(150) + place if size else np.int32(1000))
            largest = max(largest, size)
        tops[row] = max(largest >> np.int32(23), np.int32(1)) - np.int32(126) if largest else np.int32(0)
        span = max(span, int(tops[row] - lowest) if largest else 0)
    return span


@compiled
def _cut(rows: Any, tops: Any, bits: int, out: Any) -> None:
    """out[s, i, k]: slice s of rows[i, k]; nothing is left after the last."""
    for i in range(rows.shape[0]):
        for s in range(out.shape[0]):
            unit = tops[i] - bits - s * (bits + 1)
            # x + sigma is rounded to a multiple of ulp(sigma) = unit.
            sigma = 1.5 * np.int64((unit + 52 + 1023) << 52).view(np.float64)
            for k in range(rows.shape[1]):
                rest = np.float64(rows[i, k])
                for earlier in range(s):
                    rest -= out[earlier, i, k]
                out[s, i, k] = (rest + sigma) - sigma


@compiled
def _add(term: Any, value: Any, residual: Any, lost: Any) -> None:
    """(value, residual) += term, both by error-free additions; `lost` collects what does not fit."""
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            a, b = value[i, j], term[i, j]
            total = a + b
            partner = total - a
            error = (a - (total - partner)) + (b - partner)
            value[i, j] = total
            a = residual[i, j]
            total = a + error
            partner = total - a
            lost[i, j] += abs((a - (total - partner)) + (error - partner))
            residual[i, j] = total


@compiled
def _finish(value: Any, residual: Any, lost: Any) -> None:
    """Normalize the pairs; bound the lost part from above."""
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            a, b = value[i, j], residual[i, j]
            total = a + b
            partner = total - a
            value[i, j] = total + 0.0  # an exact zero is +0
            residual[i, j] = (a - (total - partner)) + (b - partner)
            lost[i, j] *= 1.0 + 2.0**-40


@dataclass(frozen=True)
class Right:
    """A right operand (K, N), cut once for any number of left operands."""

    cut: Array  # (slices, N, K)
    plan: Plan

    def times(self, left: Single, start: npt.ArrayLike = 0.0) -> Result:
        """start + left @ right for finite `left` (M, K) and `start` that broadcasts to (M, N), float64.

        Returns value, residual and bound, (M, N) each: |exact - (value + residual)| <= bound, and the bound
        is 0, value + residual exact, wherever 106 bits hold the sum and its partial sums. Raises
        TooWideError if `left` needs more slices than `LIMIT` allows.
        """
        count, terms = left.shape
        width = self.cut.shape[1]
        tops, span = _ranges(left)
        pieces = slices(span, self.plan.left_bits)
        if pieces * self.cut.shape[0] > LIMIT:
            raise TooWideError(f"a left operand of {span} bits needs more than {LIMIT} products")
        value, residual, lost = np.empty((count, width)), np.zeros((count, width)), np.zeros((count, width))
        value[...] = start
        tile = max(1, min(count, LEFT // max(1, terms * pieces), TILE // max(1, width)))
        buffers = np.empty(pieces * tile * terms), np.empty(tile * width)
        order = sorted(np.ndindex(pieces, self.cut.shape[0]), key=sum)  # the large ones first
        for m in range(0, count, tile):
            part = slice(m, min(m + tile, count))
            rows = part.stop - m
            shape = (pieces, rows, terms)
            cut = buffers[0][: pieces * rows * terms].reshape(shape)
            product = buffers[1][: rows * width].reshape(rows, width)
            _cut(left[part], tops[part], self.plan.left_bits, cut)
            for k in range(0, terms, self.plan.block):
                some = slice(k, k + self.plan.block)
                for i, j in order:
                    np.matmul(cut[i, :, some], self.cut[j, :, some].T, out=product)
                    _add(product, value[part], residual[part], lost[part])
            _finish(value[part], residual[part], lost[part])
        return value, residual, lost


def right(matrix: Single, left_span: int) -> Right:
    """Cut a finite (K, N) for left operands whose rows span at most `left_span` bits; wider ones cost more.

    Raises TooWideError if that takes more than `LIMIT` products.
    """
    columns = np.ascontiguousarray(matrix.T)
    tops, span = _ranges(columns)
    found = plan(left_span, span, matrix.shape[0])
    cut = np.empty((slices(span, found.right_bits), *columns.shape))
    _cut(columns, tops, found.right_bits, cut)
    return Right(cut, found)


def matmul(a: npt.ArrayLike, b: npt.ArrayLike) -> Result:
    """Value, residual and bound of the product of a (..., M, K) and b (K, N), as `Right.times` gives them.

    Raises ValueError for shapes or dtypes that do not fit and for operands that are not finite, TooWideError
    if the exponents spread too far.
    """
    x, y = operand(a, "a"), operand(b, "b")
    if x.ndim < 2 or y.ndim != 2 or x.shape[-1] != y.shape[0]:
        raise ValueError(
            f"a product takes a (..., M, K) and b (K, N), got shapes {x.shape} and {y.shape}: transpose one"
        )
    for name, array in (("a", x), ("b", y)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity in it: treat those elements apart")
    rows = (
        x.reshape(-1, x.shape[-1])
        if x.size
        else np.zeros((int(np.prod(x.shape[:-1])), y.shape[0]), np.float32)
    )
    parts = right(y, spans(rows)).times(rows)
    value, residual, bound = (part.reshape(*x.shape[:-1], y.shape[1]) for part in parts)
    return value, residual, bound
