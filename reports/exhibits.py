"""Plots with all that belongs to them: words for who cannot see them, a caption, the data in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import budget_plot, numbers, plots
from reports.anchors import anchor
from reports.cells import Line, Row, records
from reports.inline import Inlined, inlined
from reports.schema import CAUSES
from reports.store import Results
from reports.tables import Cell, Head, Table, causes, output_label

MOST_ROWS = 14
"""Rows of a histogram; the table beside it has the rest."""

MOST_MAPS = 4
MOST_SPREAD = 60
_SIDE = 6
_BINS = ["bin_left_ulp", "bin_right_ulp", "count"]


@dataclass(frozen=True)
class Exhibit:
    """A drawing, the words for it, what stands below it, and the data table."""

    drawing: Inlined
    alt: str
    caption: str
    table: Table


def exhibit(document: bytes, alt: str, caption: str, table: Table) -> Exhibit:
    """An SVG document as an exhibit."""
    return Exhibit(inlined(document), alt, caption, table)


def spread(found: Sequence[Line], frameworks: Mapping[str, str], titles: Mapping[str, str]) -> Exhibit | None:
    """rms error of every distinct result of the first `MOST_SPREAD` cases.  None if none is measured."""
    known = [line for line in found if line.row["error_scaled_ulp_rms"] is not None]
    cases = list(dict.fromkeys(line.row["case"] for line in known))
    first = set(cases[:MOST_SPREAD])
    known = [line for line in known if line.row["case"] in first]
    if not known:
        return None
    shown = [
        {
            "case": titles[line.row["case"]],
            "framework": framework(line, frameworks),
            "error_scaled_ulp_rms": line.row["error_scaled_ulp_rms"],
        }
        for line in known
    ]
    values = [line.row["error_scaled_ulp_rms"] for line in known]
    below = sum(value <= 0.5 for value in values)
    alt = (
        f"Root mean square error of {numbers.times(len(known), 'distinct result')}, from "
        f"{numbers.figure(min(values))} to {numbers.figure(max(values))} ulp of Σ|terms|; "
        f"{below} at 0.5 ulp or less."
    )
    caption = (
        "One mark a distinct result; further left is better. The unit is one ulp of Σ|terms|, the sum's own "
        "scale: what cancels in the data does not count against the arithmetic. The line at 0.5 is one "
        "rounding at that scale. Errors of 0 are drawn at the left end."
    )
    if len(cases) > len(first):
        caption += f" {len(first)} of {len(cases):,} cases."
    heads = (Head("case"), Head("modes with these bits"), Head("rms, ulp of Σ|terms|", True))
    rows = tuple(
        (
            Cell(titles[line.row["case"]], link=anchor("case", line.row["case"])),
            Cell(output_label(line) + line.label, style="modes"),
            Cell(
                numbers.figure(line.row["error_scaled_ulp_rms"]),
                repr(line.row["error_scaled_ulp_rms"]),
                "num",
            ),
        )
        for line in known
    )
    table = Table("rms error of each distinct result", heads, rows)
    return exhibit(plots.svg(plots.spread(pd.DataFrame(shown))), alt, caption, table)


def framework(line: Line, frameworks: Mapping[str, str]) -> str:
    """The framework of a line's modes; `both` where more than one gave the bits."""
    names = {frameworks[mode] for mode in line.modes}
    return names.pop() if len(names) == 1 else "both"


def brief(line: Line, frameworks: Mapping[str, str]) -> str:
    """A line's name for a narrow place: the first mode of each framework and how many more."""
    firsts: dict[str, str] = {}
    for mode in line.modes:
        firsts.setdefault(frameworks[mode], mode)
    more = len(line.modes) - len(firsts)
    return output_label(line) + " = ".join(firsts.values()) + (f" (+{more})" if more else "")


