"""Convolutions over any axes, transposed ones and all their gradients, against one enumeration of products.

Every one of these ops sums over the same incidences (image, filter, output pixel, channel, tap, input pixel);
the oracle walks through them one by one, in Python integers, by the definition.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=40, deadline=None)
F = np.float32


def units(array):
    """float32 numbers as integers, in units of 2**-149, by index."""
    return {at: int(Fraction(float(v)) * 2**149) for at, v in np.ndenumerate(array)}


def source(i, n, mode):
    """Where an element of the padded input comes from; None for a zero."""
    if 0 <= i < n:
        return i
    if mode == "replicate":
        return min(max(i, 0), n - 1)
    if mode == "circular":
        return i % n
    if mode == "reflect":
        return -i if i < 0 else 2 * (n - 1) - i
    return None


class Incidences:
    """A convolution as the list of its products, channels first."""

    def __init__(self, x_shape, w_shape, stride, pads, dilation, groups, mode="zeros", out=None):
        self.x_shape, self.w_shape = x_shape, w_shape
        n, _, *size = x_shape
        o, per, *kernel = w_shape
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        self.out = out or [
            (m + sum(p) - span) // s + 1 for m, p, span, s in zip(size, pads, spans, stride, strict=True)
        ]
        self.y_shape = (n, o, *self.out)
        self.all = []
        for j, p in product(np.ndindex(*self.out), np.ndindex(*kernel)):
            i = [a * s + b * d - q[0] for a, s, b, d, q in zip(j, stride, p, dilation, pads, strict=True)]
            i = [source(a, m, mode) for a, m in zip(i, size, strict=True)]
            if None in i:
                continue
            for image, f, ch in product(range(n), range(o), range(per)):
                channel = f // (o // groups) * per + ch
                self.all.append(((image, f, *j), (image, channel, *i), (f, ch, *p)))

    def summed(self, which, left, right, bias=None):
        """The exact result of which = "y", "x" or "w", in C order, from the other two."""
        shapes = {"y": self.y_shape, "x": self.x_shape, "w": self.w_shape}
        others = [i for i, name in enumerate("yxw") if name != which]
        mine = "yxw".index(which)
        a, b = units(left), units(right)
        total = dict.fromkeys(np.ndindex(*shapes[which]), 0)
        for incidence in self.all:
            total[incidence[mine]] += a[incidence[others[0]]] * b[incidence[others[1]]]
        start = {at: 0 if bias is None else Fraction(float(bias[at[1]])) for at in total}
        return [Fraction(value, 2**298) + start[at] for at, value in total.items()]


@st.composite
def problems(draw, transposed=False):
    axes = draw(st.integers(1, 3))
    room = 4 if axes < 3 else 2
    groups = draw(st.integers(1, 3 if axes < 3 else 2))
    kernel = [draw(st.integers(1, 3 if axes < 3 else 2)) for _ in range(axes)]
    dilation = [draw(st.integers(1, 2)) for _ in range(axes)]
    stride = [draw(st.integers(1, 3)) for _ in range(axes)]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes)]
    size = [
        draw(st.integers(max(1, span - sum(pad)), max(1, span - sum(pad)) + room))
        for span, pad in zip(spans, pads, strict=True)
    ]
    per, each, n = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    params = {"stride": stride, "dilation": dilation, "groups": groups}
    params["padding"] = [side for pad in pads for side in pad]
    shapes = (n, groups * per, *size), (groups * each, per, *kernel)
    kinds = draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))
    return axes, shapes, kinds, np.random.default_rng(draw(st.integers(0, 2**32))), params, pads


MODES = ("zeros", "reflect", "replicate", "circular")


def possible(mode, x_shape, pads):
    """The mode, or one that may pad by more than there is."""
    most = min(x_shape[2:]) - (mode == "reflect")
    return "replicate" if mode in ("reflect", "circular") and max(map(max, pads)) > most else mode


LAYOUT_NAMES = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def moved(array):
    """Activations from channels first to channels last."""
    return np.moveaxis(array, 1, -1)


def moved_weight(array):
    """A weight from (outer, inner, kernel) to (kernel, inner, outer)."""
    return np.moveaxis(array, (0, 1), (-1, -2))


def back(truth, weight=False):
    """A channels-last truth, channels first."""
    change = (lambda a: np.moveaxis(a, (-1, -2), (0, 1))) if weight else (lambda a: np.moveaxis(a, -1, 1))
    return truth.arranged(lambda a: np.ascontiguousarray(change(a)))


def checked(contradictions, truth, exact, magnitudes=None):
    """The truth against exact values: value, rounding, certainty, refinement."""
    assert contradictions(truth, exact) == []
    assert [truth.refine(i, 200) for i in range(len(exact))] == [(number, 0) for number in exact]
    assert sum(truth.tiers.values()) == len(exact)
    assert not np.signbit(truth.value[truth.value == 0]).any()
    if magnitudes is not None:
        for computed, wanted in zip(truth.magnitude.ravel().tolist(), magnitudes, strict=True):
            assert wanted <= Fraction(computed) <= wanted * Fraction(1001, 1000)


@SETTINGS
@given(problems(), st.booleans(), st.booleans(), st.sampled_from(MODES))
def test_convolutions(data, contradictions, problem, biased, last, mode):
    axes, (x_shape, w_shape), kinds, rng, params, pads = problem
    mode = possible(mode, x_shape, pads)
    windows = params["stride"], pads, params["dilation"]
    incidences = Incidences(x_shape, w_shape, *windows, params["groups"], mode)
    x, w = data(kinds[0], x_shape, rng), data(kinds[1], w_shape, rng)
    b = data(kinds[0], w_shape[:1], rng) if biased else None
    exact = incidences.summed("y", x, w, b)
    sizes = incidences.summed("y", abs(x), abs(w), None if b is None else abs(b))
    params = params | {"padding_mode": mode, "layout": LAYOUT_NAMES[axes][last]}
    arrays = {"input": moved(x), "weight": moved_weight(w)} if last else {"input": x, "weight": w}
    truth = reference.evaluate(f"conv{axes}d", arrays | {"bias": b}, params)
    checked(contradictions, back(truth) if last else truth, exact, sizes)


@settings(max_examples=80, deadline=None)
@given(problems(), st.booleans(), st.sampled_from(MODES))
def test_gradients_of_convolutions(data, contradictions, problem, last, mode):
    axes, (x_shape, w_shape), kinds, rng, params, pads = problem
    mode = possible(mode, x_shape, pads)
    windows = params["stride"], pads, params["dilation"]
    incidences = Incidences(x_shape, w_shape, *windows, params["groups"], mode)
    x, w = data(kinds[0], x_shape, rng), data(kinds[1], w_shape, rng)
    g = data(kinds[1], incidences.y_shape, rng)
    to_x, to_w = (moved, moved_weight) if last else (lambda a: a,) * 2
    params = params | {"padding_mode": mode, "layout": LAYOUT_NAMES[axes][last]}
    truth = reference.evaluate(
        f"conv{axes}d_input_grad",
        {"grad_output": to_x(g), "weight": to_w(w)},
        params | {"input_size": to_x(x).shape},
    )
    sizes = incidences.summed("x", abs(g), abs(w))
    checked(contradictions, back(truth) if last else truth, incidences.summed("x", g, w), sizes)
    truth = reference.evaluate(
        f"conv{axes}d_weight_grad",
        {"grad_output": to_x(g), "input": to_x(x)},
        params | {"weight_size": to_w(w).shape},
    )
    sizes = incidences.summed("w", abs(g), abs(x))
    checked(contradictions, back(truth, weight=True) if last else truth, incidences.summed("w", g, x), sizes)
    truth = reference.evaluate(
        f"conv{axes}d_bias_grad", {"grad_output": to_x(g)}, {"layout": params["layout"]}
    )
    exact = [sum(map(Fraction, g[:, f].ravel().tolist()), Fraction(0)) for f in range(g.shape[1])]
    checked(contradictions, truth, exact)


@SETTINGS
@given(problems(), st.booleans(), st.booleans(), st.integers(0, 2))
def test_transposed_convolutions_and_their_gradients(data, contradictions, problem, last, biased, extra):
    axes, ((n, _, *size), (inputs, each, *kernel)), kinds, rng, params, pads = problem
    stride, dilation, groups = params["stride"], params["dilation"], params["groups"]
    extra = min(extra, *(max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)))
    big = [
        (m - 1) * s - sum(pad) + d * (k - 1) + 1 + extra
        for m, s, pad, d, k in zip(size, stride, pads, dilation, kernel, strict=True)
    ]
    if min(big) < 1:
        return
    x_shape, w_shape, y_shape = (n, inputs, *size), (inputs, each, *kernel), (n, groups * each, *big)
    incidences = Incidences(y_shape, w_shape, stride, pads, dilation, groups, out=size)
    x, w = data(kinds[0], x_shape, rng), data(kinds[1], w_shape, rng)
    b = data(kinds[0], y_shape[1:2], rng) if biased else None
    to_x, to_w = (moved, moved_weight) if last else (lambda a: a,) * 2
    params = params | {"layout": LAYOUT_NAMES[axes][last]}
    if extra:
        params["output_padding"] = extra
    op = f"conv_transpose{axes}d"
    truth = reference.evaluate(op, {"input": to_x(x), "weight": to_w(w), "bias": b}, params)
    sizes = incidences.summed("x", abs(x), abs(w), None if b is None else abs(b))
    checked(contradictions, back(truth) if last else truth, incidences.summed("x", x, w, b), sizes)
    g = data(kinds[1], y_shape, rng)
    truth = reference.evaluate(
        f"{op}_input_grad",
        {"grad_output": to_x(g), "weight": to_w(w)},
        params | {"input_size": to_x(x).shape},
    )
    checked(contradictions, back(truth) if last else truth, incidences.summed("y", g, w))
    truth = reference.evaluate(
        f"{op}_weight_grad",
        {"grad_output": to_x(g), "input": to_x(x)},
        params | {"weight_size": to_w(w).shape},
    )
    checked(contradictions, back(truth, weight=True) if last else truth, incidences.summed("w", x, g))


@pytest.mark.parametrize("rule", ["same", "same_lower"])
@pytest.mark.parametrize(("size", "kernel", "stride", "dilation"), [(7, 3, 2, 1), (8, 3, 2, 1), (9, 4, 3, 2)])
def test_same_is_the_larger_half_on_the_named_side(data, rule, size, kernel, stride, dilation):
    rng = np.random.default_rng(3)
    x, w = data("normal", (1, 2, size), rng), data("normal", (3, 2, kernel), rng)
    common = {"stride": stride, "dilation": dilation}
    found = reference.evaluate("conv1d", {"input": x, "weight": w}, {"padding": rule, **common})
    out = -(-size // stride)
    total = max((out - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    small, large = total // 2, total - total // 2
    pads = [small, large] if rule == "same" else [large, small]
    wanted = reference.evaluate("conv1d", {"input": x, "weight": w}, {"padding": pads, **common})
    assert found.value.shape == (1, 3, out)
    assert np.array_equal(found.value, wanted.value)


@pytest.mark.parametrize("rule", ["same", "same_lower"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(4, 4, 1), (4, 3, 2), (5, 5, 2), (3, 6, 3)])
def test_same_crops_the_larger_half_on_the_named_side(data, rule, size, kernel, stride):
    rng = np.random.default_rng(3)
    arrays = {"input": data("normal", (1, 2, size), rng), "weight": data("normal", (2, 3, kernel), rng)}
    found = reference.evaluate("conv_transpose1d", arrays, {"padding": rule, "stride": stride})
    total = kernel - stride
    small, large = total // 2, total - total // 2
    assert small < large
    crops = [small, large] if rule == "same" else [large, small]
    wanted = reference.evaluate("conv_transpose1d", arrays, {"padding": crops, "stride": stride})
    assert found.value.shape == (1, 3, size * stride)
    assert np.array_equal(found.value, wanted.value)


def test_a_position_beyond_every_tap_is_the_bias_alone():
    """Stride 3 and one tap: two thirds of the outputs have no products."""
    x, w = np.ones((1, 1, 4), F), np.full((1, 1, 1), 2, F)
    arrays = {"input": x, "weight": w, "bias": F([0.25])}
    truth = reference.evaluate("conv_transpose1d", arrays, {"stride": 3, "output_padding": 2})
    assert truth.value.ravel().tolist() == [2.25, 0.25, 0.25] * 4
    assert (truth.bound == 0).all()
    assert [truth.refine(i, 5) for i in (0, 1)] == [(Fraction(9, 4), 0), (Fraction(1, 4), 0)]


def test_infinite_weights_meet_padding_in_a_convolution_and_nothing_in_a_transposed_one():
    x, w = np.ones((1, 1, 3), F), F([[[np.inf, 1.0]]])
    padded = reference.evaluate("conv1d", {"input": x, "weight": w}, {"padding": [1, 0]})
    assert np.array_equal(padded.value.ravel(), [np.nan, np.inf, np.inf], equal_nan=True)
    spread = reference.evaluate("conv_transpose1d", {"input": x, "weight": w}, {})
    assert spread.value.ravel().tolist() == [np.inf, np.inf, np.inf, 1.0]
    assert spread.refine(3, 53) == (1, 0)
    x[0, 0, 1] = np.nan
    spread = reference.evaluate("conv_transpose1d", {"input": x, "weight": F([[[1, 2]]])}, {})
    assert np.array_equal(spread.value.ravel(), [1, np.nan, np.nan, 2], equal_nan=True)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_many_groups_and_tiles_smaller_than_the_sum(monkeypatch, data, contradictions, layout):
    """The same truth whatever the tiles: here a few positions of one group of one image at a time."""
    from reference import conv, dot

    rng = np.random.default_rng(5)
    x, w = data("normal", (2, 12, 6, 5), rng), data("normal", (12, 2, 3, 3), rng)
    incidences = Incidences(x.shape, w.shape, (1, 1), ((1, 1), (1, 1)), (1, 1), 6)
    exact = incidences.summed("y", x, w)
    monkeypatch.setattr(dot, "TILE", 64)
    monkeypatch.setattr(dot, "BLOCK", 4)
    monkeypatch.setattr(conv, "PART", 1)
    if layout == "NHWC":
        truth = back(reference.conv2d(moved(x), moved_weight(w), padding=1, groups=6, layout=layout))
    else:
        truth = reference.conv2d(x, w, padding=1, groups=6)
    checked(contradictions, truth, exact)


def test_the_checker_notices_planted_errors(data, contradictions):
    rng = np.random.default_rng(6)
    x, w = data("normal", (1, 3, 8), rng), data("normal", (3, 2, 4), rng)
    truth = reference.evaluate("conv_transpose1d", {"input": x, "weight": w}, {"stride": 2})
    exact = Incidences((1, 2, 18), (3, 2, 4), (2,), ((0, 0),), (1,), 1, out=[8]).summed("x", x, w)
    assert contradictions(truth, exact) == []
    value = truth.value.copy()
    value[0, 1, 5] += np.spacing(value[0, 1, 5]) * 64
    planted = reference.Truth(value, truth.residual, truth.bound, truth.magnitude)
    assert contradictions(planted, exact) != []
    shifted = exact[1:] + exact[:1]
    assert contradictions(truth, shifted) != []
    narrow = reference.Truth(truth.value, truth.residual, truth.bound * 1e-3, truth.magnitude)
    assert contradictions(narrow, exact) != []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "normal", "wide", "cancelling"])
def test_more_than_100000_elements_of_gradients_are_within_their_bounds(data, kind):
    """Every element against its own exact sum, and those sums, for a part, against the oracle."""
    rng = np.random.default_rng(8)
    g, w = data(kind, (1, 16, 40, 40), rng), data(kind, (16, 16, 3, 3), rng)
    arrays = {"grad_output": g, "weight": w}
    truth = reference.evaluate(
        "conv2d_input_grad", arrays, {"input_size": (1, 16, 80, 80), "stride": 2, "padding": [0, 1, 0, 1]}
    )
    assert truth.value.size > 100_000
    flat = [a.ravel().tolist() for a in (truth.value, truth.residual, truth.bound)]
    for i, (value, residual, bound) in enumerate(zip(*flat, strict=True)):
        exact, radius = truth.refine(i, 53)
        assert radius == 0
        assert abs(exact - Fraction(value) - Fraction(residual)) <= Fraction(bound)
    padded = np.zeros((16, 81, 81), dtype=object)
    gs = np.vectorize(Fraction, otypes=[object])(g[0].astype(float))
    ws = np.vectorize(Fraction, otypes=[object])(w.astype(float))
    for p, q in np.ndindex(3, 3):
        for c in range(0, 16, 5):
            terms = (gs * ws[:, c, p, q][:, None, None]).sum(axis=0)
            padded[c, p : p + 80 : 2, q : q + 80 : 2] += terms
    for c in range(0, 16, 5):
        for i, j in np.ndindex(80, 80):
            assert truth.refine((c * 80 + i) * 80 + j, 1)[0] == padded[c, i, j]
    truth.round()
    assert prod(truth.value.shape) == sum(truth.tiers.values())
