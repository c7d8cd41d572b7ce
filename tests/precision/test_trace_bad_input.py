"""What a trace refuses, in one line each that says the rule, what was given and the mend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from precision.__main__ import main
from precision.errors import UserError
from precision.tracing.models import trace
from precision.tracing.process import TraceProcess
from precision.tracing.units import build_units, read_calls

MODELS = Path(__file__).parent / "traced"
SMALL = MODELS / "small_torch.py"


@pytest.fixture(scope="module")
def process() -> Iterator[TraceProcess]:
    with TraceProcess(SMALL, "torch.cpu", "A") as found:
        found.ready()
        yield found


def written(folder: Path, text: str, name: str = "model.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as found:
        trace(*arguments, **options)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_files_and_options(tmp_path: Path) -> None:
    assert "no file" in refused(tmp_path / "none.py", SMALL)
    assert "a model file is Python" in refused(written(tmp_path, "def model(:\n"), SMALL)
    assert "--mode-a" in refused(written(tmp_path, "def model():\n    return 1\n"), SMALL)
    assert "imports both" in refused(SMALL, written(tmp_path, "import torch, keras\n"))
    assert "a mode is one of" in refused(SMALL, SMALL, mode_a="torch.gpu", mode_b="torch.cpu")
    assert "from a or from b" in refused(SMALL, SMALL, weights="c")
    assert "readable CSV" in refused(SMALL, SMALL, match=tmp_path / "none.csv")


def test_command_line_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(tmp_path / "none.py"), str(SMALL)]) == 2
    assert main(["trace", str(SMALL), str(SMALL), "--shape", "1,x"]) == 2
    text = tmp_path / "x.npy"
    text.write_text("no array")
    assert main(["trace", str(SMALL), str(SMALL), "--input", str(text)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("precision: ") for line in lines)
    assert "integers with commas" in lines[1]
    assert "np.save" in lines[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "has none; add it"),
        ("def model():\n    return 3\n", "returned a int"),
        ("def model():\n    raise KeyError('weights')\n", r"\(line 2\), raised KeyError"),
        ("import nothing_of_that_name\n", "No module named"),
    ],
)
def test_model_file_that_does_not_load(process: TraceProcess, tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=words) as found:
        process.ask({"do": "load", "file": str(path)})
    assert "\n" not in str(found.value)


def loaded(process: TraceProcess, path: Path, seed: int = 0) -> None:
    process.ask({"do": "load", "file": str(path), "seed": seed})


def described(process: TraceProcess, array: Any, **more: Any) -> list[dict[str, Any]]:
    request = {"do": "describe", "kinds": ["float32"], "turn": True, "seed": 0, **more}
    head, _ = process.ask(request, {"in0": np.asarray(array, np.float32)})
    calls: list[dict[str, Any]] = head["calls"]
    return calls


def ops(calls: list[dict[str, Any]]) -> list[str]:
    return [str(call["op"]) for call in calls]


NET = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
"""
PLAIN = """    def forward(self, x):
        return self.fc(x)
def model():
    return Net().eval()
"""
COMPILED = """class Compiled(nn.Module):
    def __init__(self):
        super().__init__()
        self._orig_mod = nn.Linear(3, 4)
"""
"""What torch.compile returns, without loading its compiler."""


def test_a_file_does_not_see_the_arguments_of_the_tool(process: TraceProcess, tmp_path: Path) -> None:
    path = written(tmp_path, "import sys, torch\nWIDTH = int(sys.argv[1])\ndef model():\n    pass\n")
    with pytest.raises(UserError, match="list index out of range"):
        loaded(process, path)


@pytest.mark.parametrize("made", ["torch.jit.script(nn.Linear(3, 4))", "Compiled()"])
def test_compiled_models_are_refused(process: TraceProcess, tmp_path: Path, made: str) -> None:
    path = written(tmp_path, f"{NET}{COMPILED}def model():\n    return {made}\n")
    with pytest.raises(UserError, match="returned a compiled one") as found:
        loaded(process, path)
    assert "\n" not in str(found.value)


