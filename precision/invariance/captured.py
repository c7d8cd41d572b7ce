"""Determinism and invariance as captures recorded it, in the columns of `precision.invariance`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from precision.capture import Capture, check_capture
from precision.cases import load_probes
from precision.invariance.measure import COLUMNS, equal_modes
from precision.modes import MODES, Mode
from precision.runner import load_run

Row = dict[str, Any]
NAMES = {"memory_format": "memory format", "neighbours": "position"}
"""Factors that have another name there."""


def captured_invariance(folder: Path) -> pd.DataFrame:
    """One row for each probe of invariance of each captured mode.

    Times are the fastest calls of separate captures, so a ratio says less than one that is measured in turn.
    Raises `UserError` for a folder that is no run, and for changed files.
    """
    run = load_run(folder)
    probes = [probe.id for probe in load_probes(run["suite"]) if probe.kind == "invariance"]
    rows: list[Row] = []
    for mode in MODES:
        capture = check_capture(folder, mode.name) if mode.name in run["modes"] else None
        if capture is not None:
            rows += [row for probe in probes if (row := _row(capture, mode, probe)) is not None]
    equal_modes(rows)
    seconds = {(row["case"], row["factor"], row["mode"]): row["call_seconds"] for row in rows}
    for row in rows:
        ratios = [
            (there / row["call_seconds"], name)
            for name in json.loads(row["equal_by"])
            if (there := seconds[row["case"], row["factor"], name]) and row["call_seconds"]
        ]
        if ratios:
            row["seconds_ratio"], row["cheapest"] = min(ratios)
            row["timed"] = "in separate captures"
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(capture: Capture, mode: Mode, probe: str) -> Row | None:
    cell = capture.cells.get(probe)
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"mode": mode.name, "framework": mode.framework, "device": mode.device, "reason": ""}
    row |= {"settings": "[]", "groups": "[]", "equal_by": "[]", "cheapest": "", "timed": ""}
    if cell is None:
        return None
    if cell["status"] != "ok":
        factor, _, case = probe.partition("-")
        return row | {"case": case, "factor": factor, "status": "error", "reason": str(cell["reason"])}
    notes, _ = capture.answers(probe)
    asked = [at for at, digest in enumerate(notes["sha256"]) if digest is not None]
    row |= {"case": notes["case"], "factor": NAMES.get(notes["factor"], notes["factor"])}
    skipped = "; ".join(f"{name}: {why}" for name, why in notes.get("skipped", {}).items())
    if len(asked) < 2:
        return row | {"status": "not applicable", "reason": skipped or "fewer than two settings were asked"}
    seconds = [notes["seconds"][at] for at in asked if notes["seconds"][at]]
    apart = notes["ulp_max"]
    return row | {
        "status": "asked",
        "reason": skipped,
        "settings": json.dumps([str(notes["settings"][at]) for at in asked]),
        "groups": json.dumps([notes["groups"][at] for at in asked]),
        "distinct": notes["distinct"],
        "elements": notes["elements"],
        "elements_differing": notes["differing"],
        "ulp_max_between": math.inf if apart is None and notes["distinct"] > 1 else float(apart or 0),
        "call_seconds": seconds[0] if seconds else None,
    }
