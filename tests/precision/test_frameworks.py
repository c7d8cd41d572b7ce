"""The real frameworks, in real workers: verdicts on right calls, and planted faults that must be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from precision import modes, process, requirements, runner, schedule
from precision.capture import load_capture
from precision.cases import load_suite
from precision.handover import write_inputs
from precision.modes import FRAMEWORKS, MODES, Framework
from precision.results import score_run

HERE = Path(__file__).parent


def test_the_report_runs_end_to_end(real_report):
    folder, done = real_report
    assert done.returncode == 1, done.stderr  # the natural call of one case is another function
    scores = pd.read_parquet(folder / "results" / "scores.parquet").set_index(["case", "mode"])
    assert len(scores) == 4 * 3
    assert scores.loc[("smoke-conv2d-even-same", "torch.cpu"), "verdict"] == "semantics"
    assert "padding=1 was called" in scores.loc[("smoke-conv2d-even-same", "torch.cpu"), "reason"]
    assert scores.loc[("smoke-conv2d-even-same", "tensorflow.cpu"), "verdict"] == "exact"
    gpu = scores.xs("torch.cuda.tf32", level="mode")
    if set(gpu["verdict"]) == {"not run"}:
        assert gpu["reason"].str.contains("no NVIDIA GPU|no usable CUDA").all()
    rest = scores.drop("smoke-conv2d-even-same", level="case").query("mode != 'torch.cuda.tf32'")
    assert set(rest["verdict"]) <= {"rounding", "exact"}
    assert (rest["error_over_bound_max"] <= 1).all()
    assert (rest["truth_uncertainty_ulp_max"] <= 2.0**-10).all()
    assert (rest["probe_mismatches"] == 0).all()
    for name in ("index.html", "summary.md", "results/scores.csv", "results/cases.parquet"):
        assert (folder / name).stat().st_size > 0
    assert "smoke-conv2d-even-same" in done.stdout


def test_switches_are_recorded_as_asked_and_read_back(real_report):
    for name, version in (("torch.cpu", "torch"), ("tensorflow.cpu", "tensorflow")):
        capture = load_capture(real_report[0] / "captures" / name)
        assert capture.read_back["threads"] is not None
        assert capture.versions[version]
        assert capture.environment == {"CUDA_VISIBLE_DEVICES": ""}
        assert {cell["distinct"] for cell in capture.cells.values()} == {1}


def test_scoring_again_gives_the_same_bytes(real_report, precision_command):
    folder = real_report[0]
    before = {path: path.read_bytes() for path in (folder / "results").iterdir()}
    before[folder / "index.html"] = (folder / "index.html").read_bytes()
    assert precision_command("score", str(folder)).returncode == 0
    assert precision_command("render", str(folder)).returncode == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_finished_run_is_not_run_again(real_report, precision_command):
    folder = real_report[0]
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("captures/*/*.safetensors")}
    assert len(files) == 8
    done = precision_command("run", "smoke", "-o", str(folder), "--modes", "torch.cpu,tensorflow.cpu")
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_arrays_handed_over_give_the_same_bits(real_report, precision_command, tmp_path):
    write_inputs(tmp_path / "inputs", load_suite("smoke"))
    arguments = ["-o", str(tmp_path / "run"), "--inputs", str(tmp_path / "inputs")]
    done = precision_command("run", "smoke", *arguments, "--modes", "torch.cpu")
    assert done.returncode == 0, done.stderr
    made = load_capture(real_report[0] / "captures" / "torch.cpu")
    handed = load_capture(tmp_path / "run" / "captures" / "torch.cpu")
    for case_id, cell in made.cells.items():
        assert cell["inputs"] == handed.cells[case_id]["inputs"]
        assert cell["sha256"] == handed.cells[case_id]["sha256"]


def test_arrays_of_another_shape_or_content_are_refused(precision_command, tmp_path):
    cases = list(load_suite("smoke"))
    first = cases[0]
    wrong = replace(first.arrays["input"], shape=(1, 16, 10, 13))
    write_inputs(tmp_path / "shape", [replace(first, arrays={**first.arrays, "input": wrong}), *cases[1:]])
    done = precision_command(
        "run", "smoke", "-o", str(tmp_path / "a"), "--inputs", str(tmp_path / "shape"), "--modes", "torch.cpu"
    )
    assert done.returncode == 2
    assert "declares input as float32 [1, 16, 10, 12]; got float32 [1, 16, 10, 13]" in done.stderr
    assert not (tmp_path / "a").exists()

    other = replace(first.arrays["input"], recipe="normal")
    write_inputs(tmp_path / "data", [replace(first, arrays={**first.arrays, "input": other}), *cases[1:]])
    run = ["-o", str(tmp_path / "b"), "--modes", "torch.cpu"]
    done = precision_command("report", "smoke", *run, "--inputs", str(tmp_path / "data"))
    assert done.returncode == 1
    scores = pd.read_parquet(tmp_path / "b" / "results" / "scores.parquet").set_index("case")
    assert scores.loc[first.id, "verdict"] == "data"
    assert scores.loc["smoke-linear", "verdict"] == "rounding"


FAULTS = {
    "conv2d": ["flip", "shift", "stride", "no bias", "two biases", "one weight"],
    "layer_norm": ["eps", "unbiased", "no bias", "two biases", "uncentred"],
    "linear": ["no bias", "two biases", "one weight"],
}


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Run the smoke suite in a mode of PyTorch with one planted fault; return verdicts by case."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    frameworks = {**FRAMEWORKS, "torch": Framework("torch", "faulty_backend", ("torch",))}
    for module in (modes, schedule, process, requirements):
        monkeypatch.setattr(module, "FRAMEWORKS", frameworks)
    mode = next(mode for mode in MODES if mode.name == "torch.cpu")
    cases = [case for case in load_suite("smoke") if not case.natural]

    def run(fault):
        monkeypatch.setenv("FAULT", json.dumps(fault))
        folder = tmp_path / fault[1].replace(" ", "-")
        runner.run(folder, "smoke", cases, [mode])
        return score_run(folder)["scores"].set_index("case")

    return run


@pytest.mark.parametrize(("op", "fault"), [(op, fault) for op, faults in FAULTS.items() for fault in faults])
def test_a_planted_fault_is_never_rounding(faulty, op, fault):
    scores = faulty((op, fault))
    hit = {"conv2d": "smoke-conv2d-3x3", "layer_norm": "smoke-layer-norm", "linear": "smoke-linear"}[op]
    assert scores.loc[hit, "verdict"] in {"semantics", "unexplained"}
    assert set(scores["verdict"].drop(hit)) <= {"exact", "rounding"}


SPY_TORCH = """
import torch, torch.nn.functional as F, numpy as np
from precision.frameworks import torch_backend as b
seen, conv = [], F.conv2d
def spy(x, *rest):
    seen.append(x.is_contiguous(memory_format=torch.channels_last))
    return conv(x, *rest)
