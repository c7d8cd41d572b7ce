"""Rearranging channels and dropout: exact, as the frameworks do them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import dropout, rearrange

F = torch.nn.functional


@pytest.mark.parametrize("block", [1, 2, 3])
def test_pixel_shuffle_is_torchs(data, block):
    x = data("normal", (2, 2 * block * block, 3, 4), np.random.default_rng(0))
    truth = rearrange.pixel_shuffle(x, block)
    assert np.array_equal(truth.value, F.pixel_shuffle(torch.tensor(x), block).numpy())
    assert (truth.bound == 0).all()
    assert truth.refine(3, 9) == (Fraction(float(truth.value.ravel()[3])), 0)
    y = truth.round()
    assert np.array_equal(rearrange.pixel_unshuffle(y, block).value, x)
    assert np.array_equal(F.pixel_unshuffle(torch.tensor(y), block).numpy(), x)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.sampled_from(["DCR", "CRD"]), st.booleans()
)
def test_depth_and_space_by_definition(block, rest, side, mode, last):
    """Element by element: where each channel goes."""
    x = np.arange(rest * block * block * side * side, dtype=np.float32).reshape(1, -1, side, side)
    given_x = np.moveaxis(x, 1, -1) if last else x
    layout = "NHWC" if last else "NCHW"
    y = rearrange.depth_to_space(given_x, block, mode=mode, layout=layout).value
    y = np.moveaxis(y, -1, 1) if last else y
    for c, i, j in np.ndindex(x.shape[1:]):
        down, right, target = (
            (c // (block * rest), c // rest % block, c % rest)
            if mode == "DCR"
            else (c // block % block, c % block, c // (block * block))
        )
        assert y[0, target, i * block + down, j * block + right] == x[0, c, i, j]
    back = rearrange.space_to_depth(
        np.float32(np.moveaxis(y, 1, -1) if last else y), block, mode=mode, layout=layout
    )
    assert np.array_equal(back.value, given_x)


def test_nan_and_signed_zero_move_too():
    x = np.float32([np.nan, -0.0, np.inf, 1]).reshape(1, 4, 1, 1)
    truth = rearrange.depth_to_space(x, 2)
    assert np.array_equal(truth.value.ravel(), x.ravel(), equal_nan=True)
    assert np.array_equal(np.isinf(truth.magnitude).ravel(), [True, False, True, False])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["uniform", "normal", "wide", "subnormal", "huge", "integers"]),
    st.sampled_from([0.0, 0.1, 0.5, 0.3, 0.999]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_dropout(data, contradictions, kind, p, training, seed):
    rng = np.random.default_rng(seed)
    x, mask = data(kind, (20,), rng), rng.random(20) < 0.6
    truth = dropout.dropout(x, mask, p=p, training=training)
    scale = 1 / (1 - Fraction(p))
    exact = [Fraction(float(v)) * (scale * int(m) if training else 1) for v, m in zip(x, mask, strict=True)]
    assert contradictions(truth, exact, Fraction(0)) == []
    assert truth.refine(4, 9) == (exact[4], 0)


def test_dropout_of_infinity_follows_the_formula():
    x = np.float32([np.inf, np.inf, np.nan])
    truth = dropout.dropout(x, np.array([1, 0, 1]))
    assert np.array_equal(truth.value, [np.inf, np.nan, np.nan], equal_nan=True)


X = np.zeros((1, 4, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rearrange.depth_to_space(X, 3), "multiple of block_size"),
        (lambda: rearrange.depth_to_space(X, 0), "positive integer"),
        (lambda: rearrange.depth_to_space(X[0], 2), "4 axes"),
        (lambda: rearrange.depth_to_space(X, 2, mode="torch"), "mode must be"),
        (lambda: rearrange.space_to_depth(X, 2), "multiples of block_size"),
        (lambda: rearrange.space_to_depth(X, 1, layout="HW"), "layout must be"),
        (lambda: dropout.dropout(X, X[0]), "input's shape"),
        (lambda: dropout.dropout(X, X + 2), "0 and 1 alone"),
        (lambda: dropout.dropout(X, X, p=1.0), "p must be"),
        (lambda: dropout.dropout(X, X, p=True), "p must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
