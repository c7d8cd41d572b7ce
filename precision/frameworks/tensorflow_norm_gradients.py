"""Gradients of TensorFlow's normalizations, by a gradient tape over the call that the layer makes.

A gradient is declared without the operands that it does not depend on: the bias, and the weight where it
is that of the weight.  Those are zeros and ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

Shapes = Mapping[str, tuple[int, ...]]
Call = Callable[[Mapping[str, Any]], Any]
Builder = Callable[[Mapping[str, Any], Shapes], Call]


def gradient_ops(layers: Mapping[str, Builder]) -> dict[str, Builder]:
    """Return the builders of the input's, weight's and bias's gradients of each layer, by op."""
    return {
        f"{name}_{wanted}_grad": partial(_gradient, name, layer, wanted)
        for name, layer in layers.items()
        for wanted in ("input", "weight", "bias")
        if (name, wanted) != ("rms_norm", "bias")
    }


def _gradient(name: str, layer: Builder, wanted: str, p: Mapping[str, Any], shapes: Shapes) -> Call:
    image = shapes["grad_output"]
    # Channels are last here, and layers over trailing axes normalize the last one.
    parameter = (image[-1],)
    given = {key: shape for key, shape in shapes.items() if key != "grad_output"}
    given.setdefault("input", image)
    given.setdefault("weight", parameter)
    if name != "rms_norm":
        given.setdefault("bias", parameter)
    call = layer({"training": True, "eps": 1e-5, **p}, given)

    def differentiate(t: Mapping[str, Any]) -> Any:
        operands = {key: t[key] for key in given if key in t}
        for key, make in (("input", tf.zeros), ("weight", tf.ones), ("bias", tf.zeros)):
            if key in given and key not in operands:
                operands[key] = make(given[key], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(operands[wanted])
            output = call(operands)
        return tape.gradient(output, operands[wanted], output_gradients=t["grad_output"])

    return differentiate
