"""Own and inherited error down the layers of two models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import plots
from reports.plots import INK, Drawing, canvas, private, shortened

_LOOKS: dict[str, dict[str, Any]] = {
    "own": {"color": "#0b66a8", "marker": "s", "linestyle": "-"},
    "inherited": {"color": "#c2500a", "marker": "o", "linestyle": "--"},
    "total": {"color": INK, "marker": "x", "linestyle": ":"},
}
_NAMED = 40
_LEAST = 2.0**-60


def descent(frame: pd.DataFrame) -> Drawing:
    """Relative error of every layer of one model, log2 axis, in the order of the calls.

    Columns: `layer` (its name), `verdict`, `own`, `inherited`, `total` (relative errors, may be missing).
    Layers whose verdict is neither exact nor rounding get a mark of their own at the foot.
    """
    names = [shortened(str(name), 24) for name in frame["layer"]]
    place = np.arange(len(names))
    every = frame[list(_LOOKS)].to_numpy(dtype=float, na_value=np.nan)
    powers = np.log2(np.clip(every, _LEAST, 2.0**60))
    powers[every == 0] = np.nan
    known = powers[np.isfinite(powers)]
    low, high = (np.floor(known.min()), np.ceil(known.max())) if known.size else (-24.0, 0.0)
    concern = ~frame["verdict"].isin(("exact", "rounding", "unknown", "not comparable")).to_numpy()
    with private():
        figure = canvas(9.4, 3.4)
        axes = figure.add_subplot()
        for column, (label, look) in enumerate(_LOOKS.items()):
            axes.plot(place, powers[:, column], linewidth=1.0, markersize=3.5, label=label, **look)
        foot = np.full(int(concern.sum()), low - 0.06 * (high - low + 2))
        axes.plot(place[concern], foot, linestyle="", marker="^", color="#a3201d", label="more than rounding")
        axes.axhline(-24, color=INK, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
        step = max(1, int(-(-(high - low) // 7)))
        ticks = list(range(int(low), int(high) + 1, step))
        axes.set_yticks(ticks, [plots.power(tick) for tick in ticks])
        axes.set(
            ylim=(low - 0.12 * (high - low + 2), high + 0.5),
            ylabel="relative error",
            xlim=(-0.5, len(names) - 0.5),
        )
        shown = place[:: max(1, -(-len(names) // _NAMED))]
        axes.set_xticks(shown, [names[i] for i in shown], rotation=60, fontsize=7, ha="right",
                        rotation_mode="anchor")  # fmt: skip
        axes.grid(axis="y", color=plots.FAINT, linewidth=0.6)
        axes.legend(frameon=False, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure
