"""Gathering the operands of a convolution into columns, so that a matrix product can do the sums.

`geo` is `Geometry.packed`; `rows`, `cols` and `channel` are `Geometry.taps`. Elements outside the input are
the padding: zero, and a term like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled


@compiled
def fill_terms_first(
    x: Any, geo: Any, rows: Any, cols: Any, channel: Any, group0: int, k0: int, m0: int, wide: Any, sizes: Any
) -> None:
    """wide[g, k, m] = operand k0+k of position m0+m in group group0+g; sizes = |wide| in float32."""
    oh, ow, sh, sw, top, left, height, width, sn, s_row, s_col, s_c, per_group = geo
    count = wide.shape[2]
    for g in range(wide.shape[0]):
        for k in range(wide.shape[1]):
            dh, dw = rows[k0 + k] - top, cols[k0 + k] - left
            base = ((group0 + g) * per_group + channel[k0 + k]) * s_c
            m = 0
            while m < count:  # one run along an output row at a time: its start, then a plain strided copy
                position = m0 + m
                n, pixel = position // (oh * ow), position % (oh * ow)
                i, j = pixel // ow, pixel % ow
                run = min(ow - j, count - m)
                h = i * sh + dh
                if h < 0 or h >= height:
                    for r in range(run):
                        wide[g, k, m + r] = 0.0
                        sizes[g, k, m + r] = 0.0
                else:
                    row = base + n * sn + h * s_row
                    w0 = j * sw + dw
                    first = min(run, max(0, (-w0 + sw - 1) // sw))
                    last = max(first, min(run, (width - w0 + sw - 1) // sw))
                    for r in range(first):
                        wide[g, k, m + r] = 0.0
                        sizes[g, k, m + r] = 0.0
                    for r in range(first, last):
                        value = x[row + (w0 + r * sw) * s_col]
                        wide[g, k, m + r] = value
                        sizes[g, k, m + r] = abs(value)
                    for r in range(last, run):
                        wide[g, k, m + r] = 0.0
                        sizes[g, k, m + r] = 0.0
                m += run


@compiled
def fill_terms_last(
    x: Any, geo: Any, rows: Any, cols: Any, channel: Any, group0: int, k0: int, m0: int, wide: Any, sizes: Any
) -> None:
    """wide[g, m, k]: as `fill_terms_first`, with the terms of one position side by side."""
    oh, ow, sh, sw, top, left, height, width, sn, s_row, s_col, s_c, per_group = geo
    for g in range(wide.shape[0]):
        for m in range(wide.shape[1]):
            position = m0 + m
            n, pixel = position // (oh * ow), position % (oh * ow)
            h0, w0 = pixel // ow * sh - top, pixel % ow * sw - left
            base = n * sn + (group0 + g) * per_group * s_c
            for k in range(wide.shape[2]):
                h, w = h0 + rows[k0 + k], w0 + cols[k0 + k]
                value = np.float32(0.0)
                if 0 <= h < height and 0 <= w < width:
                    value = x[base + h * s_row + w * s_col + channel[k0 + k] * s_c]
                wide[g, m, k] = value
                sizes[g, m, k] = abs(value)
