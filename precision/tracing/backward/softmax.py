"""The gradients of softmax and log_softmax along one axis of n elements.

With y the softmax, g the gradient, S = sum g y, G = sum g:

    softmax      dx = y (g - S)       from the output y
    log_softmax  dx = g - exp(o) G    from the output o = x - max - log sum

Bounds in float32, F = 32 u for the exponential (16 ulp), d = max - x: an exponential is within F + 2 u d +
8 u of itself, their sum within r = sum y (F + 2 u d + 8 u) + gamma(n + 4), so y within p = F + 2 u d + 12 u
+ r;
exp(o) within p = 2 F + 6 u (d + L) + F L + 2 r, L = log sum exp(x - max). With A = sum |g| y, B = sum |g|:

    softmax      y (p (|g| + A) + (1 + p) (sum |g| y p + gamma(n + 4) A) + 6 u (|g| + A))
    log_softmax  y (p |G| + (1 + p) gamma(n + 2) B) + 3 u (|g| + y B)

The truth is computed with g - g[max] in place of g, which changes nothing and does not cancel where one
element has all the weight. It is zero only where the terms of each distinct x add to zero
(Lindemann-Weierstrass).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from precision.tracing.backward.functions import certified
from precision.tracing.backward.verdict import FLUSH, INFLATION, UNIT, Pullback, bounded, gamma
from reference.intervals import Interval, Reals, enclose

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_U64 = 2.0**-53
_F = 32.0 * UNIT
_DEEP, _TINY = 2.0**-300, 2.0**-960
_GONE = 800.0
"""exp of minus this is below every float64."""


def softmax_pullback(op: str, x: Float32, gradient: Float32, dim: int) -> Pullback:
    """The gradient of `softmax` or `log_softmax` with respect to x, of x's shape."""
    turned = [np.moveaxis(each, dim, -1) for each in (x, gradient)]
    rows, grads = (np.ascontiguousarray(each).reshape(-1, x.shape[dim]) for each in turned)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = (_softmax if op == "softmax" else _log_softmax)(rows, grads)
    shape = turned[0].shape
    return found.arranged(lambda array: np.ascontiguousarray(np.moveaxis(array.reshape(shape), -1, dim)))


def _summed(rows: Float64) -> Float64:
    """The sum of each row, rounded once."""
    return np.array([math.fsum(row) for row in rows.tolist()])[:, None]


class _Rows:
    """Rows of a softmax in float64, with their errors in float64 and in float32."""

    def __init__(self, x: Float32) -> None:
        wide = x.astype(np.float64)
        count = x.shape[1]
        self.top = np.argmax(wide, axis=1)
        self.away = wide[np.arange(len(x)), self.top][:, None] - wide
        raised = np.exp(-self.away)
        total = _summed(raised)
        self.y = raised / total
        self.log_total = np.log(total)
        near = np.minimum(self.away, _GONE)
        one = (9.0 + 1.01 * near) * _U64  # NumPy's exponential is within 8 u
        self.own = one + (self.y * one).sum(1, keepdims=True) * INFLATION + 4.0 * _U64
        each = _F + 2.0 * UNIT * near + 8.0 * UNIT
        self.sum32 = (self.y * each).sum(1, keepdims=True) + gamma(count + 4, UNIT)
        self.single = each + 4.0 * UNIT + self.sum32
        self.near = near


def _softmax(x: Float32, gradient: Float32) -> Pullback:
    rows, count = _Rows(x), x.shape[1]
    g, y = gradient.astype(np.float64), rows.y
    shifted = g - g[np.arange(len(g)), rows.top][:, None]
    total = _summed(y * shifted)
    inner = shifted - total
    unsure = (y * np.abs(shifted) * (rows.own + 4.0 * _U64)).sum(1, keepdims=True)
    doubt = (2.0 * _U64 * np.abs(shifted) + unsure) * INFLATION + 2.0**-1000
    value = y * inner
    own = (y * doubt + (rows.own + 8.0 * _U64) * np.abs(value)) * INFLATION + 2.0**-1000
    still = (gradient == gradient[:, :1]).all(1, keepdims=True) & np.ones(x.shape, np.bool_)
    # What is far below float32 needs its sign alone, which is that of -S where g is g[max].
    sign = np.where(np.abs(inner) > 2.0 * doubt, np.sign(inner), 0.0)
    sign = np.where(shifted == 0.0, -_sign_of_sum(rows.away, shifted), sign)
    deep = (sign != 0.0) & (y * (np.abs(inner) + doubt) < _DEEP)
    value = np.where(still, 0.0, np.where(deep, sign * _TINY, value))
    bound = np.where(still, 0.0, np.where(deep, 2.0 * _DEEP, own))
    sure = still | deep | (np.abs(value) > 2.0 * own)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        row, column = divmod(index, count)
        return _refined(x[row], gradient[row], column, bits)

    truth = certified(value, bound, refine, sure)
    p, size = rows.single, np.abs(g)
    weighed = (size * y).sum(1, keepdims=True)
    spread = (size * y * p).sum(1, keepdims=True) + gamma(count + 4, UNIT) * weighed
    limit = y * (p * (size + weighed) + (1.0 + p) * spread + 6.0 * UNIT * (size + weighed)) * INFLATION
    lost = FLUSH * (2.0 + size + weighed + y * (count + size.sum(1, keepdims=True)))
    return Pullback(truth, bounded(limit + 2.0 * lost, size + weighed))


