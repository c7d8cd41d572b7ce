"""Formats, spacings, roundings and orders against gfloat, ml_dtypes, NumPy, mpmath and fractions."""

from __future__ import annotations

import bisect
from fractions import Fraction

import gfloat
import gfloat.formats
import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import formats, rounding
from reference.certify import round32, spacing32

GFLOAT = {
    "binary16": gfloat.formats.format_info_binary16,
    "bfloat16": gfloat.formats.format_info_bfloat16,
    "binary32": gfloat.formats.format_info_binary32,
    "binary64": gfloat.formats.format_info_binary64,
    "e4m3": gfloat.formats.format_info_ocp_e4m3,
    "e5m2": gfloat.formats.format_info_ocp_e5m2,
}
GMODES = {
    "RNE": gfloat.RoundMode.TiesToEven,
    "RNA": gfloat.RoundMode.TiesToAway,
    "RZ": gfloat.RoundMode.TowardZero,
    "RU": gfloat.RoundMode.TowardPositive,
    "RD": gfloat.RoundMode.TowardNegative,
}
SMALL = {
    "binary16": (np.float16, np.uint16),
    "bfloat16": (ml_dtypes.bfloat16, np.uint16),
    "e4m3": (ml_dtypes.float8_e4m3fn, np.uint8),
    "e5m2": (ml_dtypes.float8_e5m2, np.uint8),
}
CASTS = {name: dtype for name, (dtype, _) in SMALL.items()} | {"binary32": np.float32}
DOUBLES = st.floats(width=64)
NAMES = st.sampled_from(sorted(formats.FORMATS))


def same(a, b):
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b)
    )


def every_number(name):
    """All non-negative finite numbers of a format of at most 16 bits, by another library's decoding."""
    dtype, code = SMALL[name]
    codes = np.arange(2 ** (8 * np.dtype(code).itemsize - 1)).astype(code)
    with np.errstate(invalid="ignore"):
        found = codes.view(dtype).astype(np.float64)
    return found[np.isfinite(found)]


def edges(fmt):
    """Numbers around every boundary of a format: halfway cases, the largest, the smallest, zeros."""
    top, low = fmt.largest, fmt.smallest_subnormal
    half = float(formats.ulp(top, fmt)) / 2
    points = [0.0, low / 2, low, 1.5 * low, fmt.smallest_normal, 1.0, 1 + fmt.unit_roundoff, 3.0, top]
    points += [top + k * half for k in (1.0, 1.5, 2.0) if top < 1e300]
    with np.errstate(over="ignore"):
        points += [float(np.nextafter(p, d)) for p in points for d in (-np.inf, np.inf)]
    return np.array([*points, np.inf, np.nan, *(-p for p in points), -np.inf])


def drawn_numbers(fmt):
    """Numbers over the range of a format and a little more, and the halfway points near them."""
    rng = np.random.default_rng(1)
    low, high = max(fmt.emin - fmt.precision - 2, -1060), min(fmt.emax + 3, 1023)
    x = rng.uniform(-1, 1, 1500) * np.exp2(rng.integers(low, high, 1500))
    with np.errstate(over="ignore"):
        half = formats.round_to(x, fmt, "RZ") + np.copysign(formats.ulp(x, fmt) / 2, x)
    return np.concatenate([edges(fmt), x, half[np.isfinite(half)]])


@pytest.mark.parametrize("name", sorted(GFLOAT))
def test_the_parameters_are_those_of_gfloat(name):
    ours, theirs = formats.FORMATS[name], GFLOAT[name]
    assert ours.precision == theirs.precision
    assert (ours.emin, ours.bits) == (1 - theirs.bias, theirs.bits)
    assert (ours.largest, ours.smallest_subnormal) == (theirs.max, theirs.smallest_subnormal)
    assert ours.infinite == (theirs.num_infs > 0)


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("mode", sorted(GMODES))
@pytest.mark.parametrize("name", sorted(GFLOAT))
def test_every_mode_is_that_of_gfloat(name, mode, saturate):
    fmt, x = formats.FORMATS[name], drawn_numbers(formats.FORMATS[name])
    if mode == "RNA":  # gfloat adds a half in float64, which takes what is just below a tie for one
        with np.errstate(invalid="ignore"):
            fraction = np.abs(x / formats.ulp(x, fmt)) % 1.0
        x = x[~((fraction < 0.5) & (fraction + 0.5 == 1.0))]
    wanted = [gfloat.round_float(GFLOAT[name], v, GMODES[mode], saturate) for v in x.tolist()]
    assert same(formats.round_to(x, fmt, mode, saturate=saturate), np.array(wanted))


