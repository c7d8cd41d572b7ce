"""Determinism and invariance as files, as a section of a page, on a terminal."""

from __future__ import annotations

import io
import json
import math
import re

import pandas as pd
import pytest
from rich.console import Console

from reports.invariance import (
    COLUMNS,
    grouping,
    load,
    remedy,
    rows_of,
    save,
    sentence,
    summaries,
    worst_first,
)
from reports.invariance_page import page, print_invariance, section
from reports.schema import SchemaError
from reports.store import StoreError

LABELS = ["batch of 1", "batch of 2", "batch of 8"]


def row(factor="batch", groups=(0, 0, 0), case="conv", mode="torch.cpu", apart=0.0, **rest):
    found = {
        "case": case, "mode": mode, "framework": "torch", "device": "cpu", "factor": factor,
        "status": "asked", "reason": "",
        "settings": json.dumps(LABELS[: len(groups)]), "groups": json.dumps(list(groups)),
        "distinct": len(set(groups)), "elements": 100, "elements_differing": 7 if len(set(groups)) > 1 else 0,
        "ulp_max_between": apart, "ulp_of_largest_between": apart / 2, "equal_by": "[]", "cheapest": "",
        "seconds_ratio": None, "call_seconds": None, "timed": "",
    }  # fmt: skip
    return found | rest


def absent(status, reason, **rest):
    figures = ("distinct", "elements", "elements_differing", "ulp_max_between", "ulp_of_largest_between")
    given = {"status": status, "reason": reason, "settings": "[]", "groups": "[]"}
    return row(**given, **dict.fromkeys(figures), **rest)


VARIES = row(groups=(0, 1, 1), apart=24.0, equal_by='["a", "b"]', cheapest="b", seconds_ratio=1.5,
             timed="in one process, in turn")  # fmt: skip
TABLE = pd.DataFrame(
    [
        row("repeats"), VARIES, row("batch", case="linear"), row("threads", (0, 1), apart=1e9, mode="tf.cpu"),
        absent("not applicable", "its statistics are of the whole batch", case="norm"),
        absent("error", "the process ended", case="other", factor="width"),
    ]
)  # fmt: skip


def printed(frame):
    sink = io.StringIO()
    print_invariance(frame, Console(file=sink, width=110))
    return sink.getvalue()


def test_what_is_saved_is_read_back_and_the_same_bytes(tmp_path):
    paths = save(TABLE, tmp_path / "a")
    assert [path.name for path in paths] == ["invariance.parquet", "invariance.csv"]
    pd.testing.assert_frame_equal(load(tmp_path / "a"), load(tmp_path / "a"))
    assert rows_of(load(tmp_path / "a")) == rows_of(TABLE)
    save(load(tmp_path / "a"), tmp_path / "b")
    for name in ("invariance.parquet", "invariance.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load(tmp_path) is None
    (tmp_path / "invariance.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match="holds the table of invariance"):
        load(tmp_path)


def test_a_bad_table_is_refused():
    with pytest.raises(SchemaError, match="lacks column 'groups'"):
        rows_of(TABLE.drop(columns="groups"))
    with pytest.raises(SchemaError, match="unknown column 'extra'"):
        rows_of(TABLE.assign(extra=1))
    with pytest.raises(SchemaError, match="got 'perhaps'"):
        rows_of(TABLE.assign(status="perhaps"))
    with pytest.raises(SchemaError, match="distinct holds integer"):
        rows_of(TABLE.assign(distinct="many"))


def test_the_words_count_what_varies():
    rows = rows_of(TABLE)
    assert sentence(rows) == (
        "No call repeated gave other bits; 2 of 3 results depend on a setting that should not matter."
    )
    assert [each["factor"] for each in worst_first(rows)] == ["threads", "batch"]
    found = {(each.mode, each.factor): each for each in summaries(rows)}
    assert found["torch.cpu", "batch"].varying == 1
    assert found["torch.cpu", "batch"].asked == 2
    assert found["torch.cpu", "width"].failed == 1
    again = rows_of(pd.DataFrame([row("repeats", (0, 1, 0), apart=1.0), VARIES]))
    assert sentence(again).startswith("1 repeated calls gave other bits")
    assert worst_first(again)[0]["factor"] == "repeats"
    assert sentence([]) == "Nothing was asked: no mode could run."


def test_groups_and_remedies_in_words():
    assert grouping(VARIES) == "batch of 1 | batch of 2 = batch of 8"
    many = row("repeats", [0] * 7 + [1] * 3, settings=json.dumps(list("abcdefghij")))
    assert grouping(many) == "7 + 3 of 10"
    assert remedy(VARIES) == "b (1.5 times the time), a"
    assert remedy(row()) == "none of the modes asked"
    assert remedy(row(equal_by='["a"]')) == "a"


def test_the_section_has_a_figure_with_words_and_its_data():
    text = section(TABLE)
    assert text.startswith("\n<section") or text.startswith("<section")
    label = re.search(r'role="img" aria-label="([^"]*)"', text)[1]
    assert "torch.cpu, batch: 1 of 2 cases vary" in label
    assert "tf.cpu, threads: 1 of 1 cases vary" in label
    assert "1 of 2, 12 ulp" in text
    assert "batch of 1 | batch of 2 = batch of 8" in text
    assert "b (1.5 times the time), a" in text
    assert section(TABLE) == text


def test_the_page_needs_nothing_else():
    text = page(TABLE)
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert text.count("<script") == 1
    assert "script-src 'sha256-" in text
    assert 'class="concern"' in text
    assert 'class="fine"' in page(pd.DataFrame([row()]))
    assert "Every setting gave the same bits." in page(pd.DataFrame([row()]))


def test_hostile_text_is_text():
    bad = '<img src=x onerror="alert(1)">\u202e'
    frame = pd.DataFrame([row(groups=(0, 1, 1), apart=1.0, case=bad, mode=bad, factor=bad)])
    text = page(frame)
    assert "<img" not in text
    assert "\u202e" not in text
    assert "\u202e" not in printed(frame)


def test_missing_and_infinite_figures_and_an_empty_table():
    apart = {"ulp_max_between": math.inf, "ulp_of_largest_between": None}
    frame = pd.DataFrame([row(groups=(0, 1, 1), **apart)])
    assert "∞" in page(frame)
    assert "not measured" in page(frame)
    empty = pd.DataFrame(columns=[column.name for column in COLUMNS])
    assert "Nothing was asked" in page(empty)
    assert "Nothing was asked" in printed(empty)


def test_the_terminal_says_what_varies_and_what_failed():
    text = printed(TABLE)
    assert "1 of 2, 12 ulp" in text
    assert "1 failed" in text or "1 not run" in text
    assert "one result in: b (1.5 times the time), a" in text
    many = pd.DataFrame([row(groups=(0, 1, 1), apart=float(n), case=f"c{n}") for n in range(1, 60)])
    assert "and 19 more" in printed(many)
