"""The double-word functions within their proven errors: against mpmath, and against arb."""

from __future__ import annotations

from fractions import Fraction

import flint
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import elementary, error_function
from reference.intervals import DEEP, Reals, enclose

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 400
SETTINGS = settings(max_examples=150, deadline=None)


def logistic(x):
    return 1 / (1 + CONTEXT.exp(-x))


def softplus(x):
    return CONTEXT.log1p(CONTEXT.exp(x))


FUNCTIONS = {
    "expm1_near": (elementary.expm1_near, CONTEXT.expm1, -0.35, 0.35, elementary.EXPM1_NEAR),
    "exp": (elementary.exp, CONTEXT.exp, -650, 700, elementary.EXP),
    "expm1": (elementary.expm1, CONTEXT.expm1, -1e30, 700, elementary.EXPM1),
    "log1p_near": (elementary.log1p_near, CONTEXT.log1p, -0.3, 0.5, elementary.LOG1P_NEAR),
    "log1p": (elementary.log1p, CONTEXT.log1p, -1 + 2**-30, 1e300, elementary.LOG1P),
    "log": (elementary.log, CONTEXT.log, 2.0**-900, 1e300, elementary.LOG),
    "tanh": (elementary.tanh, CONTEXT.tanh, -1e30, 1e30, elementary.TANH),
    "logistic": (elementary.logistic, logistic, -650, 1e30, elementary.LOGISTIC),
    "softplus": (elementary.softplus, softplus, -650, 1e30, elementary.SOFTPLUS),
    "erf": (error_function.erf, CONTEXT.erf, -1e30, 1e30, None),
    "erfc": (error_function.erfc, CONTEXT.erfc, -1e30, 25.0, None),
}


def ratio(name, x, low):
    """The relative error of a function over what is claimed."""
    function, oracle, _, _, claim = FUNCTIONS[name]
    found = function(x, low)
    exact = oracle(CONTEXT.mpf(x) + CONTEXT.mpf(low))
    if exact == 0:
        return 0.0 if found[0] == 0 else np.inf
    error = abs((CONTEXT.mpf(found[0]) + CONTEXT.mpf(found[1]) - exact) / exact)
    return float(error / (claim or found[2]))


@pytest.mark.parametrize("name", FUNCTIONS)
@SETTINGS
@given(st.integers(0, 2**32), st.integers(-160, 100), st.booleans())
def test_functions_are_within_their_proven_errors(name, seed, exponent, near):
    """Arguments of every size, double words too, and many near the functions' borders."""
    rng = np.random.default_rng(seed)
    low, high = FUNCTIONS[name][2:4]
    x = rng.standard_normal() * 2.0**exponent
    if near:
        x = rng.uniform(-3, 3) if rng.random() < 0.7 else rng.uniform(-30, 30)
    x = float(min(max(x, low), high))
    rest = rng.uniform(-1, 1) * float(np.spacing(abs(x))) / 2
    rest = 0.0 if abs(rest) < 2.0**-250 or x + rest != x or not low < x < high else rest
    assert ratio(name, x, rest) < 1


@pytest.mark.parametrize("name", ["exp", "log1p", "tanh", "erf"])
def test_a_constant_off_by_a_little_is_caught(name, monkeypatch):
    """The same check must fail for a kernel whose result is wrong in the 31st digit."""
    function, *others = FUNCTIONS[name]

    def wrong(x, low):
        found = function(x, low)
        return (found[0], found[1] + found[0] * 1e-27, *found[2:])

    monkeypatch.setitem(FUNCTIONS, name, (wrong, *others))
    assert ratio(name, 0.3, 0.0) > 1


def test_underflow_and_overflow():
    assert elementary.exp(-746.5, 0.0) == (0.0, 0.0)
    assert elementary.exp(710.0, 0.0) == (np.inf, 0.0)
    for x in np.linspace(-746, -650, 500):
        high, low = elementary.exp(float(x), 0.0)
        exact = CONTEXT.exp(float(x))
        assert abs(CONTEXT.mpf(high) + CONTEXT.mpf(low) - exact) <= elementary.EXP * exact + elementary.LOST
    assert elementary.logistic(-1e30, 0.0) == (0.0, 0.0)
    assert elementary.tanh(1e300, 0.0) == (1.0, 0.0)
    assert error_function.erfc(1e30, 0.0)[0] == 0.0
    assert error_function.erfc(-1e30, 0.0)[0] == 2.0


ARB = {
    "exp": flint.arb.exp,
    "log": flint.arb.log,
    "erf": flint.arb.erf,
    "erfc": flint.arb.erfc,
    "tanh": flint.arb.tanh,
    "expm1": flint.arb.expm1,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}


@pytest.mark.parametrize("name", ARB)
@settings(max_examples=40, deadline=None)
@given(st.floats(-80, 80, width=32).filter(lambda v: v != 0), st.sampled_from([60, 200, 700]))
def test_intervals_against_arb(name, x, bits):
    """Two ball arithmetics that share no code must overlap, and ours must be as narrow as asked."""
    if name == "log":
        x = abs(x)
    centre, radius = enclose(lambda r: getattr(r, name)(r.rational(x)), bits)
    before = flint.ctx.prec
    flint.ctx.prec = 2 * bits + 20000
    try:
        ball = ARB[name](flint.arb(x))
        ours = flint.arb(flint.fmpq(centre.numerator, centre.denominator))
        width = flint.arb(flint.fmpq(radius.numerator, radius.denominator))
        assert abs(ball - ours) <= width * (1 + flint.arb(2) ** -50) + abs(ball) * flint.arb(2) ** (-2 * bits)
        assert radius * 2**bits <= abs(centre)
    finally:
        flint.ctx.prec = before


def test_intervals_exclude_zero_where_numbers_are_too_small_to_write():
    centre, radius = enclose(lambda r: r.exp(r.rational(-1e38)), 100)
    assert 0 < centre - radius < centre + radius <= Fraction(1, 2**DEEP)
    centre, radius = enclose(lambda r: r.rational(1) - r.exp(r.rational(-1e38)), 2 * DEEP + 10)
    assert centre + radius < 1
    with pytest.raises(ArithmeticError, match="may be zero"):
        enclose(lambda r: r.sqrt(r.rational(2)) - r.sqrt(r.rational(2)), 50)


def test_intervals_leave_the_global_precision_alone():
    before = mpmath.mp.prec, mpmath.iv.prec
    Reals(999).exp(Reals(999).rational(1))
    assert (mpmath.mp.prec, mpmath.iv.prec) == before
