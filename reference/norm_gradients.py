"""The truth of the gradients of the normalizations, given the gradient of a loss with respect to y.

y = (x - m) r w + b with r = 1 / sqrt(v + eps) over groups of N elements, as `reference.norm` has it. With
g = dy w, x' = (x - m) r and dy = grad_output:

    input   dx = r (g - sum(g)/N - x' sum(g x')/N)   statistics of the batch
            dx = r (g - x' sum(g x')/N)              rms_norm, where m is 0
            dx = r g                                 batch_norm without training: statistics are constants
    weight  dw = sum dy x'                           over all elements that share the entry of the weight
    bias    db = sum dy

magnitude is the sum of the absolute terms: r (|g| + |sum(g)/N| + |x' sum(g x')/N|), sum |dy x'|, sum |dy|. An
input gradient is a fraction times one root, a weight gradient a sum of such numbers, a bias gradient a
fraction: a gradient that is zero comes out as exactly zero.

NaN and infinity in x or dy, and rows with v + eps = 0, have what IEEE 754 makes of the formulas above, the
signs of x - m being the exact ones. Every function raises ValueError as its normalization does, and for a
grad_output of another shape than the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference.gradient_rows import input_gradient, weight_gradient
from reference.grouped import (
    Like,
    batch_norm_rows,
    channelled,
    group_norm_rows,
    instance_norm_rows,
    layer_norm_rows,
    normalized_axes,
    rms_norm_rows,
)
from reference.norm import check_eps
from reference.operands import operand
from reference.reductions import sum_
from reference.truth import Truth


def batch_norm_input_grad(
    grad_output: Like,
    input: Like,
    running_mean: Like | None = None,
    running_var: Like | None = None,
    weight: Like | None = None,
    *,
    training: bool = False,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Truth:
    """Certified dx of `reference.batch_norm`; in training through the statistics too."""
    rows = batch_norm_rows(input, running_mean, running_var, weight, training=training, layout=layout)
    return input_gradient(rows, grad_output, check_eps(eps))


def batch_norm_weight_grad(
    grad_output: Like,
    input: Like,
    running_mean: Like | None = None,
    running_var: Like | None = None,
    *,
    training: bool = False,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Truth:
    """Certified dw of `reference.batch_norm`: one number a channel."""
    rows = batch_norm_rows(input, running_mean, running_var, training=training, layout=layout)
    return weight_gradient(rows, grad_output, check_eps(eps), rows.x.shape[:1])


def batch_norm_bias_grad(grad_output: Like, *, layout: str = "NCHW") -> Truth:
    """Certified db of `reference.batch_norm`: the sum of each channel."""
    return _channel_sums(grad_output, layout)


def layer_norm_input_grad(
    grad_output: Like,
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    *,
    eps: float = 1e-5,
    axes: Any = None,
) -> Truth:
    """Certified dx of `reference.layer_norm`."""
    rows = layer_norm_rows(input, normalized_shape, weight, axes=axes)
    return input_gradient(rows, grad_output, check_eps(eps))


def layer_norm_weight_grad(
    grad_output: Like, input: Like, normalized_shape: Any = None, *, eps: float = 1e-5, axes: Any = None
) -> Truth:
    """Certified dw of `reference.layer_norm`, summed over the axes that are not normalized."""
    rows = layer_norm_rows(input, normalized_shape, axes=axes)
    shape = normalized_sizes(rows.shape, normalized_shape, axes)
    return weight_gradient(rows, grad_output, check_eps(eps), shape)


def layer_norm_bias_grad(grad_output: Like, normalized_shape: Any = None, *, axes: Any = None) -> Truth:
    """Certified db of `reference.layer_norm`: the sum over the axes that are not normalized."""
    rows = layer_norm_rows(operand(grad_output, "grad_output"), normalized_shape, axes=axes)
    shape = normalized_sizes(rows.shape, normalized_shape, axes)
    return sum_(rows.x, dim=0).arranged(lambda a: a.reshape(shape))


def group_norm_input_grad(
    grad_output: Like,
    input: Like,
    num_groups: int,
    weight: Like | None = None,
    *,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Truth:
    """Certified dx of `reference.group_norm`."""
    rows = group_norm_rows(input, num_groups, weight, layout=layout)
    return input_gradient(rows, grad_output, check_eps(eps))


def group_norm_weight_grad(
    grad_output: Like, input: Like, num_groups: int, *, eps: float = 1e-5, layout: str = "NCHW"
) -> Truth:
    """Certified dw of `reference.group_norm`: one number a channel, summed over the samples."""
    rows = group_norm_rows(input, num_groups, layout=layout)
    return weight_gradient(rows, grad_output, check_eps(eps), (rows.row_step * num_groups,))


def group_norm_bias_grad(grad_output: Like, *, layout: str = "NCHW") -> Truth:
    """Certified db of `reference.group_norm`: the sum of each channel."""
    return _channel_sums(grad_output, layout)


def instance_norm_input_grad(
    grad_output: Like, input: Like, weight: Like | None = None, *, eps: float = 1e-5, layout: str = "NCHW"
) -> Truth:
    """Certified dx of `reference.instance_norm`."""
    rows = instance_norm_rows(input, weight, layout=layout)
    return input_gradient(rows, grad_output, check_eps(eps))


def instance_norm_weight_grad(
    grad_output: Like, input: Like, *, eps: float = 1e-5, layout: str = "NCHW"
) -> Truth:
    """Certified dw of `reference.instance_norm`: one number a channel, summed over the samples."""
    rows = instance_norm_rows(input, layout=layout)
    channels = np.shape(input)[-1 if layout == "NHWC" else 1]
    return weight_gradient(rows, grad_output, check_eps(eps), (channels,))


def instance_norm_bias_grad(grad_output: Like, *, layout: str = "NCHW") -> Truth:
    """Certified db of `reference.instance_norm`: the sum of each channel."""
    return _channel_sums(grad_output, layout)


def rms_norm_input_grad(
    grad_output: Like,
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    *,
    eps: float = 2.0**-23,
    axes: Any = None,
) -> Truth:
    """Certified dx of `reference.rms_norm`."""
    rows = rms_norm_rows(input, normalized_shape, weight, axes=axes)
    return input_gradient(rows, grad_output, check_eps(eps))


def rms_norm_weight_grad(
    grad_output: Like, input: Like, normalized_shape: Any = None, *, eps: float = 2.0**-23, axes: Any = None
) -> Truth:
    """Certified dw of `reference.rms_norm`, summed over the axes that are not normalized."""
    rows = rms_norm_rows(input, normalized_shape, axes=axes)
    shape = normalized_sizes(rows.shape, normalized_shape, axes)
    return weight_gradient(rows, grad_output, check_eps(eps), shape)


def _channel_sums(grad_output: Like, layout: str) -> Truth:
    gradient, channel = channelled(grad_output, layout, "grad_output")
    return sum_(gradient, dim=[a for a in range(gradient.ndim) if a != channel])


def normalized_sizes(shape: Sequence[int], normalized_shape: Any, axes: Any) -> tuple[int, ...]:
    """The weight's shape, for an input of this one."""
    return tuple(int(shape[a]) for a in normalized_axes(shape, normalized_shape, axes))
