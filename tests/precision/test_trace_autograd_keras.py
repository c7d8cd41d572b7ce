"""TensorFlow's own gradients in a trace: of every unit by itself, and of the model as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the parent of the passes is a plain module beside the tests

from gradient_passes import Heard, Passes, apart, by_autograd, drawn

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parent / "traced"
FILE = MODELS / "gradient_keras.py"
ROUNDING = 2e-6
"""Relative to the norm of a gradient; what is computed otherwise is beyond 1e-3 in this net."""
PLAIN = """
import sys
sys.path[:0] = [{models!r}, {tests!r}]
import numpy as np
import tensorflow as tf
import gradient_keras
from gradient_passes import drawn

net, x = gradient_keras.model(), tf.constant(gradient_keras.inputs())
with tf.GradientTape() as tape:
    tape.watch(x)
    for variable in net.variables:
        tape.watch(variable.value)
    output = net(x)
    loss = tf.reduce_sum(output * drawn(0, output.shape))
named = {{variable.path.split("/", 1)[1]: variable.value for variable in net.trainable_variables}}
found = tape.gradient(loss, {{"x": x, **named}})
np.savez({out!r}, **{{name: np.array(each) for name, each in found.items()}})
"""
"""The model's own gradients, by a program that knows nothing of traces."""


@pytest.fixture(scope="module")
def model() -> Iterator[Passes]:
    with Passes(FILE, "tensorflow.cpu") as found:
        yield found


@pytest.fixture(scope="module")
def total(model: Passes) -> Heard:
    return model.total(lambda k, output: drawn(k, output.shape))


def test_the_pass_computes_what_the_ordinary_one_does(model: Passes) -> None:
    before, cut = model.ordinary(), model.gradients(lambda unit, heard: None)
    assert not cut.gradients
    for heard in (cut, model.ordinary()):
        assert set(heard.outputs) == set(range(len(model.units)))
        for unit, output in before.outputs.items():
            np.testing.assert_array_equal(heard.outputs[unit], output)
            for name, array in before.inputs[unit].items():
                np.testing.assert_array_equal(heard.inputs[unit][name], array)


@pytest.mark.parametrize("fed", [False, True])
def test_every_unit_gives_its_own_vector_jacobian_product(model: Passes, fed: bool) -> None:
    found = model.gradients(
        lambda unit, heard: drawn(unit, heard.outputs[unit].shape),
        lambda unit, own: (
            {name: drawn(100 + unit, each.shape) for name, each in own.items()} if fed else None
        ),
        lambda unit, output: drawn(200 + unit, output.shape) if fed else None,
    )
    assert not found.errors
    ops = set()
    for unit in model.units:
        n = unit.number
        inputs = found.inputs[n]
        if fed:
            inputs = {name: drawn(100 + n, each.shape) for name, each in inputs.items()}
        wanted = by_autograd(unit, inputs, model.weights(unit), drawn(n, found.outputs[n].shape))
        assert set(wanted) == set(found.gradients[n]), unit.name
        for name, gradient in wanted.items():
            assert found.gradients[n][name].shape == gradient.shape
            assert apart(found.gradients[n][name], gradient) < ROUNDING, (unit.name, name)
        ops.add(unit.op)
    assert ops >= {"add", "mul", "sub", "matmul", "mean", "reshape", "relu", "softmax", "concat", "conv2d"}
    assert ops >= {"linear", "permute", "sigmoid", "tanh", "gelu", "layer_norm", "batch_norm", "max_pool2d"}
    statistics = ["weight.running_mean", "weight.running_var"]
    assert {n: names for n, names in found.missing.items() if names} == {
        model.named["batch_normalization"]: statistics
    }


def test_units_in_a_chain_give_the_whole(model: Passes, total: Heard) -> None:
    last = model.units[-1].number
    parts, arrived = model.chained({last: drawn(0, model.units[last].shape)})
    assert total.order == [*range(last, -1, -1), -1]
    for unit in model.units:
        n = unit.number
        assert {f"in{k}" for k in range(len(unit.sources))} <= set(total.gradients[n]), unit.name
        assert apart(arrived[n], total.gradients[n]["output"]) < ROUNDING, unit.name
        for name, gradient in total.gradients[n].items():
            if name != "output" and name.removeprefix("weight.") not in total.shared[n]:
                assert apart(parts.gradients[n][name], gradient) < ROUNDING, (unit.name, name)
    assert apart(arrived[-1], total.gradients[-1]["in0"]) < ROUNDING
    users = {n for n, names in total.shared.items() if names == ["weight", "bias"]}
    assert users == {model.named["dense_1"], model.named["dense_1#2"]}
    for name in ("weight.weight", "weight.bias"):
        both = sum(parts.gradients[n][name] for n in users)
        for n in users:
            assert apart(np.asarray(both), total.gradients[n][name]) < ROUNDING
    wrong = model.chained({last: 1.001 * drawn(0, model.units[last].shape)})[1]
    assert apart(wrong[-1], total.gradients[-1]["in0"]) > 5e-4


