"""Pooling against windows walked one element at a time, in fractions, and against torch's float64."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=80, deadline=None)
F = np.float32
NAMES = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


@st.composite
def problems(draw, dilated=False):
    axes = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4 if axes < 3 else 2)) for _ in range(axes)]
    dilation = [draw(st.integers(1, 2)) if dilated else 1 for _ in range(axes)]
    pads = [draw(st.integers(0, k // 2)) for k in kernel]
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), d * (k - 1) + 4))
        for k, p, d in zip(kernel, pads, dilation, strict=True)
    ]
    params = {"kernel_size": kernel, "padding": pads, "ceil_mode": draw(st.booleans())}
    if dilated:
        params["dilation"] = dilation
    if draw(st.booleans()):
        params["stride"] = [draw(st.integers(1, 3)) for _ in range(axes)]
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    return (
        axes,
        shape,
        draw(st.sampled_from(KINDS)),
        np.random.default_rng(draw(st.integers(0, 2**32))),
        params,
    )


def walked(x, out, params):
    """Of each output: the elements of its window, and how many positions it has in the padded input."""
    axes, size = x.ndim - 2, x.shape[2:]
    kernel, pads = params["kernel_size"], params["padding"]
    stride, dilation = params.get("stride", kernel), params.get("dilation", [1] * axes)
    for n, c, *at in np.ndindex(*out):
        elements, positions = [], 0
        for tap in np.ndindex(*kernel):
            i = [a * s - p + t * d for a, s, p, t, d in zip(at, stride, pads, tap, dilation, strict=True)]
            positions += all(k < m + p for k, m, p in zip(i, size, pads, strict=True))
            if all(0 <= k < m for k, m in zip(i, size, strict=True)):
                elements.append(float(x[(n, c, *i)]))
        yield elements, positions


def both_layouts(op, axes, x, params):
    """The truth channels first, checked to be the same numbers channels last.

    Sums in another order may end in neighbouring float64; both are certain, and round alike.
    """
    truth = reference.evaluate(f"{op}_pool{axes}d", {"input": x}, params | {"layout": NAMES[axes][0]})
    other = reference.evaluate(
        f"{op}_pool{axes}d", {"input": np.moveaxis(x, 1, -1)}, params | {"layout": NAMES[axes][1]}
    )
    value, residual, bound = (np.moveaxis(a, -1, 1) for a in (other.value, other.residual, other.bound))
    assert np.array_equal(np.moveaxis(other.round(), -1, 1), truth.round(), equal_nan=True)
    with np.errstate(invalid="ignore"):
        apart = abs((value - truth.value) + (residual - truth.residual))
    finite = np.isfinite(truth.value)
    assert (apart <= bound + truth.bound + 2.0**-100 * abs(truth.value))[finite].all()
    return truth


@SETTINGS
@given(problems(), st.sampled_from([None, True, False]), st.sampled_from([None, 3, 7]))
def test_averages(data, contradictions, problem, include, override):
    axes, shape, kind, rng, params = problem
    x = data(kind, shape, rng)
    given_params = params | {"count_include_pad": include, "divisor_override": override}
    truth = both_layouts("avg", axes, x, given_params)
    exact, sizes = [], []
    for elements, positions in walked(x, truth.value.shape, params):
        divisor = override or (len(elements) if include is False else positions)
        exact.append(sum(map(Fraction, elements), Fraction(0)) / divisor)
        sizes.append(sum((abs(Fraction(e)) for e in elements), Fraction(0)) / divisor)
    assert contradictions(truth, exact) == []
    assert [truth.refine(i, 70) for i in range(len(exact))] == [(number, 0) for number in exact]
    for computed, wanted in zip(truth.magnitude.ravel().tolist(), sizes, strict=True):
        assert wanted <= Fraction(computed) <= wanted * Fraction(1001, 1000)
    pool = (torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d, torch.nn.functional.avg_pool3d)
    torch_params = {
        name: params[name] for name in ("kernel_size", "stride", "padding", "ceil_mode") if name in params
    }
    torch_params["count_include_pad"] = include is not False
    if axes > 1 and override:
        torch_params["divisor_override"] = override
    smaller = any(m < k for m, k in zip(shape[2:], params["kernel_size"], strict=True))
    if (axes > 1 or not override) and not smaller:  # torch refuses some of those
        y = pool[axes - 1](torch.tensor(x).double(), **torch_params).numpy()
        terms = prod(params["kernel_size"])
        assert (abs(truth.error(y)) <= (terms + 3) * 2.0**-53 * truth.magnitude + truth.bound).all()


@SETTINGS
@given(problems(dilated=True), st.booleans())
def test_maxima(data, problem, poisoned):
    axes, shape, kind, rng, params = problem
    x = data(kind, shape, rng)
    if poisoned:
        x.reshape(-1)[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf])
    try:
        truth = reference.evaluate(f"max_pool{axes}d", {"input": x}, params)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    if message:  # dilation may leave a window without any element
        assert "every window" in message
        return
    if not poisoned:
        both_layouts("max", axes, x, params)
    for value, (elements, _) in zip(truth.value.ravel(), walked(x, truth.value.shape, params), strict=True):
        wanted = np.nan if np.isnan(elements).any() else max(elements)
        assert np.array_equal(value, wanted, equal_nan=True)
    pool = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)
    y = pool[axes - 1](torch.tensor(x), **params).numpy()
    assert np.array_equal(truth.round(), y, equal_nan=True)
    assert (truth.bound == 0).all()
    finite = (
        int(np.flatnonzero(np.isfinite(truth.value.ravel()))[0]) if np.isfinite(truth.value).any() else None
    )
    if finite is not None:
        assert truth.refine(finite, 9) == (Fraction(float(truth.value.ravel()[finite])), 0)


def test_same_padding_never_counts():
    x = np.arange(1, 6, dtype=F).reshape(1, 1, 5)
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 3, "stride": 2, "padding": "same"})
    assert truth.value.ravel().tolist() == [1.5, 3.0, 4.5]
    lower = reference.evaluate(
        "avg_pool1d", {"input": x[:, :, :4]}, {"kernel_size": 2, "stride": 1, "padding": "same_lower"}
    )
    assert lower.value.ravel().tolist() == [1.0, 1.5, 2.5, 3.5]


def test_ties_of_an_average_go_to_even():
    """(2**24 + 1 + 2**24 + 1) / 2 is halfway; a third of 3 * (2**24 + 3) too."""
    x = F([[[2.0**25, 2, 2.0**25, 6]]])
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 2})
    assert truth.round().ravel().tolist() == [2.0**24, 2.0**24 + 4]
    x = F([[[2.0**25, 2.0**24, 9]]])
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 3})
    assert truth.refine(0, 1) == (2**24 + 3, 0)
    assert truth.round().ravel().tolist() == [2.0**24 + 4]
    x = F([[[2.0**25, 2.0**24, 2, 1, 2.0**-70, 0]]])
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 6, "divisor_override": 3})
    assert truth.round().ravel().tolist() == [2.0**24 + 2]
    assert truth.tiers["exact"] == 1


def test_not_finite_elements_of_an_average():
    x = F([[[np.inf, 1, 1, -np.inf, np.inf, np.nan, 3, 5]]])
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 2})
    assert truth.value.ravel().tolist()[:2] == [np.inf, -np.inf]
    assert np.isnan(truth.value.ravel()[2])
    assert truth.value.ravel()[3] == 4
    assert (truth.bound == 0).all()


def test_a_planted_divisor_is_noticed(data, contradictions):
    x = data("normal", (1, 2, 9), np.random.default_rng(4))
    truth = reference.evaluate("avg_pool1d", {"input": x}, {"kernel_size": 3, "padding": 1})
    wrong = [
        sum(map(Fraction, elements)) / len(elements)
        for elements, _ in walked(x, truth.value.shape, {"kernel_size": [3], "padding": [1]})
    ]
    assert contradictions(truth, wrong) != []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "normal", "wide", "cancelling"])
def test_more_than_100000_averages_are_within_their_bounds(data, contradictions, kind):
    x = data(kind, (2, 60, 31, 31), np.random.default_rng(5))
    params = {"kernel_size": [3, 3], "stride": [1, 1], "padding": [1, 1], "count_include_pad": False}
    truth = reference.evaluate("avg_pool2d", {"input": x}, params)
    assert truth.value.size > 100_000
    exact = [
        sum(map(Fraction, elements)) / len(elements) for elements, _ in walked(x, truth.value.shape, params)
    ]
    assert contradictions(truth, exact) == []


X = np.ones((1, 2, 6, 6), F)
BAD = [
    ({}, "kernel_size"),
    ({"kernel_size": 0}, "kernel_size"),
    ({"kernel_size": [2, 2, 2]}, "kernel_size"),
    ({"kernel_size": 2, "stride": 0}, "stride"),
    ({"kernel_size": 2, "padding": 2}, "every window"),
    ({"kernel_size": 2, "padding": -1}, "padding"),
    ({"kernel_size": 2, "padding": "same_torch"}, "same_torch"),
    ({"kernel_size": 7}, "extent"),
    ({"kernel_size": 2, "ceil_mode": 1}, "ceil_mode"),
    ({"kernel_size": 2, "layout": "NCL"}, "layout"),
    ({"kernel_size": 2, "dilations": 2}, "dilations"),
]
BAD_AVERAGE = [
    ({"kernel_size": 2, "divisor_override": 0}, "divisor_override"),
    ({"kernel_size": 2, "divisor_override": 2.0}, "divisor_override"),
    ({"kernel_size": 2, "count_include_pad": 1}, "count_include_pad"),
    ({"kernel_size": 2, "padding": "same", "count_include_pad": True}, "never counts"),
]


@pytest.mark.parametrize(
    ("op", "params", "word"),
    [(op, *bad) for op in ("avg_pool2d", "max_pool2d") for bad in BAD]
    + [("avg_pool2d", *b) for b in BAD_AVERAGE],
)
def test_bad_parameters_are_refused_in_one_line(op, params, word):
    for function in (reference.evaluate, reference.plain_float32):
        with pytest.raises(ValueError, match=word) as caught:
            function(op, {"input": X}, params)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="add the missing"):
        reference.evaluate(op, {"input": X[0]}, {"kernel_size": 2})
