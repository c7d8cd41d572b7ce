"""Declared padding as explicit amounts, for the calls that take nothing else; and the check of the layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from precision.errors import CannotRun

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Crop:
    """What a transposed convolution leaves of its full result: (before, after) cut off, and the sizes."""

    pads: Pairs
    out: Sizes
    full: Sizes


def explicit_padding(
    padding: Any, size: Sequence[int], kernel: Sequence[int], stride: Any, dilation: Any
) -> Pairs:
    """Return (before, after) of each axis for a declared padding.

    `padding` is a number, one an axis, two an axis, "valid", "same" by TensorFlow's rule:
    max((ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) pixels an axis, the odd one at the end
    (TensorFlow guide, "Padding" notes of tf.nn), "same_lower" with the odd one at the start, or
    "same_torch": (k - 1) * d pixels, the odd one at the end (torch.nn.functional.conv2d).
    """
    axes = len(size)
    if isinstance(padding, str):
        rule = padding.lower()
        if rule == "valid":
            return ((0, 0),) * axes
        strides, dilations = per_axis(stride, axes), per_axis(dilation, axes)
        if rule == "same_torch":
            totals = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        elif rule in ("same", "same_lower"):
            totals = [
                max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
                for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
            ]
        else:
            raise ValueError(f"padding is a known rule or numbers, got {padding!r}: give e.g. 'same'")
        return _halves(totals, rule == "same_lower")
    values = [padding] if isinstance(padding, int) else [int(value) for value in padding]
    if len(values) == 2 * axes:
        return tuple((values[2 * i], values[2 * i + 1]) for i in range(axes))
    values = values * axes if len(values) == 1 else values
    return tuple((value, value) for value in values)


def transposed_crop(p: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]) -> Crop:
    """Return what the declared padding, output_padding and output_shape leave of the full result.

    The full result has (n - 1) * s + (k - 1) * d + 1 elements an axis; numbers cut that much off it, less
    output_padding at the end; "same" leaves n * s elements, or as many as output_shape says, and cuts the
    larger half off the end ("same_lower": the start); see tf.nn.conv2d_transpose.
    """
    axes = len(size)
    strides, dilations = per_axis(p.get("stride", 1), axes), per_axis(p.get("dilation", 1), axes)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = tuple((n - 1) * s + k for n, s, k in zip(size, strides, spans, strict=True))
    padding, wanted = p.get("padding", 0), p.get("output_shape")
    sizes = None if wanted is None else tuple(int(n) for n in wanted[2:])
    if isinstance(padding, str) and padding.lower() in ("same", "same_lower"):
        out = tuple(n * s for n, s in zip(size, strides, strict=True)) if sizes is None else sizes
        totals = [max(f - o, 0) for f, o in zip(full, out, strict=True)]
        return Crop(_halves(totals, padding.lower() == "same_lower"), out, full)
    pads = explicit_padding(padding, size, kernel, strides, dilations)
    if sizes is None:
        extra = per_axis(p.get("output_padding", 0), axes)
        sizes = tuple(f - sum(pad) + e for f, pad, e in zip(full, pads, extra, strict=True))
    return Crop(pads, sizes, full)


def per_axis(value: Any, axes: int) -> Sizes:
    """Return a number for all axes, or one for each, as one for each."""
    return (value,) * axes if isinstance(value, int) else tuple(int(item) for item in value)


def check_layout(p: Mapping[str, Any]) -> None:
    """Refuse declarations in channels-last arrays: drivers take channels first and turn it themselves."""
    layout = str(p.get("layout", "NCHW"))
    if layout.endswith("C"):
        raise CannotRun(f"the drivers take arrays with channels first, got layout {layout!r}: transpose them")


def _halves(totals: Sequence[int], larger_first: bool) -> Pairs:
    halves = tuple((total // 2, total - total // 2) for total in totals)
    return tuple((after, before) for before, after in halves) if larger_first else halves
