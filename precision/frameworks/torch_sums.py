"""Sums of products in PyTorch: convolutions, linear layers, matrix products, sums, pooling, gradients.

A gradient of a convolution is `aten.convolution_backward`, which is what autograd calls, asked for
that gradient alone; of what it does not need for it, it gets zeros. Linear layers, matrix products and
paddings other than zeros are differentiated by autograd itself. Padding that differs at the two ends
is `F.pad` before the call, as users write it: cut off again from the gradient; a transposed convolution's
is cut off the result, its gradient padded. "same_torch" is `padding="same"`, which adds the odd pixel by
`F.pad` and gives the rest to the kernel. The gradient of a bias is declared without the layer it belongs to:
it is that of a 1x1 layer with as many inputs as outputs, or of a linear layer with one input. On the CPU
dense layers with other taps were seen to add it in the same order, depthwise ones not always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from precision.errors import CannotRun
from precision.frameworks.padding import (
    Pairs,
    Sizes,
    check_layout,
    explicit_padding,
    per_axis,
    transposed_crop,
)
from precision.frameworks.torch_tensors import blank

Tensors = Mapping[str, torch.Tensor]
Params = Mapping[str, Any]
Call = Callable[[Tensors, Params], torch.Tensor]


@dataclass(frozen=True)
class _Layer:
    """The framework's own call of a convolution, and what is added around its large side."""

    stride: Sizes
    padding: Sizes
    dilation: Sizes
    output_padding: Sizes
    groups: int
    added: Pairs
    mode: str = "constant"

    def widened(self, large: torch.Tensor) -> torch.Tensor:
        return _pad(large, self.added, self.mode)

    def narrowed(self, large: torch.Tensor) -> torch.Tensor:
        return _pad(large, tuple((-before, -after) for before, after in self.added), "constant")

    def backward(
        self, grad: torch.Tensor, x: torch.Tensor, w: torch.Tensor, which: int, transposed: bool
    ) -> torch.Tensor:
        """Return the gradient of the input (0), the weight (1) or the bias (2)."""
        bias = [w.shape[1] * self.groups if transposed else w.shape[0]]
        gradients: Sequence[torch.Tensor] = torch.ops.aten.convolution_backward(
            grad,
            x,
            w,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            transposed,
            self.output_padding,
            self.groups,
            [which == i for i in range(3)],
        )
        return gradients[which]


def _pad(x: torch.Tensor, pads: Pairs, mode: str) -> torch.Tensor:
    if not any(before or after for before, after in pads):
        return x
    return F.pad(x, [amount for pad in reversed(pads) for amount in pad], mode)


def _direct(p: Params, size: Sequence[int], kernel: Sequence[int]) -> _Layer:
    check_layout(p)
    axes = len(size)
    stride, dilation = per_axis(p.get("stride", 1), axes), per_axis(p.get("dilation", 1), axes)
    declared, mode = p.get("padding", 0), p.get("padding_mode", "zeros")
    pads = explicit_padding(declared, size, kernel, stride, dilation)
    none = (0,) * axes
    if mode != "zeros":
        own, added = none, pads
    elif isinstance(declared, str) and declared.lower() == "same_torch":
        own, added = tuple(before for before, _ in pads), tuple((0, b - a) for a, b in pads)
    elif all(before == after for before, after in pads):
        own, added = tuple(before for before, _ in pads), ()
    else:
        # conv2d takes one number an axis; the other pixels are what users add by hand.
        own, added = none, pads
    return _Layer(
        stride, own, dilation, none, p.get("groups", 1), added, "constant" if mode == "zeros" else mode
    )


def _turned(p: Params, size: Sequence[int], kernel: Sequence[int]) -> _Layer:
    """The call of a transposed convolution; `added` is what is cut off its result."""
    check_layout(p)
    axes = len(size)
    stride, dilation = per_axis(p.get("stride", 1), axes), per_axis(p.get("dilation", 1), axes)
    crop = transposed_crop(p, size, kernel)
    found = []
    for (before, _), out, full, s, d in zip(crop.pads, crop.out, crop.full, stride, dilation, strict=True):
        extra = out - full + 2 * before
        if 0 <= extra < max(s, d):
            found.append((before, extra, (0, 0)))
        else:
            extra = max(0, out + before - full)
            found.append((0, extra, (before, full + extra - before - out)))
    own, extras, added = zip(*found, strict=True)
    return _Layer(stride, own, dilation, extras, p.get("groups", 1), added)