@pytest.mark.parametrize("name", sorted(CASTS))
def test_rounding_is_the_cast_of_another_library(name):
    fmt = formats.FORMATS[name]
    x = drawn_numbers(fmt)
    if name not in ("binary16", "binary32"):  # ml_dtypes casts by way of float32, and so rounds twice
        with np.errstate(over="ignore", under="ignore"):
            x = x.astype(np.float32).astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wanted = x.astype(CASTS[name]).astype(np.float64)
    assert same(formats.round_nearest_even(x, fmt), wanted)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_number_and_every_gap_of_a_short_format(name):
    """Exhaustive: each number stays, and a quarter, half and three quarters of each gap round as defined."""
    fmt, numbers = formats.FORMATS[name], every_number(name)
    for sign in (1.0, -1.0):
        for mode in rounding.MODES:
            assert same(formats.round_to(sign * numbers, fmt, mode, seed=0), sign * numbers)
        low, high = numbers[:-1], numbers[1:]
        even = np.arange(low.size) % 2 == 0
        for quarters in (1, 2, 3):
            x = sign * (low + (high - low) * quarters / 4)
            nearest = [low, np.where(even, low, high), high][quarters - 1]
            away = [low, high, high][quarters - 1]
            up, down = (high, low) if sign > 0 else (low, high)
            wanted = {"RNE": nearest, "RNA": away, "RZ": low, "RU": up, "RD": down}
            for mode, number in wanted.items():
                assert same(formats.round_to(x, fmt, mode), sign * number)
                assert same(formats.round_sum(sign * low, x - sign * low, fmt, mode), sign * number)


@given(DOUBLES, NAMES)
@settings(deadline=None)
def test_rounding_is_that_of_fractions(round_exactly, x, name):
    fmt = formats.FORMATS[name]
    found = float(formats.round_nearest_even(x, fmt))
    if not np.isfinite(x):
        assert np.isnan(found) or (found == x and fmt.infinite)
    else:
        wanted = round_exactly(Fraction(x), fmt.precision, fmt.emin, fmt.emax)
        if abs(wanted) > fmt.largest and not fmt.infinite:
            assert np.isnan(found)
        else:
            assert found == wanted


@given(st.floats(-1e300, 1e300), st.floats(-1, 1), NAMES, st.sampled_from(rounding.MODES[:5]))
@settings(deadline=None)
def test_a_sum_is_rounded_once(high, fraction, name, mode):
    """Against mpmath's rounding of the exact sum, and `round_fraction`, in all deterministic modes."""
    fmt = formats.FORMATS[name]
    low = fraction * float(np.spacing(abs(high))) / 2
    exact = Fraction(high) + Fraction(low)
    found = float(
        rounding.round_pairs(*np.array([[high], [low]]), fmt.precision, fmt.emin, mode, np.empty(0))[0]
    )
    assert found == rounding.round_fraction(exact, fmt.precision, fmt.emin, mode)
    if abs(exact) >= Fraction(fmt.smallest_normal) and mode != "RNA":
        letter = {"RNE": "n", "RZ": "d", "RU": "c", "RD": "f"}[mode]
        context = mpmath.MPContext()
        context.prec = 3000
        total = context.mpf(high) + context.mpf(low)
        with context.workprec(fmt.precision):
            assert found == float(context.mpf(total, prec=fmt.precision, rounding=letter))
    if fmt is formats.BINARY32 and mode == "RNE":
        with np.errstate(over="ignore"):
            assert np.float32(found) == round32(high, low)


@given(
    st.integers(-(2**60), 2**60), st.integers(-1200, 900), st.integers(1, 53), st.sampled_from(rounding.MODES)
)
@settings(deadline=None)
def test_fractions_are_rounded_by_their_definition(numerator, power, precision, mode):
    """The result is a neighbour on the grid, on the side and at the distance that the mode asks for."""
    exact, drawn = Fraction(numerator) * Fraction(2) ** power / 3, 0.375
    result = Fraction(rounding.round_fraction(exact, precision, -1022, mode, drawn))
    if exact == 0:
        assert result == 0
        return
    unit = Fraction(2) ** -(1022 + precision - 1)
    while unit * 2**precision <= abs(exact):
        unit *= 2
    assert (result / unit).denominator == 1
    distance = (abs(result) - abs(exact)) / unit
    assert {
        "RNE": abs(distance) <= Fraction(1, 2),
        "RNA": -Fraction(1, 2) < distance <= Fraction(1, 2),
        "RZ": -1 < distance <= 0,
        "RU": 0 <= (result - exact) / unit < 1,
        "RD": -1 < (result - exact) / unit <= 0,
        "SR": -Fraction(drawn) <= distance < 1 - Fraction(drawn),
    }[mode]
    if mode == "RNE" and abs(distance) == Fraction(1, 2):
        assert (result / unit) % 2 == 0


