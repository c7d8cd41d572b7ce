"""The page: one file, no network, all text escaped, figures as in the frames, odd results told of."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import synthetic_results

from reports.page import html, refuse, render
from reports.schema import OPTIONAL, TABLES
from reports.store import Results, save
from reports.summary import markdown

HOSTILE = """<script>alert("1")</script> & 'x' "y" {{ 7 * 7 }} $\\alpha$ | `a` \u202e\x01 ✗ 漢字 --> ]]>"""


class Page(HTMLParser):
    """Tags, ids, addresses and visible text of a page, by the standard library's parser."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        """Values of that attribute, in order."""
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]

    @property
    def links(self) -> list[str]:
        """Where links and the parts of drawings lead."""
        return [attrs["href"] for tag, attrs in self.tags if "href" in attrs and tag != "image"]

    @property
    def pictures(self) -> list[str]:
        """Addresses of pictures inside drawings."""
        return [attrs.get("href", "") for tag, attrs in self.tags if tag == "image"]

    @property
    def words(self) -> str:
        """The visible text, with single spaces."""
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def report() -> str:
    """The page of the made-up results, rendered once."""
    return html(synthetic_results.results())


def _images(text: str) -> list[str]:
    """The drawings of a page, those that others share too."""
    return re.findall(r"<svg\b.*?</svg>", text, flags=re.DOTALL)


def test_it_is_one_sound_file_and_a_summary(results: Results, tmp_path: Path) -> None:
    written = render(results, tmp_path / "report")
    assert [path.name for path in written] == ["index.html", "summary.md"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["index.html", "summary.md"]
    page = Page(written[0].read_text(encoding="utf-8"))
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = [href.removeprefix("#") for href in page.links]
    assert set(targets) <= set(ids)


def test_nothing_comes_from_the_network(report: str) -> None:
    text = report
    page = Page(text)
    assert all(href.startswith("#") for href in page.links)
    assert all(href.startswith("data:image/png;base64,") for href in page.pictures)
    assert page.pictures
    assert page.values("src") == []
    assert {"link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in page.tags)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", text)
    assert len(_images(text)) > 10
    for image in _images(text):
        outside = [word for word in re.findall(r'"(https?:[^"]*)"', image) if "www.w3.org" not in word]
        assert outside == []
        assert not re.search(r'href="(?!#|data:image/png;base64,)', image)


def test_the_policy_allows_this_script_and_no_other(report: str) -> None:
    text = report
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(value for value in Page(text).values("content") if "default-src" in value)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_pictures_have_words_and_tables_have_headings(report: str) -> None:
    page = Page(report)
    assert "img" not in {tag for tag, _ in page.tags}
    drawn = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert all(attrs.get("role") == "img" for attrs in drawn)
    alts = [attrs.get("aria-label", "") for attrs in drawn]
    assert alts
    assert all(re.search(r"\d", alt) for alt in alts)
    headings = [attrs for tag, attrs in page.tags if tag == "th"]
    assert all(attrs.get("scope") in ("col", "row") for attrs in headings)


def test_every_figure_is_the_frames_own(results: Results, report: str) -> None:
    shown = set(Page(report).values("data-value"))
    columns = (
        "error_ulp_median",
        "error_ulp_p99",
        "error_ulp_max",
        "error_ulp_rms",
        "error_ulp_mean",
        "share_correctly_rounded",
        "cosine",
    )
    columns += ("error_abs_max", "error_over_bound_max", "bound_probabilistic_over_magnitude")
    for column in columns:
        assert {repr(float(value)) for value in results.scores[column].dropna()} <= shown
    words = Page(report).words
    for text in ("5.40e6", "64.8", "14.4", "33.3 %", "1.00000000000000000021", "0x1.000010p+0"):
        assert text in words


def test_every_lost_cell_says_why(results: Results, report: str) -> None:
    words = Page(report).words
    for reason in results.scores.loc[results.scores["verdict"].isin(["error", "not run"]), "reason"]:
        assert reason in words
    assert (
        "1/48 cells that ran failed 48 of 72 cells ran; 4 modes did not run here, for the reasons below"
        in words
    )
    assert "precision report synthetic --cases conv2d-1x1 --modes tensorflow.cpu -o again" in words


def test_modes_that_ran_nothing_are_told_once_and_stay_out_of_the_pictures(report: str) -> None:
    page = Page(report)
    assert all("torch.cuda" not in image for image in _images(report))
    assert page.words.count(synthetic_results.NO_GPU) == 2 + len(synthetic_results.ABSENT) - 1


def test_same_results_same_bytes(results: Results, report: str, tmp_path: Path) -> None:
    index, summary = render(results, tmp_path)
    assert index.read_bytes() == report.encode()
    assert summary.read_bytes() == markdown(synthetic_results.results()).encode()


def test_order_is_that_of_the_order_column_not_of_the_rows(results: Results, report: str) -> None:
    every = (*TABLES, *OPTIONAL)
    turned = Results(**{name: results.table(name).iloc[::-1] for name in every}, run=results.run)
    assert html(turned) == report


def _hostile(results: Results) -> Results:
    frames = {}
    for name, columns in (TABLES | OPTIONAL).items():
        frame = results.table(name).copy()
        for column in columns:
            if column.name in ("framework", "device") or column.values or column.name not in frame:
                continue
            if column.kind == "text":
                frame[column.name] = HOSTILE + frame[column.name]
            elif column.kind == "json":
                frame[column.name] = json.dumps({HOSTILE: HOSTILE})
        frames[name] = frame
    run = results.run | {HOSTILE: HOSTILE, "title": HOSTILE, "machine": {HOSTILE: HOSTILE}}
    return Results(**frames, run=run)


def test_hostile_text_is_shown_as_text(results: Results, tmp_path: Path) -> None:
    hostile = _hostile(results)
    save(hostile, tmp_path / "results")
    files = render(hostile, tmp_path / "report")
    text = files[0].read_text(encoding="utf-8")
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    for image in _images(text):
        assert ElementTree.fromstring(image).tag.endswith("svg")
    assert len(re.findall(r"alert\(", text)) == len(re.findall(r"&lt;script&gt;alert\(", text)) > 0
    assert "{{ 7 * 7 }}" in text
    assert "\u202e" not in page.words + " ".join(page.values("aria-label"))
    assert "\\u202e" in page.words
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in ids)
    assert "<script" not in re.sub(r"`[^`]+`", "", files[1].read_text(encoding="utf-8")).replace("\\<", "")


