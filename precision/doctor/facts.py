"""What is installed and what the machine is, gathered without importing a framework here."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from precision.modes import FRAMEWORKS, STEERING_VARIABLES, Framework
from precision.requirements import cpu_flags, cpu_model

ISA = (
    "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
    "amx_fp16", "asimd", "sve", "bf16",
)  # fmt: skip
"""Features of processors that change which kernels run, as Linux names them; the last three are Arm's."""
_GPU_FILES = "/proc/driver/nvidia/gpus"
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
TIMEOUT = 40.0


@dataclass(frozen=True)
class FrameworkFacts:
    """One framework. installed: a package of that name is there; facts: as its module of facts gives them,
    empty with a reason where it could not say."""

    name: str
    installed: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def switch(self, name: str) -> Any:
        """How a switch stands; None where that is not known."""
        return self.facts.get("switches", {}).get(name)


@dataclass(frozen=True)
class Facts:
    """environment: this shell's variables that steer numerics. driver: whether NVIDIA's is there."""

    cpu: str
    cores: int
    isa: Mapping[str, bool]
    gpus: tuple[str, ...]
    driver: bool
    environment: Mapping[str, str]
    frameworks: Mapping[str, FrameworkFacts]

    def known(self, framework: str) -> FrameworkFacts | None:
        """The framework, if it could say anything of itself."""
        found = self.frameworks.get(framework)
        return found if found is not None and found.facts else None


def gather(advance: Callable[[str], Any], timeout: float = TIMEOUT) -> Facts:
    """Ask the machine and the frameworks, all at once, for `timeout` seconds; `advance(name)` after each."""
    end = time.monotonic() + timeout
    frameworks: dict[str, FrameworkFacts] = {}
    asked: dict[str, _Asked] = {}
    try:
        for framework in FRAMEWORKS.values():
            if is_installed(framework):
                asked[framework.name] = _Asked(framework)
        for name in FRAMEWORKS:
            if name in asked:
                frameworks[name] = asked[name].facts(end)
            else:
                frameworks[name] = FrameworkFacts(name, False, reason=f"pip install 'precision[{name}]'")
            advance(name)
    finally:
        for worker in asked.values():
            worker.end()
    return Facts(
        cpu_model(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        {name: name in cpu_flags() for name in ISA},
        gpu_names(Path(_GPU_FILES)),
        any(Path(path).exists() for path in _DRIVER_FILES),
        {name: os.environ[name] for name in sorted(STEERING_VARIABLES & set(os.environ))},
        frameworks,
    )


def is_installed(framework: Framework) -> bool:
    """Whether a package of that name is found; a driver outside this package needs none."""
    ours = framework.backend.startswith("precision.")
    return not ours or importlib.util.find_spec(framework.name) is not None


class _Asked:
    """A framework that is asked in a fresh process with this shell's environment."""

    def __init__(self, framework: Framework) -> None:
        self.name = framework.name
        self._folder = tempfile.TemporaryDirectory()
        self._answer, self._log = (Path(self._folder.name) / name for name in ("facts.json", "log"))
        roots = [str(Path(__file__).resolve().parent.parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, roots)),
            "ONEDNN_VERBOSE": "1",  # oneDNN names its version; it changes no result
        }
        module = framework.backend.replace("_backend", "_facts")
        with self._log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this process alone, which ends the worker.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "precision.doctor.worker", module, str(self._answer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def facts(self, end: float) -> FrameworkFacts:
        """What the framework says until the time `end` (of time.monotonic)."""
        left = max(0.0, end - time.monotonic())
        try:
            status = self._process.wait(left)
        except subprocess.TimeoutExpired:
            return FrameworkFacts(self.name, True, reason="it did not answer in time")
        printed = self._log.read_text(encoding="utf-8", errors="replace")
        if status or not self._answer.is_file():
            last = (printed.strip().splitlines() or ["it printed nothing"])[-1][:200]
            reason = f"its process ended with status {status}: {last}"
            return FrameworkFacts(self.name, True, reason=reason)
        found = json.loads(self._answer.read_text(encoding="utf-8"))
        facts = found.get("facts", {})
        version = re.search(r"onednn_verbose.*oneDNN v([\d.]+)", printed)
        if facts and version:
            facts["versions"].setdefault("oneDNN", version.group(1))
        return FrameworkFacts(self.name, True, facts, found.get("reason", ""))

    def end(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()


def gpu_names(folder: Path) -> tuple[str, ...]:
    """The models of the NVIDIA GPUs that the driver lists."""
    found = []
    for path in sorted(folder.glob("*/information")):
        with suppress(OSError):
            match = re.search(r"Model:\s*(.+)", path.read_text(encoding="utf-8", errors="replace"))
            if match:
                found.append(match.group(1).strip())
    return tuple(found)
