"""Random declarations of ops that are sums, on small integers: any order of any of these sums is exact."""

from __future__ import annotations

import re

import numpy as np

from reference import evaluate
from reference.conv_transpose import transposed_geometry
from reference.geometry import geometry

CONVOLUTIONS = tuple(
    f"{kind}{axes}d{part}"
    for kind in ("conv", "conv_transpose")
    for axes in (1, 2, 3)
    for part in ("", "_input_grad", "_weight_grad", "_bias_grad")
)
PRODUCTS = (
    "linear",
    "linear_input_grad",
    "linear_weight_grad",
    "linear_bias_grad",
    "matmul",
    "matmul_input_grad",
    "matmul_other_grad",
)
AVERAGES = ("sum", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d")
SUMS = (*CONVOLUTIONS, *PRODUCTS, *AVERAGES)


def integers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


def drawn(op, rng):
    """(params, arrays, truth) of a declaration that the reference accepts."""
    make = _convolution if op.startswith("conv") else _pooling if op.startswith("avg") else _product
    while True:
        try:
            params, arrays = make(op, rng)
            return params, arrays, evaluate(op, arrays, params)
        except ValueError:  # a window that does not fit, say: draw again
            continue


def _some(rng, low, high, axes):
    """A number for all axes, or one for each."""
    values = [int(v) for v in rng.integers(low, high, axes)]
    return values[0] if rng.random() < 0.5 else values


def _convolution(op, rng):
    axes, turned = int(re.search(r"(\d)d", op)[1]), "transpose" in op
    batch = int(rng.integers(1, 3))
    if op.endswith("bias_grad"):
        return {}, {"grad_output": integers(rng, batch, 3, *rng.integers(1, 6, axes))}
    groups = int(rng.choice([1, 1, 2, 3]))
    depthwise = groups > 1 and not turned and rng.random() < 0.5
    small, large = (groups * int(n) for n in rng.integers(1, 3, 2))
    inputs, outputs = (groups if depthwise else small), large
    params = {
        "stride": _some(rng, 1, 4, axes),
        "dilation": _some(rng, 1, 3, axes),
        "groups": groups,
        "padding": _padding(rng, axes, turned),
    }
    if rng.random() < 0.5:
        params = {**params, "stride": 1} if rng.random() < 0.5 else {**params, "dilation": 1}
    if turned and rng.random() < 0.5:
        params["output_padding"] = _some(rng, 0, 3, axes)
    kernel = [int(n) for n in rng.integers(1, 4, axes)]
    size = [int(n) for n in rng.integers(1, 9 - axes, axes)]
    x_shape = (batch, inputs, *size)
    w_shape = (inputs, outputs // groups, *kernel) if turned else (outputs, inputs // groups, *kernel)
    if turned:
        at = transposed_geometry(axes, x_shape, w_shape, **params)
        if "output_padding" not in params and rng.random() < 0.5:
            params["output_shape"] = [batch, outputs, *(n + int(rng.integers(-1, 2)) for n in at.size)]
            at = transposed_geometry(axes, x_shape, w_shape, **params)
        y_shape = (batch, outputs, *at.size)
    else:
        y_shape = (batch, outputs, *geometry(x_shape, w_shape, axes=axes, **params).out)
    if op.endswith("input_grad"):
        params["input_size"] = list(x_shape)
        return params, {"grad_output": integers(rng, *y_shape), "weight": integers(rng, *w_shape)}
    if op.endswith("weight_grad"):
        params["weight_size"] = list(w_shape)
        return params, {"grad_output": integers(rng, *y_shape), "input": integers(rng, *x_shape)}
    arrays = {"input": integers(rng, *x_shape), "weight": integers(rng, *w_shape)}
    if rng.random() < 0.5:
        arrays["bias"] = integers(rng, outputs)
    if not turned and rng.random() < 0.2:
        params["padding_mode"] = str(rng.choice(["reflect", "replicate", "circular"]))
    return params, arrays


def _padding(rng, axes, turned):
    kind = rng.integers(0, 5)
    if kind == 0:
        return str(rng.choice(["same", "valid", "same_lower", *([] if turned else ["same_torch"])]))
    if kind == 1:
        return [int(n) for n in rng.integers(0, 3, 2 * axes)]
    return _some(rng, 0, 3, axes)


def _pooling(op, rng):
    axes = int(re.search(r"(\d)d", op)[1])
    params = {
        "kernel_size": _some(rng, 1, 4, axes),
        "padding": _padding(rng, axes, True),
        "ceil_mode": bool(rng.random() < 0.3),
    }
    if rng.random() < 0.5:
        params["stride"] = _some(rng, 1, 4, axes)
    if not isinstance(params["padding"], str) and rng.random() < 0.5:
        params["count_include_pad"] = bool(rng.random() < 0.5)
    if rng.random() < 0.2:
        params["divisor_override"] = 3
    return params, {"input": integers(rng, 2, 3, *(int(n) for n in rng.integers(1, 8, axes)))}


def _product(op, rng):
    m, k, n, batch = (int(size) for size in rng.integers(1, 9, 4))
    if op in ("sum", "mean"):
        shape = tuple(int(size) for size in rng.integers(1, 6, rng.integers(1, 5)))
        some = [axis for axis in range(-len(shape), 0) if rng.random() < 0.5] or [0]
        dim = (None, int(rng.integers(0, len(shape))), some)[rng.integers(0, 3)]
        return {"dim": dim, "keepdim": bool(rng.random() < 0.5)}, {"input": integers(rng, *shape)}
    rows = [(m,), (batch, m), (2, batch, m), ()][rng.integers(0, 4)]
    if op.startswith("linear"):
        x, w, g = integers(rng, *rows, k), integers(rng, n, k), integers(rng, *rows, n)
        given = {"input": x, "weight": w, "bias": integers(rng, n), "grad_output": g}
        names = {
            "linear": ("input", "weight", "bias")[: int(rng.integers(2, 4))],
            "linear_input_grad": ("grad_output", "weight"),
            "linear_weight_grad": ("grad_output", "input"),
            "linear_bias_grad": ("grad_output",),
        }[op]
        return {}, {name: given[name] for name in names}
    left, right = [((), ()), ((batch,), (batch,)), ((2, batch), (1, batch)), ((batch,), ()), ((), (3, 1))][
        rng.integers(0, 5)
    ]
    a, b = integers(rng, *left, m, k), integers(rng, *right, k, n)
    g = integers(rng, *np.broadcast_shapes(left, right), m, n)
    if op == "matmul":
        return {}, {"input": a, "other": b}
    if op == "matmul_input_grad":
        return {"input_size": list(a.shape)}, {"grad_output": g, "other": b}
    return {"other_size": list(b.shape)}, {"grad_output": g, "input": a}


def right(op, truth, output):
    """Whether an output is the truth: to the bit where nothing is divided."""
    if output.dtype != np.float32 or output.shape != truth.value.shape:
        return False
    if op == "mean" or op.startswith("avg"):
        return bool((np.abs(truth.error(output)) <= 2.0**-22 * np.abs(truth.value)).all())
    return np.array_equal(output, truth.value)
