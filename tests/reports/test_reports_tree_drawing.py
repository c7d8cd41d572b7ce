"""Drawings of trees of additions: XML that stands alone, readable sizes, and all that the tree says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from reports.tree_drawing import tree_svg

SVG = "{http://www.w3.org/2000/svg}"


def tree(root: dict, leaves: int, **changes: object) -> dict:
    plain = {"accumulator": "binary32", "operands": "binary32", "zero_start": False, "flush": False}
    return {"schema": 1, "leaves": leaves, "bias": False, **plain, "axes": [], "root": root} | changes


def run(first: int, count: int, step: int = 1, fused: bool = True) -> dict:
    return {"run": [[first, count, step]], "fused": fused}


def series(*items: dict) -> dict:
    return {"series": list(items)}


def halves(first: int, count: int) -> dict:
    if count <= 2:
        return series(run(first, count))
    return series(halves(first, count // 2), halves(first + count // 2, count // 2))


def fused_steps(width: int, count: int) -> dict:
    steps = [[run(k * width, width)] for k in range(count)]
    return {"steps": steps, "fraction_bits": 25, "rounding": "RZ"}


TREES = {
    "chain": tree(series(run(0, 6400)), 6400),
    "blocks": tree(
        series(run(0, 400, 16), run(6400, 1), *(series(run(b, 400, 16)) for b in range(1, 16))),
        6400,
        bias=True,
    ),
    "pairwise": tree(halves(0, 64), 64),
    "large pairwise": tree(halves(0, 4096), 4096),
    "hopper": tree(fused_steps(8, 8), 64, operands="tf32"),
    "single": tree(series(run(0, 1)), 1),
    "one fused": tree({"fused": [run(0, 4)], "fraction_bits": None, "rounding": "RNE"}, 4),
    "double": tree(series(run(0, 9)), 9, accumulator="binary64", flush=True),
    "nothing repeats": tree(series(*(series(run(k * k, 2 * k + 1)) for k in range(40))), 1600),
    "mixed": tree(
        series(run(0, 3), run(3, 1, fused=False), run(4, 2), series(run(6, 2), series(run(8, 1)))), 9
    ),
}


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", TREES)
def test_a_drawing_is_xml_that_stands_alone_and_fits(name):
    svg = tree_svg(TREES[name])
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.find(f"{SVG}title").text
    assert root.get("role") == "img"
    assert "prefers-color-scheme: dark" in svg
    assert not re.search(r"href|src=|url\(|@import", svg)
    assert 300 < width < 1200
    assert 80 < height < 1800
    assert len(svg) < 30_000
    assert svg == tree_svg(TREES[name])


def inside(node: ElementTree.Element, x: float, y: float, width: float, height: float) -> None:
    """Every box, sign and text lies within the drawing."""
    move = re.findall(r"[-\d.]+", node.get("transform", ""))
    x, y = (x + float(move[0]), y + float(move[1])) if move else (x, y)
    for child in node:
        if child.tag == f"{SVG}rect":
            assert x + float(child.get("width")) <= width
            assert y + float(child.get("height")) <= height
        if child.tag == f"{SVG}text":
            left = x + float(child.get("x"))
            half = 0.5 if child.get("class") == "mark" else 0.0
            assert left + 6.0 * len("".join(child.itertext())) * (1 - half) <= width
            assert 0 < y + float(child.get("y")) < height
        inside(child, x, y, width, height)


@pytest.mark.parametrize("name", TREES)
def test_everything_lies_within_the_drawing(name):
    root = ElementTree.fromstring(tree_svg(TREES[name]))
    inside(root, 0.0, 0.0, float(root.get("width")), float(root.get("height")))


def test_what_repeats_is_drawn_once():
    found = texts(tree_svg(TREES["blocks"]))
    assert "× 15" in found
    assert "bias" in found
    assert "400 terms · 0, 16, … 6384 · fused" in found
    assert sum(text.startswith("400 terms") for text in found) == 2
    found = texts(tree_svg(TREES["hopper"]))
    assert "× 7" in found
    assert "factors rounded to tf32" in found[1]
    assert any("cut to 25 bits" in text for text in found)
    assert sum("2 terms" in text for text in texts(tree_svg(TREES["pairwise"]))) == 32
    assert any("in the same way" in text for text in texts(tree_svg(TREES["large pairwise"])))
    found = texts(tree_svg(TREES["nothing repeats"]))
    assert any("more terms, in" in text for text in found)


def test_repeats_are_not_claimed_where_there_are_none():
    blocks = [series(run(b, 400, 16)) for b in range(1, 16)]
    blocks[7] = series(run(8, 400, 16, fused=False))
    found = texts(tree_svg(tree(series(run(0, 400, 16), *blocks), 6400)))
    assert "× 15" not in found
    assert [text for text in found if text.startswith("×")] == ["× 7", "× 7"]
    assert "400 terms · 8, 24, … 6392 · products rounded" in found


def test_text_is_escaped():
    svg = tree_svg(TREES["single"], title='<script>alert("1")</script> & more')
    assert "<script>" not in svg
    assert texts(svg)[0] == '<script>alert("1")</script> & more'
    svg = tree_svg(tree(series(run(0, 2)), 2, operands="<b>"))
    ElementTree.fromstring(svg)
    assert "<b>" not in svg


@pytest.mark.parametrize(
    "wrong", [{}, {"root": 3}, tree({"sum": []}, 2), tree({"series": [{"run": [[0]]}]}, 1)]
)
def test_what_is_no_tree_is_refused(wrong):
    with pytest.raises(ValueError, match="a drawing needs a tree's JSON form"):
        tree_svg(wrong)


def test_a_deep_tree_is_drawn_as_far_as_it_is_readable():
    root = series(run(0, 1))
    for k in range(1, 200):
        root = series(run(2 * k, 1, fused=False), series(run(2 * k + 1, 1)), root)
    svg = tree_svg(tree(root, 400))
    ElementTree.fromstring(svg)
    assert len(svg) < 60_000