def _conv(axes: int, t: Tensors, p: Params) -> torch.Tensor:
    x, w = t["input"], t["weight"]
    at = _direct(p, x.shape[2:], w.shape[2:])
    call: Any = getattr(F, f"conv{axes}d")
    return call(at.widened(x), w, t.get("bias"), at.stride, at.padding, at.dilation, at.groups)


def _conv_input_grad(t: Tensors, p: Params) -> torch.Tensor:
    size, w = tuple(p["input_size"]), t["weight"]
    at = _direct(p, size[2:], w.shape[2:])
    if at.mode != "constant":
        with torch.enable_grad():
            x = blank(size).requires_grad_()
            filled = at.widened(x)
            large = at.backward(t["grad_output"], filled.detach(), w, 0, False)
            return torch.autograd.grad(filled, x, large)[0]
    wide = [n + sum(pad) for n, pad in zip(size[2:], at.added, strict=True)] if at.added else size[2:]
    return at.narrowed(at.backward(t["grad_output"], blank((*size[:2], *wide)), w, 0, False))


def _conv_weight_grad(t: Tensors, p: Params) -> torch.Tensor:
    x, size = t["input"], p["weight_size"]
    at = _direct(p, x.shape[2:], size[2:])
    return at.backward(t["grad_output"], at.widened(x), blank(size), 1, False)


def _transposed(axes: int, t: Tensors, p: Params) -> torch.Tensor:
    x, w = t["input"], t["weight"]
    at = _turned(p, x.shape[2:], w.shape[2:])
    call: Any = getattr(F, f"conv_transpose{axes}d")
    return at.narrowed(
        call(x, w, t.get("bias"), at.stride, at.padding, at.output_padding, at.groups, at.dilation)
    )


def _transposed_input_grad(t: Tensors, p: Params) -> torch.Tensor:
    size, w = p["input_size"], t["weight"]
    at = _turned(p, size[2:], w.shape[2:])
    return at.backward(at.widened(t["grad_output"]), blank(size), w, 0, True)


def _transposed_weight_grad(t: Tensors, p: Params) -> torch.Tensor:
    x, size = t["input"], p["weight_size"]
    at = _turned(p, x.shape[2:], size[2:])
    return at.backward(at.widened(t["grad_output"]), x, blank(size), 1, True)


def _bias_grad(transposed: bool, t: Tensors, p: Params) -> torch.Tensor:
    check_layout(p)
    g = t["grad_output"]
    axes, channels = g.ndim - 2, g.shape[1]
    one, none = (1,) * axes, (0,) * axes
    at = _Layer(one, none, one, none, 1, ())
    return at.backward(g, blank(g.shape), blank((channels, channels, *one)), 2, transposed)


def _derivative(
    call: Callable[[torch.Tensor], torch.Tensor], shape: Sequence[int], grad: torch.Tensor
) -> Any:
    """Return autograd's gradient of a call that is linear in its operand, so zeros will do for it."""
    with torch.enable_grad():
        x = grad.new_zeros(tuple(shape)).requires_grad_()
        return torch.autograd.grad(call(x), x, grad)[0]


def _linear_input_grad(t: Tensors, p: Params) -> Any:
    g, w = t["grad_output"], t["weight"]
    return _derivative(lambda x: F.linear(x, w), (*g.shape[:-1], w.shape[1]), g)


def _linear_weight_grad(t: Tensors, p: Params) -> Any:
    g, x = t["grad_output"], t["input"]
    return _derivative(lambda w: F.linear(x, w), (g.shape[-1], x.shape[-1]), g)