@pytest.mark.parametrize("low", [-(2.0**-80), 0.0, 2.0**-80])
def test_a_tie_is_decided_by_what_float64_cannot_hold(low):
    tie = 1.0 + 2.0**-24
    wanted = 1.0 if low <= 0 else 1.0 + 2.0**-23
    assert float(formats.round_sum(tie, low, formats.BINARY32)) == wanted
    assert float(round32(tie, low)) == wanted


@pytest.mark.parametrize(("low", "up"), [(-5e-324, False), (0.0, False), (5e-324, True)])
def test_the_smallest_remainder_counts(low, up):
    for high in (1.0, 2.0**60, 2.0**1000, 2.0**-100):
        for fmt in (formats.BINARY64, formats.TF32 if high < 2.0**100 else formats.BINARY64):
            below = high - float(formats.ulp(high, fmt)) / 2
            above = high + float(formats.ulp(high, fmt))
            wanted = {
                "RU": above if up else high,
                "RD": below if low < 0 else high,
                "RZ": below if low < 0 else high,
            }
            for mode, number in wanted.items():
                assert float(formats.round_sum(high, low, fmt, mode)) == number


def test_binary64_sums_beyond_its_range():
    top, ulp = formats.BINARY64.largest, 2.0**971
    for low, wanted in ((0.4 * ulp, top), (0.5 * ulp, np.inf), (ulp, np.inf)):
        assert float(formats.round_sum(top, low, formats.BINARY64)) == wanted
        assert float(formats.round_sum(-top, -low, formats.BINARY64, "RZ")) == -top
        assert float(formats.round_sum(-top, -low, formats.BINARY64, "RD")) == -np.inf
        assert float(formats.round_sum(-top, -low, formats.BINARY64, "RU")) == -top


@pytest.mark.parametrize("fmt", [formats.BINARY32, formats.E4M3, formats.BINARY64])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97])
def test_stochastic_rounding_is_unbiased(fmt, share):
    """The share rounded up lies within six standard deviations of the distance; it repeats with its seed."""
    count, ulp = 100_000, fmt.unit_roundoff * 2
    for sign in (1.0, -1.0):
        found = formats.round_sum(np.full(count, sign), sign * share * ulp, fmt, "SR", seed=5)
        assert set(np.unique(found)) <= {sign, sign * (1 + ulp)}
        up = np.mean(found != sign)
        assert abs(up - share) <= 6 * np.sqrt(share * (1 - share) / count)
        assert np.array_equal(
            found, formats.round_sum(np.full(count, sign), sign * share * ulp, fmt, "SR", seed=5)
        )


@given(st.floats(-1e30, 1e30), st.floats(-1, 1), st.floats(0, 1, exclude_max=True), NAMES)
@settings(deadline=None)
def test_stochastic_rounding_compares_exactly(high, fraction, drawn, name):
    fmt, drawn = formats.FORMATS[name], np.floor(drawn * 2.0**53) / 2.0**53
    low = fraction * float(np.spacing(abs(high))) / 2
    found = rounding.round_pairs(*np.array([[high], [low]]), fmt.precision, fmt.emin, "SR", np.array([drawn]))
    exact = Fraction(high) + Fraction(low)
    assert found[0] == rounding.round_fraction(exact, fmt.precision, fmt.emin, "SR", drawn)


def test_overflow_by_mode_and_format():
    x = np.array([1e6, -1e6, np.inf, -np.inf])
    top, nan, inf = 448.0, np.nan, np.inf
    for mode, saturate, wanted in (
        ("RNE", False, [nan, nan, nan, nan]),
        ("RNE", True, [top, -top, top, -top]),
        ("RZ", False, [top, -top, nan, nan]),
        ("RU", False, [nan, -top, nan, nan]),
        ("RD", False, [top, nan, nan, nan]),
    ):
        assert same(formats.round_to(x, formats.E4M3, mode, saturate=saturate), np.array(wanted))
    assert formats.round_to(x, formats.E5M2).tolist() == [inf, -inf, inf, -inf]
    assert formats.round_to(x, formats.E5M2, "RZ").tolist() == [57344.0, -57344.0, inf, -inf]
    ties = formats.round_to([464.0, 465.0], formats.E4M3)  # halfway to the reserved 480 goes to the even 448
    assert ties[0] == 448.0
    assert np.isnan(ties[1])