class CaseData:
    """The histograms, maps and budgets of one case, looked up by mode and output."""

    def __init__(self, tables: Mapping[str, Mapping[str, pd.DataFrame]], case: str) -> None:
        """tables: of each name the frames by case, see `by_case`."""
        edges = ("bin_left_ulp", "bin_right_ulp")
        self._histograms = _split(tables, "histograms", case, *edges)
        self._maps = _split(tables, "maps", case, "error_scaled_ulp_rms")
        self._budgets = _split(tables, "budgets", case)
        self._expected = _split(tables, "expected", case, *edges, "expected")
        self._profiles = _split(tables, "profiles", case)
        self._orders = _split(tables, "orders", case)

    def histogram(self, line: Line) -> pd.DataFrame | None:
        """Bins of the first of the line's modes that has some, with what is expected in them, where that is
        known; None if there are none."""
        bins, likely = self._first(self._histograms, line), self._first(self._expected, line)
        if bins is None or likely is None:
            return bins
        edges = ["bin_left_ulp", "bin_right_ulp"]
        both = bins.merge(likely[[*edges, "expected"]], how="outer", on=edges).fillna({"count": 0})
        return both.fillna({"expected": 0.0}).sort_values("bin_left_ulp", kind="stable")

    def map(self, line: Line) -> pd.DataFrame | None:
        """Blocks of the plane; None if there are none."""
        return self._first(self._maps, line)

    def profile(self, line: Line, axis: str) -> pd.DataFrame | None:
        """Blocks along an axis, in its order; None if there are none."""
        found = self._first(self._profiles, line)
        found = None if found is None else found[found["axis"] == axis]
        return None if found is None or found.empty else found.sort_values("low", kind="stable")

    def orders(self, line: Line) -> list[Row]:
        """The orders in which the line's outputs are added."""
        found = self._first(self._orders, line)
        return [] if found is None else records(found)

    @staticmethod
    def _first(frames: Mapping[Any, pd.DataFrame], line: Line) -> pd.DataFrame | None:
        """Of modes that gave the same bits any one may hold the figures."""
        every = (frames.get((mode, line.row["output"])) for mode in line.modes)
        return next((frame for frame in every if frame is not None), None)

    def causes(self, line: Line, mode: str | None = None) -> list[Row]:
        """The rows of the budget of one of the line's modes, the first without a name."""
        found = self._budgets.get((mode or line.modes[0], line.row["output"]))
        rows = [] if found is None else records(found)
        return sorted(rows, key=lambda row: (CAUSES.index(row["cause"]), row["parameter"] or ""))


def by_case(results: Results) -> dict[str, dict[str, pd.DataFrame]]:
    """The tables that `CaseData` looks into, each split by case once."""
    names = ("histograms", "maps", "budgets", "expected", "profiles", "orders")
    frames = {name: results.table(name) for name in names}
    return {
        name: {str(case): part for case, part in frame.groupby("case", sort=False)} if len(frame) else {}
        for name, frame in frames.items()
    }


def _split(
    tables: Mapping[str, Mapping[str, pd.DataFrame]], name: str, case: str, *needed: str
) -> dict[Any, pd.DataFrame]:
    part = tables[name].get(case)
    if part is None:
        return {}
    part = part.dropna(subset=list(needed)) if needed else part
    return dict(iter(part.groupby(["mode", "output"], sort=False)))


def histogram(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """Signed errors of one case's distinct results.  None if there is no histogram."""
    have = [(line, bins) for line in found if (bins := data.histogram(line)) is not None]
    have = [(line, bins) for line, bins in have if bins["count"].sum()]
    if not have:
        return None
    names = names_of([line for line, _ in have], frameworks)
    parts = [
        bins[[*_BINS, *(["expected"] if "expected" in bins else [])]].assign(
            label=name, framework=framework(line, frameworks), note=_note(line)
        )
        for name, (line, bins) in zip(names, have, strict=True)
    ]
    alt = "Histograms of signed error in ulp. " + "; ".join(
        f"{name}: {_note(line)}" for name, (line, _) in zip(names, have, strict=True)
    )
    caption = (
        "Signed error of every element; dashed lines at ±0.5 ulp. Narrow and centred on 0 is better. "
        "Heights are elements per unit of this axis, each row scaled to its own tallest bin."
    )
    if any("expected" in part for part in parts[:MOST_ROWS]):
        caption += (
            " The thin line is what the known order of the sum lets expect: normal errors of the variance "
            "that its own partial sums make."
        )
    if len(have) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(have)} results; the table has all."
    document = plots.svg(plots.histogram(pd.concat(parts[:MOST_ROWS], ignore_index=True)))
    return exhibit(document, alt, caption, _bins(names, parts))


def names_of(found: Sequence[Line], frameworks: Mapping[str, str]) -> list[str]:
    """Brief names, made whole where two lines would share one."""
    names = [brief(line, frameworks) for line in found]
    return [
        name if names.count(name) == 1 else output_label(line) + line.label
        for name, line in zip(names, found, strict=True)
    ]


def _note(line: Line) -> str:
    median, rounded = line.row["error_ulp_median"], line.row["share_correctly_rounded"]
    return f"median {numbers.figure(median)}, rounded {numbers.share(rounded)}"


