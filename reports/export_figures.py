"""The figures of a report, each with the rows that it shows, its caption, and what draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports import figures, tables
from reports.anchors import anchor
from reports.cells import LOST, Line, Row, grid, in_order, lines
from reports.export_maps import draw_maps
from reports.result import Result
from reports.store import Results
from reports.switches import switches

MOST_RESULTS = 7
"""Distinct results in one figure of a case: more lines cannot be told apart."""

MOST_ORDERS = 8
"""Different orders that are drawn of one case."""

MANY_CASES = 20
"""With more cases than these, figures of all cells are drawn for each family too."""

_HEAT = (
    "Median error in float32 ulp of the truth (colour and figure) and verdict: = exact, ≈ rounding, ≠ "
    "another function, # other data, ? unexplained, – not run, ✗ failed."
)
_ERRORS = (
    "Root mean square error of each distinct result in float32 ulp of Σ|terms|; the dashed line is 0.5 ulp, "
    "the largest error of a correctly rounded result. both: both frameworks gave the same bits."
)
_GROWTH = (
    "Largest error of each sum, in 2⁻²⁴ of Σ|terms|, against its number of terms n. γₙ bounds every order of "
    "roundings to nearest; √n is likely where roundings are independent; n ln(2)/2 is the mean loss of "
    "truncation."
)
_INVARIANCE = (
    "Cases whose bits depend on a factor that may not matter, of those that were asked; – where none could "
    "be asked, ✗ where every one failed."
)
_CASE = {
    "histogram": "Signed error of the elements in float32 ulp of the truth; dashed lines at ±0.5 ulp; the "
    "thin line, where there is one, is what the known order of the sum lets expect.",
    "budget": "What each cause has of the energy of the error; the shares of a result add up to 1. Letters "
    "and hatching: P proved, B bounded, C consistent, N none.",
    "channel": "Root mean square error along the channels, in float32 ulp of Σ|terms|; the dashed line is "
    "0.5 ulp.",
    "condition": "Root mean square error in float32 ulp of the truth, against the condition Σ|terms| / "
    "|truth| of the elements; the dashed line is 0.5 ulp.",
    "maps": "Root mean square error over blocks of the output plane, in float32 ulp of Σ|terms|.",
}


@dataclass(frozen=True)
class Exported:
    """A figure's name, its caption, the rows that it shows, and what draws them, with its options."""

    name: str
    caption: str
    data: pd.DataFrame
    function: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, width: float) -> Any:
        """The figure, at most so many inches wide."""
        draw = draw_maps if self.function == "draw_maps" else getattr(figures, self.function)
        return draw(self.data, width=width, **self.options).figure


def exported_figures(results: Results, invariance: pd.DataFrame | None = None) -> Iterator[Exported]:
    """Every figure of these results: of all cells, of each family, of each switch, of each case."""
    if invariance is not None and len(invariance):
        yield Exported("invariance", _INVARIANCE, invariance, "plot_invariance")
    cells = grid(results)
    ran = {row["mode"] for row in cells if row["verdict"] not in LOST}
    scores = Result(results).to_frame()
    scored = scores[~scores["verdict"].isin(LOST)]
    if scored.empty:
        return
    found = lines(row for row in cells if row["verdict"] not in LOST)
    shown, distinct = scores[scores["mode"].isin(ran)], _distinct(scored, found)
    yield from _of_cells("", "", shown, distinct)
    families = list(dict.fromkeys(shown["family"]))
    if len(families) > 1 and shown["case"].nunique() > MANY_CASES:
        for family in families:
            parts = [frame[frame["family"] == family] for frame in (shown, distinct)]
            yield from _of_cells(anchor("", family), f" Family: {family}.", *parts)
    sums = distinct[
        distinct["verdict"].isin(("exact", "rounding"))
        & distinct["terms"].notna()
        & ~distinct["family"].str.startswith("normalization")
    ]
    if sums["error_over_magnitude_max"].notna().any():
        yield Exported("growth", _GROWTH, sums, "plot_growth")
    for switch in switches(results, cells):
        part = scored[scored["mode"].isin((switch.before, switch.after))]
        name = anchor("switch", f"{switch.before}--{switch.after}")
        caption = (
            f"Root mean square error of every cell in {switch.before} and in {switch.after}, in float32 ulp "
            "of Σ|terms|; worse or better: more than 1.1 times apart."
        )
        options = {"before": switch.before, "after": switch.after}
        yield Exported(name, caption, part, "plot_switch", options)
    for case in in_order(results.cases):
        yield from _of_case(results, case, [line for line in found if line.row["case"] == case["case"]])


