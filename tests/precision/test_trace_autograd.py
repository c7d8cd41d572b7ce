"""PyTorch's own gradients in a trace: of every unit by itself, and of the model as a whole."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # the parent of the passes is a plain module beside the tests

from gradient_passes import Arrays, Float32, Heard, Passes, apart, by_autograd, close, drawn, here

FILE = Path(__file__).parent / "traced" / "gradient_torch.py"
LAST = 16
ROUNDING = 2e-6
"""Relative to the norm of a gradient; what is computed otherwise is beyond 1e-3 in these nets."""


@pytest.fixture(scope="module")
def model() -> Iterator[Passes]:
    with Passes(FILE, "torch.cpu") as found:
        yield found


@pytest.fixture(scope="module")
def total(model: Passes) -> Heard:
    return model.total(lambda k, output: drawn(k, output.shape))


@pytest.fixture(scope="module")
def chained(model: Passes) -> tuple[Heard, dict[int, Float32]]:
    return model.chained({LAST: drawn(0, model.units[LAST].shape)})


def loaded() -> Any:
    specification = importlib.util.spec_from_file_location("gradient_torch", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_pass_computes_what_the_ordinary_one_does(model: Passes, chained: tuple[Heard, Any]) -> None:
    ordinary, cut = model.ordinary(), chained[0]
    assert set(ordinary.outputs) == set(cut.outputs) == set(range(LAST + 1))
    for unit, output in ordinary.outputs.items():
        np.testing.assert_array_equal(cut.outputs[unit], output)
        for name, array in ordinary.inputs[unit].items():
            np.testing.assert_array_equal(cut.inputs[unit][name], array)
    assert cut.order == sorted(cut.order, reverse=True)


def test_every_unit_gives_its_own_vector_jacobian_product(model: Passes) -> None:
    found = model.gradients(lambda unit, heard: drawn(unit, heard.outputs[unit].shape))
    for unit in model.units:
        n = unit.number
        wanted = by_autograd(unit, found.inputs[n], model.weights(unit), drawn(n, found.outputs[n].shape))
        assert set(wanted) == set(found.gradients[n]), unit.name
        for name, gradient in wanted.items():
            assert found.gradients[n][name].shape == gradient.shape
            assert apart(found.gradients[n][name], gradient) < ROUNDING, (unit.name, name)
    assert not found.errors
    statistics = ["weight.running_mean", "weight.running_var"]
    assert {n: names for n, names in found.missing.items() if names} == {model.named["bn1"]: statistics}


def test_a_wrong_cotangent_is_seen(model: Passes) -> None:
    def wrong(unit: int, heard: Heard) -> Float32:
        return drawn(unit, heard.outputs[unit].shape) * np.float32(1.001)

    found = model.gradients(wrong)
    for unit in model.units:
        n = unit.number
        wanted = by_autograd(unit, found.inputs[n], model.weights(unit), drawn(n, found.outputs[n].shape))
        assert max(apart(found.gradients[n][name], each) for name, each in wanted.items()) > 5e-4, unit.name


def test_the_whole_is_what_backward_gives_bit_for_bit(model: Passes, total: Heard) -> None:
    module = loaded()
    net, x = module.model(), module.inputs().requires_grad_()
    net.head.bias.requires_grad_()
    output = net(x)
    (output * torch.from_numpy(drawn(0, tuple(output.shape)))).sum().backward()
    np.testing.assert_array_equal(total.gradients[-1]["in0"], x.grad.numpy())
    assert total.missing[-1] == []
    shift = total.gradients[model.named["add#2"]]["weight.weight"]
    np.testing.assert_array_equal(shift[0], net.shift.grad.numpy())
    for name, parameter in net.named_parameters():
        layer, _, part = name.rpartition(".")
        if layer:
            found = total.gradients[model.named[layer]][f"weight.{part}"]
            np.testing.assert_array_equal(found, parameter.grad.numpy())
    assert {n: names for n, names in total.shared.items() if names} == {
        model.named[name]: ["weight", "bias"] for name in ("head", "head#2")
    }


def test_units_in_a_chain_give_the_whole(
    model: Passes, total: Heard, chained: tuple[Heard, dict[int, Float32]]
) -> None:
    parts, arrived = chained
    for unit in model.units:
        n = unit.number
        assert apart(arrived[n], total.gradients[n]["output"]) < ROUNDING, unit.name
        for name, gradient in total.gradients[n].items():
            if name != "output" and name.removeprefix("weight.") not in total.shared[n]:
                assert apart(parts.gradients[n][name], gradient) < ROUNDING, (unit.name, name)
    assert apart(arrived[-1], total.gradients[-1]["in0"]) < ROUNDING
    # Operands that are changed in place have their part too, where nothing else takes them.
    assert {"in0", "in1"} <= set(total.gradients[model.named["add"]])
    assert "in0" in total.gradients[model.named["relu#2"]]
    first, again = model.named["head"], model.named["head#2"]
    for name in ("weight.weight", "weight.bias"):
        both = parts.gradients[first][name] + parts.gradients[again][name]
        assert apart(both, total.gradients[first][name]) < ROUNDING
        np.testing.assert_array_equal(total.gradients[first][name], total.gradients[again][name])


def test_what_is_fed_is_differentiated_and_what_is_replaced_goes_on(model: Passes) -> None:
    fed: dict[int, Arrays] = {}

    def feed(unit: int, own: Arrays) -> Arrays:
        fed[unit] = {name: drawn(100 + unit + k, each.shape) for k, (name, each) in enumerate(own.items())}
        return fed[unit]

    def replace(unit: int, output: Float32) -> Float32:
        return drawn(200 + unit, output.shape)

    found = model.gradients(lambda n, heard: drawn(n, heard.outputs[n].shape), feed, replace)
    for unit in model.units:
        n = unit.number
        wanted = by_autograd(unit, fed[n], model.weights(unit), drawn(n, found.outputs[n].shape))
        for name, gradient in wanted.items():
            assert apart(found.gradients[n][name], gradient) < ROUNDING, (unit.name, name)
        for k, group in enumerate(unit.sources):
            if group[0] >= 0:
                taken, output = found.inputs[n][f"in{k}"], found.outputs[group[0]]
                np.testing.assert_array_equal(taken.ravel(), replace(group[0], output).ravel())


def test_units_are_skipped(model: Passes) -> None:
    found = model.gradients(lambda unit, heard: None if unit % 2 else drawn(unit, heard.outputs[unit].shape))
    assert set(found.gradients) == {n for n in range(LAST + 1) if n % 2 == 0}


@pytest.mark.parametrize("mode", ["torch.cpu.channels_last", "torch.cpu.bf16"])
def test_other_modes(mode: str) -> None:
    with Passes(FILE, mode) as model:
        whole = model.total(lambda k, output: drawn(k, output.shape))
        _, arrived = model.chained({LAST: drawn(0, model.units[LAST].shape)})
        for unit in model.units:
            assert apart(arrived[unit.number], whole.gradients[unit.number]["output"]) < ROUNDING


class Drawn(nn.Module):
    """Steps on images of four channels, each on one of the results before it."""

    def __init__(self, steps: list[tuple[str, int, bool]]) -> None:
        super().__init__()
        self.steps = steps
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in steps)
        self.wide = nn.ModuleList(nn.Conv2d(8, 4, (1, 2)) for _ in steps)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4).train(k % 2 == 0) for k in range(len(steps)))
        self.values = nn.ParameterList(torch.randn(4, 1, 1) for _ in steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = [x]
        for k, (step, at, in_place) in enumerate(self.steps):
            x, y = results[-1], results[at % len(results)]
            if step == "conv":
                new = self.convs[k](y)
            elif step == "norm":
                new = self.norms[k](y)
            elif step == "join":
                new = self.wide[k](F.pad(torch.cat([y, x], 1), (1, 0)))
            elif step == "pool":
                new = F.max_pool2d(y, 3, 1, 1)
            elif step == "value":
                new = y * self.values[k]
            elif step == "tanh":
                new = torch.tanh(y)
            else:
                new = y + x if step == "add" else y - 2.0
            if in_place and step in ("conv", "norm", "join", "add", "double"):
                # Of these no result is held for the way back, and nothing else has taken it yet.
                new = F.relu(new, inplace=True) if at % 2 else new.add_(y)
            results.append(new)
        return results[-1]


STEPS = st.tuples(
    st.sampled_from(["conv", "norm", "join", "pool", "add", "value", "tanh", "double"]),
    st.integers(0, 7),
    st.booleans(),
)


@given(st.lists(STEPS, min_size=1, max_size=8), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_drawn_models_in_a_chain_give_the_whole(steps: list[tuple[str, int, bool]], seed: int) -> None:
    torch.manual_seed(seed)
    model = here(Drawn(steps), [drawn(seed, (2, 4, 4, 4))])
    ordinary = model.ordinary()
    whole = model.total(lambda k, output: drawn(k, output.shape))
    last = model.units[-1]
    found, arrived = model.chained({last.number: drawn(0, last.shape)})
    assert not found.errors
    for n, output in ordinary.outputs.items():
        np.testing.assert_array_equal(found.outputs[n], output)
    for unit in model.units:
        n = unit.number
        if n not in arrived:
            assert whole.missing[n][0] == "output"
            continue
        assert close(arrived[n], whole.gradients[n]["output"]), unit.name
        for name, gradient in found.gradients[n].items():
            if name in whole.gradients[n]:
                assert close(gradient, whole.gradients[n][name]), (unit.name, name)
