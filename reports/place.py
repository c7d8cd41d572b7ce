"""The place of one case among all others: its errors against the terms of a sum and against the condition.

What is the same on every page section, axes, bounds and the other cases' marks, is drawn once and shown again
in each; only a case's own marks are drawn for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from reports import numbers
from reports.cells import Line, Row
from reports.exhibits import Exhibit, framework
from reports.inline import Inlined
from reports.plots import LEAST, power
from reports.profile_exhibits import U, gamma
from reports.profile_plot import TRUNCATION
from reports.tables import Cell, Head, Table, output_label

SHARED = "shared-field"
"""Id of what the sections share; ids that start so are not numbered."""

MOST_MARKS = 3000
_SUM = ("exact", "rounding")
_WIDTH, _HEIGHT = 760, 268
_TOP, _BOTTOM = 12, 210
_LEFT, _RIGHT = (66, 346), (462, 728)
_MARKS = {
    "torch": '<circle cx="{x}" cy="{y}" r="4.5" fill="var(--torch)" {edge}/>',
    "tensorflow": '<rect x="{x0}" y="{y0}" width="8" height="8" fill="var(--tensorflow)" {edge}/>',
    "both": '<path d="M{x} {y}m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z" fill="var(--both)" {edge}/>',
}
_OTHER = '<path d="M{x} {y}m-4 4l4 -8l4 8z" fill="var(--other)" {edge}/>'
_EDGE = 'stroke="var(--plot)" stroke-width="1"'


@dataclass(frozen=True)
class Point:
    """A distinct result: terms and largest error in 2^-24 of Σ|terms|, condition and median ulp error.

    What is not known, or has no meaning for it, is None.
    """

    line: Line
    terms: int | None
    error: float | None
    condition: float | None
    ulp: float | None


def points(found: Sequence[Line], cases: Sequence[Row]) -> list[Point]:
    """The places of all distinct results that were scored."""
    known = {case["case"]: case for case in cases}
    listed = []
    for line in found:
        case, row = known[line.row["case"]], line.row
        if not line.scored:
            continue
        size = row["error_over_magnitude_max"]
        sums = reason(case) == "" and line.verdict in _SUM and _finite(size)
        condition = case["condition_median"] if row["condition_median"] is None else row["condition_median"]
        both = _finite(condition) and _finite(row["error_ulp_median"])
        listed.append(
            Point(
                line,
                int(case["terms"]) if sums else None,
                size / U if sums else None,
                max(1.0, condition) if both else None,
                row["error_ulp_median"] if both else None,
            )
        )
    return listed


def reason(case: Row) -> str:
    """Why a case has no number of terms to be compared by; empty where it has one."""
    if str(case["family"]).startswith("normalization"):
        return "it is a normalization, several sums one after another, and has no single K"
    return "" if case["terms"] else "the results hold no number of terms for it"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Field:
    """All places of a suite, and the scales in which they are drawn."""

    every: tuple[Point, ...]

    @cached_property
    def _scales(self) -> tuple[_Scale, _Scale, _Scale, _Scale]:
        """Terms, errors, conditions, ulp errors."""
        terms = [each.terms for each in self.every if each.terms]
        most = max(terms, default=2)
        sizes = [each.error for each in self.every if each.error]
        conditions = [each.condition for each in self.every if each.condition]
        ulps = [each.ulp for each in self.every if each.ulp]
        return (
            _scale([1.0, 2.0 * most], _LEFT),
            _scale([*sizes, 0.25, gamma(most) / U if most * U < 0.5 else most], (_BOTTOM, _TOP)),
            _scale([*conditions, 1.0, 8.0], _RIGHT),
            _scale([*ulps, 0.125, 1.0], (_BOTTOM, _TOP)),
        )

    def shared(self) -> Markup:
        """Axes, bounds and every result's mark, once for all sections that show them."""
        if not self.every:
            return Markup("")
        across, up, wide, high = self._scales
        parts = [
            _axes(across, up, _LEFT, "terms of one sum, K", "largest error, 2⁻²⁴ of Σ|terms|"),
            _axes(wide, high, _RIGHT, "median condition, Σ|terms| / |truth|", "median error, ulp"),
        ]
        ends = (across.low, across.high)
        curves = (
            ("γ", [gamma(2.0**at) / U for at in _steps(*ends)], ""),
            ("0.35 K", [TRUNCATION * 2.0**at for at in _steps(*ends)], "1 2.5"),
            ("√K", [2.0 ** (at / 2) for at in _steps(*ends)], "5 3"),
        )
        below = -math.inf
        for name, values, dash in curves:
            path, y = _curve(across, up, list(zip(_steps(*ends), values, strict=True)), dash)
            below = max(
                y, below + 13
            )  # names of lines that end close to each other stand one below the other
            parts.append(f'{path}<text x="{_LEFT[1] + 5}" y="{below + 4:.1f}">{name}</text>')
        path, y = _curve(wide, high, [(at, 0.5) for at in (wide.low, wide.high)], "4 3")
        parts.append(f'{path}<text x="{_RIGHT[1] + 5}" y="{y + 4:.1f}">0.5</text>')
        rise = [(at, 0.5 * 2.0**at) for at in _steps(wide.low, wide.high)]
        parts.append(_curve(wide, high, rise, "1 2.5")[0])
        dots = []
        for each in self.every[:MOST_MARKS]:
            dots += [f"M{x} {y}h0" for x, y in self._spots(each) if x]
        parts.append(
            f'<path d="{"".join(dict.fromkeys(dots))}" stroke="var(--quiet)" stroke-width="3.4" '
            'stroke-linecap="round" fill="none" opacity="0.55"/>'
        )
        return Markup(
            f'<svg class="shared" width="0" height="0" aria-hidden="true"><defs><g id="{SHARED}">'
            f"{''.join(parts)}</g></defs></svg>"
        )

    def _spots(self, each: Point) -> list[tuple[str, str]]:
        """Where a result stands on the left and on the right; empty texts where it does not."""
        across, up, wide, high = self._scales
        found = [("", ""), ("", "")]
        if each.terms is not None and each.error is not None:
            found[0] = across.at(each.terms), up.at(each.error)
        if each.condition is not None and each.ulp is not None:
            found[1] = wide.at(each.condition), high.at(each.ulp)
        return found

    def exhibit(self, case: Row, frameworks: Mapping[str, str]) -> Exhibit | None:
        """The field with one case's results marked; None where it has no place in either part."""
        own = [each for each in self.every if each.line.row["case"] == case["case"]]
        own = [each for each in own if each.terms is not None or each.condition is not None]
        if not own:
            return None
        marks = []
        for each in reversed(own):
            for x, y in self._spots(each):
                if x:
                    look = _MARKS.get(framework(each.line, frameworks), _OTHER)
                    corner = {"x0": f"{float(x) - 4:g}", "y0": f"{float(y) - 4:g}"}
                    marks.append(look.format(x=x, y=y, edge=_EDGE, **corner))
        drawing = f'<use href="#{SHARED}"/>{"".join(marks)}'
        box = f"0 0 {_WIDTH} {_HEIGHT}"
        words = _told(case, own, len(self.every))
        caption = (
            "Left: largest error against the terms of one sum, with γ (no order of roundings to nearest is "
            "worse), 0.35 K (what truncating every addition loses) and √K (likely). Right: median error "
            "against the condition, with 0.5 ulp and the dotted line of one rounding of Σ|terms|. Large "
            "marks are this case (circle PyTorch, square TensorFlow, diamond the same bits in both), dots "
            "all results of the suite; lower is better."
        )
        if missing := _missing(case, own):
            caption += f" {missing}"
        return Exhibit(Inlined(drawing, box, _WIDTH, _HEIGHT), words, caption, _table(own))


