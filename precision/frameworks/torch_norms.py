"""The statistics that PyTorch's normalizations return beside their output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.frameworks.torch_tensors import placed

Float32 = NDArray[np.float32]
Tensors = Mapping[str, torch.Tensor]


def statistics(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
    """Return "mean" and "rstd" of one call, one number a row of `reference.grouped`, as float32.

    They come from the function below torch.nn.functional that computes the layer, in the mode's memory
    format. Raises `CannotRun` for an op that keeps none (rms_norm, batch_norm with running statistics).
    """
    if op not in _OPS or (op == "batch_norm" and not params["training"]):
        raise CannotRun(f"PyTorch returns no statistics of {op} here")
    tensors = {name: placed(array, True) for name, array in arrays.items()}
    with torch.no_grad():
        mean, rstd = _OPS[op](tensors, params)
    return {"mean": _flat(mean), "rstd": _flat(rstd)}


def _flat(tensor: torch.Tensor) -> Float32:
    return np.ascontiguousarray(tensor.reshape(-1).cpu().numpy(), np.float32)


def _batch_norm(t: Tensors, p: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    _, mean, rstd = torch.native_batch_norm(
        t["input"], t.get("weight"), t.get("bias"), None, None, True, 0.0, p["eps"]
    )
    return mean, rstd


def _instance_norm(t: Tensors, p: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    # As torch.instance_norm does: every sample and channel is a channel of a batch of one.
    x = t["input"].contiguous()
    samples, channels = x.shape[:2]
    one = x.view(1, samples * channels, *x.shape[2:])
    weight, bias = (None if t.get(name) is None else t[name].repeat(samples) for name in ("weight", "bias"))
    _, mean, rstd = torch.native_batch_norm(one, weight, bias, None, None, True, 0.0, p["eps"])
    return mean, rstd


def _group_norm(t: Tensors, p: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    x = t["input"]
    samples, channels = x.shape[:2]
    pixels = x[0, 0].numel()
    _, mean, rstd = torch.native_group_norm(
        x, t.get("weight"), t.get("bias"), samples, channels, pixels, p["num_groups"], p["eps"]
    )
    return mean, rstd


def _layer_norm(t: Tensors, p: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    _, mean, rstd = torch.native_layer_norm(
        t["input"], p["normalized_shape"], t.get("weight"), t.get("bias"), p["eps"]
    )
    return mean, rstd


_OPS: Mapping[str, Callable[[Tensors, Mapping[str, Any]], tuple[torch.Tensor, torch.Tensor]]] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
}
