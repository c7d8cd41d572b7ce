"""Layers that are sums of products, with what is planted into them: see `verdict_cells`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from verdict_cells import Family, Layer, Plant, Planted, called, cancelling, drawn, pair, step, weights
from verdict_cells_plants import (
    bias,
    channels_permuted,
    channels_reversed,
    checkpoint,
    dilation,
    element,
    filters_permuted,
    flip,
    image_transposed,
    input_moved,
    interleaved,
    misread,
    operands,
    padding_amount,
    padding_mode,
    padding_side,
    shift,
    stride,
    swap_channels,
    transpose,
)

Rng = np.random.Generator


def conv(axes: int, style: str) -> Any:
    """A draw of convolutions: plain, grouped, depthwise, dilated or transposed."""

    def draw(rng: Rng, data: str) -> Layer:
        small = axes == 3
        size = [int(n) for n in rng.integers(5, 8 if small else 15, axes)]
        k = int(rng.integers(2, 4)) if small or style == "transposed" else int(rng.integers(1, 3)) * 2 + 1
        groups = {"grouped": 2, "depthwise": 0}.get(style, 1)
        inputs = int(rng.choice([3, 4, 8, 16, 64, 128])) if groups == 1 else int(rng.choice([4, 8, 16]))
        inputs = min(inputs, 16) if small else inputs
        groups = groups or inputs
        outputs = inputs if style == "depthwise" else int(rng.choice([4, 6, 8, 16, 32]))
        stride = int(rng.integers(1, 3))
        dilation = 2 if style == "dilated" else 1
        params: dict[str, Any] = {"stride": stride, "padding": int(k // 2 * dilation), "dilation": dilation}
        params["groups"] = groups
        x = drawn(rng, data, int(rng.integers(1, 4)), inputs, *size)
        taps = (k,) * axes
        if style == "transposed":
            params["padding"] = 1
            w = weights(rng, inputs, outputs, *taps)
        else:
            if dilation == 2:
                x = drawn(rng, data, x.shape[0], inputs, *(n + 4 for n in size))
            w = weights(rng, outputs, inputs // groups, *taps)
        arrays = {"input": x, "weight": w}
        if data == "cancelling" and groups == 1:
            arrays = dict(cancelling(rng, x, w, (1, 0 if style == "transposed" else 1)))
        if rng.integers(0, 4):
            bias = rng.standard_normal(outputs) * (2.0**-120 if data == "tiny" else 1.0)
            arrays["bias"] = bias.astype(np.float32)
        op = f"conv_transpose{axes}d" if style == "transposed" else f"conv{axes}d"
        return Layer(op, arrays, params, data)

    return draw


CONV: Mapping[str, Plant] = {
    "padding side": padding_side,
    "kernel flip": flip,
    "bias missing": bias("missing"),
    "tf32": operands("tf32"),
    "weight element": element("weight"),
    "circular": padding_mode("circular"),
    "padding side, bias": pair(padding_side, bias("missing")),
    "reversed": channels_reversed,
    "bfloat16": operands("bfloat16"),
    "interleaved": interleaved,
    "shift": shift,
    "relu": step("relu fused", "relu"),
    "dilation": dilation,
    "flip, bias": pair(flip, bias("missing")),
    "kernel transpose": transpose,
    "fp16": operands("binary16"),
    "input element": element("input", 0.1),
    "bias doubled": bias("doubled"),
    "reflect": padding_mode("reflect"),
    "stride": stride,
    "tf32 RZ": operands("tf32", "RZ"),
    "scale": step("scale", 0.7, "scale"),
    "permuted": channels_permuted,
    "gelu": step("gelu fused", "gelu"),
    "swapped": swap_channels,
    "replicate": padding_mode("replicate"),
    "filters": filters_permuted,
    "misread": misread,
    "e4m3": operands("e4m3"),
    "bias, relu": pair(bias("missing"), step("relu fused", "relu")),
    "amount": padding_amount,
    "tf32 RNA": operands("tf32", "RNA"),
    "image": image_transposed,
    "checkpoint": checkpoint,
    "bias element": element("bias"),
    "weight tf32": operands("tf32", "RNE", "weight"),
    "flip, tf32": pair(flip, operands("tf32")),
    "sign": step("negated", -1.0, "sign"),
    "circular, silu": pair(padding_mode("circular"), step("silu fused", "silu")),
}
TRANSPOSED = {
    name: CONV[name]
    for name in (
        "padding side",
        "weight element",
        "kernel flip",
        "bias missing",
        "permuted",
        "input element",
        "tf32",
        "stride",
        "reversed",
        "filters",
        "flip, bias",
        "bfloat16",
        "relu",
        "scale",
        "kernel transpose",
        "shift",
        "checkpoint",
    )
}


def linear(rng: Rng, data: str) -> Layer:
    most = int(rng.choice([200, 2000]))
    rows, count, outputs = (int(rng.integers(*ends)) for ends in ((2, 24), (8, most), (4, 64)))
    count += count % 2
    if rng.integers(0, 3) == 0:
        outputs = count = min(count, 48)
    x, w = drawn(rng, data, rows, count), weights(rng, outputs, count)
    arrays = {"input": x, "weight": w}
    if data == "cancelling":
        arrays = dict(cancelling(rng, x, w, (1, 1)))
    size = 2.0**-120 if data == "tiny" else 1.0
    return Layer(
        "linear", {**arrays, "bias": (size * rng.standard_normal(outputs)).astype(np.float32)}, {}, data
    )


def weight_transposed(rng: Rng, layer: Layer) -> Planted | None:
    w = layer.arrays["weight"]
    if w.shape[0] != w.shape[1]:
        return None
    return called(
        layer, "weight transposed", {"kernel transpose": "I,O"}, arrays={"weight": np.ascontiguousarray(w.T)}
    )


def flatten_order(rng: Rng, layer: Layer) -> Planted | None:
    x = layer.arrays["input"]
    parts = next((n for n in range(3, 8) if x.shape[1] % n == 0 and x.shape[1] // n > 2), None)
    if parts is None:
        return None
    mixed = x.reshape(len(x), parts, -1).swapaxes(1, 2).reshape(x.shape)
    return input_moved("flatten order", {"flatten order": None}, layer, mixed)


LINEAR = {
    "weight transposed": weight_transposed,
    "weight element": element("weight"),
    "bias missing": bias("missing"),
    "tf32": operands("tf32"),
    "flatten order": flatten_order,
    "relu": step("relu fused", "relu"),
    "permuted": channels_permuted,
    "bfloat16": operands("bfloat16"),
    "input element": element("input", 0.1),
    "scale": step("scale", 0.125, "scale"),
    "filters": filters_permuted,
    "gelu(tanh)": step("gelu(tanh) fused", "gelu(tanh)"),
    "transposed, bias": pair(weight_transposed, bias("missing")),
    "fp16": operands("binary16"),
    "checkpoint": checkpoint,
}


def matmul(rng: Rng, data: str) -> Layer:
    n = int(rng.integers(3, 40))
    shape = (int(rng.integers(1, 4)), n, n)
    return Layer("matmul", {"input": drawn(rng, data, *shape), "other": weights(rng, *shape)}, {}, data)


def factor_transposed(name: str) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted:
        turned = np.ascontiguousarray(np.swapaxes(layer.arrays[name], -1, -2))
        return called(layer, f"{name} transposed", {"transpose": name}, arrays={name: turned})

    return planted


MATMUL = {
    "other": factor_transposed("other"),
    "tf32": operands("tf32"),
    "input": factor_transposed("input"),
    "scale": step("scale", 0.125, "scale"),
    "bfloat16": operands("bfloat16"),
    "other, scale": pair(factor_transposed("other"), step("scale", 0.125, "scale")),
}


def conv_gradient(of: str) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        n, inputs, outputs, k = (int(rng.integers(*ends)) for ends in ((1, 4), (3, 9), (4, 9), (3, 4)))
        size = [int(i) for i in rng.integers(7, 14, 2)]
        stride = int(rng.integers(1, 3))
        shape, taps = (n, inputs, *size), (outputs, inputs, k, k)
        out = (n, outputs, *((i - 1) // stride + 1 for i in size))
        params: dict[str, Any] = {"stride": stride, "padding": 1, "dilation": 1, "groups": 1}
        arrays = {"grad_output": drawn(rng, "normal", *out)}
        if of == "input":
            arrays["weight"] = weights(rng, *taps)
            params["input_size"] = list(shape)
        else:
            arrays["input"] = drawn(rng, data, *shape)
            params["weight_size"] = list(taps)
        return Layer(f"conv2d_{of}_grad", arrays, params, data)

    return draw


def gradient_padding(rng: Rng, layer: Layer) -> Planted:
    """The padding of SAME with stride 2, where the gradient's shapes allow it."""
    sides = [0, 2, 0, 2]
    return called(layer, "padding side", {"padding": sides}, params={"padding": sides})


