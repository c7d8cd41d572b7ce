"""Results as files and frames: every figure and table is there, exact, and the same every time."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
import synthetic_results

import reports
from reports.export import export, exported_figures, exported_tables
from reports.export_tables import latex, latex_text, markdown, markdown_text
from reports.result import Result
from reports.store import StoreError
from reports.tables import Cell, Head, Table

HOSTILE = r"<b>$x$ & \input{a} 50% #1 a_b ^ ~ | `c` \"d\" ≈ √n 2⁻²⁴ Σ"


def few(results, *cases):
    """The results of these cases alone."""
    frames = {
        field.name: getattr(results, field.name)
        for field in dataclasses.fields(results)
        if field.name != "run"
    }
    kept = {
        name: frame[frame["case"].isin(cases)].reset_index(drop=True) if "case" in frame else frame
        for name, frame in frames.items()
    }
    return dataclasses.replace(results, **kept)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_figure_has_its_data_and_every_format(results, tmp_path):
    of_case = {each.name for each in exported_figures(few(results, "conv2d-5x5-s2"))}
    assert {f"conv2d-5x5-s2-{name}" for name in ("histogram", "budget", "map-1")} <= of_case
    small = few(results, "linear-1024")
    paths = export(small, tmp_path / "a", ("svg", "pdf"), ("latex", "markdown"))
    assert sorted(paths) == sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    found = {path.relative_to(tmp_path / "a").as_posix() for path in paths}
    names = {each.name for each in exported_figures(small)}
    assert {"heatmap", "errors", "growth", "linear-1024-budget", "linear-1024-histogram"} <= names
    assert all(name.startswith(("heatmap", "errors", "growth", "switch-", "linear-1024-")) for name in names)
    for name in names:
        assert {f"figures/{name}.{end}" for end in ("svg", "pdf", "csv")} <= found
        ET.fromstring((tmp_path / "a/figures" / f"{name}.svg").read_text())
        pdf = (tmp_path / "a/figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf
    assert {f"tables/{name}.{end}" for name in ("results", "causes", "bits", "cases", "modes")
            for end in ("tex", "md", "csv")} <= found  # fmt: skip
    export(small, tmp_path / "b", ("svg", "pdf"), ("latex", "markdown"))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_csv_beside_a_figure_has_its_rows(results, tmp_path):
    export(few(results, "linear-1024"), tmp_path, (), ())
    budget = pd.read_csv(tmp_path / "figures/linear-1024-budget.csv")
    whole = results.budgets[results.budgets["case"] == "linear-1024"]
    assert budget.groupby("label")["share"].sum().to_numpy() == pytest.approx(1.0)
    assert set(budget["part_ulp_rms"]) <= set(whole["part_ulp_rms"])
    table = pd.read_csv(tmp_path / "tables/results.csv")
    exact = results.scores.set_index(["case", "mode"])["error_ulp_max"]["linear-1024", "torch.cpu.native"]
    assert float(table[table["modes with these bits"] == "torch.cpu.native"]["max ulp"].iloc[0]) == exact
    assert not list(tmp_path.rglob("*.svg"))
    assert not list(tmp_path.rglob("*.tex"))


def test_only_the_formats_that_there_are(results, tmp_path):
    for bad in ({"figures": ("gif",)}, {"tables": ("word",)}):
        with pytest.raises(ValueError, match=r"is written as .*; got '(gif|word)'; name one of these"):
            export(results, tmp_path / "x", **bad)
    assert not (tmp_path / "x").exists()


def test_nothing_measured_gives_tables_and_no_figure(results, tmp_path):
    lost = results.scores.assign(verdict="not run", evidence="none")
    empty = dataclasses.replace(
        results, scores=lost, budgets=pd.DataFrame(), histograms=pd.DataFrame(), maps=pd.DataFrame()
    )
    export(empty, tmp_path, ("svg",), ("latex",))
    assert not list((tmp_path / "figures").iterdir())
    assert (tmp_path / "tables/cases.tex").is_file()
    none = {name: synthetic_results.frame(name, []) for name in reports.schema.TABLES}
    assert export(reports.Results(**none, run=results.run), tmp_path / "none") == []


def test_results_that_break_the_schema_name_the_column(results, tmp_path):
    broken = dataclasses.replace(results, scores=results.scores.drop(columns="verdict"))
    with pytest.raises(reports.SchemaError, match="'verdict'"):
        export(broken, tmp_path)
    with pytest.raises(reports.SchemaError, match="'verdict'"):
        Result.of(broken)


def test_latex_is_text_whatever_it_holds():
    text = latex_text(HOSTILE)
    assert r"\textless{}b\textgreater{}\$x\$ \& \textbackslash{}input\{a\} 50\% \#1 a\_b" in text
    assert "$^{-24}$" in text
    assert text.isascii()
    plain = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[&#%]", plain)


def columns(row):
    return len(re.findall(r"(?<!\\)&", row)) + 1


def test_tables_have_a_cell_for_every_head_in_every_row(results):
    tables = exported_tables(results)
    assert [name for name, _ in tables] == ["results", "causes", "bits", "cases", "modes"]
    for _, table in tables:
        tex = latex(table)
        rows = [line for line in tex.splitlines() if line.endswith(r" \\")]
        assert len(rows) == len(table.rows) + 2  # the heads stand on the first page and on the others
        assert {columns(row) for row in rows} == {len(table.heads)}
        (spec,) = re.findall(r"\\begin\{longtable\}\{(.*)\}$", tex, re.MULTILINE)
        assert len(re.sub(r"p\{[^}]*\}", "p", spec)) == len(table.heads)
        lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.heads) + 1}


def test_a_hostile_cell_breaks_no_table():
    table = Table(HOSTILE, (Head("a|b"), Head("n", True)), ((Cell(HOSTILE, under="x\ny"), Cell("1")),))
    assert {columns(line) for line in latex(table).splitlines() if line.endswith(r" \\")} == {2}
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<b>" not in re.sub(r"\\<", "", markdown(table))
    assert markdown_text("a\u202eb") == "a\\\\u202eb"


def test_frames_have_what_a_row_is(results):
    result = Result.of(results)
    frame = result.to_frame()
    assert len(frame) == len(results.scores)
    assert {"title", "family", "op", "terms", "mode_title"} <= set(frame.columns)
    row = frame[(frame["case"] == "linear-1024") & (frame["mode"] == "torch.cpu")].iloc[0]
    assert (row["terms"], row["op"], row["mode_title"]) == (1024, "linear", "torch.cpu as made up")
    budgets = result.to_frame("budgets")
    assert len(budgets) == len(results.budgets)
    assert set(budgets["framework"]) == {"torch", "tensorflow"}
    assert list(result.to_frame("cases").columns) == list(results.cases.columns)
    frame.loc[0, "verdict"] = "data"
    assert result.to_frame()["verdict"].iloc[0] != "data"
    with pytest.raises(ValueError, match=r"a table is one of scores, .*; got 'nothing'"):
        result.to_frame("nothing")


def test_a_notebook_shows_the_verdict_and_every_result_as_text(results):
    hostile = results.scores.assign(reason="<script>alert(1)</script>")
    html = Result.of(dataclasses.replace(results, scores=hostile))._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    shown = Result.of(results)
    head = shown.headline
    html = shown._repr_html_()
    assert head.sentence in html
    assert all(number.label in html for number in head.numbers)
    for case in results.cases["case"]:
        assert case in html
    assert "Not run: tensorflow.cuda, torch.cuda" in html
    assert shown.fine is False
    assert repr(shown) == f"<Result of synthetic: {head.sentence}>"
    ET.fromstring(f"<div>{html}</div>")


def test_results_are_loaded_from_a_run_or_its_results(results, tmp_path):
    reports.save(results, tmp_path / "run/results")
    for folder in ("run", "run/results"):
        assert len(Result.load(tmp_path / folder).to_frame()) == len(results.scores)
    with pytest.raises(StoreError, match="there is no folder"):
        Result.load(tmp_path / "nothing")
    (tmp_path / "raw/captures").mkdir(parents=True)
    with pytest.raises(StoreError, match="run `precision score"):
        Result.load(tmp_path / "raw")
