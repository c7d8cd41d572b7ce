"""Two probes: does a mode compute the declared function, and in the full width of float32?

`probe` holds small integers, `width` values of 24 bits (see `precision.suites.layers`).  An element's
error is held against three limits, from the widest to the narrowest:

meaning: no rounding of the declared formula reaches it.  On integer sums half a unit (a difference of
    meaning is a unit or more; Winograd's transforms stay far below); for a normalization the
    rigorous bound of two passes in any order.  The width of sums says nothing of meaning.
likely: rounding in float32 seldom reaches it: the probabilistic bound of a normalization, and 2^-18 of the
    largest operands for a width of sums (64 u: Winograd's transforms mix neighbours within it,
    TF32 and float16 are off by up to 2^-11).
arithmetic: zero for sums, which are exact.  For a normalization 16 u (|x w| + |b|), where its sums are
    exact in any order: where a group's mean is 0 or its statistics are given.  The mean is then
    exactly 0, the sum of squares a multiple of a power of two, its division by N (or product with the rounded
    1/N), eps and the addition of it round, a reciprocal root within 8 u (see `reference.bounds`), scale and
    shift within 5 u.

An output within `arithmetic` is as good as exact.  One between it and `likely` is rounding of another
algorithm (Welford's divisions, a transform), which is no proof that its meaning is the declared one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.cases import Case
from reference import OPS, Truth, error_bound, evaluate

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_LAST_OPERATIONS = 16 * 2.0**-24
LIKELY_WIDTH = 2.0**-18


@dataclass(frozen=True)
class Limits:
    """Element-wise limits of a probe's error; see the module's text."""

    truth: Truth
    meaning: Float64
    likely: Float64
    arithmetic: Float64

    def kept(self, take: Callable[[Float64], Float64]) -> Limits:
        """The limits of some elements."""
        limits = (take(limit) for limit in (self.meaning, self.likely, self.arithmetic))
        return Limits(self.truth.arranged(take), *limits)


@dataclass(frozen=True)
class Probe:
    """What a probe showed: elements beyond each limit, the largest error (NaN where one is NaN)."""

    elements: int
    mismatches: int
    unlikely: int
    inexact: int
    error_abs_max: float
    error_relative_max: float
    """Largest error / sum|terms|: 2^-11 or so for TF32 and float16 operands, 2^-8 for bfloat16."""


def probe_limits(case: Case, variant: str = "probe") -> Limits:
    """Return truth and limits of a case's `probe` or `width`."""
    if "gradient" in case.family:
        from precision.judging.probe_gradients import gradient_limits

        return gradient_limits(case, variant)
    arrays, params = case.make(variant), case.declared(variant)
    truth = evaluate(case.op, arrays, params)
    rows_of = OPS[case.op].rows
    shape = truth.value.shape
    if rows_of is None:
        exact = np.zeros(shape)
        if variant == "probe":
            half = np.full(shape, 0.5)
            return Limits(truth, half, half, exact)
        picked = np.abs(arrays["weight"]).reshape(len(arrays["weight"]), -1).max(axis=1).astype(np.float64)
        along = [1] * len(shape)
        along[1] = -1
        scale = picked.reshape(along) * np.abs(arrays["input"]).max()
        return Limits(truth, np.full(shape, np.inf), np.broadcast_to(LIKELY_WIDTH * scale, shape), exact)
    meaning = error_bound(case.op, arrays, params, truth)
    likely = error_bound(case.op, arrays, params, truth, kind="probabilistic")
    rows = rows_of(**arrays, **{name: value for name, value in params.items() if name != "eps"})
    exact_sums = np.ones(rows.x.shape, dtype=bool)
    if rows.given is None:
        exact_sums &= rows.x.astype(np.float64).mean(axis=1, keepdims=True) == 0
    arithmetic = np.where(rows.restore(exact_sums), _LAST_OPERATIONS * truth.magnitude, likely)
    return Limits(truth, meaning, likely, np.minimum(arithmetic, likely))


def judge_probe(limits: Limits, output: Float32) -> Probe:
    """Compare the output of a probe with its truth."""
    error = np.abs(limits.truth.error(output))

    def beyond(limit: Float64) -> int:
        # `not <=` and not `>`, so that NaN is beyond every limit.
        return int(np.sum(~(error <= limit)))

    positive = limits.truth.magnitude > 0
    relative = error[positive] / limits.truth.magnitude[positive]
    return Probe(
        output.size,
        # Half a unit itself is beyond: it would round to another integer.
        beyond(np.nextafter(limits.meaning, 0.0)),
        beyond(limits.likely),
        beyond(limits.arithmetic),
        _largest(error),
        _largest(relative),
    )


def _largest(values: Float64) -> float:
    return math.nan if np.isnan(values).any() else float(np.max(values, initial=0.0))
