"""Tables of the page: cells of text with the exact value beside it, for sorting and for copying."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.anchors import anchor, cell_anchor, mode_anchor
from reports.cells import Line, Row

Format = Callable[[float | None], str]


@dataclass(frozen=True)
class Cell:
    """What a table cell shows.

    `value` is the exact figure, `style` a CSS class, `link` an id on the page, and `under` a line
    of detail below the text.  `places` are the parts of the text that can be linked to, as (text, id),
    with `between` between them; they take the text's place.
    """

    text: str
    value: str = ""
    style: str = ""
    link: str = ""
    under: str = ""
    places: tuple[tuple[str, str], ...] = ()
    between: str = ""

    @property
    def missing(self) -> bool:
        """Whether the figure does not exist."""
        return self.text == numbers.NOT_MEASURED


@dataclass(frozen=True)
class Head:
    """A column's heading; `better` says which way is better, `number` aligns it right."""

    text: str
    number: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """A caption, headings and rows; the first cell of a row is its heading."""

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """A column of `scores` as a table shows it."""

    column: str
    heading: str
    format: Format
    meaning: str


def _count(value: float | None) -> str:
    return numbers.count(None if value is None else int(value))


def _cosine(value: float | None) -> str:
    """Twelve decimals: a cosine in fewer says nothing."""
    return numbers.figure(value) if value is None or not math.isfinite(value) else f"{value:.12f}"


JUDGED = (
    Measure("error_ulp_median", "median ulp", numbers.figure, "median error in float32 ulp of the truth"),
    Measure("error_ulp_p99", "99 % ulp", numbers.figure, "99 % of the elements have at most this error"),
    Measure("error_ulp_max", "max ulp", numbers.figure, "largest error; huge where the truth is nearly 0"),
    Measure("error_ulp_mean", "bias ulp", numbers.signed, "mean signed error; nearer 0 is better"),
    Measure("share_correctly_rounded", "rounded", numbers.share, "share correctly rounded; larger is better"),
    Measure("error_abs_max", "max abs", numbers.figure, "largest absolute error; smaller is better"),
    Measure("error_over_bound_max", "error / bound", numbers.figure, "at most 1 for rounding"),
    Measure("error_over_plain", "over plain", numbers.figure, "rms error over that of plain float32"),
)

TELLING = tuple(
    measure
    for measure in JUDGED
    if measure.column in ("error_ulp_median", "error_ulp_p99", "error_ulp_max", "share_correctly_rounded")
)

WORST = Measure("error_scaled_ulp_max", "max, ulp of Σ|terms|", numbers.figure, "largest error at that scale")
"""The measure by which the worst element of a result is chosen."""

FURTHER = (
    WORST,
    Measure("error_ulp_rms", "rms ulp", numbers.figure, "root mean square error; smaller is better"),
    Measure("error_scaled_ulp_rms", "rms, ulp of Σ|terms|", numbers.figure, "rms error at that scale"),
    Measure("error_abs_mean", "mean abs", numbers.figure, "mean absolute error"),
    Measure("error_abs_rms", "rms abs", numbers.figure, "root mean square absolute error"),
    Measure("error_over_magnitude_max", "error / Σ|terms|", numbers.figure, "the arithmetic's own error"),
    Measure("bound_deterministic_over_magnitude", "worst-case bound / Σ|terms|", numbers.figure,
            "no order of the sum can be worse"),
    Measure("bound_probabilistic_over_magnitude", "probable bound / Σ|terms|", numbers.figure,
            "rarely exceeded if roundings are independent"),
    Measure("relative_l2", "relative L2", numbers.figure, "‖output - truth‖ / ‖truth‖"),
    Measure("cosine", "cosine", _cosine, "cosine of the angle between output and truth; nearer 1 is better"),
    Measure("angle_rad", "angle, rad", numbers.figure, "angle between output and truth"),
    Measure("condition_max", "condition max", numbers.figure, "largest Σ|terms| / |truth|"),
    Measure("probe_mismatches", "probe off", _count, "elements off on the small-integer probe; 0 is right"),
    Measure("probe_error_abs_max", "probe max abs", numbers.figure, "largest error on that probe"),
    Measure("width_error_over_magnitude_max", "24-bit probe", numbers.figure,
            "largest error / Σ|terms| there; 0 is full float32 width"),
    Measure("zero_truth_mismatches", "zero off", _count, "elements whose truth is 0 and whose output is not"),
    Measure("nonfinite_mismatches", "NaN/Inf off", _count, "elements where NaN or Inf differ"),
    Measure("signed_zero_mismatches", "signed zero off", _count, "zeros of the other sign"),
    Measure("repeat_distinct", "repeats distinct", _count, "distinct results over repeats; 1 is best"),
    Measure("call_seconds", "seconds", numbers.figure, "time of one call in the worker"),
)  # fmt: skip


