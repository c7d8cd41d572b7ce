"""Modes as data, and what a machine must have for them."""

from __future__ import annotations

import pytest

from precision import requirements
from precision.errors import UserError
from precision.modes import (
    CAPTURE_MODES,
    FRAMEWORKS,
    HALF_MODES,
    MODES,
    ORDER_MODES,
    STEERING_VARIABLES,
    Mode,
    select_modes,
)
from precision.process import worker_environment


def test_the_modes_that_are_promised():
    names = [mode.name for mode in MODES]
    assert len(set(names)) == len(names)
    assert sum(mode.device == "cpu" for mode in MODES) >= 14
    for name in (
        "torch.cpu threads1 channels_last no_mkldnn bf16 avx2",
        "tensorflow.cpu threads1 no_onednn xla deterministic bf16 avx2",
        "torch.cuda.tf32 deterministic",
    ):
        head, *tails = name.split()
        assert {head, *(f"{head}.{tail}" for tail in tails)} <= set(names)
    for framework in FRAMEWORKS:
        cuda = [mode for mode in MODES if mode.framework == framework and mode.device == "cuda"]
        combinations = {(mode.operand_format, "deterministic" in mode.name) for mode in cuda}
        assert combinations == {(f, d) for f in ("tf32", "binary32") for d in (True, False)}
        assert all("cuda" in mode.requires for mode in cuda)


def test_cpu_modes_never_see_a_gpu():
    assert all(mode.environment["CUDA_VISIBLE_DEVICES"] == "" for mode in MODES if mode.device == "cpu")


def test_every_variable_of_a_mode_is_removed_for_the_others():
    assert {name for mode in MODES for name in mode.environment} <= STEERING_VARIABLES


def test_selection():
    assert [mode.name for mode in select_modes("torch.cpu,*.xla")] == [
        "torch.cpu",
        "tensorflow.cpu.xla",
        "tensorflow.cuda.xla",
        "tensorflow.cuda.ieee.xla",
    ]
    with pytest.raises(UserError, match=r"got 'torch\.gpu'"):
        select_modes("torch.cpu,torch.gpu")


def test_missing_parts_are_named(monkeypatch):
    mode = Mode("m", "m", "torch", "cpu", requires=("cpu:bf16",))
    monkeypatch.setattr(requirements, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert requirements.missing(mode) == ""
    monkeypatch.setattr(requirements, "cpu_flags", lambda: frozenset({"avx2"}))
    assert "no bfloat16 unit" in requirements.missing(mode)
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    assert "torch is not installed; pip install" in requirements.missing(mode)


def test_no_gpu_is_a_reason(monkeypatch):
    monkeypatch.setattr(requirements.Path, "exists", lambda self: False)
    mode = next(mode for mode in MODES if mode.name == "torch.cuda.tf32")
    assert requirements.missing(mode) == "no NVIDIA GPU or driver on this machine"


def test_torch_compile_can_be_revealed_but_is_no_mode_of_the_report():
    assert "torch.cpu.compile" not in {mode.name for mode in MODES}
    assert [mode.name for mode in select_modes("*cpu.compile", ORDER_MODES)] == ["torch.cpu.compile"]
    with pytest.raises(UserError, match="a mode is named"):
        select_modes("torch.cpu.compile")


def test_the_switches_of_a_gpu_can_be_told_apart():
    modes = {mode.name: mode for mode in CAPTURE_MODES}
    conv, product = "cudnn.conv.fp32_precision", "cuda.matmul.fp32_precision"
    assert [modes["torch.cuda.conv_tf32"].switches[name] for name in (conv, product)] == ["tf32", "ieee"]
    assert [modes["torch.cuda.matmul_tf32"].switches[name] for name in (conv, product)] == ["ieee", "tf32"]
    for framework in FRAMEWORKS:
        override = modes[f"{framework}.cuda.tf32_override"]
        assert override.environment["NVIDIA_TF32_OVERRIDE"] == "0"
        assert override.operand_format == "binary32"
        assert modes[f"{framework}.cuda.fp16"].output_format == "binary16"
    assert "NVIDIA_TF32_OVERRIDE" in STEERING_VARIABLES


def test_modes_of_16_bits_are_captured_and_not_scored():
    assert not {mode.name for mode in HALF_MODES} & {mode.name for mode in MODES}
    assert {mode.output_format for mode in HALF_MODES} == {"binary16", "bfloat16"}
    assert all(mode.output_format == "binary32" for mode in MODES)
    assert all(mode.switches["operands"] in ("float16", "bfloat16") for mode in HALF_MODES)


def test_which_gpu_is_the_users_to_choose(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    modes = {mode.name: mode for mode in MODES}
    gpu = worker_environment(modes["torch.cuda.tf32"])
    assert gpu["CUDA_VISIBLE_DEVICES"] == "3"
    assert "NVIDIA_TF32_OVERRIDE" not in gpu
    assert worker_environment(modes["torch.cpu"])["CUDA_VISIBLE_DEVICES"] == ""
