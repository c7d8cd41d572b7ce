"""What attribution rests on: the bound for any order, which rounding an output follows, its lean."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from precision.attribution.signs import Lean, lean, leans_alike, projection
from precision.attribution.sums import any_order_bound, rows_of, sizes
from reference.tensorcore import UNITS, fused_dot, round_operand


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from(sorted(UNITS)), st.integers(-30, 30))
def test_the_bound_of_any_order_holds(terms, seed, name, scale):
    unit = UNITS[name]
    rng = np.random.default_rng(seed)
    spread = np.exp2(rng.integers(-6, 6, (2, terms)) + scale * (unit.format.name == "tf32"))
    a, b = (
        round_operand((rng.standard_normal(terms) * s).astype(np.float32), unit.format, "RNE") for s in spread
    )
    order = rng.permutation(terms)
    cut = int(rng.integers(0, terms + 1))
    found = sum(
        (
            fused_dot(a[some], b[some], np.float32(0), unit)
            for some in (order[:cut], order[cut:])
            if some.size
        ),
        np.float32(0),
    )
    exact_sum = sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))
    count, rows = rows_of("linear", {"input": a[None], "weight": b[None]}, {}, None)
    bound = any_order_bound(*sizes(count, rows, unit.format.emin), unit)[0]
    assert abs(Fraction(float(found)) - exact_sum) <= Fraction(float(bound))


def test_the_projection_parts_two_roundings():
    rng = np.random.default_rng(0)
    change, value = rng.standard_normal((2, 4000))
    size = np.abs(rng.standard_normal(4000)) + 5.0
    noise = 0.3 * rng.standard_normal(4000)

    def of(left_over, change, some=slice(None)):
        return projection(left_over[some], change[some], value[some], size[some])

    assert not of(noise, change).refutes
    assert of(noise, change).parted
    assert of(change + noise, change).refutes
    few = slice(0, 12)
    assert not of(noise * 100, change, few).parted
    assert not of(noise, np.zeros(4000)).parted
    assert not of(noise, np.zeros(4000)).refutes
    spoilt = change + noise
    spoilt[3] = np.nan
    assert of(spoilt, change).refutes
    # A pull to one side, which accumulation makes as well, proves no rounding.
    pull = np.sign(value) * size
    assert not of(3.0 * pull + noise, change + pull).refutes
    assert not of(3.0 * pull, pull).parted


def test_leans():
    model = [Lean(100.0, 0.5), Lean(30.0, 0.5)]
    assert leans_alike(Lean(101.0, 0.5), model) is True
    assert leans_alike(Lean(15.0, 0.5), model) is True  # split into more slices
    assert leans_alike(Lean(-40.0, 0.5), model) is False
    assert leans_alike(Lean(200.0, 0.5), model) is False
    assert leans_alike(Lean(0.1, 0.5), model) is False
    assert leans_alike(Lean(0.1, 0.5), [Lean(0.2, 0.5)]) is None
    assert leans_alike(Lean(50.0, 40.0), model) is None
    assert leans_alike(Lean(np.nan, np.nan), model) is None
    value, size = np.array([2.0, -2.0, 0.0]), np.full(3, 2.0)
    found = lean(np.array([-(2.0**-23), 2.0**-23, 1.0]), value, size)
    assert found.mean == 1.0  # toward zero, in 2^-24 of the size; a sum of zero has no side