def measured(row: Row, measure: Measure) -> Cell:
    """The figure of that measure: the text shown and the exact value."""
    value = row[measure.column]
    return _figure(value, numbers.NOT_MEASURED if value is None else measure.format(value))


def _figure(value: float | None, text: str) -> Cell:
    return Cell(text, "" if value is None else repr(value), "num")


def verdict(line: Line) -> Cell:
    """The verdict with its sign; its CSS class is `v-` and the verdict."""
    sign = numbers.SIGNS.get(line.verdict, "?")
    return Cell(f"{sign} {line.verdict}", style=f"verdict v-{line.verdict.replace(' ', '-')}")


def modes(line: Line, under: str = "") -> Cell:
    """The modes of a line, joined by '=', with the output's name where it has one of its own."""
    return Cell(output_label(line) + line.label, style="modes", under=under)


def placed_modes(line: Line, under: str = "") -> Cell:
    """As `modes`, each of them a place that the page can be asked for."""
    places = tuple((mode, mode_anchor(line.row["case"], line.row["output"], mode)) for mode in line.modes)
    label = output_label(line)
    places = ((label + places[0][0], places[0][1]), *places[1:])
    return Cell(label + line.label, style="modes", under=under, places=places, between=line.joint)


def output_label(line: Line) -> str:
    """`[name] ` of the output; empty for a plain output."""
    name = line.row["output"]
    return "" if name in ("", "output", None) else f"[{name}] "


def findings(found: Sequence[Line], titles: Mapping[str, str], drawn: Container[str] | None = None) -> Table:
    """All lines, in the order given: the page's main table.

    drawn: the cases that have a section of their own (None: all); the rows of the others are their places.
    """
    heads = (
        Head("case"), Head("modes with these bits"), Head("verdict"), Head("evidence"),
        *(Head(m.heading, True, m.meaning) for m in TELLING), Head("reason"),
    )  # fmt: skip
    first: dict[str, Line] = {}
    rows = tuple(
        (
            *_named(line, titles[line.row["case"]], drawn, first.setdefault(line.row["case"], line) is line),
            verdict(line),
            Cell(str(line.row["evidence"])),
            *(measured(line.row, m) if line.scored else Cell("", style="num") for m in TELLING),
            Cell(line.row["reason"] or "", style="reason"),
        )
        for line in found
    )
    return Table("Every distinct result, worst first", heads, rows)


def _named(line: Line, title: str, drawn: Container[str] | None, first: bool) -> tuple[Cell, Cell]:
    """Case and modes of a line: links to its section, or the places that links lead to."""
    case = line.row["case"]
    if drawn is None or case in drawn:
        return Cell(title, link=_place(line)), modes(line)
    place = anchor("case", case)
    named = Cell(title, places=((title, place),)) if first else Cell(title, link=place)
    return named, placed_modes(line)


def _place(line: Line) -> str:
    """Where a line's figures are: its own row, or its case where it was not run."""
    return anchor("case", line.row["case"]) if line.verdict == "not run" else cell_anchor(line.row)


