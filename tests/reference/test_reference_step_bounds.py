"""Steps of torch's optimizers, and dropout, are within their bounds; other hyperparameters are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reference

F = np.float32
SEEDS = range(3)
tensor = torch.tensor


def shares(op, arrays, params, output):
    """The share of its bound that each element of an output uses."""
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth)
    assert bound.shape == truth.value.shape
    assert np.isfinite(bound).all()
    return abs(truth.error(np.asarray(output))) / bound


def share(op, arrays, params, output):
    return float(shares(op, arrays, params, output).max())


def outside(op, arrays, params, output):
    return int((shares(op, arrays, params, output) > 1).sum())


def state(seed, count=2000):
    rng = np.random.default_rng(seed)
    p, g, m = (rng.standard_normal(count).astype(F) for _ in range(3))
    return p, g, m, (rng.random(count) * np.exp2(rng.integers(-40, 3, count))).astype(F)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
])  # fmt: skip
def test_sgd_of_torch(seed, rule):
    p, g, m, _ = state(seed)
    parameter = torch.nn.Parameter(tensor(p.copy()))
    parameter.grad = tensor(g)
    optimizer = torch.optim.SGD([parameter], **rule)
    if "momentum" in rule:
        optimizer.state[parameter]["momentum_buffer"] = tensor(m.copy())
    optimizer.step()
    arrays, y = {"param": p, "grad": g, "momentum_buffer": m}, parameter.detach().numpy()
    assert 0.1 < share("sgd_param", arrays, rule, y) <= 1
    if "momentum" in rule:
        held = optimizer.state[parameter]["momentum_buffer"].numpy()
        assert share("sgd_momentum_buffer", arrays, rule, held) <= 1
        assert outside("sgd_momentum_buffer", arrays, rule | {"momentum": 0.9001}, held) > 1000
        assert outside("sgd_param", arrays, rule | {"lr": 0.1001}, y) > 1000


@pytest.mark.parametrize("step", [1, 2, 30, 100_000])
@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("rule", [
    {"lr": 0.01},
    {"lr": 0.01, "weight_decay": 0.1},
    {"lr": 0.01, "weight_decay": 0.1, "decoupled": True, "eps": 1e-3},
])  # fmt: skip
def test_adam_of_torch(step, foreach, rule):
    p, g, m, v = state(step)
    parameter = torch.nn.Parameter(tensor(p.copy()))
    parameter.grad = tensor(g)
    kind = torch.optim.AdamW if rule.get("decoupled") else torch.optim.Adam
    given_rule = {"weight_decay": 0.0} | {n: value for n, value in rule.items() if n != "decoupled"}
    optimizer = kind([parameter], foreach=foreach, **given_rule)
    held = {"step": tensor(float(step - 1)), "exp_avg": tensor(m.copy()), "exp_avg_sq": tensor(v.copy())}
    optimizer.state[parameter] = held
    optimizer.step()
    arrays, params = {"param": p, "grad": g, "exp_avg": m, "exp_avg_sq": v}, rule | {"step": step}
    y = parameter.detach().numpy()
    for op, output in (("adam_param", y), ("adam_exp_avg", held["exp_avg"]),
                       ("adam_exp_avg_sq", held["exp_avg_sq"])):  # fmt: skip
        assert 0.1 < share(op, arrays, params, output) <= 1
    assert outside("adam_param", arrays, params | {"eps": 1e-2}, y) > 300
    assert outside("adam_exp_avg_sq", arrays, params | {"beta2": 0.9991}, held["exp_avg_sq"]) > 300
    if step < 100:
        assert outside("adam_param", arrays, params | {"step": step + 1}, y) > 300


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_dropout(p):
    x = state(0)[0]
    mask = (np.arange(x.size) % 2).astype(F)
    arrays, params = {"input": x, "mask": mask}, {"p": p}
    for y in (x * mask * F(1 / (1 - p)), x * mask / F(1 - p), x * mask / (F(1) - F(p))):
        assert share("dropout", arrays, params, y) <= 1
    assert outside("dropout", arrays, params | {"p": p + 1e-4}, y) > 500
