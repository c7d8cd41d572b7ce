"""Statistics of accumulation: p-values are uniform under rounding to nearest, truncation is found, and where
nothing can be told that is what is said.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from precision.judging.accumulation_evidence import ALARM, accumulation_evidence
from precision.judging.mean_test import mean_test, normal_of_t, same_sums
from precision.orders.moments import error_variance
from reference import evaluate
from reference.orders import blocked, pairwise, sequential
from reference.replay import replay
from reference.tensorcore import matmul, round_operand, unit_of
from reference.tree import SummationTree

LAYERS = 200
KOLMOGOROV = 1.63
"""sup |F_n - F| sqrt(n) that uniform p-values exceed in one case of 100."""
MAKE = {
    "uniform": lambda rng, *s: rng.random(s),
    "normal": lambda rng, *s: rng.standard_normal(s),
    "offset": lambda rng, *s: 10.0 + rng.random(s),
}
TREES = {
    "fma chain": sequential,
    "chain": lambda n: sequential(n, fused=False),
    "pairwise": lambda n: pairwise(n, fused=False),
    "blocked": lambda n: blocked(n, 32, bias=None),
}


def drawn(kind, rng, *shape):
    return MAKE[kind](rng, *shape).astype(np.float32)


def uniform_distance(p):
    p = np.sort(p)
    i = np.arange(p.size)
    return float(max(((i + 1) / p.size - p).max(), (p - i / p.size).max()) * math.sqrt(p.size))


def judged(x, w, y=None, moments=None):
    truth = evaluate("matmul", {"input": x, "other": w}, {})
    y = (torch.from_numpy(x) @ torch.from_numpy(w)).numpy() if y is None else y
    return accumulation_evidence(truth, y, x.shape[1], moments)


@pytest.mark.parametrize("order", TREES)
@pytest.mark.parametrize("kind", MAKE)
def test_p_values_are_uniform_under_rounding_to_nearest(kind, order):
    sign, size, found = [], [], []
    for seed in range(LAYERS):
        rng = np.random.default_rng([seed, 1])
        terms = int(rng.integers(20, 200))
        x, w = drawn(kind, rng, 24, terms), drawn(kind, rng, terms, 20)
        tree = TREES[order](terms)
        found.append(judged(x, w, replay(tree, x, w, threads=1), error_variance(tree, x, w)))
    sign = np.array([each.p_sign for each in found if each.p_sign is not None])
    size = np.array([each.p_size for each in found if each.p_size is not None])
    assert min(sign.size, size.size) > 0.97 * LAYERS
    assert uniform_distance(sign) < KOLMOGOROV
    assert uniform_distance(size) < KOLMOGOROV
    # Nominal: 0.1 of 200 for truncation (one side of two), 0.4 for another order.
    assert sum(each.truncates is True for each in found) <= 2
    assert sum(each.consistent is False for each in found) <= 3


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "normal")) for k in MAKE])
def test_p_values_are_uniform_for_a_framework(kind):
    found = []
    for seed in range(LAYERS):
        rng = np.random.default_rng([seed, 2])
        channels = int(rng.integers(3, 20))
        x, w = drawn(kind, rng, 1, channels, 10, 10), drawn(kind, rng, 12, channels, 3, 3)
        y = F.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
        truth = evaluate("conv2d", {"input": x, "weight": w}, {})
        found.append(accumulation_evidence(truth, y, channels * 9))
    sign = np.array([each.p_sign for each in found if each.p_sign is not None])
    assert sign.size > 0.97 * LAYERS
    assert uniform_distance(sign) < KOLMOGOROV
    assert not any(each.truncates for each in found)
    assert sum(each.consistent is False for each in found) <= 2


def test_the_distance_rejects_what_is_not_uniform():
    rng = np.random.default_rng(3)
    assert uniform_distance(rng.random(LAYERS)) < KOLMOGOROV
    assert uniform_distance(rng.random(LAYERS) ** 1.5) > KOLMOGOROV
    assert uniform_distance(np.where(rng.random(LAYERS) < 0.2, 1e-3, rng.random(LAYERS))) > KOLMOGOROV


@pytest.mark.parametrize(
    ("architecture", "bias", "scatter"), [("ampere", 246.8, 7.6), ("hopper", 132.3, 4.9)]
)
def test_truncation_is_found_with_its_sign_and_its_growth(architecture, bias, scatter):
    unit, counts, leans = unit_of(architecture, "tf32"), (128, 256, 512, 1152), []
    for terms in counts:
        rng = np.random.default_rng(terms)
        x, w = (round_operand(drawn("uniform", rng, 48, terms), unit.format, "RNE") for _ in range(2))
        found = judged(x, w.T.copy(), matmul(x, w.T.copy(), unit))
        assert found.truncates is True
        assert found.consistent is False
        assert found.mean_in_standard_errors < -10
        assert "an accumulator that truncates" in found.words
        leans.append(found.toward_zero)
    # The model's own figure at K = 1152, with the scatter of one output.
    assert abs(leans[-1] - bias) < scatter
    slopes = np.diff(leans) / np.diff(counts)
    assert np.all(np.abs(slopes / (bias / 1152) - 1.0) < 0.15)  # like K, not its root


@pytest.mark.parametrize("architecture", ["ampere", "hopper"])
@pytest.mark.parametrize("kind", ["tf32", "bf16", "fp16"])
def test_truncation_is_found_in_sums_of_both_signs(architecture, kind):
    unit = unit_of(architecture, kind)
    for terms in (128, 1152):
        rng = np.random.default_rng(terms)
        x = round_operand(rng.standard_normal((48, terms)).astype(np.float32), unit.format, "RNE")
        w = round_operand(rng.standard_normal((terms, 48)).astype(np.float32), unit.format, "RNE")
        if kind != "bf16":  # its products are so short that sums of 128 are nearly exact
            assert judged(x, w, matmul(x, w, unit)).truncates is True
        assert judged(x, w).truncates is not True


def toward_zero(x, w):
    """The sums in the order of the terms, every addition truncated."""
    total = np.zeros((x.shape[0], w.shape[1]))
    for k in range(x.shape[1]):
        exact = total + np.float64(x[:, k, None]) * np.float64(w[k])
        near = exact.astype(np.float32)
        total = np.where(np.abs(near) > np.abs(exact), np.nextafter(near, np.float32(0)), near).astype(float)
    return total.astype(np.float32)


def test_one_truncated_rounding_is_enough_to_be_seen():
    rng = np.random.default_rng(5)
    x, w = drawn("normal", rng, 60, 40), drawn("normal", rng, 40, 50)
    assert judged(x, w, toward_zero(x, w)).truncates is True
    truth = evaluate("matmul", {"input": x, "other": w}, {})
    last = accumulation_evidence(truth, truth.round(np.float32, "RZ"), 40)
    assert last.truncates is True
    up = accumulation_evidence(truth, truth.round(np.float32, "RU"), 40)
    assert up.truncates is False
    best = accumulation_evidence(truth, truth.round(np.float32), 40)
    assert (best.truncates, best.consistent) == (False, True)


def test_the_variance_of_a_tree_tells_it_from_another():
    rng = np.random.default_rng(6)
    x, w = drawn("uniform", rng, 40, 300), drawn("uniform", rng, 300, 40)
    chain, halves = sequential(300), pairwise(300)
    y = replay(chain, x, w, threads=1)
    assert judged(x, w, y, error_variance(chain, x, w)).consistent is True
    other = judged(x, w, y, error_variance(halves, x, w))
    assert other.consistent is False
    assert other.p_size < ALARM
    assert "not what this order makes" in other.words


def test_a_wrong_number_is_not_consistent():
    rng = np.random.default_rng(7)
    x, w = drawn("normal", rng, 40, 60), drawn("normal", rng, 60, 40)
    y = (x @ w) * np.float32(1 + 1e-5)
    found = judged(x, w, y)
    assert found.consistent is False
    assert found.truncates is False  # away from zero
    noisy = (x @ w + 1e-4 * rng.standard_normal((40, 40))).astype(np.float32)
    assert "in any order" in judged(x, w, noisy).words
    assert judged(x, w, noisy).consistent is False


def nothing_to_tell(rng):
    row = rng.random((1, 77))
    same = np.repeat(row, 30, 0)
    yield "a constant array", np.full((30, 77), 1.1), np.full((77, 40), 0.3)
    yield "nearly constant", 1.1 + 1e-6 * rng.random((30, 77)), 0.3 + 1e-7 * rng.random((77, 40))
    yield "equal rows, one column", np.repeat(row, 300, 0), rng.random((77, 1))
    yield "nearly equal rows", same * (1 + 1e-7 * rng.random((30, 77))), rng.random((77, 8))
    yield "few sums", rng.random((3, 77)), rng.random((77, 3))
    yield "a long sum that stagnates", 1000 + 1e-2 * rng.random((300, 2000)), np.ones((2000, 1))


def test_where_nothing_can_be_told_nothing_is_said():
    for name, wide, narrow in nothing_to_tell(np.random.default_rng(8)):
        x, w = wide.astype(np.float32), narrow.astype(np.float32)
        for y in (None, replay(sequential(x.shape[1]), x, w, threads=1)):
            found = judged(x, w, y)
            assert (found.truncates, found.consistent, found.p_sign) == (None, None, None), name
            assert "tells nothing" in found.words


def test_exact_sums_have_no_error_to_test():
    rng = np.random.default_rng(9)
    x, w = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((30, 77), (77, 40)))
    found = judged(x, w)
    assert (found.truncates, found.consistent, found.rms) == (None, None, None)
    assert "no error to test" in found.words
    tiny = judged(x * np.float32(1e-38), w)
    assert tiny.outputs == 0


def test_outputs_that_depend_on_each_other_count_as_one():
    rng = np.random.default_rng(10)
    x = np.repeat(rng.random((1, 77)), 64, 0)
    x[:, -1] = rng.random(64)  # all partial sums but the last are common to a column
    found = judged(x.astype(np.float32), rng.random((77, 40)).astype(np.float32))
    assert found.independent <= 40
    shape, places = (40, 50), np.arange(2000)
    wrong = naive = told = 0
    for seed in range(LAYERS):
        rng = np.random.default_rng([seed, 11])
        values = (rng.standard_normal((40, 50)) + 0.7 * rng.standard_normal((40, 1))).reshape(-1)
        found = mean_test(values, shape, places, places)
        told += found is not None
        wrong += found is not None and found.p < 0.01
        naive += abs(values.mean() / values.std() * math.sqrt(2000)) > 2.576
    assert naive > 0.3 * LAYERS  # the plain t-test is fooled
    assert told > 0.95 * LAYERS
    assert wrong <= 8
    first, second, third, fourth = same_sums(np.array([3.0, 6.0, 5.0, 0.75]))
    assert first == second == fourth != third
    # Repeated sums alone: half of the columns stand twice.
    twice = np.tile(np.random.default_rng(12).random((77, 20)), 2).astype(np.float32)
    assert judged(np.random.default_rng(13).random((30, 77)).astype(np.float32), twice).independent == 600


def test_variances_against_exact_arithmetic():
    """A chain of two products: the error's square over all data is the variance, and exact steps count 0."""
    rng = np.random.default_rng(14)
    x, w = drawn("uniform", rng, 4000, 2), drawn("uniform", rng, 2, 1)
    for tree in (sequential(2), sequential(2, fused=False)):
        y = replay(tree, x, w, threads=1)[:, 0]
        exact = [
            sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(r, w[:, 0], strict=True)) for r in x
        ]
        square = np.array([float((Fraction(float(a)) - b) ** 2) for a, b in zip(y, exact, strict=True)])
        ratio = square / error_variance(tree, x, w)[:, 0]
        assert abs(ratio.mean() - 1.0) < 4.0 * ratio.std() / math.sqrt(4000)
    whole = np.ones((3, 5), np.float32)
    assert not error_variance(sequential(5, fused=False), whole, whole.T.copy()).any()


def test_students_t_as_a_normal_number():
    # Quantiles of probability 0.975 and 0.9995: tables of Student's t.
    for freedom, t, z in ((15, 2.1314, 1.95996), (15, 4.0728, 3.29053), (40, 3.5510, 3.29053)):
        assert abs(normal_of_t(t, freedom) - z) < 0.01
        assert normal_of_t(-t, freedom) == -normal_of_t(t, freedom)


def test_what_does_not_fit_is_refused():
    truth = evaluate(
        "matmul", {"input": np.ones((2, 3), np.float32), "other": np.ones((3, 2), np.float32)}, {}
    )
    y = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="have one shape"):
        accumulation_evidence(truth, y[:1], 3)
    with pytest.raises(ValueError, match="have one shape"):
        accumulation_evidence(truth, y, 3, np.ones(4))
    with pytest.raises(ValueError, match="at least one term"):
        accumulation_evidence(truth, y, 0)
    wide = SummationTree(sequential(3).root, 3, False, accumulator="binary64")
    with pytest.raises(ValueError, match="judge without the tree"):
        error_variance(wide, np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))
