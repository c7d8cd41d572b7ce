"""The paired plot of switches with its words, its caption and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import pandas as pd

from reports import numbers, plots, switch_plot
from reports.exhibits import Exhibit, exhibit
from reports.switches import Change, Switch, change_table

MOST_PANELS = 24

MOST_LINES = 40
"""In one panel: those that changed most."""


def paired(found: Sequence[Switch], titles: Mapping[str, str]) -> Exhibit | None:
    """Every switch that changed bits as a panel; None where none did, or no two modes can be compared."""
    changing = [switch for switch in found if any(_drawn(each) and not each.equal for each in switch.changes)]
    if not changing:
        return None
    shown = [
        {
            "panel": f"{switch.before} →\n{switch.after}",
            "note": _note(switch),
            "kind": change.kind,
            "error_before": change.before,
            "error_after": change.after,
        }
        for switch in changing[:MOST_PANELS]
        for change in sorted(filter(_drawn, switch.changes), key=lambda each: -each.size)[:MOST_LINES]
    ]
    told = (
        f"{switch.before} to {switch.after}: {switch.count('equal bits')} of "
        f"{numbers.times(len(switch.changes), 'result')} with equal bits, {switch.count('worse')} worse, "
        f"{switch.count('better')} better"
        for switch in found
    )
    alt = f"rms error before and after each switch. {'; '.join(told)}."
    caption = (
        "A line is one result: its rms error before and after the switch, in ulp of Σ|terms|. Lower is "
        "better; a flat dotted line with hollow marks is the same bits. Worse or better: more than 1.1 times "
        "apart; ratio: the median of after over before where the bits changed. The dashed line is 0.5 ulp; "
        "errors below 0.016 ulp stand there."
    )
    if len(changing) > MOST_PANELS:
        caption += f" The first {MOST_PANELS} of {len(changing)} switches."
    if any(len(switch.changes) > MOST_LINES for switch in changing):
        caption += f" Of each switch the {MOST_LINES} results that changed most."
    quiet = [f"{switch.before} → {switch.after}" for switch in found if switch not in changing]
    if quiet:
        caption += f" Not drawn, for no error changed: {', '.join(quiet)}."
    document = plots.svg(switch_plot.paired(pd.DataFrame(shown)))
    return exhibit(document, alt, caption, change_table(found, titles))


def _drawn(change: Change) -> bool:
    return change.kind in switch_plot.KINDS and change.before is not None and change.after is not None


def _note(switch: Switch) -> str:
    text = f"equal bits: {switch.count('equal bits')} of {len(switch.changes)}"
    ratios = switch.ratios
    return f"{text}; ratio {numbers.figure(median(ratios))}" if ratios else text
