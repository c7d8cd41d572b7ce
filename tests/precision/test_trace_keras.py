"""torch against Keras: layouts, weights carried across, planted differences, ResNet-50."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from precision.tracing.models import trace
from precision.tracing.result import Trace

MODELS = Path(__file__).parent / "traced"
TORCH, KERAS = MODELS / "small_torch.py", MODELS / "small_keras.py"
RESNETS = MODELS / "resnet_torch.py", MODELS / "resnet_keras.py"
BUDGET = 180.0
"""Processor seconds for ResNet-50 at 224 x 224, all processes together: a bound on the wall clock."""

pytestmark = pytest.mark.slow


def planted(folder: Path, *plants: str) -> Path:
    path = folder / f"keras_{'_'.join(plants)}.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(MODELS)!r})\nimport keras\nimport small_keras\n"
        f"def model():\n    return small_keras.model({', '.join(map(repr, plants))})\n"
    )
    return path


def test_equal_models_are_rounding_from_input_to_output() -> None:
    found = trace(TORCH, KERAS, weights="a")
    assert found.fine
    assert found.unmatched == {"a": [], "b": []}
    assert set(found.table["verdict"]) <= {"exact", "rounding"}
    assert found.table["total_relative_b"].max() < 1e-6
    assert any("flattens NHWC" in note for note in found.notes)


def test_gradients_of_both_autograds_are_within_their_bounds(tmp_path: Path) -> None:
    found = trace(TORCH, KERAS, weights="a", gradients=True)
    assert found.fine
    table = found.gradients
    assert set(table["verdict"]) <= {"exact", "rounding"}
    assert table["own_relative_b"].max() < 2.0**-19
    assert table["total_relative_b"].dropna().max() < 2.0**-18
    assert {"model input", "fc", "conv1"} <= set(table["layer_a"])
    other = trace(TORCH, planted(tmp_path, "eps", "slope", "groups"), weights="a", gradients=True)
    odd = other.gradients[~other.gradients["verdict"].isin(("exact", "rounding"))]
    assert set(zip(odd["layer_a"], odd["parameter"], strict=True)) == {
        ("bn1", "eps"),
        ("act1", "negative_slope"),
        ("gn", "groups"),
    }
    assert set(odd["evidence"]) == {"proved"}


def test_a_gradient_that_keras_stops_is_named(tmp_path: Path) -> None:
    for name, how in (("flows", "y"), ("stopped", "tf.stop_gradient(y)")):
        (tmp_path / f"{name}.py").write_text(
            "import keras\nimport tensorflow as tf\nclass Net(keras.Model):\n    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.f, self.g = keras.layers.Dense(6), keras.layers.Dense(6)\n"
            "    def call(self, x):\n        y = self.f(x)\n"
            f"        return self.g(tf.nn.relu({how})) + tf.nn.tanh(y)\n"
            "def model():\n    keras.utils.set_random_seed(0)\n    net = Net()\n"
            "    net(tf.zeros((2, 6)))\n    return net\n"
        )
    found = trace(tmp_path / "flows.py", tmp_path / "stopped.py", shape=(2, 6), gradients=True)
    odd = found.gradients[~found.gradients["verdict"].isin(("exact", "rounding"))]
    assert [(row.layer_a, row.parameter, row.found) for row in odd.itertuples()] == [
        ("relu", "gradient", "stopped")
    ]


def test_the_slope_of_selu_at_zero_is_each_frameworks_choice(tmp_path: Path) -> None:
    """With an input of zeros: torch takes the slope from the left, TensorFlow that from the right."""
    given = "def inputs():\n    return np.array([[0.0, 0.0], [1.0, -2.0]], np.float32)\n"
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(
        "import numpy as np\nimport torch\nfrom torch import nn\ndef model():\n    torch.manual_seed(0)\n"
        f"    return nn.Sequential(nn.Linear(2, 3, bias=False), nn.SELU(), nn.Linear(3, 2)).eval()\n{given}"
    )
    other.write_text(
        "import keras\nimport numpy as np\nfrom keras import layers\ndef model():\n"
        "    first = layers.Dense(3, 'selu', use_bias=False)\n"
        "    return keras.Sequential([keras.Input((2,)), first, layers.Dense(2)])\n" + given
    )
    for a, b, fine in ((one, other, False), (other, one, False), (other, other, True)):
        found = trace(a, b, weights="a", gradients=True)
        assert found.first_difference is None
        assert found.fine == fine
        odd = found.gradients[found.gradients["verdict"] == "semantics"]
        assert set(odd["parameter"]) == (set() if fine else {"gradient at the kink"})
        assert len(odd) == (0 if fine else 1)


def test_planted_differences_are_named(tmp_path: Path) -> None:
    found = trace(
        TORCH, planted(tmp_path, "padding", "eps", "slope", "training", "gelu", "groups"), weights="a"
    )
    table = found.table.set_index("layer_a")
    for layer, parameter, declared, has in (
        ("conv1", "padding", [1, 1, 1, 1], [0, 1, 0, 1]),
        ("bn1", "eps", 1e-5, 1e-3),
        ("act1", "negative_slope", 0.01, 0.2),
        ("bn2", "training", False, True),
        ("gelu", "approximate", "none", "tanh"),
        ("gn", "groups", 2, 4),
    ):
        row = table.loc[layer]
        assert (row["verdict"], row["parameter"], row["evidence"]) == ("semantics", parameter, "proved"), (
            layer
        )
        assert (row["declared"], row["found"]) == (declared, has)
    assert "[1, 1], [1, 1], [0, 0]" in table.loc["conv1", "mend"]
    assert table.loc["bn1", "differences"].endswith("momentum: A 0.1, B 0.01")
    assert set(table.loc[["conv2", "relu", "add", "concat", "conv3", "fc", "head"], "verdict"]) <= {
        "exact",
        "rounding",
    }


def test_a_layer_between_is_seen_at_the_next_one(tmp_path: Path) -> None:
    found = trace(TORCH, planted(tmp_path, "activation"), weights="a")
    first = found.first_difference
    assert first is not None
    assert (first.layer_a, first.parameter) == ("maxpool", "input")
    assert found.unmatched["b"] == ["conv2d_2.relu"]
    assert not found.fine


def test_own_weights_are_a_finding_of_their_own() -> None:
    found = trace(TORCH, KERAS)
    table = found.table.set_index("layer_a")
    for name in ("conv1", "conv2", "fc", "head"):
        assert (table.loc[name, "verdict"], table.loc[name, "parameter"]) == ("data", "weights")
    assert table.loc["relu", "verdict"] == "exact"


def test_weights_the_other_way_and_xla() -> None:
    found = trace(KERAS, TORCH, weights="a", shape=(4, 8, 8, 3), mode_a="tensorflow.cpu.xla")
    assert found.fine, str(found)
    assert found.unmatched == {"a": [], "b": []}


def test_every_kind_of_layer_computes_what_it_is_declared_to() -> None:
    zoo = MODELS / "zoo_keras.py"
    found = trace(zoo, zoo, mode_b="tensorflow.cpu.no_onednn")
    assert found.fine, str(found)
    table = found.table.set_index("layer_a")
    assert list(table.index[table["verdict_a"] == "unknown"]) == ["separable_conv2d"]
    known = table.drop("separable_conv2d")
    assert set(known["verdict_a"]) <= {"exact", "rounding"}
    assert set(known["verdict"]) <= {"exact", "rounding"}
    assert len(known) > 35


@pytest.fixture(scope="module")
def resnet() -> Trace:
    began = time.process_time(), _children()
    found = trace(*RESNETS, shape=(1, 3, 224, 224), weights="a")
    spent = time.process_time() - began[0] + _children() - began[1]
    assert spent < BUDGET, f"{spent:.0f} processor seconds"
    return found


def _children() -> float:
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_resnet50_differs_in_the_strides_of_three_blocks_alone(resnet: Trace) -> None:
    assert resnet.unmatched == {"a": [], "b": []}
    assert len(resnet.table) == 174
    differing = resnet.table[resnet.table["verdict"] != "rounding"]
    differing = differing[differing["verdict"] != "exact"].set_index("layer_a")
    wanted = {f"layers.{stage}.0.conv{k}": (k, 3 - k) for stage in (1, 2, 3) for k in (1, 2)}
    assert {name: (row["declared"], row["found"]) for name, row in differing.iterrows()} == wanted
    assert set(differing["parameter"]) == {"stride"}
    assert set(differing["evidence"]) == {"proved"}


def test_resnet50_layers_are_matched_by_the_graph(resnet: Trace) -> None:
    pairs = dict(zip(resnet.table["layer_a"], resnet.table["layer_b"], strict=True))
    assert pairs["layers.0.0.downsample.0"] == "conv2_block1_0_conv"
    assert pairs["layers.0.0.conv3"] == "conv2_block1_3_conv"
    assert pairs["layers.3.2.bn3"] == "conv5_block3_3_bn"


def test_planted_differences_deep_in_a_resnet50_are_named(tmp_path: Path) -> None:
    path = tmp_path / "planted_resnet.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(MODELS)!r})\nimport torch\nimport resnet_torch\n"
        "def model():\n    net = resnet_torch.model()\n    net.layers[1][2].bn2.eps = 1e-3\n"
        "    net.layers[2][4].conv2.padding_mode = 'reflect'\n"
        "    net.layers[2][4].conv2._reversed_padding_repeated_twice = [1, 1, 1, 1]\n"
        "    net.layers[3][1].bn3.train()\n    return net\n"
    )
    found = trace(RESNETS[0], path, shape=(1, 3, 64, 64))
    differing = found.table[~found.table["verdict"].isin(["exact", "rounding"])].set_index("layer_a")
    assert dict(differing["parameter"]) == {
        "layers.1.2.bn2": "eps",
        "layers.2.4.conv2": "padding mode",
        "layers.3.1.bn3": "training",
    }
    assert set(differing["verdict"]) == {"semantics"}
    assert set(differing["evidence"]) == {"proved"}
    assert found.unmatched == {"a": [], "b": []}
