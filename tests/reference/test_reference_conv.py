"""conv2d and linear against fractions, integers of python-flint, math.fsum and torch's float64."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=400, deadline=None)


@st.composite
def problems(draw):
    groups = draw(st.integers(1, 3))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    size = [
        draw(st.integers(max(1, span - total), max(1, span - total) + 4))
        for span, total in zip(spans, (pads[0] + pads[1], pads[2] + pads[3]), strict=True)
    ]
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    per, each = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    x_shape = (draw(st.integers(1, 2)), groups * per, *size)
    w_shape = (groups * each, per, *kernel)
    kinds = draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return x_shape, w_shape, kinds, rng, draw(st.booleans()), (stride, pads, dilation, groups)


@SETTINGS
@given(problems(), st.sampled_from(["NCHW", "NHWC"]))
def test_conv2d_is_certified(data, exact_conv, contradictions, problem, layout):
    x_shape, w_shape, kinds, rng, biased, (stride, pads, dilation, groups) = problem
    x, w = data(kinds[0], x_shape, rng), data(kinds[1], w_shape, rng)
    b = data(kinds[0], w_shape[:1], rng) if biased else None
    exact = exact_conv(x, w, b, stride, pads, dilation, groups)
    sizes = exact_conv(abs(x), abs(w), None if b is None else abs(b), stride, pads, dilation, groups)
    params = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups, "layout": layout}
    if layout == "NHWC":
        truth = reference.conv2d(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), b, **params)
        truth = truth.arranged(lambda a: a.transpose(0, 3, 1, 2))
    else:
        truth = reference.conv2d(x, w, b, **params)
    assert contradictions(truth, exact) == []
    for computed, wanted in zip(truth.magnitude.ravel().tolist(), sizes, strict=True):
        assert wanted <= Fraction(computed) <= wanted * Fraction(1001, 1000)
    assert sum(truth.tiers.values()) == len(exact)
    assert not np.signbit(truth.value[truth.value == 0]).any()


@SETTINGS
@given(
    st.integers(1, 5), st.integers(1, 90), st.integers(1, 4), st.sampled_from(KINDS), st.integers(0, 2**32)
)
def test_linear_is_certified(data, contradictions, rows, terms, outputs, kind, seed):
    rng = np.random.default_rng(seed)
    x, w, b = data(kind, (rows, terms), rng), data(kind, (outputs, terms), rng), data("wide", (outputs,), rng)
    truth = reference.linear(x, w, b)
    exact = [
        sum((Fraction(float(p)) * Fraction(float(q)) for p, q in zip(r, o, strict=True)), Fraction(float(c)))
        for r in x
        for o, c in zip(w, b, strict=True)
    ]
    assert contradictions(truth, exact) == []


def windows(x, kernel, stride, pads, dilation=1):
    """Every window of a padded NCHW input as a row (c, kh, kw)."""
    padded = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]))
    spans = tuple(dilation * (k - 1) + 1 for k in kernel)
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, (2, 3))
    view = view[:, :, ::stride, ::stride, ::dilation, ::dilation].transpose(0, 2, 3, 1, 4, 5)
    return view.reshape(-1, x.shape[1] * kernel[0] * kernel[1])


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_every_one_of_100000_elements_is_within_its_bound(rng_data, kind):
    """Against python-flint's integer matrices: all operands are multiples of 2**-30."""
    make, rng = rng_data
    x, w = make(kind, (2, 16, 32, 32), rng), make(kind, (64, 16, 3, 3), rng)
    x, w = (np.round(a * 2.0**26).astype(np.int64) for a in (x, w))
    x, w = (
        (a >> 4 if kind == "normal" else a).astype(np.float32) for a in (x, w)
    )  # float32 numbers, integers
    truth = reference.conv2d(x, w, padding=1)
    assert truth.value.size > 100_000
    left = flint.fmpz_mat([[int(v) for v in row] for row in windows(x, (3, 3), 1, (1, 1, 1, 1))])
    right = flint.fmpz_mat([[int(v) for v in row] for row in w.reshape(64, -1).T])
    exact = [int(v) for v in (left * right).entries()]
    moved = truth.arranged(lambda a: a.transpose(0, 2, 3, 1))
    for number, value, residual, bound in zip(
        exact, *(p.ravel().tolist() for p in (moved.value, moved.residual, moved.bound)), strict=True
    ):
        assert (value, residual) == (int(value), int(residual))
        assert abs(number - int(value) - int(residual)) <= bound
    assert moved.round().ravel().tolist() == [round32(number) for number in exact]


def round32(number: int) -> float:
    """An integer to the nearest float32, ties to even."""
    shift = max(0, abs(number).bit_length() - 24)
    return float(round(Fraction(number, 1 << shift)) << shift)


@pytest.fixture
def rng_data(data):
    return data, np.random.default_rng(7)


def test_an_ill_conditioned_sum_escalates_and_is_certified(rng_data):
    make, rng = rng_data
    x, w = make("normal", (40, 300), rng), make("normal", (50, 300), rng)
    x[:, 150:] = x[:, :150]
    w[:, 150:] = -w[:, :150] * (1 + np.float32(2e-7) * make("normal", (50, 150), rng))
    truth = reference.linear(x, w)
    assert truth.tiers["float64"] == 0
    assert truth.tiers["double-double"] == 2000
    assert np.median(truth.magnitude / abs(truth.value)) > 1e6
    for (i, j), value in np.ndenumerate(truth.value):
        products = (x[i].astype(float) * w[j].astype(float)).tolist()
        left = math.fsum([*products, -value, -truth.residual[i, j]])
        assert abs(left) <= truth.bound[i, j]
    truth.round()