def _set(results: Results, **values: Any) -> Results:
    frame = results.scores.copy()
    for column, value in values.items():
        frame[column] = value
    return dataclasses.replace(results, scores=frame)


def _two_cases(results: Results) -> Results:
    """Drawn in a fraction of the time."""
    kept = ("conv2d-1x1", "batch-norm-train")
    frames = {
        name: frame[frame["case"].isin(kept)] if "case" in (frame := results.table(name)) else frame
        for name in (*TABLES, *OPTIONAL)
    }
    return Results(**frames, run=results.run)


def _all_failed(results: Results) -> Results:
    frame = results.scores.copy()
    kept = [column.name for column in TABLES["scores"] if not column.nullable]
    frame.loc[:, [name for name in frame.columns if name not in kept]] = pd.NA
    frame["verdict"], frame["evidence"], frame["reason"] = "error", "none", "the worker crashed"
    return dataclasses.replace(
        results,
        scores=frame,
        budgets=results.budgets[:0],
        histograms=results.histograms[:0],
        maps=results.maps[:0],
    )


def _none_run(results: Results) -> Results:
    failed = _all_failed(results)
    return _set(failed, verdict="not run", reason="no framework is installed")


def _no_scores(results: Results) -> Results:
    empty = {name: results.table(name)[:0] for name in ("scores", "budgets", "histograms", "maps")}
    return dataclasses.replace(results, **empty)


def _nothing(results: Results) -> Results:
    return Results(**{name: results.table(name)[:0] for name in TABLES}, run={"schema": 2})


def _one_mode(results: Results) -> Results:
    frames = {
        name: frame[frame["mode"] == "torch.cpu"]
        for name in (*TABLES, *OPTIONAL)
        if "mode" in (frame := results.table(name))
    }
    return dataclasses.replace(results, **frames)


def _no_figures(results: Results) -> Results:
    real = [column.name for column in TABLES["scores"] if column.kind == "real"]
    return dataclasses.replace(
        _set(results, **dict.fromkeys(real, math.nan)),
        histograms=results.histograms[:0],
        maps=results.maps[:0],
    )


