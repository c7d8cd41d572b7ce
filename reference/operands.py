"""What an operand may be, and what has to be known about its bits before bounds can be stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.jit import compiled

Single = npt.NDArray[np.float32]
Like = npt.ArrayLike
NO_BITS = 10_000  # exponent of the lowest set bit of an array of zeros: no restriction


def operand(array: npt.ArrayLike, name: str) -> Single:
    """`array` as contiguous float32, without changing a value.

    Accepts float32, narrower formats (float16, bfloat16, ...) and float64 whose values are float32 numbers:
    the products of float32 numbers are exact in float64, which every bound here rests on.
    Raises ValueError for other dtypes, and for float64 values that float32 does not have.
    """
    given = np.asarray(array)
    kind = given.dtype.name
    if not kind.startswith(("float", "bfloat")) or given.dtype.itemsize > 8:
        raise ValueError(f"{name} must be of a float type of at most 64 bits, got {kind}: cast it to float32")
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(given, dtype=np.float32).reshape(given.shape)
    if not single.flags.writeable:  # to numba a read-only array is another type, and another compilation
        single = single.copy()
    if given.dtype.itemsize == 8 and not np.array_equal(single.astype(np.float64), given, equal_nan=True):
        raise ValueError(
            f"{name} is float64 and holds values that are not float32 numbers: round it to float32 first"
        )
    return single


@dataclass(frozen=True)
class Survey:
    """Range and grid of an array's finite elements: powers of two that bound them."""

    finite: bool
    largest: float  # max |x|
    smallest: float  # min |x| over x != 0; infinity if there is none
    grid: int  # every element is a multiple of 2**grid; NO_BITS if all are zero


def survey(array: Single) -> Survey:
    """Range and grid of `array` in one pass over its bits."""
    finite, largest, smallest, grid = _survey(array.reshape(-1).view(np.int32))
    top = float(np.array(largest, np.int32).view(np.float32))
    low = float(np.array(smallest, np.int32).view(np.float32)) if smallest < _INFINITY else float("inf")
    return Survey(bool(finite), top, low, int(grid) if grid < _INFINITY else NO_BITS)


_INFINITY = 0x7F800000


@compiled
def _survey(bits: npt.NDArray[np.int32]) -> tuple[Any, Any, Any, Any]:
    largest, smallest, grid, bad = np.int32(0), np.int32(0x7F800000), np.int32(0x7F800000), np.int32(0)
    one, fraction, hidden = np.int32(1), np.int32(0x7FFFFF), np.int32(0x800000)
    for i in range(bits.size):
        size = bits[i] & np.int32(0x7FFFFFFF)
        exponent = size >> np.int32(23)
        wild = exponent == np.int32(255)
        significand = (size & fraction) | (hidden if exponent > 0 else np.int32(0))
        # The lowest set bit as a float32 carries its own position in its exponent: no loop over bits.
        lowest = (np.float32(significand & -significand).view(np.int32) >> np.int32(23)) - np.int32(127)
        step = max(exponent, one) - np.int32(150) + lowest
        dead = wild or size == 0
        bad |= np.int32(wild)
        largest = max(largest, np.int32(0) if wild else size)
        smallest = min(smallest, np.int32(0x7F800000) if dead else size)
        grid = min(grid, np.int32(0x7F800000) if dead else step)
    return np.int64(bad == 0), np.int64(largest), np.int64(smallest), np.int64(grid)
