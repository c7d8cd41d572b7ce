"""The budget on the page: bars with marks, words with figures, mends with the least example."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import synthetic_results

from reports import budget_plot, plots
from reports.cells import grid, lines
from reports.exhibits import CaseData, budget, by_case
from reports.schema import CAUSES, EVIDENCE, SchemaError, validate
from reports.sections import case_sections
from reports.store import Results, StoreError, checked

FRAMEWORKS = {name: framework for name, framework, *_ in synthetic_results.MODES}


def exhibit(results: Results, case: str):
    found = [line for line in lines(row for row in grid(results) if row["case"] == case) if line.scored]
    return budget(found, CaseData(by_case(results), case), FRAMEWORKS)


def section(results: Results, case: str):
    return next(each for each in case_sections(results, ()) if each.name == case)


def rows(*parts: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"label": "a", "cause": c, "evidence": e, "share": s, "note": "n"} for c, e, s in parts]
    )


def test_every_cause_and_evidence_has_a_sign_of_its_own() -> None:
    assert set(budget_plot.CAUSES) == set(CAUSES)
    assert set(budget_plot.EVIDENCE) == set(EVIDENCE)
    assert len(set(budget_plot.CAUSES.values())) == len(CAUSES)
    for signs in zip(*budget_plot.EVIDENCE.values(), strict=True):
        assert len(set(signs)) == len(EVIDENCE)


def test_bars_are_stacked_and_what_opposes_is_left_of_zero() -> None:
    parts = (("accumulation", "bounded", 0.7), ("unexplained", "none", 0.5), ("algorithm", "proved", -0.2))
    figure = budget_plot.budget(rows(*parts))
    (axes,) = figure.axes
    bars = [bar for container in axes.containers for bar in container]
    spans = [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in bars]
    assert spans == [(0.0, 0.7), (0.7, 0.5), (0.0, -0.2)]
    assert [bar.get_hatch() for bar in bars] == ["//", "xx", ""]
    assert [text.get_text() for text in axes.texts] == ["B", "N", "P", "n"]
    assert plots.svg(figure) == plots.svg(budget_plot.budget(rows(*parts)))


@pytest.mark.parametrize("share", [math.nan, 0.0, 1e9, -1e9])
def test_odd_shares_are_drawn(share: float) -> None:
    assert b"nan" not in plots.svg(budget_plot.budget(rows(("semantics", "proved", share))))


def test_the_words_have_the_figures(results: Results) -> None:
    found = exhibit(results, "conv2d-1x1")
    assert "torch.cpu (+1): accumulation 100.2 % (bounded), output rounding -0.2 % (proved)" in found.alt
    assert "semantics 100.2 % (proved)" in found.alt
    cells = [[cell.text for cell in row] for row in found.table.rows]
    frame = results.budgets[results.budgets["case"] == "conv2d-1x1"]
    firsts = frame[frame["mode"].isin(["torch.cpu", "torch.cpu.channels_last", "tensorflow.cpu"])]
    for share in firsts["share"]:
        assert repr(float(share)) in {cell.value for row in found.table.rows for cell in row}
    assert all(len(row) == len(found.table.heads) for row in cells)


def test_causes_are_in_one_order_whatever_the_rows(results: Results) -> None:
    turned = dataclasses.replace(results, budgets=results.budgets.iloc[::-1].reset_index(drop=True))
    assert exhibit(turned, "conv2d-1x1") == exhibit(results, "conv2d-1x1")


def test_no_budget_is_no_exhibit(results: Results) -> None:
    assert exhibit(dataclasses.replace(results, budgets=results.budgets[:0]), "conv2d-1x1") is None


def test_a_difference_is_told_once_with_its_mend_and_example(results: Results) -> None:
    (found,) = section(results, "conv2d-1x1").differences
    facts = dict(found.facts)
    assert found.modes == "tensorflow.cpu = tensorflow.cpu.eigen = tensorflow.cpu.bf16"
    assert facts["what differs"] == "padding: [0, 1, 0, 1] was found, [1, 1, 1, 1] is declared"
    assert facts["mend"] == "pad by tf.pad first"
    assert facts["smallest example"] == "input = [[2]]: declared 1, found 3"
    assert section(results, "conv2d-5x5-s2").differences == ()


def test_modes_with_other_mends_are_told_apart(results: Results) -> None:
    frame = results.budgets.copy()
    frame.loc[(frame["mode"] == "tensorflow.cpu.bf16") & frame["parameter"].notna(), "fix"] = "pad otherwise"
    found = section(dataclasses.replace(results, budgets=frame), "conv2d-1x1").differences
    assert [dict(each.facts)["mend"] for each in found] == ["pad by tf.pad first", "pad otherwise"]


def test_tolerances_are_shown_or_said_to_be_none(results: Results) -> None:
    def shown(text: object) -> str:
        changed = dataclasses.replace(results, cases=results.cases.assign(tolerance=text))
        return dict(section(changed, "conv2d-1x1").facts)["tolerance for two correct results"]

    assert shown('{"rtol": 0.001, "atol": 0.0}') == "rtol=0.001, atol=0 in the worst case"
    modes = '{"tf32": {"rtol": 3, "atol": 4}}'
    both = f'{{"rtol": 1, "atol": 2, "likely_rtol": 0.5, "likely_atol": 0, "modes": {modes}}}'
    assert shown(both) == (
        "rtol=1, atol=2 in the worst case, rtol=0.5, atol=0 are likely to do; "
        "with tf32 operands rtol=3, atol=4 in the worst case"
    )
    assert shown(None).startswith("none")


def test_a_cause_outside_the_list_is_refused(results: Results) -> None:
    frame = results.budgets.copy()
    frame.loc[0, "cause"] = "weather"
    with pytest.raises(SchemaError, match="got 'weather'"):
        validate("budgets", frame)


def test_a_cause_may_stand_twice_with_another_parameter_alone(results: Results) -> None:
    frame = results.budgets
    named = frame[frame["parameter"].notna()].iloc[[0]]
    checked(dataclasses.replace(results, budgets=pd.concat([frame, named.assign(parameter="stride")])))
    with pytest.raises(StoreError, match="is twice"):
        checked(dataclasses.replace(results, budgets=pd.concat([frame, named])))