def gradient_flip(rng: Rng, layer: Layer) -> Planted | None:
    w = layer.arrays.get("weight")
    if w is None:
        return None
    turned = np.ascontiguousarray(w[:, :, ::-1, ::-1])
    return called(layer, "kernel flip", {"kernel flip": None}, arrays={"weight": turned})


GRADIENTS = {
    "padding side": gradient_padding,
    "tf32": operands("tf32"),
    "scale": step("scale", 0.5, "scale"),
    "kernel flip": gradient_flip,
    "circular": lambda rng, layer: called(
        layer, "padding circular", {"padding mode": "circular"}, params={"padding_mode": "circular"}
    ),
    "bfloat16": operands("bfloat16"),
    "sign": step("negated", -1.0, "sign"),
}

FAMILIES = (
    Family("conv2d", conv(2, "plain"), CONV, weight=6),
    Family("conv1d", conv(1, "plain"), CONV, weight=2),
    Family("conv3d", conv(3, "plain"), CONV, weight=2),
    Family("grouped conv2d", conv(2, "grouped"), CONV, weight=2),
    Family("depthwise conv2d", conv(2, "depthwise"), CONV),
    Family("dilated conv2d", conv(2, "dilated"), CONV),
    Family("conv_transpose2d", conv(2, "transposed"), TRANSPOSED, weight=3),
    Family("conv_transpose1d", conv(1, "transposed"), TRANSPOSED),
    Family("linear", linear, LINEAR, weight=3),
    Family("matmul", matmul, MATMUL),
    Family("conv2d_input_grad", conv_gradient("input"), GRADIENTS),
    Family("conv2d_weight_grad", conv_gradient("weight"), GRADIENTS),
)
