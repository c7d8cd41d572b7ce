"""Gradients of two models: each within its bound, totals those of a plain backward pass, plants named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from precision.__main__ import main
from precision.tracing.backward import chain, follow, totals, ways
from precision.tracing.errors import Split
from precision.tracing.judge import Finding
from precision.tracing.models import trace
from precision.tracing.result import Trace

MODELS = Path(__file__).parent / "traced"
SMALL, PLANTED = MODELS / "small_torch.py", MODELS / "planted_torch.py"
FINE = {"exact", "rounding"}


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("gradients") / "out"
    return trace(SMALL, SMALL, mode_b="torch.cpu.no_mkldnn", gradients=True, output=folder)


@pytest.fixture(scope="module")
def planted() -> Trace:
    return trace(SMALL, PLANTED, gradients=True)


def rows(found: Trace) -> pd.DataFrame:
    return found.gradients.set_index(["layer_a", "of"])


def module_of(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def backward(double: bool) -> dict[str, Any]:
    """The gradients of the model from torch alone: of each parameter by its name, and of the input."""
    torch.manual_seed(0)
    module = module_of(SMALL)
    net, x = module.model(), torch.from_numpy(np.asarray(module.inputs()))
    net, x = (net.double(), x.double()) if double else (net, x)
    x.requires_grad_()
    out = net(x)
    c = np.random.default_rng([0, 0]).standard_normal(tuple(out.shape)).astype(np.float32)
    (out * torch.from_numpy(c).to(out.dtype)).sum().backward()
    found = {name: each.grad.numpy() for name, each in net.named_parameters()}
    return {**found, "input": x.grad.numpy()}


def test_every_gradient_is_within_its_bound(same: Trace) -> None:
    table = same.gradients
    assert set(table["verdict"]) <= FINE
    assert set(table["verdict_a"]) <= FINE
    assert same.fine
    assert same.first_gradient_difference is None
    weights = {name for name, _ in module_of(SMALL).model().named_parameters()}
    assert {
        f"{row.layer_a}.{row.of}" for row in table.itertuples() if row.of in ("weight", "bias")
    } == weights
    layers = [name for name in table["layer_a"].drop_duplicates() if name != "model input"]
    assert layers == [name for name in same.table["layer_a"][::-1] if name in layers]


def test_totals_are_those_of_a_plain_backward_pass(same: Trace) -> None:
    single, double = backward(False), backward(True)
    for name, wanted in single.items():
        layer, _, of = name.rpartition(".") if name != "input" else ("model input", "", "input")
        arrays = same.gradient(layer, of)
        assert np.array_equal(arrays["total_a"], wanted), name
        size = np.linalg.norm(double[name])
        # The chain rounds every layer once: it is near the exact gradient, and so nearer than float32's own.
        assert np.linalg.norm(arrays["truth"] - double[name]) <= 2.0**-19 * size, name
        row = rows(same).loc[layer, of]
        apart = np.linalg.norm(arrays["total_a"].astype(np.float64) - arrays["truth"])
        assert row["total_relative_a"] == pytest.approx(apart / size, rel=0.2, abs=2.0**-26)


def test_own_and_inherited_add_up(same: Trace) -> None:
    row, arrays = rows(same).loc["conv1", "weight"], same.gradient("conv1", "weight")
    inherited = arrays["total_b"].astype(np.float64) - arrays["fed_b"]
    assert row["inherited_relative_b"] == pytest.approx(
        np.linalg.norm(inherited) / np.linalg.norm(arrays["truth"]), rel=1e-6
    )
    assert row["own_relative_b"] < 2.0**-20
    assert row["inherited_relative_b"] > 0


@pytest.mark.parametrize(
    ("layer", "of", "parameter"),
    [
        ("conv1", "input", "padding"),
        ("conv1", "weight", "padding"),
        ("bn1", "input", "eps"),
        ("bn1", "weight", "eps"),
        ("act1", "input", "negative_slope"),
        ("conv2", "weight", "padding, dilation"),
        ("avgpool", "input", "count_include_pad"),
        ("gelu", "input", "approximate"),
        ("gn", "input", "groups"),
        ("fc", "weight", "flatten order"),
        ("softmax", "input", "axis"),
    ],
)
def test_a_planted_difference_is_named_in_the_gradient(
    planted: Trace, layer: str, of: str, parameter: str
) -> None:
    row = rows(planted).loc[layer, of]
    assert (row["verdict"], row["parameter"], row["evidence"]) == ("semantics", parameter, "proved")
    assert row["mend"]
    assert row["verdict_a"] in FINE
    assert not planted.fine


def test_gradients_without_a_plant_are_rounding(planted: Trace) -> None:
    table = rows(planted)
    for layer in ("head", "ln", "maxpool", "bn2", "add", "relu"):
        assert set(table.loc[layer, "verdict"]) <= FINE, layer
    # A bias is added after all that these layers do otherwise: its gradient is the same.
    assert {table.loc[(layer, "bias"), "verdict"] for layer in ("conv1", "bn1", "conv2", "gn", "fc")} <= FINE
    assert table.loc[("conv3", "bias"), "verdict"] == "not comparable"
    first = planted.first_gradient_difference
    assert first is not None
    assert (first.layer_a, first.of) == ("softmax", "input")


def test_a_wrong_backward_pass_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both models compute the same forwards; one element of one gradient of B is moved by 2 in 1000."""
    judge = follow.GradientFollower._judge

    def moved(self: Any, number: int, at: int, head: Any, arrays: dict[str, Any]) -> None:
        if self.side.units[number].name == "conv2":
            flat = arrays["weight.weight"].reshape(-1)
            flat[int(np.argmax(np.abs(flat)))] *= np.float32(1.002)
        judge(self, number, at, head, arrays)

    monkeypatch.setattr(follow.GradientFollower, "_judge", moved)
    found = trace(SMALL, SMALL, mode_b="torch.cpu.threads1", gradients=True)
    odd = found.gradients[~found.gradients["verdict"].isin(FINE)]
    assert [(row.layer_a, row.of) for row in odd.itertuples()] == [("conv2", "weight")]
    assert set(odd["verdict"]) == {"unexplained"}
    assert not found.fine
    assert str(found).startswith(
        "no difference of meaning in the layers; first difference of gradients, from the"
    )


