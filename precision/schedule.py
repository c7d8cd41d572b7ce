"""What is left to run, and the workers that run it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from precision.capture import Capture, check_capture
from precision.cases import Asked
from precision.errors import UserError
from precision.inbox import Inbox
from precision.modes import FRAMEWORKS, Mode
from precision.process import Worker
from precision.recording import RecordedProbe
from precision.requirements import cpu_model, missing
from precision.worker import installed

Progress = Callable[[str, str], None]
"""Called with (mode, case id) whenever a cell is done."""


@dataclass(frozen=True)
class Task:
    """The open cases of a mode.  `restarted`: its worker was killed before its first case, once."""

    mode: Mode
    capture: Capture
    pending: list[Asked]
    restarted: bool = False


def plan(folder: Path, cases: Sequence[Asked], modes: Sequence[Mode], progress: Progress) -> list[Task]:
    """Return what is left to do; cells that are done or that this machine cannot run are reported done.

    Raises `UserError` for a capture that does not fit, before anything is run.
    """
    tasks = []
    for mode in modes:
        capture = check_capture(folder, mode.name) or Capture(folder / "captures" / mode.name, mode.name)
        _recover(capture, cases)
        _check_declarations(capture, cases)
        done = {id for id, cell in capture.cells.items() if cell["status"] == "ok"}
        pending = [case for case in cases if case.id not in done and recorded_in(mode, case)]
        if pending and done:
            _check_same_environment(capture, mode)
        tasks.append(Task(mode, capture, pending))
    return [task for task in tasks if _open(task, cases, progress)]


def recorded_in(mode: Mode, asked: Asked) -> bool:
    """Whether a mode is asked for this: where sums are returned in 16 bits no case is scored."""
    return mode.output_format == "binary32" or isinstance(asked, RecordedProbe)


def _recover(capture: Capture, cases: Sequence[Asked]) -> None:
    """Take in what a worker had answered when its parent was killed, so that it is not run again."""
    inbox = Inbox(capture, [case for case in cases if capture.cells.get(case.id, {}).get("status") != "ok"])
    if inbox.folder.is_dir():
        inbox.collect()
        shutil.rmtree(inbox.folder, ignore_errors=True)


def _check_declarations(capture: Capture, cases: Sequence[Asked]) -> None:
    for case in cases:
        cell = capture.cells.get(case.id, {})
        if cell.get("status") == "ok" and cell["fingerprint"] != case.fingerprint():
            raise UserError(
                f"a capture fits the suite that runs; {capture.folder} was made for another declaration "
                f"of case {case.id}; use another output folder"
            )


def _open(task: Task, cases: Sequence[Asked], progress: Progress) -> bool:
    """Record what is asked of a mode in its capture; return whether a worker is needed."""
    mode, capture, pending = task.mode, task.capture, task.pending
    open_ids = {case.id for case in pending}
    for case in cases:
        if case.id not in open_ids:
            progress(mode.name, case.id)
    if not pending:
        return False
    for case in pending:
        capture.cells.pop(case.id, None)  # a failure of an earlier run, tried again now
    reason = "" if capture.cells else missing(mode)
    capture.status, capture.reason = ("not run", reason) if reason else ("run", "")
    capture.asked, capture.environment = dict(mode.switches), dict(mode.environment)
    capture.save()
    if reason:
        for case in pending:
            progress(mode.name, case.id)
    return not reason


def _check_same_environment(capture: Capture, mode: Mode) -> None:
    """A capture has one environment: refuse to add cells from other versions or another processor."""
    names = ("numpy", *FRAMEWORKS[mode.framework].distributions)
    now = {f"distribution {name}": installed(name) for name in names} | {"processor": cpu_model()}
    for name, value in now.items():
        before = capture.versions.get(name)
        if before is not None and before != value:
            raise UserError(
                f"a capture comes from one environment; {capture.folder} was made with {name} {before}, "
                f"now it is {value}; use another output folder"
            )


def run_tasks(
    tasks: Sequence[Task],
    suite: str,
    inputs: Any,
    timeout: float,
    jobs: int,
    progress: Progress,
    ahead: bool = False,
) -> None:
    """Run the tasks, `jobs` workers at a time; on an exception end the workers and keep their answers.

    ahead: while they run, the next one loads its framework and waits, which is most of a short mode's time;
    calls are then not timed.  Only where no mode is on a GPU: there a waiting process is no bystander, it
    takes memory, which can change the kernels that are chosen.
    """
    waiting = list(tasks)
    active: list[tuple[Task, Worker]] = []
    held: tuple[Task, Worker] | None = None
    ahead = ahead and all(task.mode.device == "cpu" for task in tasks)
    alone = jobs == 1 and not ahead

    def start(task: Task, held: bool = False) -> Worker:
        return Worker(task.mode, task.capture, suite, task.pending, inputs, alone=alone, held=held)

    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                task = waiting.pop(0)
                if held is not None and held[0] is task:
                    active.append(held)
                    held[1].go()
                    held = None
                else:
                    active.append((task, start(task)))
            if ahead and held is None and waiting:
                held = (waiting[0], start(waiting[0], held=True))
            time.sleep(0.02)
            for task, worker in list(active):
                ending = _take_in(worker, timeout, progress)
                if ending is not None:
                    active.remove((task, worker))
                    rest = _reap(task, worker, ending, progress)
                    waiting = [rest, *waiting] if rest else waiting
    finally:
        if held is not None:
            held[1].kill()
            held[1].close()
        for _, worker in active:
            worker.kill()
            worker.inbox.collect()
            worker.close()


def _take_in(worker: Worker, timeout: float, progress: Progress) -> str | None:
    """Take in what a worker answered; return None while it runs, else how it ended."""
    # Asked first: all that an ended worker wrote is then there to be collected.
    ending = worker.finished(timeout)
    for case_id in worker.inbox.collect():
        progress(worker.mode.name, case_id)
    return ending


def _reap(task: Task, worker: Worker, ending: str, progress: Progress) -> Task | None:
    """Record how a worker ended; where it ended early, return the task that is left for another."""
    capture, unanswered = worker.capture, worker.inbox.unanswered()
    rest: Task | None = None
    if capture.status != "run":
        for case in worker.inbox.cases:
            progress(worker.mode.name, case.id)
    elif unanswered and worker.was_killed() and not worker.began() and not task.restarted:
        # Nothing tells which case it would have died on: the machine may just have been short of memory.
        rest = Task(task.mode, capture, unanswered, restarted=True)
    elif unanswered:
        blamed = worker.blame(ending or "the worker ended without an answer")
        for case_id in blamed:
            progress(worker.mode.name, case_id)
        left = [case for case in unanswered if case.id not in blamed]
        rest = Task(task.mode, capture, left) if left else None
    worker.close()
    return rest
