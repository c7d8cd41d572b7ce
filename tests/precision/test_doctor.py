"""The doctor: facts by worker processes, rules on planted facts, the matrix of bits with a fake framework."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from precision import live, modes, process, requirements
from precision.doctor import diagnosis as doctor
from precision.doctor import facts as doctor_facts
from precision.doctor import live as doctor_live
from precision.doctor.bits import changed, probe_bits
from precision.doctor.facts import Facts, FrameworkFacts, gpu_names
from precision.doctor.live import PROBES, ModeBits, Probe, ask_modes
from precision.doctor.rules import RULES, contradictions
from precision.doctor.text import show
from precision.inputs import Array
from precision.modes import Framework, Mode
from precision.process import worker_environment

HERE = Path(__file__).parent
LINEAR = Probe("linear", "linear", {n: Array((8, 8), "normal") for n in ("input", "weight")})
MEAN = Probe("mean", "mean", {"input": Array((8, 8), "normal")}, {"dim": 1})
EXP = Probe("exp", "exp", {"input": Array((9,), "normal")}, elementwise=True)
TINY = (LINEAR, MEAN, EXP)
FAKES = tuple(
    Mode(f"doctor.cpu.dial{n}" if n else "doctor.cpu", "fake", "doctor", "cpu", switches={"dial": n})
    for n in range(3)
)
ABSENT = Mode("nowhere.cpu", "not there", "nowhere", "cpu")


@pytest.fixture
def fake(monkeypatch):
    """Two fake frameworks: one that answers, one that is not installed."""
    known = {
        "doctor": Framework("doctor", "doctor_backend", ()),
        "nowhere": Framework("nowhere", "precision.frameworks.nowhere_backend", ()),
    }
    for module in (modes, live, process, requirements, doctor, doctor_facts, doctor_live):
        if hasattr(module, "FRAMEWORKS"):
            monkeypatch.setattr(module, "FRAMEWORKS", known)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))

    def plan(**behaviour):
        monkeypatch.setenv("DOCTOR_PLAN", json.dumps(behaviour))

    plan()
    return plan


def told():
    said = []
    return said, said.append


def test_equal_bits_share_a_letter_and_others_do_not(fake):
    fake(mean="dial")
    said, advance = told()
    found = doctor.diagnose(True, advance, (*FAKES, ABSENT), TINY)
    assert sorted(said) == ["doctor", "doctor.cpu", "doctor.cpu.dial1", "doctor.cpu.dial2", "nowhere"]
    assert len(said) == doctor.steps(True, (*FAKES, ABSENT)), "a framework and each runnable mode"
    letters = {each.name: list(each.letters.values()) for each in found.probes}
    assert letters == {"linear": ["A"] * 3, "mean": ["A", "B", "C"], "exp": ["A"] * 3}
    assert [found.changes(mode) for mode in FAKES] == [None, ["mean"], ["mean"]]
    assert found.reasons["nowhere.cpu"].startswith("nowhere is not installed")
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["modes"][1]["changes"] == ["mean"]
    assert data["modes"][3]["runnable"] is False
    assert data["frameworks"]["nowhere"]["installed"] is False


def test_failures_of_a_mode_are_answers(fake):
    fake(linear="raise", mean="varies")
    found = ask_modes(FAKES[:1], lambda what: None, TINY)["doctor.cpu"]
    assert found.reasons == {"linear": "RuntimeError: kernel failed"}
    assert found.repeats == ("mean",)
    assert set(found.outputs) == {"mean", "exp"}
    fake(linear="cannot", mean="die")
    found = ask_modes(FAKES[:1], lambda what: None, TINY)["doctor.cpu"]
    assert found.reasons["linear"] == "no such kernel"
    assert "status 7" in found.reasons["mean"]
    assert "exp" not in found.outputs, "the process is gone"
    fake(start="cannot")
    assert (
        ask_modes(FAKES[:1], lambda what: None, TINY)["doctor.cpu"].reason == "the fake device is not there"
    )


def test_time_is_limited(fake):
    fake(start="hang")
    began = time.monotonic()
    found = ask_modes(FAKES, lambda what: None, TINY, seconds=2.0)
    assert time.monotonic() - began < 15
    assert all("the time for all modes was used up" in each.reason for each in found.values())


def test_an_interrupt_ends_every_process(fake):
    fake(start="hang")
    before = children()

    def advance(what):
        raise KeyboardInterrupt

    quick = replace(FAKES[0], name="doctor.cpu.quick")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        # The first mode cannot start, which is an answer, and Ctrl-C comes while others hang.
        ask_modes((Mode("nowhere.cpu", "", "nowhere", "cpu"), quick, *FAKES), advance, TINY)
    assert time.monotonic() - began < 20, "nobody waits for a process that hangs"
    assert children() <= before


def children():
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(") ", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(path.parent.name)
    return found


def bits(mode, **outputs):
    return ModeBits(mode, {name: np.asarray(values, np.float32) for name, values in outputs.items()})


def test_letters_and_distances():
    answers = {
        "a": bits("a", x=[1.0, 1e-6]),
        "b": bits("b", x=[1.0 + 2.0**-22, 0.0]),
        "c": bits("c", x=[1.0, 1e-6]),
        "d": bits("d"),
        "e": bits("e", x=[1.0, -0.0]),
        "f": bits("f", x=[1.0, 0.0]),
    }
    found = probe_bits("x", answers)
    assert "".join(found.letters.values()) == "ABA-CD", "signed zeros are other bits"
    assert found.distinct == 4
    assert found.apart == pytest.approx(1e-6 * 2**23, rel=0.01), "in ulp of the largest value, not of zero"
    assert probe_bits("x", {"a": bits("a", x=[np.nan]), "b": bits("b", x=[1.0])}).apart is None
    assert probe_bits("x", {"a": bits("a", x=[1.0]), "b": bits("b", x=[1.0, 2.0])}).apart is None
    many = {str(i): bits(str(i), x=[float(i)]) for i in range(30)}
    assert len(set(probe_bits("x", many).letters.values())) == 30
    everything = [Mode(name, "", "f", "cpu") for name in answers]
    said = [changed(mode, everything, [found]) for mode in everything]
    assert said == [None, ["x"], [], None, ["x"], ["x"]]


def facts(environment=None, torch=None, tensorflow=None, driver=False, **isa):
    frameworks = {}
    for name, given in (("torch", torch), ("tensorflow", tensorflow)):
        if given is not None:
            extra = {key: given.pop(key) for key in ("generic_ieee_misses", "mixing_raises") if key in given}
            frameworks[name] = FrameworkFacts(name, True, {"versions": {}, "switches": given, **extra})
    known = {name: isa.get(name, False) for name in doctor_facts.ISA}
    return Facts("a processor", 2, known, (), driver, environment or {}, frameworks)


OFF = {"cudnn.conv.fp32_precision": "ieee", "cuda.matmul.fp32_precision": "ieee"}
GOOD = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@pytest.mark.parametrize(
    ("given", "rule", "words"),
    [
        (
            facts(GOOD, {**OFF, "cudnn.conv.fp32_precision": "tf32"}),
            "TF32 within PyTorch",
            "on for convolutions",
        ),
        (facts(GOOD, {"cudnn.allow_tf32": True}), "TF32 within PyTorch", "off for matrix products"),
        (facts(GOOD, {**OFF}, {"tensor_float_32": True}), "TF32 between frameworks", "on in TensorFlow"),
        (facts({}, {**OFF}), "deterministic without workspace", "is not set"),
        (
            facts({"CUBLAS_WORKSPACE_CONFIG": ":1:1"}, {**OFF}),
            "deterministic without workspace",
            "is ':1:1'",
        ),
        (facts(GOOD, {**OFF, "generic_ieee_misses": ["cudnn.conv"]}), "generic ieee", "in cudnn.conv"),
        (facts(GOOD, {**OFF, "mixing_raises": True}), "old and new names", "RuntimeError"),
        (facts({"NVIDIA_TF32_OVERRIDE": "0"}), "TF32 override", "TF32 is off"),
        (facts({"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}), "cuBLAS override", "allowed"),
        (facts({"TF_ENABLE_ONEDNN_OPTS": "0"}), "oneDNN in TensorFlow", "Eigen"),
        (facts({"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}), "oneDNN's floating-point mode", "nothing here"),
        (
            facts({"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}, amx_bf16=True),
            "oneDNN's floating-point mode",
            "may round operands",
        ),
        (
            facts(
                {
                    "ONEDNN_MAX_CPU_ISA": "AVX2",
                    "DNNL_MAX_CPU_ISA": "AVX512_CORE",
                    "ATEN_CPU_CAPABILITY": "avx2",
                }
            ),
            "two names of oneDNN",
            "two values",
        ),
        (facts({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"}), "threads", "two ways"),
        (facts({"OMP_NUM_THREADS": "1"}), "threads", "depend on it"),
        (facts({"ONEDNN_MAX_CPU_ISA": "AVX2"}), "instruction sets", "PyTorch's own kernels"),
        (facts({"ATEN_CPU_CAPABILITY": "avx2"}), "instruction sets", "oneDNN's kernels"),
        (facts({"MKL_CBWR": "COMPATIBLE"}), "MKL's reproducibility mode", "other kernels"),
        (facts({"TF_DETERMINISTIC_OPS": "1"}), "old determinism of TensorFlow", "before any program"),
        (facts({"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}), "XLA's flags", "fast math"),
        (facts({"TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}), "automatic XLA", "compiled"),
        (facts({"CUDA_VISIBLE_DEVICES": ""}), "hidden GPUs", "no GPU"),
    ],
)
def test_a_rule_finds_what_is_wrong_and_only_that(given, rule, words):
    found = contradictions(given)
    assert [each.rule for each in found] == [rule]
    assert words in found[0].finding
    assert found[0].mend
    assert "\n" not in found[0].finding + found[0].mend


def test_nothing_is_wrong_with_an_even_shell():
    on = {"cudnn.conv.fp32_precision": "tf32", "cuda.matmul.fp32_precision": "tf32"}
    for torch, theirs in ((OFF, False), (on, True)):
        even = facts(
            GOOD, {**torch, "generic_ieee_misses": [], "mixing_raises": False}, {"tensor_float_32": theirs}
        )
        assert contradictions(even) == ()
    assert contradictions(facts()) == ()
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_what_has_an_effect_here_comes_first():
    both = {"CUDA_VISIBLE_DEVICES": "", "MKL_CBWR": "AVX2"}
    assert [each.here for each in contradictions(facts(both))] == [True, False]
    assert [each.here for each in contradictions(facts(both, driver=True))] == [True, True]


def test_facts_come_from_a_process_with_this_shells_variables(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = doctor_facts.gather(lambda what: None)
    assert found.environment["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in worker_environment(FAKES[0]), "modes do not see it"
    assert found.frameworks["doctor"].switch("pin") == "3"
    assert found.frameworks["doctor"].facts["versions"]["oneDNN"] == "9.8.7"
    assert found.known("nowhere") is None
    monkeypatch.setenv("DOCTOR_FACTS", "raise")
    assert doctor_facts.gather(lambda what: None).frameworks["doctor"].reason == (
        "ImportError: a library is broken"
    )
    monkeypatch.setenv("DOCTOR_FACTS", "exit")
    assert "status 3" in doctor_facts.gather(lambda what: None).frameworks["doctor"].reason


def test_without_any_framework_it_says_so(fake, monkeypatch, capsys):
    none = {"nowhere": Framework("nowhere", "precision.frameworks.nowhere_backend", ())}
    for module in (doctor, doctor_facts, requirements):
        monkeypatch.setattr(module, "FRAMEWORKS", none)
    found = doctor.diagnose(True, lambda what: None, (ABSENT,), TINY)
    assert not found.installed
    assert found.answers == {}
    show(found, Console())
    printed = capsys.readouterr().out
    assert "no framework is installed" in printed
    assert "pip install 'precision[nowhere]'" in printed


def test_a_terminal_gets_tables_and_a_file_plain_lines(fake, capsys):
    found = doctor.diagnose(True, lambda what: None, FAKES, TINY)
    show(found, Console(force_terminal=True, width=160))
    tables = capsys.readouterr().out
    assert "┃" in tables
    show(found, Console())
    plain = capsys.readouterr().out
    assert "┃" not in plain
    for text in (tables, plain):
        assert "doctor.cpu.dial2" in text
        assert "changes no bit here" in text
        assert "linear: every mode that answered gives the same bits" in text


def test_gpus_are_read_from_the_driver(tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA Imaginary 1\nIRQ: 5\n")
    assert gpu_names(tmp_path) == ("NVIDIA Imaginary 1",)
    assert gpu_names(tmp_path / "none") == ()


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--seconds", "0")])
def test_bad_usage_is_one_line(precision_command, arguments):
    done = precision_command("doctor", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from precision.__main__ import main
sys.exit(main(["doctor"]))
"""


def test_ctrl_c_is_clean():
    """Also where the tests themselves run with it ignored."""
    parent = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(2.5)
        parent.send_signal(signal.SIGINT)
        _, complaint = parent.communicate(timeout=30)
    finally:
        parent.kill()
    assert parent.returncode == 130
    assert "Traceback" not in complaint


@pytest.mark.slow
def test_the_real_frameworks(precision_command):
    done = precision_command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    for name in ("torch", "tensorflow"):
        assert data["frameworks"][name]["versions"]["oneDNN"]
    cpu = [row for row in data["modes"] if row["device"] == "cpu" and row["runnable"]]
    first = next(row for row in cpu if row["mode"] == "torch.cpu")
    assert set(first["bits"].values()) <= {"A"}
    assert set(first["bits"]) == {probe.name for probe in PROBES}
    layers = [row for row in data["probes"] if row["name"] == "conv2d"]
    assert layers[0]["distinct_results"] > 1
    assert layers[0]["apart_ulp_of_largest"] < 1e4
