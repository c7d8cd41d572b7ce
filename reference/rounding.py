"""Rounding a number, given as an exact sum of two float64 or as a fraction, to any precision in any mode.

Nothing here knows the upper end of a format: `formats` applies the overflow. A format is its precision p and
the exponent emin of its smallest normal number; its numbers are the integer multiples t * unit with
unit = 2**(max(floor(log2|x|), emin) - p + 1) and t <= 2**p. IEEE 754-2019, sections 4.3.1, 4.3.2; stochastic
rounding: Croci, Fasi, Higham, Mary & Mikaitis 2022, "Stochastic rounding: implementation, error analysis and
applications", R. Soc. Open Sci. 9(3): a neighbour's probability is 1 less the relative distance to it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.jit import compiled

MODES = ("RNE", "RNA", "RZ", "RU", "RD", "SR")
"""To nearest with ties to even or away, toward zero, up, down, stochastic."""
RNE, RNA, RZ, RU, RD, SR = range(6)

_LARGEST = float(np.finfo(np.float64).max)

Seed = int | np.random.Generator | None


def mode_code(mode: str) -> int:
    """The position of `mode` in `MODES`; ValueError for another name."""
    if mode not in MODES:
        raise ValueError(f"the rounding mode must be one of {MODES}, got {mode!r}: name one of them")
    return MODES.index(mode)


def draws(mode: str, seed: Seed, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """What stochastic rounding draws, one number k / 2**53 in [0, 1) an element; empty for other modes.

    Raises ValueError for a stochastic rounding without a seed: it could not be repeated.
    """
    if mode_code(mode) != SR:
        return np.empty(0)
    if seed is None or isinstance(seed, bool) or not isinstance(seed, int | np.integer | np.random.Generator):
        raise ValueError(
            f"stochastic rounding needs a seed (an integer or a NumPy generator), got {seed!r}: give one"
        )
    return np.random.default_rng(seed).random(shape).reshape(-1)


def round_pairs(
    high: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    precision: int,
    emin: int,
    mode: str,
    drawn: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """high + low, rounded once as if the format had no largest number; beyond float64 infinity.

    `high` that is not finite stays as it is, whatever `low`. Zeros keep the sign that IEEE 754 gives
    high + low; what is rounded to zero keeps its own.
    """
    shape = np.broadcast_shapes(high.shape, low.shape)
    pair = [np.ascontiguousarray(np.broadcast_to(a, shape), np.float64).reshape(-1) for a in (high, low)]
    pair = [a if a.flags.writeable else a.copy() for a in pair]
    out = np.empty(shape)
    _round_pairs(pair[0], pair[1], precision, emin, mode_code(mode), drawn, out.reshape(-1))
    return out


@compiled
def clear(value: float, bound: float) -> bool:
    """Whether value + residual +- bound surely rounds to the float32 that is nearest to value, whatever the
    residual (at most half a spacing of float64), by a look at the bits: so it does for nearly every number.

    In float32's normal range the residual moves the value by at most half a float64, and the bound by so many
    as it is wide: too little to reach the middle between two float32 numbers from farther away.
    """
    size = abs(value)
    if not (2.0**-126 <= size < 2.0**127 and bound <= size * 2.0**-36):
        return False
    rest = np.float64(value).view(np.int64) & 0x1FFFFFFF  # the 29 bits that float32 does not have
    steps = abs(rest - 0x10000000) - 2  # of at least size * 2**-53 each
    return bool(steps > 0 and steps * size > bound * 2.0**53)


@compiled
def nearest_single(value: Any, bound: Any, out: Any, left: Any) -> int:
    """out = value as float32, left = where it is not `clear`; returns how many those are."""
    count = 0
    for i in range(value.size):
        known = clear(value[i], bound[i])
        out[i] = np.float32(value[i]) if known else np.float32(0.0)
        left[i] = not known
        count += left[i]
    return count


@compiled
def _power(exponent: int) -> float:
    """2**exponent for -1022 <= exponent <= 1023."""
    return float(np.int64((exponent + 1023) << 52).view(np.float64))


@compiled
def _above(fraction: float, low: float, threshold: float) -> float:
    """A number with the sign of fraction + low - threshold, for fraction and threshold in [0, 1]."""
    total = fraction - threshold
    partner = total - fraction
    error = (fraction - (total - partner)) + (-threshold - partner)
    middle = error + low
    partner = middle - error
    rest = (error - (middle - partner)) + (low - partner)
    top = total + middle
    partner = top - total
    return float(top + (((total - (top - partner)) + (middle - partner)) + rest))


@compiled
def _round_pairs(high: Any, low: Any, precision: int, emin: int, mode: int, drawn: Any, out: Any) -> None:
    for i in range(high.size):
        total = high[i] + low[i]
        if not (np.isfinite(high[i]) and np.isfinite(low[i])) or total == 0.0:
            out[i] = total if np.isfinite(high[i]) else high[i]
            continue
        sign = np.copysign(1.0, total)
        if np.isinf(total):
            # Beyond float64, hence within two spacings of its largest number: all that follows is exact.
            size = _LARGEST
            rest = min((sign * high[i] - _LARGEST) + sign * low[i], _power(971))
        else:
            partner = total - high[i]
            rest = sign * ((high[i] - (total - partner)) + (low[i] - partner))
            size = abs(total)
        bits = np.float64(size).view(np.int64)
        exponent = (bits >> 52) - 1023
        if rest < 0.0 and bits & 0xFFFFFFFFFFFFF == 0:
            exponent -= 1  # just below a power of two
        shift = max(int(exponent), emin) - precision + 1
        half = shift // 2  # the scaling may not fit one power of two, but it fits two
        scaled = size * _power(-half) * _power(half - shift)
        low_scaled = rest * _power(-half) * _power(half - shift)
        if rest != 0.0 and low_scaled == 0.0:
            low_scaled = np.copysign(2.0**-1000, rest)  # its size no longer matters, its sign does
        whole = np.floor(scaled)
        if scaled == whole and low_scaled < 0.0:
            whole -= 1.0
        fraction = scaled - whole  # exact
        up = False
        if fraction != 0.0 or low_scaled != 0.0:
            if mode <= 1:
                side = _above(fraction, low_scaled, 0.5)
                up = side > 0.0 or (side == 0.0 and (mode == 1 or np.int64(whole) & 1 == 1))
            elif mode == 5:
                up = _above(fraction, low_scaled, drawn[i]) > 0.0
            else:
                up = (mode == 3 and sign > 0.0) or (mode == 4 and sign < 0.0)
        if up:
            whole += 1.0
        out[i] = sign * (whole * _power(half) * _power(shift - half))


def round_fraction(exact: Fraction, precision: int, emin: int, mode: str, drawn: float = 0.0) -> float:
    """One fraction rounded as `round_pairs` does it, with integers alone; zero is +0."""
    code = mode_code(mode)
    if exact == 0:
        return 0.0
    sign, size = (-1.0, -exact) if exact < 0 else (1.0, exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, emin) - precision + 1)
    whole, rest = divmod(size, unit)
    fraction = rest / unit
    if code in (RNE, RNA):
        up = fraction > Fraction(1, 2) or (fraction == Fraction(1, 2) and (code == RNA or whole % 2 == 1))
    elif code == SR:
        up = fraction > Fraction(drawn)
    else:
        up = bool(fraction) and (code, sign) in ((RU, 1.0), (RD, -1.0))
    rounded = (whole + up) * unit
    return sign * (float(rounded) if rounded <= Fraction(_LARGEST) else float("inf"))