def test_bad_modes_and_seeds():
    with pytest.raises(ValueError, match=r"'up'.*name one"):
        formats.round_to(1.0, formats.BINARY32, "up")
    for seed in (None, True, "1"):
        with pytest.raises(ValueError, match="seed"):
            formats.round_to(1.0, formats.BINARY32, "SR", seed=seed)


@given(st.floats(width=32))
@settings(deadline=None)
def test_ulp_is_numpys_spacing(x):
    if np.isfinite(x) and abs(x) < np.finfo(np.float32).max:
        assert formats.ulp(x, formats.BINARY32) == np.spacing(np.float32(abs(x)))
        assert spacing32(abs(float(x))) == np.spacing(np.float32(abs(x)))
        assert formats.ulp(x, formats.BINARY64) == np.spacing(abs(x))


def test_ulp_at_the_ends():
    fmt = formats.BINARY32
    assert formats.ulp([0.0, np.inf, 2.0**-149, np.nan], fmt)[:3].tolist() == [2.0**-149, 2.0**104, 2.0**-149]
    assert np.isnan(formats.ulp(np.nan, fmt))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_ordinals_count_the_numbers_of_a_short_format(name):
    """Exhaustive, and there and back."""
    fmt, numbers = formats.FORMATS[name], every_number(name)
    places = formats.ordinals(numbers, fmt)
    assert np.array_equal(places, np.arange(numbers.size))
    assert np.array_equal(formats.ordinals(-numbers, fmt), -places)
    assert np.array_equal(formats.from_ordinals(-places, fmt), -numbers)
    assert numbers.tolist()[bisect.bisect(numbers.tolist(), 1.0)] == formats.from_ordinals(
        formats.ordinals(1.0, fmt) + 1, fmt
    )


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2))
@settings(deadline=None)
def test_ordinals_are_the_ordered_bits_of_float32(pair):
    bits = [int(np.float32(abs(v)).view(np.int32)) * (-1 if v < 0 else 1) for v in pair]
    for fmt in (formats.BINARY32, formats.BINARY64):
        places = formats.ordinals(pair, fmt)
        assert formats.from_ordinals(places, fmt).tolist() == pair
        assert (places[0] < places[1]) == (pair[0] < pair[1])
    assert formats.ordinals(pair, formats.BINARY32).tolist() == bits
    assert int(formats.ulp_distance(*pair, formats.BINARY32)) == abs(bits[0] - bits[1])


def test_distances_never_wrap():
    assert int(formats.ulp_distance(np.float32(-3e38), np.float32(3e38), formats.BINARY32)) == 4274217932
    assert int(formats.ulp_distance(-np.inf, np.inf, formats.BINARY64)) == 2 * 0x7FF0000000000000
    assert int(formats.ulp_distance(-0.0, 0.0, formats.BINARY64)) == 0
    marked = formats.ulp_distance([np.nan, np.nan, 1.0], [np.nan, 1.0, 1.0], formats.BINARY32, nan="mark")
    assert marked.dtype == np.uint64
    assert marked.tolist() == [0, 2**64 - 1, 0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda f: f.ulp_distance([np.nan], [1.0], f.BINARY32), "NaN"),
        (lambda f: f.ulp_distance([0.1], [1.0], f.BINARY32), "binary32"),
        (lambda f: f.ulp_distance([1.0], [1.0, 2.0], f.BINARY32), "shape"),
        (lambda f: f.ulp_distance([1.0], [1.0], f.BINARY32, nan="skip"), "skip"),
        (lambda f: f.ordinals(np.inf, f.E4M3), "inf"),
        (lambda f: f.from_ordinals(127, f.E4M3), "126"),
        (lambda f: f.from_ordinals(1.5, f.E4M3), "integers"),
        (lambda f: f.format_of(np.int8), "int8"),
        (lambda f: f.format_of(3.5), r"3\.5"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, word):
    with pytest.raises(ValueError, match=word) as caught:
        call(formats)
    assert "\n" not in str(caught.value)


def test_formats_are_found_by_dtype_and_by_name():
    assert formats.format_of(np.float32) is formats.BINARY32
    assert formats.format_of(ml_dtypes.bfloat16) is formats.BFLOAT16
    assert formats.format_of(ml_dtypes.float8_e4m3fn) is formats.E4M3
    assert formats.format_of("tf32") is formats.TF32
    assert formats.format_of(formats.E5M2) is formats.E5M2
