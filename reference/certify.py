"""Which elements a bound already settles, and which the next tier of arithmetic has to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled
from reference.truth import CERTAINTY, HAIR

_SLACK = 2.0**-51  # covers the roundings on the way from (residual, bound) to an end of the interval


@compiled
def spacing32(size: float) -> float:
    """ulp of binary32 at size >= 0, subnormals kept: `formats.ulp` for compiled code."""
    exponent = (np.float64(size).view(np.int64) >> 52) - 1023
    return float(np.int64(min(max(int(exponent), -126), 127) - 23 + 1023 << 52).view(np.float64))


@compiled
def round32(high: float, low: float) -> Any:
    """high + low rounded once to binary32: `formats.round_sum` for compiled code."""
    total = high + low
    partner = total - high
    rest = (high - (total - partner)) + (low - partner)
    if rest != 0.0 and np.float64(total).view(np.int64) % 2 == 0:
        total = np.nextafter(total, np.inf if rest > 0.0 else -np.inf)
    return np.float32(total)


@compiled
def certain(value: float, residual: float, bound: float) -> bool:
    """Whether value + residual +- bound rounds to one float32 and bound <= 2**-10 ulp of the truth.

    The sign must be known too, even of what rounds to zero. A bound of 0 is exact, hence certain; a NaN bound
    never is.
    """
    if bound == 0.0:
        return True
    if bound < HAIR and bound == abs(residual) and abs(value) > 2.0**-200:  # see `Truth.bound`
        return True
    least = abs(value) * (1.0 - 2.0**-50) - bound
    if not (least > 0.0 and bound <= CERTAINTY * spacing32(least)):
        return False
    # A wider interval with float64 ends settles nearly every element without the sticky roundings.
    wide = (bound + abs(residual)) * (1.0 + 2.0**-50) + abs(value) * 2.0**-50
    if np.float32(value - wide) == np.float32(value + wide):
        return True
    margin = bound + (abs(residual) + bound) * _SLACK
    return bool(round32(value, residual - margin) == round32(value, residual + margin))


@compiled
def settle(pairs: Any, bound: Any, unsure: Any) -> int:
    """Mark the elements (value, residual) that their bound leaves uncertain; returns how many there are."""
    count = 0
    for i in range(bound.size):
        unsure[i] = not certain(pairs[i, 0], pairs[i, 1], bound[i])
        count += unsure[i]
    return count


@compiled
def settle_float64(
    value: Any, magnitude: Any, factor: float, exact_below: float, bound: Any, unsure: Any
) -> int:
    """Bound = factor * magnitude for float64 sums (0 where it proves them exact); marks the rest."""
    count = 0
    for i in range(value.size):
        bound[i] = 0.0 if magnitude[i] <= exact_below else factor * magnitude[i]
        unsure[i] = not certain(value[i], 0.0, bound[i])
        count += unsure[i]
        value[i] += 0.0  # an exact zero is +0
    return count
