"""The first screen in words: one verdict sentence and four large numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports import numbers
from reports.cells import CONCERN, LOST, Row, per_cell, records
from reports.schema import EVIDENCE, VERDICTS


@dataclass(frozen=True)
class Number:
    """A large number: the figure, what it is, and a line of detail."""

    figure: str
    label: str
    detail: str


@dataclass(frozen=True)
class Headline:
    """The verdict sentence and the numbers under it; `fine` is whether rounding explains all scores."""

    sentence: str
    fine: bool
    numbers: tuple[Number, Number, Number, Number]


def headline(rows: Sequence[Row], budgets: pd.DataFrame | None = None) -> Headline:
    """Sum up all cells (rows of `cells.grid`); a figure over no cell is 'not measured'.

    budgets: the table of causes, for the share of the error that they explain; without it the third number
    counts verdicts.
    """
    cells = per_cell(rows)
    scored = [row for row in cells if row["verdict"] not in LOST]
    concern = [row for row in scored if row["verdict"] in CONCERN]
    errors = sum(row["verdict"] == "error" for row in cells)
    outputs = [row for row in rows if row["verdict"] not in LOST]
    return Headline(
        sentence=_sentence(cells, scored, concern),
        fine=bool(scored) and not concern and not errors,
        numbers=(_worst(outputs), _rounded(outputs), _explained(scored, budgets), _lost(cells)),
    )


def _sentence(rows: Sequence[Row], scored: Sequence[Row], concern: Sequence[Row]) -> str:
    lost = Counter(row["verdict"] for row in rows if row["verdict"] in LOST)
    if not rows:
        return "There is nothing to judge: the results hold no case in any mode."
    if not scored:
        return f"Nothing could be judged: of {numbers.times(len(rows), 'cell')} {_lost_words(lost)}."
    found = Counter(row["verdict"] for row in concern)
    rest = len(scored) - len(concern)
    words = {
        "semantics": "computed another function than declared",
        "unexplained": "cannot be explained by rounding",
        "data": "did not compute on the declared arrays",
    }
    if concern:
        parts = [f"{found[verdict]:,} {words[verdict]}" for verdict in CONCERN if found[verdict]]
        text = f"Of {numbers.times(len(scored), 'scored cell')}, {_join(parts)}"
        text += f"; the other {rest:,} are exact or differ from the truth by rounding only" if rest else ""
    elif all(row["verdict"] == "exact" for row in scored):
        text = f"All {numbers.times(len(scored), 'scored cell')} are exact"
    else:
        some = "are exact or " if any(row["verdict"] == "exact" for row in scored) else ""
        text = f"All {numbers.times(len(scored), 'scored cell')} {some}differ from the truth by rounding only"
    return f"{text}; {lost['error']:,} failed." if lost["error"] else f"{text}."


def _lost_words(lost: Counter[str]) -> str:
    words = {"error": "failed", "not run": "were not run"}
    return _join([f"{lost[verdict]:,} {words[verdict]}" for verdict in LOST if lost[verdict]])


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _worst(scored: Sequence[Row]) -> Number:
    """The largest error at the scale of its own sum: cancelling data cannot inflate it."""
    measured = [row for row in scored if row["error_scaled_ulp_max"] is not None]
    label = "ulp of Σ|terms|: largest error"
    if not measured:
        return Number(numbers.NOT_MEASURED, label, "no cell has an error in ulp")
    worst = max(measured, key=lambda row: row["error_scaled_ulp_max"])
    detail = _where(worst)
    within = [row for row in measured if row["verdict"] in ("exact", "rounding")]
    if within and worst["verdict"] in CONCERN:
        most = max(within, key=lambda row: row["error_scaled_ulp_max"])
        detail += f"; by rounding alone {numbers.figure(most['error_scaled_ulp_max'])}: {_where(most)}"
    return Number(numbers.figure(worst["error_scaled_ulp_max"]), label, detail)


def _where(row: Row) -> str:
    verdict = f" ({row['verdict']})" if row["verdict"] in CONCERN else ""
    index = f" at {row['worst_index']}" if row["worst_index"] else ""
    return f"{row['case']} in {row['mode']}{index}{verdict}"


def _rounded(scored: Sequence[Row]) -> Number:
    measured = [row for row in scored if row["share_correctly_rounded"] is not None and row["elements"]]
    label = "of elements correctly rounded"
    if not measured:
        return Number(numbers.NOT_MEASURED, label, "no cell has this figure")
    elements = sum(row["elements"] for row in measured)
    right = sum(row["share_correctly_rounded"] * row["elements"] for row in measured)
    detail = f"of {elements:,} elements in {numbers.times(len(measured), 'scored cell')}"
    return Number(numbers.share(right / elements), label, detail)


def _explained(scored: Sequence[Row], budgets: pd.DataFrame | None) -> Number:
    """Mean over the cells of the share of the error's energy that has a cause, and that of proved causes."""
    shares: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    for row in [] if budgets is None else records(budgets):
        if row["share"]:  # a result without an error has nothing to explain
            cell = shares.setdefault((row["case"], row["mode"], row["output"]), ([], []))
            cell[0].append(row["share"] if row["cause"] == "unexplained" else 0.0)
            cell[1].append(row["share"] if row["evidence"] == "proved" else 0.0)
    # Causes that leave a probe's answer open explain nothing, whatever they share of this data's error.
    lost: tuple[list[float], list[float]] = ([1.0], [0.0])
    every = [
        lost if row["verdict"] == "unexplained" else found
        for row in scored
        if (found := shares.get((row["case"], row["mode"], row["output"]))) is not None
    ]
    counted = _judged(scored)
    if not every:
        return counted
    explained = [1.0 - min(1.0, abs(sum(unexplained))) for unexplained, _ in every]
    proved = [min(share, max(0.0, sum(parts))) for share, (_, parts) in zip(explained, every, strict=True)]
    mean, sure = (sum(values) / len(values) for values in (explained, proved))
    detail = f"{numbers.share(sure)} proved, over {numbers.times(len(every), 'cell')} with an error; "
    return Number(numbers.share(mean), "of the error explained", detail + counted.detail)


