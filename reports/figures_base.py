"""What the figures for papers and notebooks share: axes that are given or made, columns that are needed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from reports import plots
from reports.plots import LEAST, Drawing, power, private, shortened
from reports.schema import SchemaError

COLOURS = ("#0b66a8", "#c2500a", "#1a6b35", "#84207c", "#5c5c5c")
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKS = ("o", "s", "D", "^", "v", "X", "P")
HALF_ULP = {"color": plots.INK, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 0}
"""The look of the line at 0.5 ulp: the largest error of a correctly rounded result."""


_NOTHING = {"pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")), "png": {"Software": None}}


def document(figure: Any, form: str, dpi: float = 200.0) -> bytes:
    """A figure as the bytes of an svg, pdf or png file; without date and creator, so equal figures give equal
    bytes.

    Letters in a PDF are TrueType: journals refuse matplotlib's default, Type 3.
    """
    if form == "svg":
        return plots.svg(figure)
    sink = io.BytesIO()
    with private(), own_look({"pdf.fonttype": 42}):
        figure.savefig(sink, format=form, dpi=dpi, metadata=_NOTHING[form])
    return sink.getvalue()


def own_look(parameters: Any) -> Any:
    """A context in which matplotlib's parameters are these."""
    import matplotlib as mpl  # noqa: PLC0415 (at the top only in `plots`, which says what to install)

    return mpl.rc_context(parameters)


class Picture(Drawing):
    """A figure of its own, known to no pyplot, that a notebook shows as an image."""

    def _repr_png_(self) -> bytes:
        return document(self, "png", 110.0)


@contextmanager
def axes(ax: Any, width: float, height: float) -> Iterator[Any]:
    """The axes that were given, or new ones of `width` x `height` inches in the report's look.

    On given axes the caller's own look is kept, but for dollar signs: in a name they are no mathematics.
    """
    if ax is None:
        with private():
            yield Picture(figsize=(width, height), layout="constrained").add_subplot()
    else:
        with own_look({"text.parse_math": False}):
            yield ax


def needed(frame: pd.DataFrame, function: str, *columns: str) -> pd.DataFrame:
    """`frame`, after a check that it has these columns and a row.

    Raises `SchemaError`, a ValueError, that names the missing column, what the frame has, and the mend.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"{function} takes a data frame; got {type(frame).__name__}; pass one")
    for column in columns:
        if column not in frame.columns:
            have = ", ".join(map(str, frame.columns)) or "no columns"
            raise SchemaError(f"{function} needs the column {column!r}; the frame has {have}; add it")
    if frame.empty:
        raise SchemaError(f"{function} draws rows; the frame has none; select other rows")
    return frame


def labelled(frame: pd.DataFrame, function: str) -> pd.DataFrame:
    """The frame with a column `label`: its own, or made of what tells its rows' results apart.

    That is `mode`, with the case where there are several, and the output where it has a name of its own.
    """
    if "label" in frame.columns:
        return frame
    needed(frame, function, "mode")
    label = frame["mode"].astype(str)
    if "output" in frame.columns and frame["output"].nunique() > 1:
        label = "[" + frame["output"].astype(str) + "] " + label
    if "case" in frame.columns and frame["case"].nunique() > 1:
        label = frame["case"].astype(str) + " · " + label
    return frame.assign(label=label)


def names(frame: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column as text, in order of appearance."""
    return list(dict.fromkeys(str(value) for value in frame[column]))


def reals(series: pd.Series[Any]) -> Any:
    """A column as float64, missing values as NaN."""
    return series.astype("Float64").to_numpy(dtype=float, na_value=np.nan)


def log2(values: Any) -> Any:
    """log2 of sizes; what is 0 stands at the least that is drawn, what is infinite at 2**120."""
    return np.log2(np.clip(values, LEAST, 2.0**120))


def exponents(powers: Any, most: int = 8, least: int = -1) -> list[int]:
    """Whole exponents of 2 from below the least to above the largest finite power, `least` among them."""
    finite = powers[np.isfinite(powers)]
    low = min(least, int(np.floor(finite.min(initial=0.0))))
    high = max(least + 2, int(np.ceil(finite.max(initial=0.0))))
    step = max(1, -(-(high - low) // most))
    return list(range(least - step * ((least - low) // step), high + step, step))


def log2_axis(axis: Any, ticks: Sequence[int]) -> None:
    """Label an axis that holds exponents of 2 with the values themselves."""
    axis.set_ticks(list(ticks), labels=[power(tick) for tick in ticks])


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


def brief(text: str, limit: int = 44) -> str:
    """A name that a legend can hold."""
    return shortened(text, limit)
