"""Pages to open in a browser: the made-up results, hostile names, odd results, very many cells."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import synthetic_results

from reports import invariance_page
from reports.comparison import CELLS, Comparison
from reports.comparison import page as compared
from reports.page import html
from reports.schema import OPTIONAL, TABLES
from reports.store import Results, checked

HOSTILE = (
    """<script>alert("name")</script>""",
    """"><img src=x onerror=alert(1)><a href='http://127.0.0.1:9/'>press</a>""",
    """</style></table></main></body><iframe src="http://127.0.0.1:9/"></iframe>""",
    """'"`{{ 7 * 7 }}{% raw %}&lt;&amp;--> ]]> \\ $x$""",
    "שלום עולם 123 (a) مرحبا",
    "\u202egnp.exe\u2066\u200f\x00\x1b[31m\x7f",
    "W" * 400,
    "word " * 80,
    "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301" + "\u0300" * 60,
    "漢字の名前" * 12,
)
"""What a name may hold: markup, quotes, templates, both directions, overrides, marks upon marks."""


def page(results: Results, invariance: pd.DataFrame | None = None) -> str:
    """The page of these results."""
    return html(checked(results), invariance)


ALL = {**TABLES, **OPTIONAL}
PICTURES = ("budgets", "histograms", "maps", "profiles", "orders", "expected")
"""Tables of which only pictures, and the data beside them, are made."""


def some() -> Results:
    """Four of the made-up cases, which have every verdict but `exact`, and a row of a study."""
    with mock.patch.object(synthetic_results, "CASES", synthetic_results.CASES[1:5]):
        found = synthetic_results.results()
    return dataclasses.replace(found, studies=synthetic_results.frame("studies", [_study()]))


def _study() -> dict[str, Any]:
    figures = [{"name": "largest difference", "document": "0.5", "now": "0.25", "truth": "0", "note": "half"}]
    words = {column.name: f"the {column.name} in a few words" for column in OPTIONAL["studies"]}
    fixed = {"order": 1, "cause": "accumulation", "evidence": "proved", "recurs": "partly"}
    return words | fixed | {"figures": json.dumps(figures)}


@cache
def made_up() -> str:
    """The page of some made-up results, with all sections."""
    return page(some(), settings())


def hostile(text: str) -> str:
    """The text after one of `HOSTILE`, the same one each time."""
    return HOSTILE[zlib.crc32(text.encode()) % len(HOSTILE)] + text


def hostile_results() -> Results:
    """Made-up results with hostile text in every column and entry that may hold any."""
    plain = some()
    frames: dict[str, pd.DataFrame] = {}
    for name, columns in ALL.items():
        frame = plain.table(name).copy()
        for column in columns:
            if column.values or column.name in ("framework", "device") or not len(frame):
                continue
            if column.kind == "text":
                frame[column.name] = [
                    each if _missing(each) else hostile(each) for each in frame[column.name]
                ]
            elif column.kind == "json" and name in TABLES:
                frame[column.name] = [
                    each if _missing(each) else json.dumps({hostile(each): hostile(each[::-1])})
                    for each in frame[column.name]
                ]
        frames[name] = frame
    run = {key: value if key == "schema" else _hostile_entry(value) for key, value in plain.run.items()}
    return Results(**frames, run=run)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _hostile_entry(value: Any) -> Any:
    if isinstance(value, dict):
        return {hostile(key): _hostile_entry(each) for key, each in value.items()}
    return hostile(value) if isinstance(value, str) else value


def _lost(verdict: str, reason: str) -> Results:
    plain = without(some(), *PICTURES)
    scores = plain.scores.copy()
    nullable = [column.name for column in TABLES["scores"] if column.nullable]
    scores[nullable] = None
    scores["verdict"], scores["evidence"], scores["reason"] = verdict, "none", reason
    return dataclasses.replace(plain, scores=scores)


def without(results: Results, *names: str) -> Results:
    """The results with these tables empty."""
    return dataclasses.replace(results, **{name: results.table(name)[:0] for name in names})


def _nothing() -> Results:
    plain = some()
    return dataclasses.replace(without(plain, *ALL), run={"schema": plain.run["schema"]})


def _one_mode() -> Results:
    plain = some()
    return dataclasses.replace(
        plain,
        **{
            name: plain.table(name)[plain.table(name)["mode"] == "torch.cpu"]
            for name, columns in ALL.items()
            if any(column.name == "mode" for column in columns) and len(plain.table(name))
        },
    )


