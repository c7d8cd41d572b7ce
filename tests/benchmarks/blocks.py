"""Fair ratios on a machine with few cores: one process a library, blocks in turn, medians.

Two thread pools in one process collide: after a call the threads of one library spin for a while, on the very
cores that the other needs. So each library has a process of its own, which sleeps on its stdin while another
one works. A block is one call that is not timed, then a few that are; the blocks of the libraries alternate,
so that a change of the machine's speed meets all of them; the figure is the ratio of the medians over all
blocks. Seconds of different runs are not comparable, ratios within one run are.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PAUSE = 0.05  # seconds between blocks: longer than idle threads spin


class Workers:
    """One process for each task, started when first asked; all stopped at the end."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.running.values():
            process.communicate()  # closes its stdin, which ends it

    def ask(self, task: str, spec: dict[str, Any], **request: Any) -> dict[str, Any]:
        if task not in self.running:
            count = str(self.threads)  # read by the libraries when they start
            names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
            self.running[task] = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("worker.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=os.environ | dict.fromkeys(names, count),
            )  # fmt: skip
        process = self.running[task]
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError(f"the worker of {task} has no pipes")
        message = {"task": task, "spec": spec | {"threads": self.threads}, **request}
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {task} ended with status {process.wait()} on {spec}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def compare(
        self, tasks: list[str], spec: dict[str, Any], rounds: int, calls: int
    ) -> dict[str, dict[str, Any]]:
        """For each task the median, least and number of its timings, and what its result says of itself."""
        for task in tasks:
            self.ask(task, spec, calls=0)  # start, make operands, compile
        answers: dict[str, list[dict[str, Any]]] = {task: [] for task in tasks}
        for _ in range(rounds):
            for task in tasks:
                time.sleep(PAUSE)
                answers[task].append(self.ask(task, spec, calls=calls))
        return {task: summary(found) for task, found in answers.items()}


def summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [s for answer in answers for s in answer["seconds"]]
    rest = {name: value for name, value in answers[-1].items() if name != "seconds"}
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_least": min(seconds),
        "timings": len(seconds),
        "work_per_second": rest["work"] / statistics.median(seconds),
        **rest,
    }


def ratio(ours: dict[str, Any], theirs: dict[str, Any], *, per_work: bool = False) -> dict[str, float]:
    """Our time over theirs, of the medians and of the least times; per unit of work if that differs."""
    scale = theirs["work"] / ours["work"] if per_work else 1.0
    return {
        "ratio": ours["seconds_median"] / theirs["seconds_median"] * scale,
        "ratio_of_least": ours["seconds_least"] / theirs["seconds_least"] * scale,
    }
