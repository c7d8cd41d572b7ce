"""Gradients of PyTorch's normalizations, by autograd of the call that the layer makes.

A gradient is declared without the operands that it does not depend on: the bias, and the weight where it
is that of the weight.  Those are zeros and ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

Tensors = Mapping[str, torch.Tensor]
Call = Callable[[Tensors, Mapping[str, Any]], torch.Tensor]

_OVER_AXES = ("layer_norm", "rms_norm")


def gradient_ops(layers: Mapping[str, Call]) -> dict[str, Call]:
    """Return the calls of the input's, weight's and bias's gradients of each layer, by op."""
    return {
        f"{name}_{wanted}_grad": partial(_gradient, name, layer, wanted)
        for name, layer in layers.items()
        for wanted in ("input", "weight", "bias")
        if (name, wanted) != ("rms_norm", "bias")
    }


def _gradient(name: str, layer: Call, wanted: str, t: Tensors, p: Mapping[str, Any]) -> torch.Tensor:
    grad = t["grad_output"]
    given = {key: tensor for key, tensor in t.items() if key != "grad_output"}
    given.setdefault("input", torch.zeros_like(grad))
    shape = parameter_shape(name, tuple(grad.shape), p)
    given.setdefault("weight", grad.new_ones(shape))
    if wanted == "bias":
        given["bias"] = grad.new_zeros(shape)
    with torch.enable_grad():
        # All that a training step differentiates by: of one alone PyTorch 2.13 was seen to crash (the weight
        # of a channels_last group_norm).
        names = [wanted, *(name for name in ("input", "weight", "bias") if name in given and name != wanted)]
        given |= {name: given[name].detach().requires_grad_() for name in names}
        output = layer(given, {"training": True, "eps": 1e-5, **p})
        found = torch.autograd.grad(output, [given[name] for name in names], grad)
    return found[0]


def parameter_shape(name: str, image: Sequence[int], p: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a normalization's weight."""
    return tuple(p["normalized_shape"]) if name in _OVER_AXES else (image[1],)
