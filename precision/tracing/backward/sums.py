"""Gradients that are sums of terms: of what was broadcast, of windows that overlap, of rows of a table.

Each element of a gradient is the sum of the terms that were sent to it; each term is a float32 number, a
product of two (exact in float64) or a quotient. float64 sums of n terms are within gamma(n) sum |term|; where
n is large they are added without error (Shewchuk 1997, "Adaptive precision floating-point arithmetic").
A float32 evaluation is within gamma(n - 1 + k) sum |term| in any order, k roundings to each term.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing.backward.verdict import FLUSH, INFLATION, UNIT, Pullback, bounded, gamma
from reference.escalate import exact, finish

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]
Shape = tuple[int, ...]

_U64 = 2.0**-53
_MANY = 4096
"""Terms from which on they are added without error."""


def moved(value: Float32) -> Pullback:
    """A gradient whose elements are only moved: exact, and nothing is rounded."""
    truth = exact(value)
    return Pullback(truth, np.zeros_like(truth.value))


def scattered(
    terms: Float64,
    places: Indices,
    shape: Shape,
    term: Callable[[int], Fraction],
    *,
    off: float = 0.0,
    roundings: int = 0,
    lost: Float64 | float = 0.0,
    grid: Float64 | None = None,
) -> Pullback:
    """The sums of the terms that go to each place of an array of `shape`.

    terms, places: of one size; places are flat indices, -1 for a term that goes nowhere.  term: a term as a
    fraction.  off: relative error of the terms; those without are multiples of `grid` (default: they are
    float32 numbers).  roundings, lost: what float32 code rounds and loses by
    underflow in making one term.
    """
    size, flat, at = math.prod(shape), terms.reshape(-1), places.reshape(-1)
    short = np.broadcast_to(np.asarray(lost, np.float64), terms.shape).reshape(-1)
    chosen = np.flatnonzero(at >= 0)
    if chosen.size < at.size:
        flat, at, short = flat[chosen], at[chosen], short[chosen]
    count = np.bincount(at, minlength=size)
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.bincount(at, flat, size).astype(np.float64)
        total = np.bincount(at, np.abs(flat), size).astype(np.float64)
        residual = np.zeros(size)
        bound = total * (gamma(np.maximum(count - 1, 0), _U64) + off) * (1.0 + 2.0**-20)
        if off == 0.0:
            # Multiples of one unit, of which their sizes add up to less than 2**53, are added exactly.
            steps = np.spacing(np.abs(flat).astype(np.float32)) if grid is None else grid.reshape(-1)[chosen]
            unit = np.full(size, np.inf)
            np.minimum.at(unit, at, np.where(flat != 0.0, steps, np.inf).astype(np.float64))
            bound = np.where(total < unit * 2.0**53, 0.0, bound)
        order: list[tuple[Indices, Indices]] = []

        def members(index: int) -> Indices:
            if not order:
                by_place = np.argsort(at, kind="stable")
                order.append((by_place, np.concatenate([[0], np.cumsum(count)])))
            by_place, ends = order[0]
            return by_place[ends[index] : ends[index + 1]]

        for k in np.flatnonzero((count > _MANY) & (bound > 0.0)).tolist():
            numbers = flat[members(k)].tolist()
            value[k] = math.fsum(numbers)
            residual[k] = math.fsum([*numbers, -value[k]])
            bound[k] = total[k] * off * (1.0 + 2.0**-20) + abs(residual[k]) * 2.0**-52
        bound += np.where((off > 0.0) & (total > 0.0), 2.0**-1000, 0.0)

        def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
            return sum((term(int(chosen[j])) for j in members(index)), Fraction(0)), Fraction(0)

        truth = finish(value, residual, bound, total.copy(), refine, signed=False)
        rounded = np.maximum(count - 1 + roundings, 0)
        below = np.bincount(at, short, size) + np.where((count > 1) & (total > 0.0), FLUSH, 0.0)
        limit = np.where(total > 0.0, gamma(rounded, UNIT) * total * INFLATION + below, 0.0)
        # Where nothing is computed nothing overflows.
        limit = np.where(rounded > 0, bounded(limit, total), limit)
    whole = Pullback(truth, limit)
    return whole.arranged(lambda array: array.reshape(shape))


def places_of(shape: Shape, whole: Shape) -> Indices:
    """Of each element of a broadcast array the flat index of the operand's element that it is."""
    own = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    return np.ascontiguousarray(np.broadcast_to(own, whole))


def product_sums(left: Float32, right: Float32, places: Indices, shape: Shape, *, sign: int = 1) -> Pullback:
    """The sums of left * right; both of the shape of `places`."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    flat = left.reshape(-1), right.reshape(-1)
    terms = sign * a * b
    tiny = (np.abs(a) < FLUSH) | (np.abs(b) < FLUSH)
    lost = np.where(terms != 0.0, FLUSH + np.where(tiny, np.abs(terms), 0.0), 0.0)
    return scattered(
        terms, places, shape,
        lambda j: sign * Fraction(float(flat[0][j])) * Fraction(float(flat[1][j])),
        roundings=1, lost=lost, grid=_spacing(left) * _spacing(right),
    )  # fmt: skip


def _spacing(numbers: Float32) -> Float64:
    return np.asarray(np.spacing(np.abs(numbers)), np.float64)


def quotient(gradient: Float32, divisor: Float64, shape: Shape, change: Callable[[Any], Any]) -> Pullback:
    """g / n, element by element, for an integer n or one for each element; changed to the operand's shape."""
    g = gradient.astype(np.float64)
    full = np.broadcast_to(divisor, g.shape)
    numbers, parts = gradient.reshape(-1), full.reshape(-1)
    value = g / full
    at = np.arange(g.size, dtype=np.int64).reshape(g.shape)
    found = scattered(
        value, at, g.shape,
        lambda j: Fraction(float(numbers[j])) / Fraction(float(parts[j])),
        off=2.0 * _U64, roundings=3, lost=2.0 * FLUSH,
    )  # fmt: skip
    return found.arranged(lambda array: np.ascontiguousarray(np.broadcast_to(change(array), shape)))


def spread_back(gradient: Float32, shape: Shape, dims: Sequence[int], mean: bool) -> Pullback:
    """The gradient of a sum or a mean over `dims` of an array of `shape`, whether or not they were kept."""
    kept = tuple(1 if a in dims else n for a, n in enumerate(shape))
    if not mean:
        return moved(np.ascontiguousarray(np.broadcast_to(gradient.reshape(kept), shape)))
    count = math.prod(shape[a] for a in dims)
    return quotient(gradient, np.asarray(float(count)), shape, lambda array: array.reshape(kept))
