"""The terminal table and the Markdown: they fit, they tell the same figures, they escape."""

from __future__ import annotations

import dataclasses
import io

import pytest
import synthetic_results
from rich.console import Console

from reports.store import Results
from reports.summary import markdown
from reports.terminal import WIDTH, print_summary


def _printed(results: Results, rows: int = 40, width: int = 100) -> list[str]:
    sink = io.StringIO()
    print_summary(results, Console(file=sink, width=width), rows=rows)
    return sink.getvalue().splitlines()


def test_it_fits_and_shows_the_two_orders_of_the_large_convolution(results: Results) -> None:
    printed = _printed(results)
    assert max(len(line) for line in printed) <= WIDTH
    start = next(number for number, line in enumerate(printed) if line.startswith("conv2d 5×5 s2 256→512"))
    block = printed[start + 1 : start + 12]
    default = next(line for line in block if line.startswith("  torch.cpu ="))
    last = next(line for line in block if line.startswith("  torch.cpu.channels_last = tensorflow.cpu"))
    assert default.split()[-4:] == ["3.12", "5.40", "33.3", "%"]
    assert last.split()[-4:] == ["37.4", "64.8", "2.8", "%"]


def test_worst_comes_first_and_lost_cells_say_why(results: Results) -> None:
    printed = "\n".join(_printed(results))
    assert printed.index("≠ semantics") < printed.index("? unexplained") < printed.index("✗ error")
    assert "the worker was killed" in printed
    assert "not run, 4 modes: torch.cuda, torch.cuda.tf32" in printed
    assert synthetic_results.NO_GPU in " ".join(printed.split())


def test_few_rows_keep_each_cases_worst(results: Results) -> None:
    printed = _printed(results, rows=6)
    for case in synthetic_results.CASES:
        assert any(line.startswith(case[1]) for line in printed)
    assert any("less telling" in line for line in printed)
    assert len(_printed(results, rows=6)) < len(_printed(results))


def test_markup_in_names_is_shown_as_text(results: Results) -> None:
    scores, cases = results.scores.copy(), results.cases.copy()
    scores["reason"] = "[red]not markup[/nothing]"
    cases["title"] = "[bold]title[/bold]"
    printed = "\n".join(_printed(dataclasses.replace(results, scores=scores, cases=cases)))
    assert "[red]not markup[/nothing]" in printed
    assert "[bold]title[/bold]" in printed


def test_control_letters_do_not_reach_the_terminal(results: Results) -> None:
    scores, cases = results.scores.copy(), results.cases.copy()
    scores["reason"] = "\x1b[2J\x07 gone"
    cases["title"] = "\u202etitle\x1b]0;x"
    printed = "\n".join(_printed(dataclasses.replace(results, scores=scores, cases=cases)))
    assert "\\u001b[2J\\u0007 gone" in printed
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)


def test_nothing_to_show(results: Results) -> None:
    empty = dataclasses.replace(
        results, scores=results.scores[:0], histograms=results.histograms[:0], maps=results.maps[:0]
    )
    printed = " ".join(_printed(empty))
    assert "Nothing could be judged" in printed
    assert "not measured" in printed


def test_markdown_has_the_verdict_the_table_and_the_run(results: Results) -> None:
    text = markdown(results)
    assert text.startswith("# A made-up report\n\n**Of 47 scored cells, 3 computed")
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(table) == 35
    assert all(line.replace("\\|", "").count("|") == 10 for line in table)
    assert "≠ semantics" in table[0]
    assert "- processor: Imaginary CPU" in text


@pytest.mark.parametrize("name", ["a|b", "a`b", "``", "<b>", "*x*", "line\nbreak"])
def test_markdown_keeps_hostile_names_in_their_cell(results: Results, name: str) -> None:
    frames = {
        table: results.table(table).assign(case=results.table(table)["case"].replace("conv2d-1x1", name))
        for table in ("scores", "cases", "histograms", "maps")
    }
    text = markdown(dataclasses.replace(results, **frames))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 37
    assert all(line.replace("\\|", "").count("|") == 10 for line in table)
