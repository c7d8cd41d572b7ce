"""The weights of DetNet and IKNet and the picture they are run on, drawn from seeds, for both frameworks.

DetNet finds 21 joints of a hand in a picture of 128 x 128: a ResNet-50 trunk whose later blocks are dilated
instead of strided, so that its maps stay 32 x 32, and three heads on top of each other, which give each joint
a heat map, a delta map (a bone's direction) and a location map. IKNet turns the joints' coordinates into a
rotation for each. See Zhou et al., "Monocular Real-Time Hand Shape and Motion Capture Using Multi-Modal
Data", CVPR 2020.

Arrays are NumPy's, laid out as PyTorch's: convolutions (O, I, kh, kw), dense layers (O, I).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

JOINTS = 21
SIZE = 128
EPS = 1e-5
STAGES = ("conv1", "block1", "block2", "block3", "squeeze", "hmap", "dmap", "lmap")
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Of each joint: the wrist, then four joints of each finger from the palm outwards."""

UNITS: tuple[tuple[str, int, int, int, int], ...] = (
    *((f"block1.{k}", 64 if k == 0 else 256, 256, 2 if k == 2 else 1, 1) for k in range(3)),
    *((f"block2.{k}", 256 if k == 0 else 512, 512, 1, 2) for k in range(4)),
    *((f"block3.{k}", 512 if k == 0 else 1024, 1024, 1, 4) for k in range(6)),
)
"""Bottlenecks: name, channels in, channels out, stride, dilation of the 3 x 3 in the middle."""

HEADS: tuple[tuple[str, int, int], ...] = (
    ("hmap", 256, JOINTS),
    ("dmap", 256 + JOINTS, 3 * JOINTS),
    ("lmap", 256 + 4 * JOINTS, 3 * JOINTS),
)
"""Name, channels in (features and the maps before), channels out."""

IK_INPUT, IK_WIDTH, IK_DEPTH = 84 * 3, 1024, 6


def convolutions() -> Iterator[tuple[str, int, int, int, bool]]:
    """Every convolution: name, channels in and out, kernel, whether a batch normalization follows."""
    yield "conv1", 3, 64, 7, True
    for name, inputs, outputs, _, _ in UNITS:
        if inputs != outputs:
            yield f"{name}.shortcut", inputs, outputs, 1, True
        yield f"{name}.conv1", inputs, outputs // 4, 1, True
        yield f"{name}.conv2", outputs // 4, outputs // 4, 3, True
        yield f"{name}.conv3", outputs // 4, outputs, 1, True
    yield "squeeze", 1024, 256, 3, True
    for name, inputs, outputs in HEADS:
        yield f"{name}.project", inputs, 256, 3, True
        yield f"{name}.predict", 256, outputs, 1, False


def detnet_weights(seed: int = 0) -> dict[str, Float32]:
    """NAME.weight of every convolution; NAME.{gamma,beta,mean,var} of its normalization, or NAME.bias."""
    draw = _Draw(seed)
    found: dict[str, Float32] = {}
    for name, inputs, outputs, kernel, normalized in convolutions():
        found[f"{name}.weight"] = draw.fan((outputs, inputs, kernel, kernel), inputs * kernel**2)
        if normalized:
            found |= draw.normalization(name, outputs)
        else:
            found[f"{name}.bias"] = draw.uniform((outputs,), -0.1, 0.1)
    return found


