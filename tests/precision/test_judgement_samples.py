"""Captures that keep a sample of an output: judged by bounds, or whole where its checksum tells."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from precision.cases import load_suite
from precision.judging.judgement import CaseJudge, reference_of
from precision.judging.sampled_judgement import whole_output
from precision.modes import select_modes
from precision.sampling import Sampled, output_sha256, sample_index
from reference import plain_float32


@pytest.fixture(scope="module")
def reference():
    return reference_of(next(case for case in load_suite("smoke") if case.id == "smoke-conv2d-3x3"))


def sampled(case, output):
    index = sample_index(case.id, output.shape, 10, 40)
    return Sampled(output.reshape(-1)[index], index, output.shape, output_sha256(output))


@pytest.fixture
def judged(reference):
    """Judge a sampled output, made of the plain one by a change."""
    case = reference.case

    def run(change=lambda output, variant: output, mode="torch.cpu"):
        samples = {}
        for variant in ("data", "probe", "width"):
            plain = plain_float32(case.op, case.make(variant), case.declared(variant))
            samples[variant] = sampled(case, change(plain, variant).astype(np.float32))
        cell = {
            "status": "ok",
            "inputs": dict(reference.inputs),
            "seconds": 0.1,
            "distinct": 1,
            "kernels": [],
        }
        capture = SimpleNamespace(status="run", reason="", cells={case.id: cell}, samples=lambda _: samples)
        judge = CaseJudge(reference)
        (chosen,) = select_modes(mode)
        return judge, judge.row(chosen, capture), samples

    return run


def test_a_sample_within_the_bound_is_rounding_and_says_so(judged, reference):
    judge, row, samples = judged()
    assert (row["verdict"], row["evidence"]) == ("rounding", "bounded")
    assert f"40 of {reference.truth.value.size:,} outputs were kept" in row["reason"]
    assert row["elements"] == 40
    assert row["bits_sha256"] == samples["data"].sha256
    assert sum(each["share"] for each in judge.budgets) == pytest.approx(1.0, abs=1e-9)
    assert judge.maps == []


def test_the_figures_are_those_of_the_kept_elements(judged, reference):
    _, row, samples = judged()
    index = tuple(json.loads(row["worst_index"]))
    data = samples["data"]
    flat = int(np.ravel_multi_index(index, reference.truth.value.shape))
    assert flat in data.index
    assert row["worst_got"] == float(data.values[list(data.index).index(flat)])
    errors = np.abs(reference.truth.arranged(data.of).error(data.values))
    assert row["error_abs_max"] == pytest.approx(float(errors.max()))


def test_the_rounded_truth_is_known_by_its_checksum(judged, reference):
    perfect = reference.truth.round(np.float32)
    _, row, _ = judged(lambda output, variant: perfect if variant == "data" else output)
    assert (row["verdict"], row["evidence"]) == ("exact", "proved")


@pytest.mark.parametrize("wrong", [1.5, np.nan])
def test_a_wrong_element_that_was_kept_is_seen(judged, wrong):
    _, row, _ = judged(lambda output, variant: output * wrong if variant == "data" else output)
    assert (row["verdict"], row["evidence"]) == ("unexplained", "none")


def test_another_function_shows_on_the_kept_elements_of_the_probe(judged):
    _, row, _ = judged(lambda output, variant: output * 3 if variant == "probe" else output)
    assert (row["verdict"], row["evidence"]) == ("semantics", "proved")


def test_narrow_operands_show_on_the_kept_elements_of_the_width(judged):
    def narrow(output, variant):
        return (output.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    def change(output, variant):
        return output if variant == "probe" else narrow(output, variant)

    assert judged(change)[1]["verdict"] == "unexplained"
    row = judged(change, "torch.cpu.bf16")[1]
    assert (row["verdict"], row["evidence"]) == ("rounding", "bounded")


def test_a_candidate_is_the_output_only_if_its_checksum_is(reference):
    output = reference.truth.round(np.float32)
    sample = sampled(reference.case, output)
    other = output.copy()
    other.flat[0] = np.nextafter(other.flat[0], np.inf)
    assert whole_output(sample, [lambda: other, lambda: output.reshape(-1)]) is None
    assert whole_output(sample, [lambda: other, lambda: output]) is output
    whole = Sampled(other, None, other.shape, output_sha256(other))
    assert whole_output(whole, []) is other
