"""The normalizations against mpmath at 600 bits, and against fractions where the result is rational."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=400, deadline=None)
CONTEXT = mpmath.MPContext()
CONTEXT.prec = 600
EPS = (1e-5, 1e-3, 0.0, 1e-12, 1.0)


def exact_rows(rows, weight, bias, eps, given=None, centred=True):
    """y of each row as fractions within 2**-500, relatively; weight and bias are like rows."""
    out = []
    for i, row in enumerate(rows):
        xs = [Fraction(float(v)) for v in row]
        if given is None:
            mean = sum(xs, Fraction(0)) / len(xs) if centred else Fraction(0)
            variance = sum(((v - mean) ** 2 for v in xs), Fraction(0)) / len(xs)
        else:
            mean, variance = (Fraction(float(a[i])) for a in given)
        total = variance + Fraction(eps)
        root = CONTEXT.sqrt(CONTEXT.mpf(total.numerator) / total.denominator) if total > 0 else None
        for v, w, b in zip(xs, weight[i], bias[i], strict=True):
            if root is None:
                out.append(None)
                continue
            a = (v - mean) * Fraction(float(w))
            square = Fraction(math.isqrt(total.numerator), math.isqrt(total.denominator))
            if square * square == total:  # y is rational, perhaps a tie: mpmath would miss it
                out.append(a / square + Fraction(float(b)))
                continue
            y = CONTEXT.mpf(a.numerator) / a.denominator / root
            sign, mantissa, exponent, _ = y._mpf_
            out.append(
                Fraction(-mantissa if sign else mantissa) * Fraction(2) ** exponent + Fraction(float(b))
            )
    return out


def check(contradictions, truth, exact):
    """The finite elements one by one; the others must be what IEEE 754 makes of 0/0: NaN."""
    known = np.array([number is not None for number in exact], bool)
    assert np.isnan(truth.value.ravel()[~known]).all()
    part = truth.arranged(lambda a: a.ravel()[known])
    found = contradictions(part, [n for n in exact if n is not None], Fraction(1, 2**400))
    assert found == []


@SETTINGS
@given(
    st.integers(1, 3),
    st.integers(1, 12),
    st.sampled_from(KINDS),
    st.sampled_from(EPS),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_layer_norm_and_rms_norm(data, contradictions, rows, count, kind, eps, affine, centred, seed):
    rng = np.random.default_rng(seed)
    x = data(kind, (rows, count), rng)
    w = data("normal", (count,), rng) if affine else np.ones(count, np.float32)
    b = data("normal", (count,), rng) if affine and centred else np.zeros(count, np.float32)
    if centred:
        truth = reference.layer_norm(x, [count], *((w, b) if affine else ()), eps=eps)
    else:
        truth = reference.rms_norm(x, count, *((w,) if affine else ()), eps=eps)
    exact = exact_rows(x, np.broadcast_to(w, x.shape), np.broadcast_to(b, x.shape), eps, None, centred)
    check(contradictions, truth, exact)


@SETTINGS
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 2),
    st.sampled_from(KINDS),
    st.sampled_from(EPS),
    st.sampled_from(["NCHW", "NHWC"]),
    st.integers(0, 2**32),
)
def test_norms_with_channels(data, contradictions, shape, per_group, kind, eps, layout, seed):
    rng = np.random.default_rng(seed)
    n, groups, height, width = shape
    channels = groups * per_group
    x = data(kind, (n, channels, height, width), rng)
    w, b = data("normal", (channels,), rng), data("normal", (channels,), rng)
    mean, variance = data("normal", (channels,), rng), abs(data(kind, (channels,), rng))
    given_x = x.transpose(0, 2, 3, 1) if layout == "NHWC" else x
    back = (0, 3, 1, 2) if layout == "NHWC" else (0, 1, 2, 3)
    wide = [np.broadcast_to(a[None, :, None, None], x.shape) for a in (w, b)]

    def by_channel(a):
        return a.transpose(1, 0, 2, 3).reshape(channels, -1)

    cases = [
        (
            reference.batch_norm(given_x, None, None, w, b, training=True, eps=eps, layout=layout),
            exact_rows(*map(by_channel, (x, *wide)), eps),
            True,
        ),
        (
            reference.batch_norm(given_x, mean, variance, w, b, eps=eps, layout=layout),
            exact_rows(*map(by_channel, (x, *wide)), eps, (mean, variance)),
            True,
        ),
        (
            reference.group_norm(given_x, groups, w, b, eps=eps, layout=layout),
            exact_rows(*(a.reshape(n * groups, -1) for a in (x, *wide)), eps),
            False,
        ),
        (
            reference.instance_norm(given_x, w, b, eps=eps, layout=layout),
            exact_rows(*(a.reshape(n * channels, -1) for a in (x, *wide)), eps),
            False,
        ),
    ]
    for truth, exact, channels_first in cases:
        moved = truth.arranged(lambda a: a.transpose(back))
        if channels_first:
            moved = moved.arranged(lambda a: a.transpose(1, 0, 2, 3))
        if any(number is None for number in exact):
            moved = drop_infinities(moved)
        check(contradictions, moved, exact)


def drop_infinities(truth):
    """Inference with a variance of zero divides by zero: infinite where x is not the mean."""
    return truth.arranged(lambda a: np.where(np.isinf(truth.value), np.nan, a))


def test_a_variance_of_zero_without_eps_divides_by_zero():
    x = np.float32([[1.0, 2.0, 3.0]])
    truth = reference.batch_norm(x, np.float32([1, 1, 3]), np.float32([0, 0, 0]), eps=0.0)
    assert np.array_equal(truth.value, [[np.nan, np.inf, np.nan]], equal_nan=True)
    assert np.isnan(reference.batch_norm(x, x[0], -x[0], eps=1e-3).value).all()  # negative variance
    assert np.isnan(reference.layer_norm(np.full((2, 4), 0.1, np.float32), 4, eps=0.0).value).all()
    assert (reference.layer_norm(np.full((2, 4), 0.1, np.float32), 4).value == 0).all()
    assert (reference.layer_norm(np.full((2, 4), 0.1, np.float32), 4).bound == 0).all()


def test_rational_results_are_decided_exactly():
    """Mean 0, variance 1, eps 0: y = x w + b, with a tie and a zero among them."""
    x = np.float32([[1.0, -1.0, 1.0, -1.0]])
    tie = np.float32(1.0 + 2.0**-23)
    weight = np.float32([2.0**-24, 1.0, 2.0**-24, -3.0])
    truth = reference.layer_norm(x, 4, weight, np.float32([1.0, 1.0, tie, -3.0]), eps=0.0)
    assert truth.round().tolist() == [[1.0, 0.0, float(np.float32(1.0 + 2.0**-22)), 0.0]]
    assert truth.tiers["exact"] == 4
    assert (truth.bound == 0).all()
    assert not np.signbit(truth.value).any()


def test_elements_at_the_mean_are_exactly_the_bias():
    x = np.float32([[1, 2, 3, 2, 2]] * 3)
    truth = reference.layer_norm(x, 5, bias=np.float32([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert np.array_equal(truth.value[:, [1, 3, 4]], np.float32([[0.2, 0.4, 0.5]] * 3).astype(float))
    assert (truth.bound[:, [1, 3, 4]] == 0).all()


def test_infinities_and_nan():
    x = np.float32([[1, 2, np.inf, 4], [1, np.nan, 3, 4], [1, 2, 3, 4]])
    truth = reference.layer_norm(x, 4)
    assert np.isnan(truth.value[:2]).all()
    assert np.isfinite(truth.value[2]).all()
    rms = reference.rms_norm(x, 4)
    assert np.array_equal(rms.value[0], [0, 0, np.nan, 0], equal_nan=True)
    assert np.isnan(rms.value[1]).all()
    weighted = reference.layer_norm(
        x[2:], 4, np.float32([np.inf, 0, -np.inf, np.nan]), np.float32([0, 1, 2, 3])
    )
    assert np.array_equal(weighted.value, [[-np.inf, 1, -np.inf, np.nan]], equal_nan=True)
    at_mean = reference.layer_norm(np.float32([[1, 2, 3]]), 3, np.full(3, np.inf, np.float32))
    assert np.array_equal(at_mean.value, [[-np.inf, np.nan, np.inf]], equal_nan=True)
    inference = reference.batch_norm(
        np.float32([[1, 1, np.inf, 1]]), np.float32([0, np.inf, 0, 0]), np.float32([np.inf, 1, 1, np.nan])
    )
    assert np.array_equal(inference.value, [[0, -np.inf, np.inf, np.nan]], equal_nan=True)


def test_torch_float64_agrees_to_a_millionth_of_an_ulp(data):
    rng = np.random.default_rng(3)
    x, w, b = data("normal", (4, 6, 5, 5), rng), data("uniform", (6,), rng), data("normal", (6,), rng)
    tx, tw, tb = (torch.tensor(a).double() for a in (x, w, b))
    pairs = [
        (
            reference.batch_norm(x, None, None, w, b, training=True),
            torch.nn.functional.batch_norm(tx, None, None, tw, tb, True),
        ),
        (reference.group_norm(x, 3, w, b), torch.nn.functional.group_norm(tx, 3, tw, tb)),
        (reference.instance_norm(x, w, b), torch.nn.functional.instance_norm(tx, weight=tw, bias=tb)),
        (reference.layer_norm(x, [5, 5]), torch.nn.functional.layer_norm(tx, [5, 5])),
        (
            reference.rms_norm(x, [5], w[:5]),
            torch.nn.functional.rms_norm(tx, [5], tw[:5], 2.0**-23),
        ),
    ]
    for truth, y in pairs:
        assert abs(truth.error(y.numpy())).max() < 1e-13
        assert truth.tiers["exact"] == 0


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_many_elements_far_from_zero_stay_certified(data, contradictions, offset):
    rng = np.random.default_rng(5)
    x = (data("normal", (3, 400), rng) + np.float32(offset)).astype(np.float32)
    truth = reference.layer_norm(x, 400)
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    assert contradictions(truth, exact_rows(x, ones, zeros, 1e-5), Fraction(1, 2**400)) == []
    assert truth.tiers["exact"] == 0


def test_elements_are_refined_to_any_precision(data):
    rng = np.random.default_rng(9)
    x, w, b = data("wide", (3, 8), rng), data("normal", (8,), rng), data("normal", (8,), rng)
    truth = reference.layer_norm(x, 8, w, b, eps=1e-3)
    exact = exact_rows(x, np.broadcast_to(w, x.shape), np.broadcast_to(b, x.shape), 1e-3)
    assert truth.refine is not None
    for index, number in enumerate(exact):
        for bits in (60, 200, 350):
            centre, radius = truth.refine(index, bits)
            assert abs(centre - number) <= radius + abs(number) / 2**400
            assert 0 < radius <= abs(centre) / 2**bits
    nchw = data("normal", (2, 3, 2, 2), rng)
    truth = reference.batch_norm(nchw.transpose(0, 2, 3, 1), training=True, layout="NHWC")
    assert truth.refine is not None
    for index, value in enumerate(truth.value.ravel()):
        assert abs(truth.refine(index, 80)[0] - Fraction(float(value))) <= Fraction(2) ** -50
    rational = reference.layer_norm(np.float32([[1.0, -1.0]]), 2, eps=0.0)
    assert rational.refine is not None
    assert [rational.refine(i, 10) for i in range(2)] == [(1, 0), (-1, 0)]
    single = reference.batch_norm(x[:, :1], np.zeros(1), np.full(1, 4.0), eps=0.0)
    assert single.refine is not None
    assert single.refine(1, 10) == (Fraction(float(x[1, 0])) / 2, 0)
