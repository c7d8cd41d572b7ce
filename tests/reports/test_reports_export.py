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
from precision.__main__ import main
from reports.export import export, exported_figures
from reports.invariance import COLUMNS
from reports.invariance import save as save_invariance
from reports.result import Result
from reports.store import StoreError


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
    assert {f"conv2d-5x5-s2-{name}" for name in ("histogram", "budget", "maps", "order-1")} <= of_case
    small = few(results, "linear-1024")
    paths = export(small, tmp_path / "a", ("svg", "pdf"), ("latex", "markdown"))
    assert sorted(paths) == sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert paths[-1] == tmp_path / "a" / "index.md"  # written last: it is there when all are
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
        width = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
        assert width
        assert float(width[1]) <= 6.9 * 72 + 1
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
    with pytest.raises(ValueError, match=r"1 to 40 inches wide; got 0.1; give 6.9 for a page"):
        export(results, tmp_path / "x", width=0.1)
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
    assert export(reports.Results(**none, run=results.run), tmp_path / "none") == [tmp_path / "none/index.md"]


def test_results_that_break_the_schema_name_the_column(results, tmp_path):
    broken = dataclasses.replace(results, scores=results.scores.drop(columns="verdict"))
    with pytest.raises(reports.SchemaError, match="'verdict'"):
        export(broken, tmp_path)
    with pytest.raises(reports.SchemaError, match="'verdict'"):
        Result.of(broken)


def test_tables_name_the_case_of_every_row(results, tmp_path):
    export(results, tmp_path, (), ("markdown",))
    causes = pd.read_csv(tmp_path / "tables/causes.csv")
    whole = results.budgets.merge(results.scores[["case", "mode", "output", "bits_group"]])
    first = whole.drop_duplicates(["case", "output", "bits_group", "cause"])
    assert causes["case"].value_counts().to_dict() == first["case"].value_counts().to_dict()
    for name in ("results", "causes", "bits", "cases"):
        assert pd.read_csv(tmp_path / f"tables/{name}.csv").columns[0] == "case"


def test_the_index_has_a_caption_for_every_figure_and_table(results, tmp_path):
    small = few(results, "linear-1024", "conv2d-5x5-s2")
    export(small, tmp_path, (), ())
    links = dict(
        re.findall(r"^- \[(.*?)\]\((.*?)\): (?=\S)", (tmp_path / "index.md").read_text(), re.MULTILINE)
    )
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.csv")}
    assert set(links.values()) == files
    assert len({each.caption for each in exported_figures(small)}) == len(list(exported_figures(small)))


def test_several_processes_give_the_same_bytes(results, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.export._MANY", 1)
    small = few(results, "linear-1024")
    seen = []
    export(small, tmp_path / "two", ("svg", "pdf"), (), seen.append, jobs=2)
    export(small, tmp_path / "one", ("svg", "pdf"), (), jobs=1)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert seen == [each.name for each in exported_figures(small)]


def test_determinism_is_written_where_it_was_measured(results, tmp_path):
    frame = pd.DataFrame([{column.name: None for column in COLUMNS} for _ in range(2)]).assign(
        case=["linear-1024", "conv2d-1x1"], mode="torch.cpu", framework="torch", device="cpu",
        factor="threads",
        status="asked", reason="", settings='["1", "2"]', groups=["[0, 1]", "[0, 0]"], distinct=[2, 1],
        elements=100, elements_differing=[7, 0], equal_by="[]", cheapest="", timed="",
    )  # fmt: skip
    reports.save(results, tmp_path / "run/results")
    save_invariance(frame, tmp_path / "run/results")
    found = Result.load(tmp_path / "run")
    assert found.invariance is not None
    small = dataclasses.replace(found, results=few(results, "linear-1024"))
    names = {path.name for path in small.export(tmp_path / "files", ("svg",), ("latex", "markdown"))}
    assert {"invariance.svg", "invariance.csv", "invariance.tex", "settings.md"} <= names
    assert pd.read_csv(tmp_path / "files/tables/invariance.csv")["threads"].tolist() == ["1 of 2"]
    assert Result.of(results).invariance is None
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "one"), "--cases", "conv2d-1x1",
                 "--figures", ""]) == 0  # fmt: skip
    assert pd.read_csv(tmp_path / "one/tables/invariance.csv")["threads"].tolist() == ["0 of 1"]


def test_results_that_both_frameworks_gave_are_neither_s(results):
    (errors,) = [each for each in exported_figures(few(results, "conv2d-5x5-s2")) if each.name == "errors"]
    by_label = errors.data.set_index("label")["framework"]
    assert by_label["torch.cpu.channels_last = tensorflow.cpu"] == "both"
    assert by_label["torch.cpu.native"] == "torch"


def test_many_cases_have_figures_for_each_family(results, monkeypatch):
    monkeypatch.setattr("reports.export_figures.MANY_CASES", 4)
    found = {each.name: each for each in exported_figures(results)}
    assert {"heatmap-convolution", "errors-linear", "heatmap-normalization"} <= set(found)
    assert set(found["heatmap-convolution"].data["family"]) == {"convolution"}


def test_what_is_interrupted_leaves_whole_files_and_no_index(results, tmp_path):
    small = few(results, "linear-1024")
    export(small, tmp_path, ("svg",), ("markdown",))
    before = digests(tmp_path)
    seen = []

    def stop(name):
        seen.append(name)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(small, tmp_path, ("svg",), ("markdown",), stop)
    left = digests(tmp_path)
    assert set(before) - set(left) == {"index.md"}
    assert all(before[name] == left[name] for name in left)
    export(small, tmp_path, ("svg",), ("markdown",))
    assert digests(tmp_path) == before


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
