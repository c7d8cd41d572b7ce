"""Figures for papers and notebooks, with seaborn's habits: a long-form frame in, matplotlib axes out.

Each `plot_*` function takes the rows that shall be shown and draws on `ax`, or on a figure of its own that no
pyplot knows of; `axes.figure.savefig("name.pdf")` writes it, and a notebook shows `axes.figure`.  A frame
needs the columns that the function names and may have any others; a missing one is named in the complaint.
The figures of one case's elements are in `reports.figures_case`, and all of them can be had from here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import numbers
from reports.figures_base import HALF_ULP, axes, brief, exponents, log2, log2_axis, names, needed, reals
from reports.figures_case import plot_budget, plot_histogram, plot_map, plot_profile
from reports.plots import COLOURS, FAINT, INK, MARKERS, OTHER, PAPER
from reports.schema import SchemaError

__all__ = [
    "plot_budget",
    "plot_errors",
    "plot_growth",
    "plot_heatmap",
    "plot_histogram",
    "plot_map",
    "plot_profile",
    "plot_switch",
]

UNITS = {
    "error_ulp_median": "median error, ulp",
    "error_ulp_p99": "error that 99 % of the elements keep, ulp",
    "error_ulp_max": "largest error, ulp",
    "error_ulp_rms": "rms error, ulp",
    "error_scaled_ulp_max": "largest error, ulp of Σ|terms|",
    "error_scaled_ulp_rms": "rms error, ulp of Σ|terms|",
}
"""Words for the columns of errors, as an axis shows them; another column is shown by its name."""

SWITCH_KINDS: dict[str, dict[str, Any]] = {
    "equal bits": {"color": "#77736b", "linestyle": (0, (1, 2)), "marker": "o", "markerfacecolor": "white"},
    "as good": {"color": "#24292f", "linestyle": "-", "marker": "o"},
    "better": {"color": "#1a6b35", "linestyle": "-", "marker": "v"},
    "worse": {"color": "#a3201d", "linestyle": (0, (5, 1.5)), "marker": "^"},
}
"""A look for each kind of change: mark and line tell what colour tells."""

ALIKE = 1.1
"""Up to this ratio of errors, either way, two results are as good as each other."""

_U = 2.0**-24


def plot_heatmap(data: pd.DataFrame, *, value: str = "error_ulp_median", ax: Any = None) -> Any:
    """log2 of an error for every case (down) and mode (across), with the sign of its verdict.

    Columns: `case`, `mode`, `verdict` and `value` (ulp; may be missing).  Of several outputs of a cell the
    largest error is shown, with the sign of its verdict.  Both axes are in order of appearance.
    Returns the axes; raises `SchemaError` for a missing column.
    """
    data = needed(data, "plot_heatmap", "case", "mode", "verdict", value)
    cases, modes = names(data, "case"), names(data, "mode")
    sizes = np.full((len(cases), len(modes)), np.nan)
    words = np.full(sizes.shape, "", dtype=object)
    rows = zip(data["case"], data["mode"], data["verdict"], reals(data[value]), strict=True)
    for case, mode, verdict, size in rows:
        at = cases.index(case), modes.index(mode)
        if words[at] and not size > sizes[at]:
            continue
        sign = numbers.SIGNS.get(verdict, "?")
        sizes[at] = size
        words[at] = sign if np.isnan(size) else f"{numbers.short(float(size))}\u2009{sign}"
    powers = log2(sizes)
    with axes(ax, 3.2 + 0.5 * len(modes), 1.5 + 0.3 * len(cases)) as drawn:
        drawn.set_facecolor("#e9e7e2")
        grid = drawn.pcolormesh(
            np.ma.masked_invalid(powers), cmap="rocket_r", vmin=-1, vmax=16, edgecolors=PAPER, linewidth=0.8
        )
        colours = grid.to_rgba(powers)
        for (down, across), word in np.ndenumerate(words):
            ink = INK if np.isnan(powers[down, across]) else _readable(colours[down, across])
            place = across + 0.5, down + 0.5
            drawn.text(*place, word, ha="center", va="center", fontsize=7, color=ink)
        bar = drawn.figure.colorbar(grid, ax=drawn, pad=0.02, extend="both", label=UNITS.get(value, value))
        log2_axis(bar.ax.yaxis, range(-1, 17, 2))
        drawn.set_yticks(np.arange(len(cases)) + 0.5, [brief(case, 34) for case in cases])
        drawn.set_xticks(
            np.arange(len(modes)) + 0.5, [brief(mode, 34) for mode in modes],
            rotation=40, ha="right", rotation_mode="anchor",
        )  # fmt: skip
        drawn.invert_yaxis()
        drawn.tick_params(length=0)
    return drawn


def _readable(colour: Any) -> str:
    """Black or white, whichever has the better contrast (WCAG 2.2, relative luminance) on that colour."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def plot_errors(data: pd.DataFrame, *, value: str = "error_scaled_ulp_rms", ax: Any = None) -> Any:
    """An error of every result, one row a case, on a log2 axis; shape and colour are the framework's.

    Columns: `case`, `framework` and `value` (ulp).  Errors of 0 and infinite ones stand at the ends, marked
    so; rows whose error is missing are left out.  Returns the axes; raises `SchemaError` for a missing
    column.
    """
    data = needed(data, "plot_errors", "case", "framework", value)
    cases = names(data, "case")
    sizes = reals(data[value])
    powers = np.log2(np.where(np.isfinite(sizes) & (sizes > 0), sizes, 1.0))
    ticks = exponents(powers[np.isfinite(sizes)])
    step = ticks[1] - ticks[0]
    zero, infinite = ticks[0] - step, ticks[-1] + step
    places = np.where(sizes == 0, zero, np.where(np.isinf(sizes), infinite, powers))
    ends = [(zero, "0")] * bool((sizes == 0).any()), [(infinite, "∞")] * bool(np.isinf(sizes).any())
    with axes(ax, 6.4, 1.1 + 0.26 * len(cases)) as drawn:
        for name in sorted(names(data, "framework")):
            here = (data["framework"].astype(str) == name).to_numpy() & ~np.isnan(sizes)
            shift = {"torch": -0.14, "tensorflow": 0.14}.get(name, 0.0)
            rows = [cases.index(str(case)) + shift for case in data["case"][here]]
            drawn.plot(places[here], rows, linestyle="", marker=MARKERS.get(name, "X"), alpha=0.8, label=name,
                       color=COLOURS.get(name, OTHER), markersize=5)  # fmt: skip
        drawn.axvline(-1, **HALF_ULP)
        drawn.set_yticks(range(len(cases)), [brief(case, 40) for case in cases])
        shown = [*ends[0], *((tick, None) for tick in ticks), *ends[1]]
        log2_axis(drawn.xaxis, [tick for tick, _ in shown])
        if len(shown) > len(ticks):
            texts = [
                word or label.get_text()
                for (_, word), label in zip(shown, drawn.get_xticklabels(), strict=True)
            ]
            drawn.set_xticks([tick for tick, _ in shown], texts)
        drawn.set(ylim=(len(cases) - 0.5, -0.5), xlabel=f"{UNITS.get(value, value)} (further left is better)")
        drawn.set_xlim(shown[0][0] - 0.5 * step, shown[-1][0] + 0.5 * step)
        drawn.grid(color=FAINT, linewidth=0.6)
        drawn.set_axisbelow(True)
        drawn.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return drawn


