"""The rows of a study's document on the page: what it saw, what is seen now, the truth, cause and mend."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from reports import numbers
from reports.anchors import anchor
from reports.cells import Row, in_order
from reports.store import Results
from reports.tables import Cell, Head, Table

Fact = tuple[str, str]

_DIGITS = 6


@dataclass(frozen=True)
class StudyRow:
    """One row: its heading, its texts in order, and the document's figures beside ours."""

    anchor: str
    title: str
    source: str
    facts: tuple[Fact, ...]
    figures: Table


def rows_of(results: Results) -> list[Row]:
    """The rows in the document's order; none where the suite is no study."""
    return [] if results.studies.empty else in_order(results.studies)


def overview(results: Results) -> Table:
    """Every row of the document in one table: its cause, the evidence, and whether its figure recurs."""
    heads = (Head("row of the document"), Head("cause"), Head("evidence"), Head("comes out again"),
             Head("now"))  # fmt: skip
    rows = tuple(
        (
            Cell(row["title"], link=_anchor(row), under=row["source"]),
            Cell(_cause(row)),
            Cell(row["evidence"]),
            Cell(row["recurs"]),
            Cell(row["now"], style="reason wide"),
        )
        for row in rows_of(results)
    )
    return Table("The document, row by row", heads, rows)


def study_rows(results: Results) -> list[StudyRow]:
    """A part of the page for each row, in the document's order."""
    return [
        StudyRow(_anchor(row), row["title"], row["source"], facts(row), _figures(row))
        for row in rows_of(results)
    ]


def facts(row: Row) -> tuple[Fact, ...]:
    """The row's texts, by name, in the order in which they are read."""
    found = [
        ("the document saw", row["document"]),
        ("seen now", row["now"]),
        ("the truth", row["truth"]),
        ("cause", f"{_cause(row)} ({row['evidence']}): {row['detail']}"),
    ]
    if row["mend"]:
        found.append(("mend", row["mend"]))
    return (*found, (f"comes out again: {row['recurs']}", row["why"]))


def _anchor(row: Row) -> str:
    return anchor("row", row["row"])


def _cause(row: Row) -> str:
    return "no difference" if row["cause"] == "none" else str(row["cause"])


def _figures(row: Row) -> Table:
    """The list of figures as a table; a row of it that is no object is left out."""
    given = json.loads(row["figures"] or "[]")
    listed = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    noted = any(each.get("note") for each in listed)
    heads = (Head("figure"), Head("document", True), Head("now", True), Head("truth", True))
    rows = tuple(
        (
            Cell(numbers.plain(each.get("name", ""))),
            *(_cell(each.get(name)) for name in ("document", "now", "truth")),
            *((Cell(numbers.plain(each.get("note") or ""), style="reason wide"),) if noted else ()),
        )
        for each in listed
    )
    return Table("Figures", (*heads, Head("note")) if noted else heads, rows)


def _cell(value: Any) -> Cell:
    """A figure as it is written: text as given, a number in six digits with the exact one beside it."""
    if value is None:
        return Cell("–", style="num")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(numbers.plain(value), style="num")
    if isinstance(value, int):
        return Cell(numbers.count(value), repr(value), "num")
    return Cell(numbers.figure(value, _DIGITS), repr(value), "num")
