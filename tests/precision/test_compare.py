"""Two results side by side: every change is found and named, and none is invented."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precision.compare import COLUMNS, MARKS, WORSE, compare
from precision.errors import UserError

RUN = {"suite": "smoke", "created": "2000-01-02", "machine": {"cpu": "X"}, "versions": {"torch": "1"}}


def cell(case="c", mode="m", rms=1.0, bits="aa", verdict="rounding", **rest):
    row = {
        "case": case, "mode": mode, "output": "output", "verdict": verdict, "evidence": "bounded",
        "reason": "", "error_ulp_rms": rms, "error_ulp_max": rms, "error_scaled_ulp_rms": rms,
        "nonfinite_mismatches": 0, "bits_sha256": bits,
    }  # fmt: skip
    return row | rest


def lost(case="c", mode="m", verdict="not run"):
    return cell(case, mode, None, None, verdict, nonfinite_mismatches=None, reason="no GPU", evidence="none")


def tables(*cells, run=None, cases=None, **mode):
    modes = {"switches": "{}", "read_back": "{}", "environment": "{}", "versions": "{}"} | mode
    declared = {"op": "conv2d", "params": '{"a": 1, "b": 2}', "shapes": "{}", "data": "normal"}
    names = dict.fromkeys(row["case"] for row in cells)
    return SimpleNamespace(
        scores=pd.DataFrame(list(cells)),
        cases=pd.DataFrame([{"case": name, **declared, **(cases or {}).get(name, {})} for name in names]),
        modes=pd.DataFrame([{"mode": name, **modes} for name in dict.fromkeys(r["mode"] for r in cells)]),
        run=run or RUN,
    )


def only(a, b):
    found = compare(tables(a), tables(b)).cells
    assert len(found) == 1
    assert list(found.columns) == list(COLUMNS)
    return found.iloc[0]


ALIKE = cell()


@pytest.mark.parametrize(
    ("a", "b", "change"),
    [
        (ALIKE, ALIKE, "equal"),
        (ALIKE, cell(bits="bb"), "changed bits only"),
        (ALIKE, cell(rms=1.0999, bits="bb"), "changed bits only"),
        (ALIKE, cell(rms=1.1001, bits="bb"), "worse"),
        (ALIKE, cell(rms=0.92, bits="bb"), "changed bits only"),
        (ALIKE, cell(rms=0.9, bits="bb"), "improved"),
        (ALIKE, cell(verdict="semantics", bits="bb"), "worse"),
        (ALIKE, cell(verdict="semantics", rms=0.1, bits="bb"), "worse"),  # the verdict decides
        (cell(verdict="unexplained"), cell(verdict="rounding", rms=9.0, bits="bb"), "improved"),
        (cell(verdict="exact", rms=0.0), cell(rms=0.0, bits="bb"), "worse"),
        (cell(rms=0.0), cell(rms=0.0, bits="bb"), "changed bits only"),
        (cell(rms=0.0), cell(rms=1e-9, bits="bb"), "worse"),
        (ALIKE, lost(verdict="error"), "worse"),
        (lost(verdict="error"), ALIKE, "improved"),
        (ALIKE, cell(bits="bb", rms=0.5, nonfinite_mismatches=1), "worse"),
        (cell(nonfinite_mismatches=2), cell(bits="bb", rms=5.0, nonfinite_mismatches=1), "improved"),
        (cell(verdict="semantics"), cell(verdict="data"), "equal"),  # another word for the same bits
    ],
)
def test_every_change_has_its_name(a, b, change):
    row = only(a, b)
    assert (row["change"], row["mark"]) == (change, MARKS[change])


def test_an_element_near_zero_does_not_decide():
    row = only(ALIKE, cell(bits="bb", error_ulp_rms=1e6, error_ulp_max=1e9))
    assert row["change"] == "changed bits only"
    assert row["ratio_ulp_rms"] == 1e6


def test_another_judgement_of_equal_bits_is_told():
    assert only(ALIKE, cell(evidence="proved"))["why"] == "the evidence was bounded, is proved"
    assert "the bits are equal, the judgement is not" in only(ALIKE, cell(verdict="unexplained"))["why"]


def test_cells_of_one_side_are_new_or_gone_and_the_shared_ones_compared():
    a = tables(cell("shared"), cell("old"), lost("came"), lost("never"))
    b = tables(cell("shared"), cell("young"), cell("came"), lost("never"))
    found = compare(a, b)
    assert dict(zip(found.cells["case"], found.cells["change"], strict=True)) == {
        "shared": "equal", "old": "gone", "young": "new", "came": "new",
    }  # fmt: skip
    assert found.not_run == 1
    assert not found.worse
    assert found.counts == {
        "worse": 0, "improved": 0, "changed bits only": 0, "new": 2, "gone": 1, "equal": 1,
    }  # fmt: skip
    assert "not run in A: no GPU" in set(found.cells["why"])


def test_results_that_share_nothing_are_refused():
    with pytest.raises(UserError, match="these share none; compare"):
        compare(tables(cell("a")), tables(cell("b")))
    with pytest.raises(UserError, match="share none"):
        compare(tables(lost()), tables(cell()))


def test_a_case_declared_otherwise_is_another_case():
    a = tables(cell("kept"), cell("moved"))
    b = tables(
        cell("kept"), cell("moved", rms=9.0, bits="b"), cases={"moved": {"params": '{"a": 2, "b": 2}'}}
    )
    found = compare(a, b)
    assert not found.worse
    moved = found.cells[found.cells["case"] == "moved"]
    assert sorted(moved["change"]) == ["gone", "new"]
    assert set(moved["why"]) == {"the case is declared otherwise: params"}
    same = tables(cell("kept"), cell("moved"), cases={"moved": {"params": '{"b": 2, "a": 1}'}})
    assert set(compare(a, same).cells["change"]) == {"equal"}


def test_most_telling_first():
    a = tables(*(cell(name) for name in ("same", "bits", "better", "little", "much", "verdict")))
    b = tables(
        cell("same"), cell("bits", bits="b"), cell("better", rms=0.5, bits="b"),
        cell("little", rms=1.2, bits="b"), cell("much", rms=math.inf, bits="b"),
        cell("verdict", rms=1.15, bits="b", verdict="semantics"),
    )  # fmt: skip
    found = compare(a, b)
    assert found.cells["case"].tolist() == ["verdict", "much", "little", "better", "bits", "same"]
    assert found.worse
    assert found.worst_ratio == math.inf


def test_provenance_is_compared_to_the_switch():
    a = tables(cell(), switches=json.dumps({"tf32": True}), versions=json.dumps({"gpu": "A100"}))
    run = {**RUN, "versions": {"torch": "2", "new": "3"}}
    b = tables(cell(), run=run, switches=json.dumps({"tf32": False}), versions=json.dumps({"gpu": "H100"}))
    assert set(compare(a, b).provenance) == {
        ("versions: torch", "1", "2"), ("versions: new", "none", "3"),
        ("switches: tf32 (m)", "true", "false"), ("versions: gpu (m)", "A100", "H100"),
    }  # fmt: skip
    assert compare(a, a).provenance == ()


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=8))
def test_comparing_with_itself_finds_nothing_and_backwards_turns_every_change(rms):
    a = tables(*(cell(str(i), rms=x) for i, x in enumerate(rms)))
    b = tables(*(cell(str(i), rms=x * 1.5 + 0.01, bits="b") for i, x in enumerate(rms)))
    assert set(compare(a, a).cells["change"]) == {"equal"}
    forth, back = compare(a, b).counts, compare(b, a).counts
    assert forth["worse"] == back["improved"] == len(rms)
    assert WORSE < 1.5
