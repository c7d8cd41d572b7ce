"""The geometry of a convolution over any number of axes: what its parameters must be, and its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.padding import MODES, Pads, check_room, pad_amounts

LAYOUTS = ("NCHW", "NHWC")  # for any number of axes: channels first, channels last
LAYOUTS_OF = {
    1: ("NCL", "NLC", *LAYOUTS),
    2: LAYOUTS,
    3: ("NCDHW", "NDHWC", *LAYOUTS),
}
Indices = npt.NDArray[np.int64]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """A cross-correlation, framework-free: one number an axis, in elements, outermost axis first."""

    channels_last: bool
    batch: int
    channels: int
    size: Sizes
    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    padding: Pads  # (before, after) an axis
    mode: str  # what the padding holds: one of padding.MODES
    groups: int
    filters: int
    out: Sizes

    @property
    def terms(self) -> int:
        """Products in one output: C/groups * taps, those with padding included."""
        return self.channels // self.groups * prod(self.kernel)

    def shape(self, channels: int, sizes: Sizes) -> Sizes:
        """The shape of an array of that many channels and of these sizes, in this layout."""
        return (self.batch, *sizes, channels) if self.channels_last else (self.batch, channels, *sizes)


def geometry(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "NCHW",
    padding_mode: str = "zeros",
    axes: int = 2,
    op: str = "conv2d",
) -> Geometry:
    """Check the parameters of a convolution over `axes` axes and work out its geometry.

    Raises ValueError, one line each, for an unknown layout or padding mode, wrong ranks, groups that do not
    divide the channels, channels that do not match, bad strides, dilations or paddings, and a window larger
    than the padded input.
    """
    last = is_channels_last(layout, axes)
    if len(input_shape) != axes + 2 or len(weight_shape) != axes + 2:
        raise ValueError(
            f"{op} takes a {axes + 2}-dimensional input and weight, got shapes {tuple(input_shape)} and "
            f"{tuple(weight_shape)}: add the missing axes"
        )
    n, c, size = split_shape(input_shape, last)
    co, ci, kernel = split_weight(weight_shape, last)
    strides, dilations = each_axis(stride, "stride", axes), each_axis(dilation, "dilation", axes)
    count = check_groups(groups, c, co)
    if ci != c // count:
        raise ValueError(
            f"the weight must have input channels / groups = {c // count} channels, got {ci} "
            f"(shape {tuple(weight_shape)}): check groups and the layout {layout}"
        )
    spans = extents(kernel, dilations)
    pads = pad_amounts(padding, size, spans, strides)
    if padding_mode not in MODES:
        raise ValueError(
            f"padding_mode must be one of {tuple(MODES)}, got {padding_mode!r}: name a known one"
        )
    check_room(padding_mode, pads, size)
    room = [h + sum(p) - k for h, p, k in zip(size, pads, spans, strict=True)]
    if min(room) < 0:
        raise ValueError(
            f"the kernel's extent {spans} must fit in the padded input, which is {tuple(room)} larger: "
            "pad more, or dilate less"
        )
    out = tuple(r // s + 1 for r, s in zip(room, strides, strict=True))
    return Geometry(last, n, c, size, kernel, strides, dilations, pads, padding_mode, count, co, out)


def is_channels_last(layout: str, axes: int) -> bool:
    """Whether `layout` names channels last; the two-dimensional names stand for any number of axes."""
    if not isinstance(layout, str) or layout not in LAYOUTS_OF[axes]:
        raise ValueError(
            f"layout must be one of {LAYOUTS_OF[axes]}, got {layout!r}: name the layout of your arrays"
        )
    return layout.endswith("C")


def split_shape(shape: Sequence[int], last: bool) -> tuple[int, int, Sizes]:
    """(batch, channels, sizes) of an array of activations."""
    return (shape[0], shape[-1], tuple(shape[1:-1])) if last else (shape[0], shape[1], tuple(shape[2:]))


def split_weight(shape: Sequence[int], last: bool) -> tuple[int, int, Sizes]:
    """(outer, inner, kernel) of (outer, inner, *kernel) or, channels last, (*kernel, inner, outer)."""
    if min(shape) < 1:
        raise ValueError(f"a weight has no empty axis, got shape {tuple(shape)}: give at least one tap")
    return (shape[-1], shape[-2], tuple(shape[:-2])) if last else (shape[0], shape[1], tuple(shape[2:]))


def extents(kernel: Sizes, dilation: Sizes) -> Sizes:
    """What a kernel covers: dilation * (kernel - 1) + 1."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def check_groups(groups: Any, inputs: int, outputs: int) -> int:
    """A positive number that divides the channels of both sides."""
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int | np.integer)
        or groups < 1
        or inputs % groups
        or outputs % groups
    ):
        raise ValueError(
            f"groups must divide the {inputs} input and the {outputs} output channels, got {groups!r}: "
            "choose a common divisor"
        )
    return int(groups)


def each_axis(value: Any, name: str, axes: int, least: int = 1) -> Sizes:
    """An integer >= least for all axes, or one for each."""
    items = [value] * axes if isinstance(value, int | np.integer) else value
    if (
        not isinstance(items, Sequence | np.ndarray)
        or isinstance(items, str)
        or len(items) != axes
        or any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < least for i in items)
    ):
        raise ValueError(
            f"{name} must be an integer >= {least} or {axes} of them, got {value!r}: "
            f"give e.g. {max(least, 1)} or {[max(least, 2)] * axes}"
        )
    return tuple(int(i) for i in items)
