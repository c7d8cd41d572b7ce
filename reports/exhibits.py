"""Plots with all that belongs to them: words for who cannot see them, a caption, the data in a table."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import numbers, plots
from reports.anchors import anchor
from reports.cells import Line, Row, per_cell
from reports.store import Results
from reports.tables import Cell, Head, Table, output_label

MOST_ROWS = 14
"""Rows of a histogram; the table beside it has the rest."""

MOST_MAPS = 4


@dataclass(frozen=True)
class Exhibit:
    """An image as a data address, its width in CSS pixels, the words for it and the data table."""

    image: str
    width: int
    alt: str
    caption: str
    table: Table


def _exhibit(document: bytes, alt: str, caption: str, table: Table) -> Exhibit:
    found = re.match(rb'<svg[^>]*?width="([\d.]+)pt"', document)
    points = float(found[1]) if found else 600.0
    image = f"data:image/svg+xml;base64,{base64.b64encode(document).decode('ascii')}"
    return Exhibit(image, round(points * 4 / 3), alt, caption, table)


def heat_map(rows: Sequence[Row], titles: Mapping[str, str]) -> Exhibit | None:
    """Median error of every cell; of several outputs the worst.  None if there is no cell."""
    cells = per_cell(rows)
    if not cells:
        return None
    shown = [
        {
            "case": titles[row["case"]],
            "mode": row["mode"],
            "framework": row["framework"],
            "verdict": row["verdict"],
            "error_ulp_median": row["error_ulp_median"],
        }
        for row in cells
    ]
    known = [row for row in cells if row["error_ulp_median"] is not None]
    alt = f"Heat map of the median error in ulp of {numbers.times(len(cells), 'cell')}."
    if known:
        worst = max(known, key=lambda row: row["error_ulp_median"])
        alt += (
            f" Largest: {numbers.figure(worst['error_ulp_median'])} ulp, {worst['case']} in {worst['mode']}."
        )
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in numbers.SIGNS.items())
    caption = (
        "Typical (median) error of each cell in ulp of the truth, darker is worse (log2 colours). "
        f"Signs: {signs}."
    )
    return _exhibit(plots.svg(plots.heat_map(pd.DataFrame(shown))), alt, caption, _heat_table(cells, titles))


def _heat_table(cells: Sequence[Row], titles: Mapping[str, str]) -> Table:
    modes = list(dict.fromkeys(row["mode"] for row in cells))
    at = {(row["case"], row["mode"]): row for row in cells}
    rows = tuple(
        (Cell(titles[case], link=anchor("case", case)), *(_heat_cell(at[case, mode]) for mode in modes))
        for case in dict.fromkeys(row["case"] for row in cells)
    )
    return Table("Median error in ulp", (Head("case"), *(Head(mode, True) for mode in modes)), rows)


def _heat_cell(row: Row) -> Cell:
    sign = numbers.SIGNS.get(row["verdict"], "?")
    value = row["error_ulp_median"]
    if value is None:
        return Cell(f"{sign} {row['verdict']}", style="num")
    return Cell(f"{numbers.figure(value)} {sign}", repr(value), "num")


def spread(found: Sequence[Line], frameworks: Mapping[str, str], titles: Mapping[str, str]) -> Exhibit | None:
    """rms error of every distinct result.  None if none is measured."""
    known = [line for line in found if line.row["error_scaled_ulp_rms"] is not None]
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
    return _exhibit(plots.svg(plots.spread(pd.DataFrame(shown))), alt, caption, table)


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
    """The histograms and maps of one case, looked up by mode and output."""

    def __init__(self, results: Results, case: str) -> None:
        self._histograms = _split(results.histograms, case, "bin_left_ulp", "bin_right_ulp")
        self._maps = _split(results.maps, case, "error_scaled_ulp_rms")

    def histogram(self, line: Line) -> pd.DataFrame | None:
        """Bins of the line's first mode; None if there are none."""
        return self._histograms.get((line.modes[0], line.row["output"]))

    def map(self, line: Line) -> pd.DataFrame | None:
        """Blocks of the line's first mode; None if there are none."""
        return self._maps.get((line.modes[0], line.row["output"]))


def _split(frame: pd.DataFrame, case: str, *needed: str) -> dict[Any, pd.DataFrame]:
    part = frame[frame["case"] == case].dropna(subset=list(needed))
    return dict(iter(part.groupby(["mode", "output"], sort=False)))


def histogram(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """Signed errors of one case's distinct results.  None if there is no histogram."""
    have = [(line, bins) for line in found if (bins := data.histogram(line)) is not None]
    have = [(line, bins) for line, bins in have if bins["count"].sum()]
    if not have:
        return None
    names = _names([line for line, _ in have], frameworks)
    parts = [
        bins[["bin_left_ulp", "bin_right_ulp", "count"]].assign(
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
    if len(have) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(have)} results; the table has all."
    document = plots.svg(plots.histogram(pd.concat(parts[:MOST_ROWS], ignore_index=True)))
    return _exhibit(document, alt, caption, _bins(names, parts))


def _names(found: Sequence[Line], frameworks: Mapping[str, str]) -> list[str]:
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


def error_map(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """rms error over the output plane of up to four distinct results.  None if there is no map."""
    have = [(line, blocks) for line in found if (blocks := data.map(line)) is not None]
    if not have:
        return None
    names = _names([line for line, _ in have], frameworks)
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
        "Darker is worse."
    )
    if len(have) > MOST_MAPS:
        caption += f" The first {MOST_MAPS} of {len(have)} results."
    document = plots.svg(plots.error_map(pd.concat(parts, ignore_index=True)))
    return _exhibit(document, alt, caption, _blocks(names, parts))


def _blocks(names: Sequence[str], parts: Sequence[pd.DataFrame]) -> Table:
    at = [
        {
            (int(r), int(c)): v
            for r, c, v in zip(p["row"], p["column"], p["error_scaled_ulp_rms"], strict=True)
        }
        for p in parts
    ]
    places = sorted({place for blocks in at for place in blocks})
    rows = tuple(
        (
            Cell(f"{row}, {column}"),
            *(Cell(numbers.figure(_real(blocks.get((row, column)))), style="num") for blocks in at),
        )
        for row, column in places
    )
    heads = (Head("block row, column"), *(Head(name, True) for name in names[: len(parts)]))
    return Table("rms error of each block, in ulp of Σ|terms|", heads, rows)


def _real(value: Any) -> float | None:
    return None if value is None or value is pd.NA else float(value)