def test_a_gradient_that_is_handed_on_wrongly_is_not_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sum of two, one part is lost on the truth side: totals are then far from the chain."""
    add = chain.GradientChain._add

    def lost(self: Any, source: int, gradient: Any) -> None:
        if source < 0 or source not in self._sums:
            add(self, source, gradient)

    monkeypatch.setattr(chain.GradientChain, "_add", lost)
    found = trace(SMALL, SMALL, mode_b="torch.cpu.threads1", gradients=True)
    assert set(found.gradients["verdict"]) <= FINE  # each layer by itself is right all the same
    assert rows(found).loc[("conv1", "weight"), "total_relative_a"] > 1e-3


def cut(folder: Path, name: str, how: str) -> Path:
    """A net whose second branch takes the first layer's output as it is, detached, or without a gradient."""
    (folder / f"{name}.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.f, self.g = nn.Linear(6, 6), nn.Linear(6, 6)\n"
        f"    def forward(self, x):\n        y = self.f(x)\n        {how}\n"
        "        return self.g(torch.relu(z)) + torch.tanh(y)\n"
        "def model():\n    torch.manual_seed(0)\n    return Net().eval()\n"
    )
    return folder / f"{name}.py"


def test_a_way_that_one_model_cuts_is_named(tmp_path: Path) -> None:
    whole, detached = cut(tmp_path, "whole", "z = y"), cut(tmp_path, "detached", "z = y.detach()")
    for a, b, words in ((whole, detached, ("flows", "stopped")), (detached, whole, ("stopped", "flows"))):
        found = trace(a, b, shape=(2, 6), gradients=True)
        assert found.first_difference is None  # forwards they are the same
        odd = found.gradients[~found.gradients["verdict"].isin(FINE)]
        assert [(row.layer_a, row.of) for row in odd.itertuples()] == [("relu", "input")]
        row = odd.iloc[0]
        assert (row["verdict"], row["parameter"], row["evidence"]) == ("semantics", "gradient", "proved")
        assert (row["declared"], row["found"]) == words
        assert not found.fine
    both = trace(detached, detached, shape=(2, 6), mode_b="torch.cpu.threads1", gradients=True)
    assert both.fine
    assert both.gradients["total_relative_a"].dropna().max() < 2.0**-20  # the chain stops where A does


