"""Figures of one case's elements: signed errors, causes, the output plane, channels and conditions.

Rows of several results are told apart by a column `label`; without one, by `mode`, `case` and `output`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import numbers
from reports.budget_plot import CAUSES, EVIDENCE
from reports.figures_base import HALF_ULP, axes, brief, log2, looks, names
from reports.figures_input import labelled, needed, once, places, reals, sizes, words
from reports.figures_layout import Room, across, broken, legend, lines, log2_axis, room, up
from reports.plots import FAINT, INK, LEAST, patch, power
from reports.schema import SchemaError

_MOST_SHARE = 3.0


def plot_histogram(data: pd.DataFrame, *, ax: Any = None, width: float | None = None) -> Any:
    """Signed error (ulp) of each result as the outline of a histogram, over a symmetric log2 axis.

    Columns: `bin_left_ulp`, `bin_right_ulp` (may be infinite) and `count` (elements); `label`, or `mode`;
    `expected` (elements), drawn thin, may be left out.  The axis is linear within 0.5 ulp and log2 beyond;
    heights are the share of a result's elements per unit of it.  Returns the axes; raises `SchemaError` for a
    missing column, for bins that overlap, or where no bin holds an element.
    """
    data = needed(data, "plot_histogram", "bin_left_ulp", "bin_right_ulp", "count")
    data = _bins(labelled(data, "plot_histogram"))
    used = data[data["_count"] > 0]
    if used.empty:
        raise SchemaError("plot_histogram draws elements; every count is 0; select other rows")
    edges = np.abs(np.concatenate([used["_left"], used["_right"]]))
    limit = max(1.0, float(edges[np.isfinite(edges)].max(initial=1.0)))
    labels = names(data, "label")
    narrow = width is not None and width < 5
    with axes(ax, 6.4, (2.3 if narrow else 3.0) + 0.13 * len(labels), width) as drawn:
        space = room(drawn)
        for label, look in looks(labels).items():
            part = data[data["label"].astype(str) == label].sort_values("_left")
            line = {"color": look["color"], "linestyle": look["linestyle"]}
            drawn.stairs(*_outline(part, "_count", limit), label=brief(label), linewidth=1.3, **line)
            if "_expected" in part.columns and part["_expected"].notna().any():
                drawn.stairs(*_outline(part, "_expected", limit), linewidth=0.6, color=INK)
        for edge in (-1.0, 1.0):
            drawn.axvline(edge, **HALF_ULP)
        inches = space.inner(["0.25"])
        every = _ticks(limit, max(1, space.letters(0.5 * inches) // 7))
        shown = [("-" if tick < 0 else "") + power(np.log2(abs(tick))) if tick else "0" for tick in every]
        middle = _place(np.array([0.5]), limit)[0] / (_place(np.array([limit]), limit)[0] + 1)
        half, unit = len(shown) // 2, space.letters(0.45 * inches * middle)
        if unit < 3 and len(shown) > 2:  # no room for 0 between -0.5 and 0.5, or for those beside each other
            shown[half - 1 : half + 2] = (
                [shown[half - 1], "", shown[half + 1]] if unit > 2 else ["", "±0.5", ""]
            )
        drawn.set_xticks(_place(np.array(every), limit), shown)
        words_across = lines("signed error, ulp (narrow and centred on 0 is better)", space.letters(inches))
        drawn.set(xlabel=words_across, ylabel="share of elements\nper unit of the axis", ylim=(0, None))
        legend(drawn, space)
    return drawn


def _bins(data: pd.DataFrame) -> pd.DataFrame:
    """The bins as floats in columns of our own, after a check that those of a result do not overlap."""
    function = "plot_histogram"
    found = data.assign(
        _left=reals(data, function, "bin_left_ulp"),
        _right=reals(data, function, "bin_right_ulp"),
        _count=sizes(data, function, "count"),
    )
    if "expected" in data.columns:
        found = found.assign(_expected=reals(data, function, "expected"))
    if not (found["_left"] < found["_right"]).all():
        raise SchemaError(f"{function}: bin_left_ulp is below bin_right_ulp; in a row it is not; mend it")
    for label, part in found.sort_values("_left").groupby("label", sort=False):
        if (part["_left"].to_numpy()[1:] < part["_right"].to_numpy()[:-1]).any():
            raise SchemaError(
                f"{function} draws one histogram a label; bins of {label!r} overlap; select rows"
            )
    return found


def _ticks(limit: float, most: int) -> list[float]:
    """0, and at both sides at most so many of 0.5, 1, 2, ... up to the limit."""
    last = int(np.floor(np.log2(limit)))
    step = max(1, -(-(last + 2) // most))
    tens = [2.0**exponent for exponent in range(-1 + (step - 1) * (most < 3), last + 1, step)]
    return [*(-tick for tick in reversed(tens)), 0.0, *tens]


def _place(edges: Any, limit: float) -> Any:
    """Twice the error up to 0.5 ulp, then one unit a doubling; what is beyond the limit, one unit further."""
    size = np.abs(edges)
    place = np.where(size <= 0.5, 2 * size, 2 + np.log2(np.clip(size, 0.5, limit)))
    return np.copysign(place + (size > limit), edges)


def _outline(part: pd.DataFrame, column: str, limit: float) -> tuple[Any, Any]:
    """Heights and edges of the outline: shares of all elements per unit of the axis; gaps stand at 0."""
    heights: list[float] = []
    edges: list[float] = []
    total = float(np.nansum(part["_count"])) or 1.0
    for left, right, count in zip(part["_left"], part["_right"], part[column], strict=True):
        start, end = (float(place) for place in _place(np.array([left, right]), limit))
        if edges and start > edges[-1]:
            heights.append(0.0)
            edges.append(start)
        if end > (edges[-1] if edges else start):
            edges += [end] if edges else [start, end]
            heights.append(0.0 if np.isnan(count) else count / total / (end - start))
    return np.array(heights), np.array(edges)


def plot_budget(data: pd.DataFrame, *, ax: Any = None, width: float | None = None) -> Any:
    """What each cause has of the error's energy: a stacked bar a result; a share below 0 stands left of 0.

    Columns: `cause`, `evidence`, `share` (<part, error> / <error, error>; those of a result add up to 1);
    `label`, or `mode`.  Hatching and letters say how far each is supported.  Returns the axes; raises
    `SchemaError` for a missing column or a word that is no cause or evidence.
    """
    data = labelled(needed(data, "plot_budget", "cause", "evidence", "share"), "plot_budget")
    words(data, "plot_budget", "cause", list(CAUSES))
    words(data, "plot_budget", "evidence", list(EVIDENCE))
    data = data.assign(_share=reals(data, "plot_budget", "share"))
    labels = names(data, "label")
    pitch = 0.28 if width is not None and width < 5 else 0.32
    with axes(ax, 6.4, 1.3 + pitch * len(labels), width) as drawn:
        space = room(drawn)
        for place, label in enumerate(labels):
            ends = [0.0, 0.0]
            part = data[(data["label"].astype(str) == label) & data["_share"].notna()]
            for cause, evidence, share in zip(part["cause"], part["evidence"], part["_share"], strict=True):
                part_width = float(np.clip(share, -_MOST_SHARE, _MOST_SHARE))
                side = int(part_width < 0)
                letter, hatch = EVIDENCE[evidence]
                drawn.barh(place, part_width, 0.62, ends[side], hatch=hatch, **_paint(cause))
                if abs(part_width) >= 0.06:
                    drawn.text(ends[side] + part_width / 2, place, letter, ha="center", va="center",
                               fontsize=0.85 * space.size,
                               bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
                ends[side] += part_width
        drawn.axvline(0, color=INK, linewidth=0.7)
        drawn.axvline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        most = max(14, space.letters(0.36 * space.width))
        drawn.set_yticks(range(len(labels)), [broken(brief(label), most) for label in labels])
        drawn.set(ylim=(len(labels) - 0.5, -0.5), xlabel="share of the error's energy")
        drawn.tick_params(axis="y", length=0)
        handles = [patch(cause, **_paint(cause)) for cause in CAUSES if cause in set(data["cause"])]
        handles += [
            patch(f"{letter}: {word}", hatch=hatch, facecolor="white", edgecolor=INK)
            for word, (letter, hatch) in EVIDENCE.items()
            if word in set(data["evidence"])
        ]
        legend(drawn, space, right=True, handles=handles)
    return drawn


def _paint(cause: str) -> dict[str, Any]:
    parts = (int(CAUSES[cause][start : start + 2], 16) / 255 for start in (1, 3, 5))
    light = tuple(1 - 0.4 * (1 - part) for part in parts)  # opaque: hatching must be seen
    return {"facecolor": light, "edgecolor": CAUSES[cause], "linewidth": 0.8}


def plot_map(
    data: pd.DataFrame,
    *,
    limits: tuple[float, float] | None = None,
    cbar: bool = True,
    ax: Any = None,
    width: float | None = None,
) -> Any:
    """rms error (ulp of Σ|terms|, log2 colours) of one result over blocks of its output plane.

    Columns: `row`, `column` (counted from 0), `error_scaled_ulp_rms`.  limits: the errors at both ends of the
    colours, so that several maps can share them; cbar: whether the scale is shown.  Returns the axes; raises
    `SchemaError` for a missing column, or where two rows are of one block: the frame then holds more than one
    result.
    """
    data = needed(data, "plot_map", "row", "column", "error_scaled_ulp_rms")
    rows, columns = (places(data, "plot_map", name) for name in ("row", "column"))
    once(data, "plot_map", ["row", "column"], "a block", "select one mode and output")
    given = sizes(data, "plot_map", "error_scaled_ulp_rms")
    found = np.clip(given, LEAST, 2.0**120)
    plane = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    plane[rows, columns] = found
    low, high = limits or map_limits(found)
    wide = 3.6 if width is None else min(width, 3.6)
    tall = float(np.clip((wide - 1.1) * plane.shape[0] / plane.shape[1], 0.9, 3.6)) + 0.5
    with axes(ax, wide, tall, width, "compressed") as drawn:
        space = room(drawn)
        picture = drawn.imshow(plane, norm="log", vmin=low, vmax=high, cmap="rocket_r", interpolation="none")
        if cbar:
            map_bar(picture, drawn, space)
        known = given[~np.isnan(given)]
        text = f"largest {numbers.figure(float(known.max()))}" if len(known) else "nothing measured"
        drawn.set(xlabel=f"columns of the output ({text})", ylabel="rows", xticks=[], yticks=[])
        drawn.set_xlabel(lines(drawn.get_xlabel(), space.letters(space.width - 0.9)))
    return drawn


def map_bar(picture: Any, beside: Any, space: Room) -> None:
    """The scale of a map's colours, beside these axes: whole powers of 2, or both ends."""
    low, high = picture.norm.vmin, picture.norm.vmax
    figure = picture.axes.figure
    bar = figure.colorbar(picture, ax=beside, fraction=0.045, pad=0.03)
    whole = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    whole = whole[:: max(1, -(-len(whole) // 6))]
    if len(whole) > 1:
        bar.set_ticks(list(2.0**whole), labels=[power(float(exponent)) for exponent in whole])
    else:
        ends = [low, *2.0**whole, high]
        bar.set_ticks(ends, labels=[numbers.figure(float(end)) for end in ends])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=0.9 * space.size)
    bar.set_label(lines("rms error, ulp of Σ|terms|", space.letters(0.75 * space.height)))


def map_limits(errors: Any) -> tuple[float, float]:
    """The least and the largest finite error; at least a factor of two, so that a flat picture looks flat."""
    known = np.clip(errors[np.isfinite(errors)], LEAST, 2.0**120)
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.5, 1.0)
    return low, max(high, 2 * low)


def plot_profile(
    data: pd.DataFrame, *, axis: str = "channel", ax: Any = None, width: float | None = None
) -> Any:
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
    once(data, "plot_profile", ["label", "low"], "a block", "select one result a label")
    data = data.assign(_low=reals(data, "plot_profile", "low"), _size=sizes(data, "plot_profile", value))
    labels = names(data, "label")
    narrow = width is not None and width < 5
    with axes(ax, 6.4, (2.2 if narrow else 2.8) + 0.13 * len(labels), width) as drawn:
        space = room(drawn)
        for label, look in looks(labels).items():
            part = data[data["label"].astype(str) == label].sort_values("_low")
            low = part["_low"].to_numpy()
            place = low if axis == "channel" else np.log2(np.maximum(low, 1.0)) + 0.5
            drawn.plot(place, log2(part["_size"].to_numpy()), label=brief(label), markersize=3.5,
                       linewidth=1.0, markevery=max(1, len(place) // 10), **look)  # fmt: skip
        drawn.axhline(-1, **HALF_ULP)
        log2_axis(drawn.yaxis, up(log2(data["_size"].to_numpy()), space))
        if axis == "condition":
            end = float(np.log2(max(1.0, np.nanmax(data["_low"], initial=1.0)))) + 1.0
            ticks = across(np.array([0.0, end]), space, space.inner(["8,192"]), 0)
            log2_axis(drawn.xaxis, [tick for tick in ticks if tick <= end])
            drawn.set_xlim(-0.1, end + 0.1)
        unit = "of Σ|terms|" if axis == "channel" else "of the truth"
        drawn.set(xlabel="channel" if axis == "channel" else "condition, Σ|terms| / |truth|",
                  ylabel=lines(f"rms error, ulp {unit}", space.letters(0.7 * space.height)))  # fmt: skip
        drawn.grid(color=FAINT, linewidth=0.6)
        legend(drawn, space)
    return drawn
