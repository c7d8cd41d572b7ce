"""The tolerances that a comparison of two correct float32 implementations can need, on the data at hand.

Each implementation is within B of the truth t, so they are within 2 B of each other, and the second one is at
least |t| - B. Any rtol will do with

    atol = max(2 B - rtol (|t| - B), 0)    largest over the elements

rtol is taken from the elements of usual size, |t| at least its root mean square: so it says what the sums
lose, and atol what cancellation leaves of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference import Truth, error_bound

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """`assert_close(a, b, rtol=rtol, atol=atol)` for two float32 implementations.

    rtol, atol: no correct one, in whatever order it adds, exceeds them. likely_rtol, likely_atol: what
    rounding errors that are independent and of mean zero stay within (`reference.error_bound`,
    probabilistic); None where that says nothing.
    """

    rtol: float
    atol: float
    likely_rtol: float | None = None
    likely_atol: float | None = None

    @property
    def words(self) -> str:
        worst = f"rtol={self.rtol:g}, atol={self.atol:g} in the worst case"
        if self.likely_rtol is None:
            return worst
        return f"{worst}; rtol={self.likely_rtol:g}, atol={self.likely_atol:g} are likely to do"


def tolerance(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], truth: Truth, limit: Float64
) -> Tolerance | None:
    """The tolerances from a rigorous limit on |output - truth|; None where it is infinite."""
    worst = _numbers(limit, truth)
    if worst is None:
        return None
    try:
        likely = _numbers(error_bound(op, arrays, params, truth, kind="probabilistic"), truth)
    except ValueError:  # an op without such a bound
        likely = None
    if likely is None or likely == worst or likely[0] > worst[0] or likely[1] > worst[1]:
        return Tolerance(*worst)
    return Tolerance(*worst, *likely)


def _numbers(limit: Float64, truth: Truth) -> tuple[float, float] | None:
    """rtol and atol, rounded up to two digits."""
    finite = np.isfinite(truth.value)
    size, limit = np.abs(truth.value[finite]), limit[finite]
    if not size.size or not np.isfinite(limit).all():
        return None
    top = float(np.max(size))
    usual = size >= top * math.sqrt(float(np.mean((size / top) ** 2))) if top else np.zeros(size.shape, bool)
    least = np.maximum(size - limit, 0.0)
    rtol = 0.0
    if usual.any() and (least[usual] > 0).all():
        rtol = _up(float(np.max(2.0 * limit[usual] / least[usual])))
    return rtol, _up(float(np.max(np.maximum(2.0 * limit - rtol * least, 0.0))))


def _up(value: float) -> float:
    """The least number of two digits that is not below `value`."""
    if value == 0.0 or not math.isfinite(value):
        return value
    near = float(f"{value:.1e}")
    if near >= value:
        return near
    exponent = math.floor(math.log10(abs(value)))
    return float(f"{near + 10.0 ** (exponent - 1):.1e}")
