"""`precision invariance`: does a mode give the same bits again, in a batch, on other threads?"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from precision.capture import write_atomically
from precision.cases import load_suite, select_cases
from precision.errors import UserError
from precision.invariance.ask import checked_plan
from precision.invariance.settings import FACTORS
from precision.modes import ORDER_MODES, select_modes
from precision.progress import progress

FOUND_SOMETHING = 1
TABLE_WIDTH = 110

Suite = Annotated[str, typer.Argument(help="a built-in suite, or a run folder whose captures recorded it")]
Cases = Annotated[str | None, typer.Option("--cases", help="comma-separated globs of case ids")]
Modes = Annotated[str, typer.Option("--modes", help="comma-separated globs of mode names")]
Factors = Annotated[str | None, typer.Option("--factors", help="comma-separated, of " + ", ".join(FACTORS))]
Repeats = Annotated[int, typer.Option("--repeats", help="how often the same call is made")]
Threads = Annotated[str, typer.Option("--threads", help="numbers of threads, comma-separated")]
Timeout = Annotated[float, typer.Option("--timeout", help="seconds for one call")]
Timed = Annotated[bool, typer.Option("--time/--no-time", help="time the modes that give one result")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="write results/invariance.* and a page here")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the rows as JSON")]


def invariance(
    suite: Suite = "default",
    cases: Cases = None,
    modes: Modes = "*.cpu,*.cpu.*",
    factors: Factors = None,
    repeats: Repeats = 20,
    threads: Threads = "1,2,4",
    timeout: Timeout = 120.0,
    timed: Timed = True,
    output: Output = None,
    json_: AsJson = False,
) -> int:
    """Compare bits over repeats, batches, places, threads and memory formats.

    Status 1 where the same call, repeated, gave other bits, or a call failed; 0 else.
    """
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"the output is a folder; {output} is a file; name another")
    captured = Path(suite).is_dir()
    chosen = () if captured else select_cases(load_suite(suite), cases)
    wanted = select_modes(modes, ORDER_MODES)
    names = FACTORS if factors is None else tuple(filter(None, map(str.strip, factors.split(","))))
    plan = checked_plan(names, repeats, _numbers(threads), timeout)
    # Late: pandas and numba take a second.
    from precision.invariance.captured import captured_invariance
    from precision.invariance.measure import invariance as measure
    from precision.invariance.measure import steps
    from reports.invariance import ONCE_MORE, rows_of, save, varies
    from reports.invariance_page import page, print_invariance

    if captured:
        frame = captured_invariance(Path(suite))
    else:
        with progress("invariance", max(1, steps(chosen, wanted, plan))) as advance:
            frame = measure(chosen, wanted, plan, advance, timed=timed)
    rows = rows_of(frame)
    if json_:
        print(json.dumps({"schema": 1, "rows": [_plain(row) for row in rows]}, indent=1, allow_nan=False))
    else:
        console = Console()
        print_invariance(frame, console if console.is_terminal else Console(width=TABLE_WIDTH))
    if output is not None:
        paths = save(frame, output / "results")
        write_atomically(output / "invariance.html", page(frame).encode())
        for path in (*paths, output / "invariance.html"):
            print(path, file=sys.stderr if json_ else sys.stdout)
    again = any(row["factor"] in ONCE_MORE and varies(row) for row in rows)
    failed = any(row["status"] == "error" for row in rows)
    asked = any(row["status"] == "asked" for row in rows)
    if not asked:
        print("precision: nothing was measured: no mode could be asked", file=sys.stderr)
    return FOUND_SOMETHING if again or failed or not asked else 0


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"numbers of threads are integers; got {text!r}; give --threads 1,2,4, say") from None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: lists as lists, an infinite distance as text."""
    lists = {name: json.loads(row[name]) for name in ("settings", "groups", "equal_by")}
    return {name: "infinite" if value == math.inf else value for name, value in {**row, **lists}.items()}
