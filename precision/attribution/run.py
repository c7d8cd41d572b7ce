"""Attributes every captured cell of a run whose mode lets kernels round their operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from precision.attribution.attribute import Attribution, Replay, attribute
from precision.attribution.models import (
    FLOAT32_ADDER,
    UNKNOWN,
    Adder,
    OperandRounding,
    architecture_model,
    operand_rounding_of,
)
from precision.capture import Capture, check_capture
from precision.cases import Case, load_suite
from precision.errors import UserError
from precision.modes import MODES, Mode
from precision.orders.records import recorded_orders
from precision.orders.revealed import Revealed
from precision.orders.store import orders_of, read_orders
from precision.prediction.sums import has_tensor_cores
from precision.runner import load_run

COLUMNS = (
    "case", "mode", "output", "cause", "evidence", "share", "part_ulp_rms", "part_ulp_mean", "part_abs_max",
    "detail",
)  # fmt: skip
"""Columns as those of the same names in `reports.schema.BUDGETS`."""

OUTPUT = "output"
Row = dict[str, Any]
Progress = Callable[[str, str], None]


def attribute_captures(folder: Path, progress: Progress = lambda mode, case: None) -> pd.DataFrame:
    """One row for each cause of each cell, in the captured modes that let kernels round their operands.

    Left out are cells that were called in another way than declared, failed ones, ops that are no products of
    two arrays, and modes whose results are narrower than float32.  Raises `UserError` for a folder that is no
    run, for changed files, and for another declaration.
    """
    run = load_run(folder)
    cases = [case for case in load_suite(run["suite"]) if case.id in run["cases"]]
    rows: list[Row] = []
    for mode in MODES:
        narrow = mode.operand_format != "binary32" and mode.output_format == "binary32"
        if mode.name not in run["modes"] or not narrow:
            continue
        capture = check_capture(folder, mode.name)
        if capture is None:
            continue
        orders = _orders(folder, capture, cases, run["suite"])
        for case in cases:
            found = attribute_cell(capture, mode, case, orders.get(case.id))
            if found is not None:
                rows += _rows(case, mode, found)
                progress(mode.name, case.id)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _orders(folder: Path, capture: Capture, cases: Sequence[Case], suite: str) -> dict[str, Replay]:
    """Orders that were revealed for the cases' own shapes: live, or from the answers of recorded probes."""
    found: dict[str, Replay] = {}
    for each in recorded_orders(capture, suite):
        known = each.revealed
        for case in cases:
            shapes = {name: array.shape for name, array in case.arrays.items()}
            same = case.op == known.op and shapes == dict(known.shapes)
            if same and case.declared("data") == dict(known.params):
                found[case.id] = each.replay
    stored = orders_of(read_orders(folder, capture), cases)
    return found | {name: each.replay for name, each in stored.items() if isinstance(each, Revealed)}


def attribute_cell(
    capture: Capture, mode: Mode, case: Case, revealed: Replay | None = None
) -> Attribution | None:
    """Attribute one cell of a capture; None where there is nothing to attribute."""
    cell = capture.cells.get(case.id)
    declared = case.declared("data") == case.call(mode.framework, "data")
    if cell is None or cell["status"] != "ok" or not declared or not has_tensor_cores(case.op):
        return None
    if cell["fingerprint"] != case.fingerprint():
        raise UserError(
            f"a capture fits the case as it is declared now; {capture.folder} was made for another "
            f"declaration of {case.id}; capture again"
        )
    kept = capture.samples(case.id)["data"]
    rounding = probed_rounding(capture, case)
    return attribute(
        case.op,
        case.make("data"),
        case.declared("data"),
        kept.values,
        rounding,
        adder_of(capture, mode, rounding),
        kept.index,
        revealed,
    )


def probed_rounding(capture: Capture, case: Case) -> OperandRounding:
    """What the capture's operand probes of the same op showed; kernels of one tap have their own."""
    wanted = f"operands-{case.op.replace('_', '-')}"
    single = [f"{wanted}-1x1"] if case.op.startswith("conv") and _taps(case) == 1 else []
    for name in (*single, wanted):
        cell = capture.cells.get(name)
        if cell is None or cell["status"] != "ok":
            continue
        notes, tensors = capture.answers(name)
        if notes.get("op", case.op) != case.op:
            continue
        if any(count > 1 for side in ("left", "right") for count in notes.get(f"{side}_distinct", ())):
            return OperandRounding(UNKNOWN, "", f"{name}: equal questions got different answers")
        left, right, operand = (np.asarray(tensors[key]).tolist() for key in ("left", "right", "operand"))
        return operand_rounding_of(left, right, operand)
    return OperandRounding(UNKNOWN, "", f"no probe of the operands of {case.op} was captured")


def _taps(case: Case) -> int:
    shape = (
        case.arrays["weight"].shape if "weight" in case.arrays else case.params.get("weight_size", (0, 0, 0))
    )
    return int(np.prod(shape[2:]))


def adder_of(capture: Capture, mode: Mode, rounding: OperandRounding) -> Adder:
    """How the captured device adds products of operands that were rounded so."""
    if mode.device == "cpu":
        return FLOAT32_ADDER
    fmt = rounding.format if rounding.rounded else mode.operand_format
    capability = capture.versions.get("compute capability", "")
    return architecture_model(capability, fmt)


def attributed(
    captures: Mapping[str, Capture], mode: Mode, case: Case, rows: Sequence[Row], replay: Replay | None
) -> Sequence[Row]:
    """The budget rows of one cell: by its operands' rounding where that is what the output shows.

    rows: the cell's rows without what the probes and the model of the device say.  They are kept where no
    operand was rounded, and where nothing is left to be said: all of it proved.
    """
    narrow = mode.operand_format != "binary32" and mode.output_format == "binary32"
    if not narrow or not rows or all(row["evidence"] == "proved" for row in rows):
        return rows
    found = attribute_cell(captures[mode.name], mode, case, replay)
    if found is None:
        return rows
    new = _rows(case, mode, found)
    if not any(row["cause"] == "operand rounding" for row in new):
        return rows
    return [{**dict.fromkeys(rows[0]), "fix": "", **row} for row in new]


def replays_of(
    folder: Path, capture: Capture, mode: Mode, cases: Sequence[Case], suite: str
) -> dict[str, Replay]:
    """The orders of a mode whose operands may be rounded, by case; none for other modes."""
    narrow = mode.operand_format != "binary32" and mode.output_format == "binary32"
    return _orders(folder, capture, cases, suite) if narrow and capture.cells else {}


def _rows(case: Case, mode: Mode, found: Attribution) -> list[Row]:
    rows = []
    for part in found.budget.table():
        if part["share"] == 0.0 and part["abs_max"] == 0.0:
            continue
        told = part["cause"] in ("operand rounding", "accumulation", "unexplained")
        rows.append(
            {
                "case": case.id,
                "mode": mode.name,
                "output": OUTPUT,
                "cause": part["cause"],
                "evidence": part["evidence"],
                "share": part["share"],
                "part_ulp_rms": part["rms_ulp"],
                "part_ulp_mean": part["mean_ulp"],
                "part_abs_max": part["abs_max"],
                "detail": found.words if told else "what even a perfect sum loses",
            }
        )
    return rows
