"""Two results side by side, for a terminal and as a page.

Takes a frame of cells (columns as in `CELLS`) and knows nothing of how they were compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from reports import numbers
from reports.rendering import environment, small_page
from reports.schema import SchemaError
from reports.tables import Cell, Head, Table

CHANGES = ("worse", "improved", "changed bits only", "new", "gone", "equal")
CELLS = (
    "mark", "change", "case", "mode", "output", "why", "verdict_a", "verdict_b", "evidence_a", "evidence_b",
    "bits_equal", "error_ulp_rms_a", "error_ulp_rms_b", "error_ulp_max_a", "error_ulp_max_b",
    "ratio_scaled_rms", "ratio_ulp_rms",
)  # fmt: skip
_STYLES = {"worse": "bold red", "improved": "green", "new": "dim", "gone": "dim", "equal": "dim"}
RULE = (
    "Worse: a worse verdict, more NaN or Inf, or a root mean square error (in ulp of Σ|terms|) of more than "
    "1.1 times. Improved: the reverse. ~: other bits, no better and no worse. x: new, or gone."
)


@dataclass(frozen=True)
class Comparison:
    """Names of A and B, their cells, where their provenance differs (what, in A, in B), cells run in neither.

    Raises `SchemaError` for cells that lack a column.
    """

    a: str
    b: str
    cells: pd.DataFrame
    provenance: Sequence[tuple[str, str, str]]
    not_run: int

    def __post_init__(self) -> None:
        missing = [name for name in CELLS if name not in self.cells.columns]
        if missing:
            raise SchemaError(
                f"compared cells have the columns {', '.join(CELLS)}; {missing[0]!r} is missing"
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The cells as dictionaries."""
        return [{str(k): v for k, v in row.items()} for row in self.cells.to_dict(orient="records")]

    @property
    def telling(self) -> list[dict[str, Any]]:
        """The cells that changed, or are judged in another way."""
        return [row for row in self.rows if _tells(row)]

    @property
    def counts(self) -> dict[str, int]:
        """Cells of each change."""
        return {change: int((self.cells["change"] == change).sum()) for change in CHANGES}

    @property
    def fine(self) -> bool:
        """Whether nothing got worse."""
        return self.counts["worse"] == 0

    @property
    def sentence(self) -> str:
        """What changed, in one sentence, with the worst ratio."""
        told = [f"{count:,} {change}" for change, count in self.counts.items() if count]
        text = f"{'Nothing got worse' if self.fine else 'Something got worse'}: {', '.join(told)}."
        ratios = [(row["ratio_ulp_rms"], row) for row in self.rows if not math.isnan(row["ratio_ulp_rms"])]
        if ratios and max(ratio for ratio, _ in ratios) > 1.0:
            ratio, row = max(ratios, key=lambda each: each[0])
            text += f" Largest ratio of rms ulp: {numbers.figure(ratio)}, {row['case']} in {row['mode']}."
        return text


def _tells(row: dict[str, Any]) -> bool:
    return row["change"] != "equal" or any(
        row[f"{name}_a"] != row[f"{name}_b"] for name in ("verdict", "evidence")
    )


def verdicts(row: dict[str, Any]) -> str:
    """The verdict in both, with signs: `≈ rounding → ≠ semantics`, or one where it is the same."""
    found = [
        f"{numbers.SIGNS.get(row[f'verdict_{s}'], '?')} {row[f'verdict_{s}']}"
        if row[f"verdict_{s}"]
        else "none"
        for s in "ab"
    ]
    return found[0] if found[0] == found[1] else " → ".join(found)


def evidence(row: dict[str, Any]) -> str:
    """The evidence in both, or one where it is the same."""
    found = [row[f"evidence_{side}"] or "none" for side in "ab"]
    return found[0] if found[0] == found[1] else " → ".join(found)


def changed_table(found: Comparison) -> Table:
    """What changed, most telling first."""
    return _table(found.telling)


