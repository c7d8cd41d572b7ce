"""The truth of transposed convolutions: each is the gradient of a convolution with respect to its input.

Weights lie as in the frameworks: (I, O/groups, *kernel) channels first, (*kernel, O/groups, I) channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference.conv import checked_bias
from reference.geometry import (
    Geometry,
    Sizes,
    check_groups,
    each_axis,
    extents,
    is_channels_last,
    split_shape,
    split_weight,
)
from reference.operands import Like, operand
from reference.padding import Pads, pad_amounts
from reference.plan import solve
from reference.scatter import scatter_plan
from reference.scheme import Plan
from reference.truth import Truth


def conv_transpose1d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Truth:
    """Certified transposed convolution over one axis; see `conv_transpose2d`."""
    return solve(conv_transpose_plan(1, input, weight, bias, **params))


def conv_transpose2d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Truth:
    """Certified transposed convolution, as torch.nn.functional.conv_transpose2d, tf.nn.conv2d_transpose.

    y[n, o, i] = bias[o] + sum over c, j, p of x[n, c, j] * w[c, o, p] where j*stride + p*dilation = i +
    padding in each axis; c runs over the input channels of o's group. Only products with elements of the
    input are terms: nothing is padded.

    layout "NCHW": input (N, I, H, W), weight (I, O/groups, kh, kw) as in torch; "NHWC": input (N, H, W, I),
    weight (kh, kw, O/groups, I) as in TensorFlow. stride, dilation: integers or one an axis.
    padding: what is cropped off the full result; numbers as in `conv2d`; "valid" crops nothing, "same" as
    TensorFlow: size = input * stride, the larger half of the crop after ("same_lower": before).
    output_padding: that much less is cropped after; below the stride or the dilation.
    output_shape: the result's shape; it chooses the output_padding, or the size that "same" leaves.
    magnitude = |bias| + sum |x||w|.

    Raises ValueError for shapes, parameters or dtypes that do not fit.
    """
    return solve(conv_transpose_plan(2, input, weight, bias, **params))


def conv_transpose3d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Truth:
    """Certified transposed convolution over three axes; see `conv_transpose2d`."""
    return solve(conv_transpose_plan(3, input, weight, bias, **params))


def conv_transpose_plan(
    axes: int, input: Like, weight: Like, bias: Like | None = None, **params: Any
) -> Plan:
    """The sums of a transposed convolution, its parameters checked."""
    x, w = operand(input, "input"), operand(weight, "weight")
    geo = transposed_geometry(axes, x.shape, w.shape, **params)
    return scatter_plan(geo, x, w, checked_bias(bias, geo.channels))


def transposed_geometry(
    axes: int,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    layout: str = "NCHW",
    output_shape: Any = None,
) -> Geometry:
    """The convolution whose gradient this is: its `size` is the result's, its `out` the input's.

    Raises ValueError, one line each, for parameters that do not fit.
    """
    last = is_channels_last(layout, axes)
    if len(input_shape) != axes + 2 or len(weight_shape) != axes + 2:
        raise ValueError(
            f"conv_transpose{axes}d takes a {axes + 2}-dimensional input and weight, got shapes "
            f"{tuple(input_shape)} and {tuple(weight_shape)}: add the missing axes"
        )
    n, c, size = split_shape(input_shape, last)
    inputs, per_group, kernel = split_weight(weight_shape, last)
    if inputs != c or min(size) < 1:
        raise ValueError(
            f"the weight must have the input's channels and the input no empty axis, got shapes "
            f"{tuple(input_shape)} and {tuple(weight_shape)}: check the layout {layout}"
        )
    strides, dilations = each_axis(stride, "stride", axes), each_axis(dilation, "dilation", axes)
    count = check_groups(groups, c, c)
    extra = each_axis(output_padding, "output_padding", axes, 0)
    spans = extents(kernel, dilations)
    full = tuple((i - 1) * s + k for i, s, k in zip(size, strides, spans, strict=True))
    wanted = _wanted(output_shape, n, per_group * count, last, axes)
    if wanted is not None and max(extra) > 0:
        raise ValueError(
            f"output_shape chooses the output_padding, got both {output_shape!r} and {output_padding!r}: "
            "leave one out"
        )
    if isinstance(padding, str) and padding.lower() in ("same", "same_lower"):
        out = tuple(i * s for i, s in zip(size, strides, strict=True)) if wanted is None else wanted
        if any(-(-o // s) != i for o, s, i in zip(out, strides, size, strict=True)) or max(extra) > 0:
            raise ValueError(
                f"padding {padding!r} makes ceil(output/stride) = {list(size)} without output_padding, got "
                f"the output {list(out)}, output_padding {output_padding!r}: choose another output_shape"
            )
        crops = [max(f - o, 0) for f, o in zip(full, out, strict=True)]
        pads = tuple((crop // 2, crop - crop // 2) for crop in crops)
        pads = pads if padding.lower() == "same" else tuple((after, before) for before, after in pads)
    else:
        if isinstance(padding, str) and padding.lower() == "same_torch":
            raise ValueError("padding of a transposed convolution cannot be 'same_torch': give numbers")
        pads = pad_amounts(padding, size, spans, strides)
        out = _by_numbers(full, pads, extra, wanted, strides, dilations)
    return Geometry(
        last, n, per_group * count, out, kernel, strides, dilations, pads, "zeros", count, c, size
    )


def _wanted(output_shape: Any, n: int, channels: int, last: bool, axes: int) -> Sizes | None:
    """The sizes that `output_shape` asks for."""
    if output_shape is None:
        return None
    shape = each_axis(output_shape, "output_shape", axes + 2, 0)
    batch, found, sizes = split_shape(shape, last)
    if isinstance(output_shape, int) or (batch, found) != (n, channels) or min(sizes) < 1:
        raise ValueError(
            f"output_shape must be a whole shape of batch {n} and {channels} channels, got {output_shape!r}: "
            "check the layout"
        )
    return sizes


def _by_numbers(
    full: Sizes, pads: Pads, extra: Sizes, wanted: Sizes | None, stride: Sizes, dilation: Sizes
) -> Sizes:
    least = tuple(f - sum(pad) for f, pad in zip(full, pads, strict=True))
    if wanted is not None:
        extra = tuple(w - at for w, at in zip(wanted, least, strict=True))
    limits = [max(s, d) if wanted is None else s for s, d in zip(stride, dilation, strict=True)]
    if any(not 0 <= e < limit for e, limit in zip(extra, limits, strict=True)):
        raise ValueError(
            f"output_padding must be below the stride or the dilation, {limits}, got {list(extra)}: "
            f"without it the output has the sizes {list(least)}"
        )
    out = tuple(at + e for at, e in zip(least, extra, strict=True))
    if min(out) < 1:
        raise ValueError(f"padding must leave an output, got the sizes {list(out)}: pad less")
    return out
