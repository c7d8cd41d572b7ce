"""The GPU suite, dry-run on the CPU: captured in real workers, sampled, judged from the samples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from precision import runner
from precision.capture import load_capture
from precision.capturing import choose
from precision.cases import Case, kept_elements, load_probes, load_suite
from precision.errors import UserError
from precision.judging.judgement import CaseJudge, reference_of
from precision.judging.probe import judge_probe, probe_limits
from precision.modes import CAPTURE_MODES, MODES, select_modes
from precision.orders.records import recorded_orders
from precision.suites.gradients import output_shape
from reference import evaluate, plain_float32

CASES = {case.id: case for case in load_suite("gpu")}
FEW = "linear-1024-1000*,layer-norm-768-input-grad,accumulate-linear-256"
QUICK = (
    f"{FEW},operands-linear,order-linear-64,accumulator-linear-64,batch-linear,threads-linear,stream-linear"
)


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A few cases and probes of the suite in torch.cpu: the run folder and its capture."""
    folder = tmp_path_factory.mktemp("gpu") / "run"
    asked, modes = choose("gpu", QUICK, "torch.cpu")
    runner.run(folder, "gpu", asked, modes)
    return folder, load_capture(folder / "captures" / "torch.cpu")


def test_the_suite_holds_what_it_promises():
    default = {case.id: case for case in load_suite("default")}
    assert all(CASES[id].fingerprint() == case.fingerprint() for id, case in default.items())
    for id, case in default.items():
        if not case.natural:
            assert CASES[f"{id}-input-grad"].op == f"{case.op}_input_grad"
            assert CASES[f"{id}-weight-grad"].op == f"{case.op}_weight_grad"
    growing = [id for id in CASES if id.startswith("accumulate-linear")]
    assert [int(id.rpartition("-")[2]) for id in growing] == [64, 256, 1024, 4096, 16384]
    kinds = {probe.kind for probe in load_probes("gpu")}
    assert kinds == {"operands", "accumulator", "order", "invariance"}
    assert load_probes("default") == ()
    assert kept_elements("default") is None


@pytest.mark.parametrize("id", ["conv2d-even-same", "conv2d-grouped-3x3", "conv2d-ill-conditioned"])
def test_a_layers_output_shape_is_known_without_running_it(id):
    case = CASES[id]
    assert output_shape(case) == evaluate(case.op, case.make("data"), case.params).value.shape


@pytest.mark.parametrize(
    "id",
    ["conv2d-depthwise-3x3-input-grad", "conv2d-ill-conditioned-weight-grad", "linear-1024-1000-input-grad"],
)
def test_the_width_of_a_gradient_picks_one_product_for_each_output(id):
    case = CASES[id]
    arrays = case.make("width")
    ones = {name: (array != 0).astype(np.float32) for name, array in arrays.items()}
    counts = plain_float32(case.op, ones, case.declared("width"))
    assert counts.max() == 1
    assert np.mean(counts) > 0.5
    limits = probe_limits(case, "width")
    exact = limits.truth.round(np.float32)
    assert judge_probe(limits, exact).inexact == 0
    off = exact * np.float32(1 + 2.0**-11)
    assert judge_probe(limits, off).unlikely > 0


def test_the_probe_of_a_gradient_tells_another_function():
    case = CASES["layer-norm-768-input-grad"]
    limits = probe_limits(case)
    right = plain_float32(case.op, case.make("probe"), case.declared("probe"))
    assert judge_probe(limits, right).mismatches == 0
    assert judge_probe(limits, right * np.float32(1.01)).mismatches > 0


def test_a_dry_run_captures_cases_and_probes(captured):
    folder, capture = captured
    assert {cell["status"] for cell in capture.cells.values()} == {"ok"}
    run = json.loads((folder / "run.json").read_text())
    assert "batch-linear" in run["probes"]
    assert "batch-linear" not in run["cases"]
    for id in capture.cells:
        capture.verify(id)
    assert sum(path.stat().st_size for path in capture.folder.iterdir()) < 2**19
    notes, tensors = capture.answers("operands-linear")
    assert notes["kind"] == "operands"
    assert np.array_equal(tensors["left"], tensors["operand"])
    notes, _ = capture.answers("threads-linear")
    assert notes["settings"][:2] == ["1", "2"]


