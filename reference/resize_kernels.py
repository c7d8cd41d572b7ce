"""Weighted sums of neighbours in double-word arithmetic: resize's kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference.doubleword import STEP, plus_float, times, times_float
from reference.jit import compiled


@compiled
def interpolate(
    x: Any, iz: Any, zh: Any, zl: Any, iy: Any, yh: Any, yl: Any, ix: Any, wh: Any, wl: Any, grid: int,
    value: Any, residual: Any, bound: Any, magnitude: Any,
) -> None:  # fmt: skip
    """sum of (weight_z weight_y weight_x) x over the taps, for x of shape (rows, depth, height, width).

    A weight's words are within 2**-106 of it, two products cost 10 u**2, the product with x 1.5 u**2: STEP
    covers a term; each of two additions a term costs 2 u**2 of a partial sum, so (K + 2) STEP sum|terms| all.
    If every term is a multiple of 2**grid, and sum|terms| < 2**(grid + 102), nothing rounds (the words of a
    partial sum have 53 bits each); grid is 10000 where that is not known.
    """
    taps = iz.shape[1] * iy.shape[1] * ix.shape[1]
    ch, cl = np.empty(taps), np.empty(taps)
    pz, py, px = np.empty(taps, np.int64), np.empty(taps, np.int64), np.empty(taps, np.int64)
    roof = math.ldexp(1.0, min(max(grid + 102, -1000), 1000)) if grid < 10000 else -1.0
    for d in range(iz.shape[0]):
        for h in range(iy.shape[0]):
            for w in range(ix.shape[0]):
                k = 0
                for a in range(iz.shape[1]):
                    for b in range(iy.shape[1]):
                        th, tl = times(zh[d, a], zl[d, a], yh[h, b], yl[h, b])
                        for c in range(ix.shape[1]):
                            ch[k], cl[k] = times(th, tl, wh[w, c], wl[w, c])
                            pz[k], py[k], px[k] = iz[d, a], iy[h, b], ix[w, c]
                            k += 1
                for n in range(x.shape[0]):
                    high, low, size, wild = 0.0, 0.0, 0.0, 0.0
                    for k in range(taps):
                        element = np.float64(x[n, pz[k], py[k], px[k]])
                        wild += ch[k] * element
                        ph, pl = times_float(ch[k], cl[k], element)
                        size += abs(ph)
                        high, low = plus_float(high, low, ph)
                        high, low = plus_float(high, low, pl)
                    exact = size <= roof or size == 0.0 or taps == 1
                    if not np.isfinite(wild):
                        high, low = wild, 0.0
                    value[n, d, h, w], residual[n, d, h, w] = high, low
                    bound[n, d, h, w] = 0.0 if exact else (taps + 2.0) * STEP * size
                    magnitude[n, d, h, w] = size * (1.0 + 2.0**-40)
