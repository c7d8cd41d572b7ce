"""Binary floating-point formats as data, and what they give by themselves: spacing, rounding, order.

A format is a precision and an exponent range. IEEE 754-2019, sections 3.3 (formats), 4.3 (rounding), 7.4
(overflow); the 8-bit formats: Open Compute Project 2023, "OCP 8-bit Floating Point Specification (OFP8)",
revision 1.0, whose conversions saturate or not; TF32: NVIDIA 2020, "A100 Tensor Core GPU Architecture".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.jit import compiled
from reference.rounding import Seed, draws, round_pairs

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A binary format with subnormal numbers and NaN."""

    name: str
    precision: int  # bits of the significand, the leading one included
    emin: int  # exponent of the smallest normal number, 2**emin
    emax: int  # exponent of the largest finite number
    bits: int  # bits of storage
    infinite: bool = True  # False: no infinities, overflow gives NaN
    reserved: int = 0  # significands at the end of the last binade that are not numbers

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
        """2**emax * (2 - 2**(1 - precision)), less the reserved significands."""
        return float(np.ldexp(2.0 - (1 + self.reserved) * 2.0 ** (1 - self.precision), self.emax))


BINARY16 = Format(name="binary16", precision=11, emin=-14, emax=15, bits=16)
BFLOAT16 = Format(name="bfloat16", precision=8, emin=-126, emax=127, bits=16)
TF32 = Format(name="tf32", precision=11, emin=-126, emax=127, bits=32)
BINARY32 = Format(name="binary32", precision=24, emin=-126, emax=127, bits=32)
BINARY64 = Format(name="binary64", precision=53, emin=-1022, emax=1023, bits=64)
E4M3 = Format(name="e4m3", precision=4, emin=-6, emax=8, bits=8, infinite=False, reserved=1)
E5M2 = Format(name="e5m2", precision=3, emin=-14, emax=15, bits=8)

FORMATS = {fmt.name: fmt for fmt in (BINARY16, BFLOAT16, TF32, BINARY32, BINARY64, E4M3, E5M2)}
_BY_DTYPE = {
    "float16": BINARY16,
    "bfloat16": BFLOAT16,
    "float32": BINARY32,
    "float64": BINARY64,
    "float8_e4m3fn": E4M3,
    "float8_e5m2": E5M2,
}


def format_of(dtype: Any) -> Format:
    """The format of a NumPy dtype, of a format's name, or of a `Format` (itself).

    Raises ValueError for anything else.
    """
    if isinstance(dtype, Format):
        return dtype
    if isinstance(dtype, str) and dtype in FORMATS:
        return FORMATS[dtype]
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
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
    given = np.asarray(x, np.float64)
    flat = np.ascontiguousarray(given).reshape(-1)
    out = np.empty(flat.size)
    _spacings(flat.view(np.int64), fmt.emin, fmt.emax, fmt.precision, out)
    return out.reshape(given.shape)


@compiled
def _spacings(bits: Any, emin: int, emax: int, precision: int, out: Any) -> None:
    """`ulp` of float64 numbers by their bits; float64's own subnormals are below every format's emin."""
    for i in range(bits.size):
        size = bits[i] & np.int64(0x7FFFFFFFFFFFFFFF)
        if size > np.int64(0x7FF0000000000000):
            out[i] = np.nan
            continue
        exponent = min(max((size >> np.int64(52)) - np.int64(1023), np.int64(emin)), np.int64(emax))
        power = exponent - np.int64(precision) + np.int64(1)
        if power < -1022:
            spacing = np.int64(1) << (power + np.int64(1074))
        else:
            spacing = (power + np.int64(1023)) << np.int64(52)
        out[i] = np.int64(spacing).view(np.float64)


def round_to(
    x: npt.ArrayLike, fmt: Format, mode: str = "RNE", *, saturate: bool = False, seed: Seed = None
) -> Array:
    """`x` (float32 or float64) rounded to `fmt`, as float64.

    mode: "RNE" to nearest, ties to even; "RNA" to nearest, ties away from zero; "RZ" toward zero; "RU" up;
    "RD" down; "SR" stochastic: of the two neighbours the one farther from zero with a probability equal to
    the distance from the other (to within 2**-53), drawn from `seed`, in C order.

    Subnormals are kept; what is rounded to zero keeps its sign. Overflow, where the rounding with an
    unbounded exponent exceeds the largest number: infinity, or NaN in a format without infinities, except
    that RZ, RU below zero and RD above it stop at the largest number. An infinity stays (NaN where there is
    none). With `saturate` overflow and infinities give the largest number. NaN stays NaN.

    Raises ValueError for an unknown mode, or "SR" without a seed.
    """
    return round_sum(x, -0.0, fmt, mode, saturate=saturate, seed=seed)


