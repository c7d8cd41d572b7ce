"""What is read off DetNet's maps and IKNet's output: places, coordinates, rotations; how two differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]


def scores(heat: NDArray[Any]) -> NDArray[Any]:
    """Heat maps (1, joints, h, w) as scores (joints, h w)."""
    return heat.reshape(heat.shape[1], -1)


def places(heat: NDArray[Any]) -> Indices:
    """Of each joint the [row, column] of its largest heat, (joints, 2); the first one of equals."""
    best = scores(heat).argmax(axis=1)
    return np.stack(np.unravel_index(best, heat.shape[2:]), axis=1).astype(np.int64)


def coordinates(locations: NDArray[Any], at: Indices) -> Float64:
    """The location map (1, 3 joints, h, w), x y z of joint 0 first, read at places (joints, 2)."""
    joints = len(at)
    maps = locations.reshape(joints, 3, *locations.shape[2:])
    return np.asarray(maps[np.arange(joints), :, at[:, 0], at[:, 1]], np.float64)


def runners_up(heat: NDArray[Any]) -> Indices:
    """As `places`, of the second largest heat."""
    second = np.argsort(-scores(heat), axis=1, kind="stable")[:, 1]
    return np.stack(np.unravel_index(second, heat.shape[2:]), axis=1).astype(np.int64)


def quaternions(raw: NDArray[Any]) -> Float64:
    """84 numbers as 21 unit quaternions (21, 4) with a first component that is not negative, in float64."""
    found = np.asarray(raw, np.float64).reshape(-1, 4)
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.where(found[:, :1] < 0, -found, found))


def angles(a: Float64, b: Float64) -> Float64:
    """Degrees between the rotations of unit quaternions: 4 asin(|a - b| / 2), exact for small ones too."""
    length = np.linalg.norm(np.asarray(a) - np.asarray(b), axis=1)
    return np.asarray(np.degrees(4.0 * np.arcsin(np.clip(length / 2.0, 0.0, 1.0))))


@dataclass(frozen=True)
class Apart:
    """Two arrays a, b: largest |b - a|, its mean, and the largest |a|; ratio is the first over the last.

    relative: |b - a| / |a| in Euclidean norms. cosine: of b - a with a: near -1 where b is a shrunken a, near
    0 where the difference has no direction. None where it cannot be said.
    """

    size: float
    largest: float
    mean: float
    relative: float | None
    cosine: float | None

    @property
    def ratio(self) -> float:
        return self.largest / self.size if self.size else 0.0


def apart(a: NDArray[Any], b: NDArray[Any]) -> Apart:
    """How two arrays of one shape differ, computed in float64."""
    x = np.asarray(a, np.float64).reshape(-1)
    d = np.asarray(b, np.float64).reshape(-1) - x
    length, other = math.sqrt(float(np.sum(d * d))), math.sqrt(float(np.sum(x * x)))
    return Apart(
        float(np.max(np.abs(x), initial=0.0)),
        float(np.max(np.abs(d), initial=0.0)),
        float(np.mean(np.abs(d))) if d.size else 0.0,
        length / other if other else None,
        float(np.sum(d * x)) / (length * other) if length and other else None,
    )
