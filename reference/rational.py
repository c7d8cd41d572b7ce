"""Exact statistics of float32 numbers, in integers: what the last tier of the normalizations starts from."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.operands import Single

_SCALE = 149  # every float32 is an integer times 2**-149


def exact_moments(row: Single, centred: bool) -> tuple[Fraction, Fraction]:
    """Mean (0 if not centred) and biased variance (mean square) of finite float32 numbers, exactly.

    Significands are summed by exponent: sums of at most 2**29 24-bit numbers are exact in float64.
    """
    mantissa, exponent = np.frexp(row.astype(np.float64))
    digits = (mantissa * 2.0**24).astype(np.int64)
    slot = exponent.astype(np.int64) + _SCALE  # 1 for the smallest subnormal, 2**-149 = 0.5 * 2**-148
    squares = digits * digits
    total = squared = 0
    sums = [np.bincount(slot, weights=part) for part in (digits, squares >> 24, squares & 0xFFFFFF)]
    for place, (plain, high, low) in enumerate(zip(*sums, strict=True)):
        total += int(plain) << place
        squared += ((int(high) << 24) + int(low)) << 2 * place
    scale = 1 << (_SCALE + 24)
    mean = Fraction(total, scale * row.size) if centred else Fraction(0)
    return mean, Fraction(squared, scale * scale * row.size) - mean * mean


def exact_total(row: Single) -> Fraction:
    """Sum of finite float32 numbers, exactly."""
    return Fraction(int(integers(row).sum()) if row.size else 0, 1 << _SCALE)


def exact_product(*factors: Single) -> Fraction:
    """Sum over the elements of the product of the arrays, exactly; all finite and of one size."""
    total: Any = 1
    for factor in factors:
        total = total * integers(factor.reshape(-1))
    return Fraction(int(np.sum(total)) if factors[0].size else 0, 1 << _SCALE * len(factors))


def integers(array: Single) -> npt.NDArray[Any]:
    """Finite float32 numbers as Python integers, in units of 2**-149."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    digits = (mantissa * 2.0**24).astype(np.int64).astype(object)
    shift = exponent.astype(np.int64) + (_SCALE - 24)
    up, down = np.maximum(shift, 0).astype(object), np.maximum(-shift, 0).astype(object)
    return np.asarray((digits << up) >> down, object)  # what is shifted down are zeros of a subnormal


def remembered(function: Callable[[int], Any]) -> Callable[[int], Any]:
    """`function` of a row, with its last results kept: a few fractions each."""
    return lru_cache(maxsize=1 << 16)(function)


def remembered_few(function: Callable[[int], Any]) -> Callable[[int], Any]:
    """As `remembered`, for results as long as a column."""
    return lru_cache(maxsize=4)(function)