def test_the_whole_is_what_a_tape_gives_bit_for_bit(model: Passes, total: Heard, tmp_path: Path) -> None:
    out = tmp_path / "plain.npz"
    program = PLAIN.format(models=str(MODELS), tests=str(Path(__file__).parent), out=str(out))
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    plain = dict(np.load(out))
    np.testing.assert_array_equal(total.gradients[-1]["in0"], np.moveaxis(plain.pop("x"), -1, 1))
    names = {
        "conv2d/kernel": ("conv2d", "weight", (3, 2, 0, 1)),
        "conv2d/bias": ("conv2d", "bias", (0,)),
        "batch_normalization/gamma": ("batch_normalization", "weight", (0,)),
        "batch_normalization/beta": ("batch_normalization", "bias", (0,)),
        "dense/kernel": ("dense", "weight", (1, 0)),
        "dense/bias": ("dense", "bias", (0,)),
        "layer_normalization/gamma": ("layer_normalization", "weight", (0,)),
        "layer_normalization/beta": ("layer_normalization", "bias", (0,)),
        "dense_1/kernel": ("dense_1", "weight", (1, 0)),
        "dense_1/bias": ("dense_1#2", "bias", (0,)),
        "mix": ("linear", "weight", (1, 0)),
        "kernel": ("conv2d#2", "weight", (3, 2, 0, 1)),
        "shift": ("add#2", "weight", (0,)),
    }
    assert set(names) == set(plain)
    for name, (layer, part, axes) in names.items():
        found = total.gradients[model.named[layer]][f"weight.{part}"]
        np.testing.assert_array_equal(found.reshape(plain[name].transpose(axes).shape),
                                      plain[name].transpose(axes), err_msg=name)  # fmt: skip
    # One that is frozen has its gradient too.
    assert apart(total.gradients[model.named["conv2d_1"]]["weight.weight"], np.zeros((6, 6, 3, 3))) > 0


def test_tables_are_dense_and_shared_ones_are_said(tmp_path: Path) -> None:
    words = np.random.default_rng(2).integers(1, 50, (2, 6)).astype(np.int32)
    with Passes(MODELS / "text_keras.py", "tensorflow.cpu", [words]) as model:
        whole = model.total(lambda k, output: drawn(k, output.shape))
        last = model.units[-1].number
        parts, arrived = model.chained({last: drawn(0, model.units[last].shape)}, whole)
        tables = [unit.number for unit in model.units if unit.op == "embedding"]
        assert [whole.gradients[n]["weight.weight"].shape for n in tables] == [(50, 16), (8, 16)]
        # Which rows attention may see is no matter of gradients.
        assert [model.units[n].main.detail for n, names in whole.missing.items() if names] == ["tf SelectV2"]
        assert {n: names for n, names in whole.shared.items() if names} == {tables[0]: ["weight"]}
        for n, gradients in parts.gradients.items():
            if "output" in whole.missing[n]:
                continue
            assert apart(arrived[n], whole.gradients[n]["output"]) < ROUNDING
            for name, gradient in gradients.items():
                if name in whole.gradients[n] and (n, name) != (tables[0], "weight.weight"):
                    assert apart(gradient, whole.gradients[n][name]) < ROUNDING, (model.units[n].name, name)
        wanted = np.zeros((50, 16))
        np.add.at(wanted, words, arrived[tables[0]].astype(np.float64))
        assert apart(parts.gradients[tables[0]]["weight.weight"], wanted) < ROUNDING
        assert whole.missing[-1] == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["gradient_keras.py", "zoo_keras.py"])
def test_compiled_layers(file: str) -> None:
    with Passes(MODELS / file, "tensorflow.cpu.xla") as model:
        whole = model.total(lambda k, output: drawn(k, output.shape))
        ends = {n: whole.gradients[n]["output"] for n in whole.order if n >= 0 and not _used(model, n)}
        parts, arrived = model.chained(ends, whole)
        assert not parts.errors
        assert set(arrived) >= set(range(len(model.units)))
        for n in range(len(model.units)):
            assert apart(arrived[n], whole.gradients[n]["output"]) < ROUNDING, model.units[n].name


def _used(model: Passes, number: int) -> bool:
    return any(number in group for unit in model.units for group in unit.sources)
