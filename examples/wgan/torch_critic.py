"""The critic, layer normalized, which scores images of 64 x 64."""

import torch_model
from torch import nn
from weights import images


def model(weights: str = "seeded", changes: dict | None = None) -> nn.Module:
    return torch_model.Critic(torch_model.Maker("layer", weights, changes))


def inputs():
    return images(2)
