"""The windows of a pooling: their number, their elements, and what they count as an average's divisor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from reference.geometry import Sizes, each_axis, extents, is_channels_last, split_shape
from reference.padding import Pads, pad_amounts
from reference.scheme import Indices


@dataclass(frozen=True)
class Window:
    """The geometry of a pooling: one number an axis, in elements."""

    last: bool
    batch: int
    channels: int
    size: Sizes
    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    padding: Pads  # as declared
    out: Sizes
    by_rule: bool  # whether the padding is "same" or its like, which never counts

    @property
    def shape(self) -> Sizes:
        if self.last:
            return (self.batch, *self.out, self.channels)
        return (self.batch, self.channels, *self.out)

    @property
    def reach(self) -> Pads:
        """Padding as far as the windows go, which ceil_mode carries beyond the declared one."""
        ends = [
            (o - 1) * s + k - before - n
            for o, s, k, (before, _), n in zip(
                self.out,
                self.stride,
                extents(self.kernel, self.dilation),
                self.padding,
                self.size,
                strict=True,
            )
        ]
        return tuple((before, max(0, end)) for (before, _), end in zip(self.padding, ends, strict=True))

    def counts(self, with_padding: bool) -> Indices:
        """Elements of each window, (out): those of the padded input, or those of the input alone."""
        each = []
        for o, s, k, d, (before, after), n in zip(
            self.out, self.stride, self.kernel, self.dilation, self.padding, self.size, strict=True
        ):
            low, high = (-before, n + after) if with_padding else (0, n)
            at = np.arange(o)[:, None] * s - before + np.arange(k) * d
            each.append(((at >= low) & (at < high)).sum(axis=1, dtype=np.int64))
        return reduce(np.multiply.outer, each)


def window(
    axes: int,
    input_shape: Sequence[int],
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    layout: str = "NCHW",
) -> Window:
    """Check the parameters of a pooling over `axes` axes and work out its windows.

    Raises ValueError, one line each, for ranks, sizes or paddings that do not fit, and where a window would
    hold no element of the input.
    """
    last = is_channels_last(layout, axes)
    if len(input_shape) != axes + 2:
        raise ValueError(
            f"a pooling over {axes} axes takes {axes + 2}-dimensional input, got the shape "
            f"{tuple(input_shape)}: add the missing axes"
        )
    if not isinstance(ceil_mode, bool):
        raise ValueError(f"ceil_mode must be True or False, got {ceil_mode!r}: give one of them")
    n, c, size = split_shape(input_shape, last)
    kernel = each_axis(kernel_size, "kernel_size", axes)
    strides = kernel if stride is None else each_axis(stride, "stride", axes)
    dilations = each_axis(dilation, "dilation", axes)
    spans = extents(kernel, dilations)
    if isinstance(padding, str) and padding.lower() == "same_torch":
        raise ValueError("padding of a pooling cannot be 'same_torch': give 'same' or numbers")
    pads = pad_amounts(padding, size, spans, strides)
    out = []
    for m, pad, span, move in zip(size, pads, spans, strides, strict=True):
        room = m + sum(pad) - span
        count = (-(-room // move) if ceil_mode else room // move) + 1
        if ceil_mode and (count - 1) * move >= m + pad[0]:
            count -= 1  # the last window begins inside the input or the padding before it
        if room < 0 or count < 1:
            raise ValueError(
                f"the window's extent {spans} must fit in the padded input, got the sizes {size} and the "
                f"padding {pads}: pad more"
            )
        out.append(count)
    by_rule = isinstance(padding, str) and padding.lower() != "valid"
    found = Window(last, n, c, size, kernel, strides, dilations, pads, tuple(out), by_rule)
    if not found.counts(with_padding=False).all():
        raise ValueError(
            f"every window must hold an element of the input, got the padding {pads} and the kernel "
            f"{kernel}: pad less"
        )
    return found
