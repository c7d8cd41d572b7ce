"""Progress: a bar on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress(label: str, total: int) -> Iterator[Any]:
    """Yield `advance(what)`: a bar on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total)
            yield lambda what: bar.update(task, advance=1, description=what)
        return
    done = 0

    def advance(what: str) -> None:
        nonlocal done
        done += 1
        if done == total or done % max(1, total // 20) == 0:
            print(f"{label} {done}/{total} {what}", file=sys.stderr, flush=True)

    yield advance
