"""Normalizations that are right but for their statistics: each row an exact affine map of its input.

Rounding in the mean and in the variance moves all of a row together: with statistics m', r' of its own,

    y = (x - m') r' scale + shift      within |dy| <= u (8 r' |scale| (|x| + |m'|) + 4 (|y| + 2 |shift|))

for each element, however large the errors of m' and r' are: the terms are those of x - m', of its products
and of the form x s + (shift - m' s), twice over. m' and r' are found by least squares, and must be what one
pass over float32 can make of the row: |m' - m| <= 2 gamma_n mean |x|, |v' - v| <= 2 gamma_2n (mean x**2 +
m**2). Where that is wider than the variance itself, as far from zero, it is the elements that still tell.
"""

from __future__ import annotations

import numpy as np

from precision.meaning.hypotheses import Float64
from precision.meaning.norm_form import NormForm, Statistics, centre_and_spread, inverse_root, picked
from reference.tracked import gamma

LARGEST = 1 << 22


def is_right_but_for_statistics(form: NormForm, stats: Statistics, output: Float64, unit: float) -> bool:
    """Whether some statistics within the bound of one pass give every output."""
    if form.given is not None or form.place != "inside" or np.shape(stats.x) != output.shape:
        return False
    if not output.size or output.size > LARGEST or not np.isfinite(output).all():
        return False
    x = np.asarray(stats.x, np.float64)
    mean, variance = centre_and_spread(form, stats)
    w = np.broadcast_to(picked(form.scale, None, 1.0), x.shape)
    shift = picked(form.shift, None, 0.0)
    with np.errstate(all="ignore"):
        slope = np.broadcast_to(inverse_root(form, variance), x.shape)
        seen, out = w * (x - mean), output - shift
        power, across, whole = (_sums(form, a) for a in (seen * seen, seen * w, w * w))
        first, second = _sums(form, seen * out), _sums(form, w * out)
        if form.centred:
            det = power * whole - across * across
            good = det > 1e-12 * power * whole
            slope = np.where(good, (whole * first - across * second) / det, slope)
            moved = np.where(good, (power * second - across * first) / det, (second - slope * across) / whole)
            moved = np.where(whole > 0, moved, 0.0)
        else:
            slope, moved = np.where(power > 0, first / power, slope), np.zeros_like(slope)
        left = np.abs(out - slope * seen - moved * w)
        centre = mean - moved / slope
        limit = 8.0 * slope * np.abs(w) * (np.abs(x) + np.abs(centre)) + 4.0 * (
            np.abs(output) + 2.0 * np.abs(shift)
        )
        if not (slope > 0).all() or not (left <= unit * limit + 2.0**-110).all():
            return False
        count = form.count
        size, square = (_sums(form, a) / count for a in (np.abs(x), x * x))
        found = 1.0 / slope**2 - form.eps
        wide = 2.0 * gamma(2 * count + 16, unit) * (square + mean * mean)
        wide = wide + 32.0 * unit * (variance + form.eps)
        near = np.abs(centre - mean) <= 2.0 * gamma(count + 8, unit) * size + 8.0 * unit * np.abs(mean)
        return bool((near & (np.abs(found - variance) <= wide)).all())


def _sums(form: NormForm, values: Float64) -> Float64:
    """The sum over each row, at each of its elements."""
    rows = values.reshape(form.split).sum(axis=form.axes, keepdims=True)
    return np.asarray(np.broadcast_to(rows, form.split).reshape(values.shape))
