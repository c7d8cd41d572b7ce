"""The sign of a convolution's error: the candidate that made the numbers is found, the others are refused."""

from __future__ import annotations

import numpy as np
import pytest

from precision.studies import conv_signs
from precision.studies.conv_difference import _pairs
from precision.studies.row import load_document

FIGURES = load_document("conv-difference").entry("sign").figures
PLACES = range(66)


@pytest.fixture(scope="module")
def candidates():
    """Two channels' worth of every candidate from draws of their own, beside the distribution."""
    return conv_signs.candidates(conv_signs.draws(PLACES, count=2, channels=16))


def printed():
    pairs = np.array(_pairs(FIGURES))
    return (pairs[:, 0] - pairs[:, 1]) / pairs[:, 1]


def test_the_documents_own_statistics():
    # From its printed digits alone: 66 pairs, all on one side; the first 32 have a mean of -9.3e-6.
    relative = printed()
    assert relative.size == 66
    assert (relative < 0).all()
    assert relative[:32].mean() == pytest.approx(-9.3e-6, abs=5e-8)
    assert relative.mean() == pytest.approx(-1.108e-5, abs=5e-8)


def test_truncating_tensor_cores_fit_the_document_and_nothing_else_does(candidates):
    mean, spread = (each[0] for each in conv_signs.summary(printed()[:, None]))
    fitting = [each.name for each in candidates if each.fits(mean, spread)]
    assert any("Ampere tensor cores, 8 slices" in name for name in fitting)
    assert all("tensor cores" in name for name in fitting)
    assert not any("one chain" in name for name in fitting)


@pytest.mark.parametrize(
    "planted",
    [
        conv_signs.CAST,
        conv_signs.EXACT.format("RZ"),
        "TF32 operands (RNA), Ampere tensor cores, one chain",
        "TF32 operands (RNA), Ampere tensor cores, 2 slices",
        "TF32 operands (RNA), Hopper tensor cores, one chain",
    ],
)
def test_a_planted_arithmetic_is_named_alone(planted, candidates):
    # Another input and other weights than those of the candidates' own draws.
    x, w, bias = conv_signs._layer(99, 4)
    x = x[list(PLACES)]
    truth = x @ w + bias
    evaluate = conv_signs._evaluations()[planted]
    y = evaluate(*(a.astype(np.float32) for a in (x, w, bias))).astype(np.float64)
    mean, spread = (each[0] for each in conv_signs.summary((y - truth) / truth))
    assert planted in [each.name for each in candidates if each.fits(mean, spread)]
    others = [each.name for each in candidates if each.fits(mean, spread) and each.name != planted]
    assert len(others) <= 1, others  # a neighbour with twice the slices of half the length may be as likely


def test_candidates_keep_their_names_in_any_order_of_arrays():
    arrays = {}
    for place, name in enumerate(conv_signs._evaluations()):
        arrays[f"{name}.mean"] = np.full(3, float(place))
        arrays[f"{name}.spread"] = np.full(3, 1.0)
    backwards = dict(reversed(list(arrays.items())))
    assert [c.name for c in conv_signs.candidates(backwards)] == list(conv_signs._evaluations())
    assert [c.mean[0] for c in conv_signs.candidates(backwards)] == list(range(len(arrays) // 2))


def test_the_layer_is_a_same_convolution():
    # The rows of windows against a convolution written out, at a corner, an edge and inside.
    x, w, bias = conv_signs._layer(0, 2)
    assert x.shape == (128, 6400)
    used = (x != 0).reshape(8, 16, 5, 5, 256).any(axis=-1)
    assert used[0, 0].sum() == 16  # pads 1 above and left
    assert used[7, 15].sum() == 9  # pads 2 below and right
    assert used[3, 3].all()
    assert w.shape == (6400, 2)
    assert bias.shape == (2,)
