"""A kernel's sums as rows: every output channel of a linear layer or a convolution has factors of its own.

The left factors are one number; channel o sums alpha * rows[o, k] over k.  An unpadded convolution has every
term at every position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from precision.inputs import Array, Float32
from precision.orders.probe import MASK
from precision.recording import Kernel

_SMALLEST, _LARGEST = 2.0**-24, 2.0**15
CHANNELS = 128
ROWS = 64
PIXELS = 16


@dataclass
class Product:
    """Sums of `terms` products in a kernel.  op: linear, or conv2d (3x3 where 9 divides terms, else 1x1)."""

    kernel: Kernel
    op: str
    terms: int
    calls: int = 0
    narrow: bool = False
    """Operands of half precision: rows beyond their range are scaled down by 2^24, masks cut off at 2^15."""
    uneven: int = 0
    """Rows whose answer was not the same at every position."""
    params: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.op not in ("linear", "conv2d"):
            raise ValueError(f"rows are asked of linear or conv2d; got {self.op!r}; name one")
        convolution = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        self.params = {} if self.op == "linear" else convolution

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the op's arrays."""
        if self.op == "linear":
            return {"input": (ROWS, self.terms), "weight": (CHANNELS, self.terms)}
        taps = 3 if self.terms % 9 == 0 else 1
        inputs = self.terms // taps**2
        return {"input": (1, inputs, PIXELS, PIXELS), "weight": (CHANNELS, inputs, taps, taps)}

    def ask(self, rows: Float32, alpha: float) -> Float32:
        """The sums of alpha * rows[r, k], each as a channel answers at the middle position."""
        if not self.narrow:
            return self._asked(rows, alpha)
        large = np.abs(rows).max(axis=1) > _LARGEST
        scaled = np.clip(rows * np.float32(_SMALLEST), -_LARGEST, _LARGEST).astype(np.float32)
        answers = self._asked(np.where(large[:, None], scaled, rows), alpha)
        return np.where(large, answers / np.float32(_SMALLEST), answers)

    def _asked(self, rows: Float32, alpha: float) -> Float32:
        answers = np.empty(len(rows), np.float32)
        shapes = self.shapes
        for first in range(0, len(rows), CHANNELS):
            some = rows[first : first + CHANNELS]
            weight = np.zeros((CHANNELS, self.terms), np.float32)
            weight[: len(some)] = some
            arrays = {
                "input": np.full(shapes["input"], alpha, np.float32),
                "weight": weight.reshape(shapes["weight"]),
            }
            self.calls += 1
            found = self._by_channel(self.kernel.run(self.op, self.params, arrays))[: len(some)]
            answers[first : first + len(some)] = found[:, found.shape[1] // 2]
            bits = found.view(np.uint32)
            self.uneven += int(np.sum((bits != bits[:, :1]).any(axis=1)))
        return answers

    def data(self, probe_id: str, kind: str) -> dict[str, Float32]:
        """Seeded arrays of one kind, `uniform` or `normal`: the same on every machine."""
        shapes = self.shapes.items()
        return {name: Array(shape, kind).make(f"{probe_id}/{kind}/{name}") for name, shape in shapes}

    def find_range(self) -> None:
        """Find out whether operands have the range that masks need."""
        row = np.zeros((1, self.terms), np.float32)
        row[0, 0] = MASK
        self.narrow = float(self._asked(row, 1.0)[0]) != MASK

    def counts(self) -> bool:
        """Whether sums of ones come out exactly: outputs of 8 bits count to 256 alone."""
        row = np.ones((1, self.terms), np.float32)
        odd = self.terms - 1 + self.terms % 2
        row[0, odd:] = 0.0
        return float(self.ask(row, 1.0)[0]) == odd

    def _by_channel(self, output: Float32) -> Float32:
        if self.op == "linear":
            return np.ascontiguousarray(output.T)
        return np.ascontiguousarray(output.reshape(CHANNELS, -1))
