"""`precision compare A B`: what changed between two results."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from precision.capture import write_atomically
from precision.errors import UserError

GOT_WORSE = 1
TABLE_WIDTH = 110

First = Annotated[Path, typer.Argument(help="a run folder, or its results: what was")]
Second = Annotated[Path, typer.Argument(help="a run folder, or its results: what is")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="write compare.html here, and the table as CSV, LaTeX, Markdown"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the comparison as JSON")]


def compare(a: First, b: Second, output: Output = None, json_: AsJson = False) -> int:
    """Compare results B with A: improved (+), worse (-), changed bits only (~), equal (=), new or gone (x).

    Worse: a worse verdict, more NaN or Inf, or a root mean square error of more than 1.1 times.  Status 1
    where a cell got worse.
    """
    from precision.compare import compare as compare_tables
    from reports.comparison import Comparison, changed_table, page, print_comparison
    from reports.export_tables import latex, markdown

    found = compare_tables(_results(a), _results(b))
    shown = Comparison(str(a), str(b), found.cells, found.provenance, found.not_run)
    if json_:
        print(json.dumps(_as_json(shown, found.worst_ratio), indent=1, allow_nan=False))
    else:
        console = Console()
        print_comparison(shown, console if console.is_terminal else Console(width=TABLE_WIDTH))
    if output is not None:
        if output.exists() and not output.is_dir():
            raise UserError(f"the output is a folder; {output} is a file; name another")
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(output / "compare.html", page(shown).encode())
        csv = found.cells.to_csv(index=False, lineterminator="\n")
        table = changed_table(shown)
        texts = {"compare.csv": csv, "compare.tex": latex(table), "compare.md": markdown(table)}
        for name, text in texts.items() if table.rows else [("compare.csv", csv)]:
            write_atomically(output / name, text.encode())
        for name in ("compare.html", *(texts if table.rows else ("compare.csv",))):
            print(output / name, file=sys.stderr if json_ else sys.stdout)
    return GOT_WORSE if found.worse else 0


def _results(folder: Path) -> Any:
    """The results in a folder, or in that of a run.  Raises `UserError` where there are none."""
    from reports import StoreError, load

    if not folder.is_dir():
        raise UserError(f"results are a folder; there is no folder {folder}; check the path")
    inner = folder / "results"
    if not inner.is_dir() and (folder / "captures").is_dir():
        raise UserError(
            f"results are compared, not captures; {folder} is not scored; run `precision score {folder}`"
        )
    try:
        return load(inner if inner.is_dir() else folder)
    except StoreError as error:
        raise UserError(str(error)) from None


def _as_json(shown: Any, worst: float | None) -> dict[str, Any]:
    rows = [{name: _plain(value) for name, value in row.items()} for row in shown.rows]
    names = ("what", "a", "b")
    return {
        "schema": 1,
        "a": shown.a,
        "b": shown.b,
        "counts": shown.counts,
        "not_run": shown.not_run,
        "worst_ratio_ulp_rms": _plain(worst),
        "provenance": [dict(zip(names, each, strict=True)) for each in shown.provenance],
        "cells": rows,
    }


def _plain(value: Any) -> Any:
    """A figure as JSON has it: missing as null, infinite as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "infinite"
    return value
