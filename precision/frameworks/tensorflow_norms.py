"""The statistics that TensorFlow's normalizations return, or that Keras computes by an op of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.frameworks.tensorflow_tensors import state, to_tensorflow

Float32 = NDArray[np.float32]


def statistics(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
    """Return "mean" and "variance" (divided by N) of one call, one number a row of `reference.grouped`.

    batch_norm in training: the mean of the fused op (its variance is divided by N - 1, and left out).  Keras
    layers: tf.nn.moments, the op that they call.  Raises `CannotRun` for an op that keeps none, and where XLA
    compiles the layer as a whole, so that no op is computed by itself.
    """
    if state["jit_compile"]:
        raise CannotRun("XLA compiles a normalization as a whole and returns no statistics")
    if op == "rms_norm" or (op == "batch_norm" and not params["training"]):
        raise CannotRun(f"TensorFlow returns no statistics of {op} here")
    with tf.device(state["device"]):
        tensors = {name: tf.constant(to_tensorflow(op, name, array)) for name, array in arrays.items()}
        if op == "batch_norm":
            return {"mean": _flat(_batch_mean(tensors, params))}
        x = tensors["input"]
        if op == "layer_norm":
            axes = list(range(x.ndim - len(params["normalized_shape"]), x.ndim))
        else:
            groups = x.shape[-1] if op == "instance_norm" else params["num_groups"]
            x = tf.reshape(x, [*x.shape[:-1], groups, x.shape[-1] // groups])
            axes = [*range(1, x.ndim - 2), x.ndim - 1]
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
    return {"mean": _flat(mean), "variance": _flat(variance)}


def _flat(tensor: Any) -> Float32:
    return np.ascontiguousarray(tensor.numpy().reshape(-1), np.float32)


def _batch_mean(tensors: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    empty = tf.zeros([0], tf.float32)
    return tf.raw_ops.FusedBatchNormV3(
        x=tensors["input"],
        scale=tensors["weight"],
        offset=tensors["bias"],
        mean=empty,
        variance=empty,
        epsilon=params["eps"],
        is_training=True,
    )[1]
