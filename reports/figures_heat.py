"""Every case in every mode: the size of an error as a colour and in figures, the sign of its verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import numbers
from reports.cells import per_cell
from reports.figures_base import axes, brief, log2, names
from reports.figures_input import named, needed, sizes, words
from reports.figures_layout import Room, lines, log2_axis, room, row_letters
from reports.figures_words import UNITS
from reports.plots import INK

_LEAST_LETTERS, _GOOD_LETTERS = 4.8, 6.0
"""Points: figures that would have to be smaller than the first are left out, and the signs stay; smaller than
the second, they take two lines."""

_NOTHING = "#e9e7e2"


def plot_heatmap(
    data: pd.DataFrame, *, value: str = "error_ulp_median", ax: Any = None, width: float | None = None
) -> Any:
    """log2 of an error for every case (down) and mode (across), with the sign of its verdict.

    Columns: `case`, `mode`, `verdict` and `value` (ulp; may be missing).  Of several outputs of a cell the
    worst is shown: by its verdict, then by its error.  Both axes are in order of appearance, or in that
    of their categories.  Where cells are too narrow for figures they have the sign alone.  Returns the axes;
    raises `SchemaError` for a missing column, a missing name, a word that is no verdict or an error below 0.
    """
    data = needed(data, "plot_heatmap", "case", "mode", "verdict", value)
    named(data, "plot_heatmap", "case", "mode")
    words(data, "plot_heatmap", "verdict", list(numbers.SIGNS))
    cases, modes = names(data, "case"), names(data, "mode")
    known = np.full((len(cases), len(modes)), np.nan)
    signs = np.full(known.shape, "", dtype=object)
    found = sizes(data, "plot_heatmap", value)
    rows = [
        {"case": str(case), "mode": str(mode), "verdict": verdict}
        | {"error_ulp_median": None if np.isnan(size) else float(size)}
        for case, mode, verdict, size in zip(data["case"], data["mode"], data["verdict"], found, strict=True)
    ]
    for row in per_cell(rows):
        at = cases.index(row["case"]), modes.index(row["mode"])
        size = row["error_ulp_median"]
        known[at], signs[at] = np.nan if size is None else size, numbers.SIGNS[row["verdict"]]
    powers = log2(known)
    narrow = width is not None and width < 5
    pitch = 0.2 if narrow else 0.28
    with axes(ax, 3.2 + 0.5 * len(modes), 1.6 + pitch * len(cases), width) as drawn:
        space = room(drawn)
        rows_of = row_letters(space, len(cases))
        scale = rows_of / space.size
        labels = [brief(case, max(14, min(34, space.letters(0.36 * space.width, scale)))) for case in cases]
        across = 72.0 * (space.inner(labels, scale) - 0.65) / len(modes)  # points; less the colour bar
        down = 72.0 * 0.75 * space.height / len(cases)
        texts, letters = _texts(known, signs, across, down, 0.8 * space.size)
        drawn.set_facecolor(_NOTHING)
        grid = drawn.pcolormesh(
            np.ma.masked_invalid(powers), cmap="rocket_r", vmin=-1, vmax=16, edgecolors="white",
            linewidth=min(0.8, 0.05 * max(across, 1.0)),
        )  # fmt: skip
        colours = grid.to_rgba(powers)
        for (y, x), text in np.ndenumerate(texts):
            ink = INK if np.isnan(powers[y, x]) else _readable(colours[y, x])
            drawn.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=letters, color=ink,
                       linespacing=0.95)  # fmt: skip
        _bar(drawn, grid, value, space)
        drawn.set_yticks(np.arange(len(cases)) + 0.5, labels, fontsize=rows_of)
        upright = across < 2.2 * space.size
        drawn.set_xticks(
            np.arange(len(modes)) + 0.5, [brief(mode, 34) for mode in modes],
            rotation=90 if upright else 40, ha="center" if upright else "right",
            va="top", rotation_mode="default" if upright else "anchor",
            fontsize=min(space.size, max(across, 4.0)),
        )  # fmt: skip
        drawn.invert_yaxis()
        drawn.tick_params(length=0)
    return drawn


def _texts(known: Any, signs: Any, across: float, down: float, size: float) -> tuple[Any, float]:
    """What each cell says and the size of its letters: figure and sign in one line, in two, or the sign."""
    figures = np.vectorize(lambda error: "" if np.isnan(error) else numbers.short(float(error)))(known)
    longest = max(1, *(len(figure) for figure in figures.ravel()))
    one = min(size, (across - 1.5) / (0.62 * (longest + 1.6)), down / 1.15)
    two = min(size, (across - 1.5) / (0.62 * longest), down / 2.3)
    fits, between = (one, "\u2009") if one >= min(two, _GOOD_LETTERS) else (two, "\n")
    if fits >= _LEAST_LETTERS:
        both = [f"{f}{between}{s}" if f else s for f, s in zip(figures.ravel(), signs.ravel(), strict=True)]
        return np.array(both, dtype=object).reshape(known.shape), float(fits)
    return signs, float(np.clip(min(across / 0.9, down / 1.15), 3.0, size))


def _bar(drawn: Any, grid: Any, value: str, space: Room) -> None:
    label = lines(UNITS.get(value, value), space.letters(max(0.6, space.height - 1.3)))
    bar = drawn.figure.colorbar(
        grid, ax=drawn, pad=0.02, fraction=0.05, aspect=30, extend="both", label=label
    )
    log2_axis(bar.ax.yaxis, range(-1, 17, 2 if space.height > 2.0 else 4))
    bar.ax.tick_params(labelsize=0.85 * space.size)


def _readable(colour: Any) -> str:
    """Black or white, whichever has the better contrast (WCAG 2.2, relative luminance) on that colour."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"
