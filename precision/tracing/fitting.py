"""Whether two arrays are the same numbers, whatever axes of one their shapes have; how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from precision.tracing.errors import inherited_error
from precision.tracing.units import squeezed

Float32 = NDArray[np.float32]


def equal_inputs(own: Sequence[Float32], wanted: Sequence[Float32], op: str) -> bool:
    """Whether two units take the same numbers; those of a sum or a product in any order."""
    return _same(own, wanted) or swapped(own, wanted, op)


def swapped(own: Sequence[Float32], wanted: Sequence[Float32], op: str) -> bool:
    """Whether a sum or a product takes the same two, the other way round."""
    return op in ("add", "mul") and not _same(own, wanted) and _same(own[::-1], wanted)


def _same(a: Sequence[Float32], b: Sequence[Float32]) -> bool:
    if len(a) != len(b):
        return False
    shaped = [fitted(x, y.shape) for x, y in zip(a, b, strict=True)]
    return all(x is not None and np.array_equal(x, y, equal_nan=True) for x, y in zip(shaped, b, strict=True))


def fitted(array: Float32, shape: tuple[int, ...]) -> Float32 | None:
    """The array in a shape that differs by axes of one alone; None where it differs by more."""
    if array.shape == shape:
        return array
    return array.reshape(shape) if squeezed(array.shape) == squeezed(shape) else None


def distance(own: Sequence[Float32], wanted: Sequence[Float32]) -> float | None:
    """How far inputs are from others, in Euclidean norms over theirs; None where shapes differ."""
    if len(own) != len(wanted):
        return None
    errors, sizes = 0.0, 0.0
    for a, b in zip(own, wanted, strict=True):
        shaped = fitted(a, b.shape)
        if shaped is None:
            return None
        difference = inherited_error(b, shaped)
        if not np.isfinite(difference).all():
            return math.inf
        errors += float(np.sum(np.square(difference)))
        sizes += float(np.sum(np.square(np.where(np.isfinite(b), b, np.float32(0)).astype(np.float64))))
    return math.sqrt(errors / sizes) if sizes else math.inf
