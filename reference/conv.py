"""The truth of convolutions over one, two or three axes, and of linear layers."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from reference.formats import Array
from reference.geometry import Geometry, geometry
from reference.operands import Like, Single, operand
from reference.padding import padded
from reference.plan import solve
from reference.scheme import Part, Plan, Scheme, View, lattice, strides_of
from reference.truth import Truth

PART = 1 << 21  # outputs of a part: 64 MiB of value, residual, bound and magnitude


def conv2d(
    input: Like,
    weight: Like,
    bias: Like | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "NCHW",
    padding_mode: str = "zeros",
) -> Truth:
    """Certified two-dimensional cross-correlation, as in torch.nn.functional.conv2d and tf.nn.conv2d.

    y[n, o, i, j] = bias[o] + sum over c, p, q of x[n, c, i*stride + p*dilation - top, j*stride + q*dilation -
    left] * w[o, c, p, q], with zeros (which are terms) outside the input; c runs over the input channels of
    o's group.

    layout "NCHW": input (N, C, H, W), weight (O, C/groups, kh, kw), result (N, O, oh, ow).
    layout "NHWC": input (N, H, W, C), weight (kh, kw, C/groups, O), result (N, oh, ow, O).
    padding: an integer, [vertical, horizontal], [top, bottom, left, right], "valid", "same" by TensorFlow's
    rule (the larger half below and to the right), "same_lower" (above and to the left), or "same_torch"
    (stride 1 only). padding_mode: "zeros", "reflect", "replicate" or "circular", as in torch.nn.Conv2d.
    magnitude = |bias| + sum |x||w|.

    Raises ValueError for shapes, parameters or dtypes that do not fit; see `operand` for the dtypes.
    """
    return solve(
        conv_plan(
            2,
            input,
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            layout=layout,
            padding_mode=padding_mode,
        )
    )


def conv1d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Truth:
    """Certified one-dimensional cross-correlation; parameters as `conv2d`, padding [left, right].

    layout "NCL": input (N, C, L), weight (O, C/groups, k); "NLC": input (N, L, C), weight (k, C/groups, O).
    """
    return solve(conv_plan(1, input, weight, bias, **params))


def conv3d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Truth:
    """Certified three-dimensional cross-correlation; parameters as `conv2d`, padding [front, back, top,
    bottom, left, right].

    layout "NCDHW": weight (O, C/groups, kd, kh, kw); "NDHWC": weight (kd, kh, kw, C/groups, O).
    """
    return solve(conv_plan(3, input, weight, bias, **params))


def linear(input: Like, weight: Like, bias: Like | None = None) -> Truth:
    """Certified y = x @ weight.T + bias over the last axis: input (..., K), weight (O, K), bias (O,).

    magnitude = |bias| + sum |x||w|. Raises ValueError for shapes or dtypes that do not fit.
    """
    return solve(linear_plan(input, weight, bias))


def conv_plan(axes: int, input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Plan:
    """The sums of a convolution over `axes` axes, its parameters checked."""
    x, w = operand(input, "input"), operand(weight, "weight")
    geo = geometry(x.shape, w.shape, axes=axes, op=f"conv{axes}d", **params)
    filled = padded(x, geo.padding, geo.channels_last, geo.mode)
    return window_plan(geo, filled, w, checked_bias(bias, geo.filters))


def window_plan(geo: Geometry, filled: Single, w: Single, bias: Array | None = None) -> Plan:
    """The sums of a convolution over its padded input.

    Sums of a channels-first layout lie as (filters, batch, ...): with more than one image they have to be
    rearranged, a few images at a time.
    """
    weight, shape = conv_weight(geo, w), geo.shape(geo.filters, geo.out)
    if geo.channels_last or geo.batch <= 1:
        return Plan(shape, (Part(conv_scheme(geo, filled.shape), filled.reshape(-1), weight, bias),))
    count = max(1, PART // (geo.filters * prod(geo.out)))
    parts = []
    for first in range(0, geo.batch, count):
        images = slice(first, min(first + count, geo.batch))
        some = replace(geo, batch=images.stop - first)
        scheme = conv_scheme(some, filled.shape)
        parts.append(Part(scheme, filled[images].reshape(-1), weight, bias, view=_images(images)))
    return Plan(shape, tuple(parts))


def _images(images: slice) -> View:
    return lambda whole: whole[images].swapaxes(0, 1)


def conv_scheme(geo: Geometry, shape: tuple[int, ...]) -> Scheme:
    """Where the sums of a convolution find their elements of the padded input, of this shape."""
    outer, channel, inner = activation_strides(shape, geo.channels_last)
    moves = [s * move for s, move in zip(inner, geo.stride, strict=True)]
    steps = [s * move for s, move in zip(inner, geo.dilation, strict=True)]
    per_group = geo.channels // geo.groups
    if geo.channels_last:
        offsets = lattice((*geo.kernel, per_group), (*steps, channel))
    else:
        offsets = lattice((per_group, *geo.kernel), (channel, *steps))
    return Scheme(
        starts=lattice((geo.batch, *geo.out[:-1]), (outer, *moves[:-1])),
        run=geo.out[-1],
        step=moves[-1],
        offsets=offsets,
        groups=lattice((geo.groups,), (per_group * channel,)),
        last=geo.channels_last,
    )


def activation_strides(shape: tuple[int, ...], last: bool) -> tuple[int, int, tuple[int, ...]]:
    """Strides of (batch, channel, the other axes) of activations."""
    found = strides_of(shape)
    return (found[0], found[-1], found[1:-1]) if last else (found[0], found[1], found[2:])


def conv_weight(geo: Geometry, w: Single) -> Single:
    """The weight as (groups, filters/group, terms)."""
    each = geo.filters // geo.groups
    if geo.channels_last:
        w = w.reshape(geo.terms, geo.groups, each).transpose(1, 2, 0)
    return w.reshape(geo.groups, each, geo.terms)


def linear_plan(input: Like, weight: Like, bias: Like | None = None) -> Plan:
    """The sums of a linear layer: one position a row of the input."""
    x, w = operand(input, "input"), operand(weight, "weight")
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1] or w.size == 0:
        raise ValueError(
            f"linear takes input (..., K) and weight (O, K), got shapes {x.shape} and {w.shape}: "
            "transpose the weight if it is (K, O)"
        )
    outputs, count = w.shape
    rows = x.size // count
    zero = np.zeros(1, np.int64)
    scheme = Scheme(zero, rows, count, lattice((count,), (1,)), zero, last=True)
    part = Part(scheme, x.reshape(-1), w.reshape(1, outputs, count), checked_bias(bias, outputs))
    return Plan((*x.shape[:-1], outputs), (part,))


def checked_bias(bias: Like | None, outputs: int) -> Array | None:
    """One number for each output, as float64; None where there is no bias."""
    if bias is None:
        return None
    b = operand(bias, "bias")
    if b.shape != (outputs,):
        raise ValueError(
            f"bias must have one number for each of the {outputs} outputs, got shape {b.shape}: reshape it"
        )
    return b.astype(np.float64)
