"""Everything of a report as files for a paper: figures as SVG and PDF, their data as CSV, tables as LaTeX.

    figures/NAME.svg .pdf .csv     one figure and the rows that it shows
    tables/NAME.tex .md .csv       one table; the CSV has the exact figures
    index.md                       what each of them shows: captions to copy.  Written last

Names are made of case ids, so the same results give the same names, and the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from reports import export_tables, invariance_page, sections, tables
from reports.agreement import agreement
from reports.cells import Line, Row, absent, grid, in_order, lines, records, worst_first
from reports.export_figures import Exported, exported_figures
from reports.export_tables import markdown_text
from reports.figures_base import PAGE, document, settle
from reports.invariance import rows_of, summaries
from reports.numbers import figure
from reports.store import Results, checked, write
from reports.switches import summary_table, switches
from reports.tables import Cell, Head, Table

FIGURES = ("svg", "pdf", "png")
TABLES = ("latex", "markdown")
INDEX = "index.md"

_MANY = 24
"""Fewer figures than these are drawn before another process is there."""

_ENDS = {"latex": "tex", "markdown": "md"}

Progress = Callable[[str], None]

__all__ = ["Exported", "export", "exported_figures", "exported_tables"]


def export(
    results: Results,
    folder: str | os.PathLike[str],
    figures: Sequence[str] = ("svg", "pdf"),
    tables: Sequence[str] = TABLES,
    progress: Progress = lambda name: None,
    width: float = PAGE,
    jobs: int = 1,
    invariance: pd.DataFrame | None = None,
) -> list[Path]:
    """Write every figure in these formats with its data, and every table in these; return the paths.

    figures: of svg, pdf, png; tables: of latex, markdown; either may be empty.  The CSV files and the index
    are written always.  width: the most inches of a figure, 6.9 for a page and 3.3 for a column.  progress is
    called with the name of each figure.  jobs: processes that draw; more than one only where the program can
    be started anew, which a script without `if __name__ == "__main__"` cannot.  invariance: the
    table of `reports.invariance`, where determinism was measured as well.  Every file is whole or not
    there, and the index is there when all are.  Raises ValueError for another format or width, and what
    `reports.store.checked` raises for results that break the schema.
    """
    _checked_forms(figures, tables, width)
    results = checked(results)
    every = list(exported_figures(results, invariance))
    listed = exported_tables(results, invariance)
    return write_out(folder, every, listed, figures, tables, progress, width, jobs)


def write_out(
    folder: str | os.PathLike[str],
    every: Sequence[Exported],
    listed: Sequence[tuple[str, Table]],
    figures: Sequence[str] = ("svg", "pdf"),
    tables: Sequence[str] = TABLES,
    progress: Progress = lambda name: None,
    width: float = PAGE,
    jobs: int = 1,
) -> list[Path]:
    """Write these figures and tables as `export` does; return the paths.  Raises ValueError as it does."""
    _checked_forms(figures, tables, width)
    target = Path(folder)
    for name in ("figures", "tables"):
        (target / name).mkdir(parents=True, exist_ok=True)
    (target / INDEX).unlink(missing_ok=True)  # no half-written folder may look complete
    written, index = [], ["# Figures", ""]
    for one, documents in _drawn(every, figures, width, jobs):
        home = target / "figures"
        files = zip(figures, documents, strict=True)
        written += [write(home / f"{one.name}.{form}", content) for form, content in files]
        written.append(write(home / f"{one.name}.csv", _csv(one.data)))
        index.append(_entry("figures", one.name, one.caption))
        progress(one.name)
    index += ["", "# Tables", ""]
    for name, table in listed:
        home = target / "tables"
        for form in tables:
            text = getattr(export_tables, form)(table)
            written.append(write(home / f"{name}.{_ENDS[form]}", text.encode()))
        written.append(write(home / f"{name}.csv", _csv(_exact(table))))
        index.append(_entry("tables", name, f"{table.caption}. {table.note}"))
    return [*written, write(target / INDEX, "\n".join([*index, ""]).encode())]


def _checked_forms(figures: Sequence[str], tables: Sequence[str], width: float) -> None:
    for given, known, what in ((figures, FIGURES, "figure"), (tables, TABLES, "table")):
        for each in given:
            if each not in known:
                raise ValueError(
                    f"a {what} is written as {', '.join(known)}; got {each!r}; name one of these"
                )
    if not 1.0 <= width <= 40.0:
        raise ValueError(
            f"a figure is 1 to 40 inches wide; got {width!r}; give 6.9 for a page, 3.3 for a column"
        )


def _drawn(
    every: Sequence[Exported], forms: Sequence[str], width: float, jobs: int
) -> Iterator[tuple[Exported, list[bytes]]]:
    """Each figure with its files, in order; drawn by several processes where there are many."""
    draw = partial(_documents, forms=tuple(forms), width=width)
    if jobs <= 1 or len(every) < _MANY or not forms:
        yield from ((one, draw(one)) for one in every)
        return
    # Started afresh: a copy of a process with threads may hang.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    try:
        yield from zip(every, pool.map(draw, every, chunksize=4), strict=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C is the business of the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _documents(one: Exported, forms: Sequence[str], width: float) -> list[bytes]:
    if not forms:
        return []
    drawing = one.draw(width)
    settle(drawing)
    return [document(drawing, form) for form in forms]


def _entry(home: str, name: str, caption: str) -> str:
    return f"- [{markdown_text(name)}]({home}/{name}.csv): {markdown_text(caption)}"


def exported_tables(results: Results, invariance: pd.DataFrame | None = None) -> list[tuple[str, Table]]:
    """Every table by its name: results worst first, causes, switches, bits, cases, modes, determinism."""
    cells = grid(results)
    gone = {mode for group in absent(results, cells) for mode in group.modes}
    found = worst_first(lines(row for row in cells if row["mode"] not in gone))
    titles = {case["case"]: case["case"] for case in in_order(results.cases)}
    causes = [(line, _causes(results, line)) for line in found if line.scored]
    every = [
        ("results", tables.findings(found, titles)),
        ("causes", _with_case(causes)),
        ("switches", summary_table(switches(results, cells))),
        ("bits", agreement(found, titles)),
        ("cases", _case_table(results)),
        ("modes", sections.mode_table(results)),
    ]
    if invariance is not None:
        rows = rows_of(invariance)
        every += [
            ("invariance", invariance_page.summary_table(summaries(rows))),
            ("settings", invariance_page.varying_table(rows)),
        ]
    return [(name, table) for name, table in every if table.rows]


def _with_case(found: Sequence[tuple[Line, Sequence[Row]]]) -> Table:
    """The budgets of several cases, a row a cause, with a column that names the case."""
    have = [(line, rows) for line, rows in found if rows]
    table = tables.causes(have)
    cases = [line.row["case"] for line, rows in have for _ in rows]
    rows = tuple((Cell(case), *row) for case, row in zip(cases, table.rows, strict=True))
    return Table(table.caption, (Head("case"), *table.heads), rows, table.note)


def _causes(results: Results, line: Line) -> list[Row]:
    rows = results.budgets
    here = (rows["case"] == line.row["case"]) & (rows["output"] == line.row["output"])
    return records(rows[here & (rows["mode"] == line.modes[0])])


def _case_table(results: Results) -> Table:
    heads = (
        Head("case"), Head("what it is"), Head("op"), Head("data"), Head("terms of a sum", True),
        Head("elements", True), Head("median condition", True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(case["case"]), Cell(case["title"]), Cell(case["op"]), Cell(case["data"]),
            *(Cell("–" if case[name] is None else f"{case[name]:,}", str(case[name]), "num")
              for name in ("terms", "elements")),
            Cell(figure(case["condition_median"]), repr(case["condition_median"]), "num"),
        )
        for case in in_order(results.cases)
    )  # fmt: skip
    return Table("Cases", heads, rows)


def _exact(table: Table) -> pd.DataFrame:
    """The table's exact figures where a cell has one, else its text."""
    shown = export_tables.texts(table)
    rows = [
        [cell.value or text for cell, text in zip(row, texts, strict=True)]
        for row, texts in zip(table.rows, shown, strict=True)
    ]
    return pd.DataFrame(rows, columns=[head.text for head in table.heads], dtype=object)


def _csv(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()
