"""The models whose variants are planted, by name, with normalizations that are not trivial."""

import sys
from pathlib import Path

import torch
from torch import nn

SHAPES = {"resnet": (1, 3, 16, 16), "generator": (2, 128), "vit": (2, 3, 16, 16), "small": (4, 3, 8, 8)}
_EXAMPLES = Path(__file__).parents[3] / "examples"


def plain(name: str) -> nn.Module:
    """A model for inference, its weights from a seed."""
    torch.manual_seed(0)
    if name == "resnet":
        import resnet_torch

        net = resnet_torch.ResNet((1, 1), 10)
    elif name == "generator":
        sys.path.insert(0, str(_EXAMPLES / "wgan"))
        import torch_model

        net = torch_model.model()
    elif name == "vit":
        import vit_torch

        net = vit_torch.model()
    else:
        import small_torch

        net = small_torch.model()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for each in net.modules():
            if isinstance(each, nn.modules.batchnorm._BatchNorm):
                each.running_mean.uniform_(-0.3, 0.3, generator=generator)
                each.running_var.uniform_(0.5, 2.0, generator=generator)
                each.weight.uniform_(0.5, 1.5, generator=generator)
                each.bias.uniform_(-0.3, 0.3, generator=generator)
    return net.eval()
