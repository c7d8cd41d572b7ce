"""Long sweeps: more than 100,000 elements of each kind of op, every one held against an exact value."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import reference
from reference.rational import exact_moments

KINDS = ("uniform", "normal", "wide", "cancelling", "integers")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_products(data, kind):
    """Against math.fsum, which is exact up to the rounding of its result."""
    rng = np.random.default_rng(1)
    x, w = data(kind, (250, 120), rng), data(kind, (420, 120), rng)
    truth = reference.linear(x, w)
    assert truth.value.size > 100_000
    single = truth.round()
    xs, ws = x.astype(np.float64), w.astype(np.float64)
    for i in range(x.shape[0]):
        for j, products in enumerate((xs[i] * ws).tolist()):
            value, residual = float(truth.value[i, j]), float(truth.residual[i, j])
            assert abs(math.fsum([*products, -value, -residual])) <= truth.bound[i, j]
            exact = math.fsum(products)
            near = np.float32(exact)
            if math.fsum([*products, -exact]) == 0 or abs(exact - float(near)) < 0.49 * np.spacing(abs(near)):
                assert single[i, j] == near


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("centred", [True, False])
def test_normalizations(data, contradictions, kind, centred):
    """Against exact statistics and a square root of 1,000 bits, in integers."""
    rng = np.random.default_rng(2)
    x = data(kind, (130, 800), rng)
    w, b = data("normal", (800,), rng), data("normal", (800,), rng)
    eps = 1e-5
    if centred:
        truth = reference.layer_norm(x, 800, w, b, eps=eps)
    else:
        truth, b = reference.rms_norm(x, 800, w, eps=eps), np.zeros_like(b)
    exact = []
    ws, bs = ([Fraction(float(v)) for v in a] for a in (w, b))
    for row in x:
        mean, variance = exact_moments(row, centred)
        total = variance + Fraction(eps)
        root = Fraction(math.isqrt((total.numerator << 2000) // total.denominator), 1 << 1000)
        inverse = Fraction(int((1 << 600) / root), 1 << 600)
        mean = Fraction(round(mean * 2**500), 2**500)
        exact += [(Fraction(float(v)) - mean) * inverse * p + q for v, p, q in zip(row, ws, bs, strict=True)]
    assert len(exact) > 100_000
    assert contradictions(truth, exact, Fraction(1, 2**300)) == []
