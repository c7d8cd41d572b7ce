"""DetNet and IKNet in PyTorch, with the padding of TensorFlow's SAME (see `detnet_weights`).

precision trace examples/detnet/torch_model.py examples/detnet/keras_model.py
"""

from __future__ import annotations

from itertools import pairwise

import detnet_weights as shared
import numpy as np
import torch
from torch import nn


def same(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after an axis, by TensorFlow's rule: what is odd goes to the end."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Module):
    """A convolution and a batch normalization; size: of the maps it takes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, size: int, stride: int = 1, rate: int = 1):
        super().__init__()
        before, after = same(size, kernel, stride, rate)
        # Where both sides take the same, the convolution pads by itself.
        even = before == after
        self.pad = nn.Identity() if even else nn.ZeroPad2d((before, after, before, after))
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=before if even else 0, dilation=rate, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=shared.EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.pad(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (strided or dilated), 1 x 1, and the shortcut."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, rate: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs // 4, 1, size)
        self.conv2 = ConvNorm(outputs // 4, outputs // 4, 3, size, stride, rate)
        self.conv3 = ConvNorm(outputs // 4, outputs, 1, size // stride)
        self.relu1, self.relu2, self.relu = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module | None = None
        if inputs != outputs:
            self.shortcut = ConvNorm(inputs, outputs, 1, size)
        elif stride > 1:
            self.shortcut = nn.MaxPool2d(stride, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        y = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.relu(kept + self.conv3(y))


class Head(nn.Module):
    """3 x 3 with normalization, then 1 x 1 with bias."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.project, self.relu = ConvNorm(inputs, 256, 3, 32), nn.ReLU()
        self.predict = nn.Conv2d(256, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(self.relu(self.project(x)))


class DetNet(nn.Module):
    """(1, 3, 128, 128) to the heat, delta and location maps, (1, 21 | 63 | 63, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = ConvNorm(3, 64, 7, shared.SIZE, stride=2), nn.ReLU()
        size, blocks = 64, {"block1": [], "block2": [], "block3": []}
        for name, inputs, outputs, stride, rate in shared.UNITS:
            blocks[name.partition(".")[0]].append(Bottleneck(inputs, outputs, size, stride, rate))
            size //= stride
        self.block1, self.block2, self.block3 = (nn.Sequential(*units) for units in blocks.values())
        self.squeeze, self.relu2 = ConvNorm(1024, 256, 3, 32), nn.ReLU()
        self.hmap, self.dmap, self.lmap = (Head(inputs, outputs) for _, inputs, outputs in shared.HEADS)
        self.heat = nn.Sigmoid()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.block3(self.block2(self.block1(self.relu1(self.conv1(image)))))
        features = self.relu2(self.squeeze(x))
        heat = self.heat(self.hmap(features))
        features = torch.cat([features, heat], 1)
        delta = self.dmap(features)
        return heat, delta, self.lmap(torch.cat([features, delta], 1))


class IKNet(nn.Module):
    """(1, 252) to 21 rotations, (1, 84), not yet of unit length."""

    def __init__(self) -> None:
        super().__init__()
        widths = [shared.IK_INPUT] + [shared.IK_WIDTH] * shared.IK_DEPTH
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norm = nn.ModuleList(nn.BatchNorm1d(width, eps=shared.EPS) for width in widths[1:])
        self.act = nn.ModuleList(nn.Sigmoid() for _ in widths[1:])
        self.rotations = nn.Linear(shared.IK_WIDTH, 4 * shared.JOINTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for dense, norm, act in zip(self.dense, self.norm, self.act, strict=True):
            x = act(norm(dense(x)))
        return self.rotations(x)


_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}


def detnet() -> DetNet:
    """DetNet with the shared weights, for inference."""
    return filled(DetNet(), shared.detnet_weights())


def iknet() -> IKNet:
    """IKNet with the shared weights, for inference."""
    return filled(IKNet(), shared.iknet_weights())


def filled(net: nn.Module, weights: dict[str, np.ndarray]) -> nn.Module:
    """Put every array where its name says."""
    state = net.state_dict()
    for name in state:
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(weights[_shared_name(name)].copy())
    net.load_state_dict(state)
    return net.eval()


def _shared_name(name: str) -> str:
    """block1.0.conv1.norm.running_var is block1.0.conv1.var; dense.3.weight is dense3.weight."""
    parts = name.split(".")
    if parts[0] in ("dense", "norm"):
        part = _NORM[parts[2]] if parts[0] == "norm" else parts[2]
        return f"dense{parts[1]}.{part}"
    if parts[-2] == "norm":
        return ".".join([*parts[:-2], _NORM[parts[-1]]])
    if parts[-2] == "conv":
        return ".".join([*parts[:-2], parts[-1]])
    return name


def model() -> nn.Module:
    return detnet()


def inputs() -> np.ndarray:
    return shared.picture()
