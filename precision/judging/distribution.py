"""Where the errors of a cell lie: a histogram of signed ulp errors, and a map over the output plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.score import Errors

Float64 = NDArray[np.float64]

MAP_SIDE = 24
"""Blocks along each side of an error map, at most."""

_POSITIVE_EDGES = 2.0 ** (np.arange(-6, 81) / 2.0)
EDGES = np.concatenate([[-np.inf], -_POSITIVE_EDGES[::-1], _POSITIVE_EDGES, [np.inf]])
"""Bin edges in ulp: half-octaves from 2^-3 to 2^40 on both sides of a bin around zero."""


def histogram(found: Errors) -> list[dict[str, Any]]:
    """Return the non-empty bins of the signed ulp errors as rows."""
    counts, _ = np.histogram(found.ulp[found.in_ulp], EDGES)
    return [
        {"bin_left_ulp": float(EDGES[i]), "bin_right_ulp": float(EDGES[i + 1]), "count": int(counts[i])}
        for i in np.flatnonzero(counts)
    ]


def error_map(found: Errors) -> list[dict[str, Any]]:
    """Return rms and mean error of blocks of the output plane, in ulp of sum|terms|, as rows.

    The plane is (H, W) of (N, C, H, W), over samples and channels; of other shapes it is the last axis
    against all the others.
    """
    error, counted = found.scaled, found.counted
    shape = (-1, *error.shape[2:]) if error.ndim == 4 else (1, -1, error.shape[-1])
    planes, weights = error.reshape(shape), counted.reshape(shape)
    if not planes.size:
        return []
    counts = _blocks(weights.sum(axis=0, dtype=np.float64))
    squares = _blocks(np.square(planes).sum(axis=0))
    sums = _blocks(planes.sum(axis=0))
    return [
        {
            "row": int(row),
            "column": int(column),
            "error_scaled_ulp_rms": float(np.sqrt(squares[row, column] / counts[row, column])),
            "error_scaled_ulp_mean": float(sums[row, column] / counts[row, column]),
        }
        for row, column in zip(*np.nonzero(counts), strict=True)
    ]


def _blocks(plane: Float64) -> Float64:
    """Sum a plane over a grid of at most MAP_SIDE x MAP_SIDE blocks."""
    rows, columns = (np.linspace(0, n, min(n, MAP_SIDE) + 1).astype(int)[:-1] for n in plane.shape)
    return np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
