"""Formats, spacings and roundings against gfloat, ml_dtypes, NumPy and fractions."""

from __future__ import annotations

from fractions import Fraction

import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import formats
from reference.certify import round32, spacing32

GFLOAT = {
    "binary16": gfloat.formats.format_info_binary16,
    "bfloat16": gfloat.formats.format_info_bfloat16,
    "binary32": gfloat.formats.format_info_binary32,
    "binary64": gfloat.formats.format_info_binary64,
}
CASTS = {"binary16": np.float16, "bfloat16": ml_dtypes.bfloat16, "binary32": np.float32}
DOUBLES = st.floats(width=64)


def edges(fmt):
    """Numbers around every boundary of a format: halfway cases, the largest, the smallest, zeros."""
    top, low = fmt.largest, fmt.smallest_subnormal
    half = formats.ulp(np.array(top), fmt) / 2
    points = [
        0.0,
        low / 2,
        low,
        1.5 * low,
        fmt.smallest_normal,
        1.0,
        1 + fmt.unit_roundoff,
        3.0,
        top,
        top + half,
    ]
    points += [float(np.nextafter(p, d)) for p in points for d in (-np.inf, np.inf)]
    return np.array([*points, np.inf, np.nan, *(-p for p in points)])


@pytest.mark.parametrize("name", sorted(GFLOAT))
def test_the_parameters_are_those_of_gfloat(name):
    ours, theirs = formats.FORMATS[name], GFLOAT[name]
    assert ours.precision == theirs.precision
    assert (ours.emin, ours.bits) == (1 - theirs.bias, theirs.bits)
    assert (ours.largest, ours.smallest_subnormal) == (theirs.max, theirs.smallest_subnormal)


@pytest.mark.parametrize("name", sorted(CASTS))
def test_rounding_is_the_cast_of_another_library(name):
    fmt = formats.FORMATS[name]
    x = np.concatenate(
        [edges(fmt), np.random.default_rng(1).standard_normal(2000) * 2.0 ** np.arange(-140, 140, 0.14)]
    )
    with np.errstate(over="ignore", under="ignore"):
        wanted = x.astype(CASTS[name]).astype(np.float64)
        if (
            name == "bfloat16"
        ):  # ml_dtypes casts by way of float32 and so rounds twice: give it float32 numbers
            x = x.astype(np.float32).astype(np.float64)
            wanted = x.astype(CASTS[name]).astype(np.float64)
    found = formats.round_nearest_even(x, fmt)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(wanted))


@given(DOUBLES, st.sampled_from(sorted(formats.FORMATS)))
def test_rounding_is_that_of_fractions(round_exactly, x, name):
    fmt = formats.FORMATS[name]
    found = float(formats.round_nearest_even(x, fmt))
    if np.isfinite(x):
        assert found == round_exactly(Fraction(x), fmt.precision, fmt.emin, fmt.emax)
    else:
        assert found == x or (np.isnan(found) and np.isnan(x))


@given(DOUBLES, st.floats(-1, 1), st.sampled_from(["binary16", "bfloat16", "tf32", "binary32"]))
def test_a_sum_is_rounded_once(round_exactly, high, fraction, name):
    fmt = formats.FORMATS[name]
    if not abs(high) < 1e308:
        return
    low = fraction * float(np.spacing(abs(high))) / 2
    wanted = round_exactly(Fraction(high) + Fraction(low), fmt.precision, fmt.emin, fmt.emax)
    assert float(formats.round_sum(high, low, fmt)) == wanted
    if fmt is formats.BINARY32:
        assert float(round32(high, low)) == wanted


@pytest.mark.parametrize("low", [-(2.0**-80), 0.0, 2.0**-80])
def test_a_tie_is_decided_by_what_float64_cannot_hold(low):
    tie = 1.0 + 2.0**-24
    wanted = 1.0 if low <= 0 else 1.0 + 2.0**-23
    assert float(formats.round_sum(tie, low, formats.BINARY32)) == wanted
    assert float(round32(tie, low)) == wanted


@given(st.floats(width=32))
def test_ulp_is_numpys_spacing(x):
    if np.isfinite(x) and abs(x) < np.finfo(np.float32).max:
        assert formats.ulp(x, formats.BINARY32) == np.spacing(np.float32(abs(x)))
        assert spacing32(abs(float(x))) == np.spacing(np.float32(abs(x)))
        assert formats.ulp(x, formats.BINARY64) == np.spacing(abs(x))


def test_ulp_at_the_ends():
    fmt = formats.BINARY32
    assert formats.ulp([0.0, np.inf, 2.0**-149, np.nan], fmt)[:3].tolist() == [2.0**-149, 2.0**104, 2.0**-149]
    assert np.isnan(formats.ulp(np.nan, fmt))


def test_formats_are_found_by_dtype_and_by_name():
    assert formats.format_of(np.float32) is formats.BINARY32
    assert formats.format_of(ml_dtypes.bfloat16) is formats.BFLOAT16
    assert formats.format_of("tf32") is formats.TF32
    with pytest.raises(ValueError, match="int8"):
        formats.format_of(np.int8)
