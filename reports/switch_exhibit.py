"""The paired plot of switches with its words, its caption and its tables."""

from __future__ import annotations

import pandas as pd

from reports import numbers, plots, switch_plot
from reports.exhibits import Exhibit, exhibit
from reports.switches import Switch, summary_table

MOST_PANELS = 24


def paired(found: list[Switch]) -> Exhibit | None:
    """Every switch as a panel; None where no two modes can be compared."""
    shown = [
        {
            "before": switch.before,
            "after": switch.after,
            "title": f"equal bits: {switch.count('equal bits')} of {len(switch.changes)}",
            "kind": change.kind,
            "error_before": change.before,
            "error_after": change.after,
        }
        for switch in found
        for change in switch.changes
        if change.kind in switch_plot.KINDS and change.before is not None and change.after is not None
    ]
    panels = list(dict.fromkeys((row["before"], row["after"]) for row in shown))[:MOST_PANELS]
    shown = [row for row in shown if (row["before"], row["after"]) in panels]
    if not shown:
        return None
    told = (
        f"{switch.before} to {switch.after}: {switch.count('equal bits')} of "
        f"{numbers.times(len(switch.changes), 'result')} with equal bits, {switch.count('worse')} worse, "
        f"{switch.count('better')} better"
        for switch in found
    )
    alt = f"rms error before and after each switch. {'; '.join(told)}."
    caption = (
        "A line is one result: its rms error in the mode at the left and in the mode at the right, in ulp of "
        "Σ|terms|. Lower is better; a flat dotted line with hollow marks is the same bits. Worse or better: "
        "more than 1.1 times apart. The dashed line is 0.5 ulp."
    )
    if len(panels) < len(found):
        caption += f" The first {len(panels)} of {len(found)} switches; the table has all."
    return exhibit(plots.svg(switch_plot.paired(pd.DataFrame(shown))), alt, caption, summary_table(found))
