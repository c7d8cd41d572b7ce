"""The box of outputs on which an order holds: whole ranges of rows, columns, channels and nothing chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from precision.orders.sum_kernel import SumPart

Booleans = npt.NDArray[np.bool_]

LEAST = 16
"""Outputs of a box at least."""
NEAR = 1000
"""One output in so many may differ where an order is taken for known, but not proved."""
PARTED = 0.02
"""Shares of equal outputs that differ by more part the indices of an axis."""


def box_of(part: SumPart, equal: Booleans, open_: Booleans, *, lenient: bool = False) -> Booleans | None:
    """The open outputs (channels, positions) in one range of indices along each axis of the result.

    Again and again the axis on which the indices part most, by their shares of equal outputs, is cut to those
    nearer to the best than to the worst (the range of them with most), until all outputs that are left are
    equal; with `lenient`, all but one in a thousand, or one.  None where fewer than `LEAST` are left, or
    where they do not part.
    """
    shape = part.kernel.shape
    same, inside = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    same.reshape(-1)[part.index] = equal
    inside.reshape(-1)[part.index] = open_
    for _ in range(len(shape) + 1):
        if inside.sum() < LEAST:
            return None
        count, wrong = int(inside.sum()), int((inside & ~same).sum())
        if wrong <= (max(1, count // NEAR) if lenient else 0):
            return np.asarray(part.output(inside), np.bool_)
        axis, good = _parting(same & inside, inside)
        if axis < 0:
            return None
        chosen = np.zeros(shape[axis], np.bool_)
        chosen[good] = True
        inside &= chosen.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return None


def _parting(same: Booleans, inside: Booleans) -> tuple[int, npt.NDArray[np.intp]]:
    """The axis whose indices part most, and the fullest range of better ones; -1 where none parts."""
    best, spread, found = -1, PARTED, np.zeros(0, np.intp)
    for axis in range(inside.ndim):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        count = inside.sum(axis=others)
        present = np.flatnonzero(count)
        equal_there = same.sum(axis=others)[present]
        share = equal_there / count[present]
        better = np.flatnonzero(share >= (share.min() + share.max()) / 2.0)
        runs = np.split(better, np.flatnonzero(np.diff(better) > 1) + 1)
        good = present[max(runs, key=lambda run: float(equal_there[run].sum()))]
        if np.ptp(share) > spread and good.size < present.size:
            best, spread, found = axis, float(np.ptp(share)), good
    return best, found
