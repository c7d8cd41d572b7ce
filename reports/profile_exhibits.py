"""Errors along channels, conditions and terms: the plots with their words, captions and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from reports import numbers, plots, profile_plot
from reports.anchors import anchor
from reports.cells import Line, Row
from reports.exhibits import CaseData, Exhibit, exhibit, framework, names_of
from reports.tables import Cell, Head, Table, output_label

MOST_LINES = 6
"""Results in one picture; the table has them all."""

MOST_MARKS = 400
"""Results in the picture of terms: those farthest above √n."""

MOST_BLOCKS = 16
"""Rows of the table along one axis: neighbouring blocks of channels are taken together."""

U = 2.0**-24


def profile(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> Exhibit | None:
    """rms error along channels and conditions of one case's distinct results.  None if none has them."""
    axes = ("channel", "condition")
    have = [
        (line, {axis: blocks for axis in axes if (blocks := data.profile(line, axis)) is not None})
        for line in found
    ]
    have = [(line, blocks) for line, blocks in have if blocks]
    if not have:
        return None
    names = names_of([line for line, _ in have], frameworks)
    parts = [
        frame[["axis", "low", "high", "count", "error_ulp_rms", "error_scaled_ulp_rms"]].assign(label=name)
        for name, (_, blocks) in list(zip(names, have, strict=True))[:MOST_LINES]
        for frame in blocks.values()
    ]
    shown = pd.concat(parts, ignore_index=True)
    alt = "rms error along channels and conditions. " + "; ".join(
        f"{name}: {_range(shown[shown['label'] == name])}" for name in dict.fromkeys(shown["label"])
    )
    caption = (
        "rms error along the channels (left, in ulp of Σ|terms|) and against the condition of the elements "
        "(right, in ulp of the truth); lower is better. A rise with the condition is the data's: what "
        "cancels leaves the same error beside a smaller truth."
    )
    if len(have) > MOST_LINES:
        caption += f" The first {MOST_LINES} of {len(have)} results."
    return exhibit(plots.svg(profile_plot.profiles(shown)), alt, caption, _table(shown))


def _range(part: pd.DataFrame) -> str:
    sizes = [float(value) for value in part["error_scaled_ulp_rms"].dropna()]
    if not sizes:
        return "no figures"
    return f"{numbers.figure(min(sizes))} to {numbers.figure(max(sizes))} ulp of Σ|terms|"


def _table(shown: pd.DataFrame) -> Table:
    """Blocks down, results across; blocks of channels joined to at most `MOST_BLOCKS`."""
    names = list(dict.fromkeys(shown["label"]))
    sums: dict[tuple[str, float], dict[str, list[tuple[float, float]]]] = {}
    ends: dict[tuple[str, float], float] = {}
    for axis, part in shown.groupby("axis", sort=True):
        lows = sorted(set(part["low"]))
        step = -(-len(lows) // MOST_BLOCKS) if axis == "channel" else 1
        column = "error_scaled_ulp_rms" if axis == "channel" else "error_ulp_rms"
        for row in part.to_dict("records"):
            first = lows[lows.index(row["low"]) // step * step]
            key = str(axis), float(first)
            ends[key] = max(ends.get(key, -math.inf), float(row["high"]))
            value = row[column]
            if value is not None and value is not pd.NA and not math.isnan(value):
                pair = float(row["count"]), float(value)
                sums.setdefault(key, {}).setdefault(row["label"], []).append(pair)
    rows = tuple(
        (
            Cell(_block(axis, low, ends[axis, low])),
            *(Cell(numbers.figure(_rms(sums.get((axis, low), {}).get(name))), style="num") for name in names),
        )
        for axis, low in sorted(ends)
    )
    heads = (Head("where"), *(Head(name, True) for name in names))
    return Table("rms error: channels in ulp of Σ|terms|, conditions in ulp of the truth", heads, rows)


def _rms(pairs: Sequence[tuple[float, float]] | None) -> float | None:
    count = math.fsum(count for count, _ in pairs or ())
    if not pairs or not count:
        return None
    return math.sqrt(math.fsum(count * value * value for count, value in pairs) / count)


def _block(axis: str, low: float, high: float) -> str:
    if axis == "channel":
        return f"channel {low:.0f}" if low == high else f"channels {low:.0f} to {high:.0f}"
    if math.isinf(high):
        return f"condition from {numbers.figure(low)}"
    return f"condition {numbers.figure(low)} to {numbers.figure(high)}"


def growth(
    found: Sequence[Line], cases: Sequence[Row], frameworks: Mapping[str, str], titles: Mapping[str, str]
) -> Exhibit | None:
    """Largest error of every distinct sum against its number of terms.  None where none is known."""
    known = {case["case"]: case for case in cases}
    have = []
    for line in found:
        case, size = known[line.row["case"]], line.row["error_over_magnitude_max"]
        usable = size is not None and math.isfinite(size) and line.verdict in ("exact", "rounding")
        if usable and case["terms"] and not str(case["family"]).startswith("normalization"):
            have.append((line, int(case["terms"]), size / U))
    if not have:
        return None
    have = sorted(have, key=lambda each: -each[2] / math.sqrt(each[1]))[:MOST_MARKS]
    shown = pd.DataFrame(
        [
            {"terms": terms, "error": error, "framework": framework(line, frameworks)}
            for line, terms, error in have
        ]
    )
    above = sum(error > math.sqrt(terms) for _, terms, error in have)
    alt = (
        f"Largest error of {numbers.times(len(have), 'sum')} against the number of terms, "
        f"{min(t for _, t, _ in have):,} to {max(t for _, t, _ in have):,}: {above} above √n."
    )
    caption = (
        "Largest error of each distinct result that is exact or rounding, against the terms of one sum, n; "
        "lower is better. What grows like √n is rounding to nearest; what follows the dotted line loses a "
        "part of every sum, as accumulators do that truncate; marks above γₙ are of factors that were "
        "rounded to a narrower format first, or of other formulas. Normalizations are no single sum and are "
        "left out."
    )
    heads = (
        Head("case"), Head("modes with these bits"), Head("n", True),
        Head("largest error, 2⁻²⁴ Σ|terms|", True), Head("over √n", True), Head("over γₙ", True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(titles[line.row["case"]], link=anchor("case", line.row["case"])),
            Cell(output_label(line) + line.label, style="modes"),
            Cell(f"{terms:,}", str(terms), "num"),
            *(
                Cell(numbers.figure(value), repr(value), "num")
                for value in (error, error / math.sqrt(terms), error * U / gamma(terms))
            ),
        )
        for line, terms, error in have
    )
    table = Table("Largest error against the number of terms, the worst over √n first", heads, rows)
    return exhibit(plots.svg(profile_plot.growth(shown)), alt, caption, table)


def gamma(terms: float) -> float:
    """γₙ = n u / (1 - n u), u = 2^-24 (Higham 2002, section 3.1); infinite from n u = 1 on."""
    return terms * U / (1 - terms * U) if terms * U < 1 else math.inf
