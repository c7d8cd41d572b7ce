"""The functions of one number against mpmath at 600 bits, fractions where they are rational, and PyTorch."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import activations

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 600
SETTINGS = settings(max_examples=25, deadline=None)
KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
LEAST = Fraction(1, 2**3000)


def fraction(y):
    """An mpmath number as a fraction; those below 2**-3000 as that."""
    sign, mantissa, exponent, width = y._mpf_
    if mantissa == 0:
        return Fraction(0)
    if exponent + width < -3000:
        return -LEAST if sign else LEAST
    number = Fraction(mantissa) * Fraction(2) ** exponent
    return -number if sign else number


def smooth(function):
    return lambda x: fraction(function(CONTEXT.mpf(float(x))))


def gelu(x):
    return x * CONTEXT.erfc(-x / CONTEXT.sqrt(2)) / 2


def gelu_tanh(x):
    z = CONTEXT.sqrt(8 / CONTEXT.pi) * (x + CONTEXT.mpf(44715) / 10**6 * x**3)
    return x / (1 + CONTEXT.exp(-z))


def softplus(beta, threshold):
    def oracle(x):
        y = Fraction(beta) * Fraction(float(x))
        if y > threshold:
            return Fraction(float(x))
        y = CONTEXT.mpf(beta) * CONTEXT.mpf(float(x))
        found = max(y, 0) + CONTEXT.log1p(CONTEXT.exp(-abs(y)))
        return fraction(found / CONTEXT.mpf(beta))

    return oracle


def elu(alpha, scale=1.0):
    def oracle(x):
        if x >= 0:
            return Fraction(float(x)) * Fraction(scale)
        return fraction(CONTEXT.expm1(CONTEXT.mpf(float(x)))) * Fraction(alpha) * Fraction(scale)

    return oracle


ORACLES = {
    "exp": ({}, smooth(CONTEXT.exp)),
    "expm1": ({}, smooth(CONTEXT.expm1)),
    "log": ({}, smooth(CONTEXT.log)),
    "log1p": ({}, smooth(CONTEXT.log1p)),
    "erf": ({}, smooth(CONTEXT.erf)),
    "erfc": ({}, smooth(CONTEXT.erfc)),
    "tanh": ({}, smooth(CONTEXT.tanh)),
    "sigmoid": ({}, smooth(lambda x: 1 / (1 + CONTEXT.exp(-x)))),
    "silu": ({}, smooth(lambda x: x / (1 + CONTEXT.exp(-x)))),
    "gelu": ({}, smooth(gelu)),
    "gelu tanh": ({"approximate": "tanh"}, smooth(gelu_tanh)),
    "softplus": ({}, softplus(1.0, 20.0)),
    "softplus slow": ({"beta": 0.3, "threshold": 1e4}, softplus(0.3, 1e4)),
    "softplus low": ({"beta": -2.5, "threshold": -1.0}, softplus(-2.5, -1.0)),
    "elu": ({"alpha": 0.7}, elu(0.7)),
    "selu": ({}, elu(activations.SELU_ALPHA, activations.SELU_SCALE)),
    "relu": ({}, lambda x: max(Fraction(float(x)), Fraction(0))),
    "leaky_relu": (
        {"negative_slope": 0.3},
        lambda x: Fraction(float(x)) * (Fraction(0.3) if x < 0 else 1),
    ),
}


def domain(name, x):
    """Arguments that the function has, and whose results float64 has."""
    if name in {"log", "log1p"}:
        x = abs(x)
        return x[x > 0] if name == "log" else x
    return x[x < 700] if name in {"exp", "expm1"} else x


def no_huge(name, x):
    """mpmath's erfc is slow far out; the results there are below every format or 2."""
    return x[abs(x) < 1e4] if name in {"erf", "erfc", "gelu"} else x


@pytest.mark.parametrize("name", ORACLES)
@SETTINGS
@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_functions_against_mpmath(data, contradictions, name, kind, seed):
    rng = np.random.default_rng(seed)
    scale = np.float32(rng.choice([0.01, 1, 10, 50])) if kind in {"normal", "uniform"} else np.float32(1)
    x = no_huge(name, domain(name, data(kind, (40,), rng) * scale))
    params, oracle = ORACLES[name]
    truth = getattr(activations, name.split()[0])(x, **params)
    assert contradictions(truth, [oracle(v) for v in x], Fraction(1, 2**400)) == []


@pytest.mark.parametrize("name", ORACLES)
def test_any_precision(name):
    x = np.float32([-200, -11, -1.5, -1e-30, 2.0**-149, 0.3, 1, 7, 60, 0])
    x = domain(name, x)
    params, oracle = ORACLES[name]
    truth = getattr(activations, name.split()[0])(x, **params)
    for i, v in enumerate(x):
        centre, radius = truth.refine(i, 300)
        assert radius * 2**300 <= abs(centre) or abs(centre) < Fraction(1, 2**10000)
        exact = oracle(v)
        if abs(exact) > LEAST:
            assert abs(exact - centre) <= radius + abs(exact) / 2**500


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("part", ["value", "bound"])
def test_a_planted_error_is_caught(contradictions, part, words):
    x = np.linspace(-3, 3, 50).astype(np.float32)
    truth = activations.gelu(x)
    assert truth.tiers["float64"] > 40
    truth = truth.sharpened() if words == 2 else dataclasses.replace(truth, finer=None)
    exact = [ORACLES["gelu"][1](v) for v in x]
    assert contradictions(truth, exact, Fraction(1, 2**400)) == []
    if part == "value":
        error = truth.value * (2.0**-80 if words == 2 else 2.0**-33)
        planted = dataclasses.replace(
            truth, value=truth.value + error * (words == 1), residual=truth.residual + error * (words == 2)
        )
    else:
        planted = dataclasses.replace(truth, bound=truth.bound * 2.0**-40)
    assert contradictions(planted, exact, Fraction(1, 2**400))


