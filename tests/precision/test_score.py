"""Scores against exact oracles, and their guards near zero, at NaN and at Inf."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from precision.judging.distribution import error_map, histogram
from precision.score import condition, cosine_and_angle, decimal, errors, largest_share, scores
from reference import Truth

finite = st.floats(-1e6, 1e6, width=32)
wide = st.one_of(st.just(0.0), st.floats(1e-30, 1e6), st.floats(-1e6, -1e-30))
vectors = arrays(np.float32, st.integers(1, 12), elements=finite)


def truth_of(value):
    value = np.asarray(value, dtype=np.float64)
    zeros = np.zeros_like(value)
    # A magnitude of another binade than the value, so that one taken for the other shows.
    return Truth(value, zeros, zeros, 5.0 * np.abs(value) + 1.0)


def ulp32(value: Fraction) -> Fraction:
    exponent = -126
    if value:
        exponent = math.floor(mpmath.log(abs(mpmath.mpf(value.numerator) / value.denominator), 2))
        exponent += (abs(value) >= Fraction(2) ** (exponent + 1)) - (abs(value) < Fraction(2) ** exponent)
    return Fraction(2) ** (max(exponent, -126) - 23)


@given(vectors, st.data())
def test_figures_equal_exact_ones(output, data):
    value = data.draw(arrays(np.float64, output.shape, elements=wide))
    truth = truth_of(value)
    found = scores(truth, errors(truth, output))
    difference = [Fraction(float(o)) - Fraction(float(t)) for o, t in zip(output, value, strict=True)]
    in_ulp = [
        d / ulp32(Fraction(float(t)))
        for d, t, o in zip(difference, value, output, strict=True)
        if t != 0 or o == 0
    ]
    assert found["error_abs_max"] == pytest.approx(float(max(map(abs, difference))), rel=1e-12)
    assert found["error_abs_mean"] == pytest.approx(float(sum(map(abs, difference)) / len(value)), rel=1e-12)
    if in_ulp:
        assert found["error_ulp_max"] == pytest.approx(float(max(map(abs, in_ulp))), rel=1e-12)
        square = sum(x * x for x in in_ulp) / len(in_ulp)
        assert found["error_ulp_rms"] == pytest.approx(math.sqrt(square), rel=1e-12)
        scale = float(max(map(abs, in_ulp)))
        assert found["error_ulp_mean"] == pytest.approx(
            float(sum(in_ulp) / len(in_ulp)), rel=1e-9, abs=1e-12 * scale
        )
        ranked = sorted(abs(x) for x in in_ulp)
        middle = (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
        assert found["error_ulp_median"] == pytest.approx(float(middle), rel=1e-12)
        assert found["error_ulp_p99"] == pytest.approx(
            float(ranked[math.ceil(0.99 * len(ranked)) - 1]), rel=1e-12
        )
    magnitude = [Fraction(5.0 * abs(float(t)) + 1.0) for t in value]  # as `truth_of` rounds it
    scaled = [d / ulp32(m) for d, m in zip(difference, magnitude, strict=True)]
    assert found["error_scaled_ulp_max"] == pytest.approx(float(max(map(abs, scaled))), rel=1e-12)
    square = sum(x * x for x in scaled) / len(scaled)
    assert found["error_scaled_ulp_rms"] == pytest.approx(math.sqrt(square), rel=1e-12)
    ratio = max(abs(d) / m for d, m in zip(difference, magnitude, strict=True))
    assert found["error_over_magnitude_max"] == pytest.approx(float(ratio), rel=1e-12)
    squares = sum(d * d for d in difference)
    assert found["error_abs_rms"] == pytest.approx(math.sqrt(squares / len(value)), rel=1e-12)
    length = sum(Fraction(float(t)) ** 2 for t in value)
    if length:
        assert found["relative_l2"] == pytest.approx(math.sqrt(squares / length), rel=1e-9)
    worst = int(json.loads(found["worst_index"])[0])
    assert abs(scaled[worst]) == pytest.approx(float(max(map(abs, scaled))), rel=1e-12)
    if value[worst]:
        there = magnitude[worst] / abs(Fraction(float(value[worst])))
        assert found["worst_condition"] == pytest.approx(float(there), rel=1e-12)
    assert found["zero_truth_mismatches"] == len(value) - len(in_ulp)
    right = sum(bool(o == np.float32(t)) for o, t in zip(output, value, strict=True))
    assert found["share_correctly_rounded"] == right / len(value)


@given(vectors)
def test_cosine_never_leaves_its_range(vector):
    wide = vector.astype(np.float64)
    for other in (wide, 3.0 * wide, -wide, np.roll(wide, 1)):
        cosine, angle = cosine_and_angle(wide, other)
        if wide.any():
            assert -1.0 <= cosine <= 1.0
            assert 0.0 <= angle <= math.pi
        else:
            assert cosine is None
    if wide.any():
        assert cosine_and_angle(wide, 2.0 * wide)[0] == 1.0
        assert cosine_and_angle(wide, -wide)[1] == pytest.approx(math.pi)


def test_small_angles_are_not_lost():
    # 1 - cosine is 5e-17 here: the textbook formula gives 0 or something negative.
    a, b = np.array([1.0, 0.0]), np.array([1.0, 1e-8])
    assert cosine_and_angle(a, b)[1] == pytest.approx(1e-8, rel=1e-9)


def test_a_planted_error_is_found_where_it_is():
    value = np.linspace(1, 2, 24).reshape(2, 3, 2, 2)
    truth = truth_of(value)
    output = truth.round(np.float32)
    output[1, 2, 0, 1] = np.nextafter(output[1, 2, 0, 1], np.float32(0), dtype=np.float32)
    output[1, 2, 0, 1] = np.nextafter(output[1, 2, 0, 1], np.float32(0), dtype=np.float32)
    found = scores(truth, errors(truth, output))
    assert json.loads(found["worst_index"]) == [1, 2, 0, 1]
    assert found["worst_got"] == float(output[1, 2, 0, 1])
    assert found["worst_rounded"] == float(np.float32(value[1, 2, 0, 1]))
    assert float.fromhex(found["worst_got_hex"]) == found["worst_got"]
    assert 1.5 <= found["error_ulp_max"] <= 2.5
    assert found["share_correctly_rounded"] == 23 / 24


def test_zero_nan_and_infinity_have_their_own_counts():
    value = np.array([0.0, 0.0, 1.0, np.nan, np.inf, 1.0, 2.0])
    output = np.array([-0.0, 1e-3, np.nan, np.nan, np.inf, np.inf, 2.0], dtype=np.float32)
    truth = truth_of(value)
    found = scores(truth, errors(truth, output))
    assert found["signed_zero_mismatches"] == 1
    assert found["zero_truth_mismatches"] == 1
    assert found["nonfinite_mismatches"] == 2
    assert json.loads(found["worst_index"]) == [2]
    assert found["error_abs_max"] == pytest.approx(1e-3)
    assert found["error_ulp_max"] == 0.0
    assert found["share_correctly_rounded"] == 4 / 7


def test_overflow_is_right_where_the_rounded_truth_overflows():
    truth = truth_of([1e39, 1e39])
    found = scores(truth, errors(truth, np.array([np.inf, 3.4028234e38], dtype=np.float32)))
    assert found["nonfinite_mismatches"] == 1
    assert found["share_correctly_rounded"] == 0.5


def test_nothing_to_score_gives_missing_figures():
    truth = truth_of([np.nan])
    found = scores(truth, errors(truth, np.array([np.nan], dtype=np.float32)))
    assert found["error_ulp_max"] is None
    assert found["cosine"] is None
    assert found["share_correctly_rounded"] == 1.0


def test_squares_neither_overflow_nor_vanish():
    truth = truth_of([0.0, 0.0])
    for size in (3e38, 1e-38):
        output = np.array([size, -size], dtype=np.float32)
        assert scores(truth, errors(truth, output))["error_abs_rms"] == pytest.approx(size, rel=1e-6)


def test_shares_of_a_bound():
    truth = truth_of([1.0, 1.0, 1.0])
    found = errors(truth, np.array([1.0, 1.5, 1.0], dtype=np.float32))
    assert largest_share(found, np.array([0.0, 1.0, 1.0])) == 0.5
    assert largest_share(found, np.array([0.0, 0.0, 1.0])) == math.inf
    assert largest_share(found, np.array([0.0, np.inf, 1.0])) is None


def test_condition_of_a_zero_is_infinite():
    truth = Truth(np.array([0.0, 2.0, 1.0]), np.zeros(3), np.zeros(3), np.array([1.0, 6.0, 50.0]))
    assert condition(truth) == (50.0, math.inf)
    assert condition(
        Truth(*(np.array([x, 2 * x, 4 * x]) for x in (1.0, 0.0, 0.0)), np.array([1.0, 4.0, 40.0]))
    ) == (
        2.0,
        10.0,
    )


def test_decimal_digits_are_those_of_the_exact_sum():
    one = np.array([1.0 / 3.0])
    exact = Fraction(1.0 / 3.0) + Fraction(1e-18)
    certain = Truth(one, np.array([1e-18]), np.zeros(1), one)
    assert abs(Fraction(decimal(certain, (0,))) - exact) < Fraction(1, 10**25)
    unsure = Truth(one, np.array([1e-18]), np.array([1e-12]), one)
    shown = decimal(unsure, (0,))
    assert len(shown) <= len("0.") + 12
    assert abs(Fraction(shown) - exact) < Fraction(1, 10**11)
    refined = Truth(
        one, np.zeros(1), np.array([1e-12]), one, refine=lambda i, bits: (Fraction(1, 3), Fraction(0))
    )
    assert decimal(refined, (0,)) == "0.3333333333333333333333333"
    assert decimal(truth_of([math.inf]), (0,)) == "inf"


@given(vectors, st.data())
def test_histogram_counts_every_element_once(output, data):
    value = data.draw(arrays(np.float64, output.shape, elements=st.floats(-1e6, 1e6)))
    found = errors(truth_of(value), output)
    rows = histogram(found)
    assert sum(row["count"] for row in rows) == found.in_ulp.sum()
    for row in rows:
        inside = (found.ulp >= row["bin_left_ulp"]) & (found.ulp < row["bin_right_ulp"]) & found.in_ulp
        assert inside.sum() == row["count"]


def test_map_shows_the_place():
    truth = truth_of(np.ones((2, 3, 5, 40)))
    output = np.ones((2, 3, 5, 40), dtype=np.float32)
    output[1, 2, 3, 39] += np.float32(2**-20)
    blocks = error_map(errors(truth, output))
    hot = [(block["row"], block["column"]) for block in blocks if block["error_scaled_ulp_rms"] > 0]
    assert hot == [(3, 23)]
    (block,) = [block for block in blocks if (block["row"], block["column"]) == (3, 23)]
    # One of 2 * 3 * 2 elements is off by 2^-20, in ulp of 6: 2^-21.
    assert block["error_scaled_ulp_mean"] == pytest.approx(2.0**-20 / 2.0**-21 / 12)
    assert block["error_scaled_ulp_rms"] == pytest.approx(2.0**-20 / 2.0**-21 / math.sqrt(12))
    output[1, 2, 3, 39] -= np.float32(2**-19)
    negative = [b["error_scaled_ulp_mean"] for b in error_map(errors(truth, output))]
    assert min(negative) == pytest.approx(-1 / 6)
    assert len(blocks) == 5 * 24
