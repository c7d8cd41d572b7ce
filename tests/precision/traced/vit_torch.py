"""A small vision transformer; `Net(plants)` swaps one thing for each name."""

import torch
from torch import nn

WIDTH, HEADS, PATCHES = 16, 4, 16


class Block(nn.Module):
    """Attention that is asked for its weights too, and a perceptron, each behind its normalization."""

    def __init__(self, plants: tuple[str, ...]) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attend = nn.MultiheadAttention(
            WIDTH, 2 if "heads" in plants else HEADS, bias="bias" not in plants, batch_first=True
        )
        self.fc1, self.fc2 = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.act = nn.GELU("tanh" if "gelu" in plants else "none")
        self.causal = "mask" in plants

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        mask = nn.Transformer.generate_square_subsequent_mask(y.shape[1]) if self.causal else None
        x = x + self.attend(y, y, y, attn_mask=mask)[0]
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class Net(nn.Module):
    def __init__(self, plants: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.first = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.place = nn.Parameter(torch.randn(1, PATCHES + 1, WIDTH))
        self.block = Block(plants)
        self.layer = nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            32,
            activation="relu" if "activation" in plants else "gelu",
            layer_norm_eps=1e-5 if "eps" in plants else 1e-6,
            norm_first="order" not in plants,
            batch_first=True,
        )
        self.norm, self.head = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.norm(self.layer(self.block(x)))[:, 0])


def model(*plants: str) -> nn.Module:
    torch.manual_seed(0)
    net = Net(plants).eval()
    for each in net.modules():
        if isinstance(each, nn.LayerNorm):
            nn.init.uniform_(each.weight, 0.5, 1.5)
            nn.init.uniform_(each.bias, -0.5, 0.5)
        if isinstance(each, nn.MultiheadAttention) and each.in_proj_bias is not None:
            nn.init.uniform_(each.in_proj_bias, -0.5, 0.5)
    return net


def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 16, 16, generator=generator)
