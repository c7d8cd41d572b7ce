"""The paired plot of switches: the error of every cell before and after, one panel a switch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import plots
from reports.plots import INK, Drawing, canvas, line, private, shortened

KINDS: dict[str, dict[str, Any]] = {
    "equal bits": {"color": "#77736b", "linestyle": (0, (1, 2)), "marker": "o", "markerfacecolor": "white"},
    "as good": {"color": "#24292f", "linestyle": "-", "marker": "o"},
    "better": {"color": "#1a6b35", "linestyle": "-", "marker": "v"},
    "worse": {"color": "#a3201d", "linestyle": (0, (5, 1.5)), "marker": "^"},
}
"""One fixed look for each kind of change: mark and line tell what colour tells."""

_ACROSS = 4


def paired(frame: pd.DataFrame) -> Drawing:
    """rms error (ulp of Σ|terms|, log2 axis) before and after, a line for each cell, a panel for each switch.

    Columns: `panel` (its name), `note` (under the name), `kind` (one of `KINDS`), `error_before`,
    `error_after`.  The axis spans what changed; equal results beyond it are not drawn.
    """
    panels = list(dict.fromkeys(frame["panel"]))
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    changed = frame[frame["kind"] != "equal bits"]
    powers = _log2(changed[["error_before", "error_after"]].to_numpy(dtype=float))
    low, high = float(np.floor(powers.min(initial=-1.0))), float(np.ceil(powers.max(initial=1.0)))
    step = max(1, int(-(-(high - low) // 6)))
    ticks = list(range(-1 - step * int((-1 - low) // step), int(high) + 1, step))
    with private():
        figure = canvas(max(3.6, 2.35 * across), 2.35 * down + 0.4)
        every = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, panel) in enumerate(zip(every, panels, strict=False)):
            part = frame[frame["panel"] == panel]
            for kind, look in KINDS.items():
                some = part[part["kind"] == kind]
                pairs = _log2(some[["error_before", "error_after"]].to_numpy(dtype=float))
                inside = (pairs >= low - 0.4).all(axis=1) & (pairs <= high + 0.4).all(axis=1)
                if inside.any():
                    axes.plot([0, 1], pairs[inside].T, linewidth=0.9, markersize=3.6, alpha=0.85, **look)
            axes.axhline(-1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
            names = "\n".join(shortened(name, 30) for name in panel.split("\n"))
            axes.set_title(f"{names}\n{part['note'].iloc[0]}", fontsize=7.5)
            axes.set_xticks([0, 1], ["before", "after"], fontsize=8)
            axes.set(xlim=(-0.2, 1.2), ylim=(low - 0.4, high + 0.4))
            if number % across == 0:
                axes.set_ylabel("rms, ulp of Σ|terms|")
            axes.set_yticks(ticks, [plots.power(tick) for tick in ticks])
        used = [line(kind, **look) for kind, look in KINDS.items() if kind in set(frame["kind"])]
        figure.legend(handles=used, frameon=False, ncols=4, fontsize=8, loc="outside upper left")
    return figure


def _log2(values: Any) -> Any:
    """log2 of sizes; 0 stands a little below the least that is drawn, an infinite one at the top."""
    return np.log2(np.clip(values, plots.LEAST, 2.0**100))