def _linear_bias_grad(t: Tensors, p: Params) -> Any:
    g = t["grad_output"]
    x, w = g.new_zeros((*g.shape[:-1], 1)), g.new_zeros((g.shape[-1], 1))
    return _derivative(lambda b: F.linear(x, w, b), g.shape[-1:], g)


def _matmul_input_grad(t: Tensors, p: Params) -> Any:
    g, b = t["grad_output"], t["other"]
    size = p.get("input_size") or (*g.shape[:-1], b.shape[-2])
    return _derivative(lambda a: torch.matmul(a, b), size, g)


def _matmul_other_grad(t: Tensors, p: Params) -> Any:
    g, a = t["grad_output"], t["input"]
    size = p.get("other_size") or (*g.shape[:-2], a.shape[-1], g.shape[-1])
    return _derivative(lambda b: torch.matmul(a, b), size, g)


def _reduced(call: Callable[..., torch.Tensor], t: Tensors, p: Params) -> torch.Tensor:
    dim = p.get("dim")
    if dim is None:
        dim = range(t["input"].ndim)
    axes = [dim] if isinstance(dim, int) else list(dim)
    if not axes and t["input"].ndim:
        raise CannotRun("PyTorch takes an empty dim for all axes, where the declaration means none")
    return call(t["input"], dim=axes, keepdim=p.get("keepdim", False))


def _avg_pool(axes: int, t: Tensors, p: Params) -> torch.Tensor:
    check_layout(p)
    x = t["input"]
    kernel = per_axis(p["kernel_size"], axes)
    stride = kernel if p.get("stride") is None else per_axis(p["stride"], axes)
    declared, ceil = p.get("padding", 0), p.get("ceil_mode", False)
    pads = explicit_padding(declared, x.shape[2:], kernel, stride, 1)
    counts = p.get("count_include_pad")
    if counts is None:
        counts = not isinstance(declared, str) or declared.lower() == "valid"
    override = p.get("divisor_override")
    if override is not None and axes == 1:
        raise CannotRun("avg_pool1d of PyTorch has no divisor_override")
    own = tuple(before for before, _ in pads)
    # avg_pool3d also wants the unpadded input as large as the window.
    small = axes == 3 and any(n < k for n, k in zip(x.shape[2:], kernel, strict=True))
    if small or any(
        before != after or 2 * before > k for (before, after), k in zip(pads, kernel, strict=True)
    ):
        if ceil or not (counts or override):
            what = "with ceil_mode" if ceil else "that does not count"
            raise CannotRun(f"PyTorch pools with equal padding of at most half a window {what}, got {pads}")
        x, own = _pad(x, pads, "constant"), (0,) * axes
    extra = {} if axes == 1 else {"divisor_override": override}
    call: Any = getattr(F, f"avg_pool{axes}d")
    return call(x, kernel, stride, own, ceil, counts, **extra)


OPS: Mapping[str, Call] = {
    **{
        name: call
        for axes in (1, 2, 3)
        for name, call in (
            (f"conv{axes}d", partial(_conv, axes)),
            (f"conv{axes}d_input_grad", _conv_input_grad),
            (f"conv{axes}d_weight_grad", _conv_weight_grad),
            (f"conv{axes}d_bias_grad", partial(_bias_grad, False)),
            (f"conv_transpose{axes}d", partial(_transposed, axes)),
            (f"conv_transpose{axes}d_input_grad", _transposed_input_grad),
            (f"conv_transpose{axes}d_weight_grad", _transposed_weight_grad),
            (f"conv_transpose{axes}d_bias_grad", partial(_bias_grad, True)),
            (f"avg_pool{axes}d", partial(_avg_pool, axes)),
        )
    },
    "linear": lambda t, p: F.linear(t["input"], t["weight"], t.get("bias")),
    "linear_input_grad": _linear_input_grad,
    "linear_weight_grad": _linear_weight_grad,
    "linear_bias_grad": _linear_bias_grad,
    "matmul": lambda t, p: torch.matmul(t["input"], t["other"]),
    "matmul_input_grad": _matmul_input_grad,
    "matmul_other_grad": _matmul_other_grad,
    "sum": partial(_reduced, torch.sum),
    "mean": partial(_reduced, torch.mean),
}
