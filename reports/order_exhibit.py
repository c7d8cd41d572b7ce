"""The orders in which the results of a case were added: in words, and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.cells import Line
from reports.exhibits import CaseData, names_of
from reports.inline import Inlined, inlined
from reports.tree_drawing import tree_svg

MOST_DRAWINGS = 8
"""Different trees that are drawn in one case."""

_MOST_BYTES = 24_000


@dataclass(frozen=True)
class OrderDrawing:
    """A tree drawn, with the words for it."""

    drawing: Inlined
    alt: str


@dataclass(frozen=True)
class KnownOrder:
    """Results, the order of their sums in words, how far it is supported, what it lets expect; a drawing."""

    modes: str
    words: str
    evidence: str
    expected: str
    drawings: tuple[OrderDrawing, ...]


def orders(found: Sequence[Line], data: CaseData, frameworks: Mapping[str, str]) -> tuple[KnownOrder, ...]:
    """The order of every distinct result of which one is known; a tree is drawn once."""
    have = [(line, rows) for line in found if (rows := data.orders(line))]
    names = names_of([line for line, _ in have], frameworks)
    drawn: set[str] = set()
    listed = []
    for name, (line, rows) in zip(names, have, strict=True):
        drawings = []
        for row in rows:
            if row["tree"] and row["tree"] not in drawn and len(drawn) < MOST_DRAWINGS:
                drawn.add(row["tree"])
                alt = f"{name}, {row['where']}: {row['words'] or 'the order of the sum'}"
                drawings += _drawing(row["tree"], alt)
        words = "; ".join(dict.fromkeys(row["words"] for row in rows if row["words"]))
        rms = rows[0]["expected_ulp_rms"]
        expected = ""
        if rms is not None:
            own = numbers.figure(line.row["error_ulp_rms"])
            expected = f"rms error {own} ulp; this order lets expect {numbers.figure(rms)}"
        listed.append(KnownOrder(name, words, rows[0]["evidence"], expected, tuple(drawings)))
    return tuple(listed)


def _drawing(text: str, alt: str) -> list[OrderDrawing]:
    """The drawing of a tree's JSON; none for data that is no tree, or a drawing too large for a page."""
    try:
        document = tree_svg(json.loads(text))
    except ValueError:
        return []
    if len(document) > _MOST_BYTES:
        return []
    return [OrderDrawing(inlined(document), alt)]
