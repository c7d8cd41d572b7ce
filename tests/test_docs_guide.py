"""The guide: its links lead somewhere, its examples run and print what they say, its commands work."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
EVERY = [*PAGES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def places(text: str) -> set[str]:
    """The places that a page's headings make, as GitHub names them."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def broken(text: str, page: Path) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    wrong = []
    for link, place in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        target = (page.parent / link).resolve() if link else page
        if "://" in link:
            continue
        if not target.exists() or (place and place not in places(target.read_text("utf-8"))):
            wrong.append(f"{link}#{place}" if place else link)
    return wrong


def told(text: str) -> list[list[str]]:
    """Every command line of `precision` that a page shows: in blocks, indented, or in its sentences."""
    text = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"^(?:    |\$ )?(?:python3 -m )?(precision [^\n]*)$", text, re.MULTILINE)
    found += re.findall(r"`(precision [^`\n]*)`", text)
    lines = [part for line in found for part in re.split(r" && ", line)]
    split = [shlex.split(line, comments=True) for line in lines]
    return [line for line in split if len(line) > 2 and not {"…", "...", "|"} & {*line}]


def misspelt(line: list[str]) -> str:
    """What the command line has against it; empty where it takes it."""
    import typer

    from precision.cli.app import app

    group = typer.main.get_command(app)
    command = group.commands.get(line[1])  # type: ignore[attr-defined]
    if command is None:
        return f"no command {line[1]}"
    try:
        command.make_context(line[1], list(line[2:]))
    except typer.Exit:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page, in order."""
    return re.findall(r"```(\w+)\n(.*?)```", (GUIDE / page).read_text("utf-8"), re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = [line for kind, text in blocks(page) if kind == "sh" for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def differences(page: str, space: dict[str, object]) -> list[str]:
    """Run a page's Python in one namespace; what it prints and the text block after it must be the same."""
    wrong = []
    every = blocks(page)
    for number, (kind, text) in enumerate(every):
        if kind != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, page, "exec"), space)
        following = every[number + 1] if number + 1 < len(every) else ("", "")
        told = following[1] if following[0] == "text" else ""
        lines = [[line.rstrip() for line in each.splitlines()] for each in (printed.getvalue(), told)]
        if lines[0] != lines[1]:
            wrong.append(f"block {number} printed {lines[0]}, the page says {lines[1]}")
    return wrong


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    assert line[0] == "precision"
    command = [sys.executable, "-m", *line]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_guide_has_every_page_and_its_index_names_them():
    index = (GUIDE / "README.md").read_text("utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert broken(page.read_text("utf-8"), page) == []


def test_a_broken_link_is_noticed():
    text = "[a](start.md) [b](nowhere.md#x) [c](https://example.org/d) [e](start.md#never)\n# Here"
    assert broken(text, GUIDE / "x.md") == ["nowhere.md#x", "start.md#never"]
    assert places("# Here is `it`: 1, 2\n```sh\n# no heading\n```\n") == {"here-is-it-1-2"}


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page):
    assert {" ".join(line): misspelt(line) for line in told(page.read_text("utf-8")) if misspelt(line)} == {}


def test_a_misspelt_command_is_noticed():
    assert "no such option" in misspelt(["precision", "export", "x", "--wide", "3"]).lower()
    assert misspelt(["precision", "exprot", "x"]) == "no command exprot"
    assert misspelt(["precision", "export", "x", "--width", "wide"])
    assert told("    precision score out/gpu && precision render out/gpu\n`precision export RUN`\n") == [
        ["precision", "score", "out/gpu"], ["precision", "render", "out/gpu"], ["precision", "export", "RUN"],
    ]  # fmt: skip


