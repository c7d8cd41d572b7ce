"""Dropout with a given mask: the framework draws what is kept, arithmetic says what becomes of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.compensated import two_sum
from reference.doubleword import STEP, over
from reference.escalate import finish
from reference.jit import compiled
from reference.operands import operand
from reference.truth import Truth


def dropout(input: npt.ArrayLike, mask: npt.ArrayLike, *, p: float = 0.5, training: bool = True) -> Truth:
    """x * mask / (1 - p) for a mask of 0 and 1 (or False and True), so Inf * 0 is NaN; x if not training.

    p is the exact float64 given, within 0 <= p < 1, and 1 - p is not rounded. The mask has input's shape.
    Raises ValueError for another shape, a mask that holds anything but 0 and 1, p out of its range, and
    dtypes that `operand` refuses.
    """
    x, kept = operand(input, "input"), np.asarray(mask)
    if kept.shape != x.shape:
        raise ValueError(f"the mask must have the input's shape {x.shape}, got {kept.shape}: reshape it")
    if not np.isin(kept, (0, 1)).all():
        raise ValueError(
            "the mask must hold 0 and 1 alone, got other numbers: undo the scaling by 1 / (1 - p)"
        )
    if isinstance(p, bool) or not isinstance(p, int | float | np.floating) or not 0 <= p < 1:
        raise ValueError(f"p must be a number within 0 <= p < 1, got {p!r}: give e.g. 0.5")
    rate = float(p) if training else 0.0
    with np.errstate(invalid="ignore"):
        chosen = np.asarray(x * kept.astype(np.float32) if training else x).reshape(-1)
    value, residual, bound, magnitude = (np.empty(chosen.size) for _ in range(4))
    _scale(chosen, rate, value, residual, bound, magnitude)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        return Fraction(float(chosen[index])) / (1 - Fraction(rate)), Fraction(0)

    truth = finish(value, residual, bound, magnitude, refine, signed=True)
    return truth.arranged(lambda array: array.reshape(x.shape))


@compiled
def _scale(x: Any, rate: float, value: Any, residual: Any, bound: Any, magnitude: Any) -> None:
    """x / (1 - p); exact where 1 - p is a power of two."""
    kh, kl = two_sum(1.0, -rate)
    exact = kl == 0.0 and np.float64(kh).view(np.int64) % 2**52 == 0
    for i in range(x.size):
        element = np.float64(x[i])
        if np.isfinite(element) and not exact and element != 0.0:
            high, low = over(element, 0.0, kh, kl)
        else:
            high, low = float(element / kh), 0.0
        value[i], residual[i], magnitude[i] = high, low, abs(high) * (1.0 + 2.0**-40)
        bound[i] = 0.0 if exact or element == 0.0 else abs(high) * STEP
