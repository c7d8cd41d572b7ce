"""Figures for papers and notebooks, with seaborn's habits: a long-form frame in, matplotlib axes out.

Each `plot_*` function takes the rows that shall be shown and draws on `ax`, or on a figure of its own that no
pyplot knows of: a notebook shows what is returned, `axes.figure.savefig("name.pdf")` writes it.  `width` is
the most inches that such a figure may be wide: 3.3 for a column, 6.9 for a page.  A frame needs the columns
that the function names and may have any others; a missing one is named in the complaint.  The figures of one
case's elements are in `reports.figures_case`, `_order` and `_layers`; all of them can be had from here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.figures_base import HALF_ULP, axes, brief, log2, names, points
from reports.figures_case import plot_budget, plot_histogram, plot_map, plot_profile
from reports.figures_heat import plot_heatmap
from reports.figures_input import named, needed, once, reals, sizes
from reports.figures_invariance import plot_invariance
from reports.figures_layers import plot_layers
from reports.figures_layout import across, broken, legend, lines, log2_axis, room, row_letters, up
from reports.figures_order import plot_order
from reports.figures_words import UNITS
from reports.plots import FAINT, INK
from reports.schema import SchemaError

__all__ = [
    "plot_budget",
    "plot_errors",
    "plot_growth",
    "plot_heatmap",
    "plot_histogram",
    "plot_invariance",
    "plot_layers",
    "plot_map",
    "plot_order",
    "plot_profile",
    "plot_switch",
]

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


def plot_errors(
    data: pd.DataFrame,
    *,
    value: str = "error_scaled_ulp_rms",
    hue: str = "framework",
    ax: Any = None,
    width: float | None = None,
) -> Any:
    """An error of every result, one row a case, on a log2 axis; marks and colours tell values of `hue` apart.

    Columns: `case`, `value` (ulp) and `hue` (any column of names).  Errors of 0 and infinite ones stand at
    the ends, marked so; rows whose error is missing are left out.  Cases come in order of appearance, or in
    that of their categories.  Returns the axes; raises `SchemaError` for a missing column, a missing name or
    an error below 0.
    """
    data = needed(data, "plot_errors", "case", hue, value)
    named(data, "plot_errors", "case", hue)
    cases, groups = names(data, "case"), names(data, hue)
    found = sizes(data, "plot_errors", value)
    powers = np.log2(np.where(np.isfinite(found) & (found > 0), found, 1.0))
    pitch = 0.17 if width is not None and width < 5 else 0.22
    with axes(ax, 6.4, 0.9 + pitch * len(cases) + 0.2 * (len(groups) > 3), width) as drawn:
        space = room(drawn)
        letters = row_letters(space, len(cases))
        scale = letters / space.size
        labels = [brief(case, max(14, space.letters(0.4 * space.width, scale))) for case in cases]
        inches = space.inner(labels, scale)
        ticks: list[float] = list(across(powers[np.isfinite(found)], space, 0.8 * inches))
        step = ticks[1] - ticks[0]
        texts: dict[float, str] = {}
        zero, infinite = ticks[0] - step, ticks[-1] + step
        if (found == 0).any():
            ticks, texts[zero] = [zero, *ticks], "0"
        if np.isinf(found).any():
            ticks, texts[infinite] = [*ticks, infinite], "∞"
        places = np.where(found == 0, zero, np.where(np.isinf(found), infinite, powers))
        of_case = np.array([cases.index(str(case)) for case in data["case"]])
        shifts = np.linspace(-0.16, 0.16, len(groups)) if len(groups) > 1 else [0.0]
        for shift, (name, look) in zip(shifts, points(sorted(groups)).items(), strict=True):
            here = (data[hue].astype(str) == name).to_numpy() & ~np.isnan(found)
            drawn.plot(
                places[here], of_case[here] + shift, alpha=0.8, label=brief(name), markersize=4.5, **look
            )
        drawn.axvline(-1, **HALF_ULP)
        drawn.set_yticks(range(len(cases)), labels, fontsize=letters)
        log2_axis(drawn.xaxis, ticks)
        shown = [
            texts.get(tick, label.get_text())
            for tick, label in zip(ticks, drawn.get_xticklabels(), strict=True)
        ]
        drawn.set_xticks(ticks, shown)
        words = f"{UNITS.get(value, value)} (further left is better)"
        drawn.set(ylim=(len(cases) - 0.5, -0.5), xlabel=lines(words, space.letters(inches)))
        drawn.set_xlim(ticks[0] - 0.5 * step, ticks[-1] + 0.5 * step)
        drawn.grid(color=FAINT, linewidth=0.6)
        drawn.set_axisbelow(True)
        legend(drawn, space, right=True)
    return drawn


def plot_growth(
    data: pd.DataFrame, *, hue: str = "framework", ax: Any = None, width: float | None = None
) -> Any:
    """Largest error (2^-24 of Σ|terms|) of each sum against its number of terms n, log2 axes, with bounds.

    Columns: `terms` (n), `error_over_magnitude_max`, `hue`; rows without a figure are left out.
    Lines: γ_n / u = n / (1 - n u), the worst of n roundings to nearest (Higham 2002, section 3.1); √n, likely
    for independent roundings (Higham & Mary 2019); n ln(2) / 2, the mean loss of an accumulator that
    truncates sums of one sign.  Returns the axes; raises `SchemaError` for a missing column or an error
    below 0.
    """
    data = needed(data, "plot_growth", "terms", "error_over_magnitude_max", hue)
    named(data, "plot_growth", hue)
    terms = reals(data, "plot_growth", "terms")
    found = sizes(data, "plot_growth", "error_over_magnitude_max") / _U
    known = np.isfinite(terms) & np.isfinite(found) & (terms >= 1) & (terms < 1.0 / _U)
    powers = np.log2(np.clip(found, 2.0**-4, 2.0**60))
    high = max(2.0, float(np.log2(terms[known].max(initial=2.0))) + 0.5)
    span = np.linspace(0.0, high, 200)
    n = 2.0**span
    with axes(ax, 6.4, 3.6 if width is None or width >= 5 else 2.7, width) as drawn:
        space = room(drawn)
        for label, values, style in (
            ("γₙ, the worst case", n / (1.0 - np.minimum(n, 0.999 / _U) * _U), "-"),
            ("√n, likely", np.sqrt(n), (0, (5, 2))),
            ("n ln(2) / 2, truncation", n * np.log(2.0) / 2.0, (0, (1, 1.5))),
        ):
            drawn.plot(span, np.log2(values), color=INK, linewidth=1.0, linestyle=style, label=label)
        for name, look in points(sorted(names(data, hue))).items():
            here = (data[hue].astype(str) == name).to_numpy() & known
            drawn.plot(np.log2(terms[here]), powers[here], markersize=4, alpha=0.8, label=brief(name), **look)
        ends = [
            tick for tick in across(np.array([0.0, high]), space, space.inner(["8,192"]), 0) if tick <= high
        ]
        log2_axis(drawn.xaxis, ends)
        rungs = up(powers[known], space)
        log2_axis(drawn.yaxis, rungs)
        drawn.set_ylim(rungs[0] - 0.6, rungs[-1] + 0.6)
        words = lines("largest error, 2⁻²⁴ of Σ|terms|", space.letters(0.7 * space.height))
        drawn.set(xlabel="terms of one sum, n", ylabel=words, xlim=(-0.2, high))
        drawn.grid(color=FAINT, linewidth=0.6)
        legend(drawn, space)
    return drawn


def plot_switch(
    data: pd.DataFrame,
    before: str,
    after: str,
    *,
    value: str = "error_scaled_ulp_rms",
    ax: Any = None,
    width: float | None = None,
) -> Any:
    """An error of every cell in two modes: a line from the mode `before` to the mode `after`, log2 axis.

    Columns: `case`, `mode`, `bits_group` (equal numbers: equal bits), `value` (ulp), and `output` where cases
    have several.  A cell is worse or better where its errors are more than 1.1 times apart.  Cells without a
    figure in both modes are left out.  Returns the axes; raises `SchemaError` for a missing column, a mode
    that the frame lacks, a cell that is there twice or an error below 0.
    """
    data = needed(data, "plot_switch", "case", "mode", "bits_group", value)
    keys = ["case", "output"] if "output" in data.columns else ["case"]
    named(data, "plot_switch", "mode", *keys)
    for mode in (before, after):
        if mode not in set(data["mode"]):
            known = ", ".join(names(data, "mode"))
            raise SchemaError(f"plot_switch compares modes of the frame, {known}; got {mode!r}; name one")
    data = data[data["mode"].isin((before, after))]
    once(data, "plot_switch", [*keys, "mode"], "a cell", "select one run")
    table = data.assign(
        _size=sizes(data, "plot_switch", value), _bits=reals(data, "plot_switch", "bits_group")
    )
    sides = [table[table["mode"] == mode][[*keys, "_size", "_bits"]] for mode in (before, after)]
    pairs = sides[0].merge(sides[1], on=keys, suffixes=("_before", "_after"))
    first, second = pairs["_size_before"].to_numpy(), pairs["_size_after"].to_numpy()
    equal = pairs["_bits_before"].to_numpy() == pairs["_bits_after"].to_numpy()  # a missing one equals none
    kinds = np.where(second > ALIKE * first, "worse", np.where(first > ALIKE * second, "better", "as good"))
    kinds = np.where(equal, "equal bits", kinds)
    measured = ~np.isnan(first) & ~np.isnan(second)
    both = log2(np.stack([first, second]))
    with axes(ax, 3.3, 2.9, width) as drawn:
        space = room(drawn)
        for kind, look in SWITCH_KINDS.items():
            here = measured & (kinds == kind)
            if here.any():
                drawn_lines = drawn.plot(
                    [0, 1], both[:, here], linewidth=0.9, markersize=3.5, alpha=0.85, **look
                )
                drawn_lines[0].set_label(f"{kind}: {int(here.sum())}")
        drawn.axhline(-1, **HALF_ULP)
        log2_axis(drawn.yaxis, up(both[:, measured], space))
        half = max(10, space.letters(space.inner(["8,192"]) / 2) - 1)
        drawn.set_xticks([0, 1], [broken(brief(mode, 60), half) for mode in (before, after)])
        for label, side in zip(drawn.get_xticklabels(), ("left", "right"), strict=True):
            label.set(horizontalalignment=side, multialignment=side)
        words = lines(UNITS.get(value, value), space.letters(0.7 * space.height))
        drawn.set(xlim=(-0.06, 1.06), ylabel=words)
        if measured.any():
            legend(drawn, space)
    return drawn
