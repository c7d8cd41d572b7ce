"""Matrix products and linear layers, with their gradients, in fractions, and their refinement."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference

KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "huge", "integers", "zeros")
SETTINGS = settings(max_examples=60, deadline=None)
F = np.float32


def exactly(array):
    """float32 numbers as an object array of integers, in units of 2**-149."""
    return np.vectorize(lambda v: int(Fraction(v) * 2**149), otypes=[object])(array.astype(float))


def fractions(array):
    return [Fraction(v, 2**298) for v in array.ravel().tolist()]


def summed_to(array, shape):
    """The adjoint of broadcasting, element by element."""
    total = np.full(shape, 0, object)
    for at in np.ndindex(array.shape):
        near = at[array.ndim - len(shape) :]
        total[tuple(0 if size == 1 else i for i, size in zip(near, shape, strict=True))] += array[at]
    return total


def product_of(left, right, batch, rows, inner, columns):
    """left @ right by the definition."""
    wide, tall = (
        np.broadcast_to(left, (*batch, rows, inner)),
        np.broadcast_to(right, (*batch, inner, columns)),
    )
    out = np.full((*batch, rows, columns), 0, object)
    for *b, m, n, k in product(*map(range, (*batch, rows, columns, inner))):
        out[(*b, m, n)] += wide[(*b, m, k)] * tall[(*b, k, n)]
    return out


@st.composite
def products(draw):
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    shapes = []
    for _ in range(2):
        mine = [size if draw(st.booleans()) else 1 for size in batch]
        shapes.append(tuple(mine[draw(st.integers(0, len(mine))) :]))
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    kinds = draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))
    return (*shapes[0], m, k), (*shapes[1], k, n), kinds, np.random.default_rng(draw(st.integers(0, 2**32)))


@SETTINGS
@given(products())
def test_matmul_and_its_gradients(data, contradictions, problem):
    a_shape, b_shape, kinds, rng = problem
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    (m, k), n = a_shape[-2:], b_shape[-1]
    a, b = data(kinds[0], a_shape, rng), data(kinds[1], b_shape, rng)
    g = data(kinds[0], (*batch, m, n), rng)
    xa, xb, xg = exactly(a), exactly(b), exactly(g)
    truth = reference.evaluate("matmul", {"input": a, "other": b}, {})
    assert truth.value.shape == (*batch, m, n)
    found = {"matmul": (truth, product_of(xa, xb, batch, m, k, n))}
    found["input"] = (
        reference.evaluate("matmul_input_grad", {"grad_output": g, "other": b}, {"input_size": a_shape}),
        summed_to(product_of(xg, xb.swapaxes(-1, -2), batch, m, n, k), a_shape),
    )
    found["other"] = (
        reference.evaluate("matmul_other_grad", {"grad_output": g, "input": a}, {"other_size": b_shape}),
        summed_to(product_of(xa.swapaxes(-1, -2), xg, batch, k, m, n), b_shape),
    )
    for truth, wanted in found.values():
        exact = fractions(wanted)
        assert truth.value.shape == wanted.shape
        assert contradictions(truth, exact) == []
        assert [truth.refine(i, 99) for i in range(len(exact))] == [(number, 0) for number in exact]
    full = reference.evaluate("matmul_input_grad", {"grad_output": g, "other": b}, {})
    assert full.value.shape == (*batch, m, k)


def test_attention_is_two_matrix_products(data, contradictions):
    rng = np.random.default_rng(1)
    q, k = data("normal", (2, 3, 5, 8), rng), data("normal", (2, 3, 7, 8), rng)
    scores = reference.evaluate("matmul", {"input": q, "other": k.swapaxes(-1, -2)}, {})
    wanted = product_of(exactly(q), exactly(k).swapaxes(-1, -2), (2, 3), 5, 8, 7)
    assert contradictions(scores, fractions(wanted)) == []


@SETTINGS
@given(
    st.integers(1, 4), st.integers(1, 40), st.integers(1, 4), st.sampled_from(KINDS), st.integers(0, 2**32)
)
def test_gradients_of_linear(data, contradictions, rows, inputs, outputs, kind, seed):
    rng = np.random.default_rng(seed)
    x, w = data(kind, (2, rows, inputs), rng), data(kind, (outputs, inputs), rng)
    g = data("wide", (2, rows, outputs), rng)
    xx, xw, xg = exactly(x), exactly(w), exactly(g)
    cases = (
        ("linear_input_grad", {"grad_output": g, "weight": w}, (xg[..., None] * xw).sum(axis=-2)),
        (
            "linear_weight_grad",
            {"grad_output": g, "input": x},
            (xg[..., :, None] * xx[..., None, :]).sum(axis=(0, 1)),
        ),
        ("linear_bias_grad", {"grad_output": g}, xg.sum(axis=(0, 1)) * 2**149),
    )
    for op, arrays, wanted in cases:
        truth, exact = reference.evaluate(op, arrays, {}), fractions(wanted)
        assert truth.value.shape == wanted.shape
        assert contradictions(truth, exact) == []
        assert [truth.refine(i, 99)[0] for i in range(len(exact))] == exact


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv2d_is_refined_exactly_at_the_right_place(data, layout):
    rng = np.random.default_rng(2)
    x, w, b = data("wide", (2, 4, 5, 3), rng), data("wide", (4, 4, 2, 2), rng), data("wide", (4,), rng)
    if layout == "NHWC":
        truth = reference.conv2d(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), b, layout=layout)
    else:
        truth = reference.conv2d(x, w, b)
    index = np.arange(truth.value.size).reshape(truth.value.shape)
    index = index.transpose(0, 3, 1, 2) if layout == "NHWC" else index
    for n, o, i, j in np.ndindex(2, 4, 4, 2):
        window = x[n, :, i : i + 2, j : j + 2].ravel().tolist()
        wanted = sum(Fraction(p) * Fraction(q) for p, q in zip(window, w[o].ravel().tolist(), strict=True))
        assert truth.refine(int(index[n, o, i, j]), 60) == (wanted + Fraction(float(b[o])), 0)


@pytest.mark.parametrize("shape", [((0, 3), (3, 2)), ((2, 0), (0, 2)), ((0, 2, 3), (3, 2)), ((2, 3), (3, 0))])
def test_empty_operands_have_empty_or_zero_products(shape):
    a, b = (np.ones(s, F) for s in shape)
    truth = reference.evaluate("matmul", {"input": a, "other": b}, {})
    assert np.array_equal(truth.value, a @ b)
    assert (truth.bound == 0).all()


def test_not_finite_operands_of_a_product():
    a, b = F([[np.inf, 1], [0, 1]]), F([[1, 0], [np.nan, 2]])
    truth = reference.evaluate("matmul", {"input": a, "other": b}, {})
    assert np.array_equal(truth.value, [[np.nan, np.nan], [np.nan, 2]], equal_nan=True)
    assert truth.refine(3, 53) == (2, 0)


X = np.ones((2, 3, 4), F)
BAD = [
    ("matmul", {"input": X, "other": X}, {}, "transpose"),
    ("matmul", {"input": X[0, 0], "other": X}, {}, "at least 2 axes"),
    ("matmul", {"input": X, "other": np.ones((3, 4, 2), F)}, {}, "batch"),
    ("matmul", {"input": X, "other": np.ones((4, 2), int)}, {}, "int64"),
    (
        "matmul_input_grad",
        {"grad_output": X, "other": np.ones((2, 5, 4), F)},
        {"input_size": 5},
        "input_size",
    ),
    (
        "matmul_input_grad",
        {"grad_output": X, "other": np.ones((2, 5, 4), F)},
        {"input_size": [3, 3, 5]},
        "batch",
    ),
    (
        "matmul_input_grad",
        {"grad_output": X, "other": np.ones((1, 5, 4), F)},
        {"input_size": [3, 5]},
        "grad_out",
    ),
    (
        "matmul_other_grad",
        {"grad_output": X, "input": np.ones((2, 3, 5), F)},
        {"other_size": [2, 5, 9]},
        "other_",
    ),
    ("matmul_other_grad", {"grad_output": X, "input": X[0, 0]}, {}, "at least 2 axes"),
    ("linear_input_grad", {"grad_output": X, "weight": X}, {}, "weight"),
    ("linear_weight_grad", {"grad_output": X, "input": X[0]}, {}, "same rows"),
    ("linear_bias_grad", {"grad_output": F(1)}, {}, "axis"),
]


@pytest.mark.parametrize(("op", "arrays", "params", "word"), BAD)
def test_bad_products_are_refused_in_one_line(op, arrays, params, word):
    with pytest.raises(ValueError, match=word) as caught:
        reference.evaluate(op, arrays, params)
    assert "\n" not in str(caught.value)
