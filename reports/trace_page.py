"""Two models compared layer by layer, as a page: own and inherited error, decisions, what differs.

Takes the table of layers (columns as in `LAYERS`) and that of decisions, and knows nothing of how they were
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports import numbers, plots, trace_plot
from reports.cells import Row, records
from reports.exhibits import Exhibit, exhibit
from reports.rendering import environment, sheet, small_page
from reports.schema import SchemaError
from reports.tables import Cell, Head, Table

SIDES = ("a", "b")
_FIGURES = ("own_ulp_rms", "own_relative", "inherited_relative", "total_relative", "amplification")
LAYERS = (
    "layer_a", "layer_b", "op", "verdict", "parameter", "declared", "found", "evidence", "mend", "detail",
    *(f"{name}_{side}" for name in _FIGURES for side in SIDES),
)  # fmt: skip
DECISIONS = ("output", "kind", "index", "truth", "found", "margin", "bound", "status")
FINE = ("exact", "rounding", "unknown", "not comparable")


@dataclass(frozen=True)
class TracePage:
    """Layers and decisions of models A and B, their names, notes, and names of layers without a partner.

    Raises `SchemaError` for a table that lacks a column.
    """

    a: str
    b: str
    layers: pd.DataFrame
    decisions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DECISIONS)))
    notes: Sequence[str] = ()
    unmatched: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, frame, columns in (
            ("layers", self.layers, LAYERS),
            ("decisions", self.decisions, DECISIONS),
        ):
            missing = [column for column in columns if column not in frame.columns]
            if missing:
                raise SchemaError(f"{name} have the columns {', '.join(columns)}; {missing[0]!r} is missing")

    @property
    def sentence(self) -> str:
        """What was found, in one sentence: the first layer that is more than rounding."""
        rows = records(self.layers)
        if not rows:
            return "There is nothing to compare: the trace holds no layer."
        odd = [row for row in rows if row["verdict"] not in (*FINE, "unmatched")]
        flipped = sum(row["status"] == "flipped" for row in records(self.decisions))
        tail = f"; {numbers.times(flipped, 'decision')} flipped" if flipped else ""
        if not odd:
            return f"All {numbers.times(len(rows), 'layer')} are exact or differ by rounding only{tail}."
        first = odd[0]
        what = f", {first['parameter']}" if first["parameter"] else ""
        count = numbers.times(len(odd), "layer")
        verb = "is" if len(odd) == 1 else "are"
        return f"{count} of {len(rows):,} {verb} more than rounding, first {first['layer_a']}{what}{tail}."

    @property
    def fine(self) -> bool:
        """Whether the sentence names no finding."""
        rows = records(self.layers)
        flipped = any(row["status"] == "flipped" for row in records(self.decisions))
        return bool(rows) and not flipped and all(row["verdict"] in (*FINE, "unmatched") for row in rows)


def page(found: TracePage) -> str:
    """The trace as one file that needs nothing else; text in it is escaped.  Same tables, same bytes."""
    rows = records(found.layers)
    drawn = environment()
    body = drawn.get_template("trace.html.j2").render(
        a=found.a,
        b=found.b,
        exhibits=[picture for side in SIDES if (picture := _descent(rows, side)) is not None],
        layers=_layers(rows),
        findings=_findings(rows),
        decisions=_decisions(records(found.decisions)),
        notes=[*found.notes, *_alone(found.unmatched)],
    )  # fmt: skip
    over = f"Trace: {found.b} beside {found.a}"
    text = small_page("Trace", over, found.fine, found.sentence, body)
    return sheet(drawn).finished(text)


def _alone(unmatched: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"Only in {side.upper()}: {', '.join(names)}" for side, names in unmatched.items() if names]


def _descent(rows: Sequence[Row], side: str) -> Exhibit | None:
    """Own, inherited and total error of one model; None where nothing of it was measured."""
    shown = pd.DataFrame(
        [
            {"layer": row["layer_a"], "verdict": row["verdict"]}
            | {name: row[f"{name}_relative_{side}"] for name in ("own", "inherited", "total")}
            for row in rows
        ]
    )
    if shown.empty or not shown[["own", "inherited", "total"]].notna().any(axis=None):
        return None
    known = [row for row in rows if row[f"total_relative_{side}"] is not None]
    worst = max(known, key=lambda row: row[f"total_relative_{side}"], default=None)
    alt = f"Relative error of {side.upper()} down {numbers.times(len(rows), 'layer')}."
    if worst is not None:
        alt += f" Largest: {numbers.figure(worst[f'total_relative_{side}'])} at {worst['layer_a']}."
    caption = (
        f"Relative error of {side.upper()}, layer by layer, lower is better. Own: what the layer makes of "
        "the exact input; inherited: what comes with its input; total: both. The dashed line is 2⁻²⁴, one "
        "rounding. Triangles at the foot: layers that are more than rounding."
    )
    heads = (Head("layer"), Head("own", True), Head("inherited", True), Head("total", True),
             Head("amplification", True, "inherited error out over error in"))  # fmt: skip
    names = ("own_relative", "inherited_relative", "total_relative", "amplification")
    table = tuple((Cell(row["layer_a"]), *(_figure(row[f"{name}_{side}"]) for name in names)) for row in rows)
    caption_of = f"Relative errors of {side.upper()}"
    return exhibit(plots.svg(trace_plot.descent(shown)), alt, caption, Table(caption_of, heads, table))


def _layers(rows: Sequence[Row]) -> Table:
    heads = (
        Head("layer in A"), Head("layer in B"), Head("op"), Head("verdict"), Head("evidence"),
        Head("own rms ulp, A", True), Head("own rms ulp, B", True), Head("what"),
    )  # fmt: skip
    cells = tuple(
        (
            Cell(row["layer_a"]),
            Cell(row["layer_b"] or "–"),
            Cell(row["op"]),
            Cell(f"{numbers.SIGNS.get(row['verdict'], '?')} {row['verdict']}", style=_style(row["verdict"])),
            Cell(row["evidence"] or "none"),
            *(_figure(row[f"own_ulp_rms_{side}"]) for side in SIDES),
            Cell(row["detail"] or "", style="reason"),
        )
        for row in rows
    )
    return Table("Every layer, in the order of A's calls", heads, cells)


def _style(verdict: str) -> str:
    return f"verdict v-{verdict.replace(' ', '-')}"


def _findings(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What differs, layer by layer, with the mend."""
    found = []
    for row in rows:
        if row["parameter"] is None or row["verdict"] in FINE:
            continue
        declared, other = (_value(row[name]) for name in ("declared", "found"))
        facts = [
            ("what differs", f"{row['parameter']}: A {declared}, B {other}"),
            ("evidence", row["evidence"] or "none"),
            ("detail", row["detail"] or "none"),
        ]
        facts += [("mend", row["mend"])] if row["mend"] else []
        found.append((f"{row['layer_a']} ({row['op']})", facts))
    return found


def _value(value: Any) -> str:
    """A value in words; a whole number without the point that a column of numbers gave it."""
    return numbers.plain(int(value) if isinstance(value, float) and value.is_integer() else value)


def _decisions(rows: Sequence[Row]) -> Table:
    """Those that flipped first, then the least margin over its bound."""
    heads = (
        Head("output"), Head("decision"), Head("sample"), Head("truth"), Head("found"),
        Head("margin", True, "how far the truth's decision is from the other one"),
        Head("bound", True, "how much of it the error bounds take"), Head("status"),
    )  # fmt: skip
    ordered = sorted(rows, key=lambda row: (row["status"] != "flipped", row["margin"] or 0.0))
    cells = tuple(
        (
            Cell(str(row["output"])), Cell(str(row["kind"])), Cell(numbers.plain(row["index"]), style="mono"),
            Cell(numbers.plain(row["truth"])), Cell(numbers.plain(row["found"])),
            _figure(row["margin"]), _figure(row["bound"]), Cell(str(row["status"])),
        )
        for row in ordered
    )  # fmt: skip
    return Table("What the outputs decide", heads, cells)


def _figure(value: float | None) -> Cell:
    return Cell(numbers.figure(value), "" if value is None else repr(float(value)), "num")
