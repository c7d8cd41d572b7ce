"""The README: its commands run, its example works, and its figures are the generated ones."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHELL = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
SHELL = [line for line in SHELL if line]


def test_there_are_commands_to_test():
    assert [line for line in SHELL if line.startswith("make ")] == ["make report", "make test"]
    assert any(line.startswith("precision run") for line in SHELL)


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("make ")])
def test_make_knows_the_target(line):
    done = subprocess.run([*shlex.split(line), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_run_in_their_order(tmp_path):
    for line in SHELL:
        command = shlex.split(line)
        if command[0] != "precision":
            continue
        if command[1:3] == ["report", "smoke"]:
            command += ["--modes", "torch.cpu,*.cuda.tf32"]  # all modes of both frameworks take a minute
        if command[1] == "doctor":
            command.append("--no-live")  # its calls in every mode take a minute too
        if command[1] == "invariance":
            command += ["--cases", "*norm*", "--repeats", "3", "--no-time"]
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1), (line, done.stderr)
        assert "Traceback" not in done.stderr
    assert (tmp_path / "out/smoke/index.html").is_file()
    assert (tmp_path / "out/steps/summary.md").is_file()


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), {})
    assert printed.getvalue() == "True\n"


def test_figures_are_the_generated_ones():
    check = [sys.executable, "docs/generate_readme.py", "--check"]
    assert subprocess.run(check, cwd=ROOT, check=False).returncode == 0


def test_a_typed_figure_is_noticed(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate_readme
    finally:
        sys.path.pop(0)
    digits = re.search(r"<!-- table -->.*?(\d)", README, re.DOTALL)
    assert digits
    at = digits.start(1)
    typed = README[:at] + str((int(README[at]) + 1) % 10) + README[at + 1 :]
    assert generate_readme.written(README) == README
    assert generate_readme.written(typed) != typed


def test_the_picture_is_there():
    assert (ROOT / "docs/report.png").stat().st_size > 10_000
