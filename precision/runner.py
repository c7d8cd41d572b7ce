"""Runs cases in modes, each mode in worker processes of its own, into a folder of captures.

    DIR/run.json           schema, suite, and which cases and modes were asked for
    DIR/captures/MODE/     one capture a mode (see `precision.capture`)

What is done is kept: a run on the same folder goes on where the last one stopped, runs no finished
cell again, and tries the failed ones once more.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from precision.capture import MANIFEST, Capture, load_capture, read_json, read_tensors, write_atomically
from precision.cases import Case, load_suite
from precision.errors import UserError
from precision.handover import verify_inputs
from precision.modes import FRAMEWORKS, MODES, Mode
from precision.process import Worker
from precision.requirements import cpu_model, missing
from precision.worker import installed

SCHEMA = 1
RUN = "run.json"

Progress = Callable[[str, str], None]
"""Called with (mode, case id) whenever a cell is done."""


def prepare(folder: Path, suite: str, cases: Sequence[Case], modes: Sequence[Mode]) -> dict[str, Any]:
    """Make or open a run folder, and add the asked cases and modes to what it holds.

    Raises `UserError` where the folder holds something else, or a run of another suite.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the output is a folder; {folder} is a file; name another")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RUN).is_file():
        raise UserError(
            f"the output folder is new, empty, or holds an earlier run; {folder} holds something else; "
            "name another folder"
        )
    known: dict[str, Any] = {"cases": [], "modes": []}
    if (folder / RUN).is_file():
        known = load_run(folder)
        if known["suite"] != suite:
            raise UserError(
                f"a run folder holds one suite; {folder} holds {known['suite']!r}, not {suite!r}; "
                "name another folder"
            )
    order = [case.id for case in load_suite(suite)]
    wanted = {*known["cases"], *(case.id for case in cases)}
    names = {*known["modes"], *(mode.name for mode in modes)}
    run = {
        "schema": SCHEMA,
        "suite": suite,
        "cases": [id for id in order if id in wanted],
        "modes": [mode.name for mode in MODES if mode.name in names],
    }
    for mode in modes:
        check_capture(folder, mode.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RUN, (json.dumps(run, indent=1) + "\n").encode())
    return run


def load_run(folder: Path) -> dict[str, Any]:
    """Read `run.json` of a run folder; `UserError` where it is missing, unreadable or of another schema."""
    if not folder.is_dir():
        raise UserError(f"a run is a folder made by `precision run`; there is no {folder}; check the path")
    run = read_json(folder / RUN, "a run", SCHEMA)
    if not isinstance(run.get("suite"), str) or not all(
        isinstance(run.get(k), list) for k in ("cases", "modes")
    ):
        raise UserError(
            f"{folder / RUN} names a suite, its cases and modes; it does not; run again elsewhere"
        )
    return run


def check_capture(folder: Path, mode: str) -> Capture | None:
    """Return the capture of a mode with every file verified, or None where there is none yet."""
    place = folder / "captures" / mode
    if not (place / MANIFEST).exists():
        return None
    capture = load_capture(place)
    for cell in capture.cells.values():
        if cell["status"] == "ok":
            read_tensors(place, str(cell["file"]), str(cell["sha256"]))
    return capture


def run(
    folder: Path,
    suite: str,
    cases: Sequence[Case],
    modes: Sequence[Mode],
    *,
    timeout: float = 120.0,
    jobs: int = 1,
    inputs: Path | None = None,
    progress: Progress = lambda mode, case: None,
) -> None:
    """Capture every case in every mode that this machine can run.

    timeout: seconds a worker may take for one case (its start counts as one).
    jobs: workers at a time.
    inputs: a folder made by `precision.handover.write_inputs`, else workers make the arrays.
    Raises `UserError` for bad input; KeyboardInterrupt passes after the workers are ended, with all finished
    cells kept.
    """
    if not (timeout > 0):
        raise UserError(f"the time limit is above 0 seconds; got {timeout:g}; give --timeout 120, say")
    if jobs < 1:
        raise UserError(f"at least one worker runs at a time; got {jobs}; give --jobs 1 or more")
    handed = None if inputs is None else verify_inputs(inputs, cases)
    prepare(folder, suite, cases, modes)
    with _only_run(folder):
        _run_all(folder, suite, cases, modes, timeout, jobs, handed, progress)


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two runs that write one capture would lose each other's cells."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"one run at a time writes a folder; another is at work in {folder}; wait for it"
            ) from None
        yield


