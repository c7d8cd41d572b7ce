"""The report as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import (
    exhibits,
    gpu,
    heat,
    invariance_page,
    numbers,
    profile_exhibits,
    sections,
    studies,
    switch_exhibit,
    switches,
    tables,
)
from reports.cells import absent, grid, in_order, lines, worst_first
from reports.headline import headline
from reports.store import Results, checked, write
from reports.summary import markdown, provenance

_TEMPLATES = Path(__file__).parent / "templates"


def render(
    results: Results, folder: str | os.PathLike[str], invariance: pd.DataFrame | None = None
) -> list[Path]:
    """Write `index.html` and `summary.md` into `folder`; return their paths.

    invariance: the table of `reports.invariance`, where determinism was measured as well.

    The same results give the same bytes.  Raises `SchemaError` or `StoreError` for tables that
    break their schema, before anything is written.  Importing this module raises
    `ModuleNotFoundError`, which says the mend, where matplotlib or seaborn is missing.
    """
    results = checked(results)
    files = {"index.html": html(results, invariance), "summary.md": markdown(results)}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    return [write(target / name, text.encode("utf-8")) for name, text in files.items()]


def html(results: Results, invariance: pd.DataFrame | None = None) -> str:
    """The page as text.  Uses all tables; text in them is escaped wherever it is shown.

    invariance: the table of `reports.invariance`; `SchemaError` for one that breaks its columns.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(_context(results, invariance))


def _finalize(value: Any) -> Any:
    """What an expression shows: text made visible, then escaped by the environment."""
    return numbers.visible(value) if type(value) is str else value


def _context(results: Results, invariance: pd.DataFrame | None) -> dict[str, Any]:
    cells = grid(results)
    away = absent(results, cells)
    gone = [mode for group in away for mode in group.modes]
    present = [row for row in cells if row["mode"] not in gone]
    found = lines(present)
    cases = in_order(results.cases)
    titles = _titles(cases)
    frameworks = {mode["mode"]: mode["framework"] for mode in in_order(results.modes)}
    pairs = switches.switches(results, present)
    style, script = _asset("style.css"), _asset("script.js")
    return {
        "title": results.run.get("title") or "Precision report",
        "run": results.run,
        "provenance": provenance(results.run),
        "head": headline(cells),
        "away": away,
        "study": studies.overview(results),
        "study_rows": studies.study_rows(results),
        "heat_map": heat.heat_map(present, titles),
        "paired": switch_exhibit.paired(pairs),
        "changed": switches.change_table(pairs, titles),
        "spread": exhibits.spread(found, frameworks, titles),
        "growth": profile_exhibits.growth(found, cases, frameworks, titles),
        "findings": tables.findings(worst_first(found), titles),
        "gpu": gpu.gpu(results, present),
        "invariance": "" if invariance is None else invariance_page.section(invariance),
        "agreement": sections.agreement(found, titles),
        "cases": sections.case_sections(results, gone),
        "modes": sections.mode_table(results),
        "signs": numbers.SIGNS,
        "style": Markup(style),  # our own files, the only text that is not escaped
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }


def _titles(cases: list[dict[str, Any]]) -> dict[str, str]:
    """A title for each case; cases that share one are told apart by their id."""
    titles = [case["title"] or case["case"] for case in cases]
    return {
        case["case"]: title if titles.count(title) == 1 else f"{title} [{case['case']}]"
        for case, title in zip(cases, titles, strict=True)
    }


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").strip()
