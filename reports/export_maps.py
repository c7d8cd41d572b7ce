"""The maps of one case's results beside each other, with one scale of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.figures_base import PRINT, Picture, brief, names, own_look
from reports.figures_case import map_bar, map_limits, plot_map
from reports.figures_input import sizes
from reports.figures_layout import Room, broken
from reports.plots import private

_ACROSS = 4


def draw_maps(data: pd.DataFrame, width: float) -> Any:
    """A panel for each value of `label`; returns the first panel's axes.  Columns as for `plot_map`."""
    labels = names(data, "label")
    limits = map_limits(sizes(data, "draw_maps", "error_scaled_ulp_rms"))
    across = min(len(labels), _ACROSS if width >= 5 else 2)
    down = -(-len(labels) // across)
    shape = (int(data["row"].max()) + 1) / (int(data["column"].max()) + 1)
    wide = min(width, 1.7 * across + 0.8)
    size = 7.5
    panel = (wide - 0.8) / across
    titles = [
        broken(brief(label, 60).replace(" = ", " =\n"), int(panel * 72 / (0.6 * size))) for label in labels
    ]
    lines = max(title.count("\n") + 1 for title in titles)
    tall = down * (float(np.clip(panel * shape, 0.5, 2.4)) + 0.14 * lines + 0.1) + 0.1
    with private(), own_look({**PRINT, "font.size": size}):
        figure = Picture(figsize=(wide, tall), layout="compressed")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels[len(labels) :]:
            axes.set_axis_off()
        for axes, label, title in zip(panels, labels, titles, strict=False):
            plot_map(data[data["label"].astype(str) == label], limits=limits, cbar=False, ax=axes)
            axes.set(xlabel="", ylabel="")
            axes.set_title(title, fontsize=0.9 * size)
        map_bar(panels[0].images[0], list(panels), Room(wide, tall, size))
    return panels[0]
