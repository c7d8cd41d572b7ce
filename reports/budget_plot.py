"""The plot of a budget: what each cause has of the error of one case's results."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports import theme
from reports.plots import INK, PAPER, Drawing, canvas, patch, private, wrapped

CAUSES = {
    "semantics": "#a3201d",
    "data": "#84207c",
    "operand rounding": "#9c7600",
    "algorithm": "#5b4a9c",
    "accumulation": "#0b66a8",
    "output rounding": "#1a6b35",
    "unexplained": "#24292f",
}
"""One fixed colour for each cause."""

EVIDENCE = {"proved": ("P", ""), "bounded": ("B", "//"), "consistent": ("C", ".."), "none": ("N", "xx")}
"""A letter and a hatching for each evidence, so that colour is never the only sign."""

_MOST_SHARE = 3.0


def budget(frame: pd.DataFrame) -> Drawing:
    """Shares of the error's energy by cause: one stacked bar a result; a share below 0 is left of 0.

    Columns: `label`, `cause`, `evidence`, `share`, `note` (written at the row's end).
    """
    labels = list(dict.fromkeys(frame["label"]))
    with private():
        figure = canvas(9.4, 0.32 * len(labels) + 1.15)
        axes = figure.add_subplot()
        for number, label in enumerate(labels):
            base, ends = len(labels) - 1 - number, [0.0, 0.0]
            part = frame[frame["label"] == label]
            for row in part[part["share"].notna()].to_dict("records"):
                share = max(-_MOST_SHARE, min(_MOST_SHARE, float(row["share"])))
                side = int(share < 0)
                letter, hatch = EVIDENCE[row["evidence"]]
                axes.barh(base, share, 0.62, ends[side], hatch=hatch, **_paint(row["cause"]))
                if abs(share) >= 0.03:
                    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
                    axes.text(ends[side] + share / 2, base, letter, ha="center", va="center", bbox=box)
                ends[side] += share
            axes.text(1.01, base, part["note"].iloc[0], transform=axes.get_yaxis_transform(),
                      fontsize=8, va="center")  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.axvline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(labels)), [wrapped(label) for label in reversed(labels)])
        axes.set(ylim=(-0.6, len(labels) - 0.4), xlabel="share of the error's energy")
        axes.set_xlim(right=max(axes.get_xlim()[1], 1.03))  # 1 has its number
        axes.tick_params(axis="y", length=0, labelsize=8)
        used = [patch(cause, **_paint(cause)) for cause in CAUSES if cause in set(frame["cause"])]
        used += [
            patch(f"{letter} {word}", hatch=hatch, facecolor=PAPER, edgecolor=INK)
            for word, (letter, hatch) in EVIDENCE.items()
            if word in set(frame["evidence"])
        ]
        axes.legend(handles=used, frameon=False, ncols=5, fontsize=8, loc="lower left",
                    bbox_to_anchor=(0, 1))  # fmt: skip
    return figure


def _paint(cause: str) -> dict[str, Any]:
    return {"facecolor": theme.wash(CAUSES[cause]), "edgecolor": CAUSES[cause], "linewidth": 0.8}
