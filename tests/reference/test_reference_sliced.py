"""The sliced matrix product against fractions, math.fsum, integer matrices and torch's float64."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import sliced

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
CERTAIN = ("uniform", "normal", "cancelling", "subnormal", "huge", "integers", "zeros")


def integers(array):
    """The array times 2**149, as an integer matrix: every float32 is a multiple of 2**-149."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    digits = (mantissa * 2.0**24).astype(np.int64).astype(object)
    shifts = exponent.astype(object) + 149 - 24
    whole = [
        [int(d) << s if s >= 0 else int(d) >> -s for d, s in zip(*row, strict=True)]
        for row in zip(digits.tolist(), shifts.tolist(), strict=True)
    ]
    return flint.fmpz_mat(whole)


def faults(parts, a, b, start=None):
    """Where value + residual +- bound misses the exact product (by an integer matrix product)."""
    exact = integers(a) * integers(b)
    found = []
    for i, j in np.ndindex(*parts[0].shape):
        number = Fraction(int(exact[i, j]), 1 << 298)
        if start is not None:
            number += Fraction(float(start[j]))
        value, residual, bound = (float(p[i, j]) for p in parts)
        if abs(number - Fraction(value) - Fraction(residual)) > Fraction(bound):
            found.append(f"({i}, {j}): not within {bound} of {value} + {residual}")
        if abs(residual) > np.spacing(abs(value)) / 2:
            found.append(f"({i}, {j}): residual {residual} is more than half a spacing of {value}")
        if number == 0 and bound == 0 and (value != 0 or np.signbit(value)):
            found.append(f"({i}, {j}): an exact zero came out as {value}")
    return found


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(1, 5), st.integers(1, 70),
       st.integers(1, 5), st.integers(0, 2**32))  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_drawn_products_are_exact(data, left, right, m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = data(left, (m, k), rng), data(right, (k, n), rng)
    try:
        parts = sliced.matmul(a, b)
    except sliced.TooWideError:
        assert "wide" in (left, right)
        return
    assert faults(parts, a, b) == []


@pytest.mark.parametrize("kind", CERTAIN)
def test_larger_products_are_exact(data, kind):
    rng = np.random.default_rng(5)
    a, b = data(kind, (40, 1500), rng), data(kind, (1500, 30), rng)
    parts = sliced.matmul(a, b)
    assert faults(parts, a, b) == []
    assert (parts[2] == 0).all()


def test_the_plan_of_the_normal_case_is_cheap(data):
    rng = np.random.default_rng(6)
    for kind, most in (("uniform", 4), ("normal", 9), ("integers", 1)):
        a, b = data(kind, (64, 2304), rng), data(kind, (2304, 64), rng)
        found = sliced.right(b, sliced.spans(a)).plan
        assert found.products <= most
        assert found.left_bits + found.right_bits + (found.block - 1).bit_length() == 53


def test_a_start_and_batches(data):
    rng = np.random.default_rng(7)
    a, b, start = data("normal", (3, 4, 90), rng), data("normal", (90, 5), rng), data("normal", (5,), rng)
    batch = sliced.matmul(a, b)
    assert batch[0].shape == (3, 4, 5)
    prepared = sliced.right(b, 60)
    for image, value, residual in zip(a, *batch[:2], strict=True):
        alone = prepared.times(image, start.astype(np.float64))
        assert faults(alone, image, b, start) == []
        # By another cut the same exact sums come out.
        plain = prepared.times(image)
        assert np.array_equal(plain[0], value)
        assert np.array_equal(plain[1], residual)


def test_one_cut_serves_narrower_and_wider_operands(data, monkeypatch):
    rng = np.random.default_rng(8)
    b = data("normal", (64, 6), rng)
    prepared = sliced.right(b, 30)
    for kind in ("integers", "uniform", "normal", "zeros"):
        a = data(kind, (5, 64), rng)
        assert faults(prepared.times(a), a, b) == []
    wide = data("wide", (5, 64), rng)
    assert faults(prepared.times(wide), wide, b) == []
    monkeypatch.setattr(sliced, "LIMIT", 4)
    with pytest.raises(sliced.TooWideError, match="products"):
        prepared.times(wide)
    with pytest.raises(sliced.TooWideError, match="products"):
        sliced.matmul(wide, b)


def test_every_sum_of_magnitudes_at_the_limit():
    """All slices at their largest: K * 2**(bits + bits) reaches 2**53 exactly."""
    for terms in (1, 2, 3, 64, 65, 1000):
        a = np.full((2, terms), np.float32(2.0) - np.float32(2.0**-23))
        a[1] = -np.nextafter(np.float32(2.0**-100), np.float32(1.0))
        b = np.full((terms, 2), np.float32(2.0) - np.float32(2.0**-23))
        b[:, 1] *= np.float32(2.0**-120)
        parts = sliced.matmul(a, b)
        assert faults(parts, a, b) == []
        assert (parts[2] == 0).all()


def test_what_106_bits_cannot_hold_has_a_bound():
    a = np.array([[2.0**60, 2.0**8, 2.0**-40, 1.0]], np.float32)
    b = np.array([[2.0**45], [1.0], [2.0**-30], [-(2.0**-60)]], np.float32)
    parts = sliced.matmul(a, b)
    assert faults(parts, a, b) == []
    assert 0 < parts[2][0, 0] < 2.0**-50


def test_a_cut_that_is_too_coarse_is_caught(data, monkeypatch):
    """A planted fault: slices of 40 bits, whose products round."""
    rng = np.random.default_rng(9)
    a, b = data("normal", (10, 900), rng), data("normal", (900, 10), rng)
    assert faults(sliced.matmul(a, b), a, b) == []
    monkeypatch.setattr(sliced, "plan", lambda *given: sliced.Plan(40, 40, 1, 900))
    assert len(faults(sliced.matmul(a, b), a, b)) > 50


@pytest.mark.parametrize("wrong", ["value", "residual"])
def test_a_planted_error_is_caught(data, wrong):
    rng = np.random.default_rng(10)
    a, b = data("normal", (6, 50), rng), data("normal", (50, 6), rng)
    value, residual, bound = sliced.matmul(a, b)
    if wrong == "value":
        value = np.nextafter(value, np.inf)
    else:
        residual = np.nextafter(residual, np.inf)
    assert len(faults((value, residual, bound), a, b)) >= 36


def test_empty_operands():
    for shape in ((0, 3), (2, 0)):
        a, b = np.ones(shape, np.float32), np.ones((shape[1], 4), np.float32)
        value, residual, bound = sliced.matmul(a, b)
        assert value.shape == (shape[0], 4)
        assert not value.any()
        assert not residual.any()
        assert not bound.any()
    assert sliced.matmul(np.ones((2, 3)), np.ones((3, 0)))[0].shape == (2, 0)


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (np.ones((2, 3)), np.ones((4, 2)), "transpose"),
        (np.ones(3), np.ones((3, 2)), "transpose"),
        (np.ones((2, 3)), np.ones((1, 3, 2)), "transpose"),
        (np.ones((2, 3), int), np.ones((3, 2)), "int64"),
        (np.array([[np.inf]]), np.ones((1, 1)), "a must be finite"),
        (np.ones((1, 1)), np.array([[np.nan]]), "b must be finite"),
    ],
)
def test_bad_operands_are_refused_in_one_line(a, b, word):
    with pytest.raises(ValueError, match=word) as caught:
        sliced.matmul(a, b)
    assert "\n" not in str(caught.value)


def test_torch_float64_lies_within_its_own_error(data):
    import torch

    rng = np.random.default_rng(11)
    a, b = data("normal", (30, 700), rng), data("normal", (700, 20), rng)
    value, residual, _ = sliced.matmul(a, b)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    found, sizes = (x @ y).numpy(), (x.abs() @ y.abs()).numpy()
    assert (np.abs((found - value) - residual) <= 700 * 2.0**-53 * sizes).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CERTAIN)
def test_a_hundred_thousand_elements(data, kind):
    """Against math.fsum, which rounds the exact sum once: that is the value, and the residual is the rest."""
    rng = np.random.default_rng(12)
    a, b = data(kind, (400, 150), rng), data(kind, (150, 260), rng)
    value, residual, bound = sliced.matmul(a, b)
    assert not bound.any()
    columns = b.T.astype(np.float64)
    for row, values, rests in zip(a.astype(np.float64), value.tolist(), residual.tolist(), strict=True):
        for products, number, rest in zip((columns * row).tolist(), values, rests, strict=True):
            assert math.fsum(products) == number
            assert math.fsum([*products, -number, -rest]) == 0.0
