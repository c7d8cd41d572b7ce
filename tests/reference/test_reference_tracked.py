"""Running error analysis holds what float32 makes of any expression, and is not idle."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.tracked import Rules, Tracked, gamma

F = np.float32
U = 2.0**-24


def exact(expression, leaves):
    """A nested tuple in fractions; the root of its own."""
    if isinstance(expression, int):
        return leaves[expression]
    kind, *parts = expression
    a, *rest = (exact(part, leaves) for part in parts)
    if kind == "root":
        scaled = max(a, Fraction(0)) * 4**200
        return Fraction(math.isqrt(int(scaled)), 2**200)
    return {"+": lambda b: a + b, "-": lambda b: a - b, "*": lambda b: a * b, "/": lambda b: a / b}[kind](
        *rest
    )


def computed(expression, leaves, root):
    """The same in any arithmetic that has operators."""
    if isinstance(expression, int):
        return leaves[expression]
    kind, *parts = expression
    a, *rest = (computed(part, leaves, root) for part in parts)
    if kind == "root":
        return root(a)
    operators = {"+": a.__add__, "-": a.__sub__, "*": a.__mul__, "/": a.__truediv__}
    return operators[kind](*rest)


expressions = st.recursive(
    st.integers(0, 3),
    lambda part: st.one_of(
        st.tuples(st.sampled_from("+-*/"), part, part),
        st.tuples(st.just("root"), st.tuples(st.just("*"), part, part)),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(expressions, st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4))
def test_tracked_arithmetic_holds_what_float32_makes_of_any_expression(expression, values):
    rules = Rules(U, lambda n: gamma(n, U), 8 * U, "two_pass")
    leaves = [np.array([v], F) for v in values]
    with np.errstate(all="ignore"):
        tracked = computed(expression, [Tracked.given(leaf, rules) for leaf in leaves], lambda a: a.root())
        single = computed(expression, leaves, lambda a: np.sqrt(np.maximum(a, F(0))))
    if not np.isfinite(tracked.error[0]):
        return
    assert abs(float(single[0]) - tracked.value[0]) <= tracked.error[0]
    try:
        true = exact(expression, [Fraction(v) for v in values])
    except ZeroDivisionError:
        return
    assert abs(true - Fraction(float(tracked.value[0]))) <= Fraction(float(tracked.error[0]))


def test_tracked_arithmetic_is_not_idle():
    """Roundings of one operation reach half its bound; a divisor that may be zero has none."""
    rules = Rules(U, lambda n: gamma(n, U), 8 * U, "two_pass")
    rng = np.random.default_rng(1)
    a, b = (rng.random(1000).astype(F) + F(1) for _ in range(2))
    left, right = Tracked.given(a, rules), Tracked.given(b, rules)
    for single, tracked in ((a + b, left + right), (a * b, left * right), (a / b, left / right)):
        share = abs(single - tracked.value) / tracked.error
        assert 0.5 < share.max() <= 1
    with np.errstate(all="ignore"):
        assert np.isinf((left / (left - left)).error).all()
        assert np.isinf((left * F(3e38) * F(4)).error).all()
    assert float((1.0 - left).value[0]) == 1.0 - float(a[0])
    with np.errstate(all="ignore"):
        vast = Tracked.given(F([3e38, 3e38, -3e38, -3e38]), rules)
        assert vast.total().value == 0
        assert np.isinf(vast.total().error)
    whole = left.total()
    chain = np.cumsum(a, dtype=F)[-1]
    assert abs(float(chain) - float(whole.value)) <= float(whole.error) < 1e-3 * float(whole.value)
