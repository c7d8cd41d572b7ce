"""`precision compare A B`: what it prints, what it writes, its status, and bad input."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reports.store import save

sys.path.insert(0, str(Path(__file__).parent.parent / "reports"))  # the factory is a plain module there

import synthetic_results


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run folder, and results in which one cell is worse, one bits only, one case and one mode less."""
    place = tmp_path_factory.mktemp("compare")
    first = synthetic_results.results()
    save(first, place / "a" / "results")
    second = synthetic_results.results()
    scores = second.scores
    at = (scores["case"] == "conv2d-1x1") & (scores["mode"] == "torch.cpu")
    scores.loc[at, ["error_scaled_ulp_rms", "error_ulp_rms"]] *= 1.5
    scores.loc[at, "bits_sha256"] = "ff" * 32
    other = (scores["case"] == "conv2d-1x1") & (scores["mode"] == "torch.cpu.native")
    scores.loc[other, "bits_sha256"] = "ee" * 32
    names = ("scores", "cases", "histograms", "maps", "budgets", "profiles", "orders", "expected")
    tables = {name: getattr(second, name) for name in names}
    kept = {n: frame[frame["case"] != "conv2d-integers"] for n, frame in tables.items() if frame is not None}
    save(replace(second, **kept), place / "b")
    return place


def test_what_changed_is_printed_written_and_the_status(precision_command, folders, tmp_path):
    done = precision_command("compare", str(folders / "a"), str(folders / "b"), "-o", str(tmp_path / "out"))
    assert done.returncode == 1, done.stderr
    assert "Something got worse: 1 worse, 1 changed bits only, 8 gone" in done.stdout
    assert "- conv2d-1x1" in done.stdout
    written = {path.suffix: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {".csv", ".html", ".md", ".tex"}
    assert "| conv2d-1x1 | torch.cpu |" in written[".md"].replace("\\", "")
    assert r"\begin{longtable}" in written[".tex"]
    back = precision_command("compare", str(folders / "b"), str(folders / "a"), "--json")
    assert back.returncode == 0
    found = json.loads(back.stdout)
    assert found["counts"]["improved"] == 1
    assert found["counts"]["new"] == 8
    assert {cell["mark"] for cell in found["cells"]} == {"+", "~", "x", "="}


def test_the_same_folder_twice_is_equal(precision_command, folders, tmp_path):
    out = tmp_path / "out"
    done = precision_command("compare", str(folders / "b"), str(folders / "b"), "-o", str(out))
    assert done.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["compare.csv", "compare.html"]
    assert "Nothing got worse" in done.stdout


def edited(folders, tmp_path, schema):
    run = json.loads((folders / "b/run.json").read_text())
    for path in (folders / "b").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "run.json").write_text(json.dumps(run | {"schema": schema}))
    return tmp_path


@pytest.mark.parametrize(("schema", "words"), [(0, "older schema 0"), (99, "newer schema 99")])
def test_results_of_another_schema_are_refused(precision_command, folders, tmp_path, schema, words):
    other = edited(folders, tmp_path, schema)
    done = precision_command("compare", str(folders / "b"), str(other))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_no_result_is_refused(precision_command, folders, tmp_path):
    def complaint(*arguments):
        done = precision_command("compare", *map(str, arguments))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "there is no folder" in complaint(folders / "a", tmp_path / "nowhere")
    assert "is missing" in complaint(folders / "a", tmp_path)
    (tmp_path / "run" / "captures").mkdir(parents=True)
    assert "is not scored; run `precision score" in complaint(tmp_path / "run", folders / "a")
    assert "Missing argument" in complaint(folders / "a")
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file; name another" in complaint(folders / "a", folders / "a", "-o", file)
