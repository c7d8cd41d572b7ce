"""Figures from long-form frames: data in, figure out.

Uses matplotlib's object interface and a private set of parameters, so that nothing global changes
and the same frame gives the same bytes.  ulp axes are log2 with a line at 0.5, the largest error
of a correctly rounded result.  The other plots of the page take matplotlib from here.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from reports import numbers

try:
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm, to_rgba
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the page draws with matplotlib and seaborn; {error.name} is missing; install precision[plots]",
        name=error.name,
    ) from None

Drawing = Figure

COLOURS = {"torch": "#c2500a", "tensorflow": "#0b66a8", "both": "#5b4a9c"}
"""One fixed colour for each framework, and one for results that both gave."""

MARKERS = {"torch": "o", "tensorflow": "s", "both": "D"}
OTHER = "#5c5c5c"
INK, FAINT, PAPER = "#24292f", "#d8d6d0", "#fbfaf8"
LEAST = 2.0**-6
_CROWDED = 11
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif"

_PARAMETERS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c8a84",
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # a tenth of the bytes of outlines
    "svg.hashsalt": "precision report",
}


@contextmanager
def private() -> Iterator[None]:
    """Our parameters, and no warning for a letter that the font lacks: it is drawn as a box."""
    with mpl.rc_context(_PARAMETERS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(figure: Figure) -> bytes:
    """The figure as an SVG document without date, creator or external reference."""
    sink = io.BytesIO()
    with private():
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = sink.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<(?:path|use|rect|image|g|text)\b[^>]*>", _brief_tag, text)
    text = text.replace("</style>", f"text{{font-family:{_FONTS}}}</style>", 1)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r"<[^>]*>", lambda tag: _used_ids(tag[0], used), text)  # a name may hold id="…" as well
    return re.sub(r"\n\s*", "\n", text).encode("utf-8")


def _used_ids(tag: str, used: Set[str]) -> str:
    return re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", tag)


def _brief_tag(tag: re.Match[str]) -> str:
    """A tag with one decimal a coordinate, and without what the document's own style says for all."""
    text = re.sub(r"(\d+\.\d)\d+", r"\1", tag[0])
    text = re.sub(r"; stroke-linejoin: miter(?=\")", "", text) if text.startswith("<use") else text
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r"; font-family: [^;\"]*", "", text)
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"\s*([A-Za-z])\s*", r"\1", path[0]), text)


