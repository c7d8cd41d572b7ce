"""Normalizations of a group and the gradient of their mean square, from exact statistics.

y = (x - m) / d over groups of N numbers with mean m and variance v (over N), and d one of

    sqrt(c v + eps)     eps in the root            c = 1, or N / (N - 1) where the variance is unbiased
    sqrt(c v) + eps     eps beside the root

The loss is the mean of y^2 over all n numbers.  Were eps 0 it would be 1 / c, whatever x is, and its
gradient zero; with eps it is not:

    in the root         2 (x - m) eps / (n (c v + eps)^2)
    beside the root     2 (x - m) eps / (n (sqrt(c v) + eps)^3)

m and v are exact fractions, so every number below is within a few roundings of float64 of the exact one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.rational import exact_moments

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Groups:
    """Arrays (groups, N) with their exact mean and variance."""

    def __init__(self, x: Float32) -> None:
        self.x = x.astype(np.float64)
        self.count, self.size = x.shape
        moments = [exact_moments(np.ascontiguousarray(row), True) for row in x]
        self.mean = np.array([float(mean) for mean, _ in moments])[:, None]
        self.variance = np.array([float(variance) for _, variance in moments])[:, None]

    def scale(self, eps: float, inside: bool, unbiased: bool) -> Float64:
        """d, one for each group."""
        factor = self.size / (self.size - 1) if unbiased else 1.0
        found: Float64 = (
            np.sqrt(factor * self.variance + eps) if inside else np.sqrt(factor * self.variance) + eps
        )
        return found

    def normalized(self, eps: float, inside: bool = True, unbiased: bool = False) -> Float64:
        """y."""
        return np.asarray((self.x - self.mean) / self.scale(eps, inside, unbiased))

    def gradient(self, eps: float, inside: bool = True, unbiased: bool = False) -> Float64:
        """The gradient of mean(y^2); see the module's text."""
        power = 4 if inside else 3
        factor = 2.0 * eps / (self.x.size * self.scale(eps, inside, unbiased) ** power)
        return np.asarray((self.x - self.mean) * factor)

    def cancellation(self, eps: float) -> float:
        """How much larger the terms of the gradient are than their sum: (v + eps) / eps, in the median."""
        return float(np.median(self.variance) + eps) / eps


def of_samples(x: Float32) -> Groups:
    """A layer normalization: every sample is a group."""
    return Groups(x.reshape(len(x), -1))


def of_channels(x: Float32) -> Groups:
    """A batch normalization: every channel is a group."""
    return Groups(np.moveaxis(x, 1, 0).reshape(x.shape[1], -1))


def channels_back(rows: Float64, shape: tuple[int, ...]) -> Float64:
    """Rows of `of_channels` in the shape of the image."""
    return np.moveaxis(rows.reshape(shape[1], shape[0], *shape[2:]), 0, 1)


def noise(found: NDArray[np.float32], exact: Float64) -> float:
    """The relative error of a gradient, in Euclidean norms."""
    size = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found.reshape(exact.shape) - exact)) / size if size else math.inf
