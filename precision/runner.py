"""Runs cases in modes, each mode in worker processes of its own, into a folder of captures.

    DIR/run.json           schema, suite, and which cases, probes and modes were asked for
    DIR/captures/MODE/     one capture a mode (see `precision.capture`)

What is done is kept: a run on the same folder goes on where the last one stopped, runs no finished
cell again, and tries the failed ones once more.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from precision.capture import check_capture, read_json, write_atomically
from precision.cases import STUDIES, Asked, Case, load_probes, load_suite
from precision.errors import UserError
from precision.handover import verify_inputs
from precision.modes import HALF_MODES, MODES, Mode
from precision.schedule import Progress, plan, run_tasks

SCHEMA = 1
RUN = "run.json"
LOCK = ".lock"


def check_folder(folder: Path, suite: str) -> None:
    """Raise `UserError` where a run folder cannot be made or gone on with; write nothing."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the output is a folder; {folder} is a file; name another")
    ours = {RUN, LOCK}
    if folder.is_dir() and not (folder / RUN).is_file() and {path.name for path in folder.iterdir()} - ours:
        raise UserError(
            f"the output folder is new, empty, or holds an earlier run; {folder} holds something else; "
            "name another folder"
        )
    if (folder / RUN).is_file() and (known := load_run(folder)["suite"]) != suite:
        raise UserError(
            f"a run folder holds one suite; {folder} holds {known!r}, not {suite!r}; name another folder"
        )


def record(folder: Path, suite: str, cases: Sequence[Asked], modes: Sequence[Mode]) -> None:
    """Add the asked cases and modes to what `run.json` names."""
    known: dict[str, Any] = load_run(folder) if (folder / RUN).is_file() else {"cases": [], "modes": []}
    wanted = {*known["cases"], *known.get("probes", ()), *(case.id for case in cases)}
    names = {*known["modes"], *(mode.name for mode in modes)}
    run = {
        "schema": SCHEMA,
        "suite": suite,
        "cases": [case.id for case in load_suite(suite) if case.id in wanted],
        "probes": [probe.id for probe in load_probes(suite) if probe.id in wanted],
        "modes": [mode.name for mode in (*MODES, *HALF_MODES) if mode.name in names],
    }
    write_atomically(folder / RUN, (json.dumps(run, indent=1) + "\n").encode())


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
    suite: tuple[Asked, ...] = (*load_suite(run["suite"]), *load_probes(run["suite"]))
    known = {asked.id for asked in suite} | {mode.name for mode in (*MODES, *HALF_MODES)}
    unknown = [name for name in (*run["cases"], *run.get("probes", ()), *run["modes"]) if name not in known]
    if unknown:
        raise UserError(
            f"a run names cases of its suite and known modes; {folder / RUN} names {unknown[0]!r}; "
            "run again into another folder"
        )
    return run


def run(
    folder: Path,
    suite: str,
    cases: Sequence[Asked],
    modes: Sequence[Mode],
    *,
    timeout: float = 120.0,
    jobs: int = 1,
    inputs: Path | None = None,
    progress: Progress = lambda mode, case: None,
) -> None:
    """Capture every case and probe in every mode that this machine can run.

    timeout: seconds a worker may take for one case (its start counts as one).
    jobs: workers at a time; the times of calls are kept only where it is 1.
    inputs: a folder made by `precision.handover.write_inputs`, else workers make the arrays.
    Raises `UserError` for bad input; KeyboardInterrupt passes after the workers are ended, with all finished
    cells kept.
    """
    if not (timeout > 0):
        raise UserError(f"the time limit is above 0 seconds; got {timeout:g}; give --timeout 120, say")
    if jobs < 1:
        raise UserError(f"at least one worker runs at a time; got {jobs}; give --jobs 1 or more")
    handed = (
        None if inputs is None else verify_inputs(inputs, [case for case in cases if isinstance(case, Case)])
    )
    check_folder(folder, suite)
    for mode in modes:
        check_capture(folder, mode.name)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_run(folder):
        record(folder, suite, cases, modes)
        tasks = plan(folder, cases, modes, progress)
        # A study asks what was computed and not how fast; its short modes are mostly a framework's loading.
        run_tasks(tasks, suite, handed, timeout, jobs, progress, ahead=suite in STUDIES)


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two runs that write one capture would lose each other's cells."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"one run at a time writes a folder; another is at work in {folder}; wait for it"
            ) from None
        yield