def page(found: Comparison) -> str:
    """The comparison as one file that needs nothing else; text in it is escaped.  Same cells, same bytes."""
    body = (
        environment()
        .get_template("compare.html.j2")
        .render(
            a=found.a,
            b=found.b,
            numbers=_numbers(found.counts),
            changed=changed_table(found),
            equal=_table([row for row in found.rows if not _tells(row)], "Equal bits"),
            provenance=_provenance(found),
            not_run=found.not_run,
            rule=RULE,
        )
    )
    over = f"Comparison: {found.b} with {found.a}"
    return small_page("Comparison", over, found.fine, found.sentence, body)


def _numbers(counts: dict[str, int]) -> list[tuple[str, str]]:
    """The page's four large numbers, with their marks."""
    marks = {"worse": "-", "improved": "+", "changed bits only": "~"}
    found = [(f"{mark} {change}", f"{counts[change]:,}") for change, mark in marks.items()]
    return [*found, ("x new, gone", f"{counts['new']:,}, {counts['gone']:,}")]


def _table(rows: Sequence[dict[str, Any]], caption: str = "What changed, most telling first") -> Table:
    heads = (
        Head("case"), Head("mode"), Head("change"), Head("verdict"), Head("evidence"),
        Head("rms ulp, A", True), Head("rms ulp, B", True),
        Head("ratio", True, "of rms errors in ulp of Σ|terms|, B over A; less is better"),
        Head("max ulp, A", True), Head("max ulp, B", True), Head("why"),
    )  # fmt: skip
    return Table(caption, heads, tuple(_cells(row) for row in rows))


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    output = "" if row["output"] in ("", "output") else f" [{row['output']}]"
    style = {"worse": "verdict v-semantics", "improved": "verdict v-exact"}.get(row["change"], "verdict")
    names = ("error_ulp_rms_a", "error_ulp_rms_b", "ratio_scaled_rms", "error_ulp_max_a", "error_ulp_max_b")
    return (
        Cell(f"{row['case']}{output}"),
        Cell(row["mode"], style="modes"),
        Cell(f"{row['mark']} {row['change']}", style=style),
        Cell(verdicts(row)),
        Cell(evidence(row)),
        *(Cell(numbers.figure(row[name]), repr(float(row[name])), "num") for name in names),
        Cell(row["why"], style="reason"),
    )


def _provenance(found: Comparison) -> Table:
    rows = tuple(
        (Cell(what, style="reason"), Cell(a, style="mono"), Cell(b, style="mono"))
        for what, a, b in found.provenance
    )
    return Table("Where the two were made differently", (Head("what"), Head("A"), Head("B")), rows)


def print_comparison(found: Comparison, console: Console, lines: int = 60) -> None:
    """Print the sentence, what differs in provenance, and at most `lines` cells that changed."""
    _say(console, f"A: {found.a}", "dim")
    _say(console, f"B: {found.b}", "dim")
    _say(console, found.sentence, "bold" if found.fine else "bold red")
    if found.provenance:
        _say(console, "")
        _say(console, "made differently:", "bold")
        for what, a, b in found.provenance:
            _say(console, f"  {what}: {a} → {b}")
    changed = found.telling
    if changed:
        _say(console, "")
        _say(console, f"  {'case':<34} {'mode':<30} {'rms ulp A':>10} {'B':>9} {'ratio':>7}  verdict", "bold")
    for row in changed[:lines]:
        figures = [
            numbers.figure(row[name]) for name in ("error_ulp_rms_a", "error_ulp_rms_b", "ratio_scaled_rms")
        ]
        a, b, ratio = ("–" if text == numbers.NOT_MEASURED else text for text in figures)
        text = f"{row['mark']} {row['case']:<34} {row['mode']:<30} {a:>10} {b:>9} {ratio:>7}  {verdicts(row)}"
        _say(console, text, _STYLES.get(row["change"], ""))
        if row["why"]:
            _say(console, f"    {row['why']}", "dim")
    if len(changed) > lines:
        _say(console, f"… and {len(changed) - lines:,} more; the CSV has all", "dim")
    if found.not_run:
        _say(console, f"{numbers.times(found.not_run, 'cell')} run in neither", "dim")
    _say(console, RULE, "dim")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(numbers.visible(text), style=style), soft_wrap=True)
