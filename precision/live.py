"""A framework in one mode, kept alive in a process of its own, that answers call after call.

The runner's workers run a list of cases and end; probing decides each call by the answers before.  The
mode is set up as there: a fresh process, the environment before it starts, switches set and read back.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from precision.errors import CannotRun, UserError
from precision.inputs import Float32
from precision.modes import FRAMEWORKS, ORDER_MODES, Mode
from precision.process import worker_environment
from precision.requirements import missing
from precision.serve import receive, send


class KernelError(Exception):
    """The framework raised, died or did not answer in time; the message says which."""


class Live:
    """`with Live("torch.cpu") as live: live.run("linear", {}, arrays)`.

    Raises `CannotRun` where this machine cannot run the mode, `UserError` for an unknown mode, and
    `KernelError` for a call that failed.  timeout: seconds for one call.
    """

    def __init__(self, mode: str | Mode, timeout: float = 120.0) -> None:
        self.mode = find_mode(mode)
        self.timeout = timeout
        self.calls = 0
        reason = missing(self.mode)
        if reason:
            raise CannotRun(reason)
        self._start("precision.serve")
        try:
            asked = dict(self.mode.switches)
            head, _ = self._exchange(self._job, {})
            if head["status"] == "not run":
                raise CannotRun(head["reason"])
            self.read_back: dict[str, Any] = head["read_back"]
            self.versions: dict[str, str] = head["versions"]
            wrong = {
                name: self.read_back.get(name) for name in asked if self.read_back.get(name) != asked[name]
            }
            if wrong:
                raise KernelError(f"a switch did not take: asked {asked}, read back {wrong}")
        except BaseException:
            self.close()
            raise

    def _start(self, module: str, **environment: str) -> None:
        """Start the mode's process: `python -m MODULE IN OUT`, with more variables in its environment."""
        child_in, ours_out = os.pipe()
        ours_in, child_out = os.pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        # A session of its own: Ctrl-C reaches the parent alone, which ends the child.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(child_in), str(child_out)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**worker_environment(self.mode), "ONEDNN_VERBOSE": "0", **environment},
            pass_fds=(child_in, child_out),
            start_new_session=True,
        )
        os.close(child_in)
        os.close(child_out)
        self._to, self._from = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")

    @property
    def _job(self) -> dict[str, Any]:
        """What the process is told first."""
        backend = FRAMEWORKS[self.mode.framework].backend
        return {"backend": backend, "device": self.mode.device, "switches": dict(self.mode.switches)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
        """Return the output of one call of `op`."""
        return self._call({"op": op, "params": dict(params)}, arrays)["output"]

    def statistics(
        self, op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> dict[str, Float32]:
        """Return the statistics that the framework shows for a normalization, by name.

        Raises `CannotRun` where it shows none.
        """
        module = FRAMEWORKS[self.mode.framework].backend.replace("_backend", "_norms")
        return self._call(
            {"op": op, "params": dict(params), "function": "statistics", "module": module}, arrays
        )

    def _call(self, call: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
        self.calls += 1
        head, results = self._exchange(call, arrays)
        if head["status"] == "cannot":
            raise CannotRun(head["reason"])
        if head["status"] != "ok":
            raise KernelError(head["reason"])
        return results

    @property
    def alive(self) -> bool:
        """Whether calls can still be made: not after a crash, a time-out or `close`."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._to, self._from, self._log):
            with contextlib.suppress(OSError):
                stream.close()

    def _exchange(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        if not self.alive:
            raise KernelError(f"the process ended: status {self._process.returncode}; start another")
        try:
            send(self._to, head, arrays)
            ready, _, _ = select.select([self._from], [], [], self.timeout)
            if not ready:
                # Its late answer would be taken for that to the next call.
                self.close()
                raise KernelError(f"no answer within {self.timeout:g} s; the process was ended")
            found, results = receive(self._from)
        except (BrokenPipeError, EOFError):
            found, results = {}, {}
        if not found:
            raise KernelError(f"the process ended: {self._ending()}")
        return found, results

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.returncode
        self._log.seek(0)
        lines = self._log.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return f"status {status}; {lines[-1][:300] if lines else 'it printed nothing'}"


def find_mode(mode: str | Mode) -> Mode:
    """Return the mode of that name.  Raises `UserError` for an unknown one."""
    if isinstance(mode, Mode):
        return mode
    for known in ORDER_MODES:
        if known.name == mode:
            return known
    names = ", ".join(known.name for known in ORDER_MODES)
    raise UserError(f"a mode is one of {names}; got {mode!r}; choose one of these")