SPECIAL = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("exp", [np.nan, np.inf, 0, 1, 1]),
        ("expm1", [np.nan, np.inf, -1, 0, 0]),
        ("log", [np.nan, np.inf, np.nan, -np.inf, -np.inf]),
        ("log1p", [np.nan, np.inf, np.nan, 0, 0]),
        ("erf", [np.nan, 1, -1, 0, 0]),
        ("erfc", [np.nan, 0, 2, 1, 1]),
        ("tanh", [np.nan, 1, -1, 0, 0]),
        ("sigmoid", [np.nan, 1, 0, 0.5, 0.5]),
        ("silu", [np.nan, np.inf, np.nan, 0, 0]),
        ("gelu", [np.nan, np.inf, np.nan, 0, 0]),
        ("relu", [np.nan, np.inf, 0, 0, 0]),
        ("leaky_relu", [np.nan, np.inf, -np.inf, 0, 0]),
        ("elu", [np.nan, np.inf, -1, 0, 0]),
    ],
)
def test_special_arguments(name, wanted):
    truth = getattr(activations, name)(SPECIAL)
    assert np.array_equal(truth.value, wanted, equal_nan=True)
    assert not np.signbit(truth.value[3:]).any() or name == "log"
    assert (truth.bound == 0).all()
    assert np.isinf(truth.magnitude[~np.isfinite(truth.value)]).all()
    if name not in {"log", "log1p", "gelu", "silu"}:  # there torch takes -Inf * 0 for 0 on some machines
        ours = getattr(torch.nn.functional, name, getattr(torch, name, None))(torch.tensor(SPECIAL)).numpy()
        assert np.array_equal(ours, wanted, equal_nan=True)


def test_shapes_and_empty_arrays():
    for shape in [(), (0,), (2, 0, 3), (2, 3), (1, 1)]:
        truth = activations.gelu(np.ones(shape, np.float32))
        assert truth.value.shape == truth.bound.shape == shape


def test_results_outside_float32():
    truth = activations.exp(np.float32([700, 89, -103.9, -104, -800]))
    assert truth.round().tolist() == [np.inf, np.inf, 2.0**-149, 0.0, 0.0]
    assert activations.exp(np.float32([800])).value[0] == np.inf


def test_prelu_takes_one_slope_or_one_for_each_channel(data, contradictions):
    rng = np.random.default_rng(2)
    x, w = data("normal", (2, 3, 4), rng), data("normal", (3,), rng)
    truth = activations.prelu(x, w)
    last = activations.prelu(np.moveaxis(x, 1, 2), w, layout="NHWC")
    ours = torch.nn.functional.prelu(torch.tensor(x).double(), torch.tensor(w).double()).numpy()
    assert np.array_equal(truth.value, ours)
    assert np.array_equal(np.moveaxis(last.value, 2, 1), ours)
    assert (truth.bound == 0).all()
    assert np.array_equal(activations.prelu(x, w[:1]).value, np.where(x < 0, x * np.float64(w[0]), x))
    wild = activations.prelu(np.float32([[-1, 0, 2]]), np.float32([np.inf, np.nan, np.inf]))
    assert np.array_equal(wild.value, [[-np.inf, 0, 2]])


@pytest.mark.parametrize(
    "name", sorted({key.split()[0] for key in ORACLES} - {"log", "log1p", "erf", "erfc"})
)
def test_torch_float64_agrees(data, name):
    x = data("normal", (500,), np.random.default_rng(1)) * np.float32(4)
    function = getattr(torch.nn.functional, name, getattr(torch, name, None))
    truth = getattr(activations, name)(x)
    y = function(torch.tensor(x).double()).numpy()
    assert (abs(truth.error(y)) <= 1e-12 * abs(truth.value) + 1e-15).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: activations.gelu(np.zeros(2, np.int32)), "float type"),
        (lambda: activations.gelu(np.zeros(2, np.float32), approximate="erf"), "approximate must be"),
        (lambda: activations.softplus(np.zeros(2, np.float32), beta=0), "beta must be"),
        (lambda: activations.softplus(np.zeros(2, np.float32), threshold=float("nan")), "threshold"),
        (lambda: activations.elu(np.zeros(2, np.float32), alpha=1e300), "alpha must be"),
        (lambda: activations.elu(np.zeros(2, np.float32), alpha=True), "alpha must be"),
        (lambda: activations.leaky_relu(np.zeros(2, np.float32), negative_slope=np.inf), "negative_slope"),
        (lambda: activations.prelu(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)), "3 channels"),
        (lambda: activations.prelu(np.zeros(2, np.float32), np.zeros(2, np.float32), layout="HW"), "layout"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
