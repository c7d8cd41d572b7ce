"""Drawings in a page: their own ids, no foreign style, names as they are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from reports import numbers, plots
from reports.inline import Sheet, inlined

NAMES = ('#123456 id="x" <g></g>', "rotate(-0 1 2)", "שלום (1)", "url(#a)", "-->]]>")


def drawing() -> str:
    rows = [
        {
            "label": name,
            "framework": "torch",
            "note": "",
            "bin_left_ulp": -0.5,
            "bin_right_ulp": 0.5,
            "count": 3,
        }
        for name in NAMES
    ]
    return plots.svg(plots.histogram(pd.DataFrame(rows))).decode()


def texts(document: str) -> set[str]:
    root = ElementTree.fromstring(document)
    return {"".join(each.itertext()) for each in root.iter() if each.tag.rpartition("}")[2] == "text"}


def test_names_stay_what_they_are() -> None:
    markup = str(Sheet().markup(inlined(drawing()), 'words "quoted" & <b>'))
    shown = {text.replace("\u2068", "").replace("\u2069", "") for text in texts(markup)}
    assert shown == texts(drawing())
    assert set(NAMES) <= shown
    assert "\u2068שלום\u2069 (1)" in texts(markup)
    assert ElementTree.fromstring(markup).get("aria-label") == 'words "quoted" & <b>'


def test_every_id_is_of_its_drawing_and_every_reference_finds_one() -> None:
    sheet = Sheet()
    one, two = (str(sheet.markup(inlined(drawing()), "words")) for _ in range(2))
    plain = re.sub(r">[^<]*<", "><", one)
    ids = re.findall(r'\bid="([^"]*)"', plain)
    assert ids
    assert all(name.startswith("d1-") for name in ids)
    used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', plain)
    assert {a or b for a, b in used} <= set(ids)
    assert set(ids).isdisjoint(re.findall(r'\bid="([^"]*)"', re.sub(r">[^<]*<", "><", two)))


def test_what_all_drawings_share_keeps_its_id() -> None:
    body = '<use href="#shared-a"/><path id="a"/><use href="#a"/>'
    markup = Sheet().markup(inlined(f'<svg width="1" height="1" viewBox="0 0 1 1">{body}</svg>'), "")
    assert body.replace('"a"', '"d1-0"').replace('"#a"', '"#d1-0"') in markup


def test_what_looks_alike_is_said_once() -> None:
    sheet = Sheet()
    one, two = (str(sheet.markup(inlined(drawing()), "")) for _ in range(2))
    plain = re.sub(r">[^<]*<", "><", one)
    assert " style=" not in plain
    page = sheet.finished(f"a {Sheet.MARK} b {Sheet.MARK}")
    assert page.count(Sheet.MARK) == 1
    rules = dict(re.findall(r"\.(s\d+)\{([^}]*)\}", page))
    assert set(re.findall(r'class="([^"]*)"', plain)) == set(rules)
    assert len(set(rules.values())) == len(rules)
    styles = re.findall(r' style="([^"]*)"', re.sub(r">[^<]*<", "><", inlined(drawing()).body))
    shown = [rules[name] for name in re.findall(r'class="([^"]*)"', plain)]
    assert shown == [re.sub(r"\s*([:;,])\s*", r"\1", style) for style in styles]
    assert two.replace("d2-", "d1-") == one


def test_no_style_sheet_and_no_group_without_a_use() -> None:
    body = inlined(drawing()).body
    plain = re.sub(r">[^<]*<", "><", body)
    assert "<style" not in plain
    assert "<g>" not in plain
    assert plain.count("<g ") == plain.count("</g>")
    assert not re.search(r"#[0-9a-f]{6}", plain)
    assert len(plain) < 0.8 * len(drawing())


def test_sizes_are_css_pixels() -> None:
    svg = '<svg width="72pt" height="36" viewBox="0 0 72 36"></svg>'
    found = inlined(svg)
    assert (found.width, found.height, found.box) == (96.0, 36.0, "0 0 72 36")
    with pytest.raises(ValueError, match="a drawing is an SVG with width"):
        inlined("<svg></svg>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Σ é 漢", "plain Σ é 漢"),
        ("שלום", "[שלום]"),
        ("a: שלום עולם, 12 = b", "a: [שלום עולם], 12 = b"),
        ("שלום-1 = 2-עולם, שלום → עולם", "[שלום]-1 = 2-[עולם], [שלום] → [עולם]"),
        ("שלום 123 (a) مرحبا = torch", "[שלום] 123 (a) [مرحبا] = torch"),
        ("\u202ea", "\\u202ea"),
        ("\u2068a\u2069", "\\u2068a\\u2069"),
        ("\ud800\u2028\x00", "\\ud800\\u2028\\u0000"),
        ("a\tb\n", "a\tb\n"),
    ],
)
def test_what_runs_from_the_right_is_set_apart_and_what_hides_is_written_out(text: str, shown: str) -> None:
    assert numbers.isolated(text).replace("\u2068", "[").replace("\u2069", "]") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.795000031916729e308, "1.80e308"), (-1.7976931348623157e308, "-1.80e308"), (5e-324, "4.94e-324")],
)
def test_the_largest_and_the_least_figures_are_written(value: float, shown: str) -> None:
    assert numbers.figure(value) == shown