def round_sum(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    fmt: Format,
    mode: str = "RNE",
    *,
    saturate: bool = False,
    seed: Seed = None,
) -> Array:
    """The exact sum high + low of float64 numbers rounded once, as `round_to` does. `low` counts only where
    `high` is finite.
    """
    high, low = np.asarray(high, np.float64), np.asarray(low, np.float64)
    drawn = draws(mode, seed, np.broadcast_shapes(high.shape, low.shape))
    rounded = round_pairs(high, low, fmt.precision, fmt.emin, mode, drawn)
    return bounded(rounded, np.isfinite(high), fmt, mode, saturate=saturate)


def bounded(rounded: Array, finite: Any, fmt: Format, mode: str, *, saturate: bool = False) -> Array:
    """`rounded` as if `fmt` had no largest number, with what the mode makes of overflow.

    `finite` tells what was finite before rounding: an infinity is no overflow.
    """
    stops = {"RZ": True, "RU": rounded < 0.0, "RD": rounded > 0.0}.get(mode, False)
    largest = np.copysign(fmt.largest, rounded)
    beyond = largest if saturate else np.where(stops & finite, largest, largest * np.inf)
    if not fmt.infinite:
        beyond = np.where(np.isinf(beyond), np.nan, beyond)
    return np.asarray(np.where(np.abs(rounded) > fmt.largest, beyond, rounded))


def round_nearest_even(x: npt.ArrayLike, fmt: Format) -> Array:
    """`round_to(x, fmt)`."""
    return round_to(x, fmt)


def ordinals(x: npt.ArrayLike, fmt: Format) -> npt.NDArray[np.int64]:
    """The place of each number of `fmt` on its line: ... -1, 0, 1 for the smallest subnormal, 2 for the next.

    Strictly monotone; both zeros are 0; infinity is one more than the largest number (and so does not exist
    where `fmt` has none). Raises ValueError for NaN, and for what is not a number of `fmt`.
    """
    x = np.asarray(x, np.float64)
    strange = ~(x == round_to(x, fmt))
    if strange.any():
        raise ValueError(
            f"ordinals are of numbers of {fmt.name}, got {float(x[strange][0])!r} among them: "
            "round to the format, and leave NaN out"
        )
    size = np.where(np.isinf(x), fmt.largest, np.abs(x))
    step = ulp(size, fmt)
    whole = (size / step).astype(np.int64)  # below 2**precision
    binade = np.where(size < fmt.smallest_normal, 0, np.frexp(size)[1].astype(np.int64) - 1 - fmt.emin)
    place = whole + (binade << fmt.precision - 1) + np.isinf(x)
    return np.asarray(np.where(x < 0.0, -place, place))


def from_ordinals(places: npt.ArrayLike, fmt: Format) -> Array:
    """The numbers at these places: the inverse of `ordinals`, with +0 for 0.

    Raises ValueError for what is not an integer or lies beyond the last number (infinity, if there is one).
    """
    given = np.asarray(places)
    last = int(ordinals(fmt.largest, fmt)) + fmt.infinite
    if given.dtype.kind not in "iu" or max(-int(given.min(initial=0)), int(given.max(initial=0))) > last:
        raise ValueError(f"places in {fmt.name} are integers from {-last} to {last}, got others: clip them")
    size = np.abs(given.astype(np.int64))
    binade = np.maximum((size >> fmt.precision - 1) - 1, 0)
    whole = size - (binade << fmt.precision - 1)
    with np.errstate(over="ignore"):
        found = np.ldexp(whole.astype(np.float64), (binade + fmt.emin - fmt.precision + 1).astype(np.int32))
    found = np.where(found > fmt.largest, np.inf, found)
    return np.asarray(np.where(given < 0, -found, found))


def ulp_distance(
    a: npt.ArrayLike, b: npt.ArrayLike, fmt: Format, *, nan: str = "refuse"
) -> npt.NDArray[np.uint64]:
    """Steps from a to b along the numbers of `fmt`; never wraps (-3e38 to 3e38 is 4.3e9 in binary32).

    Both zeros are one place. nan="refuse" raises ValueError for NaN; nan="mark" gives 0 where both are NaN
    and 2**64 - 1, more than any distance, where one is. Raises ValueError too for shapes that differ and for
    what is not a number of `fmt`.
    """
    if nan not in ("refuse", "mark"):
        raise ValueError(f"nan must be 'refuse' or 'mark', got {nan!r}: say what NaN shall mean")
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        raise ValueError(f"a distance needs arrays of one shape, got {x.shape} and {y.shape}: reshape one")
    empty = np.isnan(x), np.isnan(y)
    if nan == "mark":
        x, y = np.where(empty[0], 0.0, x), np.where(empty[1], 0.0, y)
    p, q = ordinals(x, fmt), ordinals(y, fmt)
    # Modulo 2**64 the difference of the larger and the smaller is right: it is below 2**64.
    with np.errstate(over="ignore"):
        steps = np.maximum(p, q).view(np.uint64) - np.minimum(p, q).view(np.uint64)
    steps = np.where(empty[0] ^ empty[1], np.uint64(2**64 - 1), steps)
    return np.asarray(np.where(empty[0] & empty[1], np.uint64(0), steps), np.uint64)
