"""The orders of a suite's sums and normalizations, cell by cell: one row for each case in each mode."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from precision.cases import Case
from precision.errors import CannotRun
from precision.live import KernelError, Live
from precision.modes import Mode
from precision.orders.norm_reveal import RevealedNorm, reveal_norm
from precision.orders.revealed import Revealed
from precision.orders.search import reveal_live
from reference.sum_plans import PLANS

COLUMNS = (
    "case",
    "mode",
    "op",
    "order",
    "positions",
    "classes",
    "calls",
    "probes",
    "equal_uniform",
    "equal_normal",
    "seconds",
    "reason",
)
"""positions: where each order holds; equal_*: share of outputs equal bit for bit on fresh data."""


def reveal_suite(
    cases: Iterable[Case], modes: Iterable[Mode], progress: Callable[[str, str], None] | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of all cells and, by "case/mode", the whole result of each as JSON data.

    A cell that cannot be revealed is a row with its reason; an op without sums has no row.
    """
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    chosen = [case for case in cases if has_order(case)]
    for mode in modes:
        for case, found in orders_of_mode(chosen, mode):
            rows.append(_row(case, mode, found))
            if not isinstance(found, str):
                details[f"{case.id}/{mode.name}"] = found.to_json()
            if progress:
                progress(mode.name, case.id)
    return pd.DataFrame(rows, columns=list(COLUMNS)), details


def has_order(case: Case) -> bool:
    """Whether a case is a sum of products, or has sums inside: a normalization."""
    return case.op in PLANS or case.family == "normalization"


def orders_of_mode(cases: Iterable[Case], mode: Mode) -> Iterable[tuple[Case, Revealed | RevealedNorm | str]]:
    """Yield each case with the order of its kernel in a mode, or in words why it cannot be revealed."""
    # Cases with equal declarations and other data run the same kernel: it is asked once.
    known: dict[str, Revealed | RevealedNorm | str] = {}
    live: Live | None = None
    try:
        for case in cases:
            shapes = {name: array.shape for name, array in case.arrays.items()}
            params = case.call(mode.framework, "data")
            key = f"{case.op} {sorted(params.items())} {sorted(shapes.items())}"
            if key not in known:
                try:
                    if live is not None and not live.alive:
                        # A crash or a time-out costs its own case: the next one gets a new process.
                        live.close()
                        live = None
                    live = live or Live(mode)
                    known[key] = _reveal(live, case, shapes, params)
                except (CannotRun, KernelError, ValueError) as reason:
                    known[key] = str(reason)
            yield case, known[key]
    finally:
        if live is not None:
            live.close()


def _reveal(live: Live, case: Case, shapes: Any, params: Mapping[str, Any]) -> Revealed | RevealedNorm:
    if case.op in PLANS:
        return reveal_live(live, case.op, shapes, params)

    def kernel(arrays: Mapping[str, Any]) -> dict[str, Any]:
        try:
            shown = live.statistics(case.op, params, arrays)
        except CannotRun:
            shown = {}
        return {**shown, "output": live.run(case.op, params, arrays)}

    return reveal_norm(kernel, case.op, case.make("data"), params)


def _row(case: Case, mode: Mode, found: Revealed | RevealedNorm | str) -> dict[str, Any]:
    head = {"case": case.id, "mode": mode.name, "op": case.op}
    if isinstance(found, str):
        return head | {"reason": found}
    if isinstance(found, RevealedNorm):
        return head | {
            "order": "" if found.recipe is None else found.words(),
            "positions": "" if found.recipe is None else "all outputs",
            "classes": int(found.recipe is not None),
            "calls": found.calls,
            "equal_uniform": found.shares.get("uniform"),
            "equal_normal": found.shares.get("normal"),
            "reason": found.reason,
        }
    return head | {
        "order": found.words if found.classes or found.algorithm else "",
        "positions": "; ".join(dict.fromkeys(each.where for each in found.classes)),
        "classes": len(found.classes),
        "calls": found.calls,
        "probes": found.probes,
        "equal_uniform": found.equal.get("uniform"),
        "equal_normal": found.equal.get("normal"),
        "seconds": round(found.seconds, 2),
        "reason": found.reason,
    }


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a reader: one line a cell."""
    lines = [
        "| case | mode | order | positions | calls | probes | equal (uniform) | equal (normal) | reason |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        texts = [row["case"], row["mode"], row["order"], row["positions"]]
        texts += [_number(row["calls"]), _number(row["probes"])]
        texts += [_share(row["equal_uniform"]), _share(row["equal_normal"]), row["reason"]]
        lines.append("| " + " | ".join(_cell(text) for text in texts) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return "" if _missing(value) else str(value).replace("|", "\\|").replace("\n", " ")


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> str:
    return "" if _missing(value) else str(int(value))


def _share(value: Any) -> str:
    # Never rounded up to all: one wrong output must show.
    return "" if _missing(value) else "100 %" if value == 1.0 else f"{min(100 * value, 99.9999):.4f} %"


def as_json(details: Mapping[str, Any]) -> str:
    """All results, for programs."""
    return json.dumps({"schema": 1, "cells": dict(details)}, indent=1) + "\n"
