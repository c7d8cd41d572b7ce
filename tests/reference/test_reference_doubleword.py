"""Double-word operations within their proven errors, and the exact tiers alone, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import compensated, doubleword, rational

REALS = st.floats(-(2.0**100), 2.0**100).filter(lambda v: v == 0 or abs(v) > 2.0**-100)
U2 = Fraction(1, 2**106)


@st.composite
def words(draw):
    high = draw(REALS)
    low = draw(st.floats(-1, 1)) * float(np.spacing(abs(high))) / 2
    low = 0.0 if abs(low) < 2.0**-200 else low
    return (high, low) if high + low == high else (high + low, 0.0)


def whole(pair):
    return Fraction(pair[0]) + Fraction(pair[1])


def close(found, exact, units):
    assert abs(whole(found) - exact) <= units * U2 * abs(exact) * (1 + Fraction(1, 2**40))
    assert found[0] + found[1] == found[0]
    assert units * U2 <= Fraction(doubleword.STEP)


@settings(deadline=None)  # the first call compiles
@given(words(), words(), REALS)
def test_operations_are_within_their_proven_errors(x, y, z):
    a, b, c = whole(x), whole(y), Fraction(z)
    close(doubleword.plus(*x, *y), a + b, Fraction(301, 100))
    close(doubleword.plus_float(*x, z), a + c, 2)
    close(doubleword.times(*x, *y), a * b, 5)
    close(doubleword.times_float(*x, z), a * c, Fraction(3, 2))
    if z:
        close(doubleword.over_float(*x, z), a / c, 3)
    if b:
        close(doubleword.over(*x, *y), a / b, 15)


@settings(deadline=None)  # the first call compiles
@given(words())
def test_the_root_is_within_its_proven_error(x):
    x = (x[0], x[1]) if x[0] > 0 else (-x[0], -x[1])
    if x[0]:
        high, low = doubleword.root(*x)
        found = Fraction(high) + Fraction(low)
        ratio = found * found / whole(x)  # (1 + e)**2
        assert abs(ratio - 1) <= 2 * Fraction(25, 8) * U2 * (1 + Fraction(1, 2**40))


@settings(deadline=None)  # the first call compiles
@given(REALS, REALS)
def test_products_and_sums_are_split_without_error(a, b):
    assert whole(doubleword.two_prod(a, b)) == Fraction(a) * Fraction(b)
    assert whole(compensated.two_sum(a, b)) == Fraction(a) + Fraction(b)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-(2.0**200), 2.0**200), max_size=20))
def test_exact_sums(terms):
    terms = [t for t in terms if t == 0 or abs(t) > 2.0**-300]
    value, residual, bound = compensated.exact_sum(terms)
    exact = sum(map(Fraction, terms), Fraction(0))
    assert value == math.fsum(terms)
    assert abs(exact - Fraction(value) - Fraction(residual)) <= Fraction(bound)
    assert bound <= 2.0**-52 * abs(residual)


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.booleans(),
)
def test_exact_moments(row, centred):
    mean, variance = rational.exact_moments(np.array(row, np.float32), centred)
    exact = [Fraction(v) for v in row]
    wanted = sum(exact, Fraction(0)) / len(exact) if centred else Fraction(0)
    assert mean == wanted
    assert variance == sum(((v - wanted) ** 2 for v in exact), Fraction(0)) / len(exact)
    single = np.array(row, np.float32)
    assert rational.exact_total(single) == sum(exact, Fraction(0))
    assert rational.exact_product(single, single, single) == sum((v**3 for v in exact), Fraction(0))


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 200), st.integers(0, 2**32))
def test_compensated_sums_have_the_bound_that_is_claimed(terms, seed):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(terms) * np.exp2(rng.integers(-30, 30, terms))).astype(np.float32)
    w = rng.standard_normal((1, terms)).astype(np.float32)
    w = np.pad(w, ((0, 0), (0, -terms % compensated.LANES)))
    index, zero, out = np.arange(terms, dtype=np.int64), np.zeros(1, np.int64), np.empty((1, 2))
    compensated.sum_products(x, zero, 1, 1, index, zero, w, np.zeros(1), zero, zero, out)
    products = [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, w[0], strict=False)]
    depth = compensated.depth(terms)
    gamma = Fraction(depth, 2**53) / (1 - Fraction(depth, 2**53))
    assert abs(sum(products) - whole(out[0])) <= gamma**2 * sum(map(abs, products))
