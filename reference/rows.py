"""An array seen as rows along one axis, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.operands import Single


@dataclass(frozen=True)
class Rows:
    """`x` holds one row for each position of the other axes."""

    x: Single
    shape: tuple[int, ...]
    axis: int

    def restore(self, array: Array) -> Array:
        """An array like `x` in the shape of the input."""
        others = self.shape[: self.axis] + self.shape[self.axis + 1 :]
        length = self.shape[self.axis] if self.shape else 1
        split = array.reshape(*others, length) if self.shape else array.reshape(())
        return np.ascontiguousarray(np.moveaxis(split, -1, self.axis)) if self.shape else split

    def reduce(self, array: Array, keepdim: bool) -> Array:
        """One number a row in the shape of the input without the axis, or with 1 there."""
        kept = (1,) if keepdim and self.shape else ()
        return array.reshape(self.shape[: self.axis] + kept + self.shape[self.axis + 1 :])


def rows(x: Single, dim: int, name: str = "dim") -> Rows:
    """Raises ValueError for an axis that the array does not have; a number has the axes 0 and -1."""
    rank = max(x.ndim, 1)
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not -rank <= dim < rank:
        raise ValueError(f"{name} must be an axis of an array of rank {x.ndim}, got {dim!r}: give e.g. -1")
    axis = int(dim) % rank
    moved: npt.NDArray[np.float32] = np.moveaxis(x, axis, -1) if x.ndim else x.reshape(1)
    length = x.shape[axis] if x.ndim else 1
    count = int(np.prod(moved.shape[:-1], dtype=np.int64))
    return Rows(np.ascontiguousarray(moved).reshape(count, length), x.shape, axis)
