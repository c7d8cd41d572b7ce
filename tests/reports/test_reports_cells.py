"""Grouping, ordering and summing up of cells; how figures are written."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import synthetic_results

from reports import numbers
from reports.anchors import anchor, command
from reports.cells import absent, grid, lines, per_cell, worst_first
from reports.headline import headline
from reports.store import Results


def test_modes_with_the_same_bits_share_a_line(results: Results) -> None:
    found = [line for line in lines(grid(results)) if line.row["case"] == "conv2d-5x5-s2" and line.scored]
    assert [line.modes for line in found] == [
        ("torch.cpu", "torch.cpu.threads1"),
        ("torch.cpu.channels_last", "tensorflow.cpu"),
        ("torch.cpu.bf16", "tensorflow.cpu.bf16"),
        ("torch.cpu.native",),
        ("tensorflow.cpu.eigen",),
    ]


def test_the_same_bits_in_another_case_are_another_line(results: Results) -> None:
    rows = grid(results)
    found = [(line.row["case"], mode, line.row["output"]) for line in lines(rows) for mode in line.modes]
    assert len(found) == len(set(found)) == len(rows)
    assert set(found) == {(row["case"], row["mode"], row["output"]) for row in rows}


def test_a_result_without_a_group_stands_alone(results: Results) -> None:
    scores = results.scores.assign(bits_group=None)
    found = [line for line in lines(grid(dataclasses.replace(results, scores=scores))) if line.scored]
    assert all(len(line.modes) == 1 for line in found)


def test_a_cell_without_a_score_is_a_row_with_the_modes_reason(results: Results) -> None:
    scores = results.scores[results.scores["device"] == "cpu"]
    rows = grid(dataclasses.replace(results, scores=scores))
    added = [row for row in rows if row["mode"] == "torch.cuda"]
    assert len(added) == len(synthetic_results.CASES)
    assert {(row["verdict"], row["reason"]) for row in added} == {("not run", synthetic_results.NO_GPU)}
    assert headline(rows) == headline(grid(results))


def test_a_cell_is_as_bad_as_its_worst_output(results: Results) -> None:
    scores = results.scores.copy()
    scores.loc[scores["output"] == "running_mean", "verdict"] = "unexplained"
    cells = per_cell(grid(dataclasses.replace(results, scores=scores)))
    ran = [row for row in cells if row["case"] == "batch-norm-train" and row["device"] == "cpu"]
    assert len(ran) == len(synthetic_results.MODES)
    assert {row["verdict"] for row in ran} == {"unexplained"}


def test_only_modes_that_ran_no_case_are_absent(results: Results) -> None:
    scores = results.scores.copy()
    scores.loc[scores["mode"] == "tensorflow.cuda", "verdict"] = "error"
    changed = dataclasses.replace(results, scores=scores)
    away = absent(changed, grid(changed))
    assert [group.modes for group in away] == [synthetic_results.ABSENT[:3]]


def test_concerns_come_before_errors_and_these_before_rounding(results: Results) -> None:
    order = [line.verdict for line in worst_first(lines(grid(results)))]
    assert list(dict.fromkeys(order)) == [
        "semantics", "unexplained", "error", "rounding", "exact", "not run"
    ]  # fmt: skip


def test_the_headline_counts_cells_and_pools_elements(results: Results) -> None:
    worst, rounded, judged, lost = headline(grid(results)).numbers
    scored = results.scores[results.scores["elements"].notna()]
    share = (scored["share_correctly_rounded"] * scored["elements"]).sum() / scored["elements"].sum()
    assert worst.figure == numbers.figure(float(results.scores["error_scaled_ulp_max"].max()))
    assert rounded.figure == numbers.share(float(share))
    assert (judged.figure, lost.figure) == ("43/47", "1/48")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not measured"), (math.nan, "not measured"), (math.inf, "∞"), (-math.inf, "-∞"), (0.0, "0"),
        (-0.0, "0"), (1.2, "1.20"), (14.4, "14.4"), (999.9, "1000"), (9996.0, "1.00e4"), (0.00012, "1.20e-4"),
        (1e30, "1.00e30"), (-5e-324, "-4.94e-324"), (1.7e308, "1.70e308"),
    ],
)  # fmt: skip
def test_figures(value: float | None, text: str) -> None:
    assert numbers.figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "100 %"), (0.99999, ">99.9 %"), (0.0, "0 %"), (1e-9, "<0.1 %"), (0.333, "33.3 %")],
)  # fmt: skip
def test_a_share_says_all_or_nothing_only_where_it_is(value: float | None, text: str) -> None:
    assert numbers.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "+0.02"), (-14.2, "-14.20"), (512.0, "+512"), (-3.1e-5, "-3.1e-5"), (0.0, "0")]
)
def test_signed_figures(value: float, text: str) -> None:
    assert numbers.signed(value) == text


@pytest.mark.parametrize("value", [0.5, 1.2, 99.6, 2160.0, 9999.4, 9999.6, 1e30])
def test_short_figures_fit_a_cell(value: float) -> None:
    assert len(numbers.short(value)) <= 4


def test_anchors_are_distinct_and_plain() -> None:
    names = ["a b", "a-b", "a  b", "", "é", "<x>", "x"]
    found = [anchor("case", name) for name in names]
    assert len(set(found)) == len(names)
    assert found == [anchor("case", name) for name in names]


def test_the_command_is_quoted() -> None:
    assert command("default", "a b", "torch'; rm -rf x") == (
        """precision report default --cases 'a b' --modes 'torch'"'"'; rm -rf x' -o again"""
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"stride": 2, "padding": [1, 2, 1, 2]}', "stride: 2, padding: [1, 2, 1, 2]"),
        ('{"padding": [2, 2, 2, 2]}', "padding: [2, 2, 2, 2]"),
        ("{}", ""),
        ("not json", "not json"),
        (None, ""),
    ],
)
def test_listings(text: Any, shown: str) -> None:
    assert numbers.listing(text) == shown


def test_shapes_are_written_as_shapes() -> None:
    text = '{"input": [1, 16, 10], "bias": [24], "momentum": []}'
    assert numbers.listing(text, shapes=True) == "input: 1×16×10, bias: 24, momentum: ()"
