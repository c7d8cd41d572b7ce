"""One case in several modes: groups of bits, the plain evaluation, permissions."""

from __future__ import annotations

import numpy as np
import pytest

from precision.capture import Capture, write_tensors
from precision.cases import load_suite
from precision.judging.budget_rows import with_formula
from precision.judging.case_judge import Judge
from precision.judging.judgement import CaseJudge, reference_of
from precision.modes import select_modes
from reference import plain_float32


@pytest.fixture(scope="module")
def reference():
    return reference_of(next(case for case in load_suite("smoke") if case.id == "smoke-conv2d-3x3"))


@pytest.fixture
def judge_outputs(reference, tmp_path):
    """Judge captured outputs of one case, given as {mode name: change of the plain output}."""
    case = reference.case

    def run(changes, distinct=1, orders=None):
        judge = CaseJudge(reference, orders)
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


def scaled(output, variant):
    return output * np.float32(1.1) if variant != "probe" else output


def total(judge, mode):
    return sum(row["share"] for row in judge.budgets if row["mode"] == mode and row["share"] is not None)


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
    assert (rows["torch.cpu.bf16"]["verdict"], rows["torch.cpu.bf16"]["evidence"]) == ("rounding", "proved")
    assert rows["torch.cpu"]["width_error_over_magnitude_max"] > 2.0**-9


def test_an_operand_bound_that_is_exceeded_is_no_permission(judge_outputs):
    def coarse(output, variant):
        noise = np.random.default_rng(5).uniform(0.9, 1.1, output.shape).astype(np.float32)
        return output * noise if variant != "probe" else output

    _, rows = judge_outputs({"torch.cpu.bf16": coarse})
    assert rows["torch.cpu.bf16"]["verdict"] == "unexplained"


def test_the_report_names_what_the_search_finds(judge_outputs):
    judge, rows = judge_outputs({"torch.cpu": scaled, "tensorflow.cpu": scaled})
    assert {(row["verdict"], row["evidence"]) for row in rows.values()} == {("semantics", "proved")}
    found = [row for row in judge.budgets if row["parameter"] is not None]
    assert [(row["mode"], row["cause"], row["evidence"]) for row in found] == [
        ("torch.cpu", "semantics", "proved"),
        ("tensorflow.cpu", "semantics", "proved"),
    ]
    assert found[0]["share"] == pytest.approx(1.0)
    assert rows["torch.cpu"]["counterexample"] is not None


def test_a_difference_that_the_data_hide_is_named_from_the_probe(judge_outputs):
    def hidden(output, variant):
        return output * np.float32(3.0) if variant == "probe" else output

    judge, rows = judge_outputs({"torch.cpu": hidden})
    assert (rows["torch.cpu"]["verdict"], rows["torch.cpu"]["evidence"]) == ("semantics", "proved")
    (found,) = [row for row in judge.budgets if row["parameter"] is not None]
    assert (found["cause"], found["share"], found["part_ulp_rms"]) == ("semantics", 0.0, None)
    assert "on these data it is hidden" in found["detail"]
    assert total(judge, "torch.cpu") == pytest.approx(1.0, abs=1e-9)


def test_shares_add_up_to_one_whatever_the_verdict(judge_outputs):
    def noisy(output, variant):
        return output + np.random.default_rng(2).normal(0, 1, output.shape) if variant == "data" else output

    changes = {"torch.cpu": same, "torch.cpu.threads1": nudged, "torch.cpu.bf16": bf16}
    changes |= {"tensorflow.cpu": scaled, "tensorflow.cpu.xla": noisy}
    judge, rows = judge_outputs(changes)
    assert len({row["verdict"] for row in rows.values()}) >= 3
    for name in changes:
        assert total(judge, name) == pytest.approx(1.0, abs=1e-9)


def test_a_replay_proves_and_a_changed_output_is_no_longer_proved(judge_outputs):
    def one_ulp(output, variant):
        if variant == "data":
            output = output.copy()
            output.flat[7] = np.nextafter(output.flat[7], np.inf)
        return output

    _, rows = judge_outputs({"torch.cpu": same, "torch.cpu.threads1": one_ulp})
    assert rows["torch.cpu"]["evidence"] == "proved"
    assert rows["torch.cpu"]["reason"].startswith("bit for bit: ")
    assert (rows["torch.cpu.threads1"]["verdict"], rows["torch.cpu.threads1"]["evidence"]) == (
        "rounding",
        "bounded",
    )


def test_an_output_of_another_shape_is_named_or_said_to_be(judge_outputs):
    def cut(output, variant):
        return output[:, :, 1:]

    _, rows = judge_outputs({"torch.cpu": cut})
    assert (rows["torch.cpu"]["verdict"], rows["torch.cpu"]["evidence"]) == ("semantics", "proved")
    assert "has shape" in rows["torch.cpu"]["reason"]


def test_repeats_are_recorded(judge_outputs):
    _, rows = judge_outputs({"torch.cpu": same}, distinct=2)
    assert rows["torch.cpu"]["repeat_distinct"] == 2
    assert rows["torch.cpu"]["evidence"] == "consistent"


def test_a_stored_order_is_replayed_in_its_own_mode(judge_outputs, reference, monkeypatch):
    asked = []
    whole = Judge.explained

    def explained(self, name, output, order=None):
        asked.append((name, order))
        return whole(self, name, output)

    monkeypatch.setattr(Judge, "explained", explained)
    changes = {"torch.cpu": nudged, "torch.cpu.threads1": nudged, "tensorflow.cpu": same}
    judge_outputs(changes, orders={"torch.cpu.threads1": "its order", "tensorflow.cpu": "another"})
    # Equal bits that no known order gives are tried once more with the order of their own mode.
    assert asked == [
        ("torch.cpu", None),
        ("torch.cpu.threads1", "its order"),
        ("tensorflow.cpu", "another"),
    ]


def test_the_formula_of_another_function_is_named():
    row = {"cause": "algorithm", "parameter": None, "declared": None, "found": None, "share": 1.0}
    named = with_formula(row)
    assert (named["parameter"], named["declared"], named["found"]) == (
        "variance",
        '"two passes"',
        '"one pass"',
    )
    assert with_formula({**row, "cause": "accumulation"})["parameter"] is None
