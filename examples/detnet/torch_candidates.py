"""DetNet and IKNet with one thing changed each: what could make two frameworks differ by more than rounding.

`candidate("tf32")` is DetNet with the operands of every convolution rounded as tensor cores round them, and
so on; see `CANDIDATES`. The picture may be changed too: `detnet_weights.PICTURES`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache

import torch
import torch_model
from torch import nn

Turn = Callable[[torch.Tensor], torch.Tensor]


def tf32(x: torch.Tensor) -> torch.Tensor:
    """To 10 bits of fraction, ties away from zero."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def tf32_cut(x: torch.Tensor) -> torch.Tensor:
    """To 10 bits of fraction, the rest cut off."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def half(x: torch.Tensor) -> torch.Tensor:
    """To float16."""
    return x.to(torch.float16).to(torch.float32)


def brain(x: torch.Tensor) -> torch.Tensor:
    """To bfloat16."""
    return x.to(torch.bfloat16).to(torch.float32)


def operands(turn: Turn) -> Callable[[nn.Module], None]:
    """Round what every sum of products takes; the sums stay in float32."""

    def change(net: nn.Module) -> None:
        weights(turn)(net)
        for each in _sums(net):
            each.register_forward_pre_hook(lambda module, args: (turn(args[0]),))

    return change


def weights(turn: Turn) -> Callable[[nn.Module], None]:
    """Round the weights alone, as a file of that type would."""

    def change(net: nn.Module) -> None:
        for each in _sums(net):
            each.weight.data = turn(each.weight.data)

    return change


def decimals(x: torch.Tensor) -> torch.Tensor:
    """To 4 decimals, as they are printed."""
    return torch.round(x * 1e4) / 1e4


def eps(value: float) -> Callable[[nn.Module], None]:
    """Another eps in every normalization."""

    def change(net: nn.Module) -> None:
        for each in net.modules():
            if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
                each.eps = value

    return change


def padding(net: nn.Module) -> None:
    """Kernel // 2 zeros on both sides, as torch users write it, where SAME pads more at the end."""
    for each in net.modules():
        if isinstance(each, torch_model.ConvNorm) and isinstance(each.pad, nn.ZeroPad2d):
            each.pad = nn.Identity()
            each.conv.padding = tuple(k // 2 for k in each.conv.kernel_size)


def unbiased(net: nn.Module) -> None:
    """Running variances times n/(n - 1), n = 32 x 32: one framework's training kept the other estimate."""
    for each in net.modules():
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
            each.running_var *= 1024 / 1023


def nothing(net: nn.Module) -> None:
    """The model as it is."""


CANDIDATES: Mapping[str, Callable[[nn.Module], None]] = {
    "as it is": nothing,
    "tf32": operands(tf32),
    "tf32, cut": operands(tf32_cut),
    "float16": operands(half),
    "bfloat16": operands(brain),
    "eps 1e-3": eps(1e-3),
    "padding": padding,
    "variance": unbiased,
    "weights float16": weights(half),
    "weights 4 decimals": weights(decimals),
}


def candidate(name: str, net: str = "detnet") -> nn.Module:
    """DetNet or IKNet with that one change."""
    found = copy.deepcopy(_plain(net))
    CANDIDATES[name](found)
    return found


@cache
def _plain(net: str) -> nn.Module:
    return torch_model.detnet() if net == "detnet" else torch_model.iknet()


def _sums(net: nn.Module) -> list[nn.Module]:
    return [each for each in net.modules() if isinstance(each, nn.Conv2d | nn.Linear)]


def model() -> nn.Module:
    return candidate("as it is")