def test_layers_without_a_gradient_in_both_are_no_finding(tmp_path: Path) -> None:
    how = "with torch.no_grad():\n            z = self.g(y)"
    held = cut(tmp_path, "held", how)
    found = trace(held, held, shape=(2, 6), mode_b="torch.cpu.threads1", gradients=True)
    assert found.fine
    assert list(found.gradients["layer_a"].drop_duplicates()) == ["add", "tanh", "g#2", "f", "model input"]
    assert found.gradients["total_relative_a"].dropna().max() < 2.0**-20


def test_totals_that_nothing_explains_are_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    """One total of B is another one, and no layer is: a way that neither graph shows."""
    answer = totals.TotalPass._answer

    def other(self: Any, head: Any, arrays: dict[str, Any]) -> Any:
        if self.given and head.get("unit", -1) >= 0 and self.side.units[head["unit"]].name == "bn1":
            arrays = {name: array * np.float32(1.5) for name, array in arrays.items()}
        return answer(self, head, arrays)

    monkeypatch.setattr(totals.TotalPass, "_answer", other)
    found = trace(SMALL, SMALL, mode_b="torch.cpu.threads1", gradients=True)
    odd = found.gradients[~found.gradients["verdict"].isin(FINE)]
    assert [(row.layer_a, row.of, row.verdict) for row in odd.itertuples()] == [
        ("bn1", "input", "unexplained")
    ]
    assert "gradients take another way" in str(found)


def test_terms_that_cancel_are_no_other_way() -> None:
    """Totals that are far from the chain's in one model alone, where their terms cancel or both are off."""

    def row(name: str, a: float, b: float, scaled: float) -> chain.GradientRow:
        fine = Finding("rounding", evidence="bounded")
        splits = Split(total_relative=a), Split(total_relative=b)
        return chain.GradientRow(
            None, name, name, (1,), fine, fine, *splits, scaled={"a": scaled, "b": scaled}
        )

    def told(*given: chain.GradientRow) -> list[str]:
        ways._unexplained(given)
        return [each.b.verdict for each in given if each.b is not None]

    assert told(row("bias", 0.01, 2.0, 1e-8), row("in0", 1e-7, 0.5, 0.5)) == ["rounding", "unexplained"]
    assert told(row("in0", 0.01, 2.0, 1e-8), row("in0", 1e-7, 0.5, 0.5)) == ["rounding", "rounding"]
    assert told(row("in0", 0.2, 0.5, 0.5)) == ["rounding"]
    assert told(row("in0", 1e-7, 1e-3, 1e-3)) == ["rounding"]
    odd = row("in0", 1e-7, 0.5, 0.5)
    odd.notes.append("one element lies on the other side of a kink")
    assert told(odd) == ["rounding"]


def test_an_element_on_the_other_side_of_a_kink_is_said(tmp_path: Path) -> None:
    """2^24 + 1 - 2^24 is 1, and 0 in float32: the rectifier lets no gradient through."""
    file = tmp_path / "kink.py"
    file.write_text(
        "import numpy as np\nimport torch\nfrom torch import nn\ndef model():\n    torch.manual_seed(0)\n"
        "    net = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()\n"
        "    with torch.no_grad():\n        net[0].weight[0] = 1.0\n    return net\n"
        "def inputs():\n    rows = [[2.0**24, 1.0, -(2.0**24), 0.0], [1, 2, 3, 4]]\n"
        "    return np.array(rows, np.float32)\n"
    )
    found = trace(file, file, gradients=True)
    row = rows(found).loc[("1", "input")]
    assert row["verdict"] in FINE
    assert "1 of 4 elements lies on the other side of the kink in A's ordinary pass" in row["detail"]
    assert row["total_relative_a"] > 0.01
    assert found.fine
    assert str(found).count("the other side of the kink") == 2
    assert (
        not found.gradients["detail"]
        .drop(found.gradients.index[found.gradients["layer_a"] == "1"])
        .str.contains("kink")
        .any()
    )


