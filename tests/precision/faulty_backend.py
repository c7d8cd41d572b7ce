"""PyTorch with one planted fault, named by the variable FAULT as [op, fault]."""

from __future__ import annotations

import json
import os

import numpy as np

from precision.frameworks import torch_backend
from precision.frameworks.torch_backend import configure, versions

__all__ = ["configure", "run", "versions"]

OP, FAULT = json.loads(os.environ["FAULT"])


def run(op, params, arrays):
    if op != OP:
        return torch_backend.run(op, params, arrays)
    arrays, params = {name: array.copy() for name, array in arrays.items()}, dict(params)
    if FAULT == "flip":
        arrays["weight"] = arrays["weight"][..., ::-1, ::-1].copy()
    if FAULT == "shift":
        params["padding"] = [1, 0, 0, 1]
    if FAULT == "stride":
        arrays["input"] = np.roll(arrays["input"], 1, axis=-1)
    if FAULT == "no bias":
        arrays["bias"][:] = 0
    if FAULT == "two biases":
        arrays["bias"] *= 2
    if FAULT == "one weight":
        arrays["weight"].flat[7] += 1
    if FAULT == "eps":
        params["eps"] *= 1.01
    if FAULT == "uncentred":
        arrays["input"] -= arrays["input"].mean(axis=-1, keepdims=True) / 2
        arrays["input"] *= arrays["input"].std(axis=-1, keepdims=True) * 1.25
    output = torch_backend.run(op, params, arrays)
    if FAULT == "unbiased":
        n = arrays["input"].shape[-1]
        bias = arrays["bias"]
        output = (output - bias) * np.float32(np.sqrt((n - 1) / n)) + bias
    return output
