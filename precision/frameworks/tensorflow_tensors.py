"""Where and how tensors of TensorFlow lie: on the mode's device, channels last, kernels (*taps, in, out).

The transposes are exact, done in NumPy. Ops over one axis get a height of 1, as tf.nn.conv1d,
tf.nn.avg_pool1d and their like give it before they call the ops over two axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

state: dict[str, Any] = {"device": "/CPU:0", "jit_compile": False, "operands": "float32"}

_AS_THEY_ARE = ("matmul", "sum", "mean", "linear")


def to_tensorflow(op: str, name: str, array: Float32) -> Float32:
    """Return an array of PyTorch's layout in TensorFlow's."""
    if op.startswith(_AS_THEY_ARE):
        turned = op.startswith("linear") and name == "weight"
        return np.ascontiguousarray(array.T) if turned else array
    if is_flat(op) and array.ndim == 3:
        array = array[:, :, None, :]
    if array.ndim < 4:
        return array
    axes = tuple(range(2, array.ndim))
    return np.ascontiguousarray(array.transpose((*axes, 1, 0) if name == "weight" else (0, *axes, 1)))


def from_tensorflow(op: str, array: Any) -> Float32:
    """Return an op's result in PyTorch's layout."""
    found: Float32 = np.asarray(array, np.float32)
    if op == "linear_weight_grad":
        return np.ascontiguousarray(found.T)
    if found.ndim < 4 or op.startswith(_AS_THEY_ARE):
        return np.asarray(found, order="C")
    last = found.ndim - 1
    if op.endswith("_weight_grad"):
        found = found.transpose(last, last - 1, *range(last - 1))
    else:
        found = found.transpose(0, last, *range(1, last))
    return np.ascontiguousarray(found[:, :, 0] if is_flat(op) else found)


def is_flat(op: str) -> bool:
    """Whether an op is over one axis."""
    return op.startswith(("conv1d", "conv_transpose1d", "avg_pool1d"))
