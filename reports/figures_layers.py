"""The error of every layer of a model, down its calls: what it makes itself and what it inherits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.figures_base import axes, brief
from reports.figures_input import named, needed, sizes
from reports.figures_layout import exponents, legend, log2_axis, room
from reports.plots import FAINT, INK
from reports.schema import SchemaError

_LOOKS: dict[str, dict[str, Any]] = {
    "own": {"color": "#0b66a8", "marker": "s", "linestyle": "-"},
    "inherited": {"color": "#c2500a", "marker": "o", "linestyle": "--"},
    "total": {"color": INK, "marker": "x", "linestyle": ":"},
}
_FINE = ("exact", "rounding", "unknown", "not comparable", "unmatched")
_LEAST = 2.0**-60


def plot_layers(data: pd.DataFrame, *, side: str = "a", ax: Any = None, width: float | None = None) -> Any:
    """Own, inherited and total error of each layer, relative to its output, in the order of the calls.

    Columns: `layer_a`, `verdict`, and of the model `side` (a or b) `own_relative_SIDE`,
    `inherited_relative_SIDE`, `total_relative_SIDE`, as in `precision.trace(...).table`.  The dashed line is
    2^-24, one rounding; triangles at the foot are layers that are more than rounding.  Errors of 0 have no
    place on the log2 axis.  Returns the axes; raises `SchemaError` for a missing column or another side.
    """
    if side not in ("a", "b"):
        raise SchemaError(f"plot_layers draws the model a or b; got {side!r}; name one of them")
    columns = {name: f"{name}_relative_{side}" for name in _LOOKS}
    data = needed(data, "plot_layers", "layer_a", "verdict", *columns.values())
    named(data, "plot_layers", "layer_a", "verdict")
    found = np.stack([sizes(data, "plot_layers", column) for column in columns.values()])
    powers = np.where(found > 0, np.log2(np.clip(found, _LEAST, 2.0**60)), np.nan)
    layers = [str(name) for name in data["layer_a"]]
    place = np.arange(len(layers))
    concern = ~data["verdict"].isin(_FINE).to_numpy(dtype=bool)
    narrow = width is not None and width < 5
    with axes(ax, 6.4, 2.5 if narrow else 3.2, width) as drawn:
        space = room(drawn)
        ticks = exponents(powers, 6, -24)
        for (name, look), row in zip(_LOOKS.items(), powers, strict=True):
            drawn.plot(place, row, linewidth=1.0, markersize=3.5, label=name, **look)
        step = ticks[1] - ticks[0]
        foot = ticks[0] - 0.6 * step
        if concern.any():
            drawn.plot(place[concern], np.full(int(concern.sum()), foot), linestyle="", marker="^",
                       markersize=5, color="#a3201d", label="more than rounding")  # fmt: skip
        drawn.axhline(-24, color=INK, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
        log2_axis(drawn.yaxis, ticks)
        drawn.set(ylim=(foot - 0.4 * step, ticks[-1] + 0.2 * step), xlim=(-0.5, len(layers) - 0.5),
                  ylabel="relative error")  # fmt: skip
        most = max(1, int(72.0 * space.inner(["1e-10"]) / (1.25 * space.size)))
        shown = place[:: max(1, -(-len(layers) // most))]
        drawn.set_xticks(shown, [brief(layers[i], 24) for i in shown], rotation=60, ha="right",
                         rotation_mode="anchor", fontsize=0.85 * space.size)  # fmt: skip
        drawn.grid(axis="y", color=FAINT, linewidth=0.6)
        legend(drawn, space, right=True)
    return drawn
