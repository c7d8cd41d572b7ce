"""What a capture is asked for, and `precision run` where little but a framework is installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from precision.cases import Asked, load_probes, load_suite, select_cases
from precision.errors import UserError
from precision.modes import CAPTURE_MODES, MODES, Mode, select_modes
from precision.runner import run

NEEDED_ELSEWHERE = "typer, rich, pandas, numba, mpmath and more: pip install -e ."


def choose(suite: str, cases: str | None, modes: str | None) -> tuple[tuple[Asked, ...], tuple[Mode, ...]]:
    """Return the cases and probes of a suite and the modes that match comma-separated globs (all for None).

    Only a suite with probes has something for the modes that are not scored.
    """
    probes = load_probes(suite)
    every: tuple[Asked, ...] = (*load_suite(suite), *probes)
    return select_cases(every, cases), select_modes(modes, CAPTURE_MODES if probes else MODES)


def bare_main(arguments: Sequence[str]) -> int:
    """The command line of a machine that captures and does nothing else.

    Raises `UserError` for bad usage.
    """
    given = _parser().parse_args(list(arguments))
    suite = given.suite or given.suite_argument or "default"
    asked, modes = choose(suite, given.cases, given.modes)
    total = len(asked) * len(modes)
    done = 0

    def tell(mode: str, case: str) -> None:
        nonlocal done
        done += 1
        print(f"capture {done}/{total}: {mode} {case}", file=sys.stderr, flush=True)

    try:
        run(
            given.output, suite, asked, modes,
            timeout=given.timeout, jobs=given.jobs, inputs=given.inputs, progress=tell,
        )  # fmt: skip
    except KeyboardInterrupt:
        note = "stopped; finished cells are kept; the same command goes on from there"
        print(f"precision: {note}", file=sys.stderr)
        raise
    print(given.output)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `precision run --help` lists what a bare machine can do")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="precision", description="Captures what frameworks return; judged elsewhere.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    made = commands.add_parser("run", help="capture a suite's cases and probes in every mode")
    made.add_argument(
        "suite_argument", nargs="?", metavar="SUITE", help="a suite or study, as precision report names them"
    )
    made.add_argument("--suite", help="the same, by name")
    made.add_argument("-o", "--output", type=Path, default=Path("out/report"), help="the run folder")
    made.add_argument("--cases", help="comma-separated globs of case ids; all without it")
    made.add_argument("--modes", help="comma-separated globs of mode names; all without it")
    made.add_argument("--timeout", type=float, default=120.0, help="seconds a worker may take for one case")
    made.add_argument("--jobs", type=int, default=1, help="workers at a time")
    made.add_argument("--inputs", type=Path, help="take the arrays from a folder made by `precision inputs`")
    return parser
