"""Errors along channels, conditions and terms, orders of sums, the GPU section: words and pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from xml.etree import ElementTree

import pandas as pd
import pytest
import synthetic_results

from reports import plots, profile_plot
from reports.cells import grid, in_order, lines
from reports.exhibits import CaseData, by_case, histogram
from reports.gpu import gpu
from reports.headline import headline
from reports.inline import Sheet
from reports.order_exhibit import orders
from reports.profile_exhibits import U, gamma, growth, profile
from reports.sections import case_sections
from reports.store import Results, load, save

CASE = "conv2d-5x5-s2"
FRAMEWORKS = {name: framework for name, framework, *_ in synthetic_results.MODES}


def found(results: Results, case: str = CASE) -> list:
    rows = [row for row in grid(results) if row["case"] == case]
    return [line for line in lines(rows) if line.scored]


def data(results: Results, case: str = CASE) -> CaseData:
    return CaseData(by_case(results), case)


def test_profiles_tell_the_range_and_pool_their_blocks(results: Results) -> None:
    exhibit = profile(found(results), data(results), FRAMEWORKS)
    assert exhibit is not None
    assert "torch.cpu (+1): 1.20 to 1.20 ulp of Σ|terms|" in exhibit.alt
    table = {row[0].text: row[1].text for row in exhibit.table.rows}
    assert table["channel 0"] == "1.20"
    assert table["condition 1.00 to 2.00"] == "1.20"
    empty = dataclasses.replace(results, profiles=results.profiles[:0])
    assert profile(found(empty), data(empty), FRAMEWORKS) is None


@pytest.mark.parametrize("sizes", [[0.0, 0.0], [1e30, 0.0], [math.inf, 1.0], [math.nan, 1.0], [3.0]])
def test_odd_profiles_are_drawn(sizes: list[float]) -> None:
    rows = [
        {"label": "a", "axis": axis, "low": 2.0**i, "high": 2.0 ** (i + 1)}
        | {"error_ulp_rms": size, "error_scaled_ulp_rms": size}
        for axis in ("channel", "condition")
        for i, size in enumerate(sizes)
    ]
    assert b"nan" not in plots.svg(profile_plot.profiles(pd.DataFrame(rows)))


def test_what_an_order_lets_expect_is_drawn_over_what_was_found(results: Results) -> None:
    exhibit = histogram(found(results), data(results), FRAMEWORKS)
    assert exhibit is not None
    assert "lets expect" in exhibit.caption
    bins = data(results).histogram(found(results)[0])
    assert bins is not None
    assert bins["expected"].sum() == pytest.approx(4000)
    without = dataclasses.replace(results, expected=results.expected[:0])
    plain = histogram(found(without), data(without), FRAMEWORKS)
    assert plain is not None
    assert "lets expect" not in plain.caption
    assert plain.drawing != exhibit.drawing


def test_an_order_is_told_in_words_and_drawn_once(results: Results) -> None:
    every = orders(found(results), data(results), FRAMEWORKS)
    assert [each.evidence for each in every] == ["proved"] * len(every)
    assert every[0].words == "2 blocks of 3 terms"
    assert every[0].expected == "rms error 1.20 ulp; this order lets expect 1.20"
    drawings = [drawing for each in every for drawing in each.drawings]
    assert len(drawings) == 1  # the same tree in all
    drawn = ElementTree.fromstring(Sheet().markup(drawings[0].drawing, drawings[0].alt))
    assert drawn.get("aria-label") == drawings[0].alt
    assert "3 terms · 0, 1, 2 · fused" in "".join(drawn.itertext())
    odd = results.orders.assign(tree=json.dumps({"leaves": 3}))
    broken = dataclasses.replace(results, orders=odd)
    assert not any(each.drawings for each in orders(found(broken), data(broken), FRAMEWORKS))


def test_growth_leaves_out_what_is_no_sum_or_no_rounding(results: Results) -> None:
    titles = {case: case for case in results.cases["case"]}
    cases = in_order(results.cases)
    scored = [line for line in lines(grid(results)) if line.scored]
    exhibit = growth(scored, cases, FRAMEWORKS, titles)
    assert exhibit is not None
    listed = {row[0].text for row in exhibit.table.rows}
    assert {"conv2d-5x5-s2", "linear-1024"} <= listed
    assert {"batch-norm-train", "layer-norm-offset"}.isdisjoint(listed)
    semantics = [line for line in scored if line.verdict == "semantics"]
    assert growth(semantics, cases, FRAMEWORKS, titles) is None


def test_gamma_is_higham_s() -> None:
    assert gamma(1) == pytest.approx(U)
    assert gamma(2**23) == pytest.approx(1.0)
    assert math.isinf(gamma(2**24))


def test_the_worst_element_has_its_cause(results: Results) -> None:
    section = next(each for each in case_sections(results, ()) if each.name == "conv2d-1x1")
    assert section.worst is not None
    assert dict(section.worst.facts)["main cause"] == "semantics, 100.2 % of this result's error (proved)"


def test_the_share_explained_comes_from_the_budgets(results: Results) -> None:
    third = headline(grid(results), results.budgets).numbers[2]
    assert third.label == "of the error explained"
    # One cell is unexplained: its share of 1.002 is all of its error.
    none = ("error", "not run", "exact")
    scored = len({(row["case"], row["mode"]) for row in grid(results) if row["verdict"] not in none})
    assert third.figure == f"{100 * (1 - 1 / scored):.1f} %"
    assert headline(grid(results)).numbers[2].label == "scored cells judged exact or rounding"


def test_a_cell_that_a_probe_leaves_unexplained_is_not_counted_as_explained(results: Results) -> None:
    def share(frame: pd.DataFrame) -> float:
        changed = dataclasses.replace(results, scores=frame)
        return float(headline(grid(changed), changed.budgets).numbers[2].figure.removesuffix(" %"))

    scores = results.scores.copy()
    at = scores.index[(scores["verdict"] == "rounding") & (scores["error_abs_max"] > 0)][0]
    before = share(scores)
    scores.loc[at, ["verdict", "evidence"]] = ["unexplained", "none"]
    none = ("error", "not run", "exact")
    scored = len({(row["case"], row["mode"]) for row in grid(results) if row["verdict"] not in none})
    assert before - share(scores) == pytest.approx(100 / scored, abs=0.11)


def on_gpu(results: Results) -> Results:
    """The made-up results as if one mode had run on a GPU."""
    scores, modes = results.scores.copy(), results.modes.copy()
    scores.loc[scores["mode"] == "torch.cpu.bf16", "device"] = "cuda"
    modes.loc[modes["mode"] == "torch.cpu.bf16", "device"] = "cuda"
    modes.loc[modes["mode"] == "torch.cpu.bf16", "versions"] = json.dumps(
        {"gpu": "Imaginary 9000", "compute capability": "9.0"}
    )
    return dataclasses.replace(results, scores=scores, modes=modes)


def test_the_gpu_section_is_of_gpu_modes_only(results: Results) -> None:
    assert gpu(results, grid(results)) is None
    known = on_gpu(results)
    section = gpu(known, grid(known))
    assert section is not None
    assert section.devices == ("Imaginary 9000, compute capability 9.0",)
    assert section.sentence.startswith("7 results in 1 mode: 7 exact or rounding, 0 something else")
    assert {row[0].text for row in section.modes.rows} == {"torch.cpu.bf16"}
    causes = {row[1].text: row[3].text for row in section.causes.rows}
    assert causes["accumulation"] == "100.2 %"


def test_details_are_stored_and_read_back(results: Results, tmp_path) -> None:
    save(results, tmp_path)
    again = load(tmp_path)
    for name in ("profiles", "orders", "expected"):
        pd.testing.assert_frame_equal(again.table(name), results.table(name))
