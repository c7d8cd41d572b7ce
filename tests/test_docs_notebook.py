"""The example notebook runs, cell by cell, and each cell shows what the kept one shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "example.ipynb"


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generate_example

    return generate_example


def shown(notebook):
    return [
        sorted(out["data"]) for cell in notebook["cells"] for out in cell.get("outputs", []) if "data" in out
    ]


def test_the_kept_notebook_is_one_and_shows_results():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        assert cell["cell_type"] == "markdown" or {"outputs", "execution_count"} <= set(cell)
    kinds = shown(notebook)
    assert sum("image/png" in kind for kind in kinds) == 4
    assert sum("text/html" in kind for kind in kinds) == 4  # the result, two frames, an explanation
    assert "/tmp" not in NOTEBOOK.read_text("utf-8")


def test_cells_share_a_namespace_and_show_their_last_expression(runner):
    def cell(text):
        return {"cell_type": "code", "source": text.splitlines(keepends=True), "id": "x", "metadata": {}}

    found = runner.executed({"cells": [cell("x = 2\nprint('seen')"), cell("x + 1"), cell("x = None\nx")]})
    outputs = [cell["outputs"] for cell in found["cells"]]
    assert outputs[0] == [{"output_type": "stream", "name": "stdout", "text": ["seen\n"]}]
    assert outputs[1][0]["data"] == {"text/plain": ["3"]}
    assert outputs[2] == []
    with pytest.raises(ZeroDivisionError):
        runner.executed({"cells": [cell("1 / 0")]})


@pytest.mark.slow
def test_the_notebook_runs():
    command = [sys.executable, "docs/generate_example.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
