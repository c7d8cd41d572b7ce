"""The truth of conv2d and linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference.dot import certify
from reference.geometry import Geometry, geometry
from reference.operands import Single, operand
from reference.truth import Truth

Problem = tuple[Geometry, Single, Single, Single | None]


def conv2d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "NCHW",
) -> Truth:
    """Certified two-dimensional cross-correlation, as in torch.nn.functional.conv2d and tf.nn.conv2d.

    y[n, o, i, j] = bias[o] + sum over c, p, q of x[n, c, i*stride + p*dilation - top, j*stride + q*dilation -
    left] * w[o, c, p, q], with zeros (which are terms) outside the input; c runs over the input channels of
    o's group.

    layout "NCHW": input (N, C, H, W), weight (O, C/groups, kh, kw), result (N, O, oh, ow).
    layout "NHWC": input (N, H, W, C), weight (kh, kw, C/groups, O), result (N, oh, ow, O).
    padding: an integer, [vertical, horizontal], [top, bottom, left, right], "valid", or "same" by
    TensorFlow's rule (the larger half below and to the right). magnitude = |bias| + sum |x||w|.

    Raises ValueError for shapes, parameters or dtypes that do not fit; see `operand` for the dtypes.
    """
    return certify(
        *conv2d_problem(
            input,
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            layout=layout,
        )
    )


def linear(input: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Truth:
    """Certified y = x @ weight.T + bias over the last axis: input (..., K), weight (O, K), bias (O,).

    magnitude = |bias| + sum |x||w|. Raises ValueError for shapes or dtypes that do not fit.
    """
    flat = certify(*linear_problem(input, weight, bias))
    shape = (*np.shape(input)[:-1], np.shape(weight)[0])
    return flat.arranged(lambda array: array.reshape(shape))


def conv2d_problem(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    **params: Any,
) -> Problem:
    """The checked geometry and operands of a conv2d; the weight as (groups, filters/group, terms)."""
    x, w = operand(input, "input"), operand(weight, "weight")
    geo = geometry(x.shape, w.shape, **params)
    each = geo.filters // geo.groups
    if geo.channels_last:
        w = w.reshape(geo.terms, geo.groups, each).transpose(1, 2, 0)
    return geo, x, w.reshape(geo.groups, each, geo.terms), _bias(bias, geo.filters)


def linear_problem(input: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Problem:
    """A linear layer as the convolution of a column of pixels with a kernel of one tap."""
    x, w = operand(input, "input"), operand(weight, "weight")
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1] or w.size == 0:
        raise ValueError(
            f"linear takes input (..., K) and weight (O, K), got shapes {x.shape} and {w.shape}: "
            "transpose the weight if it is (K, O)"
        )
    outputs, count = w.shape
    geo = geometry((1, x.size // count, 1, count), (1, 1, count, outputs), layout="NHWC")
    return geo, x, w.reshape(1, outputs, count), _bias(bias, outputs)


def _bias(bias: npt.ArrayLike | None, outputs: int) -> Single | None:
    if bias is None:
        return None
    b = operand(bias, "bias")
    if b.shape != (outputs,):
        raise ValueError(
            f"bias must have one number for each of the {outputs} outputs, got shape {b.shape}: reshape it"
        )
    return b