def _sign_of_sum(away: Float64, shifted: Float64) -> Float64:
    """The sign of sum exp(-away) shifted in each row, however small it is; 0 where it is not certain."""
    there = shifted != 0.0
    least = np.where(there, away, np.inf).min(1, keepdims=True)
    further = np.where(there, away - np.where(np.isfinite(least), least, 0.0), np.inf)
    terms = np.where(there, np.exp(-further), 0.0) * shifted
    each = (64.0 + away.shape[1] + 2.0 * np.minimum(further, _GONE)) * _U64
    each = each + np.where(there, 4.0 * (away + np.where(there, least, 0.0)) * _U64, 0.0)
    total, doubt = terms.sum(1, keepdims=True), (np.abs(terms) * each).sum(1, keepdims=True) + 2.0**-900
    certain = (np.abs(total) > 2.0 * doubt) & (
        each.max(1, keepdims=True, where=terms != 0.0, initial=0.0) < 0.5
    )
    return np.where(certain, np.sign(total), 0.0)


def _refined(x: Float32, gradient: Float32, column: int, bits: int) -> tuple[Fraction, Fraction]:
    own = Fraction(float(gradient[column]))
    groups: dict[Fraction, tuple[Fraction, int]] = {}
    for at, g in zip(x.tolist(), gradient.tolist(), strict=True):
        total, many = groups.get(Fraction(at), (Fraction(0), 0))
        groups[Fraction(at)] = total + own - Fraction(g), many + 1
    there = {at: total for at, (total, _) in groups.items() if total}
    if not there:
        return Fraction(0), Fraction(0)
    if len(groups) == 1:
        total, many = next(iter(groups.values()))
        return total / many**2, Fraction(0)
    top, first = max(groups), max(there)
    place = Fraction(float(x[column]))

    def formula(reals: Reals) -> Interval:
        over, under = reals.rational(0), reals.rational(0)
        for at, total in there.items():
            over = over + reals.exp(reals.rational(at - first)) * reals.rational(total)
        for at, (_, many) in groups.items():
            under = under + reals.exp(reals.rational(at - top)) * many
        outside = reals.exp(reals.rational(place - top)) * reals.exp(reals.rational(first - top))
        return outside * over / (under * under)

    return enclose(formula, bits)


def _log_softmax(x: Float32, gradient: Float32) -> Pullback:
    rows, count = _Rows(x), x.shape[1]
    g, y = gradient.astype(np.float64), rows.y
    total = _summed(g)
    product = y * total
    value = g - product
    own = (np.abs(product) * (rows.own + 8.0 * _U64) + 2.0 * _U64 * np.abs(value)) * INFLATION + 2.0**-1000
    alike = ((x == x[:, :1]) & (gradient == gradient[:, :1])).all(1, keepdims=True)
    nothing = np.broadcast_to((total == 0.0) | alike, value.shape)
    bound = np.where(nothing, 0.0, own)
    value = np.where(nothing, np.where(alike, 0.0, g), value)
    # Far below the largest g, y G is so small that no float32 shows it, but its sign is known.
    deep = ~nothing & (g == 0.0) & (y < _DEEP)
    value = np.where(deep, -np.sign(total) * _TINY, value)
    bound = np.where(deep, 2.0 * _DEEP * np.abs(total), bound)
    sure = nothing | deep | (np.abs(value) > 2.0 * bound)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        row, column = divmod(index, count)
        groups: dict[Fraction, int] = {}
        for at in x[row].tolist():
            groups[Fraction(at)] = groups.get(Fraction(at), 0) + 1
        one = Fraction(float(gradient[row, column]))
        all_of = sum((Fraction(each) for each in gradient[row].tolist()), Fraction(0))
        if len(groups) == 1 or not all_of:
            return one - all_of / count if all_of else one, Fraction(0)
        place, top = Fraction(float(x[row, column])), max(groups)

        def formula(reals: Reals) -> Interval:
            under = reals.rational(0)
            for at, many in groups.items():
                under = under + reals.exp(reals.rational(at - top)) * many
            share = reals.exp(reals.rational(place - top)) / under
            return reals.rational(one) - share * reals.rational(all_of)

        return enclose(formula, bits)

    truth = certified(value, bound, refine, sure)
    size = np.abs(g)
    most = size.sum(1, keepdims=True)
    far = rows.near + rows.log_total
    p = 2.0 * _F + 6.0 * UNIT * far + _F * rows.log_total + 2.0 * rows.sum32
    limit = y * (p * np.abs(total) + (1.0 + p) * gamma(count + 2, UNIT) * most)
    limit = (limit + 3.0 * UNIT * (size + y * most)) * INFLATION + FLUSH * (3.0 + most + count * y)
    return Pullback(truth, bounded(limit, size + most))
