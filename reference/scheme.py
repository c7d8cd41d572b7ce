"""Sums of products as one form: where each product finds its two factors, and where its sum belongs.

    y[g, o, m] = bias[g, o] + sum over k of x[starts[m // run] + m % run * step + groups[g] + offsets[k]]
                                            * weight[g, o, k]

A convolution over any number of axes, either of its gradients and a matrix product all have this form, once
the input is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.operands import Single

Indices = npt.NDArray[np.int64]
View = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Scheme:
    """The addresses of one factor, in elements of a flat array."""

    starts: Indices  # of every run of positions
    run: int  # positions that follow one another ...
    step: int  # ... at this distance
    offsets: Indices  # of the terms, from their position
    groups: Indices  # of the groups, from their position
    last: bool  # whether the sums lie as (positions, groups, filters), else (groups, filters, positions)

    @property
    def positions(self) -> int:
        return self.starts.size * self.run

    @property
    def terms(self) -> int:
        return self.offsets.size


@dataclass(frozen=True)
class Part:
    """Sums of one scheme, and the elements of the result that they are."""

    scheme: Scheme
    x: Single  # flat
    weight: Single  # (groups, filters/group, terms), any strides
    bias: Array | None = None  # (groups * filters/group,)
    present: npt.NDArray[np.bool_] | None = None  # where x holds terms; None: everywhere
    view: View | None = None  # the result's elements in the order of the sums; None: all, as they lie


@dataclass(frozen=True)
class Plan:
    """A whole result: parts that together are each of its elements once."""

    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def terms(self) -> int:
        """The most products in one sum."""
        return max(part.scheme.terms for part in self.parts)


def lattice(counts: Sequence[int], strides: Sequence[int]) -> Indices:
    """Addresses of a grid of elements, flat, the last axis the fastest: sum of index * stride."""
    total = np.zeros(1, np.int64)
    for count, stride in zip(counts, strides, strict=True):
        total = (total[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
    return total


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous array."""
    found, size = [], 1
    for count in reversed(shape):
        found.append(size)
        size *= count
    return tuple(reversed(found))
