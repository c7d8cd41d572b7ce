"""Functions of single elements in TensorFlow, in the mode that the backend was set up for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from precision.frameworks.tensorflow_tensors import state

_OPS = {"exp": tf.exp, "gelu": lambda x: tf.nn.gelu(x, approximate=False)}


def run(op: str, params: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return exp, or GELU by the error function, of `input`."""
    call = tf.function(_OPS[op], jit_compile=bool(state["jit_compile"]))
    with tf.device(state["device"]):
        return np.asarray(call(tf.constant(arrays["input"])).numpy(), np.float32)
