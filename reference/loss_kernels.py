"""Losses element by element, and their sums, in double-word arithmetic with absolute bounds.

A loss is a sum of a few products c * f with exact factors c. A factor of two words or a product of them costs
at most 3 STEP relatively, f its own bound, the sum STEP of the terms' absolute values. The total of N losses
adds the losses' bounds and (N + 1) STEP sum|loss|; its divisor is exact or within (N + 1) STEP.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference import elementary, softmax_kernels
from reference.compensated import two_sum
from reference.doubleword import STEP, over, over_float, plus, times, times_float, two_prod
from reference.jit import compiled

LOST = 2.0**-1030
_INFLATE = 1.0 + 2.0**-40
_softplus, _E_SOFTPLUS = elementary.softplus, elementary.SOFTPLUS
_shifted_sum, _logarithm = softmax_kernels.shifted_sum, softmax_kernels.logarithm
_ORDINARY, _EQUAL = softmax_kernels.ORDINARY, softmax_kernels.EQUAL


@compiled
def cross_entropy(
    x: Any, target: Any, weight: Any, smoothing: float, value: Any, residual: Any, bound: Any, magnitude: Any
) -> None:
    """(1 - s) w_t nll_t + s/C sum w_c nll_c for each row; 0 where the target is negative."""
    classes = x.shape[1]
    near_h, near_l = two_sum(1.0, -smoothing)
    far_h, far_l = over_float(smoothing, 0.0, np.float64(max(classes, 1)))
    for i in range(x.shape[0]):
        high, low, margin, size = 0.0, 0.0, 0.0, 0.0
        if target[i] >= 0:
            what, top, rest, rest_low, relative = _shifted_sum(x[i])
            for c in range(classes):
                if c != target[i] and smoothing == 0.0:
                    continue
                yh, yl, error, extent = np.nan, 0.0, 0.0, np.inf
                if what in {_ORDINARY, _EQUAL}:
                    yh, yl, error, extent = _logarithm(
                        what, top, rest, rest_low, relative, np.float64(x[i, c])
                    )
                kh, kl = (near_h, near_l) if c == target[i] else (0.0, 0.0)
                kh, kl = plus(kh, kl, far_h, far_l)
                kh, kl = times_float(kh, kl, np.float64(weight[c]))
                if not np.isfinite(yh):
                    high, low, margin, size = high - kh * yh, 0.0, 0.0, np.inf
                    continue
                yh, yl = times(-yh, -yl, kh, kl)
                high, low = plus(high, low, yh, yl)
                if kh != 0.0:
                    plain = smoothing == 0.0 and weight[c] == 1.0
                    margin += error * kh * _INFLATE
                    margin += 0.0 if plain else (4.0 * abs(yh) + abs(high)) * STEP * 1.001
                    margin += 0.0 if yh == 0.0 and error == 0.0 else LOST
                size += extent * kh
        if not np.isfinite(high):
            low, margin, size = 0.0, 0.0, np.inf
        value[i], residual[i], bound[i], magnitude[i] = high, low, margin, size * _INFLATE


@compiled
def binary_cross_entropy(
    x: Any, y: Any, weight: Any, positive: Any, value: Any, residual: Any, bound: Any, magnitude: Any
) -> None:
    """w ((1 - y) softplus(x) + p y softplus(-x)); weight and positive are repeated as often as needed."""
    for i in range(x.size):
        logit, label = np.float64(x[i]), np.float64(y[i])
        w, p = np.float64(weight[i % weight.size]), np.float64(positive[i % positive.size])
        factor = p * label
        if not (np.isfinite(logit) and np.isfinite(label) and np.isfinite(w) and np.isfinite(p)):
            tail = math.log1p(math.exp(-abs(logit))) + max(-logit, 0.0)
            value[i] = w * ((1.0 - label) * logit + (1.0 + (p - 1.0) * label) * tail)
            residual[i], bound[i], magnitude[i] = 0.0, 0.0, np.inf
            continue
        ah, al = two_sum(1.0, -label)
        sh, sl = _softplus(logit, 0.0)
        uh, ul = times(sh, sl, ah, al)
        sh, sl = _softplus(-logit, 0.0)
        vh, vl = times_float(sh, sl, factor)
        high, low = plus(uh, ul, vh, vl)
        high, low = times_float(high, low, w)
        size = (abs(uh) + abs(vh)) * abs(w)
        idle = w == 0.0 or (ah == 0.0 and factor == 0.0)
        margin = size * (_E_SOFTPLUS + 4.0 * STEP) * 1.001 + LOST * (1.0 + (abs(ah) + abs(factor)) * abs(w))
        value[i], residual[i], magnitude[i] = (0.0 if idle else high), (0.0 if idle else low), size * _INFLATE
        bound[i] = 0.0 if idle else margin


@compiled
def squares(x: Any, y: Any, value: Any, residual: Any, bound: Any, magnitude: Any) -> None:
    """(x - y)**2; the difference is exact in two words."""
    for i in range(x.size):
        a, b = np.float64(x[i]), np.float64(y[i])
        dh, dl = two_sum(a, -b)
        if not np.isfinite(dh):
            value[i], residual[i], bound[i], magnitude[i] = dh * dh, 0.0, 0.0, np.inf
        elif dl == 0.0:
            value[i], residual[i] = two_prod(dh, dh)
            bound[i], magnitude[i] = 0.0, value[i] * _INFLATE
        else:
            value[i], residual[i] = times(dh, dl, dh, dl)
            bound[i], magnitude[i] = value[i] * STEP, value[i] * _INFLATE


@compiled
def total(
    value: Any, residual: Any, bound: Any, magnitude: Any, weights: Any, count: float
) -> tuple[float, float, float, float]:
    """(value, residual, bound, magnitude) of sum(losses) / sum(weights), or / count where there are none."""
    high, low, error, size, sizes = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(value.size):
        if not np.isfinite(value[i]) or not np.isfinite(high):
            high, low = high + value[i], 0.0
        else:
            high, low = plus(high, low, value[i], residual[i])
        error += bound[i]
        sizes += abs(value[i])
        size += magnitude[i]
    wh, wl = count, 0.0
    if weights.size:
        wh, wl = 0.0, 0.0
        for i in range(weights.size):
            wh, wl = plus(wh, wl, np.float64(weights[i]), 0.0)
    if not np.isfinite(high) or not np.isfinite(wh) or wh == 0.0:
        return high / wh, 0.0, 0.0, np.inf
    high, low = over(high, low, wh, wl)
    steps = (value.size + 1.0 + weights.size + 2.0) * STEP
    margin = (error + sizes * steps) / wh * 1.001 + (LOST if error > 0.0 else 0.0)
    return high, low, margin if sizes > 0.0 or error > 0.0 else 0.0, size / wh * (1.0 + 2.0**-30)