def _run_all(
    folder: Path,
    suite: str,
    cases: Sequence[Case],
    modes: Sequence[Mode],
    timeout: float,
    jobs: int,
    handed: Any,
    progress: Progress,
) -> None:
    waiting = [task for mode in modes if (task := _task(folder, mode, cases, progress))]
    active: list[Worker] = []
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                mode, capture, pending = waiting.pop(0)
                active.append(Worker(mode, capture, suite, pending, handed))
            time.sleep(0.02)
            for worker in list(active):
                if rest := _watch(worker, timeout, progress):
                    waiting.insert(0, (worker.mode, worker.capture, rest))
                if worker.process.returncode is not None:
                    active.remove(worker)
    finally:
        for worker in active:
            worker.kill()
            worker.collect()
            worker.close()


def _task(
    folder: Path, mode: Mode, cases: Sequence[Case], progress: Progress
) -> tuple[Mode, Capture, list[Case]] | None:
    """Return what is left to do in a mode; cells that are done or cannot run are reported as such."""
    capture = check_capture(folder, mode.name) or Capture(folder / "captures" / mode.name, mode.name)
    done = {id for id, cell in capture.cells.items() if cell["status"] == "ok"}
    pending = [case for case in cases if case.id not in done]
    for case in cases:
        if case.id in done:
            progress(mode.name, case.id)
    if not pending:
        return None
    reason = missing(mode)
    if reason and not done:
        capture.status, capture.reason = "not run", reason
        capture.asked = dict(mode.switches)
        capture.environment = dict(mode.environment)
        capture.save()
        for case in pending:
            progress(mode.name, case.id)
        return None
    _check_same_machine(capture, mode)
    for case in pending:
        capture.cells.pop(case.id, None)  # a failure of an earlier run, tried again now
    capture.status, capture.reason = "run", ""
    capture.asked = dict(mode.switches)
    capture.save()
    return mode, capture, pending


def _check_same_machine(capture: Capture, mode: Mode) -> None:
    """A capture has one environment: refuse to add cells from other versions or another processor."""
    now = {
        **{
            f"distribution {name}": installed(name)
            for name in ("numpy", *FRAMEWORKS[mode.framework].distributions)
        },
        "processor": cpu_model(),
    }
    for name, value in now.items():
        before = capture.versions.get(name)
        if capture.cells and before is not None and before != value:
            raise UserError(
                f"a capture comes from one environment; {capture.folder} was made with {name} {before}, "
                f"now it is {value}; use another output folder"
            )


def _watch(worker: Worker, timeout: float, progress: Progress) -> list[Case]:
    """Take in what a worker answered; where it ended early, return the cases that are left for another."""
    for case_id in worker.collect():
        progress(worker.mode.name, case_id)
    ending = worker.finished(timeout)
    if ending is None:
        return []
    for case_id in worker.collect():
        progress(worker.mode.name, case_id)
    capture = worker.capture
    capture.versions.setdefault("processor", cpu_model())
    capture.save()
    rest: list[Case] = []
    if capture.status == "run":
        unanswered = worker.unanswered()
        if ending or unanswered:
            blamed = worker.blame(ending or "the worker ended without an answer")
            for case_id in blamed:
                progress(worker.mode.name, case_id)
            rest = [case for case in unanswered if case.id not in blamed]
    else:
        for case in worker.cases:
            progress(worker.mode.name, case.id)
    worker.close()
    return rest
