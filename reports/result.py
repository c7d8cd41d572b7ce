"""Results for a notebook: `Result.load("out/report")`, shown as a table, and as long-form frames to plot.

import reports
result = reports.Result.load("out/report")
result                                    # in Jupyter: the verdict, four numbers, the results worst first
reports.plot_errors(result.to_frame())    # `reports.figures`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from reports import numbers
from reports.cells import absent, grid, lines, worst_first
from reports.frames import results_of
from reports.headline import Headline, headline
from reports.invariance import load as load_invariance
from reports.schema import EVIDENCE, OPTIONAL, TABLES, VERDICTS
from reports.store import Results, StoreError, checked, load

MOST_ROWS = 40
"""Distinct results that a notebook shows; the frames have all."""

_HEADS = (
    "case",
    "modes with these bits",
    "verdict",
    "evidence",
    "median ulp",
    "max ulp",
    "rounded",
    "reason",
)


@dataclass(frozen=True, repr=False)
class Result:
    """A report's results with what a notebook wants of them; `results` are the tables themselves."""

    results: Results
    invariance: pd.DataFrame | None = None
    """The table of `reports.invariance`, where determinism was measured as well."""

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Result:
        """The results of a run folder (`precision report -o FOLDER`), or those in a results folder.

        Raises `StoreError`, a ValueError of one line, for a folder without results or of another schema.
        """
        given = Path(folder)
        inner = given / "results"
        if not given.is_dir():
            raise StoreError(f"results are a folder; there is no folder {given}; check the path")
        if not inner.is_dir() and (given / "captures").is_dir():
            raise StoreError(f"results are scored captures; {given} is not; run `precision score {given}`")
        home = inner if inner.is_dir() else given
        return cls(load(home), load_invariance(home))

    @classmethod
    def of(cls, results: Results) -> Result:
        """Results from frames of one's own.  Raises `SchemaError`, which names the missing column."""
        return cls(checked(results))

    @classmethod
    def from_frame(cls, scores: pd.DataFrame, title: str = "Results") -> Result:
        """Results from one frame of one's own: a row a case, mode and output.

        Needed are `case`, `mode` and `verdict`; any column that `to_frame()` gives may be there.  A figure
        that is not given is missing, and evidence that is not given is `none`.  Raises `SchemaError`, which
        names the missing or the unknown column, and the nearest that is known.
        """
        return cls(results_of(scores, title))

    def to_frame(self, table: str = "scores") -> pd.DataFrame:
        """A table in long form, a row a (case, mode, output) and more, with what its case and mode are.

        table: `scores`, `budgets`, `histograms`, `maps`, `profiles`, `orders`, `expected`, `cases`, `modes`
        or `studies`.  To those with a case are joined `title`, `family`, `op`, `terms` and `data` of it; to
        those with a mode `mode_title`, and `framework` and `device` where they lack them.  Units are in the
        columns' names.  Figures are float64 with NaN where there is none, counts int64 or, with gaps,
        float64, so that every plotting library takes them; verdicts and evidence are categories in their
        order.  The frame is a copy.  Raises ValueError for an unknown table.
        """
        known = [*TABLES, *OPTIONAL]
        if table not in known:
            raise ValueError(f"a table is one of {', '.join(known)}; got {table!r}; name one of these")
        frame = self.results.table(table).copy()
        if {"case", "mode"} <= set(frame.columns):
            about = self.results.cases[["case", "title", "family", "op", "terms", "data"]]
            modes = self.results.modes[["mode", "title", "framework", "device"]]
            modes = modes.rename(columns={"title": "mode_title"})
            new = ["mode", *(name for name in modes.columns[1:] if name not in frame.columns)]
            frame = frame.merge(about, on="case", how="left").merge(modes[new], on="mode", how="left")
        return _plain(frame)

    @property
    def headline(self) -> Headline:
        """The verdict in one sentence, and the four numbers."""
        return headline(grid(self.results))

    @property
    def fine(self) -> bool:
        """Whether rounding explains every score, and no cell failed."""
        return self.headline.fine

    def export(
        self,
        folder: str | os.PathLike[str],
        figures: tuple[str, ...] = ("svg", "pdf"),
        tables: tuple[str, ...] = ("latex", "markdown"),
        progress: Callable[[str], None] = lambda name: None,
        width: float = 6.9,
        jobs: int = 1,
    ) -> list[Path]:
        """Every figure and table as files: see `reports.export.export`."""
        from reports.export import export  # noqa: PLC0415 (draws: matplotlib is loaded late)

        return export(self.results, folder, figures, tables, progress, width, jobs, self.invariance)

    def __repr__(self) -> str:
        return f"<Result of {self.results.run.get('suite', 'a suite')}: {self.headline.sentence}>"

    def _repr_html_(self) -> str:
        """The verdict, the four numbers and the results, worst first; every text is escaped."""
        cells = grid(self.results)
        away = {mode for group in absent(self.results, cells) for mode in group.modes}
        found = worst_first(lines(row for row in cells if row["mode"] not in away))
        head = headline(cells)
        facts = "".join(
            f"<li><b>{escape(each.figure)}</b> {escape(each.label)}: {escape(each.detail)}</li>"
            for each in head.numbers
        )
        body = []
        for line in found[:MOST_ROWS]:
            row = line.row
            figures = [numbers.figure(row[f"error_ulp_{name}"]) for name in ("median", "max")]
            figures.append(numbers.share(row["share_correctly_rounded"]))
            verdict = f"{numbers.SIGNS.get(line.verdict, '?')} {line.verdict}"
            name = row["case"] if row["output"] in ("", "output") else f"{row['case']} [{row['output']}]"
            texts = (name, line.label, verdict, row["evidence"], *figures, row["reason"] or "")
            cells_of = "".join(f"<td>{escape(numbers.visible(str(text)))}</td>" for text in texts)
            body.append(f"<tr>{cells_of}</tr>")
        heads = "".join(f"<th>{escape(text)}</th>" for text in _HEADS)
        more = len(found) - len(body)
        rest = f"<p>and {numbers.times(more, 'result')} less telling</p>" if more else ""
        note = f"<p>Not run: {escape(', '.join(sorted(away)))}</p>" if away else ""
        return (
            f"<p><b>{escape(head.sentence)}</b></p><ul>{facts}</ul>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>{rest}{note}"
        )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns as NumPy has them; what has an order, as categories in it."""
    orders = {"verdict": VERDICTS, "evidence": EVIDENCE}
    found = {}
    for name in frame.columns:
        series = frame[name]
        if name in orders:
            series = series.astype(pd.CategoricalDtype(list(orders[name]), ordered=True))
        elif isinstance(series.dtype, (pd.Float64Dtype, pd.Int64Dtype)):
            whole = isinstance(series.dtype, pd.Int64Dtype) and not series.isna().any()
            series = series.astype("int64" if whole else "float64")
        found[name] = series
    return pd.DataFrame(found)
