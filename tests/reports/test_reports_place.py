"""A case's place among all others: its marks stand where its figures say, and what is missing is said."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from xml.etree import ElementTree

import pytest
import synthetic_results

from reports.cells import grid, in_order, lines
from reports.inline import Sheet
from reports.place import MOST_MARKS, SHARED, Field, U, gamma, points
from reports.store import Results

FRAMEWORKS = {name: framework for name, framework, *_ in synthetic_results.MODES}


def field(results: Results) -> Field:
    return Field(tuple(points(lines(grid(results)), in_order(results.cases))))


def case(results: Results, name: str) -> dict:
    return next(row for row in in_order(results.cases) if row["case"] == name)


def ticks(markup: str, down: bool) -> dict[float, float]:
    """Values of an axis' words and their places, of the left part."""
    found = {}
    for text in ElementTree.fromstring(markup).iter("text"):
        word = (text.text or "").replace(",", "")
        if text.get("x") and re.fullmatch(r"[\d.e]+", word):
            end = text.get("text-anchor") == "end"
            x, y = float(text.get("x", "")), float(text.get("y", ""))
            if end == down and x < 340:
                found[float(word)] = y - 4 if down else x
    return found


def place(axis: dict[float, float], value: float) -> float:
    """Where an axis has a value, from its outermost ticks."""
    (a, at_a), (b, at_b) = sorted(axis.items())[0], sorted(axis.items())[-1]
    part = math.log(value / a) / math.log(b / a)
    return at_a + part * (at_b - at_a)


def curves(markup: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each line that has its name behind it."""
    named = re.findall(r'<path d="M([^"]+)"[^>]*/><text [^>]*>([^<]+)</text>', markup)
    return {
        name: [(float(x), float(y)) for x, y in (point.split() for point in points.split("L"))]
        for points, name in named
        if "L" in points and "V" not in points
    }


def test_the_curves_pass_where_the_axes_say(results: Results) -> None:
    shared = str(field(results).shared())
    across, up, found = ticks(shared, False), ticks(shared, True), curves(shared)
    unit = Fraction(1, 2**24)
    lines = {
        "γ": lambda k: k / (1 - k * float(unit)),  # Higham 2002, lemma 3.1, in units of u
        "0.35 K": lambda k: 0.35 * k,
        "√K": math.sqrt,
    }
    assert set(lines) <= set(found)
    (low, at_low), (high, at_high) = sorted(across.items())[0], sorted(across.items())[-1]
    for name, line in lines.items():
        inside = [(x, y) for x, y in found[name] if x > at_low]
        assert len(inside) > 8
        for x, y in inside:
            terms = low * (high / low) ** ((x - at_low) / (at_high - at_low))
            # Heights are held between the ends of the axis: a line that begins below it runs along it.
            assert y == pytest.approx(min(place(up, line(terms)), 210.0), abs=0.6), (name, terms)


def test_a_mark_stands_where_the_axes_say(results: Results) -> None:
    suite = field(results)
    exhibit = suite.exhibit(case(results, "conv2d-5x5-s2"), FRAMEWORKS)
    assert exhibit is not None
    shared = str(suite.shared())
    across, up = ticks(shared, False), ticks(shared, True)
    sizes = results.scores[(results.scores["case"] == "conv2d-5x5-s2") & results.scores["elements"].notna()]
    errors = {float(value) / U for value in sizes["error_over_magnitude_max"]}
    circles = [
        (float(x), float(y))
        for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', exhibit.drawing.body)
        if float(x) < 340
    ]
    assert circles
    for x, y in circles:
        assert x == pytest.approx(place(across, 6400), abs=1.0)
        assert any(abs(y - place(up, error)) < 1.0 for error in errors)


def test_the_words_and_the_table_have_the_figures(results: Results) -> None:
    exhibit = field(results).exhibit(case(results, "conv2d-5x5-s2"), FRAMEWORKS)
    assert exhibit is not None
    assert "K is 6,400: largest errors from" in exhibit.alt
    assert "above √K = 80.0, " in exhibit.alt
    rows = {row[0].text: [cell.text for cell in row] for row in exhibit.table.rows}
    own = rows["torch.cpu = torch.cpu.threads1"]
    error = 1.2 * 2e-8 / U
    assert float(own[2]) == pytest.approx(error, rel=0.01)
    assert float(own[3]) == pytest.approx(error / 80, rel=0.01)
    assert float(own[4]) == pytest.approx(error * U / gamma(6400), rel=0.01)


def test_a_case_without_terms_says_why(results: Results) -> None:
    normal = field(results).exhibit(case(results, "batch-norm-train"), FRAMEWORKS)
    assert normal is not None
    assert "no mark at the left: it is a normalization" in normal.caption
    assert "it is a normalization" in normal.alt
    cases = results.cases.copy()
    cases["terms"] = None
    bare = dataclasses.replace(results, cases=cases)
    exhibit = field(bare).exhibit(case(bare, "conv2d-5x5-s2"), FRAMEWORKS)
    assert exhibit is not None
    assert "the results hold no number of terms" in exhibit.caption


def test_another_function_has_no_place_against_k(results: Results) -> None:
    suite = field(results)
    assert all(each.terms is None for each in suite.every if each.line.verdict == "semantics")
    assert any(each.terms for each in suite.every if each.line.verdict == "rounding")


@pytest.mark.parametrize("value", [math.inf, math.nan, 0.0, 1e30])
def test_odd_figures_are_drawn_or_left_out(results: Results, value: float) -> None:
    names = ["error_over_magnitude_max", "error_ulp_median", "condition_median"]
    odd = dataclasses.replace(results, scores=results.scores.assign(**dict.fromkeys(names, value)))
    suite = field(odd)
    shared = str(suite.shared())
    exhibits = [suite.exhibit(row, FRAMEWORKS) for row in in_order(odd.cases)]
    assert "nan" not in shared
    assert "inf" not in shared
    for exhibit in exhibits:
        if exhibit is not None:
            ElementTree.fromstring(Sheet().markup(exhibit.drawing, exhibit.alt))
            assert not re.search(r"\bnan\b|\binf\b", exhibit.drawing.body)
    # nan becomes a missing figure; the cases' own condition takes the place of the scores'.
    assert any(exhibits) == (value in (0.0, 1e30))


def test_terms_without_a_bound_leave_a_scale_that_can_be_read(results: Results) -> None:
    huge = dataclasses.replace(results, cases=results.cases.assign(terms=2**25))
    up = ticks(str(field(huge).shared()), True)
    assert 2**20 < max(up) < 2**27


def test_nothing_scored_gives_nothing(results: Results) -> None:
    empty = Field(())
    assert str(empty.shared()) == ""
    assert empty.exhibit(case(results, "conv2d-1x1"), FRAMEWORKS) is None


def test_the_shared_part_is_small_and_has_its_id_once(results: Results) -> None:
    suite = field(results)
    shared = str(suite.shared())
    assert shared.count(f'id="{SHARED}"') == 1
    many = Field(suite.every * (2 * MOST_MARKS // len(suite.every)))
    assert len(str(many.shared())) < 80_000
