"""The tolerances that a comparison of two correct float32 implementations can need, on the data at hand.

Each implementation is within B of the truth t, so they are within 2 B of each other, and the second one is at
least |t| - B. Any rtol will do with

    atol = max(2 B - rtol (|t| - B), 0)    largest over the elements

rtol is taken from the elements of usual size, |t| at least its root mean square: so it says what the sums
lose, and atol what cancellation leaves of the others. Sums of products are also computed from operands that
were rounded first, on purpose or by default: each such mode has numbers of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.operand_tolerance import operand_limits
from reference import Truth, error_bound

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """`assert_close(a, b, rtol=rtol, atol=atol)` for two float32 implementations.

    rtol, atol: no correct one, in whatever order it adds, exceeds them. likely_rtol, likely_atol: what
    rounding errors that are independent and of mean zero stay within (`reference.error_bound`,
    probabilistic); None where that says nothing. modes: the same where one of the two, or both, round the
    operands of their products first: by "tf32", "bfloat16" and "float16", those that the data allow.
    """

    rtol: float
    atol: float
    likely_rtol: float | None = None
    likely_atol: float | None = None
    modes: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, dict[str, float]]:
        """To paste: rtol and atol of "float32" and of each mode, the likely ones where they are known."""
        found = {"float32": self, **self.modes}
        return {name: each.usual for name, each in found.items()}

    @property
    def usual(self) -> dict[str, float]:
        """The likely numbers, or the worst ones where nothing is known of the likely ones."""
        if self.likely_rtol is None or self.likely_atol is None:
            return {"rtol": self.rtol, "atol": self.atol}
        return {"rtol": self.likely_rtol, "atol": self.likely_atol}

    @property
    def words(self) -> str:
        worst = f"{_pair(self.rtol, self.atol)} in the worst case"
        if self.likely_rtol is not None:
            worst += f"; {_pair(**self.usual)} are likely to do"
        if not self.modes:
            return worst
        listed = ", ".join(f"{name} {_pair(**each.usual)}" for name, each in self.modes.items())
        return f"{worst}; where one rounds its operands first: {listed}"


def _pair(rtol: float, atol: float) -> str:
    return f"rtol={rtol:g}, atol={atol:g}"


def tolerance(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], truth: Truth, limit: Float64
) -> Tolerance | None:
    """The tolerances from a rigorous limit on |output - truth|; None where it is infinite."""
    try:
        likely = error_bound(op, arrays, params, truth, kind="probabilistic")
    except ValueError:  # an op without such a bound
        likely = None
    own = _of_limits(limit, likely, truth)
    if own is None:
        return None
    modes = {}
    for name, worst, usual in operand_limits(op, arrays, params, truth):
        found = _of_limits(worst, usual, truth)
        if found is not None:
            modes[name] = found
    return replace(own, modes=modes)


def _of_limits(worst: Float64, likely: Float64 | None, truth: Truth) -> Tolerance | None:
    most = _numbers(worst, truth)
    if most is None:
        return None
    usual = None if likely is None else _numbers(likely, truth)
    if usual is None or usual == most or usual[0] > most[0] or usual[1] > most[1]:
        return Tolerance(*most)
    return Tolerance(*most, *usual)


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
