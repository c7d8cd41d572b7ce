"""Two outputs side by side: the same bits or not, how far apart, and what rounding of that size is.

Without the arrays that they were made from nobody can say which of the two is right: only how far apart they
are, whether one is the other in a narrower format, or a simple function of it, and where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.output_relations import NEAR, Relation, relation
from reference.formats import FORMATS, round_to

Array = NDArray[Any]

NARROW = ("bfloat16", "binary16", "tf32", "e4m3", "e5m2")
_SIZES = (
    (NEAR, "float32 sums in another order"),
    (2.0**-10, "operands rounded to TF32 or float16"),
    (2.0**-6, "operands or results rounded to bfloat16"),
)
"""Largest ||a - b|| / ||b|| that each kind of rounding usually makes."""


@dataclass(frozen=True)
class Pair:
    """Two outputs compared.

    equal: the same shape, type and bits. differing: elements whose values differ (NaN equals NaN).
    ulp_max: the largest number of float32 steps between them, counted through zero; None for float64 and for
    shapes that differ, as are abs_max and index, the place of the largest absolute difference.
    relative_l2: ||a - b|| / ||b|| over the elements that are finite in both.
    """

    a: str
    b: str
    equal: bool
    differing: int | None
    elements: int
    ulp_max: int | None
    abs_max: float | None
    relative_l2: float | None
    index: tuple[int, ...] | None
    words: str


def pairs_of(outputs: Mapping[str, Array]) -> tuple[Pair, ...]:
    """Every pair of outputs, in their order."""
    return tuple(compare(a, outputs[a], b, outputs[b]) for a, b in combinations(outputs, 2))


def compare(name_a: str, a: Array, name_b: str, b: Array) -> Pair:
    """Compare two outputs, float32 or float64."""
    both = f"{name_a} and {name_b}"
    if a.shape != b.shape:
        words = f"{both} have the shapes {list(a.shape)} and {list(b.shape)}: no element can be compared"
        return Pair(name_a, name_b, False, None, a.size, None, None, None, None, words)
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        words = f"{both} are equal, bit for bit, in all {a.size} elements"
        return Pair(name_a, name_b, True, 0, a.size, 0, 0.0, 0.0, None, words)
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    finite = np.isfinite(x) & np.isfinite(y)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(same, 0.0, np.abs(x - y))
    gap = np.where(np.isnan(gap), np.inf, gap)
    differing = int(np.sum(~same))
    if not differing:
        words = f"{both} are equal but for the type, the sign of zeros or the bits of NaN"
        return Pair(name_a, name_b, False, 0, a.size, 0, 0.0, 0.0, None, words)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape))
    single = a.dtype == b.dtype == np.float32
    steps = int(np.max(distance(a, b)[finite], initial=0)) if single else None
    size = float(np.linalg.norm(y[finite]))
    relative = float(np.linalg.norm(gap[finite])) / size if size else None
    words = f"{both} differ in {differing} of {a.size} elements, by up to {np.max(gap):.3g}"
    words += f" at {list(index)} ({float(a[index])!r} and {float(b[index])!r})"
    words += f"; at most {steps} float32 steps apart" if steps is not None else ""
    wild = int(np.sum(~finite & ~same))
    words += f"; NaN or Inf on one side at {wild}" if wild else ""
    return Pair(name_a, name_b, False, differing, a.size, steps, float(np.max(gap)), relative, index, words)


def distance(a: Array, b: Array) -> NDArray[np.int64]:
    """Float32 numbers between two, element by element: from -0 to +0 it is none."""
    return np.asarray(np.abs(_ordered(a) - _ordered(b)))


def _ordered(values: Array) -> NDArray[np.int64]:
    # In 64 bits: the distance of the two largest numbers does not fit in 32.
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64).reshape(values.shape)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def likeness(pair: Pair, a: Array, b: Array) -> str:
    """What the difference of a pair looks like, and that it proves nothing about right and wrong."""
    unknown = "which of the two is right cannot be said without the arrays they were made from"
    if pair.equal:
        return f"one implementation, or two that round alike; {unknown}"
    if pair.differing is None:
        return f"{_related(pair, a, b) or 'two shapes are two functions'}; {unknown}"
    return "; ".join([*_looks(pair, a, b), unknown])


def _looks(pair: Pair, a: Array, b: Array) -> list[str]:
    """What two outputs of one shape, of which some elements differ, are to each other."""
    if not pair.differing:
        return []
    if pair.differing == int(np.sum(np.isfinite(a) != np.isfinite(b))):
        return ["where both are finite they are equal; NaN and Inf are no rounding"]
    for first, second, one, other in ((pair.a, pair.b, a, b), (pair.b, pair.a, b, a)):
        for kind in NARROW:
            narrow = np.asarray(round_to(other.astype(np.float64), FORMATS[kind]))
            if np.array_equal(narrow, one.astype(np.float64), equal_nan=True):
                return [f"{first} is {second} rounded to {kind}, in every element"]
    found = [f"{name} holds {kind} numbers only" for name, kind in _held(pair, a, b)]
    relative = pair.relative_l2
    if relative is None:
        found.append("one of the two is zero everywhere: no size of rounding")
    else:
        kind = next((words for most, words in _SIZES if relative <= most), "")
        makes = (
            f"a size that {kind} make" if kind else "more than rounding to any of these formats usually makes"
        )
        found.append(f"the difference is {relative:.2g} of the values, {makes}")
    related = _related(pair, a, b) if relative is None or relative > NEAR else ""
    place = related or _place(a, b)
    return [*found, place] if place else found


def _related(pair: Pair, a: Array, b: Array) -> str:
    """One as a function of the other, whichever way is found: exact before near."""
    found: list[tuple[Relation, str, str]] = []
    for first, second, one, other in ((pair.a, pair.b, a, b), (pair.b, pair.a, b, a)):
        each = relation(one, other)
        if each is not None:
            found.append((each, first, second))
    if not found:
        return ""
    best, first, second = min(found, key=lambda item: not item[0].exact)
    return best.sentence(first, second)


def _place(a: Array, b: Array) -> str:
    """The one slice of an axis, or the border, that holds all differences."""
    differ = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    for axis, count in enumerate(differ.shape):
        others = tuple(n for n in range(differ.ndim) if n != axis)
        where = np.flatnonzero(differ.any(axis=others))
        if where.size == 1 < count:
            return f"all differences are at index {int(where[0])} of axis {axis}"
    if differ.ndim >= 3:
        inside = differ[(slice(None), slice(None), *(slice(1, -1),) * (differ.ndim - 2))]
        if inside.size and not inside.any():
            return "all differences are at the border of the last axes"
    return ""


def _held(pair: Pair, a: Array, b: Array) -> list[tuple[str, str]]:
    found = []
    for name, array in ((pair.a, a), (pair.b, b)):
        wide = array.astype(np.float64)
        kinds = (k for k in NARROW if np.array_equal(round_to(wide, FORMATS[k]), wide, equal_nan=True))
        kind = next(kinds, None)
        if kind is not None and np.any(wide):
            found.append((name, kind))
    return found
