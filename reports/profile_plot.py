"""Errors along channels and conditions, and against the number of terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import plots
from reports.plots import COLOURS, INK, MARKERS, OTHER, Drawing, canvas, line, private, wrapped

_LOOKS = (
    ("-", "o"),
    ("--", "s"),
    (":", "D"),
    ("-.", "^"),
    ((0, (5, 1, 1, 1, 1, 1)), "v"),
    ((0, (1, 3)), "x"),
)
_SHADES = ("#c2500a", "#0b66a8", "#1a6b35", "#84207c", "#5c5c5c", "#8f7200")
TRUNCATION = np.log(2.0) / 2.0
"""Mean loss in u for each of n terms of one sign, added one by one and each sum cut: half an ulp of a partial
sum that grows evenly, whose ulp is u times ln 4 of it on average; so n u ln(2) / 2 of the sum."""


def profiles(frame: pd.DataFrame) -> Drawing:
    """rms error along channels (left) and conditions (right), one line a result, log2 axes.

    Columns: `label`, `axis` (channel or condition), `low`, `high`, `error_ulp_rms` (drawn over conditions),
    `error_scaled_ulp_rms` (drawn over channels).
    """
    labels = list(dict.fromkeys(frame["label"]))
    axes_names = [name for name in ("channel", "condition") if name in set(frame["axis"])]
    with private():
        figure = canvas(9.4, 2.6)
        panels = figure.subplots(1, len(axes_names), squeeze=False)[0]
        for axes, name in zip(panels, axes_names, strict=True):
            column = "error_scaled_ulp_rms" if name == "channel" else "error_ulp_rms"
            every = []
            for number, label in enumerate(labels):
                part = frame[(frame["label"] == label) & (frame["axis"] == name)]
                sizes = part[column].to_numpy(dtype=float, na_value=np.nan)
                powers = np.log2(np.clip(sizes, plots.LEAST, 2.0**120))
                low = part["low"].to_numpy(dtype=float)
                place = low if name == "channel" else np.log2(np.maximum(low, 1.0)) + 0.5
                style, mark = _LOOKS[number % len(_LOOKS)]
                axes.plot(place, powers, color=_SHADES[number % len(_SHADES)], linestyle=style, marker=mark,
                          markersize=3.0, markevery=max(1, len(place) // 8), linewidth=1.0)  # fmt: skip
                every.append(powers[np.isfinite(powers)])
            known = np.concatenate(every) if every else np.zeros(0)
            ticks = _ticks(known, 6)
            axes.set_yticks(ticks, [plots.power(tick) for tick in ticks])
            axes.axhline(-1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
            axes.set_ylim(ticks[0] - 0.5, ticks[-1] + 0.5)
            if name == "channel":
                axes.xaxis.get_major_locator().set_params(integer=True)
            if name == "condition":
                octaves = axes.get_xlim()
                places = _ticks(np.array([max(octaves[0], 0.0), octaves[1]]), 6, least=0)
                axes.set_xticks(places, [plots.power(place) for place in places])
            unit = "of Σ|terms|" if name == "channel" else "of the truth"
            words = "channel" if name == "channel" else "condition, Σ|terms| / |truth|"
            axes.set(xlabel=words, ylabel=f"rms error, ulp {unit}")
        used = [
            line(wrapped(label), color=_SHADES[i % len(_SHADES)], linestyle=_LOOKS[i % len(_LOOKS)][0],
                 marker=_LOOKS[i % len(_LOOKS)][1], markersize=3)
            for i, label in enumerate(labels)
        ]  # fmt: skip
        figure.legend(handles=used, frameon=False, ncols=3, fontsize=7.5, loc="outside upper left")
    return figure


def growth(frame: pd.DataFrame) -> Drawing:
    """Largest error (2^-24 of Σ|terms|) of every result against its number of terms, log2 axes, with bounds.

    Columns: `terms`, `error` (in u = 2^-24 of Σ|terms|), `framework`.  Lines: γ_n / u, √n, and n ln(2) / 2,
    what an accumulator loses that truncates (see `TRUNCATION`).
    """
    terms = frame["terms"].to_numpy(dtype=float)
    errors = frame["error"].to_numpy(dtype=float)
    powers = np.log2(np.clip(errors, 2.0**-4, 2.0**60))
    high = np.log2(terms.max(initial=2.0)) + 0.5
    span = np.linspace(0.0, high, 200)
    with private():
        figure = canvas(9.4, 3.6)
        axes = figure.add_subplot()
        n = 2.0**span
        lines = (
            ("γₙ: no order of roundings to nearest is worse", n / (1.0 - n * 2.0**-24), "-"),
            ("√n: likely, where roundings are independent", np.sqrt(n), (0, (5, 2))),
            ("0.35 n: what truncating every addition loses", TRUNCATION * n, (0, (1, 1.5))),
        )
        for label, values, style in lines:
            axes.plot(span, np.log2(values), color=INK, linewidth=1.0, linestyle=style, label=label)
        for name in dict.fromkeys(frame["framework"]):
            here = (frame["framework"] == name).to_numpy()
            shown = "both, the same bits" if name == "both" else str(name)
            axes.plot(np.log2(terms[here]), powers[here], linestyle="", marker=MARKERS.get(name, "X"),
                      color=COLOURS.get(name, OTHER), markersize=4.5, alpha=0.85, label=shown)  # fmt: skip
        across, up = _ticks(np.array([0.0, high]), 8, least=0), _ticks(powers, 7)
        axes.set_xticks(across, [plots.power(tick) for tick in across])
        axes.set_yticks(up, [plots.power(tick) for tick in up])
        axes.set(xlabel="terms of one sum, n", ylabel="largest error, 2⁻²⁴ of Σ|terms|")
        axes.set_ylim(up[0] - 0.6, up[-1] + 0.6)
        axes.grid(color=plots.FAINT, linewidth=0.6)
        axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    return figure


def _ticks(powers: Any, most: int, least: int = -1) -> list[int]:
    """Whole exponents from about the least to about the largest power, that one among them."""
    finite = powers[np.isfinite(powers)]
    low = min(least, int(np.floor(finite.min(initial=0.0))))
    high = max(least + 2, int(np.ceil(finite.max(initial=0.0))))
    step = max(1, -(-(high - low) // most))
    return list(range(least - step * ((least - low) // step), high + step, step))
