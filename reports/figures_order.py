"""The order of a sum as a figure: the drawing of `reports.tree_drawing`, on matplotlib's axes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.figures_base import axes
from reports.figures_input import needed
from reports.figures_layout import room
from reports.plots import INK
from reports.schema import SchemaError
from reports.tree_drawing import tree_svg

_EDGE, _BOX, _MARK, _SOFT = "#6f6a60", "#f1efe9", "#0b5394", "#57606a"
_TEXT: dict[str, dict[str, Any]] = {
    "title": {"fontweight": "bold"},
    "soft": {"color": _SOFT},
    "many": {"color": _MARK, "fontweight": "bold"},
    "mark": {"color": _MARK, "ha": "center"},
}
_PIXELS = 96.0
_LETTERS = {"title": 15.0}


def plot_order(data: pd.DataFrame, *, ax: Any = None, width: float | None = None) -> Any:
    """The order in which a result's terms are added: time goes from left to right, a box is an accumulator.

    Columns: `tree` (an order as JSON, as in the table `orders`); rows without one are left out.  The letters
    shrink with the drawing, which keeps its proportions.  Returns the axes; raises `SchemaError` for a
    missing column, no tree, or several that differ.
    """
    data = needed(data, "plot_order", "tree")
    trees = list(dict.fromkeys(data["tree"].dropna()))
    if len(trees) != 1:
        raise SchemaError(
            f"plot_order draws one order; the frame has {len(trees)} trees that differ; select one result"
        )
    try:
        drawing = ET.fromstring(tree_svg(json.loads(trees[0])))
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"plot_order: a tree is an order's JSON; {error}; take the table of orders"
        ) from None
    across, down = (float(drawing.attrib[name]) for name in ("width", "height"))
    wide = across / _PIXELS if width is None else min(width, across / _PIXELS)
    with axes(ax, wide, wide * down / across, width) as drawn:
        drawn.set_axis_off()
        drawn.set(xlim=(0, across), ylim=(down, 0), aspect="equal")
        space = room(drawn)
        scale = min(space.width / across, space.height / down) * 72.0  # points a pixel
        for element, x, y in _elements(drawing, 0.0, 0.0):
            _draw(drawn, element, x, y, scale)
    return drawn


def _elements(parent: ET.Element, x: float, y: float) -> Iterator[tuple[ET.Element, float, float]]:
    """Every shape and text with the place of its group."""
    for element in parent:
        if element.tag.endswith("}g"):
            dx, dy = map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", element.attrib["transform"]))
            yield from _elements(element, x + dx, y + dy)
        else:
            yield element, x, y


def _draw(drawn: Any, element: ET.Element, x: float, y: float, scale: float) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch, PathPatch  # noqa: PLC0415 (see `plots`)

    kind, style = element.tag.rpartition("}")[2], element.attrib.get("class", "")
    numbers = {name: float(value) for name, value in element.attrib.items() if name in ("x", "y", "cx", "cy",
               "r", "rx", "width", "height")}  # fmt: skip
    if kind == "text":
        size = _LETTERS.get(style, 12.0) * scale
        look = {"color": INK, **_TEXT.get(style, {})}
        drawn.text(x + numbers["x"], y + numbers["y"], element.text or "", fontsize=size, **look)
    elif kind == "rect":
        look = {"facecolor": "none", "linestyle": (0, (4, 3))} if style == "more" else {"facecolor": _BOX}
        box = f"round,pad=0,rounding_size={numbers.get('rx', 0.0):g}"
        drawn.add_patch(FancyBboxPatch((x, y), numbers["width"], numbers["height"], box, edgecolor=_EDGE,
                                       linewidth=scale, **look))  # fmt: skip
    elif kind == "circle":
        place = x + numbers["cx"], y + numbers["cy"]
        drawn.add_patch(
            Circle(place, numbers["r"], facecolor=_BOX, edgecolor=_MARK, linewidth=1.5 * scale, zorder=2)
        )
    elif kind == "path":
        drawn.add_patch(PathPatch(_path(element.attrib["d"], x, y), facecolor="none", edgecolor=_EDGE,
                                  linewidth=1.5 * scale, zorder=0.5))  # fmt: skip


def _path(text: str, x: float, y: float) -> Any:
    """A path of lines: M, L, H and V, whole or relative."""
    from matplotlib.path import Path  # noqa: PLC0415

    places: list[tuple[float, float]] = []
    codes: list[Any] = []
    here = (x, y)
    for letter, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", text):
        values = [float(value) for value in re.findall(r"-?[\d.]+(?:e-?\d+)?", rest)]
        base = (x, y) if letter.isupper() else here
        if letter in "Hh":
            here = (base[0] + values[0], here[1])
        elif letter in "Vv":
            here = (here[0], base[1] + values[0])
        elif letter in "MmLl":
            here = (base[0] + values[0], base[1] + values[1])
        else:
            raise ValueError(f"a drawing's lines are M, L, H and V; got {letter!r}")
        places.append(here)
        codes.append(Path.MOVETO if letter in "Mm" else Path.LINETO)
    return Path(places, codes)
