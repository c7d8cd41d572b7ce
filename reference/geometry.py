"""The index arithmetic of a convolution: shapes, padding rules, and where each product finds its operand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

LAYOUTS = ("NCHW", "NHWC")
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """A two-dimensional cross-correlation, framework-free. Sizes in elements."""

    channels_last: bool
    batch: int
    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, bottom, left, right
    groups: int
    filters: int
    out: tuple[int, int]

    @property
    def terms(self) -> int:
        """Products in one output: C/groups * kh * kw, those with padding included."""
        return self.channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> int:
        """Output pixels of the whole batch."""
        return self.batch * self.out[0] * self.out[1]

    @cached_property
    def packed(self) -> Indices:
        """What the compiled kernels need, as one array: see `columns`."""
        c, h, w = self.channels, self.height, self.width
        strides = (h * w * c, w * c, c, 1) if self.channels_last else (c * h * w, w, 1, h * w)
        return np.array([*self.out, *self.stride, self.padding[0], self.padding[2], h, w, *strides,
                         c // self.groups], np.int64)  # fmt: skip

    @cached_property
    def taps(self) -> tuple[Indices, Indices, Indices]:
        """For product k of an output: row offset, column offset, channel; k follows the weight's layout."""
        kh, kw = self.kernel
        c = self.channels // self.groups
        if self.channels_last:
            rows, cols, channel = np.indices((kh, kw, c), np.int64).reshape(3, -1)
        else:
            channel, rows, cols = np.indices((c, kh, kw), np.int64).reshape(3, -1)
        return rows * self.dilation[0], cols * self.dilation[1], channel.copy()


def geometry(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "NCHW",
) -> Geometry:
    """Check the parameters of a convolution and work out its geometry.

    Raises ValueError, one line each, for an unknown layout, wrong ranks, groups that do not divide the
    channels, channels that do not match, bad strides, dilations or paddings, and a window larger than the
    padded input.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}: name the layout of your arrays")
    if len(input_shape) != 4 or len(weight_shape) != 4:
        raise ValueError(
            f"conv2d takes a 4-dimensional input and weight, got shapes {tuple(input_shape)} and "
            f"{tuple(weight_shape)}: add the missing axes"
        )
    last = layout == "NHWC"
    n, h, w, c = input_shape if last else (input_shape[0], *input_shape[2:], input_shape[1])
    kh, kw, ci, co = weight_shape if last else (*weight_shape[2:], weight_shape[1], weight_shape[0])
    if min(kh, kw, ci, co) < 1:
        raise ValueError(
            f"a weight has no empty axis, got shape {tuple(weight_shape)}: give at least one tap"
        )
    strides, dilations = pair(stride, "stride"), pair(dilation, "dilation")
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int | np.integer)
        or groups < 1
        or c % groups
        or co % groups
    ):
        raise ValueError(
            f"groups must divide the {c} input and the {co} output channels, got {groups!r}: "
            "choose a common divisor"
        )
    if ci != c // groups:
        raise ValueError(
            f"the weight must have input channels / groups = {c // groups} channels, got {ci} "
            f"(shape {tuple(weight_shape)}): check groups and the layout {layout}"
        )
    spans = (dilations[0] * (kh - 1) + 1, dilations[1] * (kw - 1) + 1)
    pads = pad_amounts(padding, (h, w), spans, strides)
    room = (h + pads[0] + pads[1] - spans[0], w + pads[2] + pads[3] - spans[1])
    if min(room) < 0:
        raise ValueError(
            f"the kernel's extent {spans} must fit in the padded input, which is {room} larger: "
            "pad more, or dilate less"
        )
    out = (room[0] // strides[0] + 1, room[1] // strides[1] + 1)
    return Geometry(last, n, c, h, w, (kh, kw), strides, dilations, pads, int(groups), co, out)


def pair(value: Any, name: str) -> tuple[int, int]:
    """A positive integer or two of them (vertical, horizontal)."""
    items = [value, value] if isinstance(value, int | np.integer) else value
    if (
        not isinstance(items, Sequence | np.ndarray)
        or isinstance(items, str)
        or len(items) != 2
        or any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 1 for i in items)
    ):
        raise ValueError(
            f"{name} must be a positive integer or two of them, got {value!r}: give e.g. 1 or [2, 2]"
        )
    return int(items[0]), int(items[1])


def pad_amounts(
    padding: Any, size: tuple[int, int], span: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Padding as (top, bottom, left, right) zeros.

    "same" is TensorFlow's rule: ceil(size/stride) outputs, total = max((out - 1)*stride + span - size, 0),
    the larger half below and to the right. One integer pads all sides, two pad (vertical, horizontal).
    """
    if isinstance(padding, str):
        if padding.lower() == "valid":
            return 0, 0, 0, 0
        if padding.lower() == "same":
            total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, span, stride, strict=True)]
            return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2
    items = [padding] if isinstance(padding, int | np.integer) else padding
    good = isinstance(items, Sequence | np.ndarray) and not isinstance(items, str) and len(items) in (1, 2, 4)
    if not good or any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 0 for i in items):
        raise ValueError(
            f"padding must be 'same', 'valid', or 1, 2 or 4 integers >= 0 (top, bottom, left, right), "
            f"got {padding!r}: give e.g. [1, 2, 1, 2]"
        )
    sides = [int(i) for i in items]
    if len(sides) == 4:
        return sides[0], sides[1], sides[2], sides[3]
    return sides[0], sides[0], sides[-1], sides[-1]
