"""The report as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from reports import (
    agreement,
    assets,
    exhibits,
    gpu,
    heat,
    invariance_page,
    numbers,
    place,
    profile_exhibits,
    sections,
    studies,
    switch_exhibit,
    switches,
    tables,
)
from reports.cells import absent, grid, in_order, lines, worst_first
from reports.headline import headline
from reports.rendering import environment, sheet, small_page
from reports.store import Results, checked, write
from reports.summary import markdown, provenance


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


def refuse(message: str, folder: str | os.PathLike[str]) -> Path | None:
    """Write an `index.html` that says why these results give no report; None where a page stands already.

    message: that of the `StoreError` for results of an older or a newer schema, or that are not whole.
    """
    target = Path(folder) / "index.html"
    if target.exists() or not target.parent.is_dir():
        return None
    sentence = f"These results give no report: {message}"
    return write(target, small_page("No report", "Precision report", False, sentence, "").encode())


def html(results: Results, invariance: pd.DataFrame | None = None) -> str:
    """The page as text.  Uses all tables; text in them is escaped wherever it is shown.

    invariance: the table of `reports.invariance`; `SchemaError` for one that breaks its columns.
    """
    found = environment()
    return sheet(found).finished(found.get_template("page.html.j2").render(_context(results, invariance)))


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
    return {
        "title": results.run.get("title") or "Precision report",
        "run": results.run,
        "provenance": provenance(results.run),
        "head": headline(cells, results.budgets),
        "away": away,
        "study": studies.overview(results),
        "study_rows": studies.study_rows(results),
        "heat_map": heat.heat_map(present, titles),
        "paired": switch_exhibit.paired(pairs, titles),
        "switches": switches.summary_table(pairs),
        "spread": exhibits.spread(found, frameworks, titles),
        "growth": profile_exhibits.growth(found, cases, frameworks, titles),
        "findings": tables.findings(worst_first(found), titles, sections.drawn(cells)),
        "gpu": gpu.gpu(results, present),
        "invariance": "" if invariance is None else invariance_page.section(invariance),
        "agreement": agreement.agreement(found, titles),
        "strips": agreement.strips(found, agreement.in_modes(present), titles),
        "field": place.Field(tuple(place.points(found, cases))).shared(),
        "cases": sections.case_sections(results, gone),
        "undrawn": max(0, len(cases) - sections.MOST_DRAWN),
        "modes": sections.mode_table(results),
        "signs": numbers.SIGNS,
        "style": assets.style(),
        "ramps": assets.ramps(),
        "script": assets.script(),
        "script_hash": assets.script_hash(),
    }


def _titles(cases: list[dict[str, Any]]) -> dict[str, str]:
    """A title for each case; cases that share one are told apart by their id."""
    titles = [case["title"] or case["case"] for case in cases]
    return {
        case["case"]: title if titles.count(title) == 1 else f"{title} [{case['case']}]"
        for case, title in zip(cases, titles, strict=True)
    }
