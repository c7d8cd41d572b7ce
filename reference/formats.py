"""Binary floating-point formats as data, and the two operations that need nothing else: `ulp` and rounding.

A format is a precision and an exponent range. IEEE 754-2019, sections 3.3 (formats), 4.3.1 (round to nearest,
ties to even), 7.4 (overflow).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A binary format with subnormal numbers, infinities and NaN."""

    name: str
    precision: int  # bits of the significand, the leading one included
    emin: int  # exponent of the smallest normal number, 2**emin
    emax: int  # exponent of the largest finite number, 2**emax * (2 - 2**(1 - precision))
    bits: int  # bits of storage

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding to nearest: 2**-precision."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        return float(np.ldexp(1.0, self.emin - self.precision + 1))

    @property
    def largest(self) -> float:
        return float(np.ldexp(2.0 - 2.0 ** (1 - self.precision), self.emax))


BINARY16 = Format(name="binary16", precision=11, emin=-14, emax=15, bits=16)
BFLOAT16 = Format(name="bfloat16", precision=8, emin=-126, emax=127, bits=16)
TF32 = Format(name="tf32", precision=11, emin=-126, emax=127, bits=32)
BINARY32 = Format(name="binary32", precision=24, emin=-126, emax=127, bits=32)
BINARY64 = Format(name="binary64", precision=53, emin=-1022, emax=1023, bits=64)

FORMATS = {fmt.name: fmt for fmt in (BINARY16, BFLOAT16, TF32, BINARY32, BINARY64)}
_BY_DTYPE = {"float16": BINARY16, "bfloat16": BFLOAT16, "float32": BINARY32, "float64": BINARY64}


def format_of(dtype: Any) -> Format:
    """The format of a NumPy dtype, of a format's name, or of a `Format` (itself).

    Raises ValueError for anything else.
    """
    if isinstance(dtype, Format):
        return dtype
    if isinstance(dtype, str) and dtype in FORMATS:
        return FORMATS[dtype]
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name in _BY_DTYPE:
        return _BY_DTYPE[name]
    raise ValueError(
        f"a format is one of {sorted(FORMATS)} or {sorted(_BY_DTYPE)}, got {name!r}: name one of them"
    )


def ulp(x: npt.ArrayLike, fmt: Format) -> Array:
    """Spacing of `fmt` at |x|: 2**(max(floor(log2|x|), emin) - precision + 1), as float64.

    At zero and throughout the subnormal range it is the smallest subnormal. NaN for NaN; above the largest
    number, infinity included, the spacing of the last binade. Every spacing is exact: those of binary64 below
    its own subnormals do not exist.
    """
    x = np.asarray(x, np.float64)
    _, exponent = np.frexp(x)
    exponent = np.clip(exponent.astype(np.int64) - 1, fmt.emin, fmt.emax)
    exponent = np.where(x == 0.0, fmt.emin, np.where(np.isinf(x), fmt.emax, exponent))
    spacing = np.ldexp(1.0, (exponent - fmt.precision + 1).astype(np.int32))
    return np.asarray(np.where(np.isnan(x), np.nan, spacing))


def round_nearest_even(x: npt.ArrayLike, fmt: Format) -> Array:
    """`x` (float64) rounded to `fmt`, ties to even; subnormals kept, overflow to infinity, zeros keep their
    sign.

    Exact for every format of at most 53 bits: x / ulp(x) is a scaling by a power of two and below 2**53.
    """
    x = np.asarray(x, np.float64)
    if fmt.precision >= BINARY64.precision:
        return x.copy()
    _, exponent = np.frexp(x)
    shift = np.maximum(exponent.astype(np.int64) - 1, fmt.emin) - fmt.precision + 1
    shift = np.where(np.isfinite(x), shift, 0).astype(np.int32)
    with np.errstate(over="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(x, -shift)), shift)
    return np.asarray(np.where(np.abs(rounded) > fmt.largest, np.copysign(np.inf, x), rounded))


def round_sum(high: npt.ArrayLike, low: npt.ArrayLike, fmt: Format) -> Array:
    """The exact sum high + low rounded once to `fmt`, to nearest, ties to even; as float64.

    high + low is first rounded to odd in binary64 (sticky last bit), which a second rounding to at most 51
    bits cannot notice (Boldo & Melquiond 2008, "Emulation of FMA and correctly rounded sums", theorem 3). For
    binary64 itself, and where high is not finite, the sum is `high + low` as IEEE 754 has it.
    """
    high, low = np.asarray(high, np.float64), np.asarray(low, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        total = high + low
        partner = total - high
        rest = (high - (total - partner)) + (low - partner)
    if fmt.precision > 51:
        return np.asarray(total)
    even = (total.view(np.int64) & 1) == 0
    move = even & (rest != 0.0) & np.isfinite(total) & np.isfinite(rest)
    odd = np.where(move, np.nextafter(total, np.where(rest > 0.0, np.inf, -np.inf)), total)
    return round_nearest_even(odd, fmt)
