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
    x, out = (np.asarray(a, np.float64).reshape(form.split) for a in (stats.x, output))
    mean, variance = (_of_rows(form, a) for a in centre_and_spread(form, stats))
    w = _split(form, np.asarray(picked(form.scale, None, 1.0), np.float64))
    shift = _split(form, np.asarray(picked(form.shift, None, 0.0), np.float64))
    with np.errstate(all="ignore"):
        seen, moved_out = w * (x - mean), out - shift
        power, across = _sums(form, seen * seen), _sums(form, seen * w)
        whole = _sums(form, np.broadcast_to(w * w, x.shape))
        first, second = _sums(form, seen * moved_out), _sums(form, w * moved_out)
        if form.centred:
            det = power * whole - across * across
            good = det > 1e-12 * power * whole
            slope = np.where(good, (whole * first - across * second) / det, inverse_root(form, variance))
            moved = np.where(good, (power * second - across * first) / det, (second - slope * across) / whole)
            moved = np.where(whole > 0, moved, 0.0)
        else:
            slope = np.where(power > 0, first / power, inverse_root(form, variance))
            moved = np.zeros_like(slope)
        if not (slope > 0).all():
            return False
        centre = mean - moved / slope
        left = np.abs(moved_out - slope * seen - moved * w)
        size = np.abs(x)
        limit = 8.0 * slope * np.abs(w) * (size + np.abs(centre)) + 4.0 * (np.abs(out) + 2.0 * np.abs(shift))
        if not (left <= unit * limit + 2.0**-110).all():
            return False
        count = form.count
        mean_size, square = _sums(form, size) / count, _sums(form, x * x) / count
        found = 1.0 / slope**2 - form.eps
        wide = 2.0 * gamma(2 * count + 16, unit) * (square + mean * mean)
        wide = wide + 32.0 * unit * (variance + form.eps)
        near = np.abs(centre - mean) <= 2.0 * gamma(count + 8, unit) * mean_size + 8.0 * unit * np.abs(mean)
        return bool((near & (np.abs(found - variance) <= wide)).all())


def _sums(form: NormForm, values: Float64) -> Float64:
    """The sum over each row, one number a row."""
    return np.asarray(values.sum(axis=form.axes, keepdims=True))


def _split(form: NormForm, entries: Float64) -> Float64:
    """An array that broadcasts against the input as one that broadcasts against its split channels."""
    if entries.ndim < len(form.split) - 1 or entries.ndim == len(form.split):
        return entries
    c = form.channel
    groups = (form.split[c], form.split[c + 1]) if entries.shape[c] > 1 else (1, 1)
    return entries.reshape(*entries.shape[:c], *groups, *entries.shape[c + 1 :])


def _of_rows(form: NormForm, statistics: Float64) -> Float64:
    """A statistic that is spread over the channels of its group, one number a row."""
    found = _split(form, statistics)
    chosen = tuple(slice(0, 1) if a in form.axes else slice(None) for a in range(found.ndim))
    return found[chosen] if found.ndim == len(form.split) else found
