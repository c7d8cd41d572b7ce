"""The parts of an error add up to it exactly, and each is what it is called."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precision.judging.budget import CAUSES, Budget, Level, budget
from reference import evaluate
from reference.formats import BFLOAT16, round_to
from reference.orders import pairwise, sequential
from reference.replay import replay

SHAPES = {"input": (5, 64), "weight": (7, 64)}


def arrays_of(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, shape in SHAPES.items()}


def added(arrays, tree):
    return replay(tree, arrays["input"], np.ascontiguousarray(arrays["weight"].T))


def exact(level, index):
    return Fraction(float(level.value[index])) + Fraction(float(level.residual[index]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-30, 1.0, 1e15]))
def test_the_parts_add_up_to_the_error_exactly(seed, scale):
    arrays = arrays_of(seed, scale)
    output = added(arrays, sequential(64))
    low = {name: round_to(a, BFLOAT16).astype(np.float32) for name, a in arrays.items()}
    other = {**arrays, "weight": arrays["weight"] * np.float32(1.5)}
    found = budget(
        evaluate("linear", arrays, {}),
        output,
        meant=evaluate("linear", other, {}),
        rounded=evaluate("linear", low, {}),
        replay=added(arrays, pairwise(64)),
    )
    for index in np.ndindex(output.shape):
        steps = [
            exact(b, index) - exact(a, index) for a, b in zip(found.levels, found.levels[1:], strict=False)
        ]
        total = exact(found.levels[-1], index) - exact(found.levels[0], index)
        assert sum(steps) == total
        for cause, step in zip(CAUSES, steps, strict=True):
            assert abs(step - Fraction(float(found.part(cause)[index]))) <= Fraction(
                float(found.bound(cause)[index])
            )
    rows = found.table()
    assert abs(sum(row["share"] for row in rows) - 1.0) < 1e-9


def test_a_replay_proves_the_accumulation():
    arrays = arrays_of(1)
    output = added(arrays, sequential(64))
    found = budget(evaluate("linear", arrays, {}), output, replay=output.copy())
    table = {row["cause"]: row for row in found.table()}
    assert table["accumulation"]["evidence"] == table["unexplained"]["evidence"] == "proved"
    assert table["unexplained"]["abs_max"] == 0.0
    assert table["accumulation"]["share"] + table["output rounding"]["share"] == pytest.approx(1.0)
    assert np.abs(found.part("output rounding") / found.ulp).max() <= 0.5


def test_one_wrong_bit_is_no_proof():
    arrays = arrays_of(2)
    output = added(arrays, sequential(64))
    other = output.copy()
    other[3, 4] = np.nextafter(other[3, 4], np.float32(9e9))
    found = budget(evaluate("linear", arrays, {}), other, replay=output)
    assert found.evidence["accumulation"] == "bounded"
    assert found.evidence["unexplained"] == "none"
    assert np.count_nonzero(found.part("unexplained")) == 1


def test_without_an_order_the_bound_decides():
    arrays = arrays_of(3)
    truth, output = evaluate("linear", arrays, {}), added(arrays, sequential(64))
    worst = truth.magnitude * 64 * 2.0**-24
    assert budget(truth, output, worst=worst).evidence["accumulation"] == "bounded"
    far = output + np.float32(0.5)
    found = budget(truth, far, worst=worst)
    assert found.evidence["unexplained"] == "none"
    table = {row["cause"]: row for row in found.table()}
    assert table["unexplained"]["share"] == pytest.approx(1.0, abs=1e-3)
    assert table["accumulation"]["share"] == 0.0


def test_semantics_and_operands_have_their_own_parts():
    arrays = arrays_of(4)
    low = {name: round_to(a, BFLOAT16).astype(np.float32) for name, a in arrays.items()}
    rounded = evaluate("linear", low, {})
    output = added(low, sequential(64))
    found = budget(evaluate("linear", arrays, {}), output, rounded=rounded, replay=output)
    table = {row["cause"]: row for row in found.table()}
    assert table["operand rounding"]["share"] > 0.999
    assert table["semantics"]["share"] == 0.0
    assert np.allclose(found.part("operand rounding"), rounded.value - evaluate("linear", arrays, {}).value)


def test_no_error_has_no_shares():
    arrays = {"input": np.ones((2, 4), np.float32), "weight": np.ones((3, 4), np.float32)}
    output = np.full((2, 3), 4.0, np.float32)
    found = budget(evaluate("linear", arrays, {}), output, replay=output)
    assert all(row["share"] == row["rms_ulp"] == row["abs_max"] == 0.0 for row in found.table())


def test_bad_budgets_are_refused():
    level = Level.of_output(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="7 levels"):
        Budget((level,), {}, np.ones(3))
    with pytest.raises(ValueError, match="evidence"):
        Budget((level,) * 7, {"semantics": "sure"}, np.ones(3))
    arrays = arrays_of(5)
    with pytest.raises(ValueError, match="one shape"):
        budget(evaluate("linear", arrays, {}), np.zeros((5, 6), np.float32))


def test_the_declared_function_rounded_is_not_taken_for_the_found_one():
    arrays = arrays_of(3)
    declared = evaluate("linear", arrays, {})
    other = evaluate("linear", {**arrays, "weight": arrays["weight"] * np.float32(1.5)}, {})
    found = budget(declared, other.round(np.float32), meant=other, perfect=declared.round(np.float32))
    assert (np.abs(found.part("output rounding")) <= 0.5 * other.ulp()).all()
    assert not found.part("accumulation").any()
