"""A few cells of the verdict benchmark, in PyTorch alone; and judges that are wrong are reported as such."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SEED, COUNT = 7, 26
QUICK = ("conv2d", "conv_transpose1d", "linear", "batch_norm", "layer_norm", "gelu", "softmax", "avg_pool2d")


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules, as when it is run as a script, with what PyTorch returns for a few cells."""
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(HERE))
    try:
        import bench_verdicts
        import bench_verdicts_collect as collect
        import bench_verdicts_score as score
        import verdict_cells
        from verdict_cells_torch import run

        drawn = [cell for cell in collect.cells(SEED, 150, ["torch.cpu"]) if cell.family in QUICK][:COUNT]
        returned = [
            (cell, run(cell.planted.op, cell.planted.params, _single(cell.planted.arrays))) for cell in drawn
        ]
        outputs = [output for output in collect.judgeable(returned) if output.strength != "invalid"]
        yield {"run": bench_verdicts, "score": score, "cells": verdict_cells, "outputs": outputs}
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if name.startswith(("bench_verdicts", "verdict_cells")):
                del sys.modules[name]


def _single(arrays):
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def summary(bench, judge):
    rows = bench["run"].judged(bench["outputs"], judge)
    return bench["score"].summary(rows), rows


def test_a_few_cells_are_judged_rightly(bench):
    found, rows = summary(bench, bench["run"].engine)
    wrong = [row.to_json() for row in rows if not row.right and row.output.strength != "subtle"]
    assert wrong == []
    assert bench["score"].missed_goals(found, 0.0) == []
    assert found["rounding"]["cells"] >= 8
    assert found["clear"]["cells"] >= 6


def test_a_judge_that_passes_everything_misses(bench):
    found, _ = summary(bench, lambda output: bench["score"].Said("rounding", {}))
    assert found["clear"]["misses"] == found["clear"]["cells"]
    assert found["rounding"]["false alarms"] == 0
    assert any("misses" in line for line in bench["score"].missed_goals(found, 0.0))


def test_a_judge_that_refuses_everything_raises_false_alarms(bench):
    found, _ = summary(bench, lambda output: bench["score"].Said("semantics", {"padding": 7}))
    assert found["rounding"]["false alarms"] == found["rounding"]["cells"]
    assert any("false alarms" in line for line in bench["score"].missed_goals(found, 0.0))


def test_a_judge_that_names_another_value_is_not_right(bench):
    def near(output):
        said = bench["run"].engine(output)
        return replace(said, found=dict.fromkeys(said.found, "another"), others=(), values=lambda: None)

    found, rows = summary(bench, near)
    named = [row for row in rows if any(value is not None for _, value in row.output.cell.planted.wanted)]
    assert named
    assert not any(row.right for row in named)
    assert any("parameter" in line for line in bench["score"].missed_goals(found, 0.0))


def test_a_slow_judge_misses_the_goal(bench):
    found, _ = summary(bench, bench["run"].engine)
    assert "5.1 s" in bench["score"].missed_goals(found, 5.1)[-1]


def test_what_can_be_seen_is_decided_without_a_judge(bench):
    cells = bench["cells"]
    bound, noise = np.full(100, 1e-6), 1e-8 * np.random.default_rng(0).standard_normal(100)
    assert cells.is_clear(np.r_[3e-6, np.zeros(99)], bound)
    assert not cells.is_clear(np.full(100, 1.9e-6), bound)
    assert cells.is_subtle(np.full(100, 5e-8), noise)
    assert not cells.is_subtle(np.full(100, 3e-8), noise)


def test_the_comparisons_of_today(bench):
    score, expected = bench["score"], np.linspace(0.5, 2, 50).astype(np.float32)
    assert all(score.accepted_by(expected.copy(), expected).values())
    assert not any(score.accepted_by(expected[::-1].copy(), expected).values())
    assert not any(score.accepted_by(expected[:-1].copy(), expected).values())


def test_half_of_the_cells_are_planted_and_every_family_comes(bench):
    from collections import Counter

    sys.path.insert(0, str(HERE))
    try:
        import bench_verdicts_collect as collect

        drawn = collect.cells(SEED, 330, ["torch.cpu", "tensorflow.cpu"])
    finally:
        sys.path.remove(str(HERE))
    kinds = Counter(cell.planted.kind for cell in drawn)
    assert 0.4 <= kinds["rounding"] / len(drawn) <= 0.6
    assert {cell.family for cell in drawn} == {family.name for family in collect.FAMILIES}
    assert {cell.words for cell in drawn} == {
        cell.words for cell in collect.cells(SEED, 330, ["torch.cpu", "tensorflow.cpu"])
    }
