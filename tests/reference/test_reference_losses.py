"""Losses against mpmath and fractions, and against PyTorch in float64."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import losses

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 800
SETTINGS = settings(max_examples=60, deadline=None)
F = torch.nn.functional
SLACK = Fraction(1, 2**200)


def fraction(y):
    sign, mantissa, exponent, _ = y._mpf_
    number = Fraction(mantissa) * Fraction(2) ** exponent
    return -number if sign else number


def exact(v):
    return Fraction(float(v))


def reduced(items, reduction, divisor):
    if reduction == "none":
        return items
    return [sum(items, Fraction(0)) / (divisor if reduction == "mean" else 1)]


def flat(truth):
    return truth.arranged(lambda a: a.reshape(-1))


@SETTINGS
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["uniform", "normal", "cancelling", "integers", "zeros"]),
    st.sampled_from(["none", "mean", "sum"]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_cross_entropy(data, contradictions, count, classes, kind, reduction, smoothing, weighted, seed):
    rng = np.random.default_rng(seed)
    x = data(kind, (count, classes), rng) * np.float32(4)
    w = data("uniform", (classes,), rng) + np.float32(0.1) if weighted else None
    target = rng.integers(0, classes, count)
    target[1:][rng.random(count - 1) < 0.2] = -100
    weights = [exact(v) for v in w] if weighted else [Fraction(1)] * classes
    items, divisor = [], Fraction(0)
    for row, t in zip(x, target, strict=True):
        if t < 0:
            items.append(Fraction(0))
            continue
        total = CONTEXT.log(CONTEXT.fsum(CONTEXT.exp(CONTEXT.mpf(float(v))) for v in row))
        nll = [fraction(total - CONTEXT.mpf(float(v))) if classes > 1 else Fraction(0) for v in row]
        far = Fraction(smoothing) / classes
        spread = sum((a * b for a, b in zip(weights, nll, strict=True)), Fraction(0))
        items.append((1 - Fraction(smoothing)) * weights[t] * nll[t] + far * spread)
        divisor += weights[t]
    options = {"reduction": reduction, "label_smoothing": smoothing}
    truth = losses.cross_entropy(x, target, w, **options)
    assert contradictions(flat(truth), reduced(items, reduction, divisor), SLACK) == []
    tw = None if w is None else torch.tensor(w).double()
    y = F.cross_entropy(torch.tensor(x).double(), torch.tensor(target), tw, **options).numpy()
    assert np.allclose(truth.value, y, rtol=1e-12, atol=1e-13)


@SETTINGS
@given(
    st.integers(1, 6),
    st.sampled_from(["uniform", "normal", "integers", "zeros"]),
    st.sampled_from(["none", "mean", "sum"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_binary_cross_entropy(data, contradictions, count, kind, reduction, soft, weighted, seed):
    rng = np.random.default_rng(seed)
    x = data(kind, (2, count), rng) * np.float32(20)
    y = data("uniform" if soft else "zeros", (2, count), rng)
    y = abs(y) if rng.random() < 0.8 else y
    w = data("uniform", (2, count), rng) if weighted else None
    p = data("uniform", (count,), rng) * np.float32(3) if weighted else None
    items = []
    for i, j in np.ndindex(2, count):
        number, label = exact(x[i, j]), exact(y[i, j])
        factor = exact(p[j]) if weighted else Fraction(1)
        tail = fraction(CONTEXT.log1p(CONTEXT.exp(-CONTEXT.mpf(float(x[i, j])))))
        item = (1 - label) * number + (1 - label + factor * label) * tail
        items.append(item * (exact(w[i, j]) if weighted else 1))
    truth = losses.binary_cross_entropy_with_logits(x, y, w, p, reduction=reduction)
    assert contradictions(flat(truth), reduced(items, reduction, x.size), SLACK) == []
    tensors = [None if a is None else torch.tensor(a).double() for a in (x, y, w, p)]
    found = F.binary_cross_entropy_with_logits(
        tensors[0], tensors[1], tensors[2], pos_weight=tensors[3], reduction=reduction
    )
    assert (abs(truth.value - found.numpy()) <= 1e-13 * (1 + truth.magnitude)).all()


@SETTINGS
@given(
    st.integers(1, 20),
    st.sampled_from(["uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros"]),
    st.sampled_from(["none", "mean", "sum"]),
    st.integers(0, 2**32),
)
def test_mse(data, contradictions, count, kind, reduction, seed):
    rng = np.random.default_rng(seed)
    x, y = data(kind, (count,), rng), data(kind, (count,), rng)
    items = [(exact(a) - exact(b)) ** 2 for a, b in zip(x, y, strict=True)]
    truth = losses.mse_loss(x, y, reduction=reduction)
    wanted = reduced(items, reduction, count)
    assert contradictions(flat(truth), wanted, Fraction(0)) == []
    assert truth.refine(0, 500) == (wanted[0], 0)
    plain = losses.plain_mse_loss(x, y, reduction=reduction)
    assert plain.shape == truth.value.shape
    if kind in {"uniform", "normal", "integers"}:
        assert (abs(plain - truth.value) <= 1e-5 * truth.magnitude).all()


def test_a_tie_of_mse_is_decided():
    """The mean of 1 and 1 + 2**-22 lies halfway between two float32 numbers."""
    x = np.float32([1.0, 1.0])
    truth = losses.mse_loss(x * np.float32([1, 2**-12]), np.float32([0, 0]))
    assert truth.round() == np.float32(0.5 + 2.0**-25)
    assert truth.refine(0, 10) == ((1 + Fraction(1, 2**24)) / 2, 0)


def test_cross_entropy_over_positions_and_special_rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 2)).astype(np.float32)
    target = rng.integers(0, 3, (2, 4, 2))
    for reduction in ("none", "mean", "sum"):
        truth = losses.cross_entropy(x, target, reduction=reduction)
        y = F.cross_entropy(torch.tensor(x).double(), torch.tensor(target), reduction=reduction).numpy()
        assert truth.value.shape == y.shape
        assert np.allclose(truth.value, y, rtol=1e-13)
    assert losses.cross_entropy(x[0, :, 0, 0], np.int64(1)).value.shape == ()
    inf, nan = np.inf, np.nan
    rows = np.float32([[0, -inf], [0, -inf], [inf, 0], [nan, 0]])
    truth = losses.cross_entropy(rows, np.array([0, 1, 0, 0]), reduction="none")
    assert np.array_equal(truth.value, [0, inf, nan, nan], equal_nan=True)
    assert np.isnan(losses.cross_entropy(rows, np.full(4, -100)).value)
    assert losses.cross_entropy(rows, np.full(4, -100), reduction="sum").value == 0
    assert np.isnan(losses.mse_loss(np.zeros(0, np.float32), np.zeros(0, np.float32)).value)
    assert np.isinf(losses.mse_loss(np.float32([inf, 1]), np.float32([0, 0])).value)
    sure = losses.cross_entropy(np.float32([[0.0, -1e9]]), np.array([0]))
    assert sure.round() == 0
    assert not np.signbit(sure.round())


def test_planted_errors_are_caught(contradictions):
    x, y = np.float32([1.1, 2.2, 3.3]), np.float32([0.1, 0.7, 1e-9])
    truth = losses.mse_loss(x, y, reduction="none")
    wanted = [(exact(a) - exact(b)) ** 2 for a, b in zip(x, y, strict=True)]
    assert contradictions(truth, wanted, Fraction(0)) == []
    planted = dataclasses.replace(truth, residual=truth.residual + truth.value * 2.0**-70)
    assert contradictions(planted, wanted, Fraction(0))


Z = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.mse_loss(Z, Z[0]), "input's shape"),
        (lambda: losses.mse_loss(Z, Z, reduction="avg"), "reduction must be"),
        (lambda: losses.cross_entropy(Z, np.zeros(2)), "class indices"),
        (lambda: losses.cross_entropy(Z, np.array([0, 3])), "within 0..2, got 3"),
        (lambda: losses.cross_entropy(Z, np.array([0, -1])), "within 0..2, got -1"),
        (lambda: losses.cross_entropy(Z, np.array([[0], [1]])), "target must have the shape"),
        (lambda: losses.cross_entropy(Z, np.array([0, 1]), Z[0, :2]), "3 classes"),
        (lambda: losses.cross_entropy(Z, np.array([0, 1]), Z[0] - 1), "3 classes"),
        (lambda: losses.cross_entropy(Z, np.array([0, 1]), label_smoothing=1.5), "label_smoothing"),
        (lambda: losses.cross_entropy(np.float32(1), np.array(0)), "add the axes"),
        (lambda: losses.binary_cross_entropy_with_logits(Z, Z, Z[0]), "weight must have"),
        (lambda: losses.binary_cross_entropy_with_logits(Z, Z, None, Z), "pos_weight must have"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