def test_a_padding_of_another_number_than_zero_is_no_padding_of_zeros(tmp_path: Path) -> None:
    for name, value in (("twos", 2.0), ("zeros", 0.0)):
        (tmp_path / f"{name}.py").write_text(
            "import torch\nfrom torch import nn\ndef model():\n    torch.manual_seed(0)\n"
            f"    return nn.Sequential(nn.ConstantPad2d(1, {value}), nn.Conv2d(2, 3, 3), nn.ReLU()).eval()\n"
        )
    twos, zeros = tmp_path / "twos.py", tmp_path / "zeros.py"
    found = trace(twos, zeros, shape=(1, 2, 5, 5), gradients=True)
    assert set(found.table["verdict_a"]) <= FINE
    assert set(found.gradients["verdict_a"]) <= FINE
    assert not found.fine


def test_what_one_model_chooses_is_its_own_to_choose_and_another_choice_is_a_difference() -> None:
    kink, slopes = "gradient at the kink", ("1.758", "1.051")
    a = Finding("not comparable", kink, *slopes, "proved", "A chooses")
    assert follow._chosen(a, Finding("semantics", kink, *slopes, "proved")) == a
    other = follow._chosen(a, Finding("semantics", kink, "1.758", "1.4", "proved"))
    assert (other.verdict, other.declared, other.found) == ("semantics", "1.051", "1.4")
    plain = follow._chosen(a, Finding("rounding", evidence="bounded"))
    assert (plain.verdict, plain.declared, plain.found) == ("semantics", "1.051", "1.758")
    assert follow._chosen(a, Finding("unexplained")).verdict == "unexplained"
    assert follow._chosen(a, Finding("semantics", "ties", "first", "last", "proved")).parameter == "ties"
    assert follow._chosen(Finding("rounding"), Finding("exact")) == Finding("exact")


def test_outputs_that_only_one_model_gives_cost_its_totals_alone(tmp_path: Path) -> None:
    one, more = cut(tmp_path, "one", "z = y"), tmp_path / "more.py"
    more.write_text(one.read_text().replace("+ torch.tanh(y)\n", "+ torch.tanh(y), y\n"))
    found = trace(one, more, shape=(2, 6), gradients=True)
    assert [note for note in found.notes if "both models give the same outputs" in note]
    assert set(found.gradients["verdict"]) <= FINE
    assert found.gradients["total_relative_a"].notna().any()
    assert found.gradients["total_relative_b"].isna().all()


def test_words_files_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nfrom torch import nn\ndef model():\n    torch.manual_seed(1)\n"
        "    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).eval()\n"
    )
    out = tmp_path / "out"
    assert main(["trace", str(file), str(file), "--shape", "2,6", "--gradients", "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "gradients of sum(c * output)" in told
    assert (out / "gradients.csv").read_text().startswith("layer_a,layer_b,op,of,shape,verdict")
    kept = json.loads((out / "trace.json").read_text())
    assert {row["of"] for row in kept["gradients"]} == {"input", "weight", "bias"}
    assert '<section id="gradients">' in (out / "trace.html").read_text()
    assert main(["trace", str(file), str(file), "--shape", "2,6"]) == 0
    told = capsys.readouterr().out
    assert told
    assert "gradients of" not in told


def test_an_array_that_was_not_kept_is_refused(same: Trace, planted: Trace) -> None:
    with pytest.raises(ValueError, match="named as in the table"):
        same.gradient("conv1", "nothing")
    with pytest.raises(ValueError, match="output=DIR"):
        planted.gradient("conv1", "weight")
