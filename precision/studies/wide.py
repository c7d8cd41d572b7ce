"""Numbers of float64 as three of float32, for messages that hold float32 alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

PARTS = ("high", "middle", "low")


def split(name: str, values: Float64) -> dict[str, Float32]:
    """Return {"NAME.high", "NAME.middle", "NAME.low"}: float32 arrays whose exact sum is `values`.

    Exact for numbers of ordinary size: 3 x 24 bits hold 53, down to 2**-97 and below 2**127.
    """
    left, found = np.asarray(values, np.float64), {}
    for part in PARTS:
        rounded = left.astype(np.float32)
        found[f"{name}.{part}"] = rounded
        left = left - rounded.astype(np.float64)
    return found


def joined(name: str, arrays: Mapping[str, Float32]) -> Float64:
    """The inverse of `split`."""
    high, middle, low = (arrays[f"{name}.{part}"].astype(np.float64) for part in PARTS)
    return np.asarray(high + (middle + low))
