"""Runs one op in TensorFlow: the layers that its users call, on channels-last tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from tensorflow.python.framework import config as framework_config
from tensorflow.python.util import _pywrap_util_port as build_info

from precision.errors import CannotRun
from precision.frameworks import tensorflow_sums
from precision.frameworks.tensorflow_device import device_versions, kernel_names, varied
from precision.frameworks.tensorflow_norm_gradients import gradient_ops
from precision.frameworks.tensorflow_tensors import from_tensorflow, state, to_tensorflow

__all__ = ["configure", "kernels", "run", "varied", "versions"]

Float32 = NDArray[np.float32]
Tensors = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
Call = Callable[[Tensors], Any]

_MOST_CALLS = 256
_calls: dict[str, Call] = {}


def _set_threads(count: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


def _set_determinism(value: bool) -> None:
    if value:
        # Op determinism refuses random ops without a seed; no op here is random.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()


def _read_at_start(value: Any) -> None:
    """Set nothing: the environment decides this switch when the library loads; it is only read back."""


_SWITCHES: Mapping[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "threads": (_set_threads, tf.config.threading.get_intra_op_parallelism_threads),
    "onednn": (_read_at_start, lambda: bool(build_info.IsMklEnabled())),
    "jit_compile": (lambda value: state.update(jit_compile=value), lambda: state["jit_compile"]),
    "deterministic_ops": (_set_determinism, lambda: bool(framework_config.is_op_determinism_enabled())),
    "operands": (lambda value: state.update(operands=value), lambda: state["operands"]),
    "tensor_float_32": (
        tf.config.experimental.enable_tensor_float_32_execution,
        lambda: bool(tf.config.experimental.tensor_float_32_execution_enabled()),
    ),
}


def configure(device: str, switches: Mapping[str, Any]) -> dict[str, Any]:
    """Set every switch, and return all that can be read back, also of switches left alone."""
    if device == "cuda":
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            raise CannotRun(f"this TensorFlow ({tf.__version__}) finds no usable CUDA device")
        tf.config.experimental.set_memory_growth(gpus[0], True)
        state["device"] = "/GPU:0"
    for name, value in switches.items():
        _SWITCHES[name][0](value)
    return {name: getter() for name, (_, getter) in _SWITCHES.items()}


def versions() -> dict[str, str]:
    """Return versions of TensorFlow and its libraries, and the device."""
    found = {"tensorflow": tf.__version__, "keras": tf.keras.__version__}
    if state["device"] == "/GPU:0":
        tf.linalg.matmul(tf.ones([8, 8]), tf.ones([8, 8]))  # loads cuBLAS
        found |= device_versions()
    return found


def kernels(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> list[str]:
    """Return the names of the GPU kernels of one more call, as TensorFlow's profiler gives them."""
    return kernel_names(lambda: run(op, params, arrays), "GPU" if state["device"] == "/GPU:0" else "CPU")


def run(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
    """Return the output of one call of `op`."""
    with tf.device(state["device"]):
        tensors = {name: tf.constant(to_tensorflow(op, name, array)) for name, array in arrays.items()}
        if op in tensorflow_sums.OPS:
            tensors = {name: tf.cast(tensor, state["operands"]) for name, tensor in tensors.items()}
        try:
            output = tf.cast(_prepared(op, params, tensors)(tensors), tf.float32)
        except tf.errors.UnimplementedError as error:
            message = " ".join(error.message.split())
            raise CannotRun(f"TensorFlow has no kernel for this {op}: {message}") from error
    return from_tensorflow(op, output.numpy())


def _prepared(op: str, params: Mapping[str, Any], tensors: Mapping[str, Any]) -> Call:
    """Return the call, made once for each declaration: repeats reuse its layer and compilation."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    key = f"{op}/{sorted(params.items())}/{sorted(shapes.items())}"
    call = _calls.pop(key, None)
    if call is None:
        call = _OPS[op](params, shapes)
        call = tf.function(call, jit_compile=True) if state["jit_compile"] else call
    if len(_calls) >= _MOST_CALLS:
        del _calls[next(iter(_calls))]  # the one that was not used for longest
    _calls[key] = call
    return call


def _batch_norm(p: Mapping[str, Any], shapes: Shapes) -> Call:
    def normalize(t: Tensors) -> Any:
        empty = tf.zeros([0], tf.float32)
        # The raw op: the wrapper of older releases lifted eps below 1.001e-5.
        return tf.raw_ops.FusedBatchNormV3(
            x=t["input"],
            scale=t["weight"],
            offset=t["bias"],
            mean=empty if p["training"] else t["running_mean"],
            variance=empty if p["training"] else t["running_var"],
            epsilon=p["eps"],
            is_training=p["training"],
        )[0]

    return normalize


def _keras(layer: Any, shapes: Shapes) -> Call:
    """Return a call of a Keras layer with the given weight (and bias) in place of its own."""
    layer.build(shapes["input"])  # here, because a compiled function may not create variables
    names = ["weight", "bias"] if "bias" in shapes else ["weight"]
    return lambda t: layer.stateless_call([t[name] for name in names], [], t["input"])[0]


def _group_norm(groups: int, p: Mapping[str, Any], shapes: Shapes) -> Call:
    return _keras(tf.keras.layers.GroupNormalization(groups=groups, epsilon=p["eps"]), shapes)


_NORMS: Mapping[str, Callable[[Mapping[str, Any], Shapes], Call]] = {
    "batch_norm": _batch_norm,
    "instance_norm": lambda p, shapes: _group_norm(shapes["input"][-1], p, shapes),
    "group_norm": lambda p, shapes: _group_norm(p["num_groups"], p, shapes),
    "layer_norm": lambda p, shapes: _keras(
        tf.keras.layers.LayerNormalization(axis=-1, epsilon=p["eps"]), shapes
    ),
    "rms_norm": lambda p, shapes: _keras(tf.keras.layers.RMSNormalization(axis=-1, epsilon=p["eps"]), shapes),
}

_OPS: Mapping[str, Callable[[Mapping[str, Any], Shapes], Call]] = {
    **tensorflow_sums.OPS,
    **_NORMS,
    **gradient_ops(_NORMS),
}