def _judged(scored: Sequence[Row]) -> Number:
    verdicts = Counter(row["verdict"] for row in scored)
    evidence = Counter(row["evidence"] for row in scored)
    good = verdicts["exact"] + verdicts["rounding"]
    words = [f"{verdicts[v]:,} {v}" for v in VERDICTS if verdicts[v] and v not in LOST]
    detail = " · ".join(words) or "no cell was scored"
    support = [f"{evidence[e]:,} {e}" for e in EVIDENCE if evidence[e] and e != "none"]
    if support:
        detail += f"; evidence: {', '.join(support)}"
    return Number(f"{good:,}/{len(scored):,}", "scored cells judged exact or rounding", detail)


def _lost(rows: Sequence[Row]) -> Number:
    """Failures among the cells that ran; what could not run is no failure, and is told beside them."""
    errors = sum(row["verdict"] == "error" for row in rows)
    gone = [row for row in rows if row["verdict"] == "not run"]
    ran = len(rows) - len(gone)
    if rows and not ran:
        reasons = len({row["reason"] for row in gone})
        return Number(
            f"{len(gone):,}/{len(rows):,}", "cells not run", f"for {numbers.times(reasons, 'reason')}"
        )
    detail = f"{ran:,} of {numbers.times(len(rows), 'cell')} ran"
    if gone:
        away = {row["mode"] for row in gone} - {row["mode"] for row in rows if row["verdict"] != "not run"}
        single = sum(row["mode"] not in away for row in gone)
        parts = [f"{numbers.times(len(away), 'mode')} did not run here"] if away else []
        parts += (
            [
                f"{numbers.times(single, 'cell')} of other modes did not"
                if away
                else f"{numbers.times(single, 'cell')} did not"
            ]
            if single
            else []
        )
        detail += f"; {_join(parts)}, for the reasons below"
    return Number(f"{errors:,}/{ran:,}", "cells that ran failed", detail)
