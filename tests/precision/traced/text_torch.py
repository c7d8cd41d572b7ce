"""A small transformer of words, its last layer tied to its table, with padding that is masked."""

import torch
import torch.nn.functional as F
from torch import nn

WORDS, WIDTH, HEADS = 50, 16, 4


class Net(nn.Module):
    def __init__(self, plants: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(8, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.scale = 1.0 if "scale" in plants else (WIDTH // HEADS) ** -0.5
        self.shift = 1 if "indices" in plants else 0
        self.causal = "causal" in plants

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        places = torch.arange(words.shape[1]) + self.shift
        x = self.norm(self.words(words) + self.places(places))
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        mask = (words != 0)[:, None, None, :]
        if self.causal:
            mask = mask & torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
        y = F.scaled_dot_product_attention(q, k, v, mask, scale=self.scale)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        scores = torch.softmax(q @ k.transpose(-2, -1) * self.scale, -1) @ v
        return F.linear(x, self.words.weight) + scores.mean()

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)


def model(*plants: str) -> nn.Module:
    torch.manual_seed(0)
    return Net(plants).eval()


def inputs() -> torch.Tensor:
    return torch.tensor([[3, 7, 1, 49, 0, 0], [2, 2, 30, 11, 5, 0]])
