"""Figures of one case's elements: signed errors, causes, the output plane, channels and conditions.

Rows of several results are told apart by a column `label`; without one, by `mode`, `case` and `output`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import numbers
from reports.budget_plot import CAUSES, EVIDENCE
from reports.figures_base import (
    HALF_ULP,
    axes,
    brief,
    exponents,
    labelled,
    log2,
    log2_axis,
    looks,
    names,
    needed,
    reals,
)
from reports.plots import FAINT, INK, LEAST, PAPER, patch, power
from reports.schema import SchemaError

_MOST_SHARE = 3.0


def plot_histogram(data: pd.DataFrame, *, ax: Any = None) -> Any:
    """Signed error (ulp) of each result as the outline of a histogram, over a symmetric log2 axis.

    Columns: `bin_left_ulp`, `bin_right_ulp` (may be infinite) and `count` (elements); `label`, or `mode`;
    `expected` (elements), drawn thin, may be left out.  The axis is linear within 0.5 ulp and log2 beyond;
    heights are the share of a result's elements per unit of it.  Returns the axes; raises `SchemaError` for a
    missing column, or where no bin holds an element.
    """
    data = needed(data, "plot_histogram", "bin_left_ulp", "bin_right_ulp", "count")
    data = labelled(data, "plot_histogram")
    used = data[reals(data["count"]) > 0]
    if used.empty:
        raise SchemaError("plot_histogram draws elements; every count is 0; select other rows")
    edges = np.abs(np.concatenate([reals(used["bin_left_ulp"]), reals(used["bin_right_ulp"])]))
    limit = max(1.0, float(edges[np.isfinite(edges)].max(initial=1.0)))
    labels = names(data, "label")
    with axes(ax, 6.4, 3.2 + 0.12 * len(labels)) as drawn:
        for label, look in looks(labels).items():
            part = data[data["label"].astype(str) == label].sort_values("bin_left_ulp")
            line = {"color": look["color"], "linestyle": look["linestyle"]}
            drawn.stairs(*_outline(part, "count", limit), label=brief(label), linewidth=1.3, **line)
            if "expected" in part.columns and part["expected"].notna().any():
                drawn.stairs(*_outline(part, "expected", limit), linewidth=0.6, color=INK)
        for edge in (-1.0, 1.0):
            drawn.axvline(edge, **HALF_ULP)
        ticks = [0.5 * 2.0**tick for tick in exponents(np.log2([1.0, 2 * limit]), 5, 0)]
        ticks = [tick for tick in ticks if tick <= limit]
        every = [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
        shown = [("-" if tick < 0 else "") + power(np.log2(abs(tick))) if tick else "0" for tick in every]
        drawn.set_xticks(_place(np.array(every), limit), shown)
        drawn.set(xlabel="signed error, ulp (narrow and centred on 0 is better)",
                  ylabel="share of elements\nper unit of the axis", ylim=(0, None))  # fmt: skip
        drawn.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return drawn


def _place(edges: Any, limit: float) -> Any:
    """Twice the error up to 0.5 ulp, then one unit a doubling; what is beyond the limit, one unit further."""
    size = np.abs(edges)
    place = np.where(size <= 0.5, 2 * size, 2 + np.log2(np.clip(size, 0.5, limit)))
    return np.copysign(place + (size > limit), edges)


def _outline(part: pd.DataFrame, column: str, limit: float) -> tuple[Any, Any]:
    """Heights and edges of the outline: shares of all elements per unit of the axis; gaps stand at 0."""
    heights: list[float] = []
    edges: list[float] = []
    total = float(np.nansum(reals(part["count"]))) or 1.0
    bounds = zip(reals(part["bin_left_ulp"]), reals(part["bin_right_ulp"]), reals(part[column]), strict=True)
    for left, right, count in bounds:
        start, end = (float(place) for place in _place(np.array([left, right]), limit))
        if edges and start > edges[-1]:
            heights.append(0.0)
            edges.append(start)
        if end > (edges[-1] if edges else start):
            edges += [end] if edges else [start, end]
            heights.append(0.0 if np.isnan(count) else count / total / (end - start))
    return np.array(heights), np.array(edges)


def plot_budget(data: pd.DataFrame, *, ax: Any = None) -> Any:
    """What each cause has of the error's energy: a stacked bar a result; a share below 0 stands left of 0.

    Columns: `cause`, `evidence`, `share` (<part, error> / <error, error>; those of a result add up to 1);
    `label`, or `mode`.  Hatching and letters say how far each is supported.  Returns the axes; raises
    `SchemaError` for a missing column or a word that is no cause or evidence.
    """
    data = labelled(needed(data, "plot_budget", "cause", "evidence", "share"), "plot_budget")
    for column, known in (("cause", CAUSES), ("evidence", EVIDENCE)):
        odd = [word for word in names(data, column) if word not in known]
        if odd:
            raise SchemaError(f"plot_budget: {column} is one of {', '.join(known)}; got {odd[0]!r}; mend it")
    labels = names(data, "label")
    with axes(ax, 6.4, 1.3 + 0.32 * len(labels)) as drawn:
        for place, label in enumerate(labels):
            ends = [0.0, 0.0]
            part = data[(data["label"].astype(str) == label) & data["share"].notna()]
            for cause, evidence, share in zip(
                part["cause"], part["evidence"], reals(part["share"]), strict=True
            ):
                width = float(np.clip(share, -_MOST_SHARE, _MOST_SHARE))
                side = int(width < 0)
                letter, hatch = EVIDENCE[evidence]
                drawn.barh(place, width, 0.62, ends[side], hatch=hatch, **_paint(cause))
                if abs(width) >= 0.05:
                    drawn.text(ends[side] + width / 2, place, letter, ha="center", va="center", fontsize=8,
                               bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0})  # fmt: skip
                ends[side] += width
        drawn.axvline(0, color=INK, linewidth=0.7)
        drawn.axvline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        drawn.set_yticks(range(len(labels)), [brief(label) for label in labels])
        drawn.set(ylim=(len(labels) - 0.5, -0.5), xlabel="share of the error's energy")
        drawn.tick_params(axis="y", length=0)
        handles = [patch(cause, **_paint(cause)) for cause in CAUSES if cause in set(data["cause"])]
        handles += [
            patch(f"{letter}: {word}", hatch=hatch, facecolor=PAPER, edgecolor=INK)
            for word, (letter, hatch) in EVIDENCE.items()
            if word in set(data["evidence"])
        ]
        drawn.legend(handles=handles, frameon=False, fontsize="small", ncols=3, loc="lower left",
                     bbox_to_anchor=(0, 1))  # fmt: skip
    return drawn


def _paint(cause: str) -> dict[str, Any]:
    parts = (int(CAUSES[cause][start : start + 2], 16) / 255 for start in (1, 3, 5))
    light = tuple(1 - 0.4 * (1 - part) for part in parts)  # opaque: hatching must be seen
    return {"facecolor": light, "edgecolor": CAUSES[cause], "linewidth": 0.8}


def plot_map(data: pd.DataFrame, *, ax: Any = None) -> Any:
    """rms error (ulp of Σ|terms|, log2 colours) of one result over blocks of its output plane.

    Columns: `row`, `column`, `error_scaled_ulp_rms`.  Returns the axes; raises `SchemaError` for a missing
    column, or where two rows are of one block: then the frame holds more than one result.
    """
    data = needed(data, "plot_map", "row", "column", "error_scaled_ulp_rms")
    if data.duplicated(["row", "column"]).any():
        raise SchemaError(
            "plot_map draws one result; the frame has a block twice; select one mode and output"
        )
    rows, columns = data["row"].to_numpy(dtype=int), data["column"].to_numpy(dtype=int)
    sizes = np.clip(reals(data["error_scaled_ulp_rms"]), LEAST, 2.0**120)
    plane = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    plane[rows, columns] = sizes
    known = sizes[np.isfinite(sizes)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.5, 1.0)
    high = max(high, 2 * low)  # a flat picture shall look flat
    with axes(ax, 4.2, 3.2) as drawn:
        picture = drawn.imshow(plane, norm="log", vmin=low, vmax=high, cmap="rocket_r", interpolation="none")
        bar = drawn.figure.colorbar(picture, ax=drawn, fraction=0.045, pad=0.03)
        whole = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
        whole = whole[:: max(1, -(-len(whole) // 6))]
        if len(whole) > 1:
            bar.set_ticks(list(2.0**whole), labels=[power(float(exponent)) for exponent in whole])
        else:
            bar.set_ticks([low, high], labels=[numbers.figure(low), numbers.figure(high)])
        bar.ax.minorticks_off()
        bar.set_label(f"rms error, ulp of Σ|terms| (largest {numbers.figure(known.max(initial=0.0))})")
        drawn.set(xlabel="column of the output plane, blocks", ylabel="row, blocks", xticks=[], yticks=[])
    return drawn


def plot_profile(data: pd.DataFrame, *, axis: str = "channel", ax: Any = None) -> Any:
    """rms error along the channels (ulp of Σ|terms|) or the condition of the elements (ulp), a line a result.

    Columns: `axis` (channel or condition), `low` (first channel, or least condition, of a block),
    `error_scaled_ulp_rms` for channels, `error_ulp_rms` for conditions; `label`, or `mode`.  Returns the
    axes; raises `SchemaError` for a missing column, or where no row is of that axis.
    """
    value = {"channel": "error_scaled_ulp_rms", "condition": "error_ulp_rms"}.get(axis)
    if value is None:
        raise SchemaError(f"plot_profile: the axis is channel or condition; got {axis!r}; name one of them")
    data = labelled(needed(data, "plot_profile", "axis", "low", value), "plot_profile")
    data = data[data["axis"] == axis]
    if data.empty:
        raise SchemaError(f"plot_profile draws rows of the axis {axis!r}; the frame has none; name the other")
    labels = names(data, "label")
    with axes(ax, 6.4, 3.0 + 0.12 * len(labels)) as drawn:
        every = []
        for label, look in looks(labels).items():
            part = data[data["label"].astype(str) == label].sort_values("low")
            low, powers = reals(part["low"]), log2(reals(part[value]))
            places = low if axis == "channel" else np.log2(np.maximum(low, 1.0)) + 0.5
            drawn.plot(places, powers, label=brief(label), markersize=3.5, linewidth=1.0,
                       markevery=max(1, len(places) // 10), **look)  # fmt: skip
            every.append(powers)
        drawn.axhline(-1, **HALF_ULP)
        log2_axis(drawn.yaxis, exponents(np.concatenate(every), 6))
        if axis == "condition":
            end = float(np.log2(max(1.0, reals(data["low"]).max()))) + 1.0
            log2_axis(drawn.xaxis, [tick for tick in exponents(np.array([0.0, end]), 8, 0) if tick <= end])
            drawn.set_xlim(-0.1, end + 0.1)
        unit = "of Σ|terms|" if axis == "channel" else "of the truth"
        drawn.set(xlabel="channel" if axis == "channel" else "condition, Σ|terms| / |truth|",
                  ylabel=f"rms error, ulp {unit}")  # fmt: skip
        drawn.grid(color=FAINT, linewidth=0.6)
        drawn.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return drawn