def plot_growth(data: pd.DataFrame, *, ax: Any = None) -> Any:
    """Largest error (2^-24 of Σ|terms|) of each sum against its number of terms n, log2 axes, with bounds.

    Columns: `terms` (n), `error_over_magnitude_max`, `framework`; rows without a figure are left out.
    Lines: γ_n / u = n / (1 - n u), the worst of n roundings to nearest (Higham 2002, section 3.1); √n, likely
    for independent roundings (Higham & Mary 2019); n ln(2) / 2, the mean loss of an accumulator that
    truncates sums of one sign.  Returns the axes; raises `SchemaError` for a missing column.
    """
    data = needed(data, "plot_growth", "terms", "error_over_magnitude_max", "framework")
    terms, sizes = reals(data["terms"]), reals(data["error_over_magnitude_max"]) / _U
    known = np.isfinite(terms) & np.isfinite(sizes) & (terms >= 1)
    powers = np.log2(np.clip(sizes, 2.0**-4, 2.0**60))
    high = max(2.0, float(np.log2(terms[known].max(initial=2.0))) + 0.5)
    span = np.linspace(0.0, high, 200)
    n = 2.0**span
    with axes(ax, 6.4, 4.0) as drawn:
        for label, values, style in (
            ("γₙ, the worst case", n / (1.0 - n * _U), "-"),
            ("√n, likely", np.sqrt(n), (0, (5, 2))),
            ("n ln(2) / 2, truncation", n * np.log(2.0) / 2.0, (0, (1, 1.5))),
        ):
            drawn.plot(span, np.log2(values), color=INK, linewidth=1.0, linestyle=style, label=label)
        for name in sorted(names(data, "framework")):
            here = (data["framework"].astype(str) == name).to_numpy() & known
            drawn.plot(np.log2(terms[here]), powers[here], linestyle="", marker=MARKERS.get(name, "X"),
                       color=COLOURS.get(name, OTHER), markersize=4.5, alpha=0.8, label=name)  # fmt: skip
        log2_axis(drawn.xaxis, [tick for tick in exponents(np.array([0.0, high]), least=0) if tick <= high])
        log2_axis(drawn.yaxis, exponents(powers[known], 7))
        drawn.set(xlabel="terms of one sum, n", ylabel="largest error, 2⁻²⁴ of Σ|terms|", xlim=(-0.2, high))
        drawn.grid(color=FAINT, linewidth=0.6)
        drawn.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return drawn


