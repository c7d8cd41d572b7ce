"""A small net whose gradients are followed: a residual changed in place, branches, parameters joined."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn1 = nn.BatchNorm2d(6)
        nn.init.uniform_(self.bn1.weight, 0.5, 1.5)
        nn.init.uniform_(self.bn1.bias, -0.5, 0.5)
        self.bn1.running_mean.copy_(torch.linspace(-0.2, 0.2, 6))
        self.bn1.running_var.copy_(torch.linspace(0.5, 1.5, 6))
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.shift = nn.Parameter(torch.randn(6, 1, 1))
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(12 * 9, 10)
        self.ln = nn.LayerNorm(10)
        nn.init.uniform_(self.ln.weight, 0.5, 1.5)
        self.head = nn.Linear(10, 10)
        self.head.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(F.pad(x, (0, 1, 0, 1)))
        x = self.relu(self.bn1(x))
        y = self.conv2(x)
        y += x
        y = y.relu_()
        z = torch.cat([torch.sigmoid(y), y + self.shift], 1)
        z = self.ln(self.fc(torch.flatten(self.pool(z), 1)))
        z = torch.tanh(self.head(z))
        # The same weights again.
        return torch.softmax(self.head(z * z), 1)


def model() -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        return Net().eval()


def inputs() -> torch.Tensor:
    return torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(1))