def _not_a_number() -> Results:
    plain = without(some(), *PICTURES)
    scores = plain.scores.copy()
    for column in TABLES["scores"]:
        if column.kind == "real":
            scores[column.name] = math.nan
    return dataclasses.replace(plain, scores=scores)


def comparison(text: Callable[[str], str] = str) -> str:
    """The page that compares two results: each change once, and a figure that is missing."""
    changes = zip(("worse", "improved", "changed bits only", "new", "gone", "equal"), "-+~xx=", strict=True)
    rows = [
        dict.fromkeys(CELLS, 1.5)
        | {"mark": mark, "change": change, "case": text(f"case-{change}"), "mode": text("torch.cpu.threads1")}
        | {
            "output": "output",
            "why": text("the root mean square error grew"),
            "bits_equal": change == "equal",
        }
        | {"verdict_a": "rounding", "verdict_b": "semantics" if change == "worse" else "rounding"}
        | {"evidence_a": "proved", "evidence_b": "proved", "ratio_ulp_rms": math.nan}
        for change, mark in changes
    ]
    made = [(text("versions: torch"), text("1.0"), text("2.0"))]
    return compared(Comparison(text("old"), text("new"), pd.DataFrame(rows), made, 3))


def settings(text: Callable[[str], str] = str) -> pd.DataFrame:
    """What depends on a setting: cells that vary and cells that do not."""
    both = json.dumps([text("batch of 1"), text("batch of 2")])
    rows = [
        {"case": text(f"case-{number}"), "mode": text(f"{framework}.cpu"), "framework": framework}
        | {"device": "cpu", "factor": text(factor), "status": "asked", "reason": "", "settings": both}
        | {"groups": "[0, 1]" if number else "[0, 0]", "distinct": 1 + number, "elements": 100}
        | {"elements_differing": 7 * number, "ulp_max_between": 3.0 * number, "equal_by": "[]"}
        | {"ulp_of_largest_between": 1.5 * number, "cheapest": "", "seconds_ratio": None}
        | {"call_seconds": None, "timed": ""}
        for number in (0, 1)
        for framework in ("torch", "tensorflow")
        for factor in ("batch", "threads", "repeats")
    ]
    return pd.DataFrame(rows)


def invariance(text: Callable[[str], str] = str) -> str:
    """The page of what depends on a setting."""
    return invariance_page.page(settings(text))


OTHERS: dict[str, Callable[..., str]] = {"comparison": comparison, "invariance": invariance}
"""Pages beside the report; each takes what is done to every text."""

ODD: dict[str, tuple[Callable[[], Results], str]] = {
    "nothing": (_nothing, "nothing to judge"),
    "all failed": (lambda: _lost("error", "the worker crashed"), "48 failed"),
    "none run": (lambda: _lost("not run", "no framework is installed"), "48 were not run"),
    "one mode": (_one_mode, "4 scored cells"),
    "no figure at all": (_not_a_number, "not measured"),
}
"""Results a reader may be handed, and what the page must say of them on its first screen."""


@cache
def few() -> str:
    """The page of two cases in four modes, with pictures."""
    return page(many_cells(2, 4), settings())


@contextmanager
def many(cases: int, modes: int) -> Iterator[None]:
    """Make `synthetic_results.results` give that many cases, in that many modes."""
    names = [f"{framework}.cpu.switch{i}" for i in range(modes // 2) for framework in ("torch", "tensorflow")]
    some = tuple(
        (f"case-{i}", f"the case number {i}", *synthetic_results.CASES[i % 6][2:]) for i in range(cases)
    )
    ways = tuple((name, name.split(".")[0], 1.0 + i % 7, i % 7) for i, name in enumerate(names))
    with mock.patch.multiple(synthetic_results, CASES=some, MODES=ways):
        yield


def many_cells(cases: int = 250, modes: int = 40, *, pictures: bool = True) -> Results:
    """Results of 10,000 cells; without `pictures` those tables are empty that only pictures show."""
    with many(cases, modes):
        found = synthetic_results.results()
    return found if pictures else without(found, *PICTURES)


def put(folder: Path, name: str, text: str) -> Path:
    """Write a page and return its path."""
    path = folder / f"{name.replace(' ', '-')}.html"
    path.write_text(text, encoding="utf-8")
    return path
