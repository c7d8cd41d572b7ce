"""A few outputs on which candidates are tried, and the count of those that fit."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from precision.orders.known import BIAS, Order
from precision.orders.match_kernels import chain_sums
from precision.orders.revealed import DIVIDED, PLAIN
from reference.formats import FORMATS, round_to
from reference.replay import replay
from reference.tree import SummationTree

Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Candidate = Order | SummationTree

BEST = 4
"""Orders that fit the sample but for some outputs and are replayed too: they may hold on a box."""


@dataclass(frozen=True)
class Ending:
    """What a layer in a narrower format does to its sums: rounds them; adds a bias, and rounds again.

    format, rounding: as `reference.formats.round_to` has them; bias: one number a channel, which joins after
    the sum was rounded; None where it is a term of the sum, or where there is none.
    """

    format: str
    rounding: str
    bias: Float32 | None = None

    def of(self, sums: Float32, channels: npt.NDArray[np.int64]) -> Float32:
        """The results of sums whose rows, or elements, are of these channels."""
        found = self._rounded(sums)
        if self.bias is None:
            return found
        return self._rounded(found + self.bias[channels].reshape(-1, *(1,) * (sums.ndim - 1)))

    def _rounded(self, values: Float32) -> Float32:
        return round_to(values, FORMATS[self.format], self.rounding).astype(np.float32)


@dataclass
class Sample:
    """A few outputs as columns of factors."""

    left: Float32
    right: Float32
    bias: Float32
    divisor: Float32 | None
    wanted: Float32
    channels: npt.NDArray[np.int64]
    ending: Ending | None = None

    def ends(self, sums: Float32, final: str) -> Float32:
        """The outputs from their sums."""
        if final != PLAIN and self.divisor is not None:
            by = self.divisor
            sums = np.asarray(sums / by if final == DIVIDED else sums * (np.float32(1.0) / by), np.float32)
        return sums if self.ending is None else self.ending.of(sums, self.channels)


@dataclass
class Tally:
    """What the candidates came to on a sample: those that fit, and the best of the others."""

    size: int
    tried: int = 0
    fits: list[tuple[Candidate, str]] = field(default_factory=list)
    agreed: int = 0
    """Outputs of the sample that those that do not fit give, added up."""
    others: list[tuple[int, int, Candidate, str]] = field(default_factory=list)
    """The best of those that do not fit: outputs that they give, a number, the order and what follows it."""

    def add(self, equal: Booleans, order: Candidate, final: str) -> None:
        self.tried += 1
        count = int(equal.sum())
        if count == self.size:
            self.fits.append((order, final))
            return
        self.agreed += count
        entry = (count, -self.tried, order, final)
        if len(self.others) < BEST:
            heapq.heappush(self.others, entry)
        elif entry[:2] > self.others[0][:2]:
            heapq.heapreplace(self.others, entry)

    @property
    def best(self) -> list[tuple[Candidate, str]]:
        """Those of the others that give at least half of the sample, the best first."""
        return [each[2:] for each in sorted(self.others, reverse=True) if 2 * each[0] >= self.size]

    def lucky(self, outputs: int) -> float:
        """The logarithm of the number of orders that would give so many outputs by chance."""
        failed = self.tried - len(self.fits)
        if not failed:
            return -math.inf
        chance = max(self.agreed, 1) / (failed * self.size + 1)
        return math.log(self.tried) + outputs * math.log(chance)


def sums_of(sample: Sample, order: Candidate) -> Float32:
    """The sums of a sample in a candidate's order."""
    if isinstance(order, SummationTree):
        left = np.ascontiguousarray(sample.left.T)
        return np.ascontiguousarray(np.diag(replay(order, left, sample.right, sample.bias, threads=1)))
    out, cuts = np.empty((3, sample.wanted.size), np.float32), order.cuts
    room = np.empty((cuts.lanes + 3, sample.wanted.size), np.float32)
    chain_sums(
        sample.left, sample.right, order.walk, sample.bias, cuts.starts, cuts.opens, cuts.lanes, cuts.halves,
        cuts.fused, room, out,
    )  # fmt: skip
    found: Float32 = out[BIAS.index(order.bias) if order.bias else 0]
    return found


def share_of(sample: Sample, order: Candidate, final: str) -> float:
    """The share of a sample that a candidate gives."""
    return float(np.mean(sample.ends(sums_of(sample, order), final) == sample.wanted))
