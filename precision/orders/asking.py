"""Probes of one output of a framework's sum, many at a time: a row of factors for each of several outputs.

Outputs that share no carrier element can be asked at once: the channels of a convolution at one position, the
rows of a mean.  Only those are used that answer as the asked output does when all are given the same row: a
channel of the tail may be summed in another order.
"""

from __future__ import annotations

import numpy as np

from precision.orders.probe import Float32, NoTree
from precision.orders.sum_kernel import SumKernel, SumPart
from reference.scheme import Indices

SLOTS = 4096
CALLS = 20_000
"""More calls than this for one op are refused: one output channel and thousands of terms take 10,000."""


class Asker:
    """Asks the output (channel, position) of a part, through every output that answers alike."""

    def __init__(
        self,
        part: SumPart,
        channel: int,
        position: int,
        rng: np.random.Generator,
        alike: Indices | None = None,
    ) -> None:
        self.part, self.position = part, position
        self.kernel: SumKernel = part.kernel
        self.slots = np.array([channel])
        self.probes = 0
        others = part.slots(channel, SLOTS)
        if alike is not None:
            self.slots = others[alike[others, position] == alike[channel, position]]
        elif others.size > 1:
            self.slots = others
            self._keep_like(rng)

    def ask(self, values: Float32, alpha: float) -> Float32:
        """The sums of alpha * values[r, k]; a last column may be the bias.  See `probe.Ask`."""
        self.probes += len(values)
        answers = np.empty(len(values), np.float32)
        for first in range(0, len(values), self.slots.size):
            rows = values[first : first + self.slots.size]
            answers[first : first + len(rows)] = self._call(rows, self.slots[: len(rows)], alpha)
        return answers

    def _keep_like(self, rng: np.random.Generator) -> None:
        """Keep the outputs that give the same bits as the first for the same random rows."""
        columns = self.part.terms + self.kernel.bias
        for alpha in (1.0, 1.2345678, 0.87654321):
            row = rng.standard_normal(columns).astype(np.float32)
            row[1::2] = -row[: columns - columns % 2 : 2]
            row = rng.permutation(row)
            answers = self._call(np.tile(row, (self.slots.size, 1)), self.slots, alpha)
            self.slots = self.slots[answers.view(np.uint32) == answers[:1].view(np.uint32)]

    def _call(self, rows: Float32, slots: Indices, alpha: float) -> Float32:
        if self.kernel.calls > CALLS:
            raise NoTree(f"more than {CALLS} calls would be needed: too few outputs for so many terms")
        arrays = self.kernel.blank(alpha)
        carrier = arrays[self.kernel.carrier].reshape(-1)
        address = self.part.right[slots]
        if address.min(initial=0) >= 0:
            carrier[address] = rows[:, : self.part.terms]
        else:
            carrier[address[address >= 0]] = rows[:, : self.part.terms][address >= 0]
        if self.kernel.bias:
            arrays["bias"][slots] = rows[:, -1]
        index = self.part.index[slots, self.position]
        answers = self.kernel.call(arrays).reshape(-1)[index]
        if self.kernel.divisor is None:
            return np.asarray(answers)
        # A mean of whole numbers: its sum is found again, as long as it has few digits.
        sums = answers.astype(np.float64) * self.kernel.divisor.reshape(-1)[index]
        whole = np.rint(sums)
        exact = np.abs(sums - whole) <= np.abs(whole) * 2.0**-22
        return np.asarray(np.where(exact, whole, sums), np.float32)
