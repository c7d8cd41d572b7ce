"""`small_torch` with one thing swapped in each layer."""

from small_torch import model as plain
from torch import nn

PLANTS = (
    "padding", "eps", "slope", "dilation", "momentum", "wiring", "count", "gelu", "concat", "groups", "bias",
    "flatten", "axis",
)  # fmt: skip


def model() -> nn.Module:
    return plain(*PLANTS)
