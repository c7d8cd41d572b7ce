"""Turns a run folder into results: data frames that satisfy `reports.schema`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from precision import __version__
from precision.attribution.run import attributed, replays_of
from precision.capture import MANIFEST, Capture, check_capture
from precision.cases import STUDIES, load_suite
from precision.errors import UserError
from precision.judging.case_details import TABLES as DETAILS
from precision.judging.judgement import CaseJudge, Reference, Row, case_row, reference_of
from precision.modes import HALF_MODES, MODES, Mode
from precision.orders.store import FOLDER, orders_of, read_orders
from precision.runner import load_run

RESULTS_SCHEMA = 2

Progress = Callable[[str], None]
"""Called with a case id whenever a case is judged."""


def score_run(folder: Path, progress: Progress = lambda case: None) -> dict[str, Any]:
    """Score every captured cell of a run folder.

    Returns the frames `scores`, `budgets`, `cases`, `modes`, `histograms`, `maps`, `profiles`, `orders`,
    `expected`, and the provenance `run`; of a study also `studies`.
    Raises `UserError` for a folder that holds no run, or a capture that was changed or does not fit
    the suite.
    """
    run = load_run(folder)
    modes = [mode for mode in (*MODES, *HALF_MODES) if mode.name in run["modes"]]
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
    orders = {name: orders_of(read_orders(folder, capture), cases) for name, capture in captures.items()}
    replays = {
        mode.name: replays_of(folder, captures[mode.name], mode, cases, run["suite"]) for mode in modes
    }
    names = ("scores", "budgets", "cases", "histograms", "maps", *DETAILS)
    tables: dict[str, list[Row]] = {name: [] for name in names}
    references: dict[str, Reference] = {}
    for order, case in enumerate(cases):
        revealed = {mode: known[case.id] for mode, known in orders.items() if case.id in known}
        judge = CaseJudge(reference_of(case), revealed)
        tables["cases"].append(case_row(judge.reference, order))
        tables["scores"] += [judge.row(mode, captures[mode.name]) for mode in modes]
        for mode in modes:
            rows = [row for row in judge.budgets if row["mode"] == mode.name]
            tables["budgets"] += attributed(captures, mode, case, rows, replays[mode.name].get(case.id))
        tables["histograms"] += judge.histograms
        tables["maps"] += judge.maps
        for name in DETAILS:
            tables[name] += judge.details.tables[name]
        if run["suite"] in STUDIES:
            references[case.id] = judge.reference
        progress(case.id)
    if run["suite"] in STUDIES:
        from precision.studies.run import study_rows

        tables["studies"] = study_rows(run["suite"], folder, references, tables, modes, captures)
    tables["modes"] = [_mode_row(mode, captures[mode.name], order) for order, mode in enumerate(modes)]
    return {name: pd.DataFrame(rows) for name, rows in tables.items()} | {"run": _provenance(run, captures)}


def _capture(folder: Path, mode: Mode) -> Capture:
    found = check_capture(folder, mode.name)
    if found is None:
        place, reason = folder / "captures" / mode.name, "not captured: the run was stopped before it"
        return Capture(place, mode.name, status="not run", reason=reason)
    if found.asked != dict(mode.switches):
        raise UserError(
            f"a capture is made with its mode's switches, {dict(mode.switches)}; {found.folder} was made "
            f"with {found.asked}; capture again into another folder"
        )
    deaf = [name for name, value in found.asked.items() if found.read_back.get(name) != value]
    if deaf and found.status == "run" and found.cells:
        raise UserError(
            f"every switch is read back as asked; in {found.folder} {deaf[0]} was asked "
            f"{found.asked[deaf[0]]!r} and read back {found.read_back.get(deaf[0])!r}; capture again"
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
        "command": _command(run),
        "captures": digest(captures.values()),
        "machine": _joined(machine),
        "versions": {"precision": __version__, **_joined(versions)},
    }


def digest(captures: Iterable[Capture]) -> str:
    """SHA-256 (16 digits) over the manifests and the orders that results were made from."""
    every = hashlib.sha256()
    for capture in captures:
        path = capture.folder / MANIFEST
        every.update(path.read_bytes() if path.is_file() else b"none")
        orders = capture.folder.parent.parent / FOLDER / f"{capture.mode}.json"
        every.update(orders.read_bytes() if orders.is_file() else b"")
    return every.hexdigest()[:16]


def captures_digest(folder: Path) -> str:
    """Return `digest` of a run folder as it is now."""
    return digest(Capture(folder / "captures" / name, name) for name in load_run(folder)["modes"])


def _command(run: dict[str, Any]) -> str:
    """Return the command that asks for the same cases and modes."""
    command = f"precision report {run['suite']}"
    if len(run["cases"]) < len(load_suite(run["suite"])):
        command += f" --cases {','.join(run['cases'])}"
    if len(run["modes"]) < len(MODES):
        command += f" --modes {','.join(run['modes'])}"
    return command


def _joined(found: dict[str, set[str]]) -> dict[str, str]:
    return {
        name: ", ".join(sorted(values))
        for name, values in sorted(found.items())
        if "distribution" not in name
    }
