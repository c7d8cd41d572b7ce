"""Weights of B that are A's, turned: a kernel mirrored or transposed, channels in another order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def turned(a: Float32, b: Float32) -> tuple[str, str] | None:
    """(parameter, what B's is) where a weight (O, I, *kernel) is the other one with its elements moved.

    Shapes are equal, contents are not. None where it is no such move.
    """
    axes = tuple(range(2, a.ndim))
    if axes and np.array_equal(np.flip(a, axes), b):
        return "kernel flip", "mirrored along every axis"
    for axis in axes if len(axes) > 1 else ():
        if np.array_equal(np.flip(a, axis), b):
            return "kernel flip", f"mirrored along axis {axis - 2} of the kernel"
    if len(axes) > 1 and a.shape[-1] == a.shape[-2] and np.array_equal(np.swapaxes(a, -1, -2), b):
        return "kernel transpose", "with its last two axes swapped"
    if a.ndim > 1 and a.shape[0] == a.shape[1] and np.array_equal(np.swapaxes(a, 0, 1), b):
        return "weight transpose", "with inputs and outputs swapped"
    for axis, words in ((1, "inputs"), (0, "outputs")):
        order = _order(a, b, axis) if a.ndim > 1 else None
        if order is not None:
            shown = ", ".join(map(str, order[:8])) + (", …" if len(order) > 8 else "")
            return "channel order", f"with its {words} in the order {shown}"
    return None


def _order(a: Float32, b: Float32, axis: int) -> list[int] | None:
    """The channels of A that B's are, where each is one of them and they are all different."""
    rows = [np.ascontiguousarray(np.moveaxis(each, axis, 0)).reshape(each.shape[axis], -1) for each in (a, b)]
    places = {row.tobytes(): k for k, row in enumerate(rows[0])}
    if len(places) < len(rows[0]):
        return None
    order = [places.get(row.tobytes()) for row in rows[1]]
    found = [k for k in order if k is not None]
    return found if len(found) == len(order) == len(set(found)) else None
