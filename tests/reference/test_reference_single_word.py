"""The first tier of the functions, in plain float64, is within its bounds; and what breaks a tie."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import reference
from reference import single_word
from reference.certify import certain
from reference.truth import HAIR, Truth

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 200
U = single_word.UNIT


def arguments(low, high, seed=0, count=400):
    rng = np.random.default_rng(seed)
    spread = [rng.uniform(low, high, count), rng.standard_normal(count), rng.standard_normal(count) * 1e-6]
    spread += [np.array([0.36, -0.36, 0.41, -0.29, 1.4142135, 0.70710677, 0.34657, -0.34657])]
    x = np.concatenate(spread).astype(np.float32).astype(np.float64)
    return x[(x > low) & (x < high) & (x != 0)].tolist()


def gelu(x):
    return x * CONTEXT.erfc(-x / CONTEXT.sqrt(2)) / 2


def gelu_tanh(x):
    z = CONTEXT.sqrt(8 / CONTEXT.pi) * (x + CONTEXT.mpf(44715) / 10**6 * x**3)
    return x / (1 + CONTEXT.exp(-z))


CASES = {
    "exp": (single_word.exp, CONTEXT.exp, (-700, 700), single_word.EXP),
    "expm1": (single_word.expm1, CONTEXT.expm1, (-700, 700), single_word.EXPM1),
    "log": (single_word.log, CONTEXT.log, (2.0**-126, 3e38), single_word.LOG),
    "log near one": (single_word.log, CONTEXT.log, (0.4, 2.5), single_word.LOG),
    "log1p": (single_word.log1p, CONTEXT.log1p, (-0.9999, 30), single_word.LOG1P),
    "tanh": (single_word.tanh, CONTEXT.tanh, (-40, 40), single_word.TANH),
    "logistic": (
        single_word.logistic, lambda x: 1 / (1 + CONTEXT.exp(-x)), (-700, 700), single_word.LOGISTIC,
    ),
    "softplus": (
        single_word.softplus, lambda x: CONTEXT.log1p(CONTEXT.exp(x)), (-120, 120), single_word.SOFTPLUS,
    ),
    "erf": (single_word.erf, CONTEXT.erf, (0, 2.2), single_word.ERF),
    "erfc": (single_word.erfc, CONTEXT.erfc, (2.2001, 26), None),
    "gelu": (single_word.gelu, gelu, (-36, 36), None),
    "gelu tanh": (single_word.gelu_tanh, gelu_tanh, (-20, 20), None),
}  # fmt: skip


def errors(name, change=lambda y: y):
    """Relative errors over their bounds."""
    function, exact, ends, bound = CASES[name]
    for x in arguments(*ends):
        found = function(x)
        value, relative = found if isinstance(found, tuple) else (found, bound)
        truth = exact(CONTEXT.mpf(x))
        yield float(abs((CONTEXT.mpf(change(value)) - truth) / truth)) / relative


@pytest.mark.parametrize("name", CASES)
def test_each_function_is_within_its_bound(name):
    assert max(errors(name)) <= 1.0


@pytest.mark.parametrize("name", CASES)
def test_an_error_beyond_the_bound_is_seen(name):
    off = 1.0 + 2.0**-30
    assert max(errors(name, lambda y: y * off)) > 1.0


def test_both_tiers_are_one_truth():
    x = np.random.default_rng(1).standard_normal((20, 60)).astype(np.float32)
    for op in ("softmax", "log_softmax", "gelu", "silu", "tanh", "softplus"):
        first = reference.evaluate(op, {"input": x}, {})
        second = first.sharpened()
        assert first.tiers["float64"] > 0.9 * x.size
        assert second.tiers["float64"] == 0
        apart = np.abs((first.value - second.value) + (first.residual - second.residual))
        assert (apart <= first.bound + second.bound).all()
        assert (second.bound <= 2.0**-80 * np.abs(second.value)).all()
        assert np.array_equal(first.round(np.float32), second.round(np.float32))
        # Other formats ask for the finer tier by themselves.
        assert np.array_equal(first.round(np.float64), second.round(np.float64))


def test_wide_rows_of_log_softmax_are_settled_without_refinement():
    """x - max is often the middle of two float32 numbers: what is subtracted breaks the tie."""
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((20, 200)) * np.exp2(rng.integers(-30, 30, (20, 200)))).astype(np.float32)
    truth = reference.evaluate("log_softmax", {"input": x}, {})
    assert truth.tiers["exact"] == 0
    rounded = truth.round(np.float32)
    top = x.max(axis=1, keepdims=True)
    ties = 0
    for i, j in np.ndindex(x.shape):
        exact = Fraction(float(x[i, j])) - Fraction(float(top[i, 0]))
        near = np.float32(float(exact))
        other = np.nextafter(near, np.float32(-np.inf if Fraction(float(near)) > exact else np.inf))
        if exact and abs(Fraction(float(near)) - exact) == abs(Fraction(float(other)) - exact):
            ties += 1
            assert rounded[i, j] == min(near, other)  # the truth lies below the tie
    assert ties > 30


def test_a_side_without_a_size_rounds_to_its_side():
    middle = 1.0 + 2.0**-24  # of two float32 numbers
    for sign, wanted in ((1.0, 1.0 + 2.0**-23), (-1.0, 1.0)):
        side = np.array([sign * 0.5 * HAIR])
        truth = Truth(np.array([middle]), side, np.abs(side), np.array([middle]))
        assert certain(middle, float(side[0]), abs(float(side[0])))
        assert truth.round(np.float32)[0] == np.float32(wanted)
        # A bound that is wider than the residual leaves the tie open.
        open_ = Truth(np.array([middle]), side, 2.0 * np.abs(side), np.array([middle]))
        assert not certain(middle, float(side[0]), 2.0 * abs(float(side[0])))
        with pytest.raises(reference.UncertainError):
            open_.round(np.float32)


def test_reach_is_refused_not_guessed():
    x = np.float32([-800, 800, 705, -705, 90])
    for op in ("exp", "sigmoid", "silu", "softplus"):
        truth = reference.evaluate(op, {"input": x}, {})
        assert not np.isnan(truth.value).any()
    assert math.isinf(float(reference.evaluate("exp", {"input": x}, {}).round(np.float32)[1]))
