"""How far a float32 interpolation may be from the truth, nearest or linear, over one to three axes.

Along an axis of n elements a coordinate, (i + 1/2) scale - 1/2 or i scale, is computed in float32 from a
scale that is rounded: within d = gamma_4 (n + 1) of the exact one. M is the largest |x| of the image in its
channel.

Linear interpolation is continuous, with a slope of at most 2 M in each direction, whichever neighbours are
taken:

    M (prod (1 + 2 d) - 1) + M gamma_{4 axes + 2**axes}   the second for weights, products and sums

Nearest takes the exact neighbour, except where the coordinate is within d of the border between two: there
the bound is 2 M. A coordinate that float32 holds exactly, its scale too, is not moved.

Cubic interpolation has no bound here: in TensorFlow it is another function, with weights from a table of 1024
positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

from reference.formats import Array
from reference.operands import operand
from reference.resize_weights import step
from reference.tracked import FLUSH, Rules, gamma
from reference.truth import Truth

MODES = ("linear", "bilinear", "trilinear", "nearest", "nearest-exact")


def resize(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], truth: Truth, rules: Rules
) -> Array:
    """`interpolate`. Raises ValueError for cubic modes."""
    mode = params.get("mode", "nearest")
    if mode not in MODES:
        raise ValueError(
            f"{op} has a bound for the modes {MODES}, got {mode!r}: compare the output with the truth"
        )
    x = np.abs(operand(arrays["input"], "input").astype(np.float64))
    first = 1 if params.get("layout", "NCHW") == "NHWC" else 2
    within = tuple(range(first, first + x.ndim - 2))
    largest = x.max(axis=within, keepdims=True)
    off = [gamma(4, rules.u) * (x.shape[a] + 1.0) for a in within]
    if mode in MODES[:3]:
        turned = math.prod(1.0 + 2.0 * d for d in off) - 1.0
        factor = turned + gamma(4 * len(within) + 2 ** len(within), rules.u)
        return np.broadcast_to(largest * factor + 16.0 * FLUSH, truth.value.shape)
    shape = truth.value.shape
    moved = [
        _may_move(x.shape[a], shape[a], k, params, d)
        for k, (a, d) in enumerate(zip(within, off, strict=True))
    ]
    anywhere = reduce(np.logical_or.outer, moved)
    lead = (1,) * first
    anywhere = anywhere.reshape(*lead, *anywhere.shape, *(1,) * (len(shape) - first - len(within)))
    return np.broadcast_to(np.where(anywhere, 2.0 * largest, 0.0), shape)


def _may_move(size: int, out: int, axis: int, params: Mapping[str, Any], off: float) -> Any:
    """Which outputs along an axis may take another neighbour."""
    factor = params.get("scale_factor")
    if params.get("recompute_scale_factor") or factor is None:
        each = None
    else:
        each = float(factor if isinstance(factor, int | float | np.number) else factor[axis])
    plain = "asymmetric" if params.get("mode", "nearest") == "nearest" else "half_pixel"
    plain = "align_corners" if params.get("align_corners") else plain
    coordinates = params.get("coordinates") or plain
    scale = step(size, out, each, coordinates)
    whole = scale.denominator & (scale.denominator - 1) == 0
    found = np.zeros(out, np.bool_)
    for i in range(out):
        at = (i + Fraction(1, 2)) * scale if coordinates == "half_pixel" else i * scale
        exact = whole and (2 * i + 1) * scale.numerator < 2**22 and scale.denominator < 2**22
        edge = at + Fraction(1, 2) if coordinates == "align_corners" else at
        found[i] = not exact and abs(edge - round(edge)) <= off
    return found