F.conv2d = spy
a = {"input": np.ones((1, 8, 5, 5), "f"), "weight": np.ones((4, 8, 3, 3), "f")}
p = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
b.run("conv2d", p, a)
b.configure("cpu", {"memory_format": "channels_last"})
b.run("conv2d", p, a)
print(seen)
"""

SPY_TENSORFLOW = """
import numpy as np
from precision.frameworks import tensorflow_backend as b
b.configure("cpu", {"jit_compile": True})
a = {"input": np.ones((2, 8), "f"), "weight": np.ones((4, 8), "f"), "bias": np.ones(4, "f")}
b.run("linear", {}, a)
(call,) = b._calls.values()
print(call._jit_compile)
"""


def test_channels_last_and_xla_really_reach_the_call():
    assert _printed(SPY_TORCH) == "[False, True]"
    assert _printed(SPY_TENSORFLOW) == "True"


def _printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_inputs_are_not_changed_by_a_call():
    from precision.frameworks import torch_backend

    case = next(case for case in load_suite("default") if case.id == "batch-norm-training")
    arrays = {
        name: array[:, :2] if array.ndim == 4 else array[:2] for name, array in case.make("data").items()
    }
    copies = {name: array.copy() for name, array in arrays.items()}
    first = torch_backend.run("batch_norm", case.params, arrays)
    assert np.array_equal(first, torch_backend.run("batch_norm", case.params, arrays))
    assert all(np.array_equal(arrays[name], copies[name]) for name in arrays)
