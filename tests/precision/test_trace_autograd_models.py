"""PyTorch's own gradients through models with state, draws, moves, and what they change in place."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from precision.tracing.process import ModelError

sys.path.insert(0, str(Path(__file__).parent))  # the parent of the passes is a plain module beside the tests

from gradient_passes import Passes, apart, close, drawn, here

ROUNDING = 2e-6
"""Relative to the norm of a gradient; what is computed otherwise is beyond 1e-3 in these nets."""


class Odd(nn.Module):
    """State, draws, moves, a frozen parameter, a buffer that is a weight, an input changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = nn.ReLU6(inplace=True)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.lazy = nn.LazyLinear(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 8), requires_grad=False)
        self.register_buffer("scale", torch.tensor(1.5))
        self.register_buffer("seen", torch.zeros(2, 4, 6, 6))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = F.leaky_relu_(self.bn(self.conv(self.clip(x))), 0.1)
        self.seen.add_(y)
        y = self.lazy(self.drop(y).flatten(2)).tanh()
        y = torch.cat([self.token.expand(len(y), -1, -1), y + y], 1)
        z, _ = self.attend(y, y, y, need_weights=False)
        z, shares = self.attend(z, y, z)
        u, v = (F.scaled_dot_product_attention(z, z, z) * self.scale).chunk(2, -1)
        y = torch.cat([v, u], -1)
        y *= 0.5
        return {"scores": y[:, 0], "shares": shares, "best": y.argmax(-1)}


@pytest.fixture
def odd() -> Passes:
    torch.manual_seed(1)
    return here(Odd().train(), [drawn(1, (2, 3, 8, 8))])


def test_odd_models_are_followed_through(odd: Passes) -> None:
    module = odd.process.host.model.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    ordinary = odd.ordinary()
    whole = odd.total(lambda k, output: drawn(k, output.shape))
    assert [whole.inputs[-1][f"out{k}"].shape for k in range(2)] == [(2, 8), (2, 5, 5)]
    last = odd.units[-1].number
    found, arrived = odd.chained({last: whole.gradients[last]["output"]}, whole)
    compared = set()
    for n, output in ordinary.outputs.items():
        np.testing.assert_array_equal(found.outputs[n], output)
    for n, gradients in found.gradients.items():
        compared.add(odd.units[n].op)
        assert apart(arrived[n], whole.gradients[n]["output"]) < ROUNDING, odd.units[n].name
        for name, gradient in gradients.items():
            if name in whole.gradients[n] and name.removeprefix("weight.") not in whole.shared[n]:
                assert close(gradient, whole.gradients[n][name]), (odd.units[n].name, name)
    assert compared == {unit.op for unit in odd.units}
    assert "weight.weight" in whole.gradients[odd.named["mul"]]
    # As it was: statistics, parameters, and what of it is frozen.
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not module.token.requires_grad
    assert not module.scale.requires_grad
    assert module.seen.is_leaf
    assert all(each.grad is None for each in module.parameters())


def test_packed_projections_are_parts_of_the_packed_gradient(odd: Passes) -> None:
    """Both uses of a module together: what PyTorch's own backward leaves in its packed matrix."""
    module = odd.process.host.model.module
    whole = odd.total(lambda k, output: drawn(k, output.shape))
    torch.manual_seed(odd.request["seed"])
    output = module(torch.from_numpy(odd.arrays["in0"].copy()))
    scores = (output["scores"] * torch.from_numpy(drawn(0, (2, 8)))).sum()
    (scores + (output["shares"] * torch.from_numpy(drawn(1, (2, 5, 5)))).sum()).backward()
    for at, part in enumerate(("query", "key", "value")):
        n = odd.named[f"attend.{part}"]
        wanted = module.attend.in_proj_weight.grad[8 * at : 8 * at + 8].numpy()
        np.testing.assert_array_equal(whole.gradients[n]["weight.weight"], wanted)
        assert whole.shared[n] == ["weight", "bias"]


