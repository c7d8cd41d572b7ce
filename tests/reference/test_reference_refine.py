"""Rounding in every mode to every format, and at any precision, where the bound alone decides nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from reference import Truth, UncertainError, formats, refined, rounding, sliced

FORMATS = sorted(formats.FORMATS)
MODES = rounding.MODES


def root(number: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """sqrt(number) within 2**-bits of it, exact (radius 0) where it is a fraction."""
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Fraction(top, bottom), Fraction(0)
    scale = 1 << bits + 8 + number.denominator.bit_length()
    return Fraction(math.isqrt(int(number * scale * scale)), scale), Fraction(1, scale)


def roots(squares, width=2.0**-20, signs=None):
    """The truth of +-sqrt(squares), whose bound is far too wide: only `refine` knows better."""
    squares = [Fraction(s) for s in squares]
    signs = [1] * len(squares) if signs is None else signs
    asked: list[tuple[int, int]] = []

    def refine(index, bits):
        asked.append((index, bits))
        centre, radius = root(squares[index], bits)
        return signs[index] * centre, radius

    value = np.array([float(g * root(s, 60)[0]) for s, g in zip(squares, signs, strict=True)])
    bound = np.abs(value) * width
    return Truth(value, np.zeros_like(value), bound, np.abs(value), {}, refine), asked


def wanted_root(square, sign, fmt, mode, saturate=False):
    """The rounding of sign * sqrt(square) by comparing squares: no square root at all."""
    fmt = formats.FORMATS[fmt]
    guess = float(root(square, 80)[0])
    place = int(formats.ordinals(min(float(formats.round_to(guess, fmt, "RZ")), fmt.largest), fmt))
    near = [float(v) for v in formats.from_ordinals(np.arange(max(place - 2, 0), place + 1), fmt)]
    place = max(place - 2, 0) + sum(Fraction(v) ** 2 <= square for v in near) - 1
    last = int(formats.ordinals(fmt.largest, fmt))
    while place < last and Fraction(float(formats.from_ordinals(place + 1, fmt))) ** 2 <= square:
        place += 1
    low = Fraction(float(formats.from_ordinals(place, fmt)))
    gap = Fraction(float(formats.ulp(float(low), fmt)))
    if square >= (low + gap) ** 2:
        low, gap = None, None  # far beyond the largest number
    exact = low is not None and low**2 == square
    middle = None if low is None else (low + gap / 2) ** 2
    away = {
        "RNE": low is None or square > middle or (square == middle and (low / gap) % 2 == 1),
        "RNA": low is None or square >= middle,
        "RZ": False,
        "RU": sign > 0 and not exact,
        "RD": sign < 0 and not exact,
    }[mode]
    if not away:
        return sign * (fmt.largest if low is None else float(low))
    if low is not None and low + gap <= fmt.largest:
        return sign * float(low + gap)
    return sign * np.inf if fmt.infinite else np.nan


SQUARES = st.one_of(
    st.fractions(min_value=Fraction(1, 999), max_value=2**20, max_denominator=999),
    st.integers(0, 53).map(lambda k: (1 + Fraction(1, 2**k)) ** 2),  # ties and numbers of the formats
    st.integers(0, 60).map(lambda k: (1 + Fraction(1, 2**k)) ** 2 + Fraction(1, 2**300)),  # just above them
    st.integers(0, 60).map(lambda k: (1 + Fraction(1, 2**k)) ** 2 - Fraction(1, 2**300)),
    st.sampled_from([Fraction(464) ** 2, Fraction(65520) ** 2, Fraction(10) ** 30, Fraction(1, 10**60)]),
)


@given(SQUARES, st.sampled_from([-1, 1]), st.sampled_from(FORMATS), st.sampled_from(MODES[:5]))
@settings(deadline=None, max_examples=300)
def test_every_format_and_mode_is_decided(square, sign, name, mode):
    truth, asked = roots([square], signs=[sign])
    found = truth.round(name, mode)
    wanted = wanted_root(square, sign, name, mode)
    assert np.array_equal(found.astype(np.float64), [wanted], equal_nan=True)
    assert np.isnan(wanted) or np.signbit(found[0]) == (sign < 0)
    assert len(asked) <= 12


@given(SQUARES, st.integers(0, 2**32), st.sampled_from(FORMATS))
@settings(deadline=None)
def test_stochastic_rounding_is_decided_by_its_draw(square, seed, name):
    truth, _ = roots([square])
    fmt = formats.FORMATS[name]
    found = float(truth.round(name, "SR", seed=seed, saturate=True)[0])
    drawn = np.random.default_rng(seed).random(1)[0]
    centre, radius = root(square, 400)
    ends = {
        rounding.round_fraction(centre + d, fmt.precision, fmt.emin, "SR", drawn) for d in (-radius, radius)
    }
    assert ends == {found} or (min(ends) > fmt.largest and found == fmt.largest)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (np.float16, np.float16),
        (np.float64, np.float64),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
        (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
        (ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2),
        ("tf32", np.float32),
        ("e4m3", np.float32),
        ("binary64", np.float64),
    ],
)
def test_the_dtype_is_the_one_asked_for(dtype, stored):
    truth, _ = roots([Fraction(2), Fraction(9), Fraction(10**12)])
    found = truth.round(dtype)
    assert found.dtype == np.dtype(stored)
    fmt = formats.format_of(dtype)
    wanted = [wanted_root(Fraction(s), 1, fmt.name, "RNE") for s in (2, 9, 10**12)]
    assert np.array_equal(found.astype(np.float64), wanted, equal_nan=True)


def test_only_open_elements_are_refined():
    truth, asked = roots([Fraction(2), (1 + Fraction(1, 2**24)) ** 2, Fraction(3)], width=2.0**-40)
    assert truth.round().tolist() == [np.float32(2**0.5), 1.0, np.float32(3**0.5)]
    assert {index for index, _ in asked} == {1}


def test_zeros_and_what_is_not_finite():
    value = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 2.0**-200, -(2.0**-200)])
    zero = np.zeros_like(value)
    truth = Truth(value, zero, zero, np.abs(value), {}, None)
    for mode, ends in {"RNE": (0.0, 0.0), "RU": (2.0**-149, 0.0), "RD": (0.0, 2.0**-149)}.items():
        found = truth.round(np.float32, mode)
        assert np.array_equal(found, [0, 0, np.nan, np.inf, -np.inf, ends[0], -ends[1]], equal_nan=True)
        assert np.signbit(found).tolist() == [False, False, np.signbit(found[2]), False, True, False, True]
    assert np.isnan(truth.round("e4m3")[2:5]).all()
    assert truth.round("e4m3", saturate=True)[3:5].tolist() == [448.0, -448.0]
    assert truth.round("e5m2", "RZ", saturate=True)[3:5].tolist() == [57344.0, -57344.0]


def test_a_refinement_that_breaks_its_promise_is_reported(monkeypatch):
    monkeypatch.setattr(refined, "LIMIT", 512)
    tie = Fraction(1) + Fraction(1, 2**24)
    truth = replace(roots([tie**2])[0], refine=lambda index, bits: (tie, tie / 2**bits))
    with pytest.raises(UncertainError, match="defect"):
        truth.round()


def test_a_planted_wrong_refinement_shows():
    truth, _ = roots([(1 + Fraction(1, 2**24)) ** 2] * 3)
    right = truth.round()
    wrong = replace(truth, refine=lambda index, bits: (Fraction(1) + Fraction(3, 2**25), Fraction(0)))
    assert (wrong.round() != right).all()


def test_refinement_follows_a_change_of_arrangement():
    truth, _ = roots([Fraction(n) for n in range(2, 8)])
    turned = truth.arranged(lambda array: array.reshape(2, 3).T)
    assert np.array_equal(turned.round(np.float64), truth.round(np.float64).reshape(2, 3).T)
    assert np.array_equal(turned.round(np.float64).ravel(), np.sqrt([2.0, 5, 3, 6, 4, 7]))


@given(st.lists(SQUARES, min_size=1, max_size=4), st.integers(1, 700))
@settings(deadline=None)
def test_any_precision(squares, bits):
    truth, _ = roots(squares)
    found = truth.at_precision(bits)
    for number, square in zip(found, squares, strict=True):
        exact = Fraction(int(number.man)) * Fraction(2) ** number.exp
        assert (
            (exact * (1 - Fraction(1, 2**bits))) ** 2 <= square <= (exact * (1 + Fraction(2, 2**bits))) ** 2
        )


def test_the_precision_is_private_and_its_limits_are_stated():
    before = mpmath.mp.prec
    truth, _ = roots([Fraction(2)])
    found = truth.at_precision(300)
    assert found.shape == (1,)
    assert mpmath.mp.prec == before
    assert found[0].context is not mpmath.mp
    assert abs(found[0] - mpmath.MPContext().mpf(2) ** 0.5) < 1e-15
    special = Truth(*[np.array([np.nan, np.inf, 0.0, 1.5])] + [np.zeros(4)] * 2 + [np.ones(4)], {}, None)
    got = special.at_precision(100)
    assert (str(got[0]), str(got[1]), got[2] == 0, got[3] == 1.5) == ("nan", "+inf", True, True)
    blind = replace(truth, refine=None)
    assert abs(float(blind.at_precision(18)[0]) - 2**0.5) < 2.0**-18
    with pytest.raises(UncertainError, match="301 bits"):
        blind.at_precision(300)
    vague = replace(truth, refine=lambda index, bits: (Fraction(1, 2**20000), Fraction(1, 2**20000)))
    with pytest.raises(UncertainError, match="301 bits"):
        vague.at_precision(300)
    for bits in (0, -1, 1.5, True, "200"):
        with pytest.raises(ValueError, match="positive number of bits"):
            truth.at_precision(bits)


@pytest.mark.parametrize("mode", MODES)
def test_ops_round_to_every_format(data, mode):
    """Through `evaluate`: a sum whose exact value is known in fractions."""
    rng = np.random.default_rng(3)
    x, w = data("normal", (6, 30), rng), data("normal", (5, 30), rng)
    arrays = {"input": x, "weight": w}
    truth = reference.evaluate("linear", arrays, {})
    drawn = np.random.default_rng(9).random(truth.value.size)
    exact = [
        sum((Fraction(float(p)) * Fraction(float(q)) for p, q in zip(r, o, strict=True)), Fraction(0))
        for r in x
        for o in w
    ]
    for name in FORMATS if truth.refine is not None else ["binary32", "tf32", "bfloat16", "e4m3", "e5m2"]:
        fmt = formats.FORMATS[name]
        found = truth.round(name, mode, seed=9).astype(np.float64).ravel()
        for number, draw, got in zip(exact, drawn, found, strict=True):
            assert got == rounding.round_fraction(number, fmt.precision, fmt.emin, mode, draw)
    if truth.refine is not None:
        for number, got in zip(exact, reference.evaluate("linear", arrays, {}, 200).ravel(), strict=True):
            assert abs(Fraction(int(got.man)) * Fraction(2) ** got.exp - abs(number)) <= abs(number) / 2**200


FAMILIES = {
    "conv2d": ({"input": (1, 2, 5, 5), "weight": (3, 2, 3, 3)}, {"padding": 1}),
    "matmul": ({"input": (3, 9), "other": (9, 2)}, {}),
    "avg_pool2d": ({"input": (1, 2, 6, 6)}, {"kernel_size": 3}),
    "layer_norm": ({"input": (4, 9), "weight": (9,), "bias": (9,)}, {"normalized_shape": 9}),
    "layer_norm_input_grad": ({"grad_output": (4, 9), "input": (4, 9)}, {"normalized_shape": 9}),
    "normalize": ({"input": (4, 5)}, {}),
    "std": ({"input": (4, 5)}, {"dim": 1}),
    "softmax": ({"input": (4, 5)}, {"dim": 1}),
    "gelu": ({"input": (20,)}, {}),
    "tanh": ({"input": (20,)}, {}),
}


@pytest.mark.parametrize("op", [name for name in FAMILIES if name in reference.OPS])
def test_ops_of_every_family_can_be_refined(data, op):
    """At any precision the numbers lie within the bound, and directed roundings on their sides of them."""
    rng = np.random.default_rng(13)
    shapes, params = FAMILIES[op]
    arrays = {name: data("normal", shape, rng) for name, shape in shapes.items()}
    truth = reference.evaluate(op, arrays, params)
    fine = reference.evaluate(op, arrays, params, precision_bits=400)
    exact = [(-1) ** (n < 0) * Fraction(int(n.man)) * Fraction(2) ** int(n.exp) for n in fine.ravel()]
    for number, value, residual, bound in zip(
        exact, truth.value.ravel(), truth.residual.ravel(), truth.bound.ravel(), strict=True
    ):
        assert abs(number - Fraction(value) - Fraction(residual)) <= Fraction(bound) + abs(number) / 2**390
    for name in FORMATS:
        fmt = formats.FORMATS[name]
        for mode in MODES:
            found = truth.round(name, mode, seed=3, saturate=True).astype(np.float64).ravel()
            drawn = (
                np.resize(rounding.draws(mode, 3, truth.value.shape), found.size) if mode == "SR" else None
            )
            for i, number in enumerate(exact):
                draw = 0.0 if drawn is None else drawn[i]
                assert found[i] == rounding.round_fraction(number, fmt.precision, fmt.emin, mode, draw)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "cancelling"])
def test_a_hundred_thousand_roundings(data, kind):
    """In every format and mode, against the sums that sliced products give exactly."""
    rng = np.random.default_rng(4)
    x, w = data(kind, (330, 40), rng), data(kind, (310, 40), rng)
    truth = reference.linear(x, w)
    value, residual, bound = sliced.matmul(x, w.T)
    assert not bound.any()
    for fmt in formats.FORMATS.values():
        modes = MODES if fmt.precision <= 24 else ("RNE", "RU")
        for mode in modes:
            drawn = rounding.draws(mode, 1, value.shape)
            plain = rounding.round_pairs(value, residual, fmt.precision, fmt.emin, mode, drawn)
            wanted = formats.bounded(plain, True, fmt, mode)
            found = truth.round(fmt, mode, seed=1).astype(np.float64)
            assert np.array_equal(found, wanted, equal_nan=True)
