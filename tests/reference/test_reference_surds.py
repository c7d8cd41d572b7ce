"""Sums of square roots against mpmath and python-flint; zeros, ties and near ties decided exactly."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import surds

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 3000
FRACTIONS = st.fractions(-1000, 1000, max_denominator=10**6)
ROOTS = st.one_of(st.integers(0, 50).map(Fraction), st.fractions(0, 100, max_denominator=10**4))


def by_mpmath(terms):
    total = CONTEXT.mpf(0)
    for c, d in terms:
        root = CONTEXT.sqrt(CONTEXT.mpf(d.numerator) / d.denominator)
        total += CONTEXT.mpf(c.numerator) / c.denominator * root
    return total


def as_mpf(number):
    return CONTEXT.mpf(number.numerator) / number.denominator


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(FRACTIONS, ROOTS), max_size=6), st.integers(1, 300))
def test_the_refined_interval_is_as_small_as_asked_for(terms, bits):
    centre, radius = surds.refine_surds(terms, bits)
    assert radius == 0 or radius <= abs(centre) / 2**bits
    exact = by_mpmath(terms)
    assert abs(exact - as_mpf(centre)) <= as_mpf(radius) + CONTEXT.mpf(2) ** -2900
    if radius == 0 and centre == 0:
        assert abs(exact) < CONTEXT.mpf(2) ** -2900


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(FRACTIONS, ROOTS), min_size=1, max_size=4), st.integers(2, 200))
def test_sums_that_cancel_in_disguise_are_exactly_rational(terms, square):
    """c sqrt(d) - (c / k) sqrt(d k**2), with an irrational factor in common, and a tie left over."""
    tie = Fraction(2**24 + 1, 2**24)
    hidden = [(-c / square, d * square**2) for c, d in terms]
    everything = [*terms, *hidden, (tie, Fraction(1))]
    assert surds.refine_surds(everything, 200) == (tie, 0)
    primes = [(Fraction(1), Fraction(n)) for n in range(2, 30)]
    long = [*everything, *primes, *((-c, d) for c, d in primes)]
    assert surds.refine_surds([*everything, *((-c / 3, 9 * d) for c, d in primes), *primes], 700) == (tie, 0)
    assert surds.refine_surds([*long, (-tie, Fraction(1))], 10) == (0, 0)
    value, residual, bound = surds.settle_surds(everything)
    assert (Fraction(value), residual, bound) == (tie, 0.0, 0.0)


def test_fingerprints_are_the_same_within_a_square_class():
    assert all(flint.fmpz(p).is_prime() for p in surds._PRIMES)
    p = surds._PRIMES[0]
    for d in (Fraction(2), Fraction(3, 7), Fraction(p), Fraction(5, p), Fraction(p**3, 11)):
        found = {surds._fingerprint(d * k * k) for k in (1, 2, p, Fraction(1, p), Fraction(35, 6), p * p)}
        assert len(found) == 1
    assert len({surds._fingerprint(Fraction(n)) for n in (2, 3, 5, 6, 7, 10, 11, 13, 14, 15)}) > 6


def test_a_long_sum_that_cancels_in_disguise():
    terms = [(Fraction(1), Fraction(n, 7)) for n in range(2, 400)]
    hidden = [(Fraction(-1, 3), Fraction(9 * n, 7)) for n in range(2, 400)]
    assert surds.refine_surds([*terms, *hidden], 100) == (0, 0)
    tie = (Fraction(2**24 + 1, 2**24), Fraction(1))
    assert surds.settle_surds([*terms, *hidden, tie]) == (1 + 2.0**-24, 0.0, 0.0)


@pytest.mark.parametrize(
    ("terms", "wanted"),
    [
        ([(Fraction(3, 4), Fraction(4)), (Fraction(-3, 2), Fraction(1))], (0.0, 0.0, 0.0)),
        (
            [(Fraction(1), Fraction(2)), (Fraction(1), Fraction(8)), (Fraction(-1), Fraction(18))],
            (0.0, 0.0, 0.0),
        ),
        ([], (0.0, 0.0, 0.0)),
        ([(Fraction(1), Fraction(1)), (Fraction(1, 2**200), Fraction(1))], (1.0, 2.0**-200, 0.0)),
    ],
)
def test_rational_sums_are_exact(terms, wanted):
    assert surds.settle_surds(terms) == wanted


def test_an_irrational_number_near_zero_or_a_tie_is_decided():
    """sqrt(2) - b, where b leaves a difference of 2**-400: not zero, though float64 cannot see it."""
    near = Fraction(math.isqrt(2 << 800), 1 << 400)
    terms = [(Fraction(1), Fraction(2)), (-near, Fraction(1))]
    value, residual, bound = surds.settle_surds(terms)
    assert 0 < value < 2.0**-400 * 1.01
    assert bound <= 2.0**-40 * value
    assert abs(residual) <= np.spacing(value)
    value, residual, bound = surds.settle_surds([*terms, (Fraction(2**24 + 1, 2**24), Fraction(1))])
    assert (value, 0 < residual < 2.0**-399) == (1 + 2.0**-24, True)
    assert 0 < bound < residual


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(FRACTIONS, ROOTS), max_size=6))
def test_against_flint(terms):
    before = flint.ctx.prec
    flint.ctx.prec = 400
    try:
        total = sum(
            (flint.fmpq(c.numerator, c.denominator) * flint.arb(flint.fmpq(d.numerator, d.denominator)).sqrt()
             for c, d in terms), flint.arb(0),
        )  # fmt: skip
        value, residual, bound = surds.settle_surds(terms)
        assert abs(total - flint.arb(value) - flint.arb(residual)) <= flint.arb(bound) + flint.arb(2) ** -300
    finally:
        flint.ctx.prec = before


def test_numbers_outside_float32_end():
    """Two float64 hold 106 bits: fewer than are asked for where a number is far too large for float32."""
    for scale in (Fraction(2) ** 400, Fraction(2) ** 260, Fraction(1, 2**950), Fraction(1, 2**1200)):
        value, residual, bound = surds.settle_surds([(scale, Fraction(2))])
        exact = as_mpf(scale) * CONTEXT.sqrt(2)
        assert abs(exact - CONTEXT.mpf(value) - CONTEXT.mpf(residual)) <= bound
        assert bound <= max(value * 2.0**-100, 2.0**-1074)
