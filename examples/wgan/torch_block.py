"""The block that goes down, as the published critic has it: normalized over each sample."""

from torch import nn
from torch_model import Block, Maker
from weights import images


def model(norm: str = "layer", changes: dict | None = None) -> nn.Module:
    return Block(Maker(norm, "constant", changes), "block", 12, 4, "down")


def inputs():
    return images(4, 12, 32)
