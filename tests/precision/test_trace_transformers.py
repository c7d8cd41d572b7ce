"""Transformers in both frameworks: layers in pairs, weights carried, differences named."""

from __future__ import annotations

from pathlib import Path

import pytest

from precision.tracing.models import trace
from precision.tracing.result import Trace

MODELS = Path(__file__).parent / "traced"
VIT, TEXT = ("vit_torch.py", "vit_keras.py"), ("text_torch.py", "text_keras.py")
EXAMPLES = Path(__file__).parents[2] / "examples"
FINE = {"exact", "rounding"}


def planted(folder: Path, module: str, *plants: str) -> Path:
    path, framework = folder / f"{module}_{'_'.join(plants)}.py", module.rpartition("_")[2]
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(MODELS)!r})\nimport {framework}, {module}\n"
        f"def model():\n    return {module}.model({', '.join(map(repr, plants))})\n"
        f"inputs = getattr({module}, 'inputs', None)\n"
    )
    return path


def differing(found: Trace) -> dict[str, str]:
    return {row["layer_a"]: row["parameter"] for row in found.rows if row["verdict"] not in FINE}


def test_a_transformer_of_words_is_rounding_and_its_differences_are_named(tmp_path: Path) -> None:
    found = trace(MODELS / TEXT[0], planted(tmp_path, "text_torch", "scale", "indices"))
    assert {row["verdict_a"] for row in found.rows} <= FINE
    assert differing(found) == {"places": "indices", "attention": "scale", "mul": "scalar"}
    ops = {row["layer_a"]: row["op"] for row in found.rows}
    assert ops["words"] == ops["places"] == "embedding"
    assert ops["attention"] == "attention"
    assert ops["linear"] == "linear"  # tied to the table


@pytest.mark.slow
def test_vision_transformers_are_rounding_from_input_to_output() -> None:
    found = trace(MODELS / VIT[0], MODELS / VIT[1], weights="a")
    assert found.fine, str(found)
    assert found.unmatched == {"a": [], "b": []}
    assert {row["verdict"] for row in found.rows} | {row["verdict_a"] for row in found.rows} <= FINE
    assert max(row["total_relative_b"] for row in found.rows) < 1e-5
    assert {row["weights"] for row in found.rows} == {"same", ""}
    pairs = {row["layer_a"]: row["layer_b"] for row in found.rows}
    assert pairs["block.attend.key"] == "block_attend.key"
    assert pairs["layer.self_attn.attention"] == "layer_attend.attention"
    assert pairs["layer.self_attn.out_proj"] == "layer_attend.attention_output"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "layer", "parameter"),
    [
        ("eps", "block.norm1", "eps"),
        ("mask", "block.attend.attention", "mask"),
        ("activation", "block.act", "activation"),
        ("heads", "block.attend.attention", "heads"),
    ],
)
def test_differences_of_vision_transformers_are_named(
    tmp_path: Path, plant: str, layer: str, parameter: str
) -> None:
    found = trace(MODELS / VIT[0], planted(tmp_path, "vit_keras", plant), weights="a")
    first = found.first_difference
    assert first is not None
    assert (first.layer_a, first.verdict, first.evidence) == (layer, "semantics", "proved")
    assert parameter in str(first.parameter).split(", ")
    assert {each.partition(".")[0] for each in differing(found)} == {"block"}


@pytest.mark.slow
def test_fused_attention_is_bounded_by_its_neighbours_where_the_other_is_not_fused(tmp_path: Path) -> None:
    found = trace(MODELS / TEXT[0], MODELS / TEXT[1], weights="a")
    assert found.fine, str(found)
    assert found.unmatched["a"] == ["attention"]
    table = found.table.set_index("layer_a")
    assert set(table.drop("attention")["verdict"]) <= FINE
    assert table.loc["linear", "weights"] == "same"
    wrong = trace(MODELS / TEXT[0], planted(tmp_path, "text_keras", "scale"), weights="a")
    first = wrong.first_difference
    assert first is not None
    assert first.parameter in ("input", "scalar")


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), [("wgan", "critic"), ("wgan", "generator"), ("detnet", "iknet")])
def test_the_examples_compute_one_function_layer_by_layer(folder: str, name: str) -> None:
    one, other = (EXAMPLES / folder / f"{framework}_{name}.py" for framework in ("torch", "keras"))
    found = trace(one, other)
    assert set(found.unmatched["a"] + found.unmatched["b"]) <= {"permute"}
    assert {row["weights"] for row in found.rows} <= {"same", ""}
    wrong = {row["layer_a"]: row["parameter"] for row in found.rows if row["verdict"] not in FINE}
    assert wrong == {}, str(found)


SEQUENCE_TORCH = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(4, eps=1e-3), nn.Linear(4, 8)
        self.gru, self.out = nn.GRU(8, 5, batch_first=True), nn.Linear(8, 3)
    def forward(self, x):
        x = nn.functional.gelu(self.fc(self.norm(x)))
        return self.out(x.mean(1)) + self.gru(x)[0].sum()
def model():
    torch.manual_seed(0)
    return Net().eval()
"""
SEQUENCE_KERAS = """import keras
from keras import layers, ops
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = layers.LayerNormalization(epsilon=1e-3), layers.Dense(8, "gelu")
        self.gru, self.pool, self.out = layers.GRU(5), layers.GlobalAveragePooling1D(), layers.Dense(3)
    def call(self, x):
        x = self.fc(self.norm(x))
        return self.out(self.pool(x)) + ops.sum(self.gru(x))
def model():
    keras.utils.set_random_seed(0)
    return Net()
"""


@pytest.mark.slow
def test_a_sequence_is_no_image_and_an_unknown_layer_stops_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(SEQUENCE_TORCH)
    other.write_text(SEQUENCE_KERAS)
    found = trace(one, other, shape=(2, 6, 4), weights="a")
    rows = {row["layer_a"]: row for row in found.rows}
    for name in ("norm", "fc", "gelu", "mean", "out"):
        assert rows[name]["verdict"] in FINE, str(found)
        assert rows[name]["total_relative_b"] < 1e-6
    assert rows["gru"]["verdict_a"] == "unknown"
    assert rows["gru"]["own_relative_a"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b", "mode"), [(*VIT, "tensorflow.cpu.xla"), (*VIT[::-1], "torch.cpu")])
def test_vision_transformers_compiled_and_the_other_way(a: str, b: str, mode: str) -> None:
    shape = (2, 16, 16, 3) if "keras" in a else None
    found = trace(MODELS / a, MODELS / b, weights="a", mode_b=mode, shape=shape)
    assert found.fine, str(found)
    assert found.unmatched == {"a": [], "b": []}
