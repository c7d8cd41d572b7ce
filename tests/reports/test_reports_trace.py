"""The page of a trace: what it says, what it draws, what it refuses."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from reports.schema import SchemaError
from reports.trace_page import DECISIONS, GRADIENTS, LAYERS, TracePage, page

HOSTILE = "<script>alert(1)</script>\u202e"


def layer(name: str, verdict: str = "rounding", **rest: Any) -> dict[str, Any]:
    figures = {column: 1e-7 for column in LAYERS if column.endswith(("_a", "_b")) and "layer" not in column}
    words = {"layer_a": name, "layer_b": name, "op": "conv2d", "verdict": verdict, "evidence": "proved"}
    blank = dict.fromkeys(("parameter", "declared", "found", "mend", "detail"))
    return {**blank, **figures, **words, **rest}


def decision(status: str = "safe", margin: float = 0.5) -> dict[str, Any]:
    row = {"output": "B", "kind": "argmax", "index": [0], "truth": 3, "found": 4}
    return row | {"margin": margin, "bound": 0.1, "status": status}


def made(*rows: dict[str, Any], decided: tuple[dict[str, Any], ...] = (), **rest: Any) -> TracePage:
    layers = pd.DataFrame(list(rows), columns=list(LAYERS))
    return TracePage("a.py", "b.py", layers, pd.DataFrame(list(decided), columns=list(DECISIONS)), **rest)


def test_rounding_only() -> None:
    found = made(layer("one"), layer("two", "exact"), decided=(decision(),))
    text = page(found)
    assert found.fine
    assert "All 2 layers are exact or differ by rounding only." in text
    assert "1.00e-7" in text
    assert text.count('<svg viewBox="') == 2  # A and B
    assert page(found) == text
    assert 'src="http' not in text
    assert text.count("<script") == 1


def test_the_first_difference_is_named_with_its_mend() -> None:
    odd = layer(
        "two", "semantics", parameter="stride", declared=1, found=2, mend="strides=1", detail="differs"
    )
    found = made(layer("one"), odd, decided=(decision(), decision("flipped", 0.01)))
    text = page(found)
    assert not found.fine
    assert "1 layer of 2 is more than rounding, first two, stride; 1 decision flipped." in text
    assert "stride: A 1, B 2" in text
    assert "strides=1" in text
    assert text.index("flipped</td>") < text.index("safe</td>")


def test_a_flipped_decision_alone_is_a_finding() -> None:
    assert not made(layer("one"), decided=(decision("flipped"),)).fine


def test_nothing_measured_and_nothing_at_all() -> None:
    blank = dict.fromkeys(name for name in LAYERS if name.endswith(("_a", "_b")) and "layer" not in name)
    assert "No layer&#39;s error was measured" in page(made(layer("one", **blank))).replace("'", "&#39;")
    text = page(made())
    assert "the trace holds no layer" in text
    assert "No decision was judged" in text
    assert not made().fine


def test_hostile_names_are_text() -> None:
    odd = layer(HOSTILE, "data", parameter=HOSTILE, declared=HOSTILE, found=[HOSTILE], detail=HOSTILE)
    text = page(made(odd, notes=(HOSTILE,), unmatched={"a": [HOSTILE]}))
    assert "<script>alert" not in text
    assert "\u202e" not in text


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SchemaError, match="'mend' is missing"):
        TracePage("a", "b", pd.DataFrame(columns=[name for name in LAYERS if name != "mend"]))
    with pytest.raises(SchemaError, match="'status' is missing"):
        TracePage("a", "b", made().layers, pd.DataFrame(columns=list(DECISIONS[:-1])))


def back(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{"of": "weight", **row} for row in rows], columns=list(GRADIENTS))


def test_gradients_have_a_section_of_their_own() -> None:
    found = made(layer("one"), gradients=back(layer("one"), layer("one", of="input")))
    text = page(found)
    assert found.fine
    assert "exact or differ by rounding only; the same holds for 2 gradients." in text
    assert '<section id="gradients">' in text
    assert text.count('<svg viewBox="') == 4  # layers and gradients of A and B
    assert "down 2 gradients. Largest: 1.00e-7 at one, weight." in text
    assert '<section id="gradients">' not in page(made(layer("one")))


def test_a_gradient_beyond_rounding_is_named() -> None:
    odd = layer("two", "semantics", of="input", parameter="eps", declared=1e-5, found=1e-3, mend="eps=1e-5")
    found = made(layer("one"), layer("two"), gradients=back(odd, layer("one")))
    text = page(found)
    assert not found.fine
    assert "; 1 of 2 gradients is more than rounding, first from the end two, input." in text
    assert "two, input (conv2d)" in text
    assert "eps=1e-5" in text
    # What the layer does otherwise is told once.
    same = layer("two", "semantics", parameter="eps", declared=1e-5, found=1e-3, mend="eps=1e-5")
    assert "two, input (conv2d)" not in page(made(layer("one"), same, gradients=back(odd, layer("one"))))


def test_gradients_without_a_column_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"gradients have the columns .* 'of' is missing"):
        made(layer("one"), gradients=back(layer("one")).drop(columns="of"))
