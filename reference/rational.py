"""The last tier of the normalizations: exact statistics, and y = a / sqrt(t) + b decided exactly.

y is rational if and only if a**2 / t is the square of a fraction; then ties and zeros are decided by
comparing fractions. Otherwise y is irrational, so neither a tie nor zero, and raising the precision must end.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from reference.certify import certain
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


def exact_element(a: Fraction, t: Fraction, b: Fraction) -> tuple[float, float, float]:
    """(value, residual, bound) of a / sqrt(t) + b, t > 0, certain for float32."""
    square = a * a / t
    top, bottom = math.isqrt(square.numerator), math.isqrt(square.denominator)
    sign = -1 if a < 0 else 1
    if top * top == square.numerator and bottom * bottom == square.denominator:
        return _split(sign * Fraction(top, bottom) + b, Fraction(0))
    bits = 256
    while True:
        product = square.numerator * square.denominator
        shift = max(0, bits - product.bit_length() // 2)
        unit = Fraction(1, square.denominator << shift)
        found = _split(sign * math.isqrt(product << 2 * shift) * unit + b, unit)
        if certain(*found):
            return found
        bits *= 2


def _split(number: Fraction, error: Fraction) -> tuple[float, float, float]:
    value = float(number)
    left = number - Fraction(value)
    residual = float(left)
    rest = abs(left - Fraction(residual)) + error
    return value, residual, math.nextafter(float(rest), math.inf) if rest else 0.0
