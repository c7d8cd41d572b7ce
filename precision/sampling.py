"""What a capture keeps of one output: all of it, or a seeded sample of its elements and its checksum.

A sample is drawn without replacement by the raw words of a seeded generator (`precision.inputs`), named
by the case's id, so every mode and every variant of a case keeps the same elements.  The checksum is of the
whole output: whether two outputs are equal bit for bit is known exactly, also where only a sample was kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Float32, stream

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Sampled:
    """One output of a cell, or a sample of it.

    values: float32, in the output's shape where it is whole, else (elements,), in the order of `index`.
    index: ascending flat indices (C order) into an array of `shape`; None where the output is whole.
    shape: of the whole output, as the framework returned it.
    sha256: of the whole output's bytes, float32 little-endian in C order.
    """

    values: Float32
    index: Indices | None
    shape: tuple[int, ...]
    sha256: str

    @property
    def whole(self) -> bool:
        """Whether every element was kept."""
        return self.index is None

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The kept elements of an array of the whole shape: the truth's, to be set against `values`.

        Whole outputs give `array` itself.  Raises ValueError for an array of another shape.
        """
        if array.shape != self.shape:
            raise ValueError(
                f"the kept elements are those of shape {self.shape}; got {array.shape}; give the whole array"
            )
        return array if self.index is None else array.reshape(-1)[self.index]


def sample_index(case_id: str, shape: Sequence[int], full_up_to: int, kept: int) -> Indices | None:
    """Return the flat indices to keep of an output; None where it has at most `full_up_to` elements."""
    size = math.prod(shape)
    if size <= full_up_to:
        return None
    order = np.argsort(stream(f"{case_id}/sample")(size), kind="stable")
    return np.sort(order[: min(kept, size)]).astype(np.int64)


def output_sha256(output: Float32) -> str:
    """SHA-256 of an output's bytes, float32 little-endian in C order."""
    return hashlib.sha256(np.ascontiguousarray(output, dtype="<f4").tobytes()).hexdigest()
