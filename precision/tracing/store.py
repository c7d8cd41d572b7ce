"""Activations on disk while two models are traced: each array once, under the hash of its bytes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from precision.capture import read_tensors, write_tensors

Float32 = NDArray[np.float32]


class Store:
    """A temporary folder of arrays, removed by `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="precision-trace-")
        self.path = Path(self._folder.name)
        self._kept: set[str] = set()

    def put(self, array: Float32) -> str:
        """Write an array, unless it is there already; return its key."""
        whole = np.ascontiguousarray(array)
        key = hashlib.sha256(repr(array.shape).encode() + whole.tobytes()).hexdigest()[:32]
        if key not in self._kept:
            np.save(self.path / f"{key}.npy", whole.reshape(array.shape), allow_pickle=False)
            self._kept.add(key)
        return key

    def get(self, key: str) -> Float32:
        """Read an array back."""
        found: Float32 = np.load(self.path / f"{key}.npy", allow_pickle=False)
        return found

    def all(self, keys: Sequence[str]) -> list[Float32]:
        return [self.get(key) for key in keys]

    def close(self) -> None:
        self._folder.cleanup()


def write_layer(folder: Path, name: str, arrays: Mapping[str, Float32]) -> str:
    """Keep the arrays of one layer for the user; return the SHA-256 of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_tensors(folder / name, dict(arrays))


def read_layer(folder: Path, name: str, sha256: str) -> dict[str, Float32]:
    """The arrays of one layer.  Raises UserError for changed bytes."""
    return read_tensors(folder, name, sha256)
