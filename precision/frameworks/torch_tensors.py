"""Where and how tensors of PyTorch lie: on the mode's device, images in its memory format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

state: dict[str, Any] = {
    "device": "cpu",
    "memory_format": "contiguous",
    "compile": False,
    "offset": 0,
    "operands": "float32",
}

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def placed(array: NDArray[np.float32], image: bool) -> torch.Tensor:
    """Return a copy of `array` as a tensor; `image` says whether the memory format is meant for it."""
    # A copy: running statistics are updated in place, and the next repeat needs the old ones.
    tensor = torch.from_numpy(array.copy()).to(state["device"])
    if state["offset"]:
        memory = tensor.new_empty(tensor.numel() + state["offset"])
        tensor = memory[state["offset"] :].view(tensor.shape).copy_(tensor)
    return formatted(tensor) if image else tensor


def narrowed(tensor: torch.Tensor) -> torch.Tensor:
    """Return an operand of a sum in the mode's format of operands, rounded to nearest even."""
    return tensor.to(getattr(torch, state["operands"]))


def blank(size: Sequence[int]) -> torch.Tensor:
    """Return an image of zeros, for a call that wants an operand of which it reads the shape alone."""
    kind = getattr(torch, state["operands"])
    return formatted(torch.zeros(tuple(size), dtype=kind, device=state["device"]))


def formatted(tensor: torch.Tensor) -> torch.Tensor:
    """Return an image or its weight in the mode's memory format, which is known for 4 and 5 axes."""
    if state["memory_format"] == "channels_last" and tensor.ndim in _CHANNELS_LAST:
        # `to` and not `contiguous`: with one channel or one pixel both formats are contiguous, and `to`
        # alone sets the strides by which PyTorch tells them apart.
        return tensor.to(memory_format=_CHANNELS_LAST[tensor.ndim])
    return tensor