def _of_cells(suffix: str, words: str, shown: pd.DataFrame, distinct: pd.DataFrame) -> Iterator[Exported]:
    yield Exported(f"heatmap{suffix}", _HEAT + words, shown, "plot_heatmap")
    if distinct["error_scaled_ulp_rms"].notna().any():
        yield Exported(f"errors{suffix}", _ERRORS + words, distinct, "plot_errors")


def _distinct(scores: pd.DataFrame, found: Sequence[Line]) -> pd.DataFrame:
    """A row for each distinct result: that of its first mode, with all its modes in a column `label`.

    Its framework is `both` where more than one gave the bits.
    """
    keys = ["case", "mode", "output"]
    first = pd.DataFrame(
        [(line.row["case"], line.modes[0], line.row["output"], line.label) for line in found],
        columns=[*keys, "label"],
    )
    distinct = first.merge(scores, on=keys, how="left")
    frameworks = dict(zip(scores["mode"], scores["framework"], strict=True))
    several = [len({frameworks[mode] for mode in line.modes}) > 1 for line in found]
    return distinct.assign(framework=distinct["framework"].mask(pd.Series(several, dtype=bool), "both"))


def _of_case(results: Results, case: Row, found: Sequence[Line]) -> Iterator[Exported]:
    name = anchor("", case["case"]).lstrip("-")

    def one(kind: str, data: pd.DataFrame, function: str, **options: Any) -> Exported:
        more = f" The first {MOST_RESULTS} of {len(found)} results." if len(found) > MOST_RESULTS else ""
        return Exported(f"{name}-{kind}", f"{case['title']}. {_CASE[kind]}{more}", data, function, options)

    histogram = _select(results.histograms, case["case"], found)
    expected = _select(results.expected, case["case"], found)
    if len(histogram) and histogram["count"].sum() > 0:
        if len(expected):
            edges = ["label", "bin_left_ulp", "bin_right_ulp"]
            histogram = histogram.merge(expected[[*edges, "expected"]], on=edges, how="outer")
            histogram = histogram.fillna({"count": 0}).sort_values(edges, kind="stable")
        yield one("histogram", histogram, "plot_histogram")
    budgets = _select(results.budgets, case["case"], found)
    if budgets["share"].notna().any():
        yield one("budget", budgets, "plot_budget")
    profiles = _select(results.profiles, case["case"], found)
    for axis in ("channel", "condition"):
        part = profiles[profiles["axis"] == axis] if len(profiles) else profiles
        if len(part):
            yield one(axis, part, "plot_profile", axis=axis)
    maps = _select(results.maps, case["case"], found)
    if len(maps) and maps["error_scaled_ulp_rms"].notna().any():
        yield one("maps", maps, "draw_maps")
    yield from _orders(name, case, _select(results.orders, case["case"], found, len(found)))


def _orders(name: str, case: Row, orders: pd.DataFrame) -> Iterator[Exported]:
    """A drawing of each order that is a tree; the rows beside it are the results that add so."""
    known = orders[orders["tree"].notna()] if len(orders) else orders
    for number, (_, part) in enumerate(
        list(known.groupby("tree", sort=False))[:MOST_ORDERS] if len(known) else [], 1
    ):
        first = part.iloc[0]
        who = "; ".join(dict.fromkeys(f"{row.label}, {row.where}" for row in part.itertuples()))
        caption = f"{case['title']}. Order of the sum of {who} ({first['evidence']}): {first['words']}."
        yield Exported(f"{name}-order-{number}", caption, part, "plot_order")


def _select(frame: pd.DataFrame, case: str, found: Sequence[Line], most: int = MOST_RESULTS) -> pd.DataFrame:
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
    return pd.concat(parts[:most], ignore_index=True) if parts else of_case.iloc[:0].assign(label="")


def _name(line: Line) -> str:
    """The first mode of each framework and how many more gave the bits."""
    firsts = {mode.partition(".")[0]: mode for mode in reversed(line.modes)}
    more = len(line.modes) - len(firsts)
    words = " = ".join(sorted(firsts.values(), reverse=True)) + (f" (+{more})" if more else "")
    return tables.output_label(line) + words
