"""The small-integer probe: does a mode compute the declared function, apart from rounding?

Three limits for the error of an element, from the widest to the narrowest:

meaning: no rounding of the declared formula reaches it.  Half a unit where the exact results are
    integer sums (a difference of meaning is a unit or more; Winograd's transforms stay far
    below); the rigorous bound for a two-pass normalization in any order otherwise.
likely: rounding seldom reaches it (the probabilistic bound).
arithmetic: what the last few operations of a normalization may round where its sums are exact,
    16 u (|x w| + |b|), and zero for integer sums.  Sums are exact in any order where a group's mean is 0
    or its statistics are given: the mean is then exactly 0, the sum of squares an integer, its
    division by N (or product with the rounded 1/N) and the addition of eps round three times, a reciprocal
    root within 8 u (see `reference.bounds`), scale and shift within 5 u.

An output within `arithmetic` is as good as exact.  One between it and `likely` is rounding of another
algorithm (Welford's divisions, a transform), which is no proof that its meaning is the declared one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.cases import Case
from reference import OPS, Truth, error_bound, evaluate

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_LAST_OPERATIONS = 16 * 2.0**-24


@dataclass(frozen=True)
class Limits:
    """Element-wise limits of the probe's error; see the module's text."""

    truth: Truth
    meaning: Float64
    likely: Float64
    arithmetic: Float64


@dataclass(frozen=True)
class Probe:
    """What the probe showed: elements beyond each limit, and the largest error (NaN where one is NaN)."""

    elements: int
    mismatches: int
    unlikely: int
    inexact: int
    error_abs_max: float


def probe_limits(case: Case) -> Limits:
    """Return the probe's truth and limits for a case."""
    arrays, params = case.make("probe"), case.declared("probe")
    truth = evaluate(case.op, arrays, params)
    rows_of = OPS[case.op].rows
    if rows_of is None:
        half = np.full(truth.value.shape, 0.5)
        return Limits(truth, half, half, np.zeros(truth.value.shape))
    meaning = error_bound(case.op, arrays, params, truth)
    likely = error_bound(case.op, arrays, params, truth, kind="probabilistic")
    rows = rows_of(**arrays, **{name: value for name, value in params.items() if name != "eps"})
    exact_sums = np.ones(rows.x.shape, dtype=bool)
    if rows.given is None:
        exact_sums &= rows.x.astype(np.float64).mean(axis=1, keepdims=True) == 0
    arithmetic = np.where(rows.restore(exact_sums), _LAST_OPERATIONS * truth.magnitude, likely)
    return Limits(truth, meaning, likely, np.minimum(arithmetic, likely))


def judge_probe(limits: Limits, output: Float32) -> Probe:
    """Compare the output of the probe with its truth."""
    error = np.abs(limits.truth.error(output))

    def beyond(limit: Float64) -> int:
        # `not <=` and not `>`, so that NaN is beyond every limit.
        return int(np.sum(~(error <= limit)))

    # Half a unit itself is beyond: it would round to another integer.
    mismatches = beyond(np.nextafter(limits.meaning, 0.0))
    largest = math.nan if np.isnan(error).any() else float(np.max(error, initial=0.0))
    return Probe(output.size, mismatches, beyond(limits.likely), beyond(limits.arithmetic), largest)