def _missing(case: Row, own: Sequence[Point]) -> str:
    if all(each.terms is None for each in own):
        why = reason(case) or "none of its results is exact or rounding"
        return f"This case has no mark at the left: {why}."
    return ""


def _told(case: Row, own: Sequence[Point], total: int) -> str:
    """The figure in words."""
    text = f"The place of {case['case']} among {numbers.times(total, 'distinct result')}."
    sizes = [each.error for each in own if each.error is not None]
    if sizes and case["terms"]:
        root = math.sqrt(case["terms"])
        text += (
            f" K is {case['terms']:,}: largest errors from {numbers.figure(min(sizes))} to "
            f"{numbers.figure(max(sizes))} in 2⁻²⁴ Σ|terms|, {sum(size > root for size in sizes)} of "
            f"{len(sizes)} above √K = {numbers.figure(root)}, "
            f"{sum(size * U > gamma(case['terms']) for size in sizes)} above γ."
        )
    known = [(each.condition, each.ulp) for each in own if each.condition is not None]
    ulps = [ulp for _, ulp in known if ulp is not None]
    if ulps:
        text += (
            f" Median condition {numbers.figure(known[0][0])}: median errors from "
            f"{numbers.figure(min(ulps))} to {numbers.figure(max(ulps))} ulp."
        )
    missing = _missing(case, own)
    return f"{text} {missing}" if missing else text


