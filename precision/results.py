"""Turns a run folder into results: data frames that satisfy `reports.schema`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from precision import __version__
from precision.capture import Capture, check_capture
from precision.cases import load_suite
from precision.errors import UserError
from precision.judgement import CaseJudge, Row, case_row, reference_of
from precision.modes import MODES, Mode
from precision.runner import load_run

RESULTS_SCHEMA = 1

Progress = Callable[[str], None]
"""Called with a case id whenever a case is judged."""


def score_run(folder: Path, progress: Progress = lambda case: None) -> dict[str, Any]:
    """Score every captured cell of a run folder.

    Returns the frames `scores`, `cases`, `modes`, `histograms`, `maps`, and the provenance `run`.
    Raises `UserError` for a folder that holds no run, or a capture that was changed or does not fit
    the suite.
    """
    run = load_run(folder)
    modes = [mode for mode in MODES if mode.name in run["modes"]]
    captures = {mode.name: _capture(folder, mode) for mode in modes}
    cases = [case for case in load_suite(run["suite"]) if case.id in run["cases"]]
    for capture in captures.values():
        for case in cases:
            cell = capture.cells.get(case.id)
            if cell and cell["status"] == "ok" and cell["fingerprint"] != case.fingerprint():
                raise UserError(
                    f"a capture fits the suite that judges it; {capture.folder} was made for another "
                    f"declaration of case {case.id}; run it again into another folder"
                )
    tables: dict[str, list[Row]] = {"scores": [], "cases": [], "histograms": [], "maps": []}
    for order, case in enumerate(cases):
        judge = CaseJudge(reference_of(case))
        tables["cases"].append(case_row(judge.reference, order))
        tables["scores"] += [judge.row(mode, captures[mode.name]) for mode in modes]
        tables["histograms"] += judge.histograms
        tables["maps"] += judge.maps
        progress(case.id)
    tables["modes"] = [_mode_row(mode, captures[mode.name], order) for order, mode in enumerate(modes)]
    return {name: pd.DataFrame(rows) for name, rows in tables.items()} | {"run": _provenance(run, captures)}


def _capture(folder: Path, mode: Mode) -> Capture:
    found = check_capture(folder, mode.name)
    if found is None:
        return Capture(
            folder, mode.name, status="not run", reason="not captured: the run was stopped before it"
        )
    return found


def _mode_row(mode: Mode, capture: Capture, order: int) -> Row:
    return {
        "mode": mode.name,
        "order": order,
        "framework": mode.framework,
        "device": mode.device,
        "title": mode.title,
        "status": capture.status,
        "reason": capture.reason,
        "environment": json.dumps(capture.environment or dict(mode.environment), sort_keys=True),
        "switches": json.dumps(dict(mode.switches), sort_keys=True),
        "read_back": json.dumps(capture.read_back, sort_keys=True),
        "versions": json.dumps(capture.versions, sort_keys=True),
    }


def _provenance(run: dict[str, Any], captures: dict[str, Capture]) -> dict[str, Any]:
    """Return what the report says of its origin: taken from the captures, not from the judging machine."""
    versions: dict[str, set[str]] = {}
    machine: dict[str, set[str]] = {}
    for capture in captures.values():
        for name, value in capture.versions.items():
            target = machine if name in ("processor", "platform", "gpu", "compute capability") else versions
            target.setdefault(name, set()).add(value)
        if capture.read_back.get("threads"):
            machine.setdefault("threads", set()).add(str(capture.read_back["threads"]))
    created = [capture.finished for capture in captures.values() if capture.finished]
    return {
        "schema": RESULTS_SCHEMA,
        "suite": run["suite"],
        "title": f"Precision report: suite {run['suite']}",
        "created": max(created, default="not captured"),
        "command": f"precision report {run['suite']}",
        "machine": _joined(machine),
        "versions": {"precision": __version__, **_joined(versions)},
    }


def _joined(found: dict[str, set[str]]) -> dict[str, str]:
    return {
        name: ", ".join(sorted(values))
        for name, values in sorted(found.items())
        if "distribution" not in name
    }
