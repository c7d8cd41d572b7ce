"""What a switch changes: which modes are compared, what is said of a cell, what is drawn."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import synthetic_results

from reports.cells import grid
from reports.store import Results
from reports.switch_exhibit import paired
from reports.switches import Change, change_table, summary_table, switches
from reports.tables import Table

SETTINGS: dict[str, dict[str, Any]] = {
    "torch.cpu.threads1": {"threads": 1},
    "torch.cpu.channels_last": {"memory_format": "channels_last"},
    "torch.cpu.bf16": {"conv": "bf16", "matmul": "bf16"},
    "torch.cpu.native": {"conv": "bf16"},
    "tensorflow.cpu.eigen": {"onednn": False},
}


def switched(results: Results, **settings: dict[str, Any]) -> Results:
    """The made-up results, with switches that tell their modes apart."""
    modes = results.modes.copy()
    chosen = SETTINGS | settings
    modes["switches"] = [json.dumps(chosen.get(name, {})) for name in modes["mode"]]
    modes["environment"] = "{}"
    return dataclasses.replace(results, modes=modes)


def found(results: Results) -> dict[str, Any]:
    return {switch.after: switch for switch in switches(results, grid(results))}


def test_a_mode_is_compared_with_the_one_it_differs_least_from(results: Results) -> None:
    every = found(switched(results))
    assert every["torch.cpu.threads1"].before == "torch.cpu"
    assert every["torch.cpu.threads1"].settings == "threads unset → 1"
    assert (
        every["torch.cpu.native"].before == "torch.cpu.bf16"
        or every["torch.cpu.native"].before == "torch.cpu"
    )
    assert every["tensorflow.cpu.eigen"].before == "tensorflow.cpu"
    # The same settings, another device or framework, a mode that did not run: nothing to compare.
    assert "tensorflow.cpu.bf16" not in every
    assert not any(name.startswith("torch.cuda") for name in every)


def test_equal_bits_are_told_from_equal_errors(results: Results) -> None:
    switch = found(switched(results))["torch.cpu.threads1"]
    assert switch.count("equal bits") == len(switch.changes) == 7
    worse = found(switched(results))["torch.cpu.channels_last"]
    kinds = {change.case: change.kind for change in worse.changes if change.output == "output"}
    assert kinds["conv2d-5x5-s2"] == "worse"
    assert next(c for c in worse.changes if c.case == "conv2d-5x5-s2").ratio == pytest.approx(12.0)
    assert kinds["conv2d-integers"] == "as good"  # both are exact: other groups, no error
    eigen = found(switched(results))["tensorflow.cpu.eigen"]
    assert {c.case for c in eigen.changes}.isdisjoint({"linear-1024"})  # that cell failed
    assert next(c for c in eigen.changes if c.case == "conv2d-5x5-s2").kind == "better"


@pytest.mark.parametrize(
    ("before", "after", "equal", "kind"),
    [
        (1.0, 1.1, False, "as good"),
        (1.0, 1.11, False, "worse"),
        (1.11, 1.0, False, "better"),
        (1.0, 2.0, True, "equal bits"),
        (None, 1.0, False, "unknown"),
        (math.inf, 1.0, None, "unknown"),
        (0.0, 1.0, False, "worse"),
        (0.0, 0.0, False, "as good"),
    ],
)
def test_kinds(before: float | None, after: float | None, equal: bool | None, kind: str) -> None:
    from reports.switches import _ratio

    change = Change("c", "output", before, after, _ratio(before, after), equal, ("rounding", "rounding"), "x")
    assert change.kind == kind


def words(table: Table) -> str:
    return " ".join(cell.text for row in table.rows for cell in row)


def test_tables_name_the_cell_that_changed_most(results: Results) -> None:
    every = switches(switched(results), grid(results))
    text = words(summary_table(every))
    assert "torch.cpu → torch.cpu.channels_last" in text
    assert "12.0" in text
    titles = {case: case for case in results.cases["case"]}
    rows = change_table(every, titles).rows
    assert all("torch.cpu.threads1" not in row[0].text for row in rows)
    assert {row[5].text for row in rows} == {"differ"}


def test_the_plot_has_words_and_leaves_out_what_did_not_change(results: Results) -> None:
    titles = {case: case for case in results.cases["case"]}
    known = switched(results)
    exhibit = paired(switches(known, grid(known)), titles)
    assert exhibit is not None
    assert "torch.cpu to torch.cpu.threads1: 7 of 7 results with equal bits" in exhibit.alt
    assert "no error changed: torch.cpu → torch.cpu.threads1" in exhibit.caption
    alone = synthetic_results.results()
    assert paired(switches(alone, grid(alone)[:1]), titles) is None


def test_settings_that_are_no_object_are_left_out(results: Results) -> None:
    modes = results.modes.assign(switches="[1]", environment="3")
    odd = dataclasses.replace(results, modes=modes)
    assert switches(odd, grid(odd)) == []
