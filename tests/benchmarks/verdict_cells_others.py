"""Activations, pooling, softmax, losses, resizing, reductions, with what is planted: see `verdict_cells`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from verdict_cells import Family, Layer, Plant, Planted, called, drawn, step

Rng = np.random.Generator
PLAIN_DATA = ("uniform", "normal", "offset", "wide", "tiny")
TAME = ("uniform", "normal", "offset")
TORCH = ("torch",)


def image(rng: Rng, data: str, channels: int = 6) -> np.ndarray:
    return drawn(rng, data, int(rng.integers(1, 4)), channels, *(int(n) for n in rng.integers(6, 17, 2)))


def function(op: str, **params: Any) -> Any:
    return lambda rng, data: Layer(op, {"input": image(rng, data)}, params, data)


def param(name: str, found: Any, wanted: str = "", shown: Any = None) -> Plant:
    """One parameter of the call; the name and value by which it is to be found, where they are others."""

    def planted(rng: Rng, layer: Layer) -> Planted | None:
        if layer.params.get(name) == found:
            return None
        words = {wanted or name: found if shown is None else shown}
        return called(layer, f"{name} {found}", words, params={name: found})

    return planted


def in_place(op: str, found: str) -> Plant:
    """Another function of one number."""
    return lambda rng, layer: Planted(op, op, layer.arrays, {}, (("activation", found),))


def random_slope(rng: Rng, layer: Layer) -> Planted:
    found = float(f"{rng.uniform(0.02, 0.4):.2g}")
    return called(layer, "slope of its own", {"negative_slope": found}, params={"negative_slope": found})


def pool(kind: str) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        params = {"kernel_size": 3, "stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2))}
        return Layer(f"{kind}_pool2d", {"input": image(rng, data)}, params, data)

    return draw


def not_counted(rng: Rng, layer: Layer) -> Planted | None:
    if not layer.params["padding"]:
        return None
    words = {"count_include_pad": False}
    return called(layer, "count_include_pad", words, params={"count_include_pad": False})


def other_pool(found: str) -> Plant:
    return lambda rng, layer: called(layer, found, {"function": found}, op=found)


def softmax(op: str) -> Any:
    return lambda rng, data: Layer(op, {"input": image(rng, data)}, {"dim": 1}, data)


def axis(found: int) -> Plant:
    return lambda rng, layer: called(layer, f"axis {found}", {"axis": found}, params={"dim": found})


def other(op: str, parameter: str = "function") -> Plant:
    return lambda rng, layer: called(layer, op, {parameter: op}, op=op)


def resize(rng: Rng, data: str) -> Layer:
    size = [int(n) for n in rng.integers(5, 24, 2)]
    return Layer("interpolate", {"input": image(rng, data)}, {"size": size, "mode": "bilinear"}, data)


def corners(rng: Rng, layer: Layer) -> Planted:
    return called(layer, "align_corners", {"coordinates": "align_corners"}, params={"align_corners": True})


def nearest(rng: Rng, data: str) -> Layer:
    size = [int(n) for n in rng.integers(5, 24, 2)]
    return Layer("interpolate", {"input": image(rng, data)}, {"size": size, "mode": "nearest"}, data)


def reduction(op: str) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        params: dict[str, Any] = {"dim": [0, 2, 3] if op in ("sum", "mean") else 1}
        return Layer(op, {"input": image(rng, data)}, params, data)

    return draw


def other_reduction(rng: Rng, layer: Layer) -> Planted:
    found = "mean" if layer.op == "sum" else "sum"
    return called(layer, found, {"scale": None}, op=found)


def shuffle(rng: Rng, data: str) -> Layer:
    return Layer("pixel_shuffle", {"input": image(rng, data, 12)}, {"upscale_factor": 2}, data)


def front_first(rng: Rng, layer: Layer) -> Planted:
    return Planted("DCR", "depth_to_space", layer.arrays, {"block_size": 2}, (("mode", "DCR"),))


def loss(op: str) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        rows, classes = int(rng.integers(4, 40)), int(rng.integers(3, 30))
        x = drawn(rng, data, rows, classes)
        target = drawn(rng, data, rows, classes)
        if op == "cross_entropy":
            target = rng.integers(0, classes, rows).astype(np.int64)
        if op == "binary_cross_entropy_with_logits":
            target = rng.integers(0, 2, (rows, classes)).astype(np.float32)
        return Layer(op, {"input": x, "target": target}, {"reduction": "mean"}, data)

    return draw


def running(op: str) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        x = image(rng, data)
        state = rng.uniform(0.5, 2, x.shape[1]).astype(np.float32)
        name = "running_mean" if op.endswith("mean") else "running_var"
        return Layer(op, {"input": x, name: state}, {"momentum": 0.1}, data)

    return draw


def response(rng: Rng, data: str) -> Layer:
    params = {"size": 3, "alpha": 1e-2, "beta": 0.75, "k": 1.0}
    return Layer("local_response_norm", {"input": image(rng, data)}, params, data)


ACTIVATION: Mapping[str, Plant] = {
    "silu": in_place("silu", "silu"),
    "relu": in_place("relu", "relu"),
    "scale": step("scale", 0.5, "scale"),
}
POOL: Mapping[str, Plant] = {
    "padding": lambda rng, layer: param("padding", 1 - layer.params["padding"], "padding")(rng, layer),
    "kernel": param("kernel_size", 2, "kernel size"),
    "stride": lambda rng, layer: param("stride", 3 - layer.params["stride"], "stride")(rng, layer),
}
SOFTMAX: Mapping[str, Plant] = {"axis 2": axis(2), "axis 0": axis(0), "scale": step("scale", 0.5, "scale")}
LOSS: Mapping[str, Plant] = {"sum": param("reduction", "sum"), "none": param("reduction", "none")}

FAMILIES = (
    Family("gelu", function("gelu"), {"tanh": param("approximate", "tanh"), **ACTIVATION}, TAME),
    Family(
        "gelu(tanh)",
        function("gelu", approximate="tanh"),
        {"erf": param("approximate", "none"), **ACTIVATION},
        TAME,
    ),
    Family(
        "leaky_relu",
        function("leaky_relu", negative_slope=0.01),
        {"0.2": param("negative_slope", 0.2), "own": random_slope, "0.3": param("negative_slope", 0.3)},
        PLAIN_DATA,
    ),
    Family("silu", function("silu"), {"relu": in_place("relu", "relu")}, TAME),
    Family("elu", function("elu"), {"alpha": param("alpha", 0.5), "selu": in_place("selu", "selu")}, TAME),
    Family("softplus", function("softplus"), {"relu": in_place("relu", "relu")}, TAME),
    Family("tanh", function("tanh"), {"sigmoid": in_place("sigmoid", "sigmoid")}, PLAIN_DATA),
    Family("sigmoid", function("sigmoid"), {"tanh": in_place("tanh", "tanh")}, PLAIN_DATA),
    Family(
        "avg_pool2d",
        pool("avg"),
        {"count": not_counted, "max": other_pool("max_pool2d"), **POOL},
        (*PLAIN_DATA, "offset1000"),
        2,
    ),
    Family("max_pool2d", pool("max"), {"avg": other_pool("avg_pool2d"), **POOL}, PLAIN_DATA),
    Family("softmax", softmax("softmax"), {**SOFTMAX, "log": other("log_softmax")}, TAME, 2),
    Family("log_softmax", softmax("log_softmax"), {**SOFTMAX, "plain": other("softmax")}, TAME),
    Family("logsumexp", softmax("logsumexp"), {"axis": axis(2), "axis 3": axis(3)}, TAME),
    Family(
        "bilinear",
        resize,
        {"corners": corners, "nearest": param("mode", "nearest"), "cubic": param("mode", "bicubic")},
        TAME,
        2,
    ),
    Family("nearest", nearest, {"exact": param("mode", "nearest-exact")}, TAME, 1, TORCH),
    Family("sum", reduction("sum"), {"mean": other_reduction, "axis": axis(0)}, (*PLAIN_DATA, "offset1000")),
    Family("mean", reduction("mean"), {"sum": other_reduction}, (*PLAIN_DATA, "offset1000")),
    Family(
        "var",
        reduction("var"),
        {"biased": param("correction", 0, "variance"), "axis": axis(2)},
        (*TAME, "offset1000"),
        1,
        TORCH,
    ),
    Family(
        "std",
        reduction("std"),
        {"biased": param("correction", 0, "variance")},
        (*TAME, "offset1000"),
        1,
        TORCH,
    ),
    Family("pixel_shuffle", shuffle, {"DCR": front_first, "scale": step("scale", 0.5, "scale")}, PLAIN_DATA),
    Family("mse_loss", loss("mse_loss"), LOSS, TAME, 1, TORCH),
    Family(
        "cross_entropy",
        loss("cross_entropy"),
        {**LOSS, "smoothing": param("label_smoothing", 0.1)},
        TAME,
        1,
        TORCH,
    ),
    Family("bce", loss("binary_cross_entropy_with_logits"), LOSS, TAME, 1, TORCH),
    Family(
        "running variance",
        running("batch_norm_running_var"),
        {"momentum": param("momentum", 0.9)},
        (*TAME, "offset1000"),
        1,
        TORCH,
    ),
    Family(
        "running mean",
        running("batch_norm_running_mean"),
        {"momentum": param("momentum", 0.9)},
        TAME,
        1,
        TORCH,
    ),
    Family(
        "local_response_norm",
        response,
        {"alpha": param("alpha", 1e-4), "k": param("k", 2.0), "beta": param("beta", 0.5)},
        TAME,
        1,
        TORCH,
    ),
    Family(
        "normalize",
        lambda rng, data: Layer("normalize", {"input": drawn(rng, data, 12, 40)}, {"dim": 1}, data),
        {"axis": axis(0)},
        TAME,
        1,
        TORCH,
    ),
)