def _table(own: Sequence[Point]) -> Table:
    heads = (
        Head("modes with these bits"), Head("K", True), Head("largest error, 2⁻²⁴ Σ|terms|", True),
        Head("over √K", True), Head("over γ", True), Head("median condition", True),
        Head("median ulp", True),
    )  # fmt: skip
    rows = []
    for each in own:
        over: tuple[float | None, float | None] = (None, None)
        if each.terms and each.error is not None:
            over = each.error / math.sqrt(each.terms), each.error * U / gamma(each.terms)
        rows.append(
            (
                Cell(output_label(each.line) + each.line.label, style="modes"),
                Cell("–" if each.terms is None else f"{each.terms:,}", style="num"),
                *(_figure(value) for value in (each.error, *over, each.condition, each.ulp)),
            )
        )
    return Table("This case against the terms of a sum and against the condition", heads, tuple(rows))


def _figure(value: float | None) -> Cell:
    return Cell("–" if value is None else numbers.figure(value), style="num")


@dataclass(frozen=True)
class _Scale:
    """log2 from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> str:
        return self.of(math.log2(min(max(value, LEAST), 2.0**120)))

    def of(self, exponent: float) -> str:
        part = (min(max(exponent, self.low), self.high) - self.low) / (self.high - self.low)
        return f"{self.start + part * (self.end - self.start):.1f}"

    def ticks(self, most: int) -> list[int]:
        low, high = math.ceil(self.low), math.floor(self.high)
        step = max(1, -(-(high - low) // most))
        first = low if low >= 0 else -1 - step * ((-1 - low) // step)  # 0.5 is among them where it is drawn
        return list(range(first, high + 1, step))


def _scale(values: Sequence[float], ends: tuple[float, float]) -> _Scale:
    powers = [math.log2(min(max(value, LEAST), 2.0**120)) for value in values]
    return _Scale(math.floor(min(powers)), math.ceil(max(powers)), float(ends[0]), float(ends[1]))


def _steps(low: float, high: float) -> list[float]:
    return [low + (high - low) * part / 24 for part in range(25)]


def _axes(across: _Scale, up: _Scale, ends: tuple[int, int], below: str, beside: str) -> str:
    left, right = ends
    parts = [
        f'<path d="M{left} {_TOP}V{_BOTTOM}H{right}" fill="none" stroke="var(--axis)" stroke-width="0.8"/>'
    ]
    lines = []
    for tick in across.ticks(6):
        x = across.of(tick)
        lines.append(f"M{x} {_BOTTOM}V{_TOP}")
        parts.append(f'<text x="{x}" y="{_BOTTOM + 16}" text-anchor="middle">{power(tick)}</text>')
    for tick in up.ticks(7):
        y = up.of(tick)
        lines.append(f"M{left} {y}H{right}")
        parts.append(f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{power(tick)}</text>')
    middle, height = (left + right) / 2, (_TOP + _BOTTOM) / 2
    parts += [
        f'<text x="{middle:g}" y="{_BOTTOM + 36}" text-anchor="middle">{below}</text>',
        f'<text transform="translate({left - 54} {height:g}) rotate(-90)" text-anchor="middle">'
        f"{beside}</text>",
    ]
    return f'<path d="{"".join(lines)}" stroke="var(--grid)" stroke-width="0.6"/>{"".join(parts)}'


def _curve(across: _Scale, up: _Scale, drawn: Sequence[tuple[float, float]], dash: str) -> tuple[str, float]:
    """A line through (exponent, value), cut at the top, and the height at which it ends."""
    inside = [(at, value) for at, value in drawn if math.log2(min(value, 2.0**120)) <= up.high]
    path = "L".join(f"{across.of(at)} {up.at(value)}" for at, value in inside)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    line = f'<path d="M{path}" fill="none" stroke="var(--pen)" stroke-width="1"{dashes}/>'
    return line, float(up.at(inside[-1][1]))