def judged(found: Sequence[Line]) -> Table:
    """The judgement and the main figures of one case's lines, each with its reason."""
    shown, gone = _present(found, JUDGED)
    heads = (
        Head("modes with these bits, and why"), Head("verdict"), Head("evidence"),
        *(Head(m.heading, True, m.meaning) for m in shown),
    )  # fmt: skip
    rows = tuple(
        (
            placed_modes(line, under=line.row["reason"]),
            verdict(line),
            Cell(str(line.row["evidence"])),
            *(measured(line.row, m) if line.scored else Cell("", style="num") for m in shown),
        )
        for line in found
    )
    return Table("Judgement and error of each distinct result", heads, rows, gone)


def further(found: Sequence[Line]) -> Table:
    """The rest of the measures, of the lines that have a score."""
    scored = [line for line in found if line.scored]
    shown, gone = _present(scored, FURTHER)
    kernels = any(line.row["kernels"] for line in scored)
    heads = (Head("mode"), *(Head(m.heading, True, m.meaning) for m in shown))
    heads += (Head("kernels"),) if kernels else ()
    gone += "" if kernels else (", kernels" if gone else "Not measured here: kernels")
    rows = tuple(
        (
            modes(line),
            *(measured(line.row, m) for m in shown),
            *((Cell(str(line.row["kernels"] or numbers.NOT_MEASURED), style="reason"),) if kernels else ()),
        )
        for line in scored
    )
    return Table("Further measures", heads, rows, gone)


def _present(found: Sequence[Line], measures: Sequence[Measure]) -> tuple[list[Measure], str]:
    """The measures that any line has, and a sentence that names the rest."""
    shown = [m for m in measures if any(line.row[m.column] is not None for line in found)]
    gone = [m.heading for m in measures if m not in shown]
    return shown, f"Not measured here: {', '.join(gone)}" if gone else ""


def causes(found: Sequence[tuple[Line, Sequence[Row]]]) -> Table:
    """The budget of each line, a row for each cause."""
    heads = (
        Head("modes with these bits"), Head("cause"), Head("evidence"),
        Head("share", True, "of the error's energy; those of a result add up to 1"),
        Head("rms ulp", True, "root mean square of the part, in ulp of the truth"),
        Head("mean ulp", True, "mean signed part: its bias"),
        Head("largest", True, "largest |part|"), Head("what"), Head("mend"),
    )  # fmt: skip
    rows = tuple(
        (
            modes(line),
            Cell(row["cause"]),
            Cell(row["evidence"]),
            _figure(row["share"], numbers.share(row["share"])),
            _figure(row["part_ulp_rms"], numbers.figure(row["part_ulp_rms"])),
            _figure(row["part_ulp_mean"], numbers.signed(row["part_ulp_mean"])),
            _figure(row["part_abs_max"], numbers.figure(row["part_abs_max"])),
            Cell(row["detail"] or "", style="reason"),
            Cell(row["fix"] or "", style="reason"),
        )
        for line, listed in found
        for row in listed
    )
    return Table("What each cause has of the error", heads, rows)


def worst_elements(found: Sequence[Line]) -> Table:
    """The worst element of each line that has one: index, got, correctly rounded, exact."""
    heads = (
        Head("mode"), Head("index"), Head(WORST.heading, True, WORST.meaning), Head("got", True),
        Head("got, hex", True),
        Head("correctly rounded", True), Head("correctly rounded, hex", True), Head("exact", True),
    )  # fmt: skip
    rows = tuple(
        (
            modes(line), Cell(line.row["worst_index"] or numbers.NOT_MEASURED, style="mono"),
            measured(line.row, WORST),
            *(_digits(line.row[column]) for column in ("worst_got", "worst_got_hex", "worst_rounded",
                                                       "worst_rounded_hex", "worst_exact")),
        )
        for line in found
        if line.scored and line.row["worst_index"] is not None
    )  # fmt: skip
    return Table("Worst element of each result", heads, rows)


def _digits(value: float | str | None) -> Cell:
    if value is None:
        return Cell(numbers.NOT_MEASURED, style="num")
    return Cell(value if isinstance(value, str) else f"{value:.9g}", style="num mono")
