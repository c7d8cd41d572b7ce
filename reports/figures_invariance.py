"""Whether a mode's bits depend on what should not matter: modes down, factors across."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports import numbers
from reports.figures_base import axes, brief, names
from reports.figures_input import named, needed, reals, words
from reports.figures_layout import lines, room, row_letters
from reports.invariance import STATUS


def plot_invariance(data: pd.DataFrame, *, ax: Any = None, width: float | None = None) -> Any:
    """The share of cases whose bits depend on a factor, for every mode (down) and factor (across).

    Columns: `mode`, `factor`, `status` (asked, not applicable, not run or error) and `distinct` (results that
    the settings gave; 1 is best), a row a case.  A cell says how many of the cases that were asked vary; – is
    where none could be asked, ✗ where every one failed.  Returns the axes; raises `SchemaError` for a missing
    column or name, or a word that is no status.
    """
    function = "plot_invariance"
    data = needed(data, function, "mode", "factor", "status", "distinct")
    named(data, function, "mode", "factor")
    words(data, function, "status", list(STATUS))
    modes, factors = names(data, "mode"), names(data, "factor")
    asked, varying, failed = (np.zeros((len(modes), len(factors)), dtype=int) for _ in range(3))
    distinct = reals(data, function, "distinct")
    for mode, factor, status, count in zip(
        data["mode"], data["factor"], data["status"], distinct, strict=True
    ):
        at = modes.index(str(mode)), factors.index(str(factor))
        asked[at] += status == "asked"
        varying[at] += status == "asked" and count > 1
        failed[at] += status in ("error", "not run")
    shares = np.where(asked > 0, varying / np.maximum(asked, 1), np.nan)
    with axes(ax, 2.4 + 0.85 * len(factors), 1.0 + 0.24 * len(modes), width) as drawn:
        space = room(drawn)
        letters = row_letters(space, round(1.5 * len(modes)))  # the names of factors take room below
        labels = [
            brief(mode, max(14, space.letters(0.4 * space.width, letters / space.size))) for mode in modes
        ]
        across = space.inner(labels, letters / space.size) / len(factors)
        drawn.set_facecolor("#e9e7e2")
        drawn.pcolormesh(np.ma.masked_invalid(shares), cmap="rocket_r", vmin=0, vmax=1.6, edgecolors="white",
                         linewidth=0.8)  # fmt: skip
        for (y, x), share in np.ndenumerate(shares):
            none = numbers.SIGNS["error"] if failed[y, x] else "–"
            text = none if np.isnan(share) else f"{varying[y, x]}/{asked[y, x]}"
            size = float(np.clip(72.0 * across / (0.65 * len(text)), 4.0, 0.85 * space.size))
            drawn.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=size,
                       color="white" if share > 0.7 else "black")  # fmt: skip
        drawn.set_yticks(np.arange(len(modes)) + 0.5, labels, fontsize=letters)
        drawn.set_xticks(
            np.arange(len(factors)) + 0.5, [brief(factor, 24) for factor in factors], rotation=40, ha="right",
            rotation_mode="anchor",
        )  # fmt: skip
        caption = "cases whose bits depend on it, of those asked (0 is best)"
        drawn.set_xlabel(lines(caption, space.letters(space.inner(labels, letters / space.size))))
        drawn.invert_yaxis()
        drawn.tick_params(length=0)
    return drawn
