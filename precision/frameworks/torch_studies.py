"""Experiments of the studies in PyTorch: calls that are no layer of a suite.

`run(op, params, arrays)` returns float32 arrays by name; float64 results are split in three
(`precision.studies.wide`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from precision.frameworks.torch_tensors import state
from precision.studies.wide import split

Arrays = dict[str, Any]
Given = Mapping[str, Any]


def run(op: str, params: Given, arrays: Given) -> Arrays:
    """Return the arrays of one experiment."""
    return _OPS[op](params, arrays)


def _tensor(array: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(state["device"], dtype).reshape(np.shape(array))


def _array(tensor: torch.Tensor) -> Any:
    return np.asarray(tensor.detach().cpu().numpy(), order="C")


def _double_conv(p: Given, a: Given) -> Arrays:
    """The convolution in float64, padded by hand as [top, bottom, left, right]."""
    x, w, bias = (_tensor(a[name], torch.float64) for name in ("input", "weight", "bias"))
    top, bottom, left, right = p["padding"]
    with torch.no_grad():
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, bias, stride=p["stride"])
    return split("output", _array(y))


def _pointwise(p: Given, a: Given) -> Arrays:
    """One of `_POINTWISE`, in float32 or, with dtype float64, in float64."""
    double = p.get("dtype") == "float64"
    x = _tensor(a["input"], torch.float64 if double else torch.float32)
    y = _array(_POINTWISE[p["function"]](x, p))
    return split("output", y) if double else {"output": y}


_POINTWISE: Mapping[str, Callable[[torch.Tensor, Given], torch.Tensor]] = {
    "leaky_relu": lambda x, p: F.leaky_relu(x, p["negative_slope"]),
    "sigmoid": lambda x, p: torch.sigmoid(x),
    "softmax": lambda x, p: F.softmax(x, dim=p["dim"]),
}


def _cross_entropy(p: Given, a: Given) -> Arrays:
    return {"output": _array(F.binary_cross_entropy_with_logits(_tensor(a["input"]), _tensor(a["target"])))}


def _autodiff(p: Given, a: Given) -> Arrays:
    """x, x + 2, 3 (x + 2) and its square; what `backward` leaves in `.grad` of each, NaN for None."""
    x = _tensor(a["input"]).requires_grad_()
    x2 = x + 2
    x3 = x2 * 3
    x4 = x3**2
    x4.sum().backward()
    steps = (x, x2, x3, x4)
    # Autograd keeps gradients of leaves alone; reading that of another tensor gives None, and a warning.
    kept = [step.grad if step.is_leaf else None for step in steps]
    gradients = [torch.full_like(x, torch.nan) if grad is None else grad for grad in kept]
    return {"values": _array(torch.stack(steps)), "gradients": _array(torch.stack(gradients))}


def _new_batch_norm(p: Given, a: Given) -> Arrays:
    """What a new BatchNorm2d starts from."""
    layer = torch.nn.BatchNorm2d(p["channels"], momentum=None, eps=p["eps"], affine=True)
    return {"weight": _array(layer.weight), "bias": _array(layer.bias)}


def _batch_norm_layer(p: Given, a: Given) -> Arrays:
    """A BatchNorm2d trained on batches (steps, N, C, H, W): the last output, the statistics, inference."""
    batches = _tensor(a["input"])
    layer = torch.nn.BatchNorm2d(batches.shape[2], eps=p["eps"], momentum=p["momentum"], affine=False)
    layer = layer.to(state["device"])
    with torch.no_grad():
        for batch in batches:
            output = layer(batch)
        layer.eval()
        inference = layer(batches[-1])
    statistics = {name: _array(value) for name, value in layer.named_buffers() if value.ndim}
    return {"output": _array(output), "inference": _array(inference), **statistics}


def _column_gradient(p: Given, a: Given) -> Arrays:
    """Autograd of one column of f(logits) with respect to the logits, as the sum of the rows' gradients."""
    logits = _tensor(a["logits"]).requires_grad_()
    y = _COLUMNS[p["function"]](logits, {name: _tensor(array) for name, array in a.items()}, p)
    column = y[:, p["column"]]
    found = torch.autograd.grad(column, logits, grad_outputs=torch.ones_like(column))[0]
    return {"output": _array(found)}


_COLUMNS: Mapping[str, Callable[[torch.Tensor, Mapping[str, torch.Tensor], Given], torch.Tensor]] = {
    "linear": lambda x, t, p: F.linear(x, t["weight"]),
    "softmax": lambda x, t, p: F.softmax(x, dim=1),
    "batch_norm": lambda x, t, p: F.batch_norm(
        x, None, None, t["weight"], t["bias"], training=True, eps=p["eps"]
    ),
}


def _momentum(p: Given, a: Given) -> Arrays:
    """SGD over given gradients (steps, n) and rates: the parameter and the buffer after each step."""
    parameter = torch.nn.Parameter(_tensor(a["param"]))
    rule = torch.optim.SGD([parameter], lr=p["rates"][0], momentum=p["momentum"], nesterov=p["nesterov"])
    path, buffers = [], []
    for rate, grad in zip(p["rates"], _tensor(a["grads"]), strict=True):
        for group in rule.param_groups:
            group["lr"] = rate
        parameter.grad = grad.clone()
        rule.step()
        path.append(_array(parameter).copy())
        buffers.append(_array(rule.state[parameter]["momentum_buffer"]).copy())
    return {"param": np.stack(path), "buffer": np.stack(buffers)}


def _dropout(p: Given, a: Given) -> Arrays:
    """Dropout of one seed; the mask can be read off where the input has no zeros."""
    torch.manual_seed(p["seed"])
    return {"output": _array(F.dropout(_tensor(a["input"]), p["p"], training=True))}


_OPS: Mapping[str, Callable[[Given, Given], Arrays]] = {
    "double_conv": _double_conv,
    "pointwise": _pointwise,
    "cross_entropy": _cross_entropy,
    "autodiff": _autodiff,
    "new_batch_norm": _new_batch_norm,
    "batch_norm_layer": _batch_norm_layer,
    "column_gradient": _column_gradient,
    "momentum": _momentum,
    "dropout": _dropout,
}