def canvas(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def patch(label: str, **paint: Any) -> Patch:
    """An entry of a legend."""
    return Patch(label=label, **paint)


def line(label: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **look)


def spread(frame: pd.DataFrame) -> Figure:
    """rms error (ulp, log2 axis) of every distinct result, one row a case, shape and colour a framework.

    Columns: `case`, `framework` (torch, tensorflow or both), `error_scaled_ulp_rms` (ulp of Σ|terms|).
    """
    cases = list(dict.fromkeys(frame["case"]))
    rms = frame["error_scaled_ulp_rms"].to_numpy(dtype=float)
    powers = np.log2(np.clip(rms, LEAST, 2.0**120))
    ticks = _power_ticks(powers[(rms > 0) & np.isfinite(rms)])
    step = ticks[1] - ticks[0]
    zero = ticks[0] - 1.5 * step  # an exact result has a place of its own, an infinite error too
    end = max(ticks[-1], float(powers[np.isfinite(rms)].max(initial=0.0))) + 0.4 * step
    infinite = [end + 0.6 * step] if np.isinf(rms).any() else []
    powers = np.where(np.isfinite(rms), powers, [*infinite, 0.0][0])
    shown = pd.DataFrame(
        {
            "power": np.where(rms > 0, powers, zero),
            "row": [float(cases.index(case)) for case in frame["case"]],
            "framework": [str(name) for name in frame["framework"]],
        }
    )
    names = [name for name in COLOURS if name in set(shown["framework"])]
    names += sorted(set(shown["framework"]) - set(names))
    shown["row"] += shown["framework"].map({"torch": -0.16, "tensorflow": 0.16}).fillna(0.0)
    with private():
        figure = canvas(9.4, 0.3 * len(cases) + 1.1)
        axes = figure.add_subplot()
        sns.scatterplot(
            shown, x="power", y="row", hue="framework", style="framework", ax=axes,
            hue_order=names, style_order=names, palette={name: COLOURS.get(name, OTHER) for name in names},
            markers={name: MARKERS.get(name, "X") for name in names}, s=34, alpha=0.85, linewidth=0.4,
        )  # fmt: skip
        axes.axvline(-1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(cases)), [shortened(case, 40) for case in cases])
        words = ["0", *(power(tick) for tick in ticks), *(numbers.INFINITE for _ in infinite)]
        axes.set_xticks([zero, *ticks, *infinite], words)
        axes.set(
            ylim=(len(cases) - 0.5, -0.5),
            ylabel="",
            xlabel="rms error, ulp of Σ|terms| (further left is better)",
        )
        axes.set_xlim(zero - 0.4 * step, end + step * len(infinite))
        axes.grid(axis="both", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        names = ["both, the same bits" if name == "both" else name for name in names]
        handles, _ = axes.get_legend_handles_labels()
        axes.legend(handles, names, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def _power_ticks(powers: Any) -> list[int]:
    """At most nine exponents of 2 from about the least to about the largest, with -1 (0.5 ulp) among them."""
    low = min(-1, int(np.floor(powers.min(initial=0.0))))
    high = max(3, int(np.ceil(powers.max(initial=0.0))))
    step = max(1, -(-(high - low) // 8))
    return list(range(-1 - step * ((-1 - low) // step), high + 1, step))


def power(exponent: float) -> str:
    """2 to that power in few letters: 0.5, 64, 8,192, 1e6."""
    value = 2.0**exponent
    return f"{value:,.0f}" if 1 <= value < 1e5 else numbers.short(value).replace("0.50", "0.5")


def histogram(frame: pd.DataFrame) -> Figure:
    """Signed error (ulp, log2 both ways from 0.5) of each result: one row a result, shared axis.

    Columns: `label`, `framework` (torch, tensorflow or both), `note` (written at the row's end),
    `bin_left_ulp`, `bin_right_ulp` (may be infinite), `count` (elements); `expected` (elements, drawn
    as a line) may be left out or missing.  Heights are elements per unit of the axis, and every row is
    scaled to its own tallest bin.
    """
    labels = list(dict.fromkeys(frame["label"]))
    used = frame[frame["count"] > 0]
    limit = _outer(used["bin_left_ulp"], used["bin_right_ulp"])
    with private():
        figure = canvas(9.4, 0.4 * len(labels) + 0.75)
        axes = figure.add_subplot()
        for number, label in enumerate(labels):
            part = frame[frame["label"] == label].sort_values("bin_left_ulp")
            colour = COLOURS.get(part["framework"].iloc[0], OTHER)
            heights, edges = _steps(part, limit)
            base, scale = len(labels) - 1 - number, 0.82 / (max(heights, default=0.0) or 1.0)
            if "expected" in part and part["expected"].notna().any():
                likely, ends = _steps(part, limit, "expected")
                scale = min(scale, 0.9 / (max(likely, default=0.0) or 1.0))
                axes.stairs(base + scale * likely, ends, baseline=None, color=INK, linewidth=0.9, zorder=3)
            axes.stairs(
                base + scale * heights, edges, baseline=base, fill=True,
                facecolor=to_rgba(colour, 0.55), edgecolor=colour, linewidth=0.9,
            )  # fmt: skip
            axes.axhline(base, color=FAINT, linewidth=0.6, zorder=0)
            axes.text(1.01, base + 0.3, part["note"].iloc[0], transform=axes.get_yaxis_transform(),
                      fontsize=8, va="center")  # fmt: skip
        for edge in (-1.0, 1.0):
            axes.axvline(edge, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.axvline(0, color=INK, linewidth=0.5)
        ticks = _ticks(limit)
        axes.set_xticks(_symmetric(np.array(ticks), limit), [_tick(tick) for tick in ticks])
        edge = float(_symmetric(np.array([limit]), limit)[0])
        axes.set(xlim=(-edge - 1.0, edge + 1.0), ylim=(-0.05, len(labels)))
        axes.set_yticks(np.arange(len(labels)) + 0.3, [wrapped(label) for label in reversed(labels)])
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("signed error, ulp (narrow and centred on 0 is better)")
    return figure


def _steps(part: pd.DataFrame, limit: float, column: str = "count") -> tuple[Any, list[float]]:
    """Heights per unit of the axis and edges on it; bins that are left out stand at 0."""
    heights: list[float] = []
    edges: list[float] = []
    for left, right, count in part[["bin_left_ulp", "bin_right_ulp", column]].to_numpy(dtype=float):
        start, end = (float(place) for place in _symmetric(np.array([left, right]), limit))
        if edges and start > edges[-1]:
            heights.append(0.0)
            edges.append(start)
        if end > (edges[-1] if edges else start):
            edges += [end] if edges else [start, end]
            heights.append(count / (end - start))
    return np.nan_to_num(np.array(heights)), edges


def _outer(left: Any, right: Any) -> float:
    """The largest finite edge of a bin that holds elements, at least 1 ulp."""
    edges = np.abs(np.concatenate([left.to_numpy(dtype=float), right.to_numpy(dtype=float)]))
    finite = edges[np.isfinite(edges)]
    return float(max(finite.max(initial=1.0), 1.0))


def _symmetric(edges: Any, limit: float) -> Any:
    """Linear up to 0.5 ulp, then one unit a doubling; what is beyond the limit is one unit further."""
    size = np.abs(edges)
    place = np.where(size <= 0.5, 2 * size, 2 + np.log2(np.clip(size, 0.5, limit)))
    return np.copysign(place + (size > limit), edges)


def _ticks(limit: float) -> list[float]:
    doublings = int(np.floor(np.log2(limit)))
    step = max(1, -(-(doublings + 1) // 6))
    powers = [2.0**exponent for exponent in range(0 if step == 1 else step - 1, doublings + 1, step)]
    half = [0.5] if doublings < _CROWDED else []  # else its words would lie upon those of 0
    return [*(-value for value in reversed([*half, *powers])), 0.0, *half, *powers]


def _tick(value: float) -> str:
    sign = "" if value == 0 else "+" if value > 0 else "-"
    return sign + numbers.short(abs(value)).replace("0.50", "0.5").replace(".0", "")


def error_map(frame: pd.DataFrame) -> Figure:
    """rms error (ulp, log2 greys, black the worst) over the output plane, one panel a result, one scale.

    The page turns the greys into its own colours, which differ in light and in dark (`theme.ramps`).

    Columns: `label`, `row`, `column` (blocks of the plane), `error_scaled_ulp_rms`.
    """
    labels = list(dict.fromkeys(frame["label"]))
    every = frame["error_scaled_ulp_rms"].to_numpy(dtype=float)
    every = np.clip(every[np.isfinite(every)], LEAST, 2.0**120)
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.5, 1.0)
    high = max(high, 2 * low)  # a flat picture shall look flat, and good
    tall = int(frame["row"].max()) + 1
    wide = int(frame["column"].max()) + 1
    with private():
        figure = canvas(2.45 * len(labels) + 0.9, min(3.4, max(1.1, 2.3 * tall / wide)) + 0.75)
        panels = figure.subplots(1, len(labels), squeeze=False)[0]
        for axes, label in zip(panels, labels, strict=True):
            part = frame[frame["label"] == label]
            plane = np.full((tall, wide), np.nan)
            plane[part["row"].to_numpy(dtype=int), part["column"].to_numpy(dtype=int)] = np.clip(
                part["error_scaled_ulp_rms"].to_numpy(dtype=float, na_value=np.nan), LEAST, 2.0**120
            )
            picture = axes.imshow(plane, norm=LogNorm(low, high), cmap="gray_r", interpolation="none")
            axes.set_title(wrapped(label), fontsize=7.5)
            axes.set(xticks=[], yticks=[])
        bar = figure.colorbar(picture, ax=list(panels), fraction=0.03, pad=0.015)
        whole = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
        whole = whole[:: max(1, -(-len(whole) // 6))]
        bar.set_ticks(list(2.0**whole), labels=[power(exponent) for exponent in whole])
        bar.ax.minorticks_off()
        bar.set_label("rms error, ulp of Σ|terms|", fontsize=8)
        bar.ax.tick_params(labelsize=7.5)
    return figure


def shortened(text: str, limit: int) -> str:
    """A name in one line that a font and an SVG can hold, shortened in its middle."""
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    if len(flat) <= limit:
        return flat
    half = (limit - 1) // 2
    return f"{flat[:half]}…{flat[-half:]}"


def wrapped(text: str) -> str:
    parts: Sequence[str] = [shortened(part, 36) for part in text.split(" = ")]
    return " =\n".join(parts)
