"""Gradients of the normalizations: against the Jacobian in fractions, numerical derivatives, and autograd."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import norm_gradients as grads
from reference.truth import Truth

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=150, deadline=None)
PRECISE = Fraction(1, 2**300)
EPS = (1e-5, 1e-3, 0.0, 1e-12, 1.0)


def inverse_root(number):
    """1 / sqrt(number) within 2**-400, relatively; exact where it is a fraction."""
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Fraction(bottom, top)
    shift = 1200 + 2 * number.numerator.bit_length()
    return Fraction(math.isqrt((number.denominator << shift) // number.numerator), 1 << shift // 2)


def fractions(array):
    return [Fraction(float(v)) for v in np.ravel(array)]


def moments(xs, eps, given=None, centred=True):
    if given is not None:
        mean, variance = (Fraction(float(v)) for v in given)
    else:
        mean = sum(xs, Fraction(0)) / len(xs) if centred else Fraction(0)
        variance = sum(((v - mean) ** 2 for v in xs), Fraction(0)) / len(xs)
    return mean, variance + Fraction(eps)


def exact_row(x, dy, w, eps, given=None, centred=True):
    """dx by the Jacobian dy_j/dx_i = r (delta_ij - 1/N) - r**3 (x_j - m) (x_i - m) / N, terms of dw."""
    xs, dys, ws = fractions(x), fractions(dy), fractions(w)
    mean, total = moments(xs, eps, given, centred)
    if total <= 0:
        return [None] * len(xs), [None] * len(xs)
    r = inverse_root(total)
    count = len(xs)
    dx = []
    for i in range(count):
        column = Fraction(0)
        for j in range(count):
            slope = Fraction(i == j)
            if given is None:
                slope -= Fraction(int(centred), count)
                slope -= (xs[j] - mean) * (xs[i] - mean) / (count * total)
            column += dys[j] * ws[j] * slope
        dx.append(column * r)
    return dx, [d * (v - mean) * r for d, v in zip(dys, xs, strict=True)]


def check(contradictions, truth, exact):
    """The finite elements one by one; what is divided by zero must be no number."""
    known = np.array([number is not None for number in exact], bool)
    assert np.isnan(truth.value.ravel()[~known]).all()
    part = truth.arranged(lambda a: a.ravel()[known])
    numbers = [n for n in exact if n is not None]
    assert contradictions(part, numbers, PRECISE) == []
    for i in range(0, len(numbers), 5):
        centre, radius = part.refine(i, 120)
        assert radius == 0 or radius <= abs(centre) / 2**120
        assert abs(centre - numbers[i]) <= radius + abs(numbers[i]) * PRECISE
        assert abs(numbers[i]) <= part.magnitude[i] * (1 + PRECISE)


@SETTINGS
@given(
    st.integers(1, 3),
    st.integers(1, 7),
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.sampled_from(EPS),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_layer_norm_and_rms_norm(data, contradictions, rows, count, kind, grad_kind, eps, centred, seed):
    rng = np.random.default_rng(seed)
    x, dy, w = (
        data(kind, (rows, count), rng),
        data(grad_kind, (rows, count), rng),
        data("normal", (count,), rng),
    )
    found = [exact_row(a, b, w, eps, None, centred) for a, b in zip(x, dy, strict=True)]
    if centred:
        truth = grads.layer_norm_input_grad(dy, x, [count], w, eps=eps)
        weight = grads.layer_norm_weight_grad(dy, x, [count], eps=eps)
    else:
        truth = grads.rms_norm_input_grad(dy, x, [count], w, eps=eps)
        weight = grads.rms_norm_weight_grad(dy, x, [count], eps=eps)
    check(contradictions, truth, [v for dx, _ in found for v in dx])
    if all(v is not None for dx, _ in found for v in dx):
        sums = [sum((terms[e] for _, terms in found), Fraction(0)) for e in range(count)]
        sizes = [sum((abs(terms[e]) for _, terms in found), Fraction(0)) for e in range(count)]
        certain = [s for s, size in zip(sums, sizes, strict=True) if abs(s) > size / 2**60 or size == 0]
        kept = [abs(s) > size / 2**60 or size == 0 for s, size in zip(sums, sizes, strict=True)]
        check(contradictions, weight.arranged(lambda a: a[kept]), certain)
        for i, size in enumerate(sizes):
            assert abs(weight.magnitude[i] - float(size)) <= 1e-3 * float(size) + 1e-300


@SETTINGS
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)),
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
    x, dy = (data(k, (n, channels, height, width), rng) for k in (kind, "normal"))
    w, mean = data("normal", (channels,), rng), data("normal", (channels,), rng)
    variance = abs(data(kind, (channels,), rng))
    wide = np.broadcast_to(w[None, :, None, None], x.shape)
    last = layout == "NHWC"
    gx, gdy = (a.transpose(0, 2, 3, 1) if last else a for a in (x, dy))
    back = (0, 3, 1, 2) if last else (0, 1, 2, 3)
    params = {"eps": eps, "layout": layout}

    def channel_first(a):
        return a.transpose(1, 0, 2, 3)

    cases = []
    for given_stats in (None, (mean, variance)):
        arrays = [channel_first(a).reshape(channels, -1) for a in (x, dy, wide)]
        found = [
            exact_row(*rows, eps, None if given_stats is None else (mean[c], variance[c]))
            for c, rows in enumerate(zip(*arrays, strict=True))
        ]
        stats = given_stats or (None, None)
        extra = params | {"training": given_stats is None}
        truth = grads.batch_norm_input_grad(gdy, gx, *stats, w, **extra)
        weight = grads.batch_norm_weight_grad(gdy, gx, *stats, **extra)
        sums = [None if None in terms else sum(terms, Fraction(0)) for _, terms in found]
        moved = truth.arranged(lambda a: a.transpose(back)).arranged(channel_first)
        cases += [(moved, [v for dx, _ in found for v in dx]), (weight, sums)]
    for size, function, extra in (
        (n * groups, grads.group_norm_input_grad, (groups,)),
        (n * channels, grads.instance_norm_input_grad, ()),
    ):
        arrays = [a.reshape(size, -1) for a in (x, dy, wide)]
        found = [exact_row(*rows, eps) for rows in zip(*arrays, strict=True)]
        truth = function(gdy, gx, *extra, w, **params)
        cases.append((truth.arranged(lambda a: a.transpose(back)), [v for dx, _ in found for v in dx]))
    for truth, exact in cases:
        infinite = np.isinf(truth.value)  # g / 0 with constant statistics
        check(contradictions, truth.arranged(lambda a, i=infinite: np.where(i, np.nan, a)), exact)
    sums = [sum(fractions(dy[:, c]), Fraction(0)) for c in range(channels)]
    for truth in (
        grads.batch_norm_bias_grad(gdy, layout=layout),
        grads.group_norm_bias_grad(gdy, layout=layout),
        grads.instance_norm_bias_grad(gdy, layout=layout),
    ):
        check(contradictions, truth, sums)


def test_a_numerical_derivative_of_the_function_itself(data):
    """mpmath differentiates L = sum dy y, y the normalization by its definition."""
    context = mpmath.MPContext()
    context.prec = 400
    rng = np.random.default_rng(0)
    x, dy, w = (data("normal", (5,), rng) for _ in range(3))
    eps = 1e-3

    def loss(values, weights, centred):
        mean = sum(values) / 5 if centred else context.mpf(0)
        variance = sum((v - mean) ** 2 for v in values) / 5
        r = 1 / context.sqrt(variance + context.mpf(eps))
        return sum(
            context.mpf(float(d)) * (v - mean) * r * u for d, v, u in zip(dy, values, weights, strict=True)
        )

    for centred, at_input, at_weight in (
        (True, grads.layer_norm_input_grad, grads.layer_norm_weight_grad),
        (False, grads.rms_norm_input_grad, grads.rms_norm_weight_grad),
    ):
        dx, dw = at_input(dy, x, 5, w, eps=eps), at_weight(dy, x, 5, eps=eps)
        point = [context.mpf(float(v)) for v in (*x, *w)]
        for i in range(10):
            orders = tuple(int(i == k) for k in range(10))
            slope = context.diff(lambda *p, c=centred: loss(p[:5], p[5:], c), tuple(point), orders)
            truth, k = (dx, i) if i < 5 else (dw, i - 5)
            error = abs(slope - context.mpf(truth.value[k]) - context.mpf(truth.residual[k]))
            assert error <= context.mpf(truth.bound[k]) + context.mpf(2) ** -150


def test_autograd_in_float64_agrees(data):
    rng = np.random.default_rng(3)
    f = torch.nn.functional
    x, dy, w = (data("normal", s, rng) for s in ((4, 6, 5, 3), (4, 6, 5, 3), (6,)))
    last, mean, variance = data("normal", (5, 3), rng), data("normal", (6,), rng), data("uniform", (6,), rng)
    wide_mean, wide_variance = torch.tensor(mean).double(), torch.tensor(variance).double()

    def autograd(function, weight):
        tensors = [torch.tensor(a).double().requires_grad_() for a in (x, weight, np.zeros_like(weight))]
        return torch.autograd.grad(function(*tensors), tensors, torch.tensor(dy).double())

    cases = [
        (
            lambda x, w, b: f.batch_norm(x, None, None, w, b, True),
            w,
            grads.batch_norm_input_grad(dy, x, None, None, w, training=True),
            grads.batch_norm_weight_grad(dy, x, training=True),
            grads.batch_norm_bias_grad(dy),
        ),
        (
            lambda x, w, b: f.batch_norm(x, wide_mean, wide_variance, w, b),
            w,
            grads.batch_norm_input_grad(dy, x, mean, variance, w),
            grads.batch_norm_weight_grad(dy, x, mean, variance),
            grads.batch_norm_bias_grad(dy),
        ),
        (
            lambda x, w, b: f.group_norm(x, 3, w, b),
            w,
            grads.group_norm_input_grad(dy, x, 3, w),
            grads.group_norm_weight_grad(dy, x, 3),
            grads.group_norm_bias_grad(dy),
        ),
        (
            lambda x, w, b: f.instance_norm(x, weight=w, bias=b),
            w,
            grads.instance_norm_input_grad(dy, x, w),
            grads.instance_norm_weight_grad(dy, x),
            grads.instance_norm_bias_grad(dy),
        ),
        (
            lambda x, w, b: f.layer_norm(x, [5, 3], w, b),
            last,
            grads.layer_norm_input_grad(dy, x, [5, 3], last),
            grads.layer_norm_weight_grad(dy, x, [5, 3]),
            grads.layer_norm_bias_grad(dy, [5, 3]),
        ),
        (
            lambda x, w, b: f.rms_norm(x, [5, 3], w, 2.0**-23) + b,
            last,
            grads.rms_norm_input_grad(dy, x, [5, 3], last),
            grads.rms_norm_weight_grad(dy, x, [5, 3]),
            grads.layer_norm_bias_grad(dy, [5, 3]),
        ),
    ]
    for function, weight, *truths in cases:
        for truth, tensor in zip(truths, autograd(function, weight), strict=True):
            error = abs(truth.error(tensor.numpy()))
            assert (error <= 64 * 2.0**-53 * truth.magnitude).all()
            assert truth.tiers["exact"] == 0


def test_gradients_that_are_zero_are_exactly_zero(data):
    rng = np.random.default_rng(5)
    x, c = data("normal", (6, 50), rng), np.float32(0.3)
    constant = np.full_like(x, c)
    for truth in (
        grads.layer_norm_input_grad(constant, x, 50),  # of the mean of y
        grads.layer_norm_input_grad(x * 0, x, 50),
        grads.layer_norm_input_grad(x[:, :1], x[:, :1], 1),  # a single element
        grads.layer_norm_input_grad(x[:, :2], x[:, 2:4], 2, eps=0.0),  # y is always +-1
        grads.rms_norm_input_grad(x[:, :1], x[:, 1:2], 1, eps=0.0),
        grads.layer_norm_input_grad(x, x, 50, eps=0.0),
        grads.layer_norm_weight_grad(np.vstack([x, -x]), np.vstack([x, x]), 50),
        grads.batch_norm_weight_grad(np.ones_like(x), x, training=True),
    ):
        assert (truth.value == 0).all()
        assert (truth.residual == 0).all()
        assert (truth.bound == 0).all()
        assert not np.signbit(truth.value).any()
        assert (truth.round() == 0).all()


def test_a_planted_error_is_caught(data, contradictions):
    rng = np.random.default_rng(6)
    x, dy, w = data("normal", (20, 9), rng), data("normal", (20, 9), rng), data("normal", (9,), rng)
    truth = grads.layer_norm_input_grad(dy, x, 9, w)
    exact = [v for a, b in zip(x, dy, strict=True) for v in exact_row(a, b, w, 1e-5)[0]]
    assert contradictions(truth, exact, PRECISE) == []
    shrunk = Truth(truth.value, truth.residual, truth.bound / 2**16, truth.magnitude)
    assert len(contradictions(shrunk, exact, PRECISE)) > 10
    # The classic mistake: the statistics taken for constants.
    constant = [v for a, b in zip(x, dy, strict=True) for v in exact_row(a, b, w, 1e-5, moments_of(a))[0]]
    assert len(contradictions(truth, constant, PRECISE)) > 100


def moments_of(row):
    return float(np.mean(row, dtype=np.float64)), float(np.var(row, dtype=np.float64))


def test_ill_conditioned_rows_stay_certified(data, contradictions):
    """A large common offset, and a grad_output that is nearly constant: nearly everything cancels."""
    rng = np.random.default_rng(7)
    x = (data("normal", (4, 12), rng) + np.float32(1e4)).astype(np.float32)
    dy = (1 + data("normal", (4, 12), rng) * np.float32(1e-6)).astype(np.float32)
    truth = grads.layer_norm_input_grad(dy, x, 12)
    exact = [v for a, b in zip(x, dy, strict=True) for v in exact_row(a, b, np.ones(12), 1e-5)[0]]
    check(contradictions, truth, exact)
    assert truth.tiers["exact"] == 0


def test_infinities_and_nan():
    inf, nan = np.inf, np.nan
    x = np.float32([[1, 2, 3], [1, inf, 3], [1, 2, 3], [1, 2, 4], [5, 5, 5]])
    dy = np.float32([[1, 0, 0], [1, 1, 1], [nan, 1, 1], [inf, 1, 1], [1, 0, 0]])
    truth = grads.layer_norm_input_grad(dy, x, 3)
    assert np.isfinite(truth.value[[0, 4]]).all()
    assert not np.isfinite(truth.value[1:4]).any()
    assert np.isinf(truth.magnitude[1:4]).all()
    assert np.isnan(grads.layer_norm_input_grad(dy[4:], x[4:], 3, eps=0.0).value).all()
    weight = grads.layer_norm_weight_grad(dy[[0, 3]], x[[0, 3]], 3)
    assert weight.value[0] == -inf
    assert np.isfinite(weight.value[1:]).all()
    assert np.isnan(grads.layer_norm_weight_grad(dy[:2], x[:2], 3).value).all()
    fixed = grads.batch_norm_input_grad(dy[3:4], x[3:4], np.zeros(3), np.float32([1, inf, 0]), eps=0.0)
    assert np.array_equal(fixed.value, [[inf, 0, inf]])
    mixed = grads.batch_norm_input_grad(dy[2:4, :1], x[2:4, :1] * 0, np.zeros(1), np.ones(1))
    assert np.array_equal(np.isnan(mixed.value), [[True], [False]])
    finite = grads.batch_norm_input_grad(dy[1:3, :1], x[1:3, :1], np.zeros(1), np.ones(1))
    assert finite.round()[0, 0] == np.float32(1 / np.sqrt(1 + 1e-5))
    assert np.isnan(grads.rms_norm_input_grad(dy[1:2], x[1:2], 3).value).all()
    skipped = grads.rms_norm_weight_grad(dy[:2], x[:2], 3)  # 1 / rms of the second row is 0
    assert np.array_equal(np.isnan(skipped.value), [False, True, False])


BAD = [
    (lambda x: grads.layer_norm_input_grad(x[0], x, 4), "grad_output"),
    (lambda x: grads.layer_norm_weight_grad(x.astype(np.int32), x, 4), "int32"),
    (lambda x: grads.layer_norm_input_grad(x, x, 5), "normalized_shape"),
    (lambda x: grads.layer_norm_input_grad(x, x, 4, eps=-1), "eps"),
    (lambda x: grads.batch_norm_input_grad(x, x), "running_mean"),
    (lambda x: grads.batch_norm_weight_grad(x, x), "running_mean"),
    (lambda x: grads.batch_norm_bias_grad(x[0, 0]), "grad_output must have a batch"),
    (lambda x: grads.batch_norm_input_grad(x, x, training=True, layout="N"), "layout"),
    (lambda x: grads.group_norm_input_grad(x, x, 2), "num_groups"),
    (lambda x: grads.instance_norm_input_grad(x, x, np.ones(2)), "weight"),
    (lambda x: grads.rms_norm_weight_grad(x, x, 4, eps=float("nan")), "eps"),
]


@pytest.mark.parametrize(("call", "word"), BAD)
def test_bad_input_is_refused_in_one_line(call, word):
    with pytest.raises(ValueError, match=word) as caught:
        call(np.ones((2, 3, 4), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "wide", "cancelling", "integers"])
def test_many_elements(data, contradictions, kind):
    rng = np.random.default_rng(8)
    x, dy, w = data(kind, (3200, 32), rng), data("normal", (3200, 32), rng), data("normal", (32,), rng)
    truth = grads.layer_norm_input_grad(dy, x, 32, w)
    exact = []
    for a, b in zip(x, dy, strict=True):
        xs, gs = fractions(a), [p * q for p, q in zip(fractions(b), fractions(w), strict=True)]
        mean, total = moments(xs, 1e-5)
        r = inverse_root(total)
        r = Fraction(round(r * 2**700), 2**700)
        average = sum(gs) / 32
        product = sum(g * (v - mean) for g, v in zip(gs, xs, strict=True)) / (32 * total)
        exact += [(g - average - (v - mean) * product) * r for g, v in zip(gs, xs, strict=True)]
    assert len(exact) > 100_000
    assert contradictions(truth, exact, Fraction(1, 2**200)) == []
