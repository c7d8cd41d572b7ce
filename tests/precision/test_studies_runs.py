"""The studies as users run them: both frameworks, the page, and the rows again without any framework."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from precision.results import score_run
from precision.studies import material
from precision.studies.row import load_document
from reports import load

MODES = "torch.cpu,tensorflow.cpu,torch.cuda.tf32"


def run(folder, study, *more):
    command = [sys.executable, "-m", "precision", "report", study, "-o", str(folder), "--modes", MODES, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return {row["row"]: row for row in load(folder / "results").studies.to_dict("records")}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook") / "run"
    return folder, run(folder, "notebook")


@pytest.mark.slow
def test_the_notebook_in_both_frameworks(notebook):
    folder, rows = notebook
    assert list(rows) == [entry.row for entry in load_document("notebook").entries]
    causes = {name: (row["cause"], row["evidence"]) for name, row in rows.items()}
    assert causes["conv-even"] == causes["batch-norm"] == ("semantics", "proved")
    for name in ("conv-odd", "leaky-relu", "cross-entropy", "autodiff", "deconvolution"):
        assert causes[name] == ("none", "proved"), rows[name]
    assert all(row["recurs"] in ("yes", "partly") for row in rows.values())
    assert "torch.cuda.tf32" in rows["conv-even"]["now"]
    page = (folder / "index.html").read_text()
    assert all(f'id="row-{name}"' in page for name in rows)


@pytest.mark.slow
def test_rows_come_out_again_without_a_framework(notebook, monkeypatch):
    folder, rows = notebook

    def refuse(mode):
        raise AssertionError("a framework was started")

    monkeypatch.setattr(material, "_Asking", refuse)
    again = score_run(folder)["studies"].to_dict("records")
    assert [row["now"] for row in again] == [row["now"] for row in rows.values()]
    assert [json.loads(row["figures"]) for row in again] == [
        json.loads(row["figures"]) for row in rows.values()
    ]


@pytest.mark.slow
def test_the_optimizers_in_both_frameworks(tmp_path):
    rows = run(tmp_path / "run", "same-outputs", "--cases", "batch-norm-training")
    causes = {name: (row["cause"], row["evidence"]) for name, row in rows.items()}
    assert causes["nesterov"] == ("algorithm", "proved")
    assert causes["nesterov-schedule"] == causes["batch-norm-statistics"] == ("semantics", "proved")
    assert causes["dropout"][1] == "proved"
    # No deterministic mode was asked for: the row says so, and explains nothing.
    assert causes["deterministic"] == ("none", "none")
    assert "deterministic mode" in rows["deterministic"]["now"]


@pytest.mark.slow
def test_the_convolution_in_both_frameworks(tmp_path):
    rows = run(tmp_path / "run", "conv-difference")
    causes = {name: (row["cause"], row["evidence"]) for name, row in rows.items()}
    assert causes["ones"] == causes["same-layer"] == ("none", "proved")
    assert causes["below-1e-3"][0] == "accumulation"
    assert causes["sign"] == ("accumulation", "consistent")
    assert rows["below-1e-1"]["recurs"] == "yes"
