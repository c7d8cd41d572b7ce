"""Optimizers, running statistics, dropout, columns: planted variants are told from the real formulas."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precision.inputs import Array
from precision.studies import momentum, same_columns, same_dropout, same_norm
from reference.optimizer_formulas import Sgd
from reference.trajectories import sgd_path

START = Array((6,), "normal").make("test/param")
GRADS = Array((8, 6), "normal").make("test/grads")
RATES = [0.1] * 8
FALLING = [0.1] * 3 + [0.01] * 5
floats = st.floats(-1e10, 1e10, width=32)


@given(floats, floats, floats)
def test_fused_rounds_once(a, b, c):
    arrays = [np.float32([x]) for x in (a, b, c)]
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    got = Fraction(float(momentum.fused(*arrays)[0]))
    near = np.float32(float(got))
    around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    assert abs(got - exact) == min(abs(Fraction(float(x)) - exact) for x in around)


def test_fused_where_a_double_rounding_would_show():
    # 1 + 2^-24 exactly half way, and a crumb that float64 drops: the nearest float32 is the upper one.
    a, b, c = np.float32([2.0**-24 * (1 + 2.0**-23)]), np.float32([1 + 2.0**-23]), np.float32([1.0])
    assert momentum.fused(a, b, c) == np.float32(1 + 2.0**-23)
    crumb = np.float32([2.0**-30])
    assert momentum.fused(crumb, crumb, np.float32([1.0])) == 1.0
    half = np.float32([2.0**-12])
    assert momentum.fused(half, half, np.float32([1.0])) == 1.0  # a tie, to even
    over = np.float32([2.0**-12 * (1 + 2.0**-23)])
    assert momentum.fused(over, over, np.float32([1.0])) == np.float32(1 + 2.0**-23)


def test_exact_paths_are_those_of_the_reference():
    rule = Sgd(lr=0.1, momentum=0.9, nesterov=True)
    known = sgd_path(START, list(GRADS), rule)
    for name in momentum.RULES:
        path = momentum.exact_path(START, GRADS, RATES, 0.9, name)
        for step, truth in enumerate(known):
            assert np.allclose(path[step], truth.value, rtol=1e-15, atol=0)


def test_paths_part_with_the_rate_and_not_before():
    torch, keras = (momentum.exact_path(START, GRADS, FALLING, 0.9, name) for name in ("torch", "keras"))
    assert momentum.first_parted(torch, keras) == 4
    tf1 = momentum.exact_path(START, GRADS, FALLING, 0.9, "tf1")
    assert momentum.first_parted(torch, tf1) is None


@pytest.mark.parametrize("rule", momentum.RULES)
def test_every_replay_is_near_its_exact_path_and_only_its_own(rule):
    exact = {name: momentum.exact_path(START, GRADS, FALLING, 0.9, name) for name in ("torch", "keras")}
    own, other = ("keras", "torch") if rule == "keras" else ("torch", "keras")
    for each in momentum.replays(START, GRADS, FALLING, 0.9, rule):
        assert np.abs(each.path - exact[own]).max() < 1e-5
        assert np.abs(each.path - exact[other]).max() > 0.1


@pytest.mark.parametrize("rule", momentum.RULES)
def test_a_planted_formula_is_found_and_a_planted_fault_is_not(rule):
    for each in momentum.replays(START, GRADS, FALLING, 0.9, rule):
        found = momentum.found(each.path, momentum.replays(START, GRADS, FALLING, 0.9, rule))
        assert found is not None
        assert np.array_equal(found.path, each.path)
        off = each.path.copy()
        off[5, 2] = np.nextafter(off[5, 2], np.float32(np.inf))
        assert momentum.found(off, momentum.replays(START, GRADS, FALLING, 0.9, rule)) is None
    others = [name for name in momentum.RULES if name != rule]
    path = next(iter(momentum.replays(START, GRADS, FALLING, 0.9, rule))).path
    assert all(momentum.found(path, momentum.replays(START, GRADS, FALLING, 0.9, n)) is None for n in others)


@pytest.mark.parametrize("convention", same_norm.CONVENTIONS)
@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
def test_the_planted_convention_of_a_running_statistic_is_named(convention, statistic):
    x = Array((2, 3, 3, 3), "uniform").make("test/norm")
    wide = x.astype(np.float64)
    new = wide.mean(axis=(0, 2, 3)) if statistic == "running_mean" else wide.var(axis=(0, 2, 3))
    if statistic == "running_var" and convention != "keras":
        new = new * 18 / 17
    share = 0.1 if convention == "torch" else 0.9
    output = ((1 - share) * float(statistic == "running_var") + share * new).astype(np.float32)
    named = {name for name, m in same_norm.conventions(x, output, statistic, 0.1) if m == 0.1}
    assert convention in named
    if statistic == "running_var":
        assert named == {convention}
    assert same_norm.conventions(x, output * np.float32(1.01), statistic, 0.1) == []


def test_a_convention_needs_both_statistics():
    mean, var = [("torch", 0.1), ("keras", 0.9)], [("keras", 0.1), ("torch", 0.1)]
    assert same_norm._convention(mean, var) == ["torch"]
    assert same_norm._convention(mean, [("keras", 0.1)]) == []


@pytest.mark.parametrize("p", same_dropout.RATES)
def test_the_planted_scaling_is_found(p):
    x = np.abs(Array((512,), "normal").make("test/dropout")) + np.float32(1e-3)
    mask = Array((512,), "integers", {"low": 0, "high": 1}).make("test/mask") > 0
    ways = same_dropout._scalings(p)
    for name, scale in ways.items():
        output = np.where(mask, scale(x), np.float32(0))
        assert name in same_dropout.scaling(x, output, mask, p)
    assert same_dropout.scaling(x, np.where(mask, x, 0).astype(np.float32), mask, p) == []
    division, product = ways["x / float32(1 - p)"](x), ways["x · float32(1 / (1 - p))"](x)
    assert np.array_equal(division, product) == (p == 0.5)


def test_a_mask_of_another_rate_is_unlikely():
    assert abs(same_dropout.deviations(2048, 4096, 0.5)) == 0
    assert abs(same_dropout.deviations(int(4096 * 0.7), 4096, 0.5)) > same_dropout.UNLIKELY


def test_the_gradient_of_a_softmax_column_against_mpmath():
    logits = Array((3, 4), "normal", {"scale": 3.0}).make("test/logits")
    truth, limit = same_columns.softmax_column(logits)
    context = mpmath.mp.clone()
    context.dps = 40
    for row, wanted, bound in zip(logits, truth, limit, strict=True):
        powers = [context.exp(context.mpf(float(x))) for x in row]
        s = [power / context.fsum(powers) for power in powers]
        for j in range(4):
            exact = s[0] * ((j == 0) - s[j])
            assert abs(exact - float(wanted[j])) <= abs(exact) * 1e-15
            assert float(bound[j]) < 1e-5 * float(s[j])


def test_softmax_gradients_in_float32_stay_within_the_bound_and_other_functions_do_not():
    logits = Array((64, 10), "normal").make("test/many")
    truth, limit = same_columns.softmax_column(logits)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    s = powers / powers.sum(axis=1, keepdims=True)
    column = (np.arange(10) == 0).astype(np.float32)
    ours = s * (column - s[:, :1])
    assert (np.abs(ours - truth) <= limit).all()
    assert not (np.abs(s * (column - s[:, 1:2]) - truth) <= limit).all()  # another column
    assert not (np.abs(ours * np.float32(1.001) - truth) <= limit).all()