def test_unseeded_weights_are_the_same_every_time(process: TraceProcess, tmp_path: Path) -> None:
    path = written(tmp_path, NET + PLAIN)
    found = []
    for seed in (0, 0, 1):
        loaded(process, path, seed)
        described(process, np.ones((2, 3)))
        found.append(process.ask({"do": "weights", "call": 0})[1]["weight"])
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_inference_mode_and_lazy_layers_are_traced(process: TraceProcess, tmp_path: Path) -> None:
    inside = "    @torch.inference_mode()\n    def forward(self, x):\n"
    inside += "        return torch.relu(self.fc(x)).sum()\n"
    loaded(process, written(tmp_path, f"{NET}{inside}def model():\n    return Net().eval()\n"))
    assert ops(described(process, np.ones((2, 3)))) == ["linear", "relu", "sum"]
    lazy = "def model():\n    return nn.Sequential(nn.LazyLinear(4), nn.ReLU())\n"
    loaded(process, written(tmp_path, NET + lazy, "lazy.py"))
    assert ops(described(process, np.ones((2, 3)))) == ["linear", "relu"]


def test_inputs_by_keyword(process: TraceProcess, tmp_path: Path) -> None:
    text = NET + "    def forward(self, *, words):\n        return self.fc(words)\n"
    text += "def model():\n    return Net()\ndef inputs():\n    return {'words': torch.ones(2, 3)}\n"
    loaded(process, written(tmp_path, text))
    head, arrays = process.ask({"do": "inputs"})
    assert head["names"] == ["words"]
    assert ops(described(process, arrays["in0"], names=head["names"])) == ["linear"]
    with pytest.raises(UserError, match="a model takes the input and runs"):
        described(process, arrays["in0"])


def test_comparisons_are_no_layers_and_another_type_is_said(process: TraceProcess, tmp_path: Path) -> None:
    inside = "    def forward(self, x):\n        y = torch.where(x > 0, x, x * 2)\n"
    inside += "        return torch.relu(y.double())\n"
    loaded(process, written(tmp_path, f"{NET}{inside}def model():\n    return Net()\n"))
    calls = described(process, np.ones((2, 3)))
    assert [call["kind"] for call in calls] == ["bool", "float32", "float32", "float64"]
    units = build_units(read_calls(calls), [[3]])
    assert [unit.main.kind for unit in units] == ["float32", "float32", "float64"]


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_a_finding_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = "import torch\nfrom torch import nn\ndef model():\n    torch.manual_seed(0)\n"
    text += (
        "    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Softmax(1)).eval()\n{0}    return net\n"
    )
    one = written(tmp_path, text.format(""), "one.py")
    two = written(tmp_path, text.format("    net[1].weight.data[1, 2] = float('nan')\n"), "two.py")
    found = trace(one, two, shape=(2, 3))
    rows = {row["layer_a"]: row for row in found.rows}
    assert (rows["1"]["verdict"], rows["1"]["parameter"]) == ("data", "weight")
    assert "1 NaN or Inf among 16 values, the first at [1, 2]" in rows["1"]["detail"]
    assert rows["0"]["verdict"] in ("exact", "rounding")
    assert rows["2"]["verdict"] in ("exact", "rounding")
    again = trace(two, one, shape=(2, 3))
    assert again.first_difference is not None
    assert again.first_difference.layer_a == "1"
    assert not again.fine


@pytest.mark.slow
def test_another_type_of_numbers_is_named(tmp_path: Path) -> None:
    inside = "    def forward(self, x):\n        return torch.relu({0}).float()\ndef model():\n"
    inside += "    torch.manual_seed(0)\n    net = Net().eval()\n    {1}\n    return net\n"
    one = written(tmp_path, NET + inside.format("self.fc(x)", "pass"), "one.py")
    two = written(tmp_path, NET + inside.format("self.fc(x.bfloat16())", "net.bfloat16()"), "two.py")
    found = trace(one, two, shape=(2, 3))
    first = found.first_difference
    assert first is not None
    assert (first.parameter, first.declared, first.found) == ("dtype", "float32", "bfloat16")
    assert "judged in float32" in refused(two, one, shape=(2, 3))


def test_input_that_the_model_rejects(process: TraceProcess) -> None:
    process.ask({"do": "load", "file": str(SMALL)})
    wrong = {"in0": np.zeros((1, 5, 8, 8), np.float32)}
    request = {"do": "describe", "kinds": ["float32"], "turn": True, "seed": 0}
    with pytest.raises(UserError, match="a model takes the input and runs") as found:
        process.ask(request, wrong)
    assert "\n" not in str(found.value)
    # The process goes on: the next request is answered.
    good, _ = process.ask(request, {"in0": np.zeros((1, 3, 8, 8), np.float32)})
    assert good["calls"]


def test_inputs_that_are_no_numbers(process: TraceProcess, tmp_path: Path) -> None:
    path = written(tmp_path, "import torch\ndef model():\n    return torch.nn.Identity()\n"
                             "def inputs():\n    return torch.zeros(2, dtype=torch.complex64)\n")  # fmt: skip
    process.ask({"do": "load", "file": str(path)})
    with pytest.raises(UserError, match="real numbers"):
        process.ask({"do": "inputs"})


