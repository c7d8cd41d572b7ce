"""One case in several modes: groups of bits, the plain evaluation, permissions."""

from __future__ import annotations

import numpy as np
import pytest

from precision.capture import Capture, write_tensors
from precision.cases import load_suite
from precision.judgement import CaseJudge, reference_of
from precision.modes import select_modes
from reference import plain_float32


@pytest.fixture(scope="module")
def reference():
    return reference_of(next(case for case in load_suite("smoke") if case.id == "smoke-conv2d-3x3"))


@pytest.fixture
def judge_outputs(reference, tmp_path):
    """Judge captured outputs of one case, given as {mode name: change of the plain output}."""
    case = reference.case

    def run(changes, distinct=1):
        judge = CaseJudge(reference)
        rows = {}
        for name, change in changes.items():
            (mode,) = select_modes(name)
            folder = tmp_path / name
            folder.mkdir()
            outputs = {}
            for variant in ("data", "probe", "width"):
                plain = plain_float32(case.op, case.make(variant), case.declared(variant))
                outputs[variant] = change(plain, variant).astype(np.float32)
            digest = write_tensors(folder / "c.safetensors", outputs)
            cell = {
                "status": "ok",
                "file": "c.safetensors",
                "sha256": digest,
                "inputs": dict(reference.inputs),
            }
            cell |= {
                "fingerprint": case.fingerprint(),
                "seconds": 0.5,
                "distinct": distinct,
                "kernels": ["k"],
            }
            capture = Capture(folder, name, asked=dict(mode.switches), cells={case.id: cell})
            rows[name] = judge.row(mode, capture)
        return judge, rows

    return run


def same(output, variant):
    return output


def nudged(output, variant):
    return np.nextafter(output, np.inf) if variant == "data" else output


def bf16(output, variant):
    return (output.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if variant != "probe" else output


def test_equal_bits_share_a_group_and_others_do_not(judge_outputs):
    changes = {"torch.cpu": same, "torch.cpu.threads1": nudged, "tensorflow.cpu": same}
    judge, rows = judge_outputs(changes)
    assert [rows[name]["bits_group"] for name in changes] == [1, 2, 1]
    assert rows["torch.cpu"]["bits_sha256"] == rows["tensorflow.cpu"]["bits_sha256"]
    assert {row["mode"] for row in judge.maps} == {"torch.cpu", "torch.cpu.threads1"}
    assert {row["mode"] for row in judge.histograms} == set(changes)


def test_the_plain_evaluation_is_the_measure(judge_outputs, reference):
    _, rows = judge_outputs({"torch.cpu": same, "torch.cpu.threads1": nudged})
    assert rows["torch.cpu"]["error_over_plain"] == pytest.approx(1.0)
    rms = [rows[name]["error_abs_rms"] for name in ("torch.cpu.threads1", "torch.cpu")]
    assert rows["torch.cpu.threads1"]["error_over_plain"] == pytest.approx(rms[0] / rms[1])
    assert rms[0] != pytest.approx(rms[1])


def test_bounds_are_shown_beside_each_other(judge_outputs, reference):
    _, rows = judge_outputs({"torch.cpu": same})
    row = rows["torch.cpu"]
    unit, terms = 2.0**-24, reference.terms + 1
    assert row["bound_deterministic_over_magnitude"] == pytest.approx(terms * unit, rel=0.02)
    assert row["bound_probabilistic_over_magnitude"] < row["bound_deterministic_over_magnitude"]
    assert row["error_over_bound_max"] <= 1
    assert (row["call_seconds"], row["kernels"], row["repeat_distinct"]) == (0.5, "k", 1)


def test_low_precision_passes_only_where_it_is_allowed(judge_outputs):
    _, rows = judge_outputs({"torch.cpu": bf16, "torch.cpu.bf16": bf16, "torch.cpu.threads1": bf16})
    assert rows["torch.cpu"]["verdict"] == "unexplained"
    assert rows["torch.cpu.threads1"]["verdict"] == "unexplained"
    assert (rows["torch.cpu.bf16"]["verdict"], rows["torch.cpu.bf16"]["evidence"]) == ("rounding", "bounded")
    assert rows["torch.cpu"]["width_error_over_magnitude_max"] > 2.0**-9


def test_an_operand_bound_that_is_exceeded_is_no_permission(judge_outputs):
    def coarse(output, variant):
        return output * np.float32(1.1) if variant != "probe" else output

    _, rows = judge_outputs({"torch.cpu.bf16": coarse})
    assert rows["torch.cpu.bf16"]["verdict"] == "unexplained"


def test_repeats_are_recorded(judge_outputs):
    _, rows = judge_outputs({"torch.cpu": same}, distinct=2)
    assert rows["torch.cpu"]["repeat_distinct"] == 2
    assert rows["torch.cpu"]["evidence"] == "consistent"
