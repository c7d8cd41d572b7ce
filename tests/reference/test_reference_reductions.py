"""Sums, means, variances and deviations along axes, and batch statistics, against fractions and torch."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import batch_statistics as batch
from reference import reductions
from reference.truth import Truth, UncertainError

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=150, deadline=None)
PRECISE = Fraction(1, 2**400)
OPS = {
    "sum": reductions.sum_,
    "mean": reductions.mean,
    "var": reductions.var,
    "std": reductions.std,
}


def root(number):
    """sqrt(number) within 2**-500, relatively; exact where it is a fraction."""
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if Fraction(top, bottom) ** 2 == number:
        return Fraction(top, bottom)
    shift = 2000
    return Fraction(math.isqrt((number.numerator << shift) // number.denominator), 1 << shift // 2)


def exact_of(op, values, correction):
    xs = [Fraction(float(v)) for v in values]
    total = sum(xs, Fraction(0))
    if op == "sum":
        return total
    mean = total / len(xs)
    if op == "mean":
        return mean
    variance = sum(((v - mean) ** 2 for v in xs), Fraction(0)) / (len(xs) - correction)
    return root(variance) if op == "std" else variance


@SETTINGS
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.data(),
    st.sampled_from(KINDS),
    st.sampled_from(sorted(OPS)),
    st.integers(0, 2**32),
)
def test_reductions_of_any_axes(data, contradictions, shape, draw, kind, op, seed):
    x = data(kind, tuple(shape), np.random.default_rng(seed))
    axes = draw.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))
    dim = draw.draw(st.sampled_from([[a - x.ndim * (seed % 2) for a in axes], None]))
    axes = tuple(range(x.ndim)) if dim is None else tuple(axes)
    count = math.prod(x.shape[a] for a in axes)
    correction = draw.draw(st.integers(0, min(2, count - 1)))
    params = {"correction": correction} if op in ("var", "std") else {}
    keepdim = draw.draw(st.booleans())
    truth = OPS[op](x, dim=dim, keepdim=keepdim, **params)
    assert truth.value.shape == x.max(axis=axes, keepdims=keepdim).shape
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = x.transpose([*kept, *axes]).reshape(-1, count)
    exact = [exact_of(op, row, correction) for row in rows]
    assert contradictions(truth, exact, PRECISE) == []
    for i, number in enumerate(exact):
        centre, radius = truth.refine(i, 150)
        assert radius == 0 or radius <= abs(centre) / 2**150
        assert abs(centre - number) <= radius + abs(number) * PRECISE
        size = sum((abs(Fraction(float(v))) for v in rows[i]), Fraction(0))
        size = {"sum": size, "mean": size / count}.get(op, number)
        assert size <= Fraction(float(truth.magnitude.ravel()[i])) <= size * Fraction(1001, 1000)


def test_a_planted_error_is_caught(data, contradictions):
    x = data("normal", (40, 30), np.random.default_rng(0))
    truth = reductions.std(x, dim=1)
    exact = [exact_of("std", row, 1) for row in x]
    assert contradictions(truth, exact, PRECISE) == []
    wrong = Truth(truth.value, truth.residual + 3e-29, truth.bound, truth.magnitude)
    assert len(contradictions(wrong, exact, PRECISE)) > 20
    tight = Truth(truth.value, truth.residual, truth.bound / 2**20, truth.magnitude)
    assert len(contradictions(tight, exact, PRECISE)) > 20


def test_special_values():
    inf, nan = np.inf, np.nan
    x = np.float32([[1, inf, 2], [inf, -inf, 0], [nan, 1, 2], [3, 3, 3]])
    assert np.array_equal(reductions.sum_(x, dim=1).value, [inf, nan, nan, 9], equal_nan=True)
    assert np.array_equal(reductions.mean(x, dim=1).value, [inf, nan, nan, 3], equal_nan=True)
    assert np.array_equal(reductions.var(x, dim=1).value, [nan, nan, nan, 0], equal_nan=True)
    assert np.array_equal(reductions.std(x, dim=1).value, [nan, nan, nan, 0], equal_nan=True)
    one = reductions.var(np.float32([[1, 2], [1, 1]]), dim=1, correction=2)
    assert np.array_equal(one.value, [inf, nan], equal_nan=True)
    assert reductions.sum_(np.zeros((0, 2), np.float32), dim=0).value.tolist() == [0.0, 0.0]
    assert np.isnan(reductions.mean(np.zeros((0, 2), np.float32), dim=0).value).all()
    assert np.isnan(reductions.std(np.zeros((0, 2), np.float32), dim=0).value).all()
    assert reductions.sum_(np.zeros((2, 0), np.float32), dim=0).value.shape == (0,)
    negative = reductions.sum_(np.float32([-0.0, -0.0]))
    assert (negative.value.item(), np.signbit(negative.value).item()) == (0.0, False)
    assert reductions.sum_(np.float32([3e38, 3e38, -3e38])).value == float(np.float32(3e38))
    assert reductions.sum_(np.float32(5.0)).round().item() == 5.0


def test_ties_of_a_mean_and_a_deviation_are_exact():
    tie = np.float32([1.0, 1.0 + 2.0**-23])
    truth = reductions.mean(tie)
    assert (truth.value.item(), truth.bound.item(), truth.round().item()) == (1 + 2.0**-24, 0.0, 1.0)
    truth = reductions.std(np.float32([3, -3, 3, -3]), correction=0)
    assert (truth.value.item(), truth.bound.item()) == (3.0, 0.0) or truth.round().item() == 3.0
    assert truth.refine(0, 10) == (3, 0)


@pytest.mark.parametrize("dim", [None, 0, (1, 2), [-1]])
def test_torch_float64_agrees(data, dim):
    x = data("normal", (4, 5, 6), np.random.default_rng(1))
    t = torch.tensor(x).double()
    for correction in (0, 1):
        std = reductions.std(x, dim=dim, correction=correction)
        assert abs(std.error(torch.std(t, dim, correction=correction).numpy())).max() < 1e-14
    assert abs(reductions.sum_(x, dim=dim).error(torch.sum(t, dim).numpy())).max() < 1e-13
    assert abs(reductions.mean(x, dim=dim).error(torch.mean(t, dim).numpy())).max() < 1e-14


BAD = [
    (reductions.sum_, {"dim": 3}, "dim"),
    (reductions.sum_, {"dim": [0, -3]}, "once"),
    (reductions.mean, {"dim": 1.5}, "dim"),
    (reductions.mean, {"dim": True}, "dim"),
    (reductions.mean, {"dim": "1"}, "dim"),
    (reductions.var, {"correction": -1}, "correction"),
    (reductions.std, {"correction": 0.5}, "correction"),
    (batch.batch_norm_mean, {"layout": "NC"}, "layout"),
    (batch.batch_norm_invstd, {"eps": -1.0}, "eps"),
]


@pytest.mark.parametrize(("function", "params", "word"), BAD)
def test_bad_parameters_are_refused_in_one_line(function, params, word):
    with pytest.raises(ValueError, match=word) as caught:
        function(np.ones((2, 3, 4), np.float32), **params)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="int64"):
        function(np.ones((2, 3, 4), np.int64))


@SETTINGS
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    st.sampled_from(KINDS),
    st.sampled_from(batch.CONVENTIONS),
    st.sampled_from([0.1, 0.9, 0.99, 1.0, 0.0, 0.5]),
    st.sampled_from([1e-5, 1e-3, 0.0]),
    st.integers(0, 2**32),
)
def test_batch_statistics(data, contradictions, shape, kind, convention, momentum, eps, seed):
    rng = np.random.default_rng(seed)
    x, old = data(kind, shape, rng), data(kind, shape[1:2], rng)
    channels = [x[:, c].ravel() for c in range(shape[1])]
    count = channels[0].size
    means = [exact_of("mean", c, 0) for c in channels]
    variances = [exact_of("var", c, 0) for c in channels]
    assert contradictions(batch.batch_norm_mean(x), means) == []
    assert contradictions(batch.batch_norm_var(x), variances) == []
    totals = [v + Fraction(eps) for v in variances]
    invstd = batch.batch_norm_invstd(x, eps=eps)
    known = np.array([t > 0 for t in totals])
    assert np.isinf(invstd.value[~known]).all()
    part = invstd.arranged(lambda a: a[known])
    assert contradictions(part, [1 / root(t) for t in totals if t > 0], PRECISE) == []
    new = Fraction(momentum) if convention == "torch" else 1 - Fraction(momentum)
    olds = [Fraction(float(v)) for v in old]
    params = {"momentum": momentum, "convention": convention}
    truth = batch.batch_norm_running_mean(x, old, **params)
    assert contradictions(truth, [(1 - new) * o + new * m for o, m in zip(olds, means, strict=True)]) == []
    if convention == "torch" and count == 1:
        with pytest.raises(ValueError, match="unbiased"):
            batch.batch_norm_running_var(x, old, **params)
        return
    scale = 1 if convention == "keras" else Fraction(count, max(1, count - 1))
    truth = batch.batch_norm_running_var(x.transpose(0, 2, 1), old, layout="NHWC", **params)
    wanted = [(1 - new) * o + new * scale * v for o, v in zip(olds, variances, strict=True)]
    assert contradictions(truth, wanted) == []
    for i, number in enumerate(wanted):
        assert truth.refine(i, 100) == (number, 0)


def test_running_statistics_of_torch_float64(data):
    rng = np.random.default_rng(2)
    x, mean, variance = (
        data("normal", (4, 3, 5, 5), rng),
        data("normal", (3,), rng),
        data("uniform", (3,), rng),
    )
    found = [torch.tensor(a).double() for a in (mean, variance)]
    torch.nn.functional.batch_norm(torch.tensor(x).double(), *found, training=True, momentum=0.3)
    truths = (
        batch.batch_norm_running_mean(x, mean, momentum=0.3),
        batch.batch_norm_running_var(x, variance, momentum=0.3),
    )
    for truth, tensor in zip(truths, found, strict=True):
        assert abs(truth.error(tensor.numpy())).max() < 1e-15
        assert truth.tiers["exact"] == 0


def test_running_statistics_that_are_not_finite_or_not_possible():
    x = np.float32([[1, np.inf, 1], [2, 1, 1]])
    truth = batch.batch_norm_running_mean(x, np.float32([0, 0, np.nan]))
    assert np.array_equal(np.isfinite(truth.value), [True, False, False])
    assert truth.value[1] == np.inf
    assert np.array_equal(np.isnan(batch.batch_norm_running_var(x, np.ones(3)).value), [False, True, False])
    with pytest.raises(ValueError, match="running_var"):
        batch.batch_norm_running_var(x, np.ones(2))
    with pytest.raises(ValueError, match="convention"):
        batch.batch_norm_running_var(x, np.ones(3), convention="onnx")
    for momentum in (1.5, -0.1, "a", float("nan"), True):
        with pytest.raises(ValueError, match="momentum"):
            batch.batch_norm_running_mean(x, np.ones(3), momentum=momentum)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "wide", "cancelling", "integers"])
@pytest.mark.parametrize("op", sorted(OPS))
def test_many_rows(data, contradictions, kind, op):
    x = data(kind, (26_000, 6), np.random.default_rng(3))
    truth = OPS[op](x, dim=1)
    try:
        assert contradictions(truth, [exact_of(op, row, 1) for row in x], PRECISE) == []
    except UncertainError as unsure:  # pragma: no cover
        raise AssertionError(str(unsure)) from unsure
