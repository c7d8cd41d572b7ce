"""Vectors of length one, standardized filters and local response normalization, with their gradients."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import local_response as lrn
from reference import norm, norm_gradients
from reference import vector_norm as vectors
from reference.truth import Truth

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=120, deadline=None)
CONTEXT = mpmath.MPContext()
CONTEXT.prec = 900
PRECISE = Fraction(1, 2**400)


def mp(number):
    return CONTEXT.mpf(number.numerator) / number.denominator


def fraction(number):
    sign, mantissa, exponent, _ = number._mpf_
    return Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** exponent


def snapped(number):
    """A multiple of 2**-200 within 2**-700 of the number, else itself: mpmath misses ties and zeros."""
    scaled = fraction(number) * 2**200
    near = Fraction(round(scaled), 2**200)
    return near if abs(fraction(number) - near) < Fraction(1, 2**700) else fraction(number)


def fractions(array):
    return [Fraction(float(v)) for v in np.ravel(array)]


def check(contradictions, truth, exact):
    known = np.array([number is not None for number in exact], bool)
    assert np.isnan(truth.value.ravel()[~known]).all()
    part = truth.arranged(lambda a: a.ravel()[known])
    numbers = [n for n in exact if n is not None]
    assert contradictions(part, numbers, PRECISE) == []
    for i in range(0, len(numbers), 4):
        centre, radius = part.refine(i, 120)
        assert radius == 0 or radius <= abs(centre) / 2**120
        assert abs(centre - numbers[i]) <= radius + abs(numbers[i]) * PRECISE
        assert abs(numbers[i]) <= part.magnitude[i] * (1 + PRECISE)


def exact_normalized(x, dy, eps, squared):
    """y, and dx by the Jacobian dy_j/dx_i = delta_ij / s - x_j x_i / s**3."""
    xs, gs = fractions(x), fractions(dy)
    floor = Fraction(eps) if squared else Fraction(eps) ** 2
    square = sum((v * v for v in xs), Fraction(0))
    if max(square, floor) == 0:
        return [None] * len(xs), [None] * len(xs)
    s = CONTEXT.sqrt(mp(max(square, floor)))
    forward = [snapped(mp(v) / s) for v in xs]
    back = []
    for i, v in enumerate(xs):
        total = sum((g * u for g, u in zip(gs, xs, strict=True)), Fraction(0))
        inner = gs[i] - (v * total / square if square >= floor and square else 0)
        back.append(snapped(mp(inner) / s))
    return forward, back


@SETTINGS
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from(["uniform", "normal", "cancelling", "huge", "integers", "zeros"]),
    st.sampled_from([1e-12, 0.0, 1.0, 4.0]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_normalize(data, contradictions, rows, count, kind, eps, squared, seed):
    rng = np.random.default_rng(seed)
    x, dy = data(kind, (rows, count), rng), data("integers", (rows, count), rng)
    found = [exact_normalized(a, b, eps, squared) for a, b in zip(x, dy, strict=True)]
    check(
        contradictions, vectors.normalize(x, eps=eps, squared_eps=squared), [v for y, _ in found for v in y]
    )
    moved = vectors.normalize_input_grad(dy.T, x.T, dim=0, eps=eps, squared_eps=squared)
    check(contradictions, moved.arranged(lambda a: a.T), [v for _, dx in found for v in dx])


@pytest.mark.parametrize(("eps", "dim"), [(1e-12, 1), (2.0, 1), (1.0, (0, 2)), (1e-12, None)])
def test_normalize_as_torch_in_float64(data, eps, dim):
    rng = np.random.default_rng(0)
    x, dy = data("normal", (3, 4, 5), rng), data("normal", (3, 4, 5), rng)
    t = torch.tensor(x).double().requires_grad_()
    axes = (0, 1, 2) if dim is None else dim
    y = t / torch.linalg.vector_norm(t, dim=axes, keepdim=True).clamp_min(eps)
    if isinstance(dim, int):
        assert torch.equal(y, torch.nn.functional.normalize(t, dim=dim, eps=eps))
    (dx,) = torch.autograd.grad(y, t, torch.tensor(dy).double())
    for truth, tensor in (
        (vectors.normalize(x, dim=dim, eps=eps), y.detach()),
        (vectors.normalize_input_grad(dy, x, dim=dim, eps=eps), dx),
    ):
        assert (abs(truth.error(tensor.numpy())) <= 64 * 2.0**-53 * truth.magnitude).all()
        assert truth.tiers["exact"] == 0


def test_a_vector_on_the_edge_of_eps_is_not_constant():
    x = np.float32([[3.0, 4.0]])
    at = vectors.normalize_input_grad(np.float32([[1.0, 0.0]]), x, eps=5.0)
    assert at.round()[0].tolist() == [np.float32(0.128), np.float32(-0.096)]
    above = vectors.normalize_input_grad(np.float32([[1.0, 0.0]]), x, eps=float(np.nextafter(5.0, 6.0)))
    assert above.round()[0].tolist() == [np.float32(0.2), 0.0]
    assert np.isnan(vectors.normalize(np.zeros((1, 2), np.float32), eps=0.0).value).all()
    assert (vectors.normalize(np.zeros((1, 2), np.float32)).value == 0).all()
    wild = vectors.normalize(np.float32([[np.inf, 1], [np.nan, 1], [1, 0]]))
    assert np.array_equal(wild.value, [[np.nan, 0], [np.nan, np.nan], [1, 0]], equal_nan=True)


def test_weight_standardization_is_layer_normalization_of_each_filter(data):
    rng = np.random.default_rng(1)
    w, g = data("normal", (4, 3, 2, 2), rng), data("normal", (4, 3, 2, 2), rng)
    truth = vectors.weight_standardization(w, eps=1e-3)
    assert np.array_equal(truth.value, norm.layer_norm(w, [3, 2, 2], eps=1e-3).value)
    last = vectors.weight_standardization(w.transpose(2, 3, 1, 0), eps=1e-3, layout="NHWC")
    assert abs(last.value.transpose(3, 2, 0, 1) - truth.value).max() < 1e-15
    back = vectors.weight_standardization_weight_grad(g, w, eps=1e-3)
    assert np.array_equal(back.value, norm_gradients.layer_norm_input_grad(g, w, [3, 2, 2], eps=1e-3).value)
    t = torch.tensor(w).double().requires_grad_()
    mean, variance = t.mean((1, 2, 3), keepdim=True), t.var((1, 2, 3), keepdim=True, correction=0)
    y = (t - mean) / torch.sqrt(variance + 1e-3)
    (dw,) = torch.autograd.grad(y, t, torch.tensor(g).double())
    assert abs(truth.error(y.detach().numpy())).max() < 1e-14
    assert abs(back.error(dw.numpy())).max() < 1e-13
    assert vectors.filter_terms(w) == 12


def exact_response(x, dy, size, alpha, beta, k, average):
    """y and dx of one row of channels by their definitions, at 900 bits."""
    xs, gs = fractions(x), fractions(dy)
    a = Fraction(alpha) / (size if average else 1)

    def window(c):
        return range(max(0, c - size // 2), min(len(xs), c + (size - 1) // 2 + 1))

    d = [Fraction(k) + a * sum((xs[i] ** 2 for i in window(c)), Fraction(0)) for c in range(len(xs))]
    if min(d) == 0:
        return None, None
    logs = [CONTEXT.log(mp(v)) for v in d]
    p = [CONTEXT.exp(-mp(Fraction(beta)) * v) for v in logs]
    forward = [snapped(mp(v) * q) for v, q in zip(xs, p, strict=True)]
    back = []
    for i in range(len(xs)):
        total = mp(gs[i]) * p[i]
        for c in range(len(xs)):
            if i in window(c):
                total -= mp(2 * a * Fraction(beta) * xs[i] * gs[c] * xs[c] / d[c]) * p[c]
        back.append(snapped(total))
    return forward, back


@SETTINGS
@given(
    st.integers(1, 2),
    st.integers(1, 7),
    st.integers(1, 5),
    st.sampled_from(["uniform", "normal", "integers", "zeros", "cancelling"]),
    st.sampled_from([1e-4, 1.0, 3.0, 0.0]),
    st.sampled_from([0.75, 0.5, 1.0, 0.0, 0.1, 2.0, 2.5, 5.0, 17.3]),
    st.sampled_from([1.0, 2.0, 0.5]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_local_response(data, contradictions, rows, count, size, kind, alpha, beta, k, average, seed):
    rng = np.random.default_rng(seed)
    x, dy = data(kind, (rows, count), rng), data("integers", (rows, count), rng)
    params = {"alpha": alpha, "beta": beta, "k": k, "average": average}
    found = [exact_response(a, b, size, alpha, beta, k, average) for a, b in zip(x, dy, strict=True)]
    truth = lrn.local_response_norm(x, size, **params)
    check(contradictions, truth, [v for y, _ in found for v in y])
    truth = lrn.local_response_norm_input_grad(dy[..., None], x[..., None], size, **params)
    check(contradictions, truth.arranged(lambda a: a[..., 0]), [v for _, dx in found for v in dx])


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"), [(5, 1e-4, 0.75, 1.0), (4, 0.5, 0.5, 2.0), (1, 1, 1, 1)]
)
def test_local_response_as_torch_in_float64(data, size, alpha, beta, k):
    rng = np.random.default_rng(2)
    x, dy = data("normal", (2, 7, 3, 2), rng), data("normal", (2, 7, 3, 2), rng)
    t = torch.tensor(x).double().requires_grad_()
    y = torch.nn.functional.local_response_norm(t, size, alpha, beta, k)
    (dx,) = torch.autograd.grad(y, t, torch.tensor(dy).double())
    params = {"alpha": alpha, "beta": beta, "k": k}
    for truth, tensor in (
        (lrn.local_response_norm(x, size, **params), y.detach()),
        (lrn.local_response_norm_input_grad(dy, x, size, **params), dx),
    ):
        assert (abs(truth.error(tensor.numpy())) <= 64 * 2.0**-53 * truth.magnitude).all()
        assert truth.tiers["exact"] == 0
    last = lrn.local_response_norm(x.transpose(0, 2, 3, 1), size, layout="NHWC", **params)
    assert np.array_equal(last.value.transpose(0, 3, 1, 2), lrn.local_response_norm(x, size, **params).value)


def test_rational_responses_ties_and_zeros_are_exact():
    y = lrn.local_response_norm(
        np.float32([[15.0]]), 1, alpha=1.0, beta=0.75, k=31.0
    )  # (31 + 225)**0.75 = 64
    assert y.refine(0, 10) == (Fraction(15, 64), 0)
    tie = np.float32(1 + 2.0**-23)
    half = lrn.local_response_norm(np.float32([[tie, 0.0]]), 1, alpha=0.0, beta=0.5, k=4.0)
    assert half.round()[0, 0] == tie / 2
    # D = 1 + x**2, beta = 1/2: dy/dx = D**-1.5; with beta = 1 it is (1 - x**2)/D**2, zero at 1.
    zero = lrn.local_response_norm_input_grad(
        np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), 1, alpha=1.0, beta=1.0, k=1.0
    )
    assert (zero.value, zero.residual, zero.bound) == (0.0, 0.0, 0.0)
    root = lrn.local_response_norm_input_grad(
        np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), 1, alpha=1.0, beta=0.5, k=1.0
    )
    assert root.round()[0, 0] == np.float32(2**-1.5)


def test_local_response_at_the_edges_of_the_range():
    tiny, vast = np.float32(1e-45), np.float32(3e38)
    for alpha, beta, k in ((2.0**-60, 2.0, 0.0), (2.0**60, 2.0, 2.0**-60), (0.0, 1.9, 2.0**-60)):
        for x, g in ((tiny, vast), (vast, tiny), (vast, vast), (tiny, tiny)):
            params = {"alpha": alpha, "beta": beta, "k": k}
            exact = exact_response([x], [g], 1, alpha, beta, k, True)
            forward = lrn.local_response_norm([[x]], 1, **params)
            back = lrn.local_response_norm_input_grad([[g]], [[x]], 1, **params)
            for truth, (number,) in zip((forward, back), exact, strict=True):
                if number == 0:  # the oracle sees nothing below 2**-700
                    continue
                single = truth.round()
                near = np.float32(np.clip(float(number), -1e39, 1e39)) if abs(number) < 10**39 else np.inf
                assert single[0, 0] == (near if np.isfinite(near) else np.copysign(np.inf, float(number)))
                value, residual, bound = (
                    Fraction(float(a[0, 0])) for a in (truth.value, truth.residual, truth.bound)
                )
                assert abs(number - value - residual) <= bound + abs(number) * PRECISE


def test_steep_powers_at_the_edges_of_their_range():
    """D**(beta + 1) from 2**-490 to 2**490, with the smallest and the largest gradients."""
    tiny, vast = np.float32(1e-45), np.float32(3e38)
    for x, k, beta in ((1.0, 2.0**-60, 7.1), (1.5, 2.0**60, 7.1), (2.0**25, 1.0, 8.7), (0.5, 2.0**-7, 64.0)):
        for g in (tiny, vast):
            row = np.float32([x, -x / 3])
            params = {"alpha": 2.0**-60 if k < 1 else 1.0, "beta": beta, "k": k}
            forward = lrn.local_response_norm(row[None], 2, **params)
            back = lrn.local_response_norm_input_grad(np.full((1, 2), g), row[None], 2, **params)
            exact = exact_response(row, [g, g], 2, params["alpha"], beta, k, True)
            for truth, numbers in zip((forward, back), exact, strict=True):
                single = truth.round().ravel()
                for i, number in enumerate(numbers):
                    if number == 0:  # the oracle sees nothing below 2**-700
                        assert abs(single[i]) == 0
                        continue
                    parts = [
                        Fraction(float(a.ravel()[i])) for a in (truth.value, truth.residual, truth.bound)
                    ]
                    assert abs(number - parts[0] - parts[1]) <= parts[2] + abs(number) * PRECISE
                    assert np.signbit(single[i]) == (number < 0)
                    if abs(number) < 2**127:
                        assert single[i] == np.float32(float(number))
                    elif abs(number) > 2**128:
                        assert np.isinf(single[i])


def test_local_response_of_what_is_not_finite():
    inf, nan = np.inf, np.nan
    x = np.float32([[1, 2, inf, 3, 4, 5]])
    truth = lrn.local_response_norm(x, 3)
    assert np.array_equal(np.isnan(truth.value), [[False, False, True, False, False, False]])
    assert truth.value[0, [1, 3]].tolist() == [0.0, 0.0]
    back = lrn.local_response_norm_input_grad(np.ones_like(x), x, 3)
    assert np.array_equal(np.isnan(back.value), [[False, True, True, True, False, False]])
    assert np.isfinite(back.round()[0, [0, 4, 5]]).all()
    assert back.refine(4, 50)[0] != 0
    assert np.isnan(lrn.local_response_norm(np.float32([[nan, 0]]), 3).value).all()
    assert np.isnan(lrn.local_response_norm(np.zeros((1, 2), np.float32), 3, k=0.0).value).all()


def test_planted_errors_are_caught(data, contradictions):
    rng = np.random.default_rng(3)
    x, dy = data("normal", (20, 7), rng), data("normal", (20, 7), rng)
    truth = lrn.local_response_norm(x, 3, alpha=1.0)
    exact = [v for row in x for v in exact_response(row, row, 3, 1.0, 0.75, 1.0, True)[0]]
    assert contradictions(truth, exact, PRECISE) == []
    tight = Truth(truth.value, truth.residual, truth.bound / 2**20, truth.magnitude)
    assert len(contradictions(tight, exact, PRECISE)) > 20
    summed = [v for row in x for v in exact_response(row, row, 3, 1.0, 0.75, 1.0, False)[0]]
    assert len(contradictions(truth, summed, PRECISE)) > 100
    back = vectors.normalize_input_grad(dy, x)
    exact = [v for a, b in zip(x, dy, strict=True) for v in exact_normalized(a, b, 1e-12, False)[1]]
    tight = Truth(back.value, back.residual, back.bound / 2**20, back.magnitude)
    assert len(contradictions(tight, exact, PRECISE)) > 20


X = np.ones((2, 3, 4), np.float32)
BAD = [
    (lambda: vectors.normalize(X, dim=3), "dim"),
    (lambda: vectors.normalize(X, eps=-1.0), "eps"),
    (lambda: vectors.normalize(X.astype(np.int8)), "int8"),
    (lambda: vectors.normalize_input_grad(X[0], X), "grad_output"),
    (lambda: vectors.weight_standardization(X, layout="OIHW"), "layout"),
    (lambda: vectors.weight_standardization(X[:, :0]), "elements"),
    (lambda: vectors.weight_standardization(X[0, 0]), "weight"),
    (lambda: lrn.local_response_norm(X, 0), "size"),
    (lambda: lrn.local_response_norm(X, 2.0), "size"),
    (lambda: lrn.local_response_norm(X, 3, beta=-1.0), "beta"),
    (lambda: lrn.local_response_norm(X, 3, beta=64.5), "beta"),
    (lambda: lrn.local_response_norm(X, 3, beta=2.5, k=0.0), "beta must be at most 2.0"),
    (lambda: lrn.local_response_norm(X * np.float32(1e30), 3, alpha=1.0, beta=3.0), "scale the input"),
    (lambda: lrn.local_response_norm_input_grad(X, X, 3, beta=60.0, k=2.0**-10), "beta must be at most"),
    (lambda: lrn.local_response_norm(X, 3, alpha="a"), "alpha"),
    (lambda: lrn.local_response_norm(X, 3, k=float("nan")), "k must"),
    (lambda: lrn.local_response_norm(X, 3, average=1), "average"),
    (lambda: lrn.local_response_norm(X[0, 0], 3), "channel"),
    (lambda: lrn.local_response_norm_input_grad(X[0], X, 3), "grad_output"),
]


@pytest.mark.parametrize(("call", "word"), BAD)
def test_bad_input_is_refused_in_one_line(call, word):
    with pytest.raises(ValueError, match=word) as caught:
        call()
    assert "\n" not in str(caught.value)
