"""Tables for papers: what a program that reads LaTeX or Markdown makes of them is the text that went in."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.export import exported_tables
from reports.export_tables import latex, latex_text, markdown, markdown_text, texts
from reports.numbers import visible
from reports.tables import Cell, Head, Table

HOSTILE = (
    r"<b>$x$ & \input{a} 50% #1 a_b ^ ~ | `c` \"d\" ≈ √n 2⁻²⁴ Σ",
    "[0, 1] is an index",
    "*starred* [x](y) ![i](j) http://example.org www.example.org @name :smile:",
    "''quotes,, -- and --- and ?` !` <<>>",
    "a\\\\[2cm] b \\\\* c \\end{longtable}",
    "é ü ñ ç ł ß Ω 中文 \U0001f600 \u202ehidden",
    "^^41 %x\ny",
    "",
)
PDFLATEX = shutil.which("pdflatex")
READER = MarkdownIt("commonmark").enable("table")


def table(*rows, heads=("a|b & c", "n", "[x]")):
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return Table(HOSTILE[0], tuple(Head(text, text == "n") for text in heads), cells, "note 100 %")


def columns(row):
    return len(re.findall(r"(?<!\\)&", row)) + 1


def test_latex_is_text_whatever_it_holds():
    text = latex_text(HOSTILE[0])
    assert r"\textless{}b\textgreater{}\$x\$ \& \textbackslash{}input\{a\} 50\% \#1 a\_" in text
    assert "$^{-24}$" in text
    assert latex_text("中 é Ω") == r"\textbackslash{}u4e2d é \textbackslash{}u03a9"
    for each in HOSTILE:
        found = latex_text(each)
        plain = re.sub(r"\\[\\{}$&#%_`]", "", found)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        assert not re.search(r"[&#%~\"`^]", re.sub(r"\$\^\{-?\d+\}\$", "", plain))


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_no_text_leaves_its_cell(text):
    (row,) = [line for line in latex(table((text, "1", text))).splitlines()[-2:] if line.endswith(r" \\")]
    assert columns(row) == 3
    assert not re.match(r"\s*[\[*]", row)
    assert not re.search(r"(?<!\\)%", row)
    known = (
        "textbackslash textasciicircum textasciitilde textless textgreater textbar symbol allowbreak ldots"
    )
    commands = set(re.findall(r"\\([A-Za-z]+)", re.sub(r"\$[^$]*\$", "", re.sub(r"\\[\\$]", "", row))))
    assert commands <= set(known.split())


def test_tables_have_a_cell_for_every_head_in_every_row(results):
    tables = exported_tables(results)
    assert [name for name, _ in tables] == ["results", "causes", "bits", "cases", "modes"]
    for _, each in tables:
        tex = latex(each)
        rows = [line for line in tex.splitlines() if line.endswith(r" \\")]
        assert len(rows) == len(each.rows) + 2  # the heads stand on the first page and on the others
        assert {columns(row) for row in rows} == {len(each.heads)}
        (spec,) = re.findall(r"\\begin\{longtable\}\{(.*)\}$", tex, re.MULTILINE)
        widths = [float(width) for width in re.findall(r"p\{([\d.]+)\\linewidth\}", spec)]
        assert len(re.sub(r">\{[^{}]*\}p\{[^{}]*\}", "p", spec)) == len(each.heads)
        assert sum(widths) < 1


def read(text):
    """The tables of a Markdown text as a reader of it sees them: rows of cells."""
    rows, cells, inside = [], [], False
    for token in READER.parse(text):
        if token.type == "tr_open":
            cells = []
        elif token.type in ("td_open", "th_open"):
            inside = True
        elif token.type == "inline" and inside:
            odd = [child.type for child in token.children if child.type not in ("text", "text_special")]
            assert odd == []
            cells.append("".join(child.content for child in token.children))
            inside = False
        elif token.type == "tr_close":
            rows.append(cells)
    return rows


def shown(text):
    return " ".join(visible(text).split())


def test_a_reader_of_markdown_sees_the_text_of_every_table(results):
    for _, each in exported_tables(results):
        heads = [shown(head.text) for head in each.heads]
        rows = [[shown(text) for text in row] for row in texts(each)]
        assert read(markdown(each)) == [heads, *rows]


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_a_reader_of_markdown_sees_any_text(text):
    whole = read(markdown(table((text, "1", HOSTILE[2]))))
    assert whole[1] == [shown(text), "1", HOSTILE[2]]
    assert len(whole) == 2


def test_a_table_that_is_not_escaped_is_noticed():
    bad = markdown(table(("x", "1", "y"))).replace("| x |", "| x | *y* |")
    with pytest.raises(AssertionError):
        assert read(bad)[1] == ["x", "1", "y"]
    assert markdown_text("a\u202eb") == "a\\\\u202eb"


@pytest.mark.slow
@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
@pytest.mark.parametrize("encoding", ["", r"\usepackage[T1]{fontenc}"])
def test_latex_sets_every_table(results, tmp_path, encoding):
    """A real LaTeX, with the fonts' old encoding and with the newer one; any error ends it."""
    hostile = [table(*[(text, "1", text) for text in HOSTILE])]
    every = [*(each for _, each in exported_tables(results)), *hostile]
    head = rf"\documentclass{{article}}{encoding}\usepackage{{array,booktabs,longtable}}\begin{{document}}"
    body = "\n".join(latex(each) for each in every)
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\\end{{document}}\n", encoding="utf-8")
    command = [str(PDFLATEX), "-halt-on-error", "-interaction=nonstopmode", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "x.log").read_text("utf-8", errors="replace")
    assert "Missing character" not in log
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
