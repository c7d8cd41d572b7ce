"""Everything of a report as files for a paper: figures as SVG and PDF, their data as CSV, tables as LaTeX.

    figures/NAME.svg .pdf .csv     one figure and the rows that it shows
    tables/NAME.tex .md .csv       one table; the CSV has the exact figures

Names are made of case ids, so the same results give the same names, and the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reports import export_tables, figures, sections, tables
from reports.anchors import anchor
from reports.cells import LOST, Line, Row, absent, grid, in_order, lines, records, worst_first
from reports.figures_base import document
from reports.numbers import figure
from reports.result import Result
from reports.store import Results, checked, write
from reports.switches import summary_table, switches
from reports.tables import Cell, Head, Table

FIGURES = ("svg", "pdf", "png")
TABLES = ("latex", "markdown")
MOST_RESULTS = 7
"""Distinct results in one figure of a case: more lines cannot be told apart."""

_ENDS = {"latex": "tex", "markdown": "md"}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """A figure's name, the rows that it shows, and what draws them."""

    name: str
    data: pd.DataFrame
    draw: Callable[[pd.DataFrame], Any]


def export(
    results: Results,
    folder: str | os.PathLike[str],
    figures: Sequence[str] = ("svg", "pdf"),
    tables: Sequence[str] = TABLES,
    progress: Progress = lambda name: None,
) -> list[Path]:
    """Write every figure in these formats with its data, and every table in these; return the paths.

    figures: of svg, pdf, png; tables: of latex, markdown; either may be empty.  The CSV files are written
    always.  progress is called with the name of each figure.  Raises ValueError for another format, and what
    `reports.store.checked` raises for results that break the schema.
    """
    for given, known, what in ((figures, FIGURES, "figure"), (tables, TABLES, "table")):
        for each in given:
            if each not in known:
                raise ValueError(
                    f"a {what} is written as {', '.join(known)}; got {each!r}; name one of these"
                )
    results = checked(results)
    target = Path(folder)
    written = []
    for name in ("figures", "tables"):
        (target / name).mkdir(parents=True, exist_ok=True)
    for one in exported_figures(results):
        home = target / "figures"
        if figures:
            drawing = one.draw(one.data).figure
            written += [write(home / f"{one.name}.{form}", document(drawing, form)) for form in figures]
        written.append(write(home / f"{one.name}.csv", _csv(one.data)))
        progress(one.name)
    for name, table in exported_tables(results):
        home = target / "tables"
        for form in tables:
            text = getattr(export_tables, form)(table)
            written.append(write(home / f"{name}.{_ENDS[form]}", text.encode()))
        written.append(write(home / f"{name}.csv", _csv(_exact(table))))
    return written


def exported_figures(results: Results) -> Iterator[Exported]:
    """Every figure of these results: of all cells, of each switch, of each case."""
    cells = grid(results)
    ran = {row["mode"] for row in cells if row["verdict"] not in LOST}
    scores = Result(results).to_frame()
    scored = scores[~scores["verdict"].isin(LOST)]
    if scored.empty:
        return
    yield Exported("heatmap", scores[scores["mode"].isin(ran)], figures.plot_heatmap)
    found = lines(row for row in cells if row["verdict"] not in LOST)
    distinct = _distinct(scored, found)
    if distinct["error_scaled_ulp_rms"].notna().any():
        yield Exported("errors", distinct, figures.plot_errors)
    sums = distinct[
        distinct["verdict"].isin(("exact", "rounding"))
        & distinct["terms"].notna()
        & ~distinct["family"].str.startswith("normalization")
    ]
    if sums["error_over_magnitude_max"].notna().any():
        yield Exported("growth", sums, figures.plot_growth)
    for switch in switches(results, cells):
        part = scored[scored["mode"].isin((switch.before, switch.after))]
        name = anchor("switch", f"{switch.before}--{switch.after}")
        yield Exported(name, part, _drawing(switch.before, switch.after))
    for case in in_order(results.cases):
        yield from _of_case(
            results, case["case"], [line for line in found if line.row["case"] == case["case"]]
        )


