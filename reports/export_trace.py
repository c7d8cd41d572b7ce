"""A trace as files for a paper: its figures with their data, its tables as LaTeX and Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reports.cells import records
from reports.export import TABLES, Progress, write_out
from reports.export_figures import Exported
from reports.figures_base import PAGE
from reports.tables import Table
from reports.trace_page import DECISIONS, GRADIENTS, LAYERS, SIDES, TracePage, named, tables_of

_LAYERS = (
    "Relative error of {side}, {name}, layer by layer: own, what the layer makes of the exact input; "
    "inherited, what comes with it; total, both. The dashed line is 2⁻²⁴, one rounding; triangles are layers "
    "that are more than rounding."
)
_GRADIENTS = (
    "Relative error of the gradients of {side}, {name}, from the outputs back to the inputs: own, what the "
    "layer's backward pass makes of the exact numbers; inherited, what comes with them; total, both. The "
    "dashed line is 2⁻²⁴, one rounding."
)


def export_trace(
    found: TracePage,
    folder: str | os.PathLike[str],
    figures: Sequence[str] = ("svg", "pdf"),
    tables: Sequence[str] = TABLES,
    progress: Progress = lambda name: None,
    width: float = PAGE,
) -> list[Path]:
    """Write the figures of a trace and its tables as `reports.export.export` writes those of a report.

    Raises ValueError for another format or width.
    """
    every = list(trace_figures(found))
    listed: list[tuple[str, Table]] = [(name, table) for name, table in tables_of(found) if table.rows]
    return write_out(folder, every, listed, figures, tables, progress, width)


def trace_figures(found: TracePage) -> Iterator[Exported]:
    """Errors down the layers of each model, and of the gradients back up, where they were measured."""
    names = {"a": found.a, "b": found.b}
    for word, frame, caption in (
        ("layers", found.layers, _LAYERS),
        ("gradients", found.gradients, _GRADIENTS),
    ):
        for side in SIDES:
            columns = [f"{name}_relative_{side}" for name in ("own", "inherited", "total")]
            if not len(frame) or not frame[columns].notna().any(axis=None):
                continue
            rows = frame.assign(layer_a=[named(row) for row in records(frame)])
            text = caption.format(side=side.upper(), name=names[side])
            yield Exported(f"{word}-{side}", text, rows, "plot_layers", {"side": side})


def page_of(trace: Mapping[str, Any]) -> TracePage:
    """The page of a `trace.json`.  Raises `SchemaError` for one that lacks a column."""

    def frame(name: str, columns: Sequence[str]) -> pd.DataFrame:
        rows = list(trace.get(name, ()))
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))

    files = trace.get("files", {})
    return TracePage(
        str(files.get("a", "A")),
        str(files.get("b", "B")),
        frame("layers", LAYERS),
        frame("decisions", DECISIONS),
        list(trace.get("notes", ())),
        dict(trace.get("unmatched", {})),
        frame("gradients", GRADIENTS),
    )