def test_the_page_of_own_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert differences("arrays.md", {}) == []
    for line in commands("arrays.md"):
        done = run(line, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "exact" in done.stdout


def test_a_page_that_says_otherwise_is_noticed(tmp_path, monkeypatch):
    text = "```python\nprint(1)\n```\n\n```text\n2\n```\n"
    (tmp_path / "x.md").write_text(text)
    monkeypatch.setitem(globals(), "GUIDE", tmp_path)
    assert differences("x.md", {}) == ["block 0 printed ['1'], the page says ['2']"]


def test_the_page_of_papers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/reports"))
    import synthetic_results

    import reports

    reports.save(synthetic_results.results(), tmp_path / "out/smoke/results")
    monkeypatch.chdir(tmp_path)
    assert differences("papers.md", {}) == []
    assert (tmp_path / "errors.pdf").read_bytes().startswith(b"%PDF")
    assert "Mine" in (tmp_path / "mine/index.html").read_text("utf-8")
    for line in commands("papers.md"):
        done = run(line, tmp_path)
        assert done.returncode == 0, done.stderr
        folder = line[line.index("-o") + 1]
        assert done.stdout.split() == [f"{folder}/figures", f"{folder}/tables"]
        for name in ("figures/linear-1024-budget.pdf", "tables/results.tex", "tables/cases.csv", "index.md"):
            assert (tmp_path / folder / name).stat().st_size > 0
        assert not list((tmp_path / folder / "figures").glob("conv2d*"))
    assert (tmp_path / "out/paper/figures/errors.svg").is_file()
    assert (tmp_path / "out/paper/tables/cases.md").is_file()
    assert not list((tmp_path / "out/column").rglob("*.svg"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["out/smoke", "--width", "300"], "a figure is 1 to 40 inches wide; got 300.0; give 6.9 for a page"),
        (["nowhere"], "results are a folder; there is no folder nowhere; check the path"),
        (
            ["out/smoke", "--figures", "gif"],
            "a figure is written as svg, pdf, png; got 'gif'; name one of these",
        ),
        (["out/smoke", "--tables", "word"], "a table is written as latex, markdown; got 'word'"),
        (["out/smoke", "--cases", "nothing*"], "got 'nothing*'; choose from it"),
        (["out/smoke", "-o", "file"], "the output is a folder; file is a file; name another"),
    ],
)
def test_an_export_that_cannot_be_made_says_why_in_one_line(tmp_path, monkeypatch, capsys, more, message):
    from precision.__main__ import main

    monkeypatch.syspath_prepend(str(ROOT / "tests/reports"))
    import synthetic_results

    import reports

    reports.save(synthetic_results.results(), tmp_path / "out/smoke/results")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["export", *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (1, "is of the older schema 1; score its captures again with this version"),
        (99, "is of the newer schema 99; update this toolkit to read it"),
    ],
)
def test_an_export_of_another_schema_says_which(tmp_path, monkeypatch, capsys, schema, message):
    from precision.__main__ import main

    monkeypatch.syspath_prepend(str(ROOT / "tests/reports"))
    import synthetic_results

    import reports

    reports.save(synthetic_results.results(), tmp_path / "results")
    run_file = tmp_path / "results/run.json"
    run_file.write_text(json.dumps(json.loads(run_file.read_text()) | {"schema": schema}))
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "paper")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "paper").exists()


@pytest.mark.slow
def test_the_commands_of_the_first_page(tmp_path):
    status, printed = [], ""
    for line in commands("start.md"):
        done = run(line, tmp_path)
        printed += done.stdout
        assert "Traceback" not in done.stderr, (line, done.stderr)
        status.append((line[1], done.returncode))
    ok = [("run", 0), ("score", 0), ("render", 1), ("compare", 0), ("doctor", 0)]
    assert status == [("report", 1), *ok], done.stderr
    assert (tmp_path / "out/smoke/index.html").is_file()
    (shown,) = [text for kind, text in blocks("start.md") if kind == "text" and "scored cells" in text]
    assert " ".join(shown.split()) in " ".join(printed.split())


def test_the_page_of_the_first_report_names_verdicts_as_they_are():
    from reports.numbers import SIGNS
    from reports.schema import VERDICTS

    rows = re.findall(r"^\| ([a-z ]+) \| (\S) \|", (GUIDE / "report.md").read_text("utf-8"), re.MULTILINE)
    assert {name: sign for name, sign in rows if name != "verdict"} == dict(SIGNS)
    assert set(dict(rows)) == set(VERDICTS)


def test_the_page_of_papers_names_every_function_and_its_columns():
    from reports import figures

    text = (GUIDE / "papers.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `(plot_\w+)` \|", text, re.MULTILINE)) == sorted(figures.__all__)
