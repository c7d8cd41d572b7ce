"""The normalizations as one problem: rows of elements that share statistics, and an affine entry for each.

Each `*_rows` function checks the arrays of one op and brings them into that form, or raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.geometry import LAYOUTS
from reference.operands import Single, operand

Like = npt.ArrayLike


@dataclass(frozen=True)
class Grouped:
    """A normalization as rows that share their statistics."""

    x: Single  # (groups, N)
    weight: Single | None  # affine entries; None for ones
    bias: Single | None
    row_step: int  # element j of a row takes affine entry (row * row_step + j // inner) % entries
    inner: int
    axes: tuple[int, ...]  # the input's axes in the order in which x was flattened
    shape: tuple[int, ...]  # the input's shape
    given: tuple[Single, Single] | None = None  # running mean and variance, one a row
    centred: bool = True

    def restore(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array like x in the shape and axis order of the input."""
        moved = array.reshape([self.shape[a] for a in self.axes])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.axes)))

    def flatten(self, array: Single) -> Single:
        """An array in the shape of the input like x: the inverse of `restore`."""
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(self.x.shape)

    def affine(self, dtype: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Weight and bias of one dtype, with ones and zeros where there is none."""
        given = self.bias if self.weight is None else self.weight
        size = 1 if given is None else given.size
        weight = np.ones(size, dtype) if self.weight is None else self.weight.reshape(-1).astype(dtype)
        return weight, np.zeros(size, dtype) if self.bias is None else self.bias.reshape(-1).astype(dtype)

    def entries(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An affine array broadcast to the shape of x."""
        index = np.arange(self.x.shape[0])[:, None] * self.row_step + np.arange(self.x.shape[1]) // self.inner
        return np.asarray(array[index % array.size])


def batch_norm_rows(
    input: Like,
    running_mean: Like | None = None,
    running_var: Like | None = None,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    training: bool = False,
    layout: str = "NCHW",
) -> Grouped:
    """One row a channel, over (n, h, w)."""
    x, channel = channelled(input, layout)
    count = x.shape[channel]
    axes = (channel, *(a for a in range(x.ndim) if a != channel))
    rows = np.ascontiguousarray(x.transpose(axes)).reshape(count, -1)
    running = [
        _entries(a, (count,), n) for a, n in ((running_mean, "running_mean"), (running_var, "running_var"))
    ]
    given = None
    if not training:
        if running[0] is None or running[1] is None:
            raise ValueError(
                "batch_norm without training needs running_mean and running_var: give both, or training=True"
            )
        given = running[0], running[1]
    elif rows.shape[1] == 0:
        raise ValueError(
            f"batch_norm in training needs elements in each channel, got shape {x.shape}: give some"
        )
    affine = _entries(weight, (count,), "weight"), _entries(bias, (count,), "bias")
    return Grouped(rows, *affine, 1, max(1, rows.shape[1]), axes, x.shape, given)


def layer_norm_rows(
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    bias: Like | None = None,
    centred: bool = True,
    *,
    axes: Any = None,
) -> Grouped:
    """One row for each index of the other axes; affine entries by position in the row."""
    x = operand(input, "input")
    within = normalized_axes(x.shape, normalized_shape, axes)
    shape = [x.shape[a] for a in within]
    order = (*(a for a in range(x.ndim) if a not in within), *within)
    rows = np.ascontiguousarray(x.transpose(order)).reshape(-1, prod(shape))
    affine = _entries(weight, shape, "weight"), _entries(bias, shape, "bias")
    return Grouped(rows, *affine, 0, 1, order, x.shape, None, centred)


def rms_norm_rows(
    input: Like, normalized_shape: Any = None, weight: Like | None = None, *, axes: Any = None
) -> Grouped:
    """As `layer_norm_rows`, with a mean of zero."""
    return layer_norm_rows(input, normalized_shape, weight, centred=False, axes=axes)


def normalized_axes(shape: Sequence[int], normalized_shape: Any, axes: Any) -> tuple[int, ...]:
    """The axes that share statistics, in the input's order: the last ones of `normalized_shape`, or `axes`.

    Raises ValueError unless one of the two is given and fits.
    """
    if (normalized_shape is None) == (axes is None):
        raise ValueError(
            f"a layer is normalized over normalized_shape or axes, one of them, got {normalized_shape!r} and "
            f"{axes!r}: give e.g. axes=[-1]"
        )
    given = normalized_shape if axes is None else axes
    items = tuple(given) if isinstance(given, Sequence | np.ndarray) else (given,)
    rank = len(shape)
    if axes is None:
        if not items or tuple(shape[-len(items) :]) != items or 0 in items:
            raise ValueError(
                f"normalized_shape must be the last, non-empty axes of the input's shape {tuple(shape)}, got "
                f"{items}: give e.g. {list(shape[-1:])}"
            )
        return tuple(range(rank - len(items), rank))
    whole = [a for a in items if isinstance(a, int | np.integer) and not isinstance(a, bool)]
    found = sorted({int(a) % rank for a in whole if -rank <= a < rank})
    if not items or len(found) < len(items) or any(shape[a] == 0 for a in found):
        raise ValueError(
            f"axes must name non-empty axes of the input's shape {tuple(shape)}, each once, got {axes!r}: "
            "give e.g. [-1]"
        )
    return tuple(found)


def group_norm_rows(
    input: Like,
    num_groups: int,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    layout: str = "NCHW",
) -> Grouped:
    """One row for each sample and group, over (c, h, w)."""
    x, channel = channelled(input, layout)
    count = x.shape[channel]
    if (
        isinstance(num_groups, bool)
        or not isinstance(num_groups, int | np.integer)
        or num_groups < 1
        or count % num_groups
    ):
        raise ValueError(
            f"num_groups must be a positive divisor of the {count} channels, got {num_groups!r}: choose one"
        )
    if x.size == 0:
        raise ValueError(f"the input must have elements, got shape {x.shape}: give some")
    axes = (0, channel, *(a for a in range(1, x.ndim) if a != channel))
    pixels = x.size // (x.shape[0] * count)
    rows = np.ascontiguousarray(x.transpose(axes)).reshape(x.shape[0] * num_groups, -1)
    affine = _entries(weight, (count,), "weight"), _entries(bias, (count,), "bias")
    return Grouped(rows, *affine, count // num_groups, pixels, axes, x.shape)


def instance_norm_rows(
    input: Like, weight: Like | None = None, bias: Like | None = None, *, layout: str = "NCHW"
) -> Grouped:
    """One row for each sample and channel."""
    x, channel = channelled(input, layout)
    return group_norm_rows(x, x.shape[channel], weight, bias, layout=layout)


def channelled(input: Like, layout: str, name: str = "input") -> tuple[Single, int]:
    """The array as float32 and its channel axis; raises ValueError."""
    x = operand(input, name)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}: name the layout of your arrays")
    if x.ndim < 2:
        raise ValueError(
            f"the {name} must have a batch and a channel axis, got shape {x.shape}: add the missing axes"
        )
    return x, (x.ndim - 1 if layout == "NHWC" else 1)


def _entries(array: Like | None, shape: Sequence[int], name: str) -> Single | None:
    if array is None:
        return None
    given = operand(array, name)
    if given.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {given.shape}: reshape it")
    return given