def iknet_weights(seed: int = 1) -> dict[str, Float32]:
    """dense0 … dense5 with their normalizations, and `rotations`, 4 numbers a joint.

    The running statistics are those of 64 hands, as a training would have left them: sigmoids pass little
    on, and only so does every layer give back the spread of what it takes. Rounded to 3 decimals, so that
    they are the same wherever they are computed.
    """
    draw = _Draw(seed)
    found: dict[str, Float32] = {}
    x = np.concatenate([ik_input(draw.uniform((JOINTS, 3), -1.0, 1.0), rest()) for _ in range(64)])
    x = x.astype(np.float64)
    for k in range(IK_DEPTH):
        inputs = IK_INPUT if k == 0 else IK_WIDTH
        weight = found[f"dense{k}.weight"] = draw.fan((IK_WIDTH, inputs), inputs)
        bias = found[f"dense{k}.bias"] = draw.uniform((IK_WIDTH,), -0.1, 0.1)
        sums = x @ weight.T.astype(np.float64) + bias
        norm = draw.normalization(f"dense{k}", IK_WIDTH)
        norm[f"dense{k}.mean"] = np.round(sums.mean(0), 3).astype(np.float32)
        norm[f"dense{k}.var"] = np.maximum(np.round(sums.var(0), 3), 0.002).astype(np.float32)
        found |= norm
        gamma, beta, mean, var = (norm[f"dense{k}.{part}"] for part in ("gamma", "beta", "mean", "var"))
        x = 1.0 / (1.0 + np.exp(-((sums - mean) / np.sqrt(var + EPS) * gamma + beta)))
    found["rotations.weight"] = draw.fan((4 * JOINTS, IK_WIDTH), IK_WIDTH)
    found["rotations.bias"] = draw.uniform((4 * JOINTS,), -0.1, 0.1)
    return found


def picture(seed: int = 2) -> Float32:
    """A picture as a network takes it, (1, 3, 128, 128): levels 0 … 255 over 255; smooth, with some noise."""
    return (levels(seed) / 255.0).astype(np.float32)[None]


def over_256() -> Float32:
    """The picture over 256."""
    return (levels() / 256.0).astype(np.float32)[None]


def levels_off() -> Float32:
    """The picture as another decoder or resizing gives it: every third value one level off."""
    draw = _Draw(5)
    off = np.rint(draw.uniform((3, SIZE, SIZE), -1.5, 1.5)) * (draw.uniform((3, SIZE, SIZE), 0.0, 1.0) < 0.5)
    return (np.clip(levels() + off, 0, 255) / 255.0).astype(np.float32)[None]


def levels(seed: int = 2) -> NDArray[np.int64]:
    """The picture in whole levels, (3, 128, 128)."""
    draw = _Draw(seed)
    coarse = draw.uniform((3, 9, 9), 0.0, 255.0).astype(np.float64)
    at = np.arange(SIZE) / 16.0
    low = at.astype(int)
    part = at - low
    rows = coarse[:, low] * (1 - part)[:, None] + coarse[:, low + 1] * part[:, None]
    smooth = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    noise = draw.uniform((3, SIZE, SIZE), -8.0, 8.0)
    return np.clip(np.rint(smooth + noise), 0, 255).astype(np.int64)


def joints(seed: int = 3) -> Float32:
    """An input of IKNet, (1, 252): coordinates and bones of 21 joints, and those of a hand at rest."""
    draw = _Draw(seed)
    return ik_input(draw.uniform((JOINTS, 3), -1.0, 1.0), rest())


def rest() -> Float32:
    """The joints of a hand at rest, (21, 3)."""
    return _Draw(4).uniform((JOINTS, 3), -1.0, 1.0)


def ik_input(xyz: Float32, reference: Float32) -> Float32:
    """IKNet's input (1, 252) from coordinates (21, 3): each with its bones, child minus parent."""
    parents = np.maximum(np.asarray(PARENTS), 0)
    parts = [part for each in (xyz, reference) for part in (each, each - each[parents])]
    return np.concatenate(parts).astype(np.float32).reshape(1, -1)


PICTURES = {"as it is": picture, "picture over 256": over_256, "picture one level off": levels_off}


class _Draw:
    """Arrays from one stream of a seed."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(seed))

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Float32:
        return (low + (high - low) * self._generator.random(shape)).astype(np.float32)

    def fan(self, shape: tuple[int, ...], inputs: int) -> Float32:
        """Weights that keep the mean square of their input: variance 1 / inputs."""
        limit = (3.0 / inputs) ** 0.5
        return self.uniform(shape, -limit, limit)

    def normalization(self, name: str, channels: int) -> dict[str, Float32]:
        return {
            f"{name}.gamma": self.uniform((channels,), 0.5, 1.5),
            f"{name}.beta": self.uniform((channels,), -0.5, 0.5),
            f"{name}.mean": self.uniform((channels,), -0.2, 0.2),
            f"{name}.var": self.uniform((channels,), 0.5, 1.5),
        }
