"""What a Truth says of itself and of an output, and that a wrong one is noticed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from reference import Truth, UncertainError


def truth_of(value, residual=0.0, bound=0.0):
    arrays = [np.atleast_1d(np.asarray(a, np.float64)) for a in (value, residual, bound, np.abs(value))]
    return Truth(*np.broadcast_arrays(*arrays))


TIE = 1.0 + 2.0**-24


@given(st.floats(-1e308, 1e308), st.floats(-1, 1))
def test_round_is_that_of_fractions(round_exactly, value, fraction):
    residual = fraction * float(np.spacing(abs(value))) / 2
    found = truth_of(value, residual).round()
    assert found.dtype == np.float32
    assert float(found[0]) == round_exactly(Fraction(value) + Fraction(residual))


@pytest.mark.parametrize(
    ("residual", "bound", "wanted"),
    [
        (0, 0, 1.0),
        (2.0**-60, 2.0**-61, 1 + 2.0**-23),
        (-(2.0**-60), 2.0**-61, 1.0),
        (2.0**-300, 0, 1 + 2.0**-23),
    ],
)
def test_a_tie_is_rounded_where_the_bound_decides_it(residual, bound, wanted):
    assert float(truth_of(TIE, residual, bound).round()[0]) == wanted


def test_an_undecided_rounding_is_refused_and_located():
    with pytest.raises(UncertainError, match=r"element \(1,\)"):
        truth_of([1.0, TIE], 0.0, [0.0, 2.0**-80]).round()
    with pytest.raises(UncertainError, match="binary64"):
        truth_of(1.0, 2.0**-53, 2.0**-60).round(np.float64)
    assert truth_of(1.0, 2.0**-54, 2.0**-60).round(np.float64)[0] == 1.0
    assert truth_of(1.0, 2.0**-53, 2.0**-60).round(np.float32)[0] == 1.0
    with pytest.raises(UncertainError, match="e4m3"):
        truth_of(464.0, 0.0, 2.0**-60).round("e4m3")
    assert truth_of(2.0**130, 0.0, 2.0**106).round()[0] == np.inf  # what overflows need not be known better


def test_round_to_other_formats():
    truth = truth_of([1.0 + 2.0**-9, 1e6, -(2.0**-140), 0.1])
    assert truth.round(np.float16).tolist() == [np.float16(1.0 + 2.0**-9), np.inf, 0.0, np.float16(0.1)]
    assert truth.round(ml_dtypes.bfloat16).dtype == ml_dtypes.bfloat16
    assert truth.round("tf32").tolist() == [1.0 + 2.0**-9, 999936.0, 0.0, float(np.float32(0.0999755859375))]
    assert truth.round(np.float64).tolist() == truth.value.tolist()


def test_error_does_not_cancel():
    truth = truth_of(1.0, 2.0**-60)
    assert truth.error(np.float32([1.0]))[0] == -(2.0**-60)
    assert truth.error(np.float32([1.0 + 2.0**-23]))[0] == 2.0**-23 - 2.0**-60
    assert truth.error_ulp(np.float32([1.0 + 2.0**-23]))[0] == 1.0 - 2.0**-37
    below = truth_of(1.0, -(2.0**-60))  # just below a power of two the spacing is half
    assert below.error_ulp(np.float32([1.0 - 2.0**-24]))[0] == pytest.approx(-1.0, rel=1e-6)
    with pytest.raises(ValueError, match="shape"):
        truth.error(np.zeros((2, 2)))


def test_error_of_what_is_not_finite():
    truth = truth_of([np.nan, np.inf, np.inf, 1.0, np.nan, 1e39])
    found = truth.error(np.float32([np.nan, np.inf, -np.inf, np.nan, 1.0, np.inf]))
    assert np.array_equal(found, [0, 0, -np.inf, np.nan, np.nan, np.inf], equal_nan=True)
    assert np.isinf(truth.round()[5])


def test_uncertainty_is_in_ulp():
    assert truth_of(1.0, 0.0, 2.0**-33).uncertainty_ulp()[0] == 2.0**-10
    assert truth_of(0.0, 0.0, 2.0**-149).uncertainty_ulp()[0] == 1.0


def sums(data, kind="normal"):
    rng = np.random.default_rng(11)
    x, w = data(kind, (20, 50), rng), data(kind, (20, 50), rng)
    exact = [
        sum((Fraction(float(p)) * Fraction(float(q)) for p, q in zip(r, o, strict=True)), Fraction(0))
        for r in x
        for o in w
    ]
    return reference.linear(x, w), exact


def test_the_checker_accepts_the_truth(data, contradictions):
    assert contradictions(*sums(data)) == []


@pytest.mark.parametrize("part", ["value", "residual", "bound", "rounding"])
def test_the_checker_rejects_a_planted_error(data, contradictions, part):
    truth, exact = sums(data)
    wrong = {
        "value": replace(
            truth, value=truth.value + 2 * truth.bound + np.spacing(truth.value), bound=truth.bound / 1e6
        ),
        "residual": replace(truth, residual=truth.residual + np.spacing(abs(truth.value))),
        "bound": replace(truth, bound=truth.bound / 1e6),
        "rounding": replace(truth, value=truth.value * (1 + 2.0**-20)),
    }[part]
    found = contradictions(wrong, exact)
    assert len(found) > len(exact) / 4
