"""Fixtures: a fake framework in real worker processes, and one real report for all tests that read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from precision import modes, process, requirements, results, runner, schedule
from precision.cases import load_suite
from precision.modes import FRAMEWORKS, Framework, Mode
from reference.truth import Refine

HERE = Path(__file__).parent


class Fake:
    """Runs the smoke suite in a fake mode, with planned misbehaviour."""

    mode = Mode("fake.cpu", "fake", "fake", "cpu", switches={"dial": 11})

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder / "run", folder / "calls.log"
        self.cases = load_suite("smoke")
        self._patch = monkeypatch
        frameworks = {**FRAMEWORKS, "fake": Framework("fake", "fake_backend", ())}
        for module in (modes, schedule, process, requirements):
            monkeypatch.setattr(module, "FRAMEWORKS", frameworks)
        everything = (*modes.MODES, self.mode)
        for module in (modes, runner, results):
            monkeypatch.setattr(module, "MODES", everything)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("FAKE_LOG", str(self.log))

    @property
    def capture(self) -> Path:
        return self.folder / "captures" / self.mode.name

    def run(self, plan: dict[str, str] | None = None, **options: object) -> list[str]:
        """Run; return the ids in the order in which they were reported done."""
        self._patch.setenv("FAKE_PLAN", json.dumps(plan or {}))
        done: list[str] = []
        options.setdefault("progress", lambda mode, case: done.append(case))
        runner.run(self.folder, "smoke", self.cases, [self.mode], **options)  # type: ignore[arg-type]
        return done

    def manifest(self) -> dict[str, object]:
        return json.loads((self.capture / "manifest.json").read_text())

    def cells(self) -> dict[str, dict[str, object]]:
        return self.manifest()["cells"]  # type: ignore[return-value]

    def calls(self) -> dict[str, int]:
        lines = self.log.read_text().split() if self.log.exists() else []
        return {name: lines.count(name) for name in lines}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m precision` as a user would; capture its output."""
    return subprocess.run(
        [sys.executable, "-m", "precision", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def precision_command():
    return command


@pytest.fixture(scope="session")
def real_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The smoke suite in both frameworks' default modes and one CUDA mode: its folder and its output."""
    folder = tmp_path_factory.mktemp("real") / "report"
    done = command(
        "report", "smoke", "-o", str(folder), "--modes", "torch.cpu,tensorflow.cpu,torch.cuda.tf32"
    )
    return folder, done


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The elements of gradients that are refined one by one from now on."""
    from precision.tracing.backward import functions
    from reference import escalate

    found: list[int] = []
    real = escalate.settle

    def counted(refine: Refine, index: int) -> tuple[float, float, float]:
        found.append(index)
        return real(refine, index)

    monkeypatch.setattr(escalate, "settle", counted)
    monkeypatch.setattr(functions, "settle", counted)
    return found
