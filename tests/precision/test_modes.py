"""Modes as data, and what a machine must have for them."""

from __future__ import annotations

import pytest

from precision import requirements
from precision.errors import UserError
from precision.modes import FRAMEWORKS, MODES, ORDER_MODES, STEERING_VARIABLES, Mode, select_modes


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
    assert [mode.name for mode in select_modes("*compile*", ORDER_MODES)] == ["torch.cpu.compile"]
    with pytest.raises(UserError, match="a mode is named"):
        select_modes("*compile*")
