"""The plot of a benchmark's record: time against multiply-adds, and the ratios with their limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

OURS, LIMIT = "#20639b", "#b3001b"


def draw(record: dict[str, Any], path: Path) -> None:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 5.5), width_ratios=(1, 1.25), layout="constrained"
    )
    scaling, results = record["results"]["scaling"], record["results"]
    macs, seconds = ([point[name] for point in scaling["points"]] for name in ("macs", "seconds"))
    left.loglog(macs, seconds, "o", color=OURS, label="certified 3×3 convolution, 64 channels")
    ends = np.array([min(macs), max(macs)])
    left.loglog(ends, scaling["level"] * ends ** scaling["slope"], "-", color=OURS, alpha=0.5,
                label=f"fit: slope {scaling['slope']:.3f} (1 is linear)")  # fmt: skip
    left.set_xlabel("multiply-adds")
    left.set_ylabel("seconds (median; lower is better)")
    left.set_title("Time grows as the work does")
    left.grid(True, which="both", alpha=0.2)
    left.legend(loc="lower right", fontsize=8)

    bars = [
        (f"{label}: {name}", row["ratio"], record["limits"].get(section))
        for section, label in (("certified", "certified"), ("exact", "exact"), ("norms", ""))
        for name, row in results[section].items()
    ]
    places = np.arange(len(bars))[::-1]
    right.barh(places, [value for _, value, _ in bars], color=OURS, height=0.6)
    for place, (_, value, limit) in zip(places, bars, strict=True):
        right.text(value * 1.05, place, f"{value:.2g}", va="center", fontsize=8)
        if limit is not None:
            right.plot([limit, limit], [place - 0.45, place + 0.45], "--", color=LIMIT)
    right.set_yticks(places, [name.removeprefix(": ") for name, _, _ in bars], fontsize=8)
    right.set_xscale("log")
    right.set_xlim(0.5, 100)
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set_xlabel("time / time in float64 by torch or, for normalizations, NumPy; lower is better")
    right.set_title("Cost against float64 (dashed: the limit)")
    figure.savefig(path, dpi=110)
    plt.close(figure)
