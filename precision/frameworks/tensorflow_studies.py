"""Experiments of the studies in TensorFlow and Keras: calls that are no layer of a suite.

`run(op, params, arrays)` returns float32 arrays by name; float64 results are split in three
(`precision.studies.wide`).  Images come and go in PyTorch's layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from precision.frameworks.tensorflow_tensors import state
from precision.studies.wide import split

Arrays = dict[str, Any]
Given = Mapping[str, Any]


def run(op: str, params: Given, arrays: Given) -> Arrays:
    """Return the arrays of one experiment."""
    with tf.device(state["device"]):
        return _OPS[op](params, arrays)


def _tensor(array: Any, dtype: Any = tf.float32) -> Any:
    return tf.cast(tf.constant(np.ascontiguousarray(array).reshape(np.shape(array))), dtype)


def _array(tensor: Any) -> Any:
    return np.asarray(tensor.numpy(), order="C")


def _last(array: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def _first(tensor: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(_array(tensor), -1, 1))


def _pointwise(p: Given, a: Given) -> Arrays:
    """One of `_POINTWISE`, in float32 or, with dtype float64, in float64."""
    double = p.get("dtype") == "float64"
    y = _array(_POINTWISE[p["function"]](_tensor(a["input"], tf.float64 if double else tf.float32), p))
    return split("output", y) if double else {"output": y}


_POINTWISE: Mapping[str, Callable[[Any, Given], Any]] = {
    "leaky_relu": lambda x, p: tf.nn.leaky_relu(x, alpha=p["negative_slope"]),
    "maximum": lambda x, p: tf.maximum(x, x * p["negative_slope"]),
    "sigmoid": lambda x, p: tf.sigmoid(x),
    "softmax": lambda x, p: tf.nn.softmax(x, axis=p["dim"]),
}


def _cross_entropy(p: Given, a: Given) -> Arrays:
    """As the notebook writes it: in float64, since NumPy's arrays are."""
    labels, logits = (_tensor(a[name], tf.float64) for name in ("target", "input"))
    y = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
    single = [_tensor(a[name]) for name in ("target", "input")]
    also = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=single[0], logits=single[1]))
    return {**split("double", _array(y)), "output": _array(also)}


def _autodiff(p: Given, a: Given) -> Arrays:
    """x, x + 2, 3 (x + 2) and its square; a tape's gradient of the last with respect to each."""
    x = _tensor(a["input"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        x2 = x + 2
        x3 = x2 * 3
        x4 = x3**2
    steps = [x, x2, x3, x4]
    return {"values": _array(tf.stack(steps)), "gradients": _array(tf.stack(tape.gradient(x4, steps)))}


def _new_batch_norm(p: Given, a: Given) -> Arrays:
    """What a new BatchNormalization starts from."""
    layer = tf.keras.layers.BatchNormalization(epsilon=p["eps"])
    layer.build((None, 1, 1, p["channels"]))
    return {"weight": _array(layer.gamma.value), "bias": _array(layer.beta.value)}


def _batch_norm_layer(p: Given, a: Given) -> Arrays:
    """A BatchNormalization trained on batches (steps, N, C, H, W): last output, statistics, inference."""
    layer = tf.keras.layers.BatchNormalization(axis=-1, momentum=p["momentum"], epsilon=p["eps"])
    batches = [_tensor(_last(batch)) for batch in a["input"]]
    for batch in batches:
        output = layer(batch, training=True)
    return {
        "output": _first(output),
        "running_mean": _array(layer.moving_mean.value),
        "running_var": _array(layer.moving_variance.value),
        "inference": _first(layer(batches[-1], training=False)),
    }


def _keras_transposed(p: Given, a: Given) -> Arrays:
    """What Keras's Conv2DTranspose makes of an input and a weight (I, O, kh, kw), padding SAME."""
    x, w = a["input"], a["weight"]
    layer = tf.keras.layers.Conv2DTranspose(
        w.shape[1],
        w.shape[2:],
        strides=p["stride"],
        padding="same",
        use_bias=False,
        output_padding=p.get("output_padding"),
    )
    images = _tensor(_last(x))
    layer.build(images.shape)
    layer.kernel.assign(np.transpose(w, (2, 3, 1, 0)))
    return {"output": _first(layer(images))}


def _column_gradient(p: Given, a: Given) -> Arrays:
    """A tape's gradient of one column of f(logits) with respect to the logits."""
    logits, others = _tensor(a["logits"]), {name: _tensor(array) for name, array in a.items()}
    with tf.GradientTape() as tape:
        tape.watch(logits)
        column = _COLUMNS[p["function"]](logits, others, p)[:, p["column"]]
    return {"output": _array(tape.gradient(column, logits))}


def _columns_batch_norm(x: Any, t: Mapping[str, Any], p: Given) -> Any:
    y = tf.raw_ops.FusedBatchNormV3(
        x=x[:, None, None, :],
        scale=t["weight"],
        offset=t["bias"],
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=p["eps"],
        is_training=True,
    )[0]
    return y[:, 0, 0, :]


_COLUMNS: Mapping[str, Callable[[Any, Mapping[str, Any], Given], Any]] = {
    "linear": lambda x, t, p: tf.linalg.matmul(x, t["weight"], transpose_b=True),
    "softmax": lambda x, t, p: tf.nn.softmax(x, axis=1),
    "batch_norm": _columns_batch_norm,
}


def _momentum(p: Given, a: Given) -> Arrays:
    """SGD over given gradients (steps, n) and rates: the parameter and the buffer after each step."""
    parameter = tf.Variable(_tensor(a["param"]))
    rates = tf.Variable(tf.constant(p["rates"][0], tf.float32), trainable=False)
    path, buffers = [], []
    if p["rule"] == "keras":
        rule = tf.keras.optimizers.SGD(p["rates"][0], momentum=p["momentum"], nesterov=p["nesterov"])
    else:
        rule = tf.compat.v1.train.MomentumOptimizer(
            lambda: rates, momentum=p["momentum"], use_nesterov=p["nesterov"]
        )
    for rate, grad in zip(p["rates"], a["grads"], strict=True):
        rates.assign(rate)
        if p["rule"] == "keras":
            rule.learning_rate.assign(rate)
        rule.apply_gradients([(_tensor(grad), parameter)])
        path.append(_array(parameter).copy())
        slot = rule.momentums[0].value if p["rule"] == "keras" else rule.get_slot(parameter, "momentum")
        buffers.append(_array(slot).copy())
    return {"param": np.stack(path), "buffer": np.stack(buffers)}


def _dropout(p: Given, a: Given) -> Arrays:
    """Dropout of one seed; the mask can be read off where the input has no zeros."""
    tf.random.set_seed(p["seed"])
    return {"output": _array(tf.nn.dropout(_tensor(a["input"]), rate=p["p"]))}


_OPS: Mapping[str, Callable[[Given, Given], Arrays]] = {
    "pointwise": _pointwise,
    "cross_entropy": _cross_entropy,
    "autodiff": _autodiff,
    "new_batch_norm": _new_batch_norm,
    "batch_norm_layer": _batch_norm_layer,
    "keras_transposed": _keras_transposed,
    "column_gradient": _column_gradient,
    "momentum": _momentum,
    "dropout": _dropout,
}
