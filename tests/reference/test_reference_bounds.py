"""The a-priori bounds hold for any order, formula and operand rounding, and are rejected when shrunk."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from reference import bounds, formats

F = np.float32
SETTINGS = settings(max_examples=60, deadline=None)


def tree_sum(terms, rng):
    """Float32 sum of the last axis over a random binary tree."""
    parts = [terms[..., k] for k in range(terms.shape[-1])]
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False))
        right = parts.pop(j)
        parts[i] = parts[i] + right
    return parts[0]


def chain(terms):
    total = np.zeros(terms.shape[:-1], F)
    for k in range(terms.shape[-1]):
        total = total + terms[..., k]
    return total


def ordered(terms, key):
    return np.take_along_axis(terms, np.argsort(key, axis=-1), axis=-1)


ORDERS = {
    "given": lambda t, rng: chain(t),
    "reversed": lambda t, rng: chain(t[..., ::-1]),
    "largest first": lambda t, rng: chain(ordered(t, -abs(t))),
    "smallest first": lambda t, rng: chain(ordered(t, abs(t))),
    "positive first": lambda t, rng: chain(ordered(t, -t)),
    "random tree": tree_sum,
}


def products_of(data, kind, rows=6, terms=60, outputs=5, seed=0):
    rng = np.random.default_rng(seed)
    x, w = data(kind, (rows, terms), rng), data(kind, (outputs, terms), rng)
    b = data(kind, (outputs,), rng)
    arrays = {"input": x, "weight": w, "bias": b}
    terms_of = np.concatenate([x[:, None] * w, np.broadcast_to(b[:, None], (rows, outputs, 1))], axis=-1)
    return arrays, terms_of, reference.evaluate("linear", arrays, {}), rng


@SETTINGS
@given(
    st.sampled_from(["uniform", "normal", "wide", "cancelling", "subnormal"]),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(bounds.KINDS),
    st.integers(0, 2**32),
)
def test_sums_in_any_order(data, kind, order, bound_kind, seed):
    arrays, terms, truth, rng = products_of(data, kind, seed=seed)
    found = abs(truth.error(ORDERS[order](terms, rng)))
    assert (found <= reference.error_bound("linear", arrays, {}, truth, kind=bound_kind)).all()


def test_flushing_subnormals_to_zero_is_within_the_bound(data):
    arrays, _, truth, _ = products_of(data, "normal")
    tiny = {name: (a * F(2.0**-64)).astype(F) for name, a in arrays.items()} | {"bias": None}
    truth = reference.evaluate("linear", tiny, {})
    terms = tiny["input"][:, None] * tiny["weight"]
    flushed = chain(np.where(abs(terms) < 2.0**-126, F(0), terms))
    assert (flushed == 0).mean() > 0.5
    assert (abs(truth.error(flushed)) <= reference.error_bound("linear", tiny, {}, truth)).all()
    small = {
        "input": (arrays["input"] * F(2.0**-130)).astype(F),
        "weight": arrays["weight"],
    }  # flushed operands
    truth = reference.evaluate("linear", small, {})
    assert (
        abs(truth.error(np.zeros(truth.value.shape, F))) <= reference.error_bound("linear", small, {}, truth)
    ).all()


@pytest.mark.parametrize("fmt", [formats.TF32, formats.BFLOAT16])
def test_rounded_operands(data, fmt):
    arrays, _, truth, _ = products_of(data, "uniform", terms=100)
    x, w = (formats.round_nearest_even(arrays[n], fmt).astype(F) for n in ("input", "weight"))
    y = chain(x[:, None] * w) + arrays["bias"]
    plain = reference.error_bound("linear", arrays, {}, truth)
    bound = reference.error_bound("linear", arrays, {}, truth, operand_roundoff=fmt.unit_roundoff)
    assert (abs(truth.error(y)) <= bound).all()
    assert (abs(truth.error(y)) > plain).any()
    assert (bound < 3 * fmt.unit_roundoff * truth.magnitude).all()


def test_a_sum_that_stagnates_comes_near_the_deterministic_bound():
    """1 + 4096 terms of just under half an ulp: all are lost, as the bound allows."""
    x = np.full((1, 4097), 2.0**-25, F)
    x[0, 0] = 1.0
    arrays = {"input": x, "weight": np.ones((1, 4097), F)}
    truth = reference.evaluate("linear", arrays, {})
    error = abs(truth.error(chain(x[:, None] * arrays["weight"])))
    bound = reference.error_bound("linear", arrays, {}, truth)
    assert (error <= bound).all()
    assert (error > bound / 4).all()


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_shrunk_bounds_are_rejected(data, kind):
    arrays, terms, truth, _ = products_of(data, kind)
    error = abs(truth.error(chain(terms)))
    assert (error > reference.error_bound("linear", arrays, {}, truth) / 1e3).mean() > 0.5


def test_probabilistic_bounds_are_smaller_for_long_sums_and_never_larger():
    for n in (1, 10, 100, 10_000, 10**6):
        assert bounds.probabilistic_gamma(n, 2.0**-24) <= bounds.gamma(n, 2.0**-24)
    assert bounds.probabilistic_gamma(10**6, 2.0**-24) < bounds.gamma(10**6, 2.0**-24) / 100
    assert bounds.gamma(2**24, 2.0**-24) == math.inf


def test_an_order_that_may_overflow_has_no_bound():
    x = np.array([[3e38, 3e38, -3e38, -3e38]], F)
    arrays = {"input": x, "weight": np.ones((1, 4), F)}
    truth = reference.evaluate("linear", arrays, {})
    assert truth.value[0, 0] == 0
    assert np.isinf(reference.error_bound("linear", arrays, {}, truth)).all()


def newton(a):
    """1/sqrt from a table of 12 bits and one step, as rsqrtps code has it."""
    y = (1 / np.sqrt(a.astype(np.float64)) * (1 + 1.4 * 2.0**-12)).astype(F)
    return y + (y * F(0.5)) * (F(1) - (a * y) * y)


def welford(x):
    """Mean and variance of each row, one element after another."""
    mean, total = np.zeros(x.shape[0], F), np.zeros(x.shape[0], F)
    for k in range(x.shape[1]):
        d = x[:, k] - mean
        mean = mean + d / F(k + 1)
        total = total + d * (x[:, k] - mean)
    return mean, total / F(x.shape[1])


def merged(x, rng):
    """Mean and variance of each row by merging the parts of a random tree."""
    parts = [(F(1), x[:, k], np.zeros(x.shape[0], F)) for k in range(x.shape[1])]
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False))
        (na, ma, sa), (nb, mb, sb) = parts[i], parts.pop(j)
        n, d = na + nb, mb - ma
        parts[i] = n, ma + d * (nb / n), (sa + sb) + d * d * (na * nb / n)
    return parts[0][1], parts[0][2] / parts[0][0]


def normalize(x, w, b, eps, rng, variance="two_pass", folded=False, inverse=None):
    """Float32 normalization of rows with sums over random trees."""
    count = F(x.shape[1])
    mean = tree_sum(x, rng) / count
    d = x - mean[:, None]
    if variance == "welford":
        mean, v = welford(x) if rng.integers(2) else merged(x, rng)
        d = x - mean[:, None]
    elif variance == "two_pass":
        v = tree_sum(d * d, rng) * (F(1) / count)
    else:
        v = np.maximum(tree_sum(x * x, rng) / count - mean * mean, F(0))
    r = (inverse or (lambda a: F(1) / np.sqrt(a)))(v + F(eps))
    if folded:
        a = r[:, None] * w
        return x * a + (b - mean[:, None] * a)
    return d * r[:, None] * w + b


NORM_CASES = st.tuples(
    st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
    st.booleans(),
    st.sampled_from([None, newton]),
    st.integers(0, 2**32),
)


def layer(data, offset, seed, count=64):
    rng = np.random.default_rng(seed)
    x = data("normal", (5, count), rng) + F(offset)
    arrays = {"input": x, "weight": data("normal", (count,), rng), "bias": data("normal", (count,), rng)}
    params = {"normalized_shape": [count], "eps": 1e-5}
    return arrays, params, reference.evaluate("layer_norm", arrays, params), rng


@SETTINGS
@given(NORM_CASES, st.sampled_from(bounds.ALGORITHMS), st.sampled_from(bounds.KINDS))
def test_normalizations_in_any_order_and_form(data, case, algorithm, kind):
    offset, folded, inverse, seed = case
    arrays, params, truth, rng = layer(data, offset, seed)
    y = normalize(*arrays.values(), 1e-5, rng, algorithm, folded, inverse)
    bound = reference.error_bound("layer_norm", arrays, params, truth, algorithm=algorithm, kind=kind)
    assert (abs(truth.error(y)) <= bound).all()


def test_the_bounds_of_normalizations_are_finite_and_not_idle(data):
    arrays, params, truth, rng = layer(data, 1.0, 0, 256)
    two, one, welford_bound = (
        reference.error_bound("layer_norm", arrays, params, truth, algorithm=a) for a in bounds.ALGORITHMS
    )
    assert np.isfinite(two).all()
    assert np.isfinite(welford_bound).all()
    assert np.median(one / two) > 1.5
    error = abs(truth.error(normalize(*arrays.values(), 1e-5, rng)))
    assert (error > two / 3e3).mean() > 0.3
    far, params, truth, rng = layer(data, 1000.0, 0, 256)
    one = reference.error_bound("layer_norm", far, params, truth, algorithm="one_pass")
    assert np.isinf(one).all()  # E[x**2] - E[x]**2 has lost the variance


@pytest.mark.parametrize(
    ("op", "params", "names"),
    [
        ("batch_norm", {"training": True}, ()),
        ("batch_norm", {}, ("running_mean", "running_var")),
        ("group_norm", {"num_groups": 2}, ()),
        ("group_norm", {"num_groups": 2, "layout": "NHWC"}, ()),
        ("instance_norm", {}, ()),
    ],
)
def test_the_plain_evaluation_is_within_every_bound(data, op, params, names):
    rng = np.random.default_rng(4)
    arrays = {"input": data("normal", (3, 4, 5, 4), rng) + F(2)}
    arrays |= {name: data("uniform", (4,), rng) for name in ("weight", "bias", *names)}
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth)
    error = abs(truth.error(reference.plain_float32(op, arrays, params)))
    assert (error <= bound).all()
    assert (error > bound / 1e3).mean() > 0.3


def test_bad_requests_are_refused(data):
    arrays, params, truth, _ = layer(data, 0.0, 0)
    for bad in ({"kind": "likely"}, {"algorithm": "three_pass"}, {"operand_roundoff": 0.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            reference.error_bound("layer_norm", arrays, params, truth, **bad)
