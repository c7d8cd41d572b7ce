"""Two models, layer by layer: planted differences are named, errors add up, equal models pass."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import precision
from precision.tracing.models import trace
from precision.tracing.result import Trace

MODELS = Path(__file__).parent / "traced"
SMALL, PLANTED, RANDOM = MODELS / "small_torch.py", MODELS / "planted_torch.py", MODELS / "random_torch.py"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return trace(SMALL, PLANTED, mode_b="torch.cpu", output=tmp_path_factory.mktemp("trace") / "out")


@pytest.mark.parametrize(
    ("layer", "parameter", "declared", "found"),
    [
        ("conv1", "padding", [1, 1, 1, 1], [0, 1, 0, 1]),
        ("bn1", "eps", 1e-5, 1e-3),
        ("act1", "negative_slope", 0.01, 0.2),
        ("conv2", "padding, dilation", [[2, 2, 2, 2], 2], [[1, 1, 1, 1], 1]),
        ("add", "input", "relu + act1", "relu + bn1"),
        ("avgpool", "count_include_pad", True, False),
        ("gelu", "approximate", "none", "tanh"),
        ("concat", "concatenation order", [0, 1], [1, 0]),
        ("gn", "groups", 2, 4),
        ("conv3", "bias", True, False),
        ("softmax", "axis", 1, 0),
    ],
)
def test_planted_difference_is_named(
    planted: Trace, layer: str, parameter: str, declared: object, found: object
) -> None:
    row = planted.table.set_index("layer_a").loc[layer]
    assert row["verdict"] == "semantics"
    assert row["parameter"] == parameter
    assert row["declared"] == declared
    assert row["found"] == found
    assert row["evidence"] == "proved"
    assert row["mend"]


def test_flatten_order_is_named(planted: Trace) -> None:
    row = planted.table.set_index("layer_a").loc["fc"]
    assert (row["verdict"], row["parameter"], row["evidence"]) == ("semantics", "flatten order", "proved")


def test_difference_that_the_output_does_not_show_is_listed(planted: Trace) -> None:
    row = planted.table.set_index("layer_a").loc["bn2"]
    assert row["verdict"] == "rounding"
    assert row["differences"] == "momentum: A 0.1, B 0.01"
    unseen = "bn2: declared otherwise, which this input does not show: momentum: A 0.1, B 0.01"
    assert unseen in str(planted)


def test_layers_without_a_plant_are_rounding(planted: Trace) -> None:
    table = planted.table.set_index("layer_a")
    assert set(table.loc[["relu", "conv3", "maxpool", "ln", "head"], "verdict_a"]) <= {"exact", "rounding"}
    assert set(table.loc[["relu", "maxpool", "ln", "head"], "verdict"]) <= {"exact", "rounding"}
    assert set(table["verdict_a"]) <= {"exact", "rounding"}


def test_first_difference_and_unmatched(planted: Trace) -> None:
    first = planted.first_difference
    assert first is not None
    assert (first.layer_a, first.parameter) == ("conv1", "padding")
    assert planted.unmatched == {"a": [], "b": ["permute"]}
    assert not planted.fine
    assert str(planted).startswith("first difference: conv1")


def test_own_and_inherited_are_the_total_exactly(planted: Trace) -> None:
    for name in ("conv2", "gn", "head"):
        arrays = planted.layer(name)
        truth, fed, ordinary = (arrays[key].reshape(-1) for key in ("truth", "fed_a", "ordinary_a"))
        inherited = ordinary.astype(np.float64) - fed
        for t, f, o, i in list(zip(truth, fed, ordinary, inherited, strict=True))[:50]:
            own = Fraction(float(f)) - Fraction(float(t))
            assert own + Fraction(float(i)) == Fraction(float(o)) - Fraction(float(t))


def test_each_layer_is_fed_the_truth_side_input(planted: Trace) -> None:
    # B's own error at a layer without a plant is that of rounding, however wrong B is before it.
    row = planted.table.set_index("layer_a").loc["head"]
    assert row["own_relative_b"] < 1e-6
    assert row["total_relative_b"] > 1e-2
    assert row["inherited_relative_b"] == pytest.approx(row["total_relative_b"], rel=1e-4)


def test_decisions_of_the_last_layer(planted: Trace) -> None:
    table = planted.decisions
    assert set(table.loc[table["output"] == "A", "status"]) == {"safe"}
    assert "flipped" in set(table.loc[table["output"] == "B", "status"])


def test_files_hold_what_the_trace_says(planted: Trace) -> None:
    assert planted.kept is not None
    content = json.loads((planted.kept / "trace.json").read_text())
    assert content["schema"] == 1
    assert content["first_difference"]["layer_a"] == "conv1"
    assert len(content["layers"]) == len(planted.table)
    with pytest.raises(ValueError, match="named as in the table"):
        planted.layer("nothing")


def test_one_model_in_two_modes_is_rounding() -> None:
    found = precision.trace(SMALL, SMALL, mode_a="torch.cpu", mode_b="torch.cpu.no_mkldnn")
    assert found.fine
    assert found.first_difference is None
    assert set(found.table["verdict"]) <= {"exact", "rounding"}
    assert found.unmatched == {"a": [], "b": []}
    assert found.table["own_relative_a"].max() < 1e-6
    assert list(found.table["weights"].unique()) == ["same", ""]
    amplified = found.table["amplification_a"].dropna()
    assert (amplified > 0).all()
    assert (amplified < 10).all()


def test_random_state_and_unknown_types(tmp_path: Path) -> None:
    other = tmp_path / "more.py"
    other.write_text(
        f"import sys\nsys.path.insert(0, {str(MODELS)!r})\nimport torch\nimport random_torch\n"
        "def model():\n    net = random_torch.model(0.5)\n    net.gru.bias_ih_l0.data += 0.1\n"
        "    return net\n"
    )
    found = trace(RANDOM, other)
    table = found.table.set_index("layer_a")
    assert table.loc["drop", "verdict"] == "semantics"
    assert (table.loc["drop", "parameter"], table.loc["drop", "found"]) == ("p", 0.5)
    assert table.loc["drop", "verdict_a"] == "rounding"
    assert (table.loc["gru", "verdict_a"], table.loc["gru", "verdict"]) == ("unknown", "unexplained")
    assert "no gru" in table.loc["gru", "detail"]
    assert table.loc["random", "verdict"] == "not comparable"
    for name in ("fc", "out", "relu", "mul", "add"):
        assert table.loc[name, "verdict"] in ("exact", "rounding")
    assert np.isnan(table.loc["out", "total_relative_b"])
    assert table.loc["fc", "total_relative_b"] < 1e-6


def test_every_kind_of_call_computes_what_it_is_declared_to() -> None:
    zoo = MODELS / "zoo_torch.py"
    found = trace(zoo, zoo, mode_b="torch.cpu.channels_last")
    assert found.fine, str(found)
    table = found.table.set_index("layer_a")
    unknown = table[table["verdict_a"] == "unknown"]
    assert list(unknown.index) == ["abs"]
    assert "by nothing" in unknown.loc["abs", "detail"]
    known = table.drop("abs")
    assert set(known["verdict_a"]) <= {"exact", "rounding"}
    assert set(known["verdict"]) <= {"exact", "rounding"}
    assert len(known) >= 40
    assert {"conv1d", "conv2d", "conv3d", "conv_transpose2d", "matmul", "rms_norm"} <= set(known["op"])
