"""The page of the studies is the one that the kept rows give, and every kept study has all its rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from precision.studies.row import load_document

ROOT = Path(__file__).parent.parent
KEPT = sorted((ROOT / "docs" / "results" / "studies").glob("*.json"))


def test_the_page_is_generated():
    check = [sys.executable, "docs/generate_studies.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "docs/studies.md differs: run docs/generate_studies.py"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_every_row_of_a_kept_study_was_seen(path):
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    entries = load_document(path.stem).entries
    assert [(row["row"], row["document"]) for row in rows] == [(e.row, e.document) for e in entries]
    assert not [row["row"] for row in rows if row["now"].startswith("not seen")]