def _bins(names: Sequence[str], parts: Sequence[pd.DataFrame]) -> Table:
    counts: dict[tuple[float, float], dict[str, int]] = {}
    for name, part in zip(names, parts, strict=True):
        used = part[part["count"] > 0]
        edges = zip(used["bin_left_ulp"], used["bin_right_ulp"], strict=True)
        for (left, right), count in zip(edges, used["count"], strict=True):
            counts.setdefault((float(left), float(right)), {})[name] = int(count)
    rows = tuple(
        (
            Cell(f"{numbers.signed(left)} … {numbers.signed(right)}", style="num"),
            *(Cell(f"{counts[left, right].get(name, 0):,}", style="num") for name in names),
        )
        for left, right in sorted(counts)
    )
    heads = (Head("signed error, ulp", True), *(Head(name, True) for name in names))
    return Table("Elements in each bin of signed error", heads, rows)


def budget(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """What each cause has of the error of one case's distinct results.  None if there is no budget."""
    have = [(line, rows) for line in found if (rows := data.causes(line))]
    if not have:
        return None
    names = names_of([line for line, _ in have], frameworks)
    shown = [
        {"label": name, "cause": row["cause"], "evidence": row["evidence"], "share": row["share"]}
        | {"note": f"rms {numbers.figure(line.row['error_ulp_rms'])} ulp"}
        for name, (line, rows) in list(zip(names, have, strict=True))[:MOST_ROWS]
        for row in rows
    ]
    alt = "Shares of the error's energy by cause. " + "; ".join(
        f"{name}: "
        + ", ".join(f"{row['cause']} {numbers.share(row['share'])} ({row['evidence']})" for row in rows)
        for name, (_, rows) in zip(names, have, strict=True)
    )
    caption = (
        "What each cause has of the error: the parts add up to it element by element, their shares of its "
        "energy to 1 (a part that opposes the others is below 0). Letters and hatching say how far each is "
        "supported: P proved, B bounded, C consistent, N none."
    )
    if len(have) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(have)} results; the table has all."
    return exhibit(plots.svg(budget_plot.budget(pd.DataFrame(shown))), alt, caption, causes(have))


def error_map(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """rms error over the output plane of up to four distinct results.  None if there is no map."""
    have = [(line, blocks) for line in found if (blocks := data.map(line)) is not None]
    if not have:
        return None
    names = names_of([line for line, _ in have], frameworks)
    parts = [
        blocks[["row", "column", "error_scaled_ulp_rms"]].assign(label=name)
        for name, (_, blocks) in zip(names, have, strict=True)
    ][:MOST_MAPS]
    alt = "Maps of the rms error over the output plane. " + "; ".join(
        f"{name}: {numbers.figure(float(part['error_scaled_ulp_rms'].min()))} to "
        f"{numbers.figure(float(part['error_scaled_ulp_rms'].max()))} ulp of Σ|terms|"
        for name, part in zip(names, parts, strict=False)
    )
    caption = (
        "rms error of blocks of the output plane in ulp of Σ|terms|, over samples and channels. "
        "A stronger colour, farther from that of the page, is worse."
    )
    if len(have) > MOST_MAPS:
        caption += f" The first {MOST_MAPS} of {len(have)} results."
    document = plots.svg(plots.error_map(pd.concat(parts, ignore_index=True)))
    return exhibit(document, alt, caption, _blocks(names, parts))


def _blocks(names: Sequence[str], parts: Sequence[pd.DataFrame]) -> Table:
    """The maps' data in at most 6 by 6 larger blocks: a page holds no table of every block."""
    tall = max(int(part["row"].max()) for part in parts) + 1
    wide = max(int(part["column"].max()) for part in parts) + 1
    pooled: list[dict[tuple[int, int], list[float]]] = []
    for part in parts:
        groups: dict[tuple[int, int], list[float]] = {}
        every = zip(part["row"], part["column"], part["error_scaled_ulp_rms"], strict=True)
        for row, column, value in every:
            place = int(row) * min(tall, _SIDE) // tall, int(column) * min(wide, _SIDE) // wide
            groups.setdefault(place, []).append(float(value) ** 2)
        pooled.append(groups)
    places = sorted({place for groups in pooled for place in groups})
    rows = tuple(
        (
            Cell(f"{row}, {column}"),
            *(Cell(numbers.figure(_pooled(groups.get((row, column)))), style="num") for groups in pooled),
        )
        for row, column in places
    )
    heads = (Head("row, column"), *(Head(name, True) for name in names[: len(parts)]))
    caption = f"rms error in ulp of Σ|terms|, the plane in at most {_SIDE} by {_SIDE} parts"
    return Table(caption, heads, rows)


def _pooled(squares: Sequence[float] | None) -> float | None:
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else None
