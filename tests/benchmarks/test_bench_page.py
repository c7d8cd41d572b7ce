"""The benchmark of the pages: it measures, compares with a blank page, and tells what is over its limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    """As when they are run as scripts: their folder is on the path."""
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])


def test_pages_are_opened_in_turns_and_compared():
    from bench_page import BLANK, measure

    rows = measure(
        {"blank": BLANK, "long": BLANK.replace("</html>", "<p>more</p>" * 500 + "</html>")}, rounds=2
    )
    assert rows["blank"]["open_ratio"] == rows["blank"]["first_paint_ratio"] == 1.0
    assert rows["long"]["elements"] == rows["blank"]["elements"] + 500
    for row in rows.values():
        assert 0 < row["first_paint_ms_least"] <= row["first_paint_ms"]
        assert 0 < row["load_ms_least"] < row["open_ms"]


def test_a_page_with_a_fault_is_not_timed():
    from bench_page import BLANK, measure

    with pytest.raises(RuntimeError, match="console error: a fault"):
        measure({"blank": BLANK + "<script>console.error('a fault')</script>"}, rounds=1)


def test_what_is_over_a_limit_is_told():
    from bench_page import over

    within = {"default": {"bytes": 4_000_000, "first_paint_ms": 90.0}, "many": {"open_ms": 900.0}}
    assert over(within) == []
    assert over(within | {"many": {"open_ms": 5001.0}}) == ["many: open_ms is 5,001.0, the limit 5,000.0"]
    assert len(over({"default": {"bytes": 9_000_000, "first_paint_ms": 2000.0}})) == 2