class Broken(nn.Module):
    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.cut = cut
        if not cut:
            self.first.weight.register_hook(lambda gradient: gradient.view(1, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(x) + (x.detach() if self.cut else x)


def test_an_error_of_one_unit_is_its_answer_alone() -> None:
    model = here(Broken(False), [drawn(1, (2, 4))])
    found = model.gradients(lambda unit, heard: drawn(unit, heard.outputs[unit].shape))
    assert set(found.errors) == {model.named["first"]}
    assert "RuntimeError: shape '[1, 2, 3]' is invalid" in found.errors[model.named["first"]]
    assert set(found.gradients) == {0, 1, 2}
    with pytest.raises(RuntimeError, match="is invalid"):
        model.total(lambda k, output: drawn(k, output.shape))


def test_a_branch_that_is_cut_off_is_seen(tmp_path: Path) -> None:
    model = here(Broken(True), [drawn(1, (2, 4))])
    whole = model.total(lambda k, output: drawn(k, output.shape))
    _, arrived = model.chained({2: drawn(0, (2, 4))})
    assert apart(arrived[model.named["second"]], whole.gradients[1]["output"]) == 0.0
    assert apart(arrived[model.named["first"]], whole.gradients[0]["output"]) > 0.1


class Again(nn.Module):
    """A block whose graph is not kept but computed again."""

    def __init__(self, again: bool, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again, self.reentrant = again, reentrant

    def block(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.second(torch.relu(self.first(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (checkpoint(self.block, x, use_reentrant=self.reentrant) if self.again else self.block(x))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_blocks_that_are_computed_again_are_followed_like_others(reentrant: bool) -> None:
    found = []
    for again in (False, True):
        torch.manual_seed(2)
        model = here(Again(again, reentrant), [drawn(1, (2, 4))])
        whole = model.total(lambda k, output: drawn(k, output.shape))
        parts, _ = model.chained({4: drawn(0, (2, 4))})
        found.append([whole.gradients, parts.gradients])
    for plain, other in zip(*found, strict=True):
        assert set(plain) == set(other)
        for n, gradients in plain.items():
            for name, gradient in gradients.items():
                np.testing.assert_array_equal(other[n][name], gradient)


class Used(nn.Module):
    """A result that is taken twice, the second time in place; a weight that is used turned as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x * 2.0
        return (y + x.relu_()) @ self.first.weight.t()


def test_what_is_used_twice_is_no_part_of_one_unit() -> None:
    model = here(Used(), [drawn(1, (2, 4))])
    whole = model.total(lambda k, output: drawn(k, output.shape))
    found, arrived = model.chained({model.units[-1].number: drawn(0, (2, 4))})
    for unit in model.units:
        assert apart(arrived[unit.number], whole.gradients[unit.number]["output"]) < ROUNDING
    relu, first, product = (model.named[name] for name in ("relu", "first", "matmul"))
    assert "in0" in found.gradients[relu]
    assert "in0" not in whole.gradients[relu]
    assert whole.shared[first] == ["weight"]
    turned = whole.gradients[product]["in1"].T + found.gradients[first]["weight.weight"]
    assert apart(turned, whole.gradients[first]["weight.weight"]) < ROUNDING


def test_errors_of_the_whole_name_the_model(tmp_path: Path) -> None:
    file = tmp_path / "hooked.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "def model():\n    net = nn.Linear(4, 4)\n"
        "    net.weight.register_hook(lambda g: g.view(1, 2, 3))\n    return net\n"
        "def inputs():\n    return torch.ones(2, 4)\n"
    )
    with Passes(file, "torch.cpu") as model:
        with pytest.raises(ModelError, match="is invalid for input of size 16"):
            model.total(lambda k, output: drawn(k, output.shape))
        assert model.ordinary().outputs[0].shape == (2, 4)
