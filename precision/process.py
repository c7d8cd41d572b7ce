"""The life of one worker process, seen from its parent: start, watch, reap, collect its answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from precision.capture import Capture, write_atomically
from precision.cases import Asked
from precision.inbox import Inbox
from precision.modes import FRAMEWORKS, STEERING_VARIABLES, Mode
from precision.worker import GO

LOG_LIMIT = 64 * 2**20
LOG_KEPT = 64 * 2**10


class Worker:
    """One running worker of a mode, and the folder `.work` through which it answers.

    alone: no other worker runs beside it, so that the times of its calls count. held: it loads and sets up
    its framework, and waits for `go` before its first case.
    """

    def __init__(
        self,
        mode: Mode,
        capture: Capture,
        suite: str,
        cases: list[Asked],
        inputs: Any,
        *,
        alone: bool = True,
        held: bool = False,
    ) -> None:
        self.mode, self.capture = mode, capture
        self.inbox = Inbox(capture, cases)
        self.folder = self.inbox.folder
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.log = self.folder / "worker.log"
        self._ended_here = False
        environment = worker_environment(mode)
        shown = STEERING_VARIABLES & set(environment)
        capture.environment = {name: environment[name] for name in sorted(shown)}
        framework = FRAMEWORKS[mode.framework]
        job = {
            "suite": suite,
            "cases": [case.id for case in cases],
            "framework": mode.framework,
            "backend": framework.backend,
            "distributions": list(framework.distributions),
            "device": mode.device,
            "switches": dict(mode.switches),
            "folder": str(self.folder.resolve()),
            "log": str(self.log.resolve()),
            "inputs": inputs,
            "alone": alone,
            "held": held,
        }
        write_atomically(self.folder / "job.json", json.dumps(job).encode())
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches the parent alone, which ends the worker and its children.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "precision.worker", str((self.folder / "job.json").resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def go(self) -> None:
        """Let a held worker begin; its time starts now."""
        self.inbox.last_change = time.monotonic()
        write_atomically(self.folder / GO, b"")

    def finished(self, timeout: float) -> str | None:
        """Return None while the worker runs, else how it ended (empty for a good end)."""
        status = self.process.poll()
        if status is None:
            if time.monotonic() - self.inbox.last_change > timeout:
                self.kill()
                return f"timed out: no answer within {timeout:g} s"
            if self.log.stat().st_size > LOG_LIMIT:
                self.kill()
                return f"the worker printed more than {LOG_LIMIT // 2**20} MiB and was ended"
            return None
        if status < 0:
            known = -status in set(signal.Signals)  # real-time signals have no name
            name = signal.Signals(-status).name if known else "no name"
            hint = "; out of memory?" if -status == signal.SIGKILL else ""
            return f"the worker was killed by signal {-status} ({name}{hint})"
        if status > 0:
            return f"the worker exited with status {status}: {self._last_line()}"
        return ""

    def was_killed(self) -> bool:
        """Whether a signal that this parent did not send ended the worker."""
        return not self._ended_here and (self.process.returncode or 0) < 0

    def began(self) -> bool:
        """Whether the worker got as far as its first case."""
        return bool(self.inbox.current() or self.inbox.answered)

    def blame(self, reason: str) -> list[str]:
        """Record `reason` for the case that the worker died on; return the ids that got it.

        That is the case in work; every open case where the worker died before it began one; and none where it
        died after an answer and before the next case: the next worker takes those.
        """
        unanswered = [case.id for case in self.inbox.unanswered()]
        none_begun = [] if self.inbox.answered else unanswered
        blamed = [id for id in unanswered if id == self.inbox.current()] or none_begun
        for case_id in blamed:
            self.capture.cells[case_id] = {"status": "error", "reason": reason}
        self.capture.save()
        return blamed

    def kill(self) -> None:
        """End the worker and everything it started."""
        self._ended_here = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Keep the end of the log beside the capture, and remove the working folder."""
        if self.log.exists():
            content = self.log.read_bytes()
            write_atomically(self.capture.folder / "worker.log", content[-LOG_KEPT:])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _last_line(self) -> str:
        lines = self.log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it printed nothing"


def worker_environment(mode: Mode) -> dict[str, str]:
    """Return the worker's variables: the user's without those that steer numerics, then the mode's."""
    removed = STEERING_VARIABLES
    if mode.device == "cuda":
        removed = removed - {"CUDA_VISIBLE_DEVICES"}  # which GPU is the user's to choose
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    # The package may be a plain checkout that was never installed.
    roots = [str(Path(__file__).resolve().parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    # Verbose oneDNN names the kernels that ran; it changes no result.
    return {**environment, "ONEDNN_VERBOSE": "1", **mode.environment}
