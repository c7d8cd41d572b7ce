"""Is a mean zero?  A t-test over many numbers that may hang together: along an axis, or by being the same.

Outputs of a layer share inputs and weights.  Where the means over the slices of an axis scatter more than
means of independent numbers would, those means take the place of the numbers: Cameron & Miller 2015, "A
practitioner's guide to cluster-robust inference", J. Human Resources 50(2), sections II and VI.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]

FEWEST = 16
"""Independent numbers below which nothing is said."""
_DEPENDENT = 3.0
"""Standard deviations of chance by which clusters must scatter more, to be taken for dependent."""


@dataclass(frozen=True)
class MeanTest:
    """The mean of numbers against zero.

    mean, error: the mean and its standard error. statistic: mean / error, as a standard normal number (from
    Student's t by Wallace 1959). p: two-sided probability of one as large. independent: numbers, or
    clusters of them, that it rests on.
    """

    mean: float
    error: float
    statistic: float
    p: float
    independent: int


def mean_test(values: Float64, shape: tuple[int, ...], places: Labels, same: Labels) -> MeanTest | None:
    """Test whether the mean of `values` is zero.

    values: (n,). shape: of the output that they come from; places: (n,) flat indices in it. same: (n,)
    labels from 0 to n - 1; values of one label are of one sum and count once. None where the values are not
    enough, or too few of them hold most of the scatter: then nothing can be said.
    """
    best = _of_clusters(values, same)
    if best is None:
        return None
    for labels in _ways(shape, places):
        other = _of_clusters(values, labels)
        count = int(np.count_nonzero(np.bincount(labels)))
        if count < 2:
            continue
        if other is None:
            # So few clusters cannot be tested, but it can be seen whether they matter.
            if count < best.independent and _excess(values, labels, best.error) > _allowed(count):
                return None
            continue
        if other.independent < best.independent and (other.error / best.error) ** 2 > _allowed(count):
            best = other
    return best


def _ways(shape: tuple[int, ...], places: Labels) -> Iterable[Labels]:
    """For every axis: the slices along it, and the lines of it."""
    index = np.unravel_index(places, shape)
    for axis, size in enumerate(shape):
        if 1 < size < math.prod(shape):
            yield np.asarray(index[axis], np.int64)
            others = [n for n in range(len(shape)) if n != axis]
            rest = [index[n] for n in others]
            yield np.asarray(np.ravel_multi_index(rest, tuple(shape[n] for n in others)), np.int64)


def _sums(values: Float64, labels: Labels) -> tuple[Float64, Float64]:
    """Sum and count of each cluster; labels are small numbers, and need not all be there."""
    counts = np.bincount(labels).astype(np.float64)
    there = counts > 0
    return np.bincount(labels, values).astype(np.float64)[there], counts[there]


def _scatter(values: Float64, labels: Labels) -> tuple[Float64, Float64]:
    """Residual sums of the clusters about the common mean, and their share of all values."""
    sums, counts = _sums(values, labels)
    return sums - counts * float(np.mean(values)), counts


def _excess(values: Float64, labels: Labels, error: float) -> float:
    rest, _ = _scatter(values, labels)
    count = len(rest)
    variance = float(np.sum(rest**2)) / len(values) ** 2 * count / (count - 1)
    return variance / error**2 if error else math.inf


def _allowed(count: int) -> float:
    """The ratio of variances that chance exceeds in one case of 740: chi squared, Wilson & Hilferty 1931."""
    step = 2.0 / (9.0 * (count - 1))
    return float((1.0 - step + _DEPENDENT * math.sqrt(step)) ** 3)


def _of_clusters(values: Float64, labels: Labels) -> MeanTest | None:
    rest, _ = _scatter(values, labels)
    count = len(rest)
    if count < FEWEST:
        return None
    squares = rest**2
    total = float(np.sum(squares))
    # Effective number of clusters: a few large ones would make the statistic anything but normal.
    if total == 0.0 or total**2 / float(np.sum(squares**2)) < FEWEST / 4:
        return None
    mean = float(np.mean(values))
    error = math.sqrt(total * count / (count - 1)) / len(values)
    z = normal_of_t(mean / error, count - 1)
    return MeanTest(mean, error, z, math.erfc(abs(z) / math.sqrt(2.0)), count)


def normal_of_t(t: float, freedom: int) -> float:
    """The standard normal number of the same probability as Student's t, within 0.2 standard errors of 5.

    Wallace 1959, "Bounds on normal approximations to Student's and the chi-square distributions", Ann. Math.
    Statist. 30(4): (8 f + 1)/(8 f + 3) sqrt(f ln(1 + t**2/f)).
    """
    f = float(freedom)
    return math.copysign((8 * f + 1) / (8 * f + 3) * math.sqrt(f * math.log1p(t * t / f)), t)


def same_sums(sizes: Float64) -> Labels:
    """Labels of numbers that are the same but for a power of two: one sum that stands at several places."""
    found: NDArray[Any] = np.unique(np.frexp(sizes)[0], return_inverse=True)[1]
    return np.asarray(found, np.int64)
