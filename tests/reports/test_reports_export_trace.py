"""A trace as files: what each figure and table has, that the same trace gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from precision.__main__ import main
from reports.export_trace import export_trace, page_of, trace_figures
from reports.schema import SchemaError
from reports.trace_page import GRADIENTS, LAYERS

DECISION = {
    "output": "B",
    "kind": "argmax",
    "index": [0],
    "truth": 3,
    "found": 4,
    "margin": 0.5,
    "bound": 0.1,
}


def row(name: str, own: float | None, **rest: Any) -> dict[str, Any]:
    words = {"layer_a": name, "layer_b": name, "op": "conv2d", "verdict": "rounding", "evidence": "proved"}
    figures = {column: own for column in LAYERS if column.endswith(("_a", "_b")) and "layer" not in column}
    return {**dict.fromkeys(LAYERS), **figures, **words, **rest}


@pytest.fixture
def trace() -> dict[str, Any]:
    return {
        "files": {"a": "one.py", "b": "two_%.py"},
        "layers": [row("conv", 1e-7), row("fc", 2e-7)],
        "gradients": [{**row("fc", 3e-7), "of": "weight"}, {**row("conv", None), "of": "input"}],
        "decisions": [{**DECISION, "status": "flipped"}],
        "notes": ["said"],
        "unmatched": {"a": [], "b": ["left"]},
    }


def test_every_figure_has_its_data_and_every_table_its_forms(tmp_path: Path, trace: dict[str, Any]) -> None:
    paths = export_trace(page_of(trace), tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in paths}
    drawn = ("layers-a", "layers-b", "gradients-a", "gradients-b")
    assert names == {
        "index.md",
        *(f"figures/{name}.{form}" for name in drawn for form in ("svg", "pdf", "csv")),
        *(
            f"tables/{name}.{form}"
            for name in ("layers", "gradients", "decisions")
            for form in ("tex", "md", "csv")
        ),
    }
    data = pd.read_csv(tmp_path / "figures" / "gradients-b.csv")
    assert list(data["layer_a"]) == ["fc, weight", "conv, input"]
    assert data["own_relative_b"][0] == 3e-7
    assert "two_%.py" in (tmp_path / "index.md").read_text().replace("\\", "")
    assert "fc & weight" not in (tmp_path / "tables" / "layers.tex").read_text()
    assert "weight" in (tmp_path / "tables" / "gradients.tex").read_text()
    before = {path: path.read_bytes() for path in paths}
    export_trace(page_of(trace), tmp_path)
    assert {path: path.read_bytes() for path in paths} == before


def test_what_was_not_measured_has_no_figure(trace: dict[str, Any]) -> None:
    bare = {**trace, "gradients": []}
    assert [each.name for each in trace_figures(page_of(bare))] == ["layers-a", "layers-b"]
    for name in ("own", "inherited", "total"):
        for each in bare["layers"]:
            each[f"{name}_relative_b"] = None
    assert [each.name for each in trace_figures(page_of(bare))] == ["layers-a"]


def test_the_command_takes_the_folder_of_a_trace(
    tmp_path: Path, trace: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "trace.json").write_text(json.dumps(trace))
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "t"), "-o", str(out), "--figures", "svg", "--width", "3.3"]) == 0
    assert str(out / "figures") in capsys.readouterr().out
    assert (out / "figures" / "layers-a.svg").is_file()
    assert not (out / "figures" / "layers-a.pdf").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"layers": [{"layer_a": "x"}]}', '{"layers": 3}'])
def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.json").write_text(content)
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "precision trace -o" in said
    assert not (tmp_path / "out").exists()


def test_cases_are_those_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.json").write_text("{}")
    assert main(["export", str(tmp_path), "--cases", "*", "-o", str(tmp_path / "out")]) == 2
    assert "leave --cases out" in capsys.readouterr().err


def test_a_missing_column_is_named(trace: dict[str, Any]) -> None:
    for each in trace["gradients"]:
        del each["of"]
    with pytest.raises(SchemaError, match="'of' is missing"):
        page_of(trace)
    assert "of" in GRADIENTS
