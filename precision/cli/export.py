"""`precision export RUN -o DIR`: every figure and table of a report, or of a trace, as files for a paper."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from precision.cases import match_names
from precision.errors import UserError
from precision.progress import progress

Folder = Annotated[Path, typer.Argument(help="a run folder, its results, or the folder of a trace")]
Output = Annotated[Path, typer.Option("-o", "--output", help="figures/, tables/ and index.md go here")]
Figures = Annotated[str, typer.Option(help="comma-separated, of svg, pdf, png; empty for none")]
Tables = Annotated[str, typer.Option(help="comma-separated, of latex, markdown; empty for none")]
Width = Annotated[float, typer.Option(help="most inches of a figure: 6.9 for a page, 3.3 for a column")]
Jobs = Annotated[int, typer.Option(min=0, help="processes that draw; 0: one for each processor")]
Cases = Annotated[
    str | None, typer.Option("--cases", help="comma-separated globs of case ids; all without it")
]


def export(
    folder: Folder,
    output: Output = Path("out/export"),
    figures: Figures = "svg,pdf",
    tables: Tables = "latex,markdown",
    width: Width = 6.9,
    jobs: Jobs = 0,
    cases: Cases = None,
) -> int:
    """Write every figure (SVG, PDF) with its data (CSV), and every table (LaTeX, Markdown, CSV)."""
    from reports import StoreError
    from reports.result import Result

    if output.exists() and not output.is_dir():
        raise UserError(f"the output is a folder; {output} is a file; name another")
    if (folder / "trace.json").is_file():
        if cases is not None:
            raise UserError(f"cases are those of a run; {folder} holds a trace; leave --cases out")
        return _trace(folder / "trace.json", output, _words(figures), _words(tables), width)
    try:
        found = Result.load(folder)
    except StoreError as error:
        raise UserError(str(error)) from None
    if cases is not None:
        kept = _only(found.results, cases)
        asked = found.invariance
        found = Result(kept, None if asked is None else asked[asked["case"].isin(kept.cases["case"])])
    try:
        with progress("export", _count(found)) as advance:
            paths = found.export(
                output, _words(figures), _words(tables), advance, width, jobs or _processors()
            )
    except ValueError as error:  # a format that there is not, or a width
        raise UserError(str(error)) from None
    return _said(paths, output)


def _trace(file: Path, output: Path, figures: tuple[str, ...], tables: tuple[str, ...], width: float) -> int:
    from reports.export_trace import export_trace, page_of, trace_figures
    from reports.schema import SchemaError

    try:
        found = page_of(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, AttributeError, TypeError, SchemaError) as error:
        raise UserError(
            f"a trace is what `precision trace -o` writes; {file}: {error}; trace again"
        ) from None
    try:
        with progress("export", sum(1 for _ in trace_figures(found))) as advance:
            paths = export_trace(found, output, figures, tables, advance, width)
    except ValueError as error:  # a format that there is not, or a width
        raise UserError(str(error)) from None
    return _said(paths, output)


def _said(paths: list[Path], output: Path) -> int:
    print(f"{len(paths)} files in {output}; {output / 'index.md'} says what each shows", file=sys.stderr)
    for name in ("figures", "tables"):
        print(output / name)
    return 0


def _processors() -> int:
    return min(8, len(os.sched_getaffinity(0)))


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _only(results: Any, patterns: str) -> Any:
    """The results of the cases that match; `UserError` for a pattern that matches none."""
    every = [str(case) for case in results.cases["case"]]
    chosen = match_names(every, patterns, "case", lambda case: case)
    tables = {
        field.name: getattr(results, field.name)
        for field in dataclasses.fields(results)
        if field.name != "run"
    }
    kept = {
        name: frame[frame["case"].isin(chosen)].reset_index(drop=True) if "case" in frame.columns else frame
        for name, frame in tables.items()
    }
    return dataclasses.replace(results, **kept)


def _count(found: Any) -> int:
    from reports.export import exported_figures

    return sum(1 for _ in exported_figures(found.results, found.invariance))
