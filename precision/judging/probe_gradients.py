"""Limits of the two probes of a gradient; see `precision.judging.probe`.

Gradients of sums are sums: exact on small integers; at full width one product each.  Those of
normalizations have no arrays on which every step is exact: the rigorous bound of two passes limits meaning,
the probabilistic one is both what rounding is likely to reach and the arithmetic's.
"""

from __future__ import annotations

import numpy as np

from precision.cases import Case
from precision.judging.probe import LIKELY_WIDTH, Limits
from reference import error_bound, evaluate


def gradient_limits(case: Case, variant: str) -> Limits:
    """Return truth and limits of a gradient's `probe` or `width`."""
    arrays, params = case.make(variant), case.declared(variant)
    truth = evaluate(case.op, arrays, params)
    shape = truth.value.shape
    if "normalization" in case.family:
        meaning = error_bound(case.op, arrays, params, truth)
        likely = np.minimum(error_bound(case.op, arrays, params, truth, kind="probabilistic"), meaning)
        return Limits(truth, meaning, likely, likely)
    exact = np.zeros(shape)
    if variant == "probe":
        half = np.full(shape, 0.5)
        return Limits(truth, half, half, exact)
    likely = np.full(shape, LIKELY_WIDTH * float(truth.magnitude.max(initial=0.0)))
    return Limits(truth, np.full(shape, np.inf), likely, exact)
