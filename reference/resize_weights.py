"""Where each output of an interpolation looks, and with which weights: exact fractions, one axis at a time.

scale is input steps per output step: input / output size, or the float64 1 / scale_factor, or
(input - 1) / (output - 1) with "align_corners". Output i lies at the input coordinate

    "half_pixel"     (i + 1/2) scale - 1/2      PyTorch, tf.image.resize
    "align_corners"  i scale                    align_corners=True in both
    "asymmetric"     i scale                    tf.compat.v1 without half_pixel_centers; nearest in PyTorch

nearest takes floor(i scale), floor((i + 1/2) scale), or with "align_corners" the rounded coordinate (halves
up). linear and cubic take the 2 or 4 neighbours; cubic's kernel is that of Keys 1981, "Cubic convolution
interpolation for digital image processing", with the coefficient a. Neighbours outside are replaced by the
nearest inside ("replicate"), or left out and the others rescaled to a sum of 1 ("exclude": bicubic in
tf.image.resize).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from reference.formats import Array
from reference.geometry import Indices

COORDINATES = ("half_pixel", "align_corners", "asymmetric")
Taps = list[tuple[int, Fraction]]


@dataclass(frozen=True)
class Axis:
    """The taps of every output along one axis, all of one length."""

    taps: list[Taps]

    @property
    def index(self) -> Indices:
        return np.array([[i for i, _ in row] for row in self.taps], np.int64)

    def words(self) -> tuple[Array, Array]:
        """The weights as double words, each within 2**-106 of it, relatively."""
        high = np.array([[float(w) for _, w in row] for row in self.taps])
        low = np.array([[float(w - Fraction(float(w))) for _, w in row] for row in self.taps])
        return high, low

    def places(self) -> int | None:
        """Binary places of the weights, all of them; None if some weight is no binary fraction."""
        denominators = {w.denominator for row in self.taps for _, w in row}
        if any(d & (d - 1) for d in denominators):
            return None
        return max((d.bit_length() - 1 for d in denominators), default=0)


def step(size: int, out: int, factor: float | None, coordinates: str) -> Fraction:
    """Input steps per output step."""
    if coordinates == "align_corners":
        return Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    return Fraction(size, out) if factor is None else Fraction(1.0 / factor)


def axis(
    kind: str, size: int, out: int, scale: Fraction, coordinates: str, a: Fraction, exclude: bool
) -> Axis:
    """kind "nearest", "linear" or "cubic" for an axis of `size` inputs and `out` outputs."""
    if kind == "nearest":
        return Axis([[(_nearest(i, scale, coordinates, size), Fraction(1))] for i in range(out)])
    half = Fraction(1, 2)
    rows = []
    for i in range(out):
        at = (i + half) * scale - half if coordinates == "half_pixel" else i * scale
        if kind == "linear" and at < 0:
            at = Fraction(0)
        first = math.floor(at)
        t = at - first
        if kind == "linear":
            taps = [(first, 1 - t), (first + 1, t)]
        else:
            taps = [(first + k, _keys(abs(t - k), a)) for k in (-1, 0, 1, 2)]
        if exclude:
            taps = [(k, w if 0 <= k < size else Fraction(0)) for k, w in taps]
            whole = sum((w for _, w in taps), Fraction(0))
            taps = [(k, w / whole) for k, w in taps]
        rows.append([(min(max(k, 0), size - 1), w) for k, w in taps])
    return Axis(rows)


def _nearest(i: int, scale: Fraction, coordinates: str, size: int) -> int:
    at = (i + Fraction(1, 2)) * scale if coordinates == "half_pixel" else i * scale
    if coordinates == "align_corners":
        at += Fraction(1, 2)
    return min(math.floor(at), size - 1)


def _keys(distance: Fraction, a: Fraction) -> Fraction:
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return ((distance - 5) * distance + 8) * distance * a - 4 * a
