"""Scores: error measures of one cell against the truth.

All figures are made in float64 from `output - truth`, where the truth is known to 2^-10 ulp of float32 or
better.  Guards:

- an element where NaN or Inf stand on one side only is counted and left out of the other figures;
- an element whose truth is exactly zero and whose output is not has no error in ulp (the spacing at
  zero is 2^-149): it is counted, and stays in the absolute figures;
- a figure whose divisor is zero is missing, not zero.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from reference import Truth, formats

MOST_DIGITS = 25
"""Decimal digits of the truth that are shown where they are certain."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Errors:
    """Element-wise errors of one output, and which elements the figures are taken over."""

    output: Float32
    rounded: Float32
    absolute: Float64
    """output - truth; 0 where `counted` is False."""
    ulp: Float64
    """The same in float32 ulp of the truth; 0 where `in_ulp` is False."""
    scaled: Float64
    """The error in float32 ulp of sum|terms|; equal to `ulp` up to a factor of 2 where nothing cancels."""
    counted: Bool
    """Both sides finite."""
    in_ulp: Bool
    """Counted, and not a non-zero output for a truth of exactly zero."""
    nonfinite: Bool
    """NaN or Inf on one side only, or differing."""


def errors(truth: Truth, output: Float32, rounded: Float32 | None = None) -> Errors:
    """Return the element-wise errors of `output`, which has the truth's shape.

    rounded: the truth rounded to float32, where it is known already.
    """
    if rounded is None:
        rounded = truth.round(np.float32)
    counted = np.isfinite(output) & np.isfinite(rounded)
    same = (output == rounded) | (np.isnan(output) & np.isnan(rounded))
    with np.errstate(invalid="ignore", over="ignore"):
        absolute = np.where(counted, truth.error(output), 0.0)
        zero = (truth.value == 0) & (truth.residual == 0) & (truth.bound == 0)
        in_ulp = counted & ~(zero & (output != 0))
        ulp = np.where(in_ulp, absolute / truth.ulp(np.float32), 0.0)
        scaled = np.where(counted, absolute / formats.ulp(truth.magnitude, formats.BINARY32), 0.0)
    return Errors(output, rounded, absolute, ulp, scaled, counted, in_ulp, ~counted & ~same)


def scores(truth: Truth, found: Errors) -> dict[str, Any]:
    """Return the figures of `reports.schema.SCORES` that depend on output and truth alone."""
    counted, in_ulp = found.counted, found.in_ulp
    absolute, ulp, scaled = (
        np.abs(_of(found.absolute, counted)),
        _of(found.ulp, in_ulp),
        _of(found.scaled, counted),
    )
    sizes = np.abs(ulp)
    equal = (found.output == found.rounded) | (np.isnan(found.output) & np.isnan(found.rounded))
    both_zero = (found.output == 0) & (found.rounded == 0)
    wrong_sign = both_zero & (np.signbit(found.output) != np.signbit(found.rounded))
    exact = _of(truth.value + truth.residual, counted)
    cosine, angle = cosine_and_angle(_of(found.output, counted).astype(np.float64), exact)
    return {
        "elements": found.output.size,
        "error_abs_max": _figure(np.max, absolute),
        "error_abs_mean": _figure(np.mean, absolute),
        "error_abs_rms": _figure(_rms, absolute),
        "error_ulp_median": _figure(np.median, sizes),
        "error_ulp_p99": _figure(_p99, sizes),
        "error_ulp_max": _figure(np.max, sizes),
        "error_ulp_rms": _figure(_rms, ulp),
        "error_ulp_mean": _figure(np.mean, ulp),
        "error_scaled_ulp_max": _figure(np.max, np.abs(scaled)),
        "error_scaled_ulp_rms": _figure(_rms, scaled),
        "share_correctly_rounded": _figure(np.mean, equal),
        "relative_l2": _ratio(_norm(absolute), _norm(exact)),
        "cosine": cosine,
        "angle_rad": angle,
        "error_over_magnitude_max": _largest_ratio(absolute, _of(truth.magnitude, counted)),
        "zero_truth_mismatches": int(np.sum(counted & ~in_ulp)),
        "nonfinite_mismatches": int(np.sum(found.nonfinite)),
        "signed_zero_mismatches": int(np.sum(wrong_sign)),
        **_worst(truth, found),
    }


def cosine_and_angle(a: Float64, b: Float64) -> tuple[float | None, float | None]:
    """Return cosine and angle (radians) of two vectors; both None where one of them is zero.

    angle = 2 atan2(|a/|a| - b/|b||, |a/|a| + b/|b||) (Kahan 2006, "How futile are mindless assessments of
    roundoff", section 12): accurate for small angles, and the cosine of it can never exceed 1.
    """
    length_a, length_b = _norm(a), _norm(b)
    if not length_a or not length_b:
        return None, None
    unit_a, unit_b = a / length_a, b / length_b
    angle = 2.0 * math.atan2(_norm(unit_a - unit_b), _norm(unit_a + unit_b))
    return math.cos(angle), angle


