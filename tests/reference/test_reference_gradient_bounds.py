"""Gradients of normalizations, by torch's autograd and by plain float32 code, are within their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reference

F = np.float32
functional, tensor = torch.nn.functional, torch.tensor
SHAPE = (6, 8, 5, 4)


def shares(op, arrays, params, output, **options):
    """The share of its bound that each element of an output uses."""
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth, **options)
    assert bound.shape == truth.value.shape
    assert np.isfinite(bound).all()
    found = abs(truth.error(np.asarray(output))) / bound
    assert not np.isnan(found).any()
    return found


NORMS = {
    "batch_norm": (
        lambda x, w: functional.batch_norm(x, None, None, w, training=True),
        {"training": True},
        (8,),
    ),
    "group_norm": (lambda x, w: functional.group_norm(x, 2, w), {"num_groups": 2}, (8,)),
    "instance_norm": (lambda x, w: functional.instance_norm(x, weight=w, bias=torch.zeros(8)), {}, (8,)),
    "layer_norm": (lambda x, w: functional.layer_norm(x, [5, 4], w), {"normalized_shape": [5, 4]}, (5, 4)),
    "layer_norm over axis 1": (
        lambda x, w: functional.layer_norm(x.movedim(1, 3), [8], w).movedim(3, 1),
        {"axes": 1},
        (8,),
    ),
    "rms_norm": (lambda x, w: functional.rms_norm(x, [4], w, eps=1e-5), {"axes": [3], "eps": 1e-5}, (4,)),
}


def data_of(seed, offset, shape):
    rng = np.random.default_rng(seed)
    x, dy = ((rng.standard_normal(SHAPE) + far).astype(F) for far in (offset, 0))
    return x, dy, rng.standard_normal(shape).astype(F)


@pytest.mark.parametrize("offset", [0.0, 2.0, 20.0])
@pytest.mark.parametrize("name", NORMS)
def test_normalizations(name, offset):
    forward, params, shape = NORMS[name]
    op = name.split()[0]
    for seed in range(4):
        x, dy, w = data_of(seed, offset, shape)
        tx, tw = tensor(x).requires_grad_(), tensor(w).requires_grad_()
        forward(tx, tw).backward(tensor(dy))
        arrays = {"grad_output": dy, "input": x}
        for kind, given, found in (("input", {"weight": w}, tx.grad), ("weight", {}, tw.grad)):
            gradient = f"{op}_{kind}_grad"
            plain = reference.plain_float32(gradient, arrays | given, params)
            for algorithm in ("two_pass", "welford"):
                for output in (found, plain):
                    assert shares(gradient, arrays | given, params, output, algorithm=algorithm).max() <= 1
            if offset == 0.0:
                assert shares(gradient, arrays | given, params, plain).max() > 1e-4
                other = params | {"eps": 0.03}
                assert (shares(gradient, arrays | given, other, found) > 1).mean() > 0.3


def test_batch_norm_with_running_statistics():
    x, dy, w = data_of(1, 1.0, (8,))
    mean, variance = w + F(1), abs(w) + F(0.1)
    tx, tw = tensor(x).requires_grad_(), tensor(w).requires_grad_()
    functional.batch_norm(tx, tensor(mean), tensor(variance), tw).backward(tensor(dy))
    arrays = {"grad_output": dy, "input": x, "running_mean": mean, "running_var": variance}
    found = shares("batch_norm_input_grad", arrays | {"weight": w}, {}, tx.grad)
    assert 0.05 < found.max() <= 1
    assert shares("batch_norm_weight_grad", arrays, {}, tw.grad).max() <= 1
    other = arrays | {"weight": w, "running_var": variance * F(1.0001)}
    assert (shares("batch_norm_input_grad", other, {}, tx.grad) > 1).mean() > 0.9
    through = {"grad_output": dy, "input": x, "weight": w}
    assert (shares("batch_norm_input_grad", through, {"training": True}, tx.grad) > 1).mean() > 0.9


@pytest.mark.parametrize("eps", [1e-12, 3.0, 100.0])
def test_normalize(eps):
    """Of a norm around eps, either branch of the maximum is within the bound."""
    for seed in range(4):
        x, dy, _ = data_of(seed, 0.5, ())
        tx = tensor(x).requires_grad_()
        functional.normalize(tx, eps=eps).backward(tensor(dy))
        arrays, params = {"grad_output": dy, "input": x}, {"eps": eps}
        found = shares("normalize_input_grad", arrays, params, tx.grad)
        assert 0.005 < found.max() <= 1
        short = np.linalg.norm(x, axis=1, keepdims=True) < eps
        if eps == 3.0:
            assert 0.1 < short.mean() < 0.9
        scaled = dy / np.linalg.norm(x, axis=1, keepdims=True)
        found = shares("normalize_input_grad", arrays, params, scaled)
        assert short.all() or (found[np.broadcast_to(~short, x.shape)] > 1).mean() > 0.95
    edge = F([[3.0], [4.0]])[None]  # of length 5
    arrays = {"grad_output": F([[1.0], [2.0]])[None], "input": edge}
    longer = reference.evaluate("normalize_input_grad", arrays, {"eps": 4.9}).round()
    shorter = arrays["grad_output"] / F(5)
    assert (abs(longer - shorter) > 0.01).all()
    for at in (5.0, 5.0 * (1 + 2.0**-25), 5.0 * (1 - 2.0**-25)):
        for output in (longer, shorter):
            assert (shares("normalize_input_grad", arrays, {"eps": at}, output) <= 1).all()
    assert (shares("normalize_input_grad", arrays, {"eps": 4.99}, shorter) > 1).all()
    assert (shares("normalize_input_grad", arrays, {"eps": 5.01}, longer) > 1).all()


@pytest.mark.parametrize("beta", [0.3, 0.75, 1.0, 2.0])
def test_local_response_norm(beta):
    for seed in range(4):
        x, dy, _ = data_of(seed, 0.0, ())
        tx = tensor(x * F(3)).requires_grad_()
        functional.local_response_norm(tx, 3, 0.5, beta, 2.0).backward(tensor(dy))
        arrays = {"grad_output": dy, "input": x * F(3)}
        params = {"size": 3, "alpha": 0.5, "beta": beta, "k": 2.0}
        found = shares("local_response_norm_input_grad", arrays, params, tx.grad)
        assert 1e-3 < found.max() <= 1
        other = params | {"beta": beta + 1e-3}
        assert (shares("local_response_norm_input_grad", arrays, other, tx.grad) > 1).mean() > 0.9


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_weight_standardization(offset):
    x, dy, _ = data_of(1, offset, ())
    tx = tensor(x).requires_grad_()
    mean = tx.mean((1, 2, 3), keepdim=True)
    spread = tx.var((1, 2, 3), keepdim=True, correction=0)
    ((tx - mean) / torch.sqrt(spread + 1e-5)).backward(tensor(dy))
    arrays = {"grad_output": dy, "weight": x}
    name = "weight_standardization_weight_grad"
    assert shares(name, arrays, {}, tx.grad).max() <= 1
    plain = reference.plain_float32(name, arrays, {})
    assert shares(name, arrays, {}, plain).max() <= 1
    if offset == 0.0:
        assert (shares(name, arrays, {"eps": 0.03}, tx.grad) > 1).mean() > 0.5


def test_a_mean_far_from_zero_leaves_no_bound_to_one_pass_variances():
    x, dy, w = data_of(0, 1000.0, (8,))
    arrays = {"grad_output": dy, "input": x, "weight": w}
    truth = reference.evaluate("batch_norm_input_grad", arrays, {"training": True})
    bound = reference.error_bound(
        "batch_norm_input_grad", arrays, {"training": True}, truth, algorithm="one_pass"
    )
    assert np.isinf(bound).all()
    near = reference.error_bound("batch_norm_input_grad", arrays, {"training": True}, truth)
    assert np.isfinite(near).all()
