"""The columns by which two outputs are compared: as a float32 program computes them, and as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.studies.row import figure

Numbers = NDArray[Any]
THRESHOLD = 1.5e-4
"""About 1 - cos(1 degree)."""
COLUMNS = ("abs.mean, TensorFlow", "abs.mean, PyTorch", "diff.mean", "cosine distance")
GRID = 2.0**-24
"""Spacing of float32 numbers below 1: what 1 - c is a multiple of, where c is a float32 number from 1/2 "
"up."""


def in_float32(one: Numbers, other: Numbers) -> dict[str, float]:
    """The columns with every operation in float32, as NumPy and SciPy compute them from float32 arrays.

    The cosine distance is 1 - mean(uv) / sqrt(mean(uu) mean(vv)), so it may come out below zero.
    """
    a, b = (np.ascontiguousarray(each, np.float32).reshape(-1) for each in (one, other))
    product, left, right = np.mean(a * b), np.mean(a * a), np.mean(b * b)
    root = np.sqrt(left * right)
    distance = np.float32(1.0) - product / root if root > 0 else np.float32(np.nan)
    values = (np.mean(np.abs(a)), np.mean(np.abs(b)), np.mean(np.abs(a - b)), distance)
    return dict(zip(COLUMNS, map(float, values), strict=True))


def properly(one: Numbers, other: Numbers) -> dict[str, float]:
    """The same columns in float64, the distance from the angle, and that angle in degrees.

    angle = 2 atan2(|a/|a| - b/|b||, |a/|a| + b/|b||) (Kahan, "How futile are mindless assessments of
    roundoff", 2006, section 12), which does not cancel for small angles; distance = 2 sin^2(angle / 2), never
    below zero.
    """
    if np.array_equal(one, other):
        size = float(np.mean(np.abs(one), dtype=np.float64))
        return {**dict(zip(COLUMNS, (size, size, 0.0, 0.0), strict=True)), "angle": 0.0}
    a, b = (np.asarray(each, np.float64).reshape(-1) for each in (one, other))
    left, right = (float(np.linalg.norm(each)) for each in (a, b))
    if left == 0.0 or right == 0.0:
        angle = 0.0 if left == right else math.nan
    else:
        apart = float(np.linalg.norm(a / left - b / right))
        angle = 2.0 * math.atan2(apart, float(np.linalg.norm(a / left + b / right)))
    values = (np.abs(a).mean(), np.abs(b).mean(), np.abs(a - b).mean(), 2.0 * math.sin(angle / 2.0) ** 2)
    return {**dict(zip(COLUMNS, map(float, values), strict=True)), "angle": math.degrees(angle)}


def columns(tensorflow: Numbers, torch: Numbers) -> dict[str, Any]:
    """Both, and whether the difference is none at all."""
    return {
        "float32": in_float32(tensorflow, torch),
        "float64": properly(tensorflow, torch),
        "equal": bool(np.array_equal(tensorflow, torch)),
    }


def figures_of(document: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The document's columns beside ours: now as it computed them, truth as they are."""
    now, true = found["float32"], found["float64"]
    listed = [figure(name, now[name], document.get(name), true[name]) for name in COLUMNS]
    within = now["cosine distance"] < THRESHOLD
    listed.append(
        figure(
            "within 1 degree",
            str(bool(within)),
            document.get("within 1 degree"),
            str(bool(true["cosine distance"] < THRESHOLD)),
            f"the angle is {true['angle']:.3g} degrees",
        )
    )
    return listed


def seen(found: Mapping[str, Any]) -> str:
    """The columns of this run in one line."""
    if found["equal"]:
        return f"all bits equal; mean of the absolute values {found['float32'][COLUMNS[0]]:.6g}"
    now, true = found["float32"], found["float64"]
    one, other, apart, distance = (now[name] for name in COLUMNS)
    return (
        f"mean of the absolute values {one:.6g} in TensorFlow, {other:.6g} in PyTorch; mean difference "
        f"{apart:.3g}; cosine distance {distance:.3g} in float32, {true[COLUMNS[3]]:.3g} in truth"
    )


def on_grid(distance: float, digits: int = 12) -> bool:
    """Whether a printed distance is a multiple of 2^-24 to the digits that were printed."""
    steps = distance / GRID
    return abs(steps - round(steps)) <= abs(steps) * 10.0 ** -(digits - 2) + 1e-9


def near(found: float, printed: Any, relative: float) -> bool:
    """Whether a figure is the printed one to within this relative difference."""
    wanted = float(printed)
    return abs(found - wanted) <= relative * abs(wanted)
