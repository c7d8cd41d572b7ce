"""What printed outputs of a normalization of small integers say of its input, its eps and its weight.

A layer normalizes n integers 0..3: y = (x - m) / sqrt(v + eps), m = S/n, v = Q/n - m**2 (or times n/(n-1)).
Only integers S (the sum) and Q (the sum of squares) are possible, and every printed digit must fit: the
printed values decide S, Q, eps and the kind of variance, or leave several.  A second layer's values on the
same input are w y: intervals of the printed digits enclose w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

EPS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
TOP = 3
_SLACK = 4 * 2.0**-24
"""Relative: the float32 evaluation that was printed may be off by a few units of its last place."""


@dataclass(frozen=True)
class Solution:
    """One set of statistics that gives all printed values: sum, sum of squares, eps, kind of variance."""

    total: int
    squares: int
    eps: float
    unbiased: bool
    count: int

    @property
    def mean(self) -> Fraction:
        return Fraction(self.total, self.count)

    @property
    def variance(self) -> Fraction:
        biased = Fraction(self.squares, self.count) - self.mean**2
        return biased * Fraction(self.count, self.count - 1) if self.unbiased else biased

    def value(self, x: int) -> float:
        """The normalized x, to float64."""
        return float(x - self.mean) / math.sqrt(self.variance + Fraction(self.eps))


def integers(printed: Float64) -> NDArray[np.int64]:
    """The integers 0..3 behind printed values, all four of which must occur: their ranks.

    Raises ValueError for values of another number of levels.
    """
    levels = np.unique(printed)
    if len(levels) != TOP + 1:
        raise ValueError(
            f"the integers 0..{TOP} give {TOP + 1} printed values; got {len(levels)}; print another channel"
        )
    return np.searchsorted(levels, printed)


def solutions(printed: Float64, count: int, slack: float = _SLACK) -> list[Solution]:
    """Every (S, Q, eps, variance) whose normalized integers are the printed float32 values.

    printed: float32 values in full; count: n, elements of the channel (those that are not printed too).
    """
    levels = np.unique(printed)
    x = integers(printed)
    left = count - x.size
    unseen = np.arange(TOP * left + 1)
    total, squares = np.meshgrid(unseen, np.arange(TOP * TOP * left + 1), indexing="ij")
    possible = (total <= squares) & (squares <= TOP * total)
    total, squares = total[possible] + int(x.sum()), squares[possible] + int((x**2).sum())
    found = []
    for eps, unbiased in product(EPS, (False, True)):
        spread = (squares * count - total**2) / (count * (count - 1) if unbiased else count**2) + eps
        with np.errstate(divide="ignore", invalid="ignore"):
            y = (np.arange(TOP + 1)[:, None] - total / count) / np.sqrt(spread)
        fits = np.abs(y - levels[:, None]) <= slack * np.maximum(1.0, np.abs(levels))[:, None]
        found += [
            Solution(int(total[i]), int(squares[i]), eps, unbiased, count)
            for i in np.flatnonzero(fits.all(axis=0))
        ]
    return found


def weight_interval(printed: Float64, decimals: int, values: Float64) -> tuple[Fraction, Fraction]:
    """[low, high] of the w for which w y, rounded to so many decimals, is every printed value.

    printed: the second layer's values; values: y of the first, in the same places.  Empty (low > high) where
    no w does.
    """
    half = Fraction(1, 2 * 10**decimals)
    low, high = Fraction(-(10**9)), Fraction(10**9)
    for shown, y in zip(printed.reshape(-1), values.reshape(-1), strict=True):
        exact, seen = Fraction(float(y)), Fraction(str(float(shown)))
        ends = sorted(((seen - half) / exact, (seen + half) / exact))
        low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def filled(shown: NDArray[np.int64], solution: Solution) -> NDArray[np.int64] | None:
    """Unseen integers 0..3, as many as are missing, that complete the sums; None where there are none.

    With a, b, c ones, twos and threes: a + 2 b + 3 c = S', a + 4 b + 9 c = Q'.
    """
    left = solution.count - shown.size
    total = solution.total - int(shown.sum())
    squares = solution.squares - int((shown**2).sum())
    for threes in range(left + 1):
        twos, odd = divmod(squares - total - 6 * threes, 2)
        ones = total - 2 * twos - 3 * threes
        zeros = left - ones - twos - threes
        if not odd and min(zeros, ones, twos) >= 0:
            counts: Sequence[int] = (zeros, ones, twos, threes)
            return np.repeat(np.arange(TOP + 1), counts)
    return None
