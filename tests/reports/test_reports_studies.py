"""The rows of a study on the page, in the summary and on disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

from reports.page import html
from reports.schema import STUDIES, SchemaError, validate
from reports.store import Results, StoreError, load, save
from reports.studies import overview, study_rows
from reports.summary import markdown

HOSTILE = '<script>alert("1")</script>'
ROW = {
    "order": 0, "study": "notebook", "row": "conv-even", "title": "Conv2d on an even input",
    "source": "In [7]", "document": "not the same", "now": "50 of 54 differ", "truth": "exact integers",
    "cause": "semantics", "evidence": "proved", "detail": "SAME pads right", "mend": "F.pad", "recurs": "yes",
    "why": "shapes do not round",
    "figures": json.dumps([{"name": "most", "document": 9.5, "now": 12.25, "truth": None, "note": "seen"}]),
}  # fmt: skip


def with_rows(results: Results, *rows: dict[str, object]) -> Results:
    return dataclasses.replace(results, studies=pd.DataFrame(rows))


@pytest.fixture
def results(results: Results) -> Results:
    """Those of other tests without cells: nothing is drawn, so a page takes no time."""
    frames = {each.name: getattr(results, each.name) for each in dataclasses.fields(results)}
    cut = {
        name: frame[:0]
        for name, frame in frames.items()
        if isinstance(frame, pd.DataFrame) and "case" in frame.columns
    }
    return dataclasses.replace(results, **cut)


@pytest.fixture
def study(results: Results) -> Results:
    second = ROW | {
        "order": 1,
        "row": "sign",
        "title": "The sign",
        "cause": "none",
        "mend": "",
        "recurs": "no",
    }
    return with_rows(results, second, ROW)  # out of order on purpose


def test_every_text_of_a_row_is_on_the_page(study: Results) -> None:
    page = html(study)
    for name in ("title", "source", "document", "now", "truth", "detail", "mend", "why"):
        assert str(ROW[name]) in page
    assert "semantics (proved): SAME pads right" in page
    assert "comes out again: yes" in page
    assert "no difference (proved)" in page
    for text in ("9.5", "12.25", "seen", 'href="#row-conv-even"', 'id="row-conv-even"'):
        assert text in page
    assert page.index('id="row-conv-even"') < page.index('id="row-sign"')
    assert 'href="#study"' in page


def test_a_row_without_a_mend_shows_none(study: Results) -> None:
    first, second = study_rows(study)
    assert "mend" in dict(first.facts)
    assert "mend" not in dict(second.facts)
    assert [cell.text for cell in overview(study).rows[1]][1:4] == ["no difference", "proved", "no"]


def test_the_summary_has_the_rows(study: Results) -> None:
    text = markdown(study)
    assert "## The document, row by row" in text
    assert text.index("### Conv2d on an even input") < text.index("### The sign")
    assert "- seen now: 50 of 54 differ" in text


def test_results_without_a_study_are_as_before(results: Results, tmp_path: Path) -> None:
    assert 'id="study"' not in html(results)
    assert "row by row" not in markdown(results)
    save(results, tmp_path)
    assert not list(tmp_path.glob("studies.*"))
    assert load(tmp_path).studies.empty


def test_rows_survive_the_disk_and_leave_no_trace_of_an_earlier_study(
    study: Results, results: Results, tmp_path: Path
) -> None:
    save(study, tmp_path)
    again = load(tmp_path)
    assert html(again) == html(study)
    assert (tmp_path / "studies.csv").is_file()
    save(results, tmp_path)
    assert not list(tmp_path.glob("studies.*"))
    assert load(tmp_path).studies.empty


def test_hostile_rows_are_text(results: Results) -> None:
    texts = dict.fromkeys(("row", "title", "source", "document", "now", "truth", "detail", "why"), HOSTILE)
    figures = json.dumps(
        [{"name": HOSTILE, "document": HOSTILE, "now": HOSTILE, "truth": 1, "note": HOSTILE}, 3]
    )
    page = html(with_rows(results, ROW | texts | {"figures": figures}))
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert" in page
    assert "\\<script\\>" in markdown(with_rows(results, ROW | texts))


@pytest.mark.parametrize("figures", ["[]", "{}", "3", "[1, null]"])
def test_figures_of_another_form_are_left_out(results: Results, figures: str) -> None:
    (row,) = study_rows(with_rows(results, ROW | {"figures": figures}))
    assert row.figures.rows == ()
    html(with_rows(results, ROW | {"figures": figures}))


def test_kinds_of_figures(results: Results) -> None:
    listed = [
        {"name": "a", "document": None, "now": 1234567, "truth": True},
        {"name": "b", "document": "[1, 2]", "now": 1.0e-7, "truth": [1, 2]},
    ]
    (row,) = study_rows(with_rows(results, ROW | {"figures": json.dumps(listed)}))
    texts = [[cell.text for cell in line] for line in row.figures.rows]
    assert texts == [["a", "–", "1,234,567", "true"], ["b", "[1, 2]", "1.00000e-7", "[1, 2]"]]
    assert len(row.figures.heads) == 4  # no notes, no column of notes


@pytest.mark.parametrize(
    "change", [{"cause": "magic"}, {"recurs": "maybe"}, {"evidence": "sure"}, {"now": None}, {"figures": "x"}]
)
def test_rows_that_break_the_schema_are_refused(
    results: Results, change: dict[str, object], tmp_path: Path
) -> None:
    broken = with_rows(results, ROW | change)
    with pytest.raises(SchemaError):
        save(broken, tmp_path)
    with pytest.raises(SchemaError):
        validate("studies", broken.studies)


def test_a_row_is_there_once(results: Results, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is twice"):
        save(with_rows(results, ROW, ROW), tmp_path)


def test_the_table_has_the_columns_of_a_row() -> None:
    assert [column.name for column in STUDIES] == list(ROW)