def plot_switch(
    data: pd.DataFrame, before: str, after: str, *, value: str = "error_scaled_ulp_rms", ax: Any = None
) -> Any:
    """An error of every cell in two modes: a line from the mode `before` to the mode `after`, log2 axis.

    Columns: `case`, `mode`, `output`, `bits_group` (equal numbers: equal bits) and `value` (ulp).  A cell is
    worse or better where its errors are more than 1.1 times apart.  Cells without a figure in both modes are
    left out.  Returns the axes; raises `SchemaError` for a missing column or a mode that the frame lacks.
    """
    data = needed(data, "plot_switch", "case", "mode", "output", "bits_group", value)
    for mode in (before, after):
        if mode not in set(data["mode"]):
            known = ", ".join(names(data, "mode"))
            raise SchemaError(f"plot_switch compares modes of the frame, {known}; got {mode!r}; name one")
    keys = ["case", "output"]
    sides = [data[data["mode"] == mode][[*keys, value, "bits_group"]] for mode in (before, after)]
    pairs = sides[0].merge(sides[1], on=keys, suffixes=("_before", "_after"))
    first, second = reals(pairs[f"{value}_before"]), reals(pairs[f"{value}_after"])
    groups = reals(pairs["bits_group_before"]), reals(pairs["bits_group_after"])
    equal = groups[0] == groups[1]  # a missing group is equal to none
    kinds = np.where(second > ALIKE * first, "worse", np.where(first > ALIKE * second, "better", "as good"))
    kinds = np.where(equal, "equal bits", kinds)
    known = ~np.isnan(first) & ~np.isnan(second)
    both = log2(np.stack([first, second]))
    with axes(ax, 3.4, 3.2) as drawn:
        for kind, look in SWITCH_KINDS.items():
            here = known & (kinds == kind)
            if here.any():
                lines = drawn.plot([0, 1], both[:, here], linewidth=0.9, markersize=4, alpha=0.85, **look)
                lines[0].set_label(f"{kind}: {int(here.sum())}")
        drawn.axhline(-1, **HALF_ULP)
        log2_axis(drawn.yaxis, exponents(both[:, known], 7))
        drawn.set_xticks([0, 1], [brief(before, 30), brief(after, 30)])
        drawn.get_xticklabels()[0].set_horizontalalignment("left")
        drawn.get_xticklabels()[1].set_horizontalalignment("right")
        drawn.set(xlim=(-0.06, 1.06), ylabel=UNITS.get(value, value))
        if known.any():
            drawn.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return drawn
