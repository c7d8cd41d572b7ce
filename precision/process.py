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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from precision.capture import Capture, read_tensors, write_atomically
from precision.cases import Case
from precision.errors import UserError
from precision.modes import FRAMEWORKS, STEERING_VARIABLES, Mode

LOG_LIMIT = 64 * 2**20
LOG_KEPT = 64 * 2**10


class Worker:
    """One running worker of a mode, and the folder `.work` through which it answers."""

    def __init__(self, mode: Mode, capture: Capture, suite: str, cases: list[Case], inputs: Any) -> None:
        self.mode, self.capture, self.cases = mode, capture, cases
        self.folder = capture.folder / ".work"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.log = self.folder / "worker.log"
        self._started = False
        self._ended_here = False
        self._answered: set[str] = set()
        self._last_change = time.monotonic()
        self.environment = worker_environment(mode)
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
        }
        write_atomically(self.folder / "job.json", json.dumps(job).encode())
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches the parent alone, which ends the worker and its children.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "precision.worker", str((self.folder / "job.json").resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def collect(self) -> list[str]:
        """Take complete answers into the capture; return the ids of the cases they are for."""
        self._collect_start()
        done = []
        for case in self.cases:
            path = self.folder / f"{case.id}.json"
            if case.id not in self._answered and path.exists():
                self._last_change = time.monotonic()
                self.capture.cells[case.id] = self._accept(case, path)
                # Last, so that Ctrl-C in the middle leaves the answer to be collected once more.
                self._answered.add(case.id)
                done.append(case.id)
        if done:
            self.capture.finished = datetime.now(UTC).isoformat(timespec="seconds")
            self.capture.save()
        return done

    def finished(self, timeout: float) -> str | None:
        """Return None while the worker runs, else how it ended (empty for a good end)."""
        status = self.process.poll()
        if status is None:
            if time.monotonic() - self._last_change > timeout:
                self.kill()
                return f"timed out: no answer within {timeout:g} s"
            if self.log.stat().st_size > LOG_LIMIT:
                self.kill()
                return f"the worker printed more than {LOG_LIMIT // 2**20} MiB and was ended"
            return None
        if status < 0:
            name = signal.Signals(-status).name
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
        return bool(self._current() or self._answered)

    def blame(self, reason: str) -> list[str]:
        """Record `reason` for the case that the worker died on; return the ids that got it.

        That is the case in work; every open case where the worker died before it began one; and none where it
        died after an answer and before the next case: the next worker takes those.
        """
        unanswered = [case.id for case in self.unanswered()]
        none_begun = [] if self._answered else unanswered
        blamed = [id for id in unanswered if id == self._current()] or none_begun
        for case_id in blamed:
            self.capture.cells[case_id] = {"status": "error", "reason": reason}
        self.capture.save()
        return blamed

    def unanswered(self) -> list[Case]:
        """Return the cases that have no answer yet."""
        return [case for case in self.cases if case.id not in self._answered]

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

    def _collect_start(self) -> None:
        path = self.folder / "start.json"
        if self._started or not path.exists():
            return
        self._started = True
        self._last_change = time.monotonic()
        answer = _answer(path)
        capture = self.capture
        capture.status = str(answer.get("status", "error"))
        capture.reason = str(answer.get("reason", ""))
        capture.read_back = dict(answer.get("read_back", {}))
        capture.versions = {**dict(answer.get("versions", {}))}
        shown = STEERING_VARIABLES & set(self.environment)
        capture.environment = {name: self.environment[name] for name in sorted(shown)}
        capture.save()

    def _accept(self, case: Case, path: Path) -> dict[str, Any]:
        answer = _answer(path)
        if answer.get("status") != "ok":
            return {"status": "error", "reason": str(answer.get("reason", "no reason given"))}
        name = f"{case.id}.safetensors"
        try:
            tensors = read_tensors(self.folder, name, str(answer.get("sha256")))
        except UserError as error:
            return {"status": "error", "reason": f"the worker's answer cannot be read: {error}"}
        if not {"data", "probe"} <= set(tensors):
            return {"status": "error", "reason": "the worker's answer lacks an output"}
        # Copied, not moved: after Ctrl-C right here the answer is collected once more.
        write_atomically(self.capture.folder / name, (self.folder / name).read_bytes())
        if "onednn isa" in answer:
            self.capture.read_back["onednn isa"] = answer.pop("onednn isa")
        return {**answer, "file": name}

    def _current(self) -> str:
        path = self.folder / "current.json"
        return str(_answer(path).get("case", "")) if path.exists() else ""

    def _last_line(self) -> str:
        lines = self.log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it printed nothing"


def worker_environment(mode: Mode) -> dict[str, str]:
    """Return the worker's variables: the user's without those that steer numerics, then the mode's."""
    environment = {name: value for name, value in os.environ.items() if name not in STEERING_VARIABLES}
    # The package may be a plain checkout that was never installed.
    roots = [str(Path(__file__).resolve().parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    # Verbose oneDNN names the kernels that ran; it changes no result.
    return {**environment, "ONEDNN_VERBOSE": "1", **mode.environment}


def _answer(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        return {"status": "error", "reason": f"the worker's answer cannot be read: {error}"}
    if not isinstance(content, dict):
        return {"status": "error", "reason": "the worker's answer cannot be read: it is no JSON object"}
    return content
