"""Optimizer steps against formulas in fractions and mpmath, and against PyTorch's optimizers in float64."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import optimizers, trajectories
from reference.optimizer_formulas import Adam, Sgd

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 900
SETTINGS = settings(max_examples=80, deadline=None)
KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "integers", "zeros")
SLACK = Fraction(1, 2**400)


def exact(array):
    return [Fraction(float(v)) for v in np.ravel(array)]


def fraction(y):
    sign, mantissa, exponent, _ = y._mpf_
    number = Fraction(mantissa) * Fraction(2) ** exponent
    return -number if sign else number


@SETTINGS
@given(
    st.sampled_from(KINDS),
    st.sampled_from([(0.0, 0.0), (0.9, 0.0), (0.9, 0.1)]),
    st.sampled_from([0.0, 0.01]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_sgd(data, contradictions, kind, rates, decay, nesterov, keras, fresh, seed):
    """Both conventions, with each rule written out here once more."""
    rng = np.random.default_rng(seed)
    momentum, dampening = rates
    nesterov = nesterov and momentum > 0 and dampening == 0
    if keras:
        dampening, decay, fresh = 0.0, 0.0, False
    p, g, b = (data(kind, (12,), rng) for _ in range(3))
    rule = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov}
    extra = {"convention": "keras"} if keras else {"dampening": dampening, "weight_decay": decay}
    truths = optimizers.sgd(p, g, None if fresh else b, **rule, **extra)
    lr, mu, damp, wd = map(Fraction, (0.1, momentum, dampening, decay))
    params, buffers = [], []
    for x, dx, m in zip(exact(p), exact(g), exact(b), strict=True):
        if keras:
            new = mu * m - lr * dx
            params.append(x + (mu * new - lr * dx if nesterov else new))
        else:
            dx += wd * x  # noqa: PLW2901
            m = Fraction(0) if fresh else m  # noqa: PLW2901
            new = (dx if fresh else mu * m + (1 - damp) * dx) if mu else m
            params.append(x - lr * ((dx + mu * new if nesterov else new) if mu else dx))
        buffers.append(new)
    assert contradictions(truths["param"], params, Fraction(0)) == []
    assert contradictions(truths["momentum_buffer"], buffers, Fraction(0)) == []
    assert truths["param"].refine(3, 10) == (params[3], 0)


@SETTINGS
@given(
    st.sampled_from(KINDS),
    st.sampled_from([1, 2, 50, 70, 10000]),
    st.sampled_from([1e-8, 1e-3]),
    st.sampled_from([0.0, 0.01]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_adam(data, contradictions, kind, step, eps, decay, decoupled, keras, fresh, seed):
    rng = np.random.default_rng(seed)
    p, g, m, v = (data(kind, (8,), rng) for _ in range(4))
    v = abs(v)
    if fresh:
        m, v = np.zeros_like(m), np.zeros_like(v)
    rule = {"step": step, "lr": 1e-3, "eps": eps, "weight_decay": decay, "decoupled": decoupled}
    truths = optimizers.adam(p, g, m, v, **rule, convention="keras" if keras else "torch")
    number = CONTEXT.mpf
    b1, b2, lr, wd, e = map(number, (0.9, 0.999, 1e-3, decay, eps))
    c1, c2 = 1 - b1**step, 1 - b2**step
    found = {"param": [], "exp_avg": [], "exp_avg_sq": []}
    for x, dx, first, second in zip(*(map(number, a.astype(float)) for a in (p, g, m, v)), strict=True):
        start = x * (1 - lr * wd) if decoupled or keras else x
        slope = dx if decoupled or keras else dx + wd * x
        first = b1 * first + (1 - b1) * slope  # noqa: PLW2901
        second = b2 * second + (1 - b2) * slope**2  # noqa: PLW2901
        if keras:
            change = lr * CONTEXT.sqrt(c2) / c1 * first / (CONTEXT.sqrt(second) + e)
        else:
            change = lr * (first / c1) / (CONTEXT.sqrt(second / c2) + e)
        for name, y in (("param", start - change), ("exp_avg", first), ("exp_avg_sq", second)):
            found[name].append(fraction(y))
    for name, wanted in found.items():
        assert contradictions(truths[name], wanted, SLACK) == []
    centre, radius = truths["param"].refine(2, 200)
    assert abs(centre - found["param"][2]) <= radius + abs(centre) * SLACK


@pytest.mark.parametrize("settings_", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True},
                                       {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}])  # fmt: skip
def test_torchs_sgd_takes_the_same_steps(data, settings_):
    rng = np.random.default_rng(0)
    p, grads = data("normal", (30,), rng), [data("normal", (30,), rng) for _ in range(5)]
    tensor = torch.tensor(p).double().requires_grad_()
    optimizer = torch.optim.SGD([tensor], lr=0.1, **settings_)
    path = trajectories.sgd_path(p, grads, Sgd(lr=0.1, **settings_))
    for g, truth in zip(grads, path, strict=True):
        tensor.grad = torch.tensor(g).double()
        optimizer.step()
        assert (abs(truth.error(tensor.detach().numpy())) < 1e-14).all()
    once = optimizers.sgd(p, grads[0], None, lr=0.1, **settings_)["param"]
    assert np.array_equal(once.value, path[0].value)


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_torchs_adam_takes_the_same_steps(data, eps):
    rng = np.random.default_rng(0)
    p, grads = data("normal", (6,), rng), [data("normal", (6,), rng) for _ in range(4)]
    tensor = torch.tensor(p).double().requires_grad_()
    optimizer = torch.optim.Adam([tensor], lr=0.01, eps=eps)
    path = trajectories.adam_path(p, grads, Adam(step=1, lr=0.01, eps=eps))
    for g, truth in zip(grads, path, strict=True):
        tensor.grad = torch.tensor(g).double()
        optimizer.step()
        assert (abs(truth.error(tensor.detach().numpy())) < 1e-14).all()
        centre, radius = truth.refine(1, 300)
        assert radius * 2**300 <= abs(centre)
    zero = np.zeros_like(p)
    once = optimizers.adam(p, grads[0], zero, zero, step=1, lr=0.01, eps=eps)["param"]
    assert np.array_equal(once.value, path[0].value)


def test_a_first_step_of_adam_is_rational():
    """g / (|g| + eps): the root of a square, known exactly."""
    one = np.float32([1.0])
    truth = optimizers.adam(one, one, 0 * one, 0 * one, step=1, lr=0.5, eps=1.0)["param"]
    assert truth.refine(0, 10) == (Fraction(3, 4), 0)
    still = optimizers.adam(one, 0 * one, 0 * one, 0 * one, step=5)["param"]
    assert still.value[0] == 1.0
    assert still.bound[0] == 0.0


def test_infinities_follow_ieee():
    p, g = np.float32([1, np.inf, np.nan, 1]), np.float32([np.inf, 1, 1, 1])
    assert np.array_equal(
        optimizers.sgd(p, g, lr=1.0)["param"].value, [-np.inf, np.inf, np.nan, 0], equal_nan=True
    )
    zero = np.zeros(4, np.float32)
    found = optimizers.adam(p, g, zero, zero, step=1)
    assert np.array_equal(np.isnan(found["param"].value), [True, False, True, False])
    assert np.isinf(found["exp_avg_sq"].value[0])


def test_a_planted_error_is_caught(data, contradictions):
    rng = np.random.default_rng(1)
    p, g = data("normal", (5,), rng), data("normal", (5,), rng)
    truth = optimizers.sgd(p, g, lr=0.1)["param"]
    wanted = [x - Fraction(0.1) * d for x, d in zip(exact(p), exact(g), strict=True)]
    assert contradictions(truth, wanted, Fraction(0)) == []
    planted = dataclasses.replace(truth, residual=truth.residual + truth.value * 2.0**-70)
    assert contradictions(planted, wanted, Fraction(0))


Z = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimizers.sgd(Z, Z[:2]), "param's shape"),
        (lambda: optimizers.sgd(Z, Z, lr=-1.0), "lr must be"),
        (lambda: optimizers.sgd(Z, Z, momentum=1.5), "momentum must be"),
        (lambda: optimizers.sgd(Z, Z, nesterov=True), "nesterov needs"),
        (lambda: optimizers.sgd(Z, Z, convention="keras", weight_decay=0.1), "Keras's SGD"),
        (lambda: optimizers.sgd(Z, Z, convention="jax"), "convention must be"),
        (lambda: optimizers.adam(Z, Z, Z, Z, step=0), "step must be"),
        (lambda: optimizers.adam(Z, Z, Z, Z, step=1, eps=0.0), "eps must be above 0"),
        (lambda: optimizers.adam(Z, Z, Z, Z - 1, step=1), "must not be negative"),
        (lambda: optimizers.adam(Z, Z, Z, Z, step=1, beta1=True), "beta1 must be"),
        (lambda: trajectories.sgd_path(Z, [Z[:1]], Sgd()), "gradient of step 0"),
        (lambda: trajectories.sgd_path(Z, [Z + np.inf], Sgd()), "finite parameters"),
        (lambda: trajectories.adam_path(Z, [Z], Adam(step=1, weight_decay=0.1)), "weight_decay must be 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