def _drawing(before: str, after: str) -> Callable[[pd.DataFrame], Any]:
    return lambda data: figures.plot_switch(data, before, after)


def _distinct(scores: pd.DataFrame, found: Sequence[Line]) -> pd.DataFrame:
    """A row for each distinct result: that of its first mode, with all its modes in a column `label`."""
    keys = ["case", "mode", "output"]
    first = pd.DataFrame(
        [(line.row["case"], line.modes[0], line.row["output"], line.label) for line in found],
        columns=[*keys, "label"],
    )
    return first.merge(scores, on=keys, how="left")


def _of_case(results: Results, case: str, found: Sequence[Line]) -> Iterator[Exported]:
    name = anchor("", case).lstrip("-")
    histogram = _select(results.histograms, case, found)
    expected = _select(results.expected, case, found)
    if len(histogram) and histogram["count"].sum() > 0:
        if len(expected):
            edges = ["label", "bin_left_ulp", "bin_right_ulp"]
            histogram = histogram.merge(expected[[*edges, "expected"]], on=edges, how="outer")
            histogram = histogram.fillna({"count": 0}).sort_values(edges, kind="stable")
        yield Exported(f"{name}-histogram", histogram, figures.plot_histogram)
    budgets = _select(results.budgets, case, found)
    if budgets["share"].notna().any():
        yield Exported(f"{name}-budget", budgets, figures.plot_budget)
    profiles = _select(results.profiles, case, found)
    for axis in ("channel", "condition"):
        part = profiles[profiles["axis"] == axis] if len(profiles) else profiles
        if len(part):
            yield Exported(f"{name}-{axis}", part, _profile(axis))
    maps = _select(results.maps, case, found)
    for number, (_, part) in enumerate(maps.groupby("label", sort=False), 1):
        if part["error_scaled_ulp_rms"].notna().any():
            yield Exported(f"{name}-map-{number}", part, figures.plot_map)


def _profile(axis: str) -> Callable[[pd.DataFrame], Any]:
    return lambda data: figures.plot_profile(data, axis=axis)


def _select(frame: pd.DataFrame, case: str, found: Sequence[Line]) -> pd.DataFrame:
    """The rows of the first distinct results of a case, each by the first of its modes that has any."""
    if frame.empty:
        return frame.assign(label="")
    of_case = frame[frame["case"] == case]
    parts = []
    for line in found:
        rows = of_case[of_case["output"] == line.row["output"]]
        have = set(rows["mode"])
        mode = next((mode for mode in line.modes if mode in have), None)
        if mode is not None:
            parts.append(rows[rows["mode"] == mode].assign(label=_name(line)))
    return pd.concat(parts[:MOST_RESULTS], ignore_index=True) if parts else of_case.iloc[:0].assign(label="")


def _name(line: Line) -> str:
    """The first mode of each framework and how many more gave the bits."""
    firsts = {mode.partition(".")[0]: mode for mode in reversed(line.modes)}
    more = len(line.modes) - len(firsts)
    words = " = ".join(sorted(firsts.values(), reverse=True)) + (f" (+{more})" if more else "")
    return tables.output_label(line) + words


def exported_tables(results: Results) -> list[tuple[str, Table]]:
    """Every table by its name: results worst first, causes, switches, bits, cases, modes."""
    cells = grid(results)
    gone = {mode for group in absent(results, cells) for mode in group.modes}
    found = worst_first(lines(row for row in cells if row["mode"] not in gone))
    titles = {case["case"]: case["case"] for case in in_order(results.cases)}
    causes = [(line, _causes(results, line)) for line in found if line.scored]
    every = [
        ("results", tables.findings(found, titles)),
        ("causes", tables.causes([(line, rows) for line, rows in causes if rows])),
        ("switches", summary_table(switches(results, cells))),
        ("bits", sections.agreement(found, titles)),
        ("cases", _case_table(results)),
        ("modes", sections.mode_table(results)),
    ]
    return [(name, table) for name, table in every if table.rows]


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
