"""The calls of the verdict benchmark in TensorFlow, inside a worker; see `verdict_cells_torch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from precision.errors import CannotRun
from precision.frameworks import tensorflow_backend
from precision.frameworks.tensorflow_tensors import state

Tensors = Mapping[str, Any]
Params = Mapping[str, Any]

STEPS: Mapping[str, Callable[[Any], Any]] = {
    "relu": tf.nn.relu,
    "gelu": lambda y: tf.nn.gelu(y, approximate=False),
    "gelu(tanh)": lambda y: tf.nn.gelu(y, approximate=True),
    "silu": tf.nn.silu,
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "leaky_relu(0.2)": lambda y: tf.nn.leaky_relu(y, 0.2),
}
LAST = ("interpolate", "depth_to_space", "max_pool2d", "max_pool3d")
"""Ops whose images have their channels last here."""


def run(op: str, params: Params, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The result of one call in the mode of this worker, as float32, in the declared layout."""
    rest = {name: value for name, value in params.items() if name != "after"}
    if "by_hand" in rest:
        raise CannotRun("normalizations by hand are written for PyTorch alone")
    with tf.device(state["device"]):
        if op in _OPS:
            output = _own(op, rest, arrays)
        elif op in tensorflow_backend._OPS:
            output = tensorflow_backend.run(op, rest, _whole(op, arrays))
        else:
            raise CannotRun(f"TensorFlow has no call of {op} here")
        for step in params.get("after", ()):
            output = STEPS[step](output) if isinstance(step, str) else output * np.float32(step)
    return np.ascontiguousarray(output, np.float32).reshape(np.shape(output))


def _whole(op: str, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Ones and zeros for the affine part that a normalization leaves out: TensorFlow's take it always."""
    if not op.endswith("_norm"):
        return arrays
    entries = arrays["input"].shape[-1 if op in ("layer_norm", "rms_norm") else 1]
    parts = {"weight": np.ones(entries, np.float32)}
    if op != "rms_norm":
        parts["bias"] = np.zeros(entries, np.float32)
    return {**parts, **arrays}


def _own(op: str, params: Params, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    last = op in LAST
    tensors = {
        name: tf.constant(np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array)
        for name, array in arrays.items()
    }

    def call(t: Tensors) -> Any:
        return _OPS[op](t, params)

    output = (tf.function(call, jit_compile=True) if state["jit_compile"] else call)(tensors).numpy()
    return np.ascontiguousarray(np.moveaxis(output, -1, 1)) if last else output


def _resize(t: Tensors, p: Params) -> Any:
    if p.get("mode", "nearest") != "bilinear" or p.get("align_corners"):
        raise CannotRun("tf.image.resize is called for half-pixel bilinear images alone")
    return tf.image.resize(t["input"], p["size"], method="bilinear")


def _max_pool(t: Tensors, p: Params) -> Any:
    if p.get("padding", 0) or p.get("ceil_mode") or p.get("dilation", 1) != 1:
        raise CannotRun("tf.nn.max_pool is called without padding alone")
    return tf.nn.max_pool(t["input"], p["kernel_size"], p.get("stride", p["kernel_size"]), "VALID")


_OPS: Mapping[str, Callable[[Tensors, Params], Any]] = {
    "relu": lambda t, p: tf.nn.relu(t["input"]),
    "silu": lambda t, p: tf.nn.silu(t["input"]),
    "selu": lambda t, p: tf.nn.selu(t["input"]),
    "elu": lambda t, p: tf.keras.activations.elu(t["input"], alpha=p.get("alpha", 1.0)),
    "gelu": lambda t, p: tf.nn.gelu(t["input"], approximate=p.get("approximate") == "tanh"),
    "leaky_relu": lambda t, p: tf.nn.leaky_relu(t["input"], p.get("negative_slope", 0.01)),
    "softplus": lambda t, p: tf.nn.softplus(t["input"]),
    "sigmoid": lambda t, p: tf.sigmoid(t["input"]),
    "tanh": lambda t, p: tf.tanh(t["input"]),
    "exp": lambda t, p: tf.exp(t["input"]),
    "erf": lambda t, p: tf.math.erf(t["input"]),
    "softmax": lambda t, p: tf.nn.softmax(t["input"], p.get("dim", -1)),
    "log_softmax": lambda t, p: tf.nn.log_softmax(t["input"], p.get("dim", -1)),
    "logsumexp": lambda t, p: tf.reduce_logsumexp(t["input"], p.get("dim", -1)),
    "interpolate": _resize,
    "max_pool2d": _max_pool,
    "max_pool3d": _max_pool,
    "depth_to_space": lambda t, p: tf.nn.depth_to_space(t["input"], p["block_size"]),
}
