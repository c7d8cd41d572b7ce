"""The same results give the same bytes: in another process, with other hashes, in another place and zone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import browser_pages
import synthetic_results

HERE = Path(__file__).parent
CODE = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import browser_pages
for make in (browser_pages.few, *browser_pages.OTHERS.values()):
    print(hashlib.sha256(make().encode()).hexdigest())
"""
STRANGE = {
    "PYTHONHASHSEED": "4711",
    "TZ": "Asia/Tokyo",
    "LC_ALL": "C",
    "LANG": "C",
    "MPLBACKEND": "pdf",
    "COLUMNS": "40",
}


def digests(folder: Path, **settings: str) -> list[str]:
    """SHA-256 of every page, made by a process of its own that stands in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])} | settings
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(HERE)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_page_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    pages = [make() for make in (browser_pages.few, *browser_pages.OTHERS.values())]
    here = [hashlib.sha256(page.encode()).hexdigest() for page in pages]
    assert len(set(here)) == len(pages) == 3
    assert digests(tmp_path, **STRANGE) == here
    assert all(str(HERE.parents[1]) not in page for page in pages)


def test_other_results_have_other_bytes() -> None:
    with browser_pages.many(2, 4):
        results = synthetic_results.results()
    results.scores.loc[0, "error_ulp_max"] *= 1 + 2**-50
    assert browser_pages.page(results, browser_pages.settings()) != browser_pages.few()
