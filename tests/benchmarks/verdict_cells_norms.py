"""Normalizations and their gradients, with what is planted into them: see `verdict_cells`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from verdict_cells import Family, Layer, Plant, Planted, called, drawn, pair, step
from verdict_cells_plants import checkpoint, element

Rng = np.random.Generator
NORM_DATA = ("uniform", "normal", "offset", "offset1000", "wide", "tiny")


def norm(op: str, training: bool = True) -> Any:
    def draw(rng: Rng, data: str) -> Layer:
        if op in ("layer_norm", "rms_norm"):
            shape, channels = (int(rng.integers(6, 65)), int(rng.integers(12, 1025))), 0
        else:
            channels = int(rng.choice([4, 6, 8, 12]))
            shape = (int(rng.integers(2, 9)), channels, *(int(n) for n in rng.integers(4, 33, 2)))
        x = drawn(rng, data, *shape)
        entries = channels or shape[-1]
        arrays = {"input": x, "weight": rng.uniform(0.5, 1.5, entries).astype(np.float32)}
        if op != "rms_norm":
            arrays["bias"] = rng.standard_normal(entries).astype(np.float32)
        params: dict[str, Any] = {"eps": float(rng.choice([1e-5, 1e-5, 1e-6, 1e-3]))}
        if op == "batch_norm":
            params["training"] = training
            wide = x.astype(np.float64)
            arrays["running_mean"] = wide.mean((0, 2, 3)).astype(np.float32) + np.float32(0.1)
            arrays["running_var"] = (1.25 * wide.var((0, 2, 3)) + 1e-4).astype(np.float32)
        if op == "group_norm":
            params["num_groups"] = 2
        if channels == 0:
            params["normalized_shape"] = [shape[-1]]
        return Layer(op, arrays, params, data)

    return draw


def eps(found: float) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted | None:
        if layer.params["eps"] == found:
            return None
        return called(layer, f"eps {found:g}", {"eps": found}, params={"eps": found})

    return planted


def random_eps(rng: Rng, layer: Layer) -> Planted:
    """A value that is on no list."""
    found = float(f"{10.0 ** rng.uniform(-3.5, -1):.2g}")
    return called(layer, "eps of its own", {"eps": found}, params={"eps": found})


def without(name: str) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted | None:
        if layer.arrays.get(name) is None:
            return None
        return called(layer, f"{name} missing", {"affine": f"{name} missing"}, arrays={name: None})

    return planted


def by_hand(name: str, wanted: Mapping[str, Any], **parts: Any) -> Plant:
    """What PyTorch's own function has no parameter for."""

    def planted(rng: Rng, layer: Layer) -> Planted | None:
        own = dict(layer.params)
        found = {**own.pop("by_hand", {}), **parts}
        if layer.op in ("group_norm",):
            return None
        return called(layer, name, wanted, params={"by_hand": found})

    return planted


def swapped(rng: Rng, layer: Layer) -> Planted | None:
    arrays = {"weight": layer.arrays["bias"], "bias": layer.arrays["weight"]}
    return called(layer, "affine swapped", {"affine": "swapped"}, arrays=arrays)


def training(found: bool) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted:
        return called(layer, f"training {found}", {"training": found}, params={"training": found})

    return planted


def groups(found: int) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted | None:
        if layer.arrays["input"].shape[1] % found:
            return None
        return called(layer, f"{found} groups", {"groups": found}, params={"num_groups": found})

    return planted


def deviation(rng: Rng, layer: Layer) -> Planted:
    """The running variance given as a deviation: its square root is taken twice."""
    found = np.sqrt(layer.arrays["running_var"].astype(np.float64)).astype(np.float32)
    return called(layer, "deviation for variance", {"variance": None}, arrays={"running_var": found})


def near_eps(rng: Rng, layer: Layer) -> Planted | None:
    """1e-5 for 1e-6, or the other way round."""
    return eps(1e-5 if layer.params["eps"] == 1e-6 else 1e-6)(rng, layer)


COMMON = {
    "eps 1e-3": eps(1e-3),
    "bias missing": without("bias"),
    "eps 1e-6": near_eps,
    "unbiased": by_hand("unbiased", {"variance": "unbiased"}, ddof=1),
    "weight element": element("weight"),
    "weight missing": without("weight"),
    "eps of its own": random_eps,
    "relu": step("relu fused", "relu"),
    "eps near": near_eps,
    "swapped": swapped,
    "bias element": element("bias"),
    "uncentred": by_hand("uncentred", {"centering": "none"}, centred=False),
    "eps, bias": pair(eps(1e-2), without("bias")),
    "outside": by_hand("eps outside", {"eps place": "outside the root"}, place="outside"),
    "silu": step("silu fused", "silu"),
    "checkpoint": checkpoint,
}
BATCH = {**COMMON, "inference": training(False)}
INFERENCE = {
    name: plant
    for name, plant in {
        **COMMON,
        "training": training(True),
        "mean element": element("running_mean"),
        "deviation": deviation,
    }.items()
    if name not in ("unbiased", "uncentred", "outside")
}
GROUP = {
    name: plant
    for name, plant in {"one group": groups(1), "four groups": groups(4), **COMMON}.items()
    if name not in ("unbiased", "uncentred", "outside")
}
INSTANCE = {name: plant for name, plant in COMMON.items() if name not in ("unbiased", "uncentred", "outside")}
ROOT_MEAN_SQUARE = {
    name: COMMON[name]
    for name in ("eps 1e-3", "weight missing", "eps 1e-6", "weight element", "silu", "eps of its own")
}


def gradient(op: str, of: str) -> Any:
    forward = norm(op)

    def draw(rng: Rng, data: str) -> Layer:
        found = forward(rng, data)
        x = found.arrays["input"]
        arrays = {"grad_output": drawn(rng, "normal", *x.shape), "input": x}
        if of == "input":
            arrays["weight"] = found.arrays["weight"]
        params = dict(found.params)
        if op == "batch_norm":
            arrays["running_mean"], arrays["running_var"] = (
                found.arrays[name] for name in ("running_mean", "running_var")
            )
        return Layer(f"{op}_{of}_grad", arrays, params, data)

    return draw


GRADIENT = {
    "eps 1e-3": eps(1e-3),
    "inference": training(False),
    "eps of its own": random_eps,
    "weight missing": without("weight"),
    "eps 1e-6": eps(1e-6),
    "scale": step("scale", 0.5, "scale"),
}
NO_TRAINING = {name: plant for name, plant in GRADIENT.items() if name != "inference"}
BOTH, TORCH = ("torch", "tensorflow"), ("torch",)

FAMILIES = (
    Family("batch_norm", norm("batch_norm"), BATCH, NORM_DATA, 4),
    Family("batch_norm inference", norm("batch_norm", False), INFERENCE, NORM_DATA, 2),
    Family("layer_norm", norm("layer_norm"), COMMON, NORM_DATA, 3),
    Family("group_norm", norm("group_norm"), GROUP, NORM_DATA, 2),
    Family("instance_norm", norm("instance_norm"), INSTANCE, NORM_DATA),
    Family("rms_norm", norm("rms_norm"), ROOT_MEAN_SQUARE, NORM_DATA),
    Family("batch_norm_input_grad", gradient("batch_norm", "input"), GRADIENT, NORM_DATA, 1, TORCH),
    Family("layer_norm_input_grad", gradient("layer_norm", "input"), NO_TRAINING, NORM_DATA, 1, TORCH),
    Family("group_norm_weight_grad", gradient("group_norm", "weight"), NO_TRAINING, NORM_DATA, 1, TORCH),
)
