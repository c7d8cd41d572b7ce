"""IKNet on the coordinates of one hand, in PyTorch."""

import detnet_weights as shared
import numpy as np
import torch_model
from torch import nn


def model() -> nn.Module:
    return torch_model.iknet()


def inputs() -> np.ndarray:
    joints = np.random.default_rng(4).uniform(-1.0, 1.0, (shared.JOINTS, 3)).astype(np.float32)
    return shared.ik_input(joints, shared.rest())
