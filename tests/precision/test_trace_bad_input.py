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
