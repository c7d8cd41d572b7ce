"""The heat map of the page, and the places of its cells."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.anchors import mode_anchor
from reports.cells import grid
from reports.heat import MOST_CASES, heat_map, step_of
from reports.store import Results


def test_worst_cases_come_first_and_every_cell_leads_to_its_figures(results: Results) -> None:
    titles = {case: f"title of {case}" for case in results.cases["case"]}
    found = heat_map(grid(results), titles)
    assert found is not None
    names = [title for title, _, _ in found.rows]
    assert names[0] == "title of conv2d-1x1"  # computes another function in TensorFlow
    assert names[-1] == "title of conv2d-integers"  # exact
    cells = dict(zip(found.modes, found.rows[0][2], strict=True))
    assert cells["tensorflow.cpu"].text.endswith("≠")
    assert cells["tensorflow.cpu"].link == mode_anchor("conv2d-1x1", "output", "tensorflow.cpu")
    assert "semantics (proved)" in cells["tensorflow.cpu"].words
    assert cells["torch.cuda"].text == "–"
    assert cells["torch.cuda"].step == ""


@pytest.mark.parametrize(
    ("ulp", "step"),
    [(0.0, 0), (0.5, 0), (0.51, 1), (2.0, 2), (1.99, 1), (7.9, 2), (8.0, 3), (8192.0, 8), (math.inf, 8)],
)
def test_steps(ulp: float, step: int) -> None:
    assert step_of(ulp) == step


@given(st.floats(0.0, 1e30), st.floats(0.0, 1e30))
def test_a_larger_error_is_never_of_a_lighter_step(a: float, b: float) -> None:
    assert step_of(min(a, b)) <= step_of(max(a, b))


def test_a_large_suite_is_cut_and_says_so(results: Results) -> None:
    row = next(row for row in grid(results) if row["verdict"] == "rounding")
    rows = [row | {"case": f"case-{i}"} for i in range(MOST_CASES + 5)]
    found = heat_map(rows, {each["case"]: each["case"] for each in rows})
    assert found is not None
    assert len(found.rows) == MOST_CASES
    assert f"The worst {MOST_CASES} of {MOST_CASES + 5} cases" in found.note
    assert heat_map([], {}) is None


@given(
    st.tuples(st.text("ab-. é", min_size=1, max_size=5), st.text("ab-. é", min_size=1, max_size=5)),
    st.tuples(st.text("ab-. é", min_size=1, max_size=5), st.text("ab-. é", min_size=1, max_size=5)),
)
def test_two_cells_never_share_a_place(a: tuple[str, str], b: tuple[str, str]) -> None:
    places = [mode_anchor(case, "output", mode) for case, mode in (a, b)]
    assert (places[0] == places[1]) == (a == b)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", place) for place in places)
