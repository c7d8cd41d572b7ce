"""What one output is of another, where nothing else is known: rearranged, shifted, scaled, cut off at zero.

A relation holds for every element, or it is not named: equal values, or values that are as near as sums in
float32 are in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NEAR = 2.0**-19
"""||a - b|| / ||b|| of float32 sums in another order, and less."""
_GLIMPSE = 64
"""Elements that are compared before all of them."""
_CROPS = 64
"""Places of a smaller array in a larger one that are tried."""
_AXES = 5
_CHANNELS = 8192


@dataclass(frozen=True)
class Relation:
    """words: "{a} is {b} ..." as a phrase that follows the name of b; exact: equal in every element."""

    words: str
    exact: bool

    def sentence(self, a: str, b: str) -> str:
        how = "in every element" if self.exact else "but for rounding"
        return f"{a} is {b} {self.words}, {how}"


def relation(a: Array, b: Array) -> Relation | None:
    """The first simple function of b that a is; None where no such function was found.

    a, b: float32 or float64 in any shapes.  NaN equals NaN.
    """
    if not a.size or not b.size:
        return None
    for words, made in _rearranged(b, a.shape):
        found = _same(a, made, words)
        if found is not None:
            return found
    if a.shape != b.shape:
        return None
    for words, made in (*_computed(a, b), *_permuted(a, b)):
        found = _same(a, made, words)
        if found is not None:
            return found
    return _shifted(a, b)


def _same(a: Array, made: Array, words: str) -> Relation | None:
    if made.shape != a.shape:
        return None
    rng = np.random.default_rng(5)
    at = tuple(rng.integers(0, size, _GLIMPSE) for size in a.shape)
    if not _near(a[at], made[at], 64.0):
        return None
    if np.array_equal(a, made, equal_nan=True):
        return Relation(words, True)
    return Relation(words, False) if _near(a, made) else None


def _near(a: Array, b: Array, room: float = 1.0) -> bool:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return False
    # Against what distinguishes the elements: numbers that are nearly equal are near to any rearrangement.
    own, gap = y[finite] - np.mean(y[finite]) if finite.any() else y[finite], x[finite] - y[finite]
    return float(np.linalg.norm(gap)) <= room * NEAR * float(np.linalg.norm(own))


def _rearranged(b: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Views of b in that shape: other axes, flips, pieces, the same numbers in other rows."""
    straight = tuple(range(b.ndim))
    if b.ndim == len(shape) <= _AXES:
        for order in permutations(straight):
            if order != straight and tuple(b.shape[i] for i in order) == shape:
                yield f"with its axes in the order {list(order)}", b.transpose(order)
    if b.shape == shape:
        for axis in straight:
            if b.shape[axis] > 1:
                yield f"flipped along axis {axis}", np.flip(b, axis)
    if b.ndim == len(shape) + 1:
        for axis in straight:
            if b.shape[:axis] + b.shape[axis + 1 :] == shape:
                yield f"at index 0 of axis {axis}", b.take(0, axis)
    yield from _pieces(b, shape)
    if b.size == int(np.prod(shape)) and b.shape != shape:
        yield f"reshaped to {list(shape)}", b.reshape(shape)


def _pieces(b: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    if b.ndim != len(shape) or b.shape == shape or any(m > n for m, n in zip(shape, b.shape, strict=True)):
        return
    rooms = [range(n - m + 1) for m, n in zip(shape, b.shape, strict=True)]
    for start in islice(product(*rooms), _CROPS):
        place = tuple(slice(i, i + m) for i, m in zip(start, shape, strict=True))
        yield f"cropped, from index {list(start)} on", b[place]


def _computed(a: Array, b: Array) -> Iterator[tuple[str, Array]]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, z = x[finite], y[finite]
    if x.size < 2 or not np.any(z):
        return
    yield "cut off at zero (ReLU)", np.maximum(y, 0.0)
    yield "with the signs turned", -y
    factor = float(x @ z / (z @ z))
    yield f"times {factor:.9g}", factor * y
    moved = float(np.mean(x - z))
    yield f"plus {moved:.9g}", y + moved
    centred = z - np.mean(z)
    if np.any(centred):
        slope = float(x @ centred / (centred @ centred))
        start = float(np.mean(x) - slope * np.mean(z))
        yield f"times {slope:.9g}, plus {start:.9g}", slope * y + start


def _permuted(a: Array, b: Array) -> Iterator[tuple[str, Array]]:
    """The slices along an axis in another order: found by what each of them holds in all."""
    for axis, count in enumerate(a.shape):
        if not 1 < count <= _CHANNELS or a.size == count:
            continue
        keys = [np.argsort(_key(each, axis), kind="stable") for each in (a, b)]
        order = np.empty(count, np.int64)
        order[keys[0]] = keys[1]
        if not np.array_equal(order, np.arange(count)):
            yield f"with the slices along axis {axis} in another order", b.take(order, axis)


def _key(array: Array, axis: int) -> Array:
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64)
    weights = np.random.default_rng(6).standard_normal(rows.shape[1])
    return np.asarray(np.where(np.isfinite(rows), rows, 0.0) @ weights)


def _shifted(a: Array, b: Array) -> Relation | None:
    """Moved by one element: what comes in at the border may be anything."""
    for axis, count in enumerate(a.shape):
        if count < 3:
            continue
        inner, outer = slice(1, None), slice(None, -1)
        for step, (mine, other) in ((1, (inner, outer)), (-1, (outer, inner))):
            place = [
                tuple(part if n == axis else slice(None) for n in range(a.ndim)) for part in (mine, other)
            ]
            found = _same(a[place[0]], b[place[1]], f"shifted by {step} along axis {axis}, borders aside")
            if found is not None:
                return found
    return None
