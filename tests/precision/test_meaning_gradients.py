"""Gradients of convolutions and normalizations: what was computed in place of the declared one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.gradients import InEps
from precision.meaning.hypotheses import Declaration
from precision.meaning.search import search
from reference import evaluate


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gradient(call, of, grad):
    """Of `call(of)`, by autograd."""
    leaf = t(of.copy()).requires_grad_()
    (found,) = torch.autograd.grad(call(leaf), leaf, t(grad))
    return found.numpy()


def found(meaning):
    return {finding.parameter: finding.found for finding in meaning.findings}


X, DY, W, MEAN = drawn(1, 4, 6, 9, 8), drawn(2, 4, 6, 9, 8), np.abs(drawn(3, 6)) + 1, drawn(4, 6)
VARIANCE = np.abs(drawn(5, 6)) + np.float32(0.5)
ARRAYS = {"grad_output": DY, "input": X, "weight": W, "running_mean": MEAN, "running_var": VARIANCE}


def batch(training=True, weight=W, eps=1e-5):
    def call(x):
        return F.batch_norm(
            x,
            t(MEAN.copy()),
            t(VARIANCE.copy()),
            None if weight is None else t(weight),
            None,
            training,
            eps=eps,
        )

    return gradient(call, X, DY)


@pytest.mark.parametrize(
    ("planted", "wanted"),
    [
        ({}, {}),
        ({"eps": 1e-3}, {"eps": 1e-3}),
        ({"eps": 0.037}, {"eps": 0.037}),
        ({"weight": None}, {"affine": "weight missing"}),
        ({"training": False}, {"training": False}),
    ],
)
def test_the_input_gradient_of_a_batch_normalization(planted, wanted):
    meaning = search("batch_norm_input_grad", ARRAYS, {"training": True, "eps": 1e-5}, batch(**planted))
    assert found(meaning) == {name: pytest.approx(v) if name == "eps" else v for name, v in wanted.items()}
    assert meaning.verdict == ("semantics" if wanted else "rounding")


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_weight_gradient_of_a_group_normalization(groups):
    output = gradient(lambda w: F.group_norm(t(X), groups, w, None, 1e-5), W, DY)
    arrays, params = {"grad_output": DY, "input": X}, {"num_groups": 3, "eps": 1e-5}
    meaning = search("group_norm_weight_grad", arrays, params, output)
    assert found(meaning) == ({} if groups == 3 else {"groups": groups})


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "batch_norm"])
@pytest.mark.parametrize("of", ["input", "weight"])
def test_the_float64_formula_is_the_gradient(op, of):
    arrays = {"grad_output": DY, "input": X} | ({"weight": W[:6]} if of == "input" else {})
    params = {"eps": 1e-3}
    if op == "batch_norm":
        params["training"] = True
    else:
        params["normalized_shape"] = [8]
        arrays |= {"weight": np.abs(drawn(3, 8))} if of == "input" else {}
    name = f"{op}_{of}_grad"
    truth = evaluate(name, arrays, params)
    values = InEps(Declaration(name, arrays, params)).of(1e-3)
    assert np.allclose(values, truth.value, rtol=1e-11, atol=1e-13)
    assert not np.allclose(InEps(Declaration(name, arrays, params)).of(2e-3), truth.value, rtol=1e-6)


K = drawn(6, 5, 6, 3, 3)
GRAD = drawn(7, 4, 5, 5, 4)
LAYER = {"stride": 2, "padding": 1, "input_size": [4, 6, 9, 8]}


def input_gradient(w=K, pads=(1, 1, 1, 1), mode="constant"):
    top, bottom, left, right = pads
    return gradient(
        lambda x: F.conv2d(F.pad(x, (left, right, top, bottom), mode), t(w.copy()), stride=2), X, GRAD
    )


@pytest.mark.parametrize(
    ("planted", "wanted"),
    [
        ({}, {}),
        ({"pads": (0, 2, 1, 1)}, {"padding": [0, 2, 1, 1]}),
        ({"w": K[:, :, ::-1, ::-1]}, {"kernel flip": "all axes"}),
        ({"mode": "circular"}, {"padding mode": "circular"}),
    ],
)
def test_the_input_gradient_of_a_convolution(planted, wanted):
    arrays = {"grad_output": GRAD, "weight": K}
    meaning = search("conv2d_input_grad", arrays, LAYER, input_gradient(**planted))
    assert found(meaning) == wanted


def test_noise_is_no_gradient():
    output = batch() + np.float32(1e-3) * drawn(9, *X.shape)
    meaning = search("batch_norm_input_grad", ARRAYS, {"training": True, "eps": 1e-5}, output)
    assert (meaning.verdict, meaning.findings) == ("unexplained", ())
