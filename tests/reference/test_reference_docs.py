"""The page about the truth runs as it stands and lists every operation; every module names its sources."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference.md"


def test_the_python_blocks_of_the_page_run(capsys):
    """In order, in one namespace, as a reader would type them."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert "correctly rounded" in capsys.readouterr().out


def test_the_table_of_operations_is_that_of_the_registry():
    spec = importlib.util.spec_from_file_location(
        "generate_reference", ROOT / "docs" / "generate_reference.py"
    )
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.page() == PAGE.read_text(encoding="utf-8"), "run: python docs/generate_reference.py"
    assert all(generator.summary(op) for op in generator.OPS.values())


def test_every_module_is_named_in_the_sources():
    sources = (ROOT / "reference" / "SOURCES.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)\.py`", sources))
    modules = {path.stem for path in (ROOT / "reference").glob("*.py")}
    assert modules - named == set(), "modules without an entry in reference/SOURCES.md"
    assert named - modules == set(), "entries in reference/SOURCES.md for modules that do not exist"