def condition(truth: Truth) -> tuple[float | None, float | None]:
    """Median and largest of sum|terms| / |truth|; infinite where the truth is zero and terms are not."""
    finite = np.isfinite(truth.value) & (truth.magnitude > 0)
    with np.errstate(divide="ignore"):
        values = truth.magnitude[finite] / np.abs(truth.value[finite] + truth.residual[finite])
    return _figure(np.median, values), _figure(np.max, values)


def largest_share(found: Errors, bound: Float64) -> float | None:
    """Return the largest |error| / bound; 0/0 counts as 0, and an error over a zero bound as infinite.

    None where a bound is infinite: everything would be within it, and nothing said.
    """
    absolute, limits = np.abs(found.absolute[found.counted]), bound[found.counted]
    if not np.isfinite(limits).all():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(absolute == 0, 0.0, absolute / limits)
    return float(np.max(shares, initial=0.0))


def bound_over_magnitude(truth: Truth, bound: Float64) -> float | None:
    """Return the largest bound / sum|terms|."""
    return _largest_ratio(bound.reshape(-1), truth.magnitude.reshape(-1))


def _worst(truth: Truth, found: Errors) -> dict[str, Any]:
    """Return where the worst element is, and what stands there."""
    if not found.output.size:
        return dict.fromkeys(
            (
                "worst_index",
                "worst_condition",
                "worst_got",
                "worst_rounded",
                "worst_got_hex",
                "worst_rounded_hex",
                "worst_exact",
            )
        )
    badness = np.where(found.nonfinite, np.inf, np.abs(found.scaled))
    flat = int(np.argmax(badness))
    index = np.unravel_index(flat, found.output.shape)
    got, rounded = float(found.output[index]), float(found.rounded[index])
    return {
        "worst_index": json.dumps([int(i) for i in index]),
        "worst_condition": _at(truth, index),
        "worst_got": got,
        "worst_rounded": rounded,
        "worst_got_hex": got.hex(),
        "worst_rounded_hex": rounded.hex(),
        "worst_exact": decimal(truth, index),
    }


def _of(values: Any, where: Bool) -> Any:
    """The elements that are meant, flat; not copied where that is all of them."""
    return values.reshape(-1) if where.all() else values[where]


def _at(truth: Truth, index: tuple[Any, ...]) -> float | None:
    """Condition of one element; missing where the truth is not finite, infinite where it is zero."""
    value, magnitude = abs(float(truth.value[index])), float(truth.magnitude[index])
    if not math.isfinite(value) or not magnitude:
        return None
    return magnitude / value if value else math.inf


def decimal(truth: Truth, index: tuple[Any, ...]) -> str:
    """Return the truth at an index in decimal: as many digits as are certain, at most 25."""
    value, residual = float(truth.value[index]), float(truth.residual[index])
    if not math.isfinite(value):
        return repr(value)
    exact, bound = Fraction(value) + Fraction(residual), Fraction(float(truth.bound[index]))
    if truth.refine is not None and bound:
        exact, bound = truth.refine(int(np.ravel_multi_index(index, truth.value.shape)), 100)
    digits = MOST_DIGITS
    if bound and exact:
        digits = max(1, min(MOST_DIGITS, math.floor(-math.log10(bound / abs(exact)))))
    context = mpmath.MPContext()
    context.prec = 2200  # any sum of two float64 is exact
    number = context.mpf(exact.numerator) / context.mpf(exact.denominator)
    text: str = context.nstr(number, digits, strip_zeros=True)
    return text


def _figure(function: Any, values: Any) -> float | None:
    return float(function(values)) if np.size(values) else None


def _p99(values: Float64) -> float:
    # A value that occurs, not one between two: "99 % of the elements have at most this error".
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


def _rms(values: Float64) -> float:
    """Root mean square, scaled so that squares neither overflow nor vanish."""
    top = float(np.max(np.abs(values)))
    if top == 0 or not math.isfinite(top):
        return top
    if 2.0**-400 < top < 2.0**400:
        return math.sqrt(float(np.mean(np.square(values))))
    return top * math.sqrt(float(np.mean(np.square(values / top))))


def _norm(values: Float64) -> float:
    return _rms(values) * math.sqrt(values.size) if values.size else 0.0


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def _largest_ratio(values: Float64, divisors: Float64) -> float | None:
    positive = divisors > 0
    if positive.all() and values.size:
        with np.errstate(over="ignore"):
            return float(np.max(values / divisors))
    with np.errstate(over="ignore"):  # infinite: an error beside which all terms are nothing
        return _figure(np.max, values[positive] / divisors[positive])
