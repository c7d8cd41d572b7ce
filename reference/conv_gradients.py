"""The truth of the gradients of convolutions, transposed convolutions and linear layers.

All are linear in grad_output, and sums of products again. Names, arrays and shapes as in torch.nn.grad;
parameters and layouts as the op itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reference.conv import activation_strides, window_plan
from reference.conv_transpose import transposed_geometry
from reference.geometry import Geometry, geometry, is_channels_last, split_shape
from reference.matmul import matmul_plan, shape_of
from reference.operands import Like, Single, operand
from reference.padding import padded
from reference.scatter import scatter_plan
from reference.scheme import Part, Plan, Scheme, lattice


def conv_input_grad_plan(
    axes: int, grad_output: Like, weight: Like, *, input_size: Any, **params: Any
) -> Plan:
    """dx[n, c, i] = sum over o, j, p with j*stride + p*dilation = i + padding of g[n, o, j] * w[o, c, p].

    With a padding mode that copies the input, i + padding stands for every place of element i in the padded
    input: the products of all its copies are one sum.
    """
    g, w = operand(grad_output, "grad_output"), operand(weight, "weight")
    geo = _geometry(axes, shape_of(input_size, "input_size"), w.shape, params)
    _check("grad_output", g.shape, geo.shape(geo.filters, geo.out))
    return scatter_plan(geo, g, w)


def conv_weight_grad_plan(
    axes: int, grad_output: Like, input: Like, *, weight_size: Any, **params: Any
) -> Plan:
    """dw[o, c, p] = sum over n, j of g[n, o, j] * x[n, c, j*stride + p*dilation - padding], the padding's
    zeros, or what its mode copies there, being terms."""
    g, x = operand(grad_output, "grad_output"), operand(input, "input")
    geo = _geometry(axes, x.shape, shape_of(weight_size, "weight_size"), params)
    _check("grad_output", g.shape, geo.shape(geo.filters, geo.out))
    return _correlation_plan(geo, x, g)


def channel_sum_plan(axes: int, grad_output: Like, *, layout: str = "NCHW") -> Plan:
    """db[o] = sum over n, j of g[n, o, j]."""
    g = operand(grad_output, "grad_output")
    last = is_channels_last(layout, axes)
    if g.ndim != axes + 2:
        raise ValueError(
            f"grad_output must have {axes + 2} axes, got the shape {g.shape}: add the missing axes"
        )
    batch, channels, sizes = split_shape(g.shape, last)
    outer, channel, inner = activation_strides(g.shape, last)
    return _sum_plan(g, channels, channel, (batch, *sizes), (outer, *inner))


def conv_transpose_input_grad_plan(
    axes: int, grad_output: Like, weight: Like, *, input_size: Any, **params: Any
) -> Plan:
    """dx[n, c, j] = sum over o, p of g[n, o, j*stride + p*dilation - padding] * w[c, o, p]: a convolution.

    Zeros beyond the border of g are terms.
    """
    g, w = operand(grad_output, "grad_output"), operand(weight, "weight")
    geo = transposed_geometry(axes, shape_of(input_size, "input_size"), w.shape, **params)
    _check("grad_output", g.shape, geo.shape(geo.channels, geo.size))
    return window_plan(geo, _padded_to_reach(geo, g), w)


def conv_transpose_weight_grad_plan(
    axes: int, grad_output: Like, input: Like, *, weight_size: Any, **params: Any
) -> Plan:
    """dw[c, o, p] = sum over n, j of x[n, c, j] * g[n, o, j*stride + p*dilation - padding].

    Zeros beyond the border of g are terms.
    """
    g, x = operand(grad_output, "grad_output"), operand(input, "input")
    geo = transposed_geometry(axes, x.shape, shape_of(weight_size, "weight_size"), **params)
    _check("grad_output", g.shape, geo.shape(geo.channels, geo.size))
    return _correlation_plan(geo, g, x)


def linear_input_grad_plan(grad_output: Like, weight: Like) -> Plan:
    """dx = g @ weight: grad_output (..., O), weight (O, K)."""
    g, w = operand(grad_output, "grad_output"), operand(weight, "weight")
    if g.ndim < 1 or w.ndim != 2 or g.shape[-1] != w.shape[0]:
        raise ValueError(
            f"linear_input_grad takes grad_output (..., O) and weight (O, K), got {g.shape} and {w.shape}: "
            "check the shapes"
        )
    parts = matmul_plan(g.reshape(prod(g.shape[:-1]), g.shape[-1]), w).parts
    return Plan((*g.shape[:-1], w.shape[1]), parts)


def linear_weight_grad_plan(grad_output: Like, input: Like) -> Plan:
    """dw[o, k] = sum over the rows of g[row, o] * x[row, k]."""
    g, x = operand(grad_output, "grad_output"), operand(input, "input")
    if g.ndim < 1 or g.ndim != x.ndim or g.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"linear_weight_grad takes grad_output (..., O) and input (..., K) with the same rows, got "
            f"{g.shape} and {x.shape}: check the shapes"
        )
    rows = prod(g.shape[:-1])
    return matmul_plan(g.reshape(rows, g.shape[-1]).T, x.reshape(rows, x.shape[-1]))


def linear_bias_grad_plan(grad_output: Like) -> Plan:
    """db[o] = sum over the rows of g[row, o]."""
    g = operand(grad_output, "grad_output")
    if g.ndim < 1:
        raise ValueError("grad_output must have at least one axis, got a number: reshape it")
    return _sum_plan(g, g.shape[-1], 1, (prod(g.shape[:-1]),), (g.shape[-1],))


def _geometry(axes: int, input_shape: Sequence[int], weight_shape: Sequence[int], params: Any) -> Geometry:
    geo = geometry(input_shape, weight_shape, axes=axes, op=f"conv{axes}d", **params)
    if min(geo.size) < 1 or geo.channels < 1:
        raise ValueError(f"the input must have no empty axis, got {tuple(input_shape)}: check its shape")
    return geo


def _check(name: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if given != wanted:
        raise ValueError(
            f"{name} must have the op's output shape {wanted}, got {given}: check the parameters"
        )


def _padded_to_reach(geo: Geometry, big: Single) -> Single:
    """The large side padded as far as the window reaches: less than declared where outputs were added."""
    reach = [
        (o - 1) * s + d * (k - 1) + 1 - before - n
        for o, s, d, k, (before, _), n in zip(
            geo.out, geo.stride, geo.dilation, geo.kernel, geo.padding, geo.size, strict=True
        )
    ]
    pads = tuple((before, max(0, after)) for (before, _), after in zip(geo.padding, reach, strict=True))
    return padded(big, pads, geo.channels_last, geo.mode)


def _correlation_plan(geo: Geometry, big: Single, small: Single) -> Plan:
    """The gradient with respect to the weight: positions are (channel, tap), terms (image, output pixel)."""
    filled = _padded_to_reach(geo, big)
    outer, channel, inner = activation_strides(filled.shape, geo.channels_last)
    moves = [s * move for s, move in zip(inner, geo.stride, strict=True)]
    steps = [s * move for s, move in zip(inner, geo.dilation, strict=True)]
    per_group, each = geo.channels // geo.groups, geo.filters // geo.groups
    if geo.channels_last:
        shape = (*geo.kernel, per_group, geo.filters)
        starts, run, step = lattice(geo.kernel, steps), per_group, channel
        weight = small.reshape(-1, geo.groups, each).transpose(1, 2, 0)
    else:
        shape = (geo.filters, per_group, *geo.kernel)
        starts = lattice((per_group, *geo.kernel[:-1]), (channel, *steps[:-1]))
        run, step = geo.kernel[-1], steps[-1]
        weight = np.ascontiguousarray(small.swapaxes(0, 1)).reshape(geo.groups, each, -1)
    scheme = Scheme(
        starts,
        run,
        step,
        offsets=lattice((geo.batch, *geo.out), (outer, *moves)),
        groups=lattice((geo.groups,), (per_group * channel,)),
        last=geo.channels_last,
    )
    return Plan(shape, (Part(scheme, filled.reshape(-1), weight),))


def _sum_plan(
    g: Single, channels: int, channel: int, counts: tuple[int, ...], strides: tuple[int, ...]
) -> Plan:
    zero = np.zeros(1, np.int64)
    offsets = lattice(counts, strides)
    scheme = Scheme(zero, channels, channel, offsets, zero, last=channel != 1)
    ones = np.ones((1, 1, offsets.size), np.float32)
    return Plan((channels,), (Part(scheme, g.reshape(-1), ones),))
