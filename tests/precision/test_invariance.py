"""Determinism and invariance: every planted dependence is found, none is invented; a crash costs its own."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from precision import live, requirements
from precision.cases import load_suite, select_cases
from precision.errors import UserError
from precision.invariance import cost as invariance_cost
from precision.invariance.ask import Plan, checked_plan
from precision.invariance.measure import COLUMNS, distance_between, invariance
from precision.invariance.settings import FACTORS, NotApplicable, settings
from precision.modes import FRAMEWORKS, Framework, Mode
from precision.suites.gradients import gradients
from precision.suites.layers import conv, linear, norm
from reference import evaluate

HERE = Path(__file__).parent
IMAGE = conv("image", "1×1", "", (1, 3, 4, 4), (5, 3, 1, 1), "normal")
ROWS = linear("rows", "linear", "", 3, 16, 8)
QUICK = Plan(("repeats", "batch", "position", "width"))


@pytest.fixture
def fault(monkeypatch, tmp_path):
    """Modes of a framework named torch whose driver has the fault."""
    frameworks = {**FRAMEWORKS, "torch": Framework("torch", "varying_backend", ())}
    for module in (live, requirements, invariance_cost):
        monkeypatch.setattr(module, "FRAMEWORKS", frameworks)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("VARYING_SEEN", str(tmp_path / "seen"))
    return lambda name: Mode(f"torch.cpu.{name}", name, "torch", "cpu", switches={"fault": name})


def found(case, mode, plan=QUICK, **options):
    frame = invariance([case], [mode], plan, timed=False, **options)
    assert tuple(frame.columns) == COLUMNS
    return {row["factor"]: row for row in frame.to_dict(orient="records")}


def varying(rows):
    return {factor for factor, row in rows.items() if row["status"] == "asked" and row["distinct"] > 1}


def test_nothing_is_found_where_nothing_varies(fault):
    rows = found(IMAGE, fault("none"), Plan(threads=(1, 2)))
    assert set(rows) == set(FACTORS)
    assert all(row["status"] == "asked" for row in rows.values())
    assert varying(rows) == set()
    assert all(row["ulp_max_between"] == 0.0 for row in rows.values())
    assert json.loads(rows["repeats"]["groups"]) == [0] * 20
    assert json.loads(rows["batch"]["settings"]) == [f"batch of {n}" for n in (1, 2, 8, 32)]


@pytest.mark.parametrize("name", ["repeats", "batch", "position", "width"])
def test_a_planted_dependence_is_found_and_only_it(fault, name):
    case = replace(IMAGE, params={**IMAGE.params, "usual": 4}) if name == "width" else IMAGE
    row = found(case, fault(name))
    assert varying(row) == {name}
    assert row[name]["distinct"] == 2
    assert row[name]["ulp_max_between"] == 1.0
    assert row[name]["elements_differing"] == row[name]["elements"]
    groups = json.loads(row[name]["groups"])
    assert {"repeats": [0] * 12 + [1] + [0] * 7, "batch": [0, 1, 1, 1], "position": [0, 0, 1, 1],
            "width": [0, 1, 1]}[name] == groups  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [("threads", ["threads: 1", "threads: 2"]), ("memory format", ["contiguous", "channels_last"]),
     ("processes", ["process 1", "process 2"])],
)  # fmt: skip
def test_a_dependence_on_the_process_is_found(fault, name, settings):
    row = found(IMAGE, fault(name), Plan(("repeats", name), threads=(1, 2)))
    assert varying(row) == {name}
    assert json.loads(row[name]["settings"]) == settings


def test_a_pinned_switch_is_one_setting(fault):
    mode = fault("threads")
    pinned = replace(mode, switches={**mode.switches, "threads": 1})
    row = found(IMAGE, pinned, Plan(("threads",), threads=(1, 2, 4)))["threads"]
    assert (json.loads(row["settings"]), row["distinct"]) == (["threads: 1"], 1)


def test_the_mode_that_gives_one_result_is_named_and_timed(fault):
    modes = [fault("batch"), fault("none")]
    frame = invariance([ROWS], modes, Plan(("batch", "repeats")))
    row = frame[(frame["mode"] == "torch.cpu.batch") & (frame["factor"] == "batch")].iloc[0]
    assert json.loads(row["equal_by"]) == ["torch.cpu.none"]
    assert row["cheapest"] == "torch.cpu.none"
    assert row["seconds_ratio"] > 0
    assert row["timed"] == "in one process, in turn"
    others = frame.drop(index=row.name)
    assert set(others["equal_by"]) == {"[]"}
    assert others["seconds_ratio"].isna().all()


def test_modes_that_differ_at_start_up_are_timed_in_two_processes(fault):
    here, there = fault("batch"), replace(fault("none"), environment={"OMP_NUM_THREADS": "1"})
    cost = invariance_cost.costs(here, there, [ROWS])["rows"]
    assert cost.how == "in two processes, in turn"
    assert cost.ratio > 0


def test_a_crash_costs_its_case_and_factor_only(fault):
    rows = found(ROWS, fault("dies"))
    assert {factor: row["status"] for factor, row in rows.items()} == {
        "repeats": "asked", "batch": "error", "position": "error", "width": "asked",
    }  # fmt: skip
    assert "batch of 8: the process ended" in rows["batch"]["reason"]
    assert math.isnan(rows["batch"]["distinct"])


def test_nan_on_one_side_is_infinitely_far(fault):
    row = found(ROWS, fault("nan"), Plan(("batch",)))["batch"]
    assert row["distinct"] == 2
    assert row["ulp_max_between"] == row["ulp_of_largest_between"] == math.inf
    assert row["elements_differing"] == 1


def test_what_cannot_run_is_said_so(fault):
    row = found(
        norm("n", "n", "", "layer_norm", (4, 8), False, normalized_shape=[8], eps=1e-5), fault("none")
    )
    assert row["repeats"]["status"] == "not run"
    assert row["repeats"]["reason"] == "no kernel for layer_norm"
    missing = replace(fault("none"), requires=("cuda",))
    assert {each["status"] for each in found(ROWS, missing).values()} == {"not run"}


def small_cases():
    chosen = [*load_suite("smoke"), *select_cases(load_suite("default"), "conv2d-even-*"), IMAGE]
    sized = conv("odd", "", "", (2, 4, 7, 9), (6, 2, 3, 3), "normal", stride=2, padding="same", groups=2)
    strided = conv("strided", "", "", (1, 4, 7, 9), (6, 4, 3, 3), "normal", stride=3, padding=1, dilation=2)
    norms = [
        norm(f"{op}-small", "", "", op, (2, 4, 3, 3), False, **params)
        for op, params in (
            ("batch_norm", {"training": False, "eps": 1e-5}),
            ("group_norm", {"num_groups": 2, "eps": 1e-5}),
            ("instance_norm", {"eps": 1e-5}),
        )
    ]
    layers = [*chosen, sized, strided, *norms]
    return [*layers, *(each for case in (IMAGE, strided, ROWS) for each in gradients(case))]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("factor", ["batch", "position", "width"])
def test_no_setting_changes_the_exact_result(factor, framework):
    """What is compared is the same function of the same numbers: its certified truth stays put."""
    asked = 0
    for case in small_cases():
        try:
            chosen = settings(case, framework, factor)
        except NotApplicable:
            continue
        truths = [evaluate(case.op, each.arrays, each.params) for each in chosen]
        pairs = list(zip(chosen, truths, strict=True))
        first, *others = (each.kept(truth.value) + each.kept(truth.residual) for each, truth in pairs)
        room = 2.0 * sum(each.kept(truth.bound) for each, truth in pairs) + np.abs(first) * 2.0**-52
        assert first.size
        for other in others:
            assert np.all(np.abs(other - first) <= room), case.id
        asked += 1
    assert asked >= 5


def test_the_exact_result_shows_a_setting_that_does_change_it():
    """Half a stride more moves the padding of SAME: the check above would not pass it."""
    case = conv("odd", "", "", (1, 2, 6, 6), (3, 2, 3, 3), "normal", stride=2, padding="same")
    arrays, params = case.make("data"), case.declared("data")
    wider = {**arrays, "input": np.pad(arrays["input"], [(0, 0)] * 3 + [(0, 1)])}
    before, after = (evaluate(case.op, each, params).value for each in (arrays, wider))
    assert np.abs(after[..., : before.shape[-1]] - before).max() > 0.01


@pytest.mark.parametrize(
    ("case", "factor", "words"),
    [
        (
            norm("b", "", "", "batch_norm", (8, 4, 3, 3), False, training=True, eps=1e-5),
            "batch",
            "whole batch",
        ),
        (
            norm("l", "", "", "layer_norm", (8, 4), False, normalized_shape=[4], eps=1e-5),
            "width",
            "change the function",
        ),
        (next(c for c in gradients(ROWS) if c.op.endswith("_weight_grad")), "batch", "sums over the batch"),
        (replace(ROWS, op="softmax"), "position", "no batch is known"),
    ],
)  # fmt: skip
def test_a_factor_that_changes_the_function_does_not_apply(case, factor, words):
    with pytest.raises(NotApplicable, match=words):
        settings(case, "torch", factor)


@given(
    arrays_of.arrays(
        np.float32, (3, 5), elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
    )
)
def test_distances_are_those_of_the_bits(three):
    def place(x):
        bits = int(np.float32(x).view(np.int32))
        return bits if bits >= 0 else -(bits & 0x7FFFFFFF)

    differing, steps, scaled = distance_between(list(three))
    columns = [[place(x) for x in column] for column in three.T]
    assert steps == max(max(column) - min(column) for column in columns)
    assert differing == max(
        sum(x.tobytes() != y.tobytes() for x, y in zip(three[i], three[j], strict=True))
        for i, j in ((0, 1), (0, 2), (1, 2))
    )
    gap = max(float(column.max()) - float(column.min()) for column in three.T.astype(np.float64))
    largest = np.abs(three).max()
    assert scaled == (gap / float(np.spacing(largest)) if gap else 0.0)


def test_zeros_of_both_signs_are_two_results_no_distance_apart():
    assert distance_between([np.zeros(2, np.float32), np.array([0.0, -0.0], np.float32)]) == (1, 0.0, 0.0)
    shapes = [np.zeros(2, np.float32), np.zeros(3, np.float32)]
    assert distance_between(shapes) == (3, math.inf, math.inf)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((("speed",), 20, (1,), 1.0), "got 'speed'"),
        (((), 20, (1,), 1.0), "got none"),
        ((FACTORS, 1, (1,), 1.0), "at least 2 repeats"),
        ((FACTORS, 2, (0,), 1.0), "1 or more"),
        ((FACTORS, 2, (1,), 0.0), "above 0 seconds"),
    ],
)
def test_bad_plans(options, words):
    with pytest.raises(UserError, match=words):
        checked_plan(*options)