def test_samples_are_the_whole_outputs_elements(captured):
    from precision.frameworks import torch_backend
    from precision.sampling import output_sha256

    _, capture = captured
    case = CASES["linear-1024-1000-weight-grad"]
    kept = capture.samples(case.id)
    whole = torch_backend.run(case.op, case.params, case.make("data"))
    assert kept["data"].index.size == 1024
    assert kept["data"].shape == whole.shape
    assert np.array_equal(kept["data"].of(whole), kept["data"].values)
    assert kept["data"].sha256 == output_sha256(whole)


def test_a_recorded_order_of_a_real_kernel_is_proved(captured):
    (found,) = recorded_orders(captured[1], "gpu")
    assert found.revealed.proved


def judged(captured, id):
    judge = CaseJudge(reference_of(CASES[id]))
    return judge.row(next(mode for mode in MODES if mode.name == "torch.cpu"), captured[1]), judge


@pytest.mark.parametrize(
    "id", ["linear-1024-1000", "linear-1024-1000-weight-grad", "layer-norm-768-input-grad"]
)
def test_a_sampled_cell_is_judged(captured, id):
    row, judge = judged(captured, id)
    assert row["verdict"] == "rounding"
    assert row["evidence"] in ("bounded", "proved")
    assert row["error_over_bound_max"] <= 1
    assert sum(part["share"] for part in judge.budgets) == pytest.approx(1.0)


def test_a_whole_cell_of_the_suite_is_judged_as_ever(captured):
    case = CASES["accumulate-linear-256"]
    row = CaseJudge(reference_of(case)).row(MODES[0], captured[1])
    assert row["verdict"] == "rounding"


@pytest.mark.parametrize(
    ("variant", "change", "verdict"),
    [
        ("data", lambda values: values * np.float32(1.001), "unexplained"),
        ("data", lambda values: np.where(values > 1, np.float32(np.nan), values), "unexplained"),
        ("probe", lambda values: values + 1, "semantics"),
        ("width", lambda values: values * np.float32(1 + 2.0**-11), "unexplained"),
    ],
)
def test_a_planted_fault_in_a_sample_is_never_rounding(captured, monkeypatch, variant, change, verdict):
    from dataclasses import replace

    capture, id = captured[1], "linear-1024-1000-input-grad"
    samples = capture.samples(id)
    samples[variant] = replace(samples[variant], values=change(samples[variant].values).astype(np.float32))
    monkeypatch.setattr(type(capture), "samples", lambda self, case_id: samples)
    assert judged(captured, id)[0]["verdict"] == verdict


def test_another_shape_is_another_function(captured, monkeypatch):
    from dataclasses import replace

    capture, id = captured[1], "linear-1024-1000"
    samples = {name: replace(each, shape=(32, 999)) for name, each in capture.samples(id).items()}
    monkeypatch.setattr(type(capture), "samples", lambda self, case_id: samples)
    row, _ = judged(captured, id)
    assert row["verdict"] == "semantics"
    assert "shape [32, 999], declared is [32, 1000]" in row["reason"]


def test_modes_of_16_bits_record_probes_alone(tmp_path):
    asked, modes = choose(
        "gpu", "accumulate-linear-64,operands-linear,order-linear-64", "torch.cpu.bf16_operands"
    )
    runner.run(tmp_path / "run", "gpu", asked, modes)
    capture = load_capture(tmp_path / "run" / "captures" / "torch.cpu.bf16_operands")
    assert set(capture.cells) == {"operands-linear", "order-linear-64"}
    assert capture.read_back["operands"] == "bfloat16"
    (found,) = recorded_orders(capture, "gpu")
    assert (found.revealed.left_format, found.rounding) == ("bfloat16", "RNE")


def test_what_is_chosen_of_a_suite():
    asked, modes = choose("gpu", None, "*")
    assert len(asked) == len(CASES) + len(load_probes("gpu"))
    assert modes == select_modes(None, CAPTURE_MODES)
    asked, modes = choose("smoke", None, None)
    assert all(isinstance(case, Case) for case in asked)
    assert modes == MODES
    with pytest.raises(UserError, match=r"got 'torch\.cpu\.fp16'"):
        choose("smoke", None, "torch.cpu.fp16")
