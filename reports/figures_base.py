"""What the figures for papers and notebooks share: axes that are given or made, files, and looks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from reports import plots
from reports.plots import LEAST, Drawing, private, shortened

COLOURS = ("#0b66a8", "#c2500a", "#1a6b35", "#84207c", "#5c5c5c")
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKS = ("o", "s", "D", "^", "v", "X", "P")
HALF_ULP = {"color": plots.INK, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 1.8}
"""The look of the line at 0.5 ulp: the largest error of a correctly rounded result."""

COLUMN, PAGE = 3.3, 6.9
"""Inches of one column of a journal's page, and of both."""

_NARROW = 5.0
PRINT: dict[str, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "auto",
    "pdf.fonttype": 42,  # TrueType letters: journals refuse matplotlib's default, Type 3
    "hatch.linewidth": 0.6,
}
"""What print wants beside the report's own look."""

_NOTHING: dict[str, Any] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}
_FALLBACK = "'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif"


def document(figure: Any, form: str, dpi: float = 200.0) -> bytes:
    """A figure as the bytes of an svg, pdf or png file; without date and creator, so equal figures give equal
    bytes.

    A file of its own in print: letters stay letters in an SVG, and are TrueType in a PDF.
    """
    sink = io.BytesIO()
    with private(), own_look(PRINT):
        figure.savefig(sink, format=form, dpi=dpi, metadata=_NOTHING[form])
    return _svg(sink.getvalue()) if form == "svg" else sink.getvalue()


def settle(figure: Any) -> None:
    """Lay a figure out once and for all, so that every format of it has the same places.

    Letters are measured without hinting, as a PDF and an SVG have them; a screen's are narrower.
    """
    with private(), own_look({**PRINT, "text.hinting": "none"}):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _svg(content: bytes) -> bytes:
    """Without comments and empty metadata, which name the program, and with other fonts to fall back on."""
    text = re.sub(r"\s*(<metadata>.*?</metadata>|<!--.*?-->)", "", content.decode(), flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", _FALLBACK).encode()


def own_look(parameters: Any) -> Any:
    """A context in which matplotlib's parameters are these."""
    import matplotlib as mpl  # noqa: PLC0415

    return mpl.rc_context(parameters)


class Picture(Drawing):
    """A figure of its own, known to no pyplot, that a notebook shows as an image."""

    def _repr_png_(self) -> bytes:
        return document(self, "png", 110.0)


@cache
def _panel() -> Any:
    """The class of a `Picture`'s axes: a notebook shows the picture, as it shows what pyplot draws."""
    from matplotlib.axes import Axes  # noqa: PLC0415 (at the top only in `plots`, which says what to install)

    class Panel(Axes):
        def _repr_png_(self) -> bytes:
            return document(self.figure, "png", 110.0)

    return Panel


@contextmanager
def axes(
    ax: Any, width: float, height: float, most: float | None = None, layout: Any = "constrained"
) -> Iterator[Any]:
    """The axes that were given, or new ones of `width` x `height` inches in the look of print.

    most: the most inches that new ones may be wide; a narrow figure has smaller letters.  layout: as
    matplotlib names it, `compressed` where the axes keep their proportions.  On given axes the caller's own
    look is kept, but for dollar signs: in a name they are no mathematics.
    """
    if ax is not None:
        with own_look({"text.parse_math": False}):
            yield ax
        return
    if most is not None and not 1.0 <= most <= 40.0:
        raise ValueError(f"a figure is 1 to 40 inches wide; got {most!r}; give e.g. {COLUMN} or {PAGE}")
    wide = width if most is None else min(width, most)
    small = {"font.size": 7.5} if wide < _NARROW else {}
    with private(), own_look({**PRINT, **small}):
        drawn = Picture(figsize=(wide, height), layout=layout).add_subplot(axes_class=_panel())
        drawn.tick_params(labelsize=small.get("font.size", 9.0))  # of ticks that are made when it is drawn
        yield drawn


def looks(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour, a line and a mark for each label, so that colour is never the only sign.

    The numbers of colours, lines and marks share no divisor but 1: a look comes again after 210 labels.
    """
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
            "marker": MARKS[i % len(MARKS)],
        }
        for i, label in enumerate(labels)
    }


def points(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Looks without lines: a framework has its own colour and mark everywhere."""
    known = {name: {"color": plots.COLOURS[name], "marker": plots.MARKERS[name]} for name in plots.COLOURS}
    rest = looks([label for label in labels if label not in known])
    return {label: {**(known.get(label) or rest[label]), "linestyle": ""} for label in labels}


def log2(values: Any) -> Any:
    """log2 of sizes; what is 0 stands at the least that is drawn, what is infinite at 2**120."""
    return np.log2(np.clip(values, LEAST, 2.0**120))


def names(frame: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column as text: in order of appearance, or in that of its categories."""
    series = frame[column]
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.cat.remove_unused_categories()
        return [str(value) for value in series.cat.categories]
    return list(dict.fromkeys(str(value) for value in series))


def brief(text: str, limit: int = 44) -> str:
    """A name that a legend can hold."""
    return shortened(text, limit)
