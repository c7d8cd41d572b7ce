"""Moving channels into space and back, exactly: every element of the result is one of the input.

With block size b, mode "DCR" splits the channels as (b, b, C') (tf.nn.depth_to_space, ONNX's default), "CRD"
as (C', b, b) (torch.pixel_shuffle). Layout "NCHW" has the channels second, "NHWC" last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference.escalate import exact
from reference.operands import Single, operand
from reference.truth import Truth

MODES = ("DCR", "CRD")


def depth_to_space(
    input: npt.ArrayLike, block_size: int, *, mode: str = "DCR", layout: str = "NCHW"
) -> Truth:
    """(N, C, H, W) to (N, C/b**2, b H, b W). Raises ValueError for channels that b**2 does not divide."""
    return exact(plain_depth_to_space(input, block_size, mode=mode, layout=layout))


def space_to_depth(
    input: npt.ArrayLike, block_size: int, *, mode: str = "DCR", layout: str = "NCHW"
) -> Truth:
    """The inverse: (N, C, H, W) to (N, C b**2, H/b, W/b). Raises ValueError unless b divides H and W."""
    return exact(plain_space_to_depth(input, block_size, mode=mode, layout=layout))


def pixel_shuffle(input: npt.ArrayLike, upscale_factor: int) -> Truth:
    """torch.nn.functional.pixel_shuffle: depth_to_space with mode "CRD" and channels second."""
    return depth_to_space(input, upscale_factor, mode="CRD")


def pixel_unshuffle(input: npt.ArrayLike, downscale_factor: int) -> Truth:
    """torch.nn.functional.pixel_unshuffle: space_to_depth with mode "CRD" and channels second."""
    return space_to_depth(input, downscale_factor, mode="CRD")


def plain_depth_to_space(
    input: npt.ArrayLike, block_size: int, *, mode: str = "DCR", layout: str = "NCHW"
) -> Single:
    """The same in float32, which moves numbers and rounds none."""
    x, b = _channels_first(input, block_size, mode, layout)
    n, c, h, w = x.shape
    if c % (b * b):
        raise ValueError(
            f"the channels must be a multiple of block_size**2 = {b * b}, got {c}: check the layout"
        )
    rest = c // (b * b)
    if mode == "DCR":
        split = x.reshape(n, b, b, rest, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(n, rest, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return _in_layout(split.reshape(n, rest, h * b, w * b), layout)


def plain_space_to_depth(
    input: npt.ArrayLike, block_size: int, *, mode: str = "DCR", layout: str = "NCHW"
) -> Single:
    """The same in float32, which moves numbers and rounds none."""
    x, b = _channels_first(input, block_size, mode, layout)
    n, c, h, w = x.shape
    if h % b or w % b:
        raise ValueError(
            f"height and width must be multiples of block_size = {b}, got {h} and {w}: pad or crop"
        )
    split = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return _in_layout(split.transpose(order).reshape(n, c * b * b, h // b, w // b), layout)


def _channels_first(input: npt.ArrayLike, block_size: Any, mode: str, layout: str) -> tuple[Single, int]:
    x = operand(input, "input")
    if x.ndim != 4:
        raise ValueError(f"the input must have 4 axes, got shape {x.shape}: add the missing axes")
    whole = isinstance(block_size, int | np.integer) and not isinstance(block_size, bool)
    if not whole or block_size < 1:
        raise ValueError(f"block_size must be a positive integer, got {block_size!r}: give e.g. 2")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}: DCR is TensorFlow's, CRD PyTorch's")
    if layout not in {"NCHW", "NHWC"}:
        raise ValueError(f"layout must be 'NCHW' or 'NHWC', got {layout!r}: name the layout of your arrays")
    return (x.transpose(0, 3, 1, 2) if layout == "NHWC" else x), int(block_size)


def _in_layout(x: Single, layout: str) -> Single:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if layout == "NHWC" else x)
