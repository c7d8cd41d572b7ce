"""Two results side by side, on a terminal and on a page."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from reports import assets
from reports.comparison import CELLS, Comparison, page, print_comparison
from reports.schema import SchemaError


def row(change="worse", mark="-", case="conv", **rest):
    figures = dict.fromkeys(CELLS, 1.0)
    texts = {
        "mark": mark, "change": change, "case": case, "mode": "torch.cpu", "output": "output", "why": "",
        "verdict_a": "rounding", "verdict_b": "rounding", "evidence_a": "proved", "evidence_b": "bounded",
        "bits_equal": change == "equal",
    }  # fmt: skip
    return figures | texts | rest


def comparison(*rows, **rest):
    options = {"provenance": (("versions: torch", "1", "2"),), "not_run": 0} | rest
    return Comparison("old", "new", pd.DataFrame(list(rows)), **options)


def printed(found):
    sink = io.StringIO()
    print_comparison(found, Console(file=sink, width=110))
    return sink.getvalue()


WORSE = row(
    ratio_scaled_rms=3.0,
    ratio_ulp_rms=2.5,
    why="the verdict was rounding, is semantics",
    verdict_b="semantics",
)
EQUAL = row("equal", "=", "linear", evidence_b="proved")


def test_the_page_says_what_changed_and_needs_nothing_else():
    text = page(comparison(WORSE, EQUAL, not_run=7))
    assert "Something got worse: 1 worse, 1 equal. Largest ratio of rms ulp: 2.50, conv in torch.cpu." in text
    assert "- worse" in text
    assert "≈ rounding → ≠ semantics" in text
    assert "proved → bounded" in text
    assert "versions: torch" in text
    assert "Run in neither: 7" in text
    assert "1 with equal bits" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<script") == 1
    assert f"script-src 'sha256-{assets.script_hash()}'" in text
    assert "src=" not in text
    assert text == page(comparison(WORSE, EQUAL, not_run=7))


def test_nothing_worse_is_said_so():
    text = page(comparison(EQUAL, provenance=()))
    assert "Nothing got worse: 1 equal." in text
    assert "Every cell that is in both has equal bits" in text
    assert "Suite, machine, versions and switches are the same." in text
    assert 'class="fine"' in text


def test_hostile_names_are_text():
    bad = "<script>alert(1)</script>\u202e"
    text = page(comparison(row(case=bad, why=bad), provenance=((bad, bad, bad),)))
    assert text.count("<script") == 1
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "\u202e" not in printed(comparison(row(case=bad, why=bad)))


def test_missing_figures_are_shown_as_missing():
    missing = dict.fromkeys(("error_ulp_rms_b", "ratio_scaled_rms", "ratio_ulp_rms"), math.nan)
    gone = row("gone", "x", "old", verdict_b="", evidence_b="", **missing)
    assert "not measured" in page(comparison(gone, EQUAL))
    text = printed(comparison(gone, EQUAL))
    assert "x old" in text
    assert "≈ rounding → none" in text


def test_the_terminal_has_the_marks_the_rule_and_the_rest():
    text = printed(comparison(WORSE, row("changed bits only", "~", "b"), *[EQUAL] * 3, not_run=2))
    assert text.index("- conv") < text.index("~ b")
    assert "versions: torch: 1 → 2" in text
    assert "2 cells run in neither" in text
    assert "1.1 times" in text
    assert "linear" not in text  # equal cells are counted, not listed
    assert "linear" in printed(comparison(row("equal", "=", "linear")))  # but for another judgement
    many = comparison(*[row(case=f"c{i}") for i in range(80)])
    assert "and 20 more" in printed(many)


def test_a_missing_column_is_named():
    with pytest.raises(SchemaError, match="'why' is missing"):
        Comparison("a", "b", pd.DataFrame([WORSE]).drop(columns="why"), (), 0)
