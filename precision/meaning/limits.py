"""The function that a declaration names, on all its elements, with what float32 may make of it.

Ops of `reference.OPS` have the certified truth and `reference.error_bound`, with 16 ulp for a library's
functions (64 for erfc: see `reference.function_bounds` for what was seen). Cubic interpolation has no bound
there. Along each axis sum |w| <= 3/2 and sum |dw/dt| <= 4 for coefficients within -1..0, and a coordinate
over n elements is off by d = gamma_4 (n + 1) at most, so with M the largest |x|

    M ((3/2 + 4 d)**axes - (3/2)**axes) + M (3/2)**axes gamma_{16 axes + 4**axes}
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from precision.meaning.hypotheses import Float64, Known
from reference import Truth, error_bound, evaluate
from reference.tracked import gamma

FUNCTION_ULP, ERFC_ULP = 16.0, 64.0


def direct(
    op: str,
    arrays: Mapping[str, Any],
    params: Mapping[str, Any],
    unit: float,
    truth: Truth | None = None,
    algorithm: str = "two_pass",
) -> Known:
    """The certified truth with its limit.  Raises ValueError for what does not fit, or has no bound."""
    found = evaluate(op, arrays, params) if truth is None else truth
    if op == "interpolate" and params.get("mode", "nearest") == "bicubic":
        limit = _cubic(arrays, params, found, unit)
    else:
        ulps = ERFC_ULP if op == "erfc" else FUNCTION_ULP
        limit = error_bound(
            op, arrays, params, found, unit_roundoff=unit, algorithm=algorithm, function_ulp=ulps
        )
    return Known(found.value, found.residual, limit + found.bound)


def _cubic(arrays: Mapping[str, Any], params: Mapping[str, Any], truth: Truth, unit: float) -> Float64:
    x = np.asarray(arrays["input"], np.float64)
    last = params.get("layout", "NCHW") == "NHWC"
    drift = [gamma(4, unit) * (n + 1.0) for n in (x.shape[1:-1] if last else x.shape[2:])]
    axes = len(drift)
    widened = prod(1.5 + 4.0 * d for d in drift) - 1.5**axes
    factor = widened + 1.5**axes * gamma(16 * axes + 4**axes, unit)
    largest = float(np.max(np.abs(x), initial=0.0))
    return np.full(truth.value.shape, largest * factor + 2.0**-120)