def test_sums_that_cancel_entirely_are_decided_exactly(rng_data):
    make, rng = rng_data
    x, w = make("wide", (8, 200), rng), make("wide", (8, 200), rng)
    x[:, 100:], w[:, 100:] = x[:, :100], -w[:, :100]
    truth = reference.linear(x, w)
    assert (truth.value == 0).all()
    assert (truth.bound == 0).all()
    assert not np.signbit(truth.value).any()
    assert truth.tiers["exact"] > 0


def test_integer_sums_are_exact_in_the_first_tier(rng_data):
    make, rng = rng_data
    truth = reference.conv2d(make("integers", (1, 8, 9, 9), rng), make("integers", (4, 8, 3, 3), rng))
    assert truth.tiers == {"float64": truth.value.size, "double-double": 0, "exact": 0}
    assert (truth.bound == 0).all()


@pytest.mark.parametrize("bias_step", [-1, 0, 1])
def test_halfway_cases_go_to_even(bias_step):
    """2**24 + 1 is a tie of float32; a bias of one part in 2**70 decides it."""
    x = np.array([[2.0**12, 1.0, 2.0**-35]], np.float32)
    w = np.array([[2.0**12, 1.0, bias_step * 2.0**-35], [2.0**12, 3.0, bias_step * 2.0**-35]], np.float32)
    rounded = reference.linear(x, w).round()
    tie = {-1: (2**24, 2**24 + 2), 0: (2**24, 2**24 + 4), 1: (2**24 + 2, 2**24 + 4)}
    assert rounded.tolist() == [[float(v) for v in tie[bias_step]]]


def test_overflow_begins_half_an_ulp_above_the_largest_number():
    """The largest number is (2 - 2**-23) * 2**127, half an ulp is 2**103."""
    x = np.array([[2.0**127, 2.0**102, 2.0**-100]], np.float32)
    w = np.array([[2 - 2.0**-23, c, d] for c, d in ((1, 0), (2, -1), (2, 0), (2, 1))], np.float32)
    largest = float(np.finfo(np.float32).max)
    assert reference.linear(x, w).round().tolist() == [[largest, largest, math.inf, math.inf]]
    assert reference.linear(x, -w).round().tolist() == [[-largest, -largest, -math.inf, -math.inf]]


def test_infinities_and_nan_do_not_depend_on_the_order():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0], x[0, 0, 3, 3], x[0, 0, 1, 2] = np.inf, np.nan, 2.0
    w = np.ones((3, 1, 1, 2), np.float32)
    w[1, 0, 0, 1] = -1.0
    w[2, 0, 0, 0] = np.inf
    truth = reference.conv2d(x, w, np.float32([0, 0, -np.inf]), padding=[0, 0, 1, 0])
    with np.errstate(invalid="ignore"):
        wanted = torch.nn.functional.conv2d(
            torch.nn.functional.pad(torch.tensor(x).double(), (1, 0, 0, 0)),
            torch.tensor(w).double(),
            torch.tensor([0, 0, -np.inf]).double(),
        ).numpy()
    assert np.array_equal(truth.value, wanted, equal_nan=True)
    wild = ~np.isfinite(wanted)
    assert (truth.bound[wild] == 0).all()
    assert (truth.residual[wild] == 0).all()
    assert np.array_equal(truth.round(), wanted.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        (7, 3, 2, 1, (1, 1)),
        (8, 3, 2, 1, (0, 1)),
        (16, 5, 2, 1, (1, 2)),
        (9, 3, 1, 2, (2, 2)),
        (5, 1, 3, 1, (0, 0)),
    ],
)
def test_same_padding_is_tensorflows(rng_data, size, kernel, stride, dilation, pads):
    make, rng = rng_data
    x, w = make("normal", (1, 2, size, size), rng), make("normal", (3, 2, kernel, kernel), rng)
    common = {"stride": stride, "dilation": dilation}
    same = reference.conv2d(x, w, padding="same", **common)
    explicit = reference.conv2d(x, w, padding=[*pads, *pads], **common)
    assert np.array_equal(same.value, explicit.value)
    assert same.value.shape[2] == -(-size // stride)


@pytest.mark.parametrize(
    ("shape", "kernel", "params"),
    [
        ((1, 3, 64, 64), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
        ((2, 32, 14, 14), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
        ((1, 32, 14, 14), (16, 8, 3, 3), {"padding": 2, "groups": 4, "dilation": 2}),
        ((1, 700, 5, 5), (9, 700, 1, 1), {}),
    ],
)
def test_torch_float64_is_within_its_own_bound(rng_data, shape, kernel, params):
    make, rng = rng_data
    x, w, b = make("normal", shape, rng), make("normal", kernel, rng), make("normal", kernel[:1], rng)
    truth = reference.conv2d(x, w, b, **params)
    y = torch.nn.functional.conv2d(*(torch.tensor(a).double() for a in (x, w, b)), **params).numpy()
    count = kernel[1] * kernel[2] * kernel[3] + 1
    assert (abs(truth.error(y)) <= (count + 2) * 2.0**-53 * truth.magnitude + truth.bound).all()
    assert truth.tiers["double-double"] < 0.05 * truth.value.size


def test_narrow_and_double_operands_are_taken_without_change(rng_data):
    make, rng = rng_data
    x, w = make("normal", (3, 8), rng).astype(np.float16), make("normal", (2, 8), rng)
    double = reference.linear(x.astype(np.float64), w.astype(np.float64))
    assert np.array_equal(reference.linear(x, w).value, double.value)


def test_an_empty_batch_has_an_empty_truth():
    truth = reference.conv2d(np.zeros((0, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32))
    assert truth.value.shape == (0, 3, 2, 2)
