"""Every kind of call that the torch recorder knows, one after another."""

import torch
import torch.nn.functional as F
from torch import nn


class Zoo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reflect = nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(6, 6, 4, padding="same", groups=3)
        self.up = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.prelu = nn.PReLU(4)
        self.instance, self.group = nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)
        self.flat, self.wide = nn.Conv1d(4, 5, 3, padding=2, dilation=2), nn.Linear(8, 8, bias=False)
        self.deep, self.rms = nn.Conv3d(1, 2, (1, 2, 2)), nn.RMSNorm(8)
        self.norm = nn.BatchNorm1d(5)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.elu(self.same(torch.tanh(self.reflect(x))))
        x = self.prelu(self.up(x)) * 2.5 - 0.1
        x = self.group(self.instance(x)) / 3
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(x, 3, 2, padding=1)
        x = F.pixel_shuffle(x, 2)
        deep = F.softplus(self.deep(x.unsqueeze(1)))
        x = F.hardtanh(x).clamp(-0.5, 0.75)
        rows = x.flatten(2).transpose(1, 2)  # (N, positions, 1)
        rows = torch.cat([rows, rows * rows, 1 - rows, rows.abs()], 2).permute(0, 2, 1)
        rows = F.silu(self.norm(self.flat(rows)))[:, :, :8]
        rows = F.layer_norm(self.rms(self.wide(rows)), (8,))
        scores = rows @ rows.transpose(1, 2)
        x = torch.log_softmax(self.drop(scores), -1).mean((1, 2)) + F.normalize(scores.sum(2), dim=1).sum(1)
        return x, torch.sigmoid(deep).sum((1, 2, 3, 4))


def model() -> nn.Module:
    torch.manual_seed(0)
    return Zoo().eval()


def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 6, 6, generator=generator)