def test_calls_that_depend_on_the_data_are_refused(process: TraceProcess, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "import torch\nclass Net(torch.nn.Module):\n    count = 0\n    def forward(self, x):\n"
        "        self.count += 1\n        return torch.relu(x) if self.count == 1 else torch.sigmoid(x)\n"
        "def model():\n    return Net()\n",
    )
    process.ask({"do": "load", "file": str(path)})
    request = {"kinds": ["float32"], "turn": True, "seed": 0}
    arrays = {"in0": np.ones((1, 3), np.float32)}
    process.ask({"do": "describe", **request}, arrays)
    with pytest.raises(UserError, match="the same calls on every pass"):
        process.run(
            {"do": "run", "kind": "ordinary", "units": [[0]], **request}, arrays, lambda h, a: ({}, {})
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 3, 8, 8), "input": np.zeros((1, 3, 8, 8))}, "given or drawn"),
        ({"shape": (0, 3)}, "positive integers"),
        ({"input": np.full((1, 3, 8, 8), np.nan)}, "finite"),
        ({"input": np.zeros((1, 3, 8, 8), complex)}, "real numbers"),
    ],
)
def test_inputs(process: TraceProcess, options: dict[str, Any], words: str) -> None:
    from precision.tracing.models import _inputs

    given = {"input": None, "shape": None, **options}
    with pytest.raises(UserError, match=words):
        _inputs(process, {"has_inputs": False, "shape": None}, given["input"], given["shape"], 0)


def test_model_without_any_input(process: TraceProcess) -> None:
    from precision.tracing.models import _inputs

    with pytest.raises(UserError, match=r"give --shape 1,3,224,224"):
        _inputs(process, {"has_inputs": False, "shape": None}, None, None, 0)


@pytest.mark.slow
def test_models_that_cannot_be_matched_and_weights_that_do_not_fit(tmp_path: Path) -> None:
    head = "import torch\nfrom torch import nn\n"
    one = written(tmp_path, f"{head}def model():\n    return nn.Sequential(nn.Linear(3, 4))\n", "one.py")
    two = written(tmp_path, f"{head}def model():\n    return nn.Sequential(nn.Softmax(1))\n", "two.py")
    three = written(tmp_path, f"{head}def model():\n    return nn.Sequential(nn.Linear(3, 5))\n", "three.py")
    assert "none of A's 1 (linear) matches one of B's 1 (softmax)" in refused(one, two, shape=(2, 3))
    words = refused(one, three, shape=(2, 3), weights="a", match={"0": "0"})
    assert "weight of 0 is [4, 3], of 0 [5, 3]" in words


@pytest.mark.slow
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    text = "import time, torch\ndef model():\n    time.sleep(600)\n"
    path = written(tmp_path, text)
    # A process that was started with Ctrl-C ignored would go on ignoring it.
    program = (
        "import signal, sys\nfrom precision.__main__ import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main(sys.argv[1:]))\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program, "trace", str(path), str(path), "--shape", "1,3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(15)
    processes = [each for each in Path("/proc").iterdir() if each.name.isdigit()]
    children = [each for each in processes if _parent(each) == started.pid]
    assert children
    os.kill(started.pid, signal.SIGINT)
    _, complaint = started.communicate(timeout=60)
    assert started.returncode == 130
    assert b"Traceback" not in complaint
    assert not [each for each in children if each.exists()]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def test_model_that_stops_on_the_other_ones_shapes(tmp_path: Path) -> None:
    text = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 1, stride={0})
        self.fc = nn.Linear({1}, 3)
    def forward(self, x):
        return torch.relu(self.fc(self.conv(x).reshape(2, {1})))
def model():
    return Net().eval()
"""
    one = written(tmp_path, text.format(1, 32), "a.py")
    two = written(tmp_path, text.format(2, 8), "b.py")
    found = trace(one, two, shape=(2, 1, 4, 4))
    assert found.first_difference is not None
    assert (found.first_difference.layer_a, found.first_difference.parameter) == ("conv", "stride")
    assert any("not run to its end" in note and "line 10" in note for note in found.notes)
    verdicts = dict(zip(found.table["layer_a"], found.table["verdict"], strict=True))
    assert verdicts["relu"] == "not run"
    assert found.table["verdict_a"].isin(["exact", "rounding"]).all()
    assert not found.fine
    assert "not run" in str(found)
