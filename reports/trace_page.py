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
GRADIENTS = (*LAYERS[:3], "of", *LAYERS[3:])
DECISIONS = ("output", "kind", "index", "truth", "found", "margin", "bound", "status")
FINE = ("exact", "rounding", "unknown", "not comparable")


@dataclass(frozen=True)
class TracePage:
    """Layers and decisions of models A and B, their names, notes, names of layers without a partner, and
    gradients, last layer first, with a column `of` that says with respect to what.

    Raises `SchemaError` for a table that lacks a column.
    """

    a: str
    b: str
    layers: pd.DataFrame
    decisions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DECISIONS)))
    notes: Sequence[str] = ()
    unmatched: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gradients: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(GRADIENTS)))

    def __post_init__(self) -> None:
        for name, frame, columns in (
            ("layers", self.layers, LAYERS),
            ("decisions", self.decisions, DECISIONS),
            ("gradients", self.gradients, GRADIENTS),
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
        tail = self._back + tail
        if not odd:
            return f"All {numbers.times(len(rows), 'layer')} are exact or differ by rounding only{tail}."
        first = odd[0]
        what = f", {first['parameter']}" if first["parameter"] else ""
        count = numbers.times(len(odd), "layer")
        verb = "is" if len(odd) == 1 else "are"
        return f"{count} of {len(rows):,} {verb} more than rounding, first {first['layer_a']}{what}{tail}."

    @property
    def _back(self) -> str:
        """What the sentence says of the gradients."""
        rows = records(self.gradients)
        odd = [row for row in rows if row["verdict"] not in (*FINE, "unmatched")]
        if not odd:
            same = rows and self._forward
            return f"; the same holds for {numbers.times(len(rows), 'gradient')}" if same else ""
        verb = "is" if len(odd) == 1 else "are"
        count = f"{len(odd):,} of {numbers.times(len(rows), 'gradient')}"
        return f"; {count} {verb} more than rounding, first from the end {named(odd[0])}"

    @property
    def _forward(self) -> bool:
        return all(row["verdict"] in (*FINE, "unmatched") for row in records(self.layers))

    @property
    def fine(self) -> bool:
        """Whether the sentence names no finding."""
        rows = records(self.layers)
        flipped = any(row["status"] == "flipped" for row in records(self.decisions))
        back = all(row["verdict"] in (*FINE, "unmatched") for row in records(self.gradients))
        return bool(rows) and not flipped and self._forward and back


def page(found: TracePage) -> str:
    """The trace as one file that needs nothing else; text in it is escaped.  Same tables, same bytes."""
    rows, back = records(found.layers), records(found.gradients)
    drawn, tables = environment(), dict(tables_of(found))
    body = drawn.get_template("trace.html.j2").render(
        a=found.a,
        b=found.b,
        exhibits=[picture for side in SIDES if (picture := _descent(rows, side)) is not None],
        layers=tables["layers"],
        back=[picture for side in SIDES if (picture := _descent(back, side)) is not None],
        gradients=tables["gradients"],
        findings=_findings([*rows, *_alone_in_gradients(rows, back)]),
        decisions=tables["decisions"],
        notes=[*found.notes, *_alone(found.unmatched)],
    )  # fmt: skip
    over = f"Trace: {found.b} beside {found.a}"
    text = small_page("Trace", over, found.fine, found.sentence, body)
    return sheet(drawn).finished(text)


def tables_of(found: TracePage) -> list[tuple[str, Table]]:
    """The tables of the page by their names; those of what was not measured have no rows."""
    decisions = _decisions(records(found.decisions))
    return [
        ("layers", _layers(records(found.layers))),
        ("gradients", _layers(records(found.gradients))),
        ("decisions", decisions),
    ]


def _alone(unmatched: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"Only in {side.upper()}: {', '.join(names)}" for side, names in unmatched.items() if names]


def _descent(rows: Sequence[Row], side: str) -> Exhibit | None:
    """Own, inherited and total error of one model; None where nothing of it was measured."""
    shown = pd.DataFrame(
        [
            {"layer": named(row), "verdict": row["verdict"]}
            | {name: row[f"{name}_relative_{side}"] for name in ("own", "inherited", "total")}
            for row in rows
        ]
    )
    if shown.empty or not shown[["own", "inherited", "total"]].notna().any(axis=None):
        return None
    known = [row for row in rows if row[f"total_relative_{side}"] is not None]
    worst = max(known, key=lambda row: row[f"total_relative_{side}"], default=None)
    back = "of" in rows[0]
    what = "gradient" if back else "layer"
    alt = f"Relative error of {side.upper()} down {numbers.times(len(rows), what)}."
    if worst is not None:
        alt += f" Largest: {numbers.figure(worst[f'total_relative_{side}'])} at {named(worst)}."
    caption = (
        f"Relative error of {side.upper()}, layer by layer, lower is better. Own: what the layer makes of "
        "the exact input; inherited: what comes with its input; total: both. The dashed line is 2⁻²⁴, one "
        "rounding. Triangles at the foot: layers that are more than rounding."
    )
    if back:
        caption = (
            f"Relative error of the gradients of {side.upper()}, from the outputs back to the inputs, lower "
            "is better. Own: what the layer's backward pass makes of the exact numbers; inherited: what "
            "comes with them; total: both. The dashed line is 2⁻²⁴, one rounding."
        )
    heads = (Head(what), Head("own", True), Head("inherited", True), Head("total", True),
             Head("amplification", True, "inherited error out over error in"))  # fmt: skip
    names = ("own_relative", "inherited_relative", "total_relative", "amplification")
    table = tuple((Cell(named(row)), *(_figure(row[f"{name}_{side}"]) for name in names)) for row in rows)
    caption_of = f"Relative errors of {'the gradients of ' if back else ''}{side.upper()}"
    return exhibit(plots.svg(trace_plot.descent(shown)), alt, caption, Table(caption_of, heads, table))


def named(row: Row) -> str:
    """A layer; of a gradient also what it is with respect to."""
    return f"{row['layer_a']}, {row['of']}" if "of" in row else str(row["layer_a"])


def _layers(rows: Sequence[Row]) -> Table:
    back = bool(rows) and "of" in rows[0]
    heads = (
        Head("layer in A"), Head("layer in B"), Head("gradient of" if back else "op"), Head("verdict"),
        Head("evidence"),
        Head("own rms ulp, A", True), Head("own rms ulp, B", True), Head("what"),
    )  # fmt: skip
    cells = tuple(
        (
            Cell(row["layer_a"]),
            Cell(row["layer_b"] or "–"),
            Cell(row["of" if back else "op"]),
            Cell(f"{numbers.SIGNS.get(row['verdict'], '?')} {row['verdict']}", style=_style(row["verdict"])),
            Cell(row["evidence"] or "none"),
            *(_figure(row[f"own_ulp_rms_{side}"]) for side in SIDES),
            Cell(row["detail"] or "", style="reason"),
        )
        for row in rows
    )
    title = "Every gradient, from the outputs back" if back else "Every layer, in the order of A's calls"
    return Table(title, heads, cells)


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
        found.append((f"{named(row)} ({row['op']})", facts))
    return found


def _alone_in_gradients(rows: Sequence[Row], back: Sequence[Row]) -> list[Row]:
    """The gradients that differ by more than their layers do: the others have the same cause and mend."""
    told = {(row["layer_a"], row["parameter"]) for row in rows if row["verdict"] not in FINE}
    return [row for row in back if (row["layer_a"], row["parameter"]) not in told]


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
