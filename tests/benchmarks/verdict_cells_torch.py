"""The calls of the verdict benchmark in PyTorch: in a worker as float32, in this process as float64.

A call is an op of the declared vocabulary; `after` in its parameters lists steps on its result, `by_hand` the
parts of a normalization that PyTorch's own functions have no parameter for, written as users write them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from precision.frameworks import torch_backend, torch_sums
from precision.frameworks.torch_tensors import placed

Tensors = Mapping[str, torch.Tensor]
Params = Mapping[str, Any]

STEPS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu(tanh)": lambda y: F.gelu(y, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "leaky_relu(0.2)": lambda y: F.leaky_relu(y, 0.2),
}


def run(op: str, params: Params, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The result of one call in the mode of this worker, as float32."""
    rest = {name: value for name, value in params.items() if name != "after"}
    if op in torch_sums.OPS or (op in _BACKEND and "by_hand" not in rest):
        with torch.no_grad():
            output = torch.from_numpy(torch_backend.run(op, rest, arrays))
    else:
        output = _call(op, rest, {name: placed(array, True) for name, array in arrays.items()})
    return _finished(output, params)


def double(op: str, params: Params, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The same call in float64: the function itself, as far as the benchmark asks for it."""
    rest = {name: value for name, value in params.items() if name != "after"}
    tensors = {name: torch.from_numpy(np.array(array, np.float64)) for name, array in arrays.items()}
    if op in torch_sums.OPS:
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                output = _double_sum(op, tensors, rest)
        finally:
            torch.set_default_dtype(default)
    elif op in _BACKEND and "by_hand" not in rest:
        with torch.no_grad():
            output = torch_backend._OPS[op](tensors, rest)
    else:
        output = _call(op, rest, tensors)
    return _finished(output, params).astype(np.float64)


def _double_sum(op: str, tensors: Tensors, params: Params) -> torch.Tensor:
    # The operands that a gradient only takes the shape of are float32 in the backend.
    blank = torch_sums.blank
    torch_sums.blank = lambda size: torch.zeros(tuple(size), dtype=torch.float64)
    try:
        return torch_sums.OPS[op](tensors, params)
    finally:
        torch_sums.blank = blank


def _finished(output: torch.Tensor, params: Params) -> np.ndarray:
    for step in params.get("after", ()):
        output = STEPS[step](output) if isinstance(step, str) else output * float(step)
    return np.asarray(output.detach().contiguous().cpu().numpy(), order="C")


_BACKEND = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm")


def _call(op: str, params: Params, t: Tensors) -> torch.Tensor:
    if op.endswith("_grad"):
        return _gradient(op, params, t)
    with torch.no_grad():
        if op in _BACKEND:
            return _by_hand(op, params, t)
        return _OPS[op](t, params)


def _by_hand(op: str, p: Params, t: Tensors) -> torch.Tensor:
    """A normalization with the parts of `by_hand`: ddof, centred, place (of eps), axes."""
    hand, x = p["by_hand"], t["input"]
    axes = tuple(hand.get("axes") or ((-1,) if op in ("layer_norm", "rms_norm") else (0, *range(2, x.ndim))))
    mean = x.mean(axes, keepdim=True)
    if hand.get("centred", True):
        v = x.var(axes, correction=hand.get("ddof", 0), keepdim=True)
    else:
        mean, v = torch.zeros_like(mean), (x * x).mean(axes, keepdim=True)
    eps = p["eps"]
    root = torch.sqrt(v) + eps if hand.get("place") == "outside" else torch.sqrt(v + eps)
    shape = (-1,) if op in ("layer_norm", "rms_norm") else (1, -1, *(1,) * (x.ndim - 2))
    y = (x - mean) / root
    if "weight" in t:
        y = y * t["weight"].reshape(shape)
    return y + t["bias"].reshape(shape) if "bias" in t else y


def _gradient(op: str, p: Params, t: Tensors) -> torch.Tensor:
    """The gradient of a normalization by autograd."""
    name, _, of = op.removesuffix("_grad").rpartition("_")
    x = t["input"].clone()
    parts = {key: tensor for key, tensor in t.items() if key not in ("grad_output", "input")}
    shape = tuple(p["normalized_shape"]) if "normalized_shape" in p else (x.shape[1],)
    if of == "weight":
        parts["weight"] = torch.ones(shape, dtype=x.dtype)
    leaf = x if of == "input" else parts["weight"]
    with torch.enable_grad():
        leaf.requires_grad_()
        call = torch_backend._OPS[name]
        defaults = {"training": False, "eps": 1e-5} if name == "batch_norm" else {"eps": 1e-5}
        y = call({"input": x, **parts}, {**defaults, **p})
        return torch.autograd.grad(y, leaf, t["grad_output"])[0]


def _pool(name: str, axes: int, t: Tensors, p: Params) -> torch.Tensor:
    call = getattr(F, f"{name}_pool{axes}d")
    names = ("kernel_size", "stride", "padding", "ceil_mode", "dilation")
    return call(t["input"], **{key: p[key] for key in names if key in p})


def _interpolate(t: Tensors, p: Params) -> torch.Tensor:
    mode = p.get("mode", "nearest")
    corners = {"align_corners": p.get("align_corners", False)} if "linear" in mode else {}
    return F.interpolate(t["input"], size=tuple(p["size"]), mode=mode, **corners)


def _statistic(name: str, t: Tensors, p: Params) -> torch.Tensor:
    return getattr(torch, name)(t["input"], dim=p["dim"], correction=p.get("correction", 1))


def _running(which: int, t: Tensors, p: Params) -> torch.Tensor:
    x, channels = t["input"], t["input"].shape[1]
    mean = t.get("running_mean", torch.zeros(channels, dtype=x.dtype)).clone()
    variance = t.get("running_var", torch.ones(channels, dtype=x.dtype)).clone()
    F.batch_norm(x, mean, variance, training=True, momentum=p.get("momentum", 0.1))
    return (mean, variance)[which]


def _depth_to_space(t: Tensors, p: Params) -> torch.Tensor:
    """Blocks split off the front of the channels, as TensorFlow orders them."""
    b, (n, c, h, w) = p["block_size"], t["input"].shape
    x = t["input"].reshape(n, b, b, c // (b * b), h, w)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


def _loss(name: str, t: Tensors, p: Params) -> torch.Tensor:
    target = t["target"].long() if name == "cross_entropy" else t["target"]
    return getattr(F, name)(t["input"], target, **p)


def _of_input(call: Callable[..., torch.Tensor], t: Tensors, p: Params) -> torch.Tensor:
    return call(t["input"], **p)


_OPS: Mapping[str, Callable[[Tensors, Params], torch.Tensor]] = {
    **{
        name: partial(_of_input, call)
        for name, call in (
            ("relu", F.relu),
            ("silu", F.silu),
            ("selu", F.selu),
            ("gelu", F.gelu),
            ("elu", F.elu),
            ("leaky_relu", F.leaky_relu),
            ("softplus", F.softplus),
            ("sigmoid", torch.sigmoid),
            ("tanh", torch.tanh),
            ("exp", torch.exp),
            ("erf", torch.erf),
            ("softmax", F.softmax),
            ("log_softmax", F.log_softmax),
            ("logsumexp", torch.logsumexp),
            ("normalize", F.normalize),
            ("pixel_shuffle", F.pixel_shuffle),
            ("pixel_unshuffle", F.pixel_unshuffle),
            ("local_response_norm", F.local_response_norm),
        )
    },
    **{f"max_pool{n}d": partial(_pool, "max", n) for n in (1, 2, 3)},
    "depth_to_space": _depth_to_space,
    "prelu": lambda t, p: F.prelu(t["input"], t["weight"]),
    "interpolate": _interpolate,
    "var": lambda t, p: _statistic("var", t, p),
    "std": lambda t, p: _statistic("std", t, p),
    "batch_norm_running_mean": lambda t, p: _running(0, t, p),
    "batch_norm_running_var": lambda t, p: _running(1, t, p),
    "mse_loss": lambda t, p: _loss("mse_loss", t, p),
    "cross_entropy": lambda t, p: _loss("cross_entropy", t, p),
    "binary_cross_entropy_with_logits": lambda t, p: _loss("binary_cross_entropy_with_logits", t, p),
}
