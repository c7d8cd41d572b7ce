"""The parts of the drivers that a GPU suite uses, as far as they run on a CPU: gradients, settings, names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from precision.cases import load_suite
from precision.errors import CannotRun
from precision.frameworks import nvidia
from reference import error_bound, evaluate

ROOT = Path(__file__).parents[2]
NORMS = [
    case for case in load_suite("gpu") if case.family == "normalization gradient" and "offset" not in case.id
]


@pytest.mark.parametrize("case", NORMS, ids=lambda case: case.id)
def test_a_normalizations_gradient_is_the_declared_one_in_torch(case):
    from precision.frameworks import torch_backend

    within_its_bound(torch_backend, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", NORMS, ids=lambda case: case.id)
def test_a_normalizations_gradient_is_the_declared_one_in_tensorflow(case):
    from precision.frameworks import tensorflow_backend

    within_its_bound(tensorflow_backend, case)


def within_its_bound(backend, case):
    arrays, params = case.make("data"), case.declared("data")
    few = {name: array[:16] if array.ndim == 2 else array[:, :8] for name, array in arrays.items()
           if array.ndim > 1}  # fmt: skip
    arrays |= few
    if case.op.startswith("group_norm"):
        params = {**params, "num_groups": 4}
    channels = next(iter(few.values())).shape[1]
    arrays = {name: array[:channels] if array.ndim == 1 else array for name, array in arrays.items()}
    truth = evaluate(case.op, arrays, params)
    output = backend.run(case.op, params, arrays)
    assert output.shape == truth.value.shape
    # The worst case is far above what rounding does here: no more than 2^-14 of the largest is allowed.
    bound = np.minimum(error_bound(case.op, arrays, params, truth), 2.0**-14 * np.abs(truth.value).max())
    assert (np.abs(truth.error(output)) <= bound).all()
    # The checker's check: a gradient that is a thousandth too large is not within it.
    assert (np.abs(truth.error(output * np.float32(1.001))) > bound).any()


def test_settings_vary_and_come_back():
    import torch

    from precision.frameworks import torch_backend
    from precision.frameworks.torch_tensors import placed, state

    before = torch.get_num_threads(), dict(state)
    with torch_backend.varied("threads", 1):
        assert torch.get_num_threads() == 1
    with torch_backend.varied("memory_format", "channels_last"):
        assert placed(np.ones((1, 2, 3, 3), np.float32), True).is_contiguous(
            memory_format=torch.channels_last
        )
    with torch_backend.varied("offset", 3):
        moved = placed(np.arange(6, dtype=np.float32), False)
        assert moved.storage_offset() == 3
        assert moved.tolist() == [0, 1, 2, 3, 4, 5]
    with torch_backend.varied("stream", "idle"):
        pass
    for factor, value in (("stream", "busy"), ("stream", "own"), ("weather", "rain")):
        with pytest.raises(CannotRun), torch_backend.varied(factor, value):
            pass
    with pytest.raises(RuntimeError), torch_backend.varied("threads", 1):
        raise RuntimeError("a call that fails")
    assert (torch.get_num_threads(), dict(state)) == before


def test_the_profiler_names_what_ran():
    from precision.frameworks import torch_backend

    arrays = {"input": np.ones((2, 3), np.float32), "weight": np.ones((4, 3), np.float32)}
    assert "aten::linear" in torch_backend.kernels("linear", {}, arrays)


NARROW = """
import numpy as np
from precision.frameworks import {name} as backend
from reference.formats import BFLOAT16, round_to
backend.configure("cpu", {{"operands": "bfloat16"}})
rng = np.random.default_rng(0)
x, w = rng.standard_normal((4, 1), np.float32), rng.standard_normal((8, 1), np.float32)
wanted = round_to(round_to(x, BFLOAT16) @ round_to(w, BFLOAT16).T, BFLOAT16).astype(np.float32)
assert np.array_equal(backend.run("linear", {{}}, {{"input": x, "weight": w}}), wanted)
norm = {{"input": x.reshape(1, 4), "weight": np.ones(4, np.float32)}}
y = backend.run("rms_norm", {{"normalized_shape": [4], "eps": 1e-5}}, norm)
assert not np.array_equal(y, round_to(y, BFLOAT16))
"""

SWITCHES = """
import subprocess, sys
from precision.frameworks import {name} as backend
from precision.modes import CAPTURE_MODES
for mode in CAPTURE_MODES:
    if mode.framework == "{framework}" and mode.device == "cuda":
        read = backend.configure("cpu", mode.switches)
        wrong = {{k: read[k] for k, v in mode.switches.items() if read[k] != v}}
        assert not wrong, (mode.name, wrong)
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [NARROW, SWITCHES], ids=["16-bit operands", "switches of a GPU"])
@pytest.mark.parametrize(
    "framework",
    ["torch", pytest.param("tensorflow", marks=pytest.mark.slow)],
)
def test_switches_take(code, framework):
    """Sums alone round their operands; every switch of a CUDA mode is one that reads back as set."""
    python(code.format(name=f"{framework}_backend", framework=framework))


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
            "550.54.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("nothing of the kind", ""),
    ],
)
def test_the_drivers_version_is_read(tmp_path, line, version):
    path = tmp_path / "version"
    path.write_text(f"{line}\nGCC version:  gcc version 13.2.0\n")
    assert nvidia._driver(path) == version
    assert nvidia._driver(tmp_path / "absent") == ""


def test_versions_of_libraries_that_are_not_there_are_left_out():
    found = nvidia.nvidia_versions()
    assert all(value for value in found.values())
