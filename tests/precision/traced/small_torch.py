"""A small model of many kinds of layers; `Net(plants)` swaps one thing in each layer that is named."""

import torch
import torch.nn.functional as F
from torch import nn


def batch_norm(channels: int, **options: float) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, **options)
    layer.running_mean.copy_(torch.linspace(-0.5, 0.5, channels))
    layer.running_var.copy_(torch.linspace(0.5, 2.0, channels))
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    return layer


class Net(nn.Module):
    def __init__(self, plants: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.plants = plants
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn1 = batch_norm(8, eps=1e-3 if "eps" in plants else 1e-5)
        self.act1 = nn.LeakyReLU(0.2 if "slope" in plants else 0.01)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        if "dilation" in plants:
            self.conv2.dilation, self.conv2.padding = (1, 1), (1, 1)
        self.bn2 = batch_norm(8, momentum=0.01 if "momentum" in plants else 0.1)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(3, 1, padding=1, count_include_pad="count" not in plants)
        self.gelu = nn.GELU("tanh" if "gelu" in plants else "none")
        self.gn = nn.GroupNorm(4 if "groups" in plants else 2, 16)
        self.conv3 = nn.Conv2d(16, 8, 1)
        if "bias" in plants:
            self.conv3.bias = None
        self.maxpool = nn.MaxPool2d(2)
        self.fc = nn.Linear(32, 10)
        self.ln = nn.LayerNorm(10)
        self.head = nn.Linear(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "padding" in self.plants:
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), self.conv1.weight, self.conv1.bias, stride=2)
        else:
            x = self.conv1(x)
        before = self.bn1(x)
        x = self.act1(before)
        y = self.relu(self.bn2(self.conv2(x)))
        y = y + (before if "wiring" in self.plants else x)
        pair = [self.avgpool(y), self.gelu(y)]
        z = self.gn(torch.cat(pair[::-1] if "concat" in self.plants else pair, 1))
        z = self.maxpool(self.conv3(z))
        z = z.permute(0, 2, 3, 1) if "flatten" in self.plants else z
        z = self.head(self.ln(self.fc(torch.flatten(z, 1))))
        return torch.softmax(z, 0 if "axis" in self.plants else 1)


def model(*plants: str) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        net = Net(plants)
    net.eval()
    if "training" in plants:
        net.bn2.train()
    return net


def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 8, 8, generator=generator)
