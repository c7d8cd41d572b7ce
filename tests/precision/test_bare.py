"""A machine that has Python, NumPy, safetensors and one framework, and nothing else: it captures."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from precision.capture import load_capture
from precision.orders.records import recorded_orders

ROOT = Path(__file__).parents[2]
ABSENT = ("typer", "rich", "pandas", "pyarrow", "numba", "llvmlite", "seaborn", "matplotlib", "pytest")


def with_requirements(names):
    """Return these distributions and all that they require, without extras."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in found[key].requires or []:
            requirement, _, marker = line.partition(";")
            if "extra" not in marker:
                waiting.append(re.match(r"[A-Za-z0-9._-]+", requirement).group())
    return found


def bare_python(folder, framework):
    """Make an environment of links to NumPy, safetensors, a framework and what that requires itself."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for distribution in with_requirements(["numpy", "safetensors", framework]).values():
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            source = Path(distribution.locate_file(top))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    python = bare_python(tmp_path_factory.mktemp("bare") / "torch", "torch")

    def run(*arguments):
        return subprocess.run(
            [python, "-m", "precision", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )

    for name in ABSENT:
        found = subprocess.run([python, "-c", f"import {name}"], capture_output=True, text=True, check=False)
        assert "ModuleNotFoundError" in found.stderr, name
    return run


CHOSEN = "linear-1024-1000,layer-norm-768-input-grad,operands-linear,order-linear-64"


def test_a_bare_machine_captures_the_gpu_suite(bare, tmp_path):
    folder = tmp_path / "run"
    modes = "torch.cuda*,torch.cpu,torch.cpu.fp16"
    done = bare("run", "--suite", "gpu", "--modes", modes, "--cases", CHOSEN, "-o", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    capture = load_capture(folder / "captures" / "torch.cpu")
    assert {id: cell["status"] for id, cell in capture.cells.items()} == dict.fromkeys(
        CHOSEN.split(","), "ok"
    )
    for id in capture.cells:
        capture.verify(id)
    (found,) = recorded_orders(capture, "gpu")  # here, where the other libraries are
    assert found.revealed.proved
    gpu = load_capture(folder / "captures" / "torch.cuda.tf32")
    if gpu.status == "not run":
        assert "no NVIDIA GPU or driver" in gpu.reason or "finds no usable CUDA device" in gpu.reason
    assert len(list((folder / "captures").iterdir())) > 15


def test_the_suite_may_be_named_either_way(bare, tmp_path):
    for number, suite in enumerate((["smoke"], ["--suite", "smoke"])):
        folder = tmp_path / str(number)
        done = bare("run", *suite, "--modes", "torch.cuda.tf32", "-o", str(folder))
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "run.json").read_text())["suite"] == "smoke"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report"], "has the command `run` alone; got 'report'"),
        (["run", "--suite", "nothing"], "; got 'nothing'; choose one of these"),
        (["run", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["run", "gpu", "--modes", "torch.tpu"], "got 'torch.tpu'"),
        (["run", "gpu", "--timeout", "soon"], "invalid float value: 'soon'"),
        (["run", "gpu", "-o", "README.md", "--modes", "torch.cpu"], "the output is a folder"),
    ],
)
def test_bad_usage_is_one_line(bare, arguments, words):
    done = bare(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_help_is_there(bare):
    for arguments in ([], ["--help"], ["run", "--help"]):
        done = bare(*arguments)
        assert done.returncode == 0
        assert "run" in done.stdout


REFUSED = (*ABSENT, "mpmath", "flint", "reference", "reports")
BLOCKED = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {REFUSED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from precision.capturing import bare_main
import precision.worker, precision.recording.order, precision.recording.operands
import precision.recording.accumulator, precision.recording.invariance
status = bare_main(["run", "gpu", "--cases", "linear*", "--modes", "torch.cuda.tf32", "-o", sys.argv[1]])
sys.exit(status or bool({{"torch", "tensorflow"}} & set(sys.modules)))
"""


def test_capturing_itself_imports_nothing_else(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tmp_path / "run")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_tensorflow_on_a_bare_machine(tmp_path):
    python = bare_python(tmp_path / "tensorflow", "tensorflow")
    done = subprocess.run(
        [python, "-m", "precision", "run", "--suite", "gpu", "--modes", "tensorflow.cpu", "--cases", CHOSEN,
         "-o", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    capture = load_capture(tmp_path / "run" / "captures" / "tensorflow.cpu")
    assert {cell["status"] for cell in capture.cells.values()} == {"ok"}
