"""Sums of products in TensorFlow: convolutions, linear layers, matrix products, sums, pooling, gradients.

Each builder takes the declared parameters and the shapes of the operands, in TensorFlow's layouts,
and returns the call. The raw ops are those that the functions of tf.nn call and that a gradient tape
runs for them: Conv2D, Conv2DBackpropInput, Conv2DBackpropFilter and their like; a transposed convolution
*is* a gradient with respect to an input (tf.nn.conv2d_transpose). Padding in numbers goes to the ops over
two axes as EXPLICIT; where an op does not take that (one and three axes, gradients of dilated or grouped
ones), zeros are added before by tf.pad, and cut off the gradient. The odd rules of padding are numbers too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from precision.errors import CannotRun
from precision.frameworks.padding import check_layout, explicit_padding, per_axis
from precision.frameworks.tensorflow_convolutions import direct, transposed

Tensors = Mapping[str, Any]
Params = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
Call = Callable[[Tensors], Any]
Builder = Callable[[Params, Shapes], Call]


def _conv(axes: int, p: Params, shapes: Shapes) -> Call:
    at = direct(axes, p, shapes["input"], shapes["weight"])
    return lambda t: _biased(at.small(at.widened(t["input"]), t["weight"]), t)


def _conv_input_grad(axes: int, p: Params, shapes: Shapes) -> Call:
    at = direct(axes, p, _last(axes, p["input_size"]), shapes["weight"], backward=True)
    return lambda t: at.narrowed(at.large(t["weight"], t["grad_output"]))


def _conv_weight_grad(axes: int, p: Params, shapes: Shapes) -> Call:
    at = direct(axes, p, shapes["input"], _taps_first(axes, p["weight_size"]), backward=True)
    return lambda t: at.filter(at.widened(t["input"]), t["grad_output"])


def _transposed(axes: int, p: Params, shapes: Shapes) -> Call:
    at = transposed(axes, p, shapes["input"], shapes["weight"])
    return lambda t: _biased(at.narrowed(at.large(t["weight"], t["input"])), t)


def _transposed_input_grad(axes: int, p: Params, shapes: Shapes) -> Call:
    at = transposed(axes, p, _last(axes, p["input_size"]), shapes["weight"])
    return lambda t: at.small(at.widened(t["grad_output"]), t["weight"])


def _transposed_weight_grad(axes: int, p: Params, shapes: Shapes) -> Call:
    at = transposed(axes, p, shapes["input"], _taps_first(axes, p["weight_size"]))
    return lambda t: at.filter(at.widened(t["grad_output"]), t["input"])


def _biased(y: Any, t: Tensors) -> Any:
    return tf.nn.bias_add(y, t["bias"]) if "bias" in t else y


def _bias_grad(p: Params, shapes: Shapes) -> Call:
    check_layout(p)
    return lambda t: tf.raw_ops.BiasAddGrad(out_backprop=t["grad_output"])


def _last(axes: int, size: Sequence[int]) -> tuple[int, ...]:
    """A declared shape with channels last, and a height of 1 where there is one axis."""
    n, channels, *sizes = (int(i) for i in size)
    return (n, *(1,) * (2 - axes), *sizes, channels)


def _taps_first(axes: int, size: Sequence[int]) -> tuple[int, ...]:
    outer, inner, *taps = (int(i) for i in size)
    return (*(1,) * (2 - axes), *taps, inner, outer)


def _flat(x: Any) -> Any:
    """Rows alone, as tf.tensordot (which Keras's Dense calls for more axes) makes them."""
    return x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]])


def _linear(p: Params, shapes: Shapes) -> Call:
    shape = [*shapes["input"][:-1], shapes["weight"][1]]

    def multiply(t: Tensors) -> Any:
        y = _biased(tf.linalg.matmul(_flat(t["input"]), t["weight"]), t)
        return y if len(shape) == 2 else tf.reshape(y, shape)

    return multiply


def _linear_input_grad(p: Params, shapes: Shapes) -> Call:
    shape = [*shapes["grad_output"][:-1], shapes["weight"][0]]
    return lambda t: tf.reshape(
        tf.linalg.matmul(_flat(t["grad_output"]), t["weight"], transpose_b=True), shape
    )


def _linear_weight_grad(p: Params, shapes: Shapes) -> Call:
    return lambda t: tf.linalg.matmul(_flat(t["input"]), _flat(t["grad_output"]), transpose_a=True)


def _matmul_input_grad(p: Params, shapes: Shapes) -> Call:
    g, b = shapes["grad_output"], shapes["other"]
    size = tuple(p.get("input_size") or (*g[:-1], b[-2]))
    return lambda t: _folded(tf.linalg.matmul(t["grad_output"], t["other"], transpose_b=True), size)