def _infinite(results: Results) -> Results:
    figures = (
        "error_ulp_max",
        "error_ulp_median",
        "error_scaled_ulp_max",
        "error_ulp_rms",
        "error_abs_max",
        "worst_got",
        "error_over_bound_max",
    )
    return _set(results, **dict.fromkeys(figures, math.inf), error_ulp_mean=-math.inf)


def _huge(results: Results) -> Results:
    wide = results.histograms.copy()
    wide["bin_right_ulp"] = wide["bin_right_ulp"].replace(64.0, 1e30)
    wide["bin_left_ulp"] = wide["bin_left_ulp"].replace(64.0, 1e30)
    planes = results.maps.assign(error_scaled_ulp_rms=1e30)
    changed = _set(
        results,
        error_ulp_max=1e30,
        error_ulp_rms=1e29,
        error_scaled_ulp_max=1e30,
        error_ulp_median=1e29,
        error_abs_max=1e38,
    )
    return dataclasses.replace(changed, histograms=wide, maps=planes)


def _flat(results: Results) -> Results:
    return dataclasses.replace(results, maps=results.maps.assign(error_scaled_ulp_rms=0.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_all_failed, "Nothing could be judged: of 24 cells 24 failed"),
        (_none_run, "Nothing could be judged: of 24 cells 24 were not run"),
        (_no_scores, "Nothing could be judged: of 24 cells 24 were not run"),
        (_nothing, "There is nothing to judge"),
        (_one_mode, "All 2 scored cells differ from the truth by rounding only."),
        (_no_figures, "not measured"),
        (_infinite, "∞"),
        (_huge, "1.00e30"),
        (_flat, "A made-up report"),
    ],
)
def test_odd_results_render_and_say_so(
    results: Results, tmp_path: Path, change: Callable[[Results], Results], words: str
) -> None:
    odd = change(_two_cases(results))
    text = render(odd, tmp_path)[0].read_text(encoding="utf-8")
    page = Page(text)
    assert words in page.words
    assert page.open == []
    assert not re.search(r"\b(nan|None|<NA>|NaT)\b", page.words)
    for image in _images(text):
        assert "nan" not in re.sub(r"base64,[^\"]*", "", image)


def test_results_that_cannot_be_read_give_a_page_that_says_why(tmp_path: Path) -> None:
    why = "results are of schema 2; <b> is of the newer schema 3; update this toolkit"
    written = refuse(why, tmp_path)
    assert written is not None
    page = Page(written.read_text(encoding="utf-8"))
    assert f"These results give no report: {why}" in page.words
    assert page.open == []
    assert refuse("another reason", tmp_path) is None  # no page is written over
    assert why in Page(written.read_text(encoding="utf-8")).words
    assert refuse(why, tmp_path / "nowhere") is None


def test_a_missing_figure_enters_no_mean(results: Results) -> None:
    scores = results.scores.copy()
    known = scores["share_correctly_rounded"].notna()
    scores["share_correctly_rounded"] = scores["share_correctly_rounded"].mask(known, 0.25)
    scores.loc[scores.index[known][0], "share_correctly_rounded"] = math.nan
    words = Page(html(_two_cases(dataclasses.replace(results, scores=scores)))).words
    assert "25.0 % of elements correctly rounded" in words


@pytest.mark.slow
def test_a_large_suite_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{framework}.cpu.switch{i}" for framework in ("torch", "tensorflow") for i in range(15)]
    cases = tuple(
        (f"case-{i}", f"the case number {i}", *synthetic_results.CASES[i % 6][2:]) for i in range(25)
    )
    modes = tuple((name, name.split(".")[0], 1.0 + i, i) for i, name in enumerate(names))
    monkeypatch.setattr(synthetic_results, "CASES", cases)
    monkeypatch.setattr(synthetic_results, "MODES", modes)
    assert len(html(synthetic_results.results()).encode()) < 5_000_000


def test_reports_is_light_and_knows_neither_truth_nor_framework() -> None:
    code = (
        "import sys, reports; "
        "heavy = {'matplotlib', 'seaborn', 'reference', 'precision', 'torch', 'tensorflow', 'jinja2'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "import reports.page, reports.terminal, reports.summary; "
        "strangers = {'reference', 'precision', 'torch', 'tensorflow'}; "
        "assert not strangers & set(sys.modules); "
        "assert reports.render and reports.print_summary and reports.markdown"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
