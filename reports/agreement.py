"""Which modes give identical bits, case by case: strips of letters to be seen at a glance, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import numbers, theme
from reports.anchors import anchor
from reports.cells import LOST, Line, Row
from reports.tables import Cell, Head, Table

MOST_CASES = 60
"""Rows of the picture; the table has them all."""

ALONE = "·"
"""The sign of bits that no other mode gave."""


@dataclass(frozen=True)
class Mark:
    """A mode in a case: the letter of its group, and the style of that letter (empty without a group)."""

    text: str
    style: str


@dataclass(frozen=True)
class Strips:
    """Modes across; rows of (title, link, marks); the figure in words; what is left out."""

    modes: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Mark, ...]], ...]
    words: str
    note: str


def strips(found: Sequence[Line], modes: Sequence[str], titles: Mapping[str, str]) -> Strips | None:
    """A strip of letters for each case and output: equal letters in a row are equal bits.

    A is the group of the earliest mode that shares its bits with another, so that a letter is mostly of the
    same modes all the way down; modes that are alone with their bits have no letter.  None where bits were
    not compared, or only one mode gave some.
    """
    groups = _by_result(found)
    ran = {mode for part in groups.values() for group in part for mode in group}
    across = tuple(mode for mode in modes if mode in ran)
    if len(across) < 2:
        return None
    lost = {
        (line.row["case"], mode): Mark(numbers.SIGNS[line.verdict], "")
        for line in found
        if line.verdict in LOST
        for mode in line.modes
    }
    gone = Mark(numbers.SIGNS["not run"], "")
    rows = []
    for (case, output), part in list(groups.items())[:MOST_CASES]:
        marks = _letters(part)
        cells = tuple(marks.get(mode) or lost.get((case, mode), gone) for mode in across)
        rows.append((_label(output) + titles[case], anchor("case", case), cells))
    note = ""
    if len(groups) > MOST_CASES:
        note = f"The first {MOST_CASES} of {len(groups):,} results; the table has all."
    return Strips(across, tuple(rows), _words(groups), note)


Groups = list[tuple[str, ...]]
"""Modes that gave the same bits, a tuple for each distinct result; shared ones first, in order of modes."""


def _by_result(found: Sequence[Line]) -> dict[tuple[str, str | None], Groups]:
    """The groups of each case and output; lines that differ in evidence alone have the same bits."""
    modes: dict[tuple[str, str | None], dict[int, list[str]]] = {}
    for line in found:
        if line.scored and line.row["bits_group"] is not None:
            part = modes.setdefault((line.row["case"], line.row["output"]), {})
            part.setdefault(int(line.row["bits_group"]), []).extend(line.modes)
    return {
        key: sorted((tuple(group) for group in part.values()), key=lambda group: len(group) == 1)
        for key, part in modes.items()
    }


def _letters(part: Groups) -> dict[str, Mark]:
    marks: dict[str, Mark] = {}
    for number, group in enumerate(part):
        look = Mark(_letter(number), f"g{number % len(theme.GROUPS)}")
        marks |= dict.fromkeys(group, look if len(group) > 1 else Mark(ALONE, "alone"))
    return marks


def _letter(number: int) -> str:
    """A to Z, then A2 to Z2, and so on."""
    turn, place = divmod(number, 26)
    return chr(ord("A") + place) + (str(turn + 1) if turn else "")


def _words(groups: Mapping[tuple[str, str | None], Groups]) -> str:
    one = sum(len(part) == 1 for part in groups.values())
    most = max(len(part) for part in groups.values())
    alone = sum(len(group) == 1 for part in groups.values() for group in part)
    return (
        f"Which modes gave equal bits in {numbers.times(len(groups), 'result')}: in {one:,} all modes "
        f"agree, in the most divided there are {most} distinct results; {numbers.times(alone, 'score')} "
        f"{'is' if alone == 1 else 'are'} alone with the bits."
    )


def agreement(found: Sequence[Line], titles: Mapping[str, str]) -> Table:
    """Which modes gave identical bits, a row for each case and output."""
    rows = tuple(
        (
            Cell(_label(output) + titles[case], link=anchor("case", case)),
            Cell(f"{len(part)} of {sum(map(len, part))}", str(len(part)), "num"),
            Cell(_listed(part), style="reason wide"),
        )
        for (case, output), part in _by_result(found).items()
    )
    heads = (Head("case"), Head("distinct results of modes", True), Head("groups of identical bits"))
    return Table("Who agrees to the bit", heads, rows)


def _listed(part: Groups) -> str:
    """The groups in words, each with its letter."""
    shared = [
        f"{_letter(number)}: {' = '.join(group)}" for number, group in enumerate(part) if len(group) > 1
    ]
    alone = [group[0] for group in part if len(group) == 1]
    return "; ".join([*shared, *([f"alone: {', '.join(alone)}"] if alone else [])])


def in_modes(rows: Sequence[Row]) -> tuple[str, ...]:
    """The modes of the rows of `cells.grid`, in their order."""
    return tuple(dict.fromkeys(row["mode"] for row in rows))


def _label(output: str | None) -> str:
    return "" if output in ("", "output", None) else f"[{output}] "