def _matmul_other_grad(p: Params, shapes: Shapes) -> Call:
    g, a = shapes["grad_output"], shapes["input"]
    size = tuple(p.get("other_size") or (*g[:-2], a[-1], g[-1]))
    return lambda t: _folded(tf.linalg.matmul(t["input"], t["grad_output"], transpose_a=True), size)


def _folded(gradient: Any, size: tuple[int, ...]) -> Any:
    """Summed over the batch axes along which an operand was repeated, as the gradient of a product is."""
    found = tuple(gradient.shape)
    if found == size:
        return gradient
    kept = (1,) * (len(found) - len(size)) + size
    axes = [
        i
        for i, (n, wanted) in enumerate(zip(found, kept, strict=True))
        if n != wanted or i < len(found) - len(size)
    ]
    return tf.reshape(tf.reduce_sum(gradient, axes), size)


def _reduced(call: Callable[..., Any], p: Params, shapes: Shapes) -> Call:
    dim = p.get("dim")
    axes = dim if dim is None or isinstance(dim, int) else [int(axis) for axis in dim]
    keep = bool(p.get("keepdim", False))
    return lambda t: call(t["input"], axes, keep)


def _avg_pool(axes: int, p: Params, shapes: Shapes) -> Call:
    check_layout(p)
    size = shapes["input"][-1 - axes : -1]
    kernel = per_axis(p["kernel_size"], axes)
    stride = kernel if p.get("stride") is None else per_axis(p["stride"], axes)
    declared = p.get("padding", 0)
    pads = explicit_padding(declared, size, kernel, stride, 1)
    if p.get("ceil_mode", False) and any(
        # A window more where some input is left over; one less where the last lies in the padding alone.
        (n + sum(pad) - k) % s or (n + sum(pad) - k) // s * s >= n + pad[0]
        for n, pad, k, s in zip(size, pads, kernel, stride, strict=True)
    ):
        raise CannotRun("tf.nn.avg_pool has no ceil_mode")
    if p.get("divisor_override") is not None:
        raise CannotRun("tf.nn.avg_pool has no divisor_override")
    counts = p.get("count_include_pad")
    if counts is None:
        counts = not isinstance(declared, str) or declared.lower() == "valid"
    lifted = (1,) * (2 - axes)
    window = {"ksize": [*lifted, *kernel], "strides": [*lifted, *stride]}
    pool = tf.nn.avg_pool2d if axes < 3 else tf.nn.avg_pool3d
    if not any(before or after for before, after in pads):
        return lambda t: pool(t["input"], **window, padding="VALID")
    if counts:
        added = [[0, 0], *[[0, 0]] * (2 - axes), *map(list, pads), [0, 0]]
        return lambda t: pool(tf.pad(t["input"], added), **window, padding="VALID")
    if pads != explicit_padding("same", size, kernel, stride, 1):
        raise CannotRun(f"tf.nn.avg_pool pads by SAME alone where padding does not count, got {pads}")
    return lambda t: pool(t["input"], **window, padding="SAME")


OPS: Mapping[str, Builder] = {
    **{
        name: builder
        for axes in (1, 2, 3)
        for name, builder in (
            (f"conv{axes}d", partial(_conv, axes)),
            (f"conv{axes}d_input_grad", partial(_conv_input_grad, axes)),
            (f"conv{axes}d_weight_grad", partial(_conv_weight_grad, axes)),
            (f"conv{axes}d_bias_grad", _bias_grad),
            (f"conv_transpose{axes}d", partial(_transposed, axes)),
            (f"conv_transpose{axes}d_input_grad", partial(_transposed_input_grad, axes)),
            (f"conv_transpose{axes}d_weight_grad", partial(_transposed_weight_grad, axes)),
            (f"conv_transpose{axes}d_bias_grad", _bias_grad),
            (f"avg_pool{axes}d", partial(_avg_pool, axes)),
        )
    },
    "linear": _linear,
    "linear_input_grad": _linear_input_grad,
    "linear_weight_grad": _linear_weight_grad,
    "linear_bias_grad": lambda p, shapes: (
        lambda t: tf.raw_ops.BiasAddGrad(out_backprop=_flat(t["grad_output"]))
    ),
    "matmul": lambda p, shapes: lambda t: tf.linalg.matmul(t["input"], t["other"]),
    "matmul_input_grad": _matmul_input_grad,
    "matmul_other_grad": _matmul_other_grad,
    "sum": partial(_reduced, tf.reduce_sum),
    "mean": partial(_reduced, tf.reduce_mean),
}
