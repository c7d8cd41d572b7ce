"""Interpolation against fractions by its definition, and against PyTorch in float64."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import resize

SETTINGS = settings(max_examples=60, deadline=None)
KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")


def keys(d, a):
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else Fraction(0)


def line(values, out, kind, coordinates, factor=None, a=Fraction(-3, 4), exclude=False):
    """One axis resized: sum over ALL input positions of kernel(distance), clamped by padding the input."""
    size = len(values)
    if coordinates == "align_corners":
        scale = Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    else:
        scale = Fraction(size, out) if factor is None else Fraction(1 / factor)
    results = []
    for i in range(out):
        at = i * scale
        if coordinates == "half_pixel":
            at = (2 * i + 1) * scale / 2 - Fraction(1, 2)
        if kind == "nearest":
            shift = {"half_pixel": Fraction(1, 2), "align_corners": Fraction(1, 2), "asymmetric": 0}
            results.append(values[min(math.floor(at + shift[coordinates]), size - 1)])
            continue
        reach = size + 3 if factor is None else 4 * size + out
        total = weight_sum = Fraction(0)
        for k in range(-reach, size + reach):
            w = max(Fraction(0), 1 - abs(at - k)) if kind == "linear" else keys(at - k, a)
            if exclude and not 0 <= k < size:
                continue
            weight_sum += w
            if w:
                total += w * values[min(max(k, 0), size - 1)]
        results.append(total / weight_sum)
    return results


def plane(x, out, kind, coordinates, **options):
    grid = [[Fraction(float(v)) for v in row] for row in x]
    wide = [line(row, out[1], kind, coordinates, **options) for row in grid]
    columns = [line([row[j] for row in wide], out[0], kind, coordinates, **options) for j in range(out[1])]
    return [columns[j][i] for i in range(out[0]) for j in range(out[1])]


@SETTINGS
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    st.booleans(),
    st.sampled_from(KINDS),
    st.integers(0, 2**32),
)
def test_planes_against_fractions(
    data, contradictions, shape, out, mode, coordinates, tensorflow, kind, seed
):
    x = data(kind, (1, 1, *shape), np.random.default_rng(seed))
    options, ours = {}, {}
    if mode == "bicubic" and tensorflow:
        options = {"a": Fraction(-1, 2), "exclude": True}
        ours = {"cubic_coefficient": -0.5, "border": "exclude"}
    truth = resize.interpolate(x, list(out), mode=mode, coordinates=coordinates, **ours)
    kernel = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}[mode]
    exact = plane(x[0, 0], out, kernel, coordinates, **options)
    assert contradictions(truth, exact, Fraction(0)) == []
    assert truth.refine(0, 99) == (exact[0], 0)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"])
@pytest.mark.parametrize(
    "how", [{"size": 7}, {"scale_factor": 2}, {"scale_factor": 0.7}, {"scale_factor": 1.6}]
)
def test_torch_float64_agrees(data, mode, how):
    rank = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}.get(mode, 2)
    x = data("normal", (2, 3, *(5, 6, 4)[:rank]), np.random.default_rng(0))
    choices = [False] if mode.startswith("nearest") else [False, True]
    for align in choices:
        extra = {} if mode.startswith("nearest") else {"align_corners": align}
        for recompute in [None, True] if "scale_factor" in how else [None]:
            y = torch.nn.functional.interpolate(
                torch.tensor(x).double(), **how, mode=mode, recompute_scale_factor=recompute, **extra
            ).numpy()
            truth = resize.interpolate(x, **how, mode=mode, recompute_scale_factor=bool(recompute), **extra)
            assert truth.value.shape == y.shape
            assert (abs(truth.error(y)) <= 1e-13 * truth.magnitude + 1e-300).all()
    last = resize.interpolate(np.moveaxis(x, 1, -1), **how, mode=mode, layout="NHWC")
    first = resize.interpolate(x, **how, mode=mode)
    assert np.array_equal(np.moveaxis(last.value, -1, 1), first.value)
    value, residual, bound = (Fraction(float(a.ravel()[5])) for a in (last.value, last.residual, last.bound))
    assert abs(last.refine(5, 9)[0] - value - residual) <= bound


def test_binary_weights_are_exact_without_the_last_tier(data):
    x = data("normal", (1, 2, 20, 20), np.random.default_rng(1))
    truth = resize.interpolate(x, scale_factor=2, mode="bilinear")
    assert (truth.bound == 0).all()
    assert truth.tiers["exact"] == 0


def test_infinities_nan_and_empty():
    x = np.float32([[[1, np.inf, 3, 4, np.nan, 6]]])
    truth = resize.interpolate(x, 6, mode="linear")  # weights 1 and 0
    assert np.array_equal(truth.value, [[[np.nan, np.inf, 3, np.nan, np.nan, 6]]], equal_nan=True)
    assert np.array_equal(resize.interpolate(x, 6).value, x, equal_nan=True)
    assert resize.interpolate(np.zeros((0, 3, 4, 4), np.float32), 2).value.shape == (0, 3, 2, 2)


def test_a_planted_error_is_caught(data, contradictions):
    x = data("normal", (1, 1, 3, 3), np.random.default_rng(1))
    truth = resize.interpolate(x, [5, 7], mode="bilinear")
    exact = plane(x[0, 0], (5, 7), "linear", "half_pixel")
    assert contradictions(truth, exact, Fraction(0)) == []
    planted = dataclasses.replace(truth, bound=truth.bound * 2.0**-40)
    assert contradictions(planted, exact, Fraction(0))


X = np.zeros((1, 1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resize.interpolate(X), "size or scale_factor"),
        (lambda: resize.interpolate(X, 3, scale_factor=2), "size or scale_factor"),
        (lambda: resize.interpolate(X, 3, mode="area"), "mode must be"),
        (lambda: resize.interpolate(X, 3, mode="linear"), "axes that are not empty"),
        (lambda: resize.interpolate(X, [3, 3, 3]), "size must be"),
        (lambda: resize.interpolate(X, 2.5), "size must be"),
        (lambda: resize.interpolate(X, scale_factor=0), "scale_factor must be"),
        (lambda: resize.interpolate(X, scale_factor=0.1), "must have 1"),
        (lambda: resize.interpolate(X, 3, coordinates="corner"), "coordinates must be"),
        (lambda: resize.interpolate(X, 3, border="zero"), "border must be"),
        (lambda: resize.interpolate(X, 3, cubic_coefficient=99), "cubic_coefficient"),
        (lambda: resize.interpolate(X, 3, layout="HWC"), "layout must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
