"""The folder through which a worker answers, and how its answers become cells of a capture."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from precision.capture import Capture, read_tensors, write_atomically
from precision.cases import VARIANTS, Asked
from precision.errors import UserError
from precision.requirements import cpu_model


class Inbox:
    """Collects what a worker wrote into `.work` below its capture; may be read again at any time."""

    def __init__(self, capture: Capture, cases: list[Asked]) -> None:
        self.capture, self.cases = capture, cases
        self.folder = capture.folder / ".work"
        self.started = False
        self.answered: set[str] = set()
        self.last_change = time.monotonic()

    def collect(self) -> list[str]:
        """Take complete answers into the capture; return the ids of the cases they are for."""
        self._collect_start()
        done = []
        for case in self.cases:
            path = self.folder / f"{case.id}.json"
            if case.id not in self.answered and path.exists():
                self.last_change = time.monotonic()
                self.capture.cells[case.id] = self._accept(case, path)
                # Last, so that Ctrl-C in the middle leaves the answer to be collected once more.
                self.answered.add(case.id)
                done.append(case.id)
        if done:
            self.capture.finished = datetime.now(UTC).isoformat(timespec="seconds")
            self.capture.save()
        return done

    def unanswered(self) -> list[Asked]:
        """Return the cases that have no answer yet."""
        return [case for case in self.cases if case.id not in self.answered]

    def current(self) -> str:
        """Return the id of the case in work, or an empty string."""
        path = self.folder / "current.json"
        return str(_answer(path).get("case", "")) if path.exists() else ""

    def _collect_start(self) -> None:
        path = self.folder / "start.json"
        if self.started or not path.exists():
            return
        self.started = True
        self.last_change = time.monotonic()
        answer = _answer(path)
        capture, read_back = self.capture, dict(answer.get("read_back", {}))
        if capture.cells and capture.read_back:
            _check_same(capture, read_back)
            read_back = {**capture.read_back, **read_back}
        capture.status = str(answer.get("status", "error"))
        capture.reason = str(answer.get("reason", ""))
        capture.read_back = read_back
        capture.versions = {**dict(answer.get("versions", {})), "processor": cpu_model()}
        capture.save()

    def _accept(self, case: Asked, path: Path) -> dict[str, Any]:
        answer = _answer(path)
        if answer.get("status") != "ok":
            return {"status": "error", "reason": str(answer.get("reason", "no reason given"))}
        name = f"{case.id}.safetensors"
        try:
            tensors = read_tensors(self.folder, name, str(answer.get("sha256")))
        except UserError as error:
            return {"status": "error", "reason": f"the worker's answer cannot be read: {error}"}
        if answer.get("kind") != "probe" and not set(VARIANTS) <= set(tensors):
            return {"status": "error", "reason": "the worker's answer lacks an output"}
        # Copied, not moved: after Ctrl-C right here the answer is collected once more.
        write_atomically(self.capture.folder / name, (self.folder / name).read_bytes())
        if "onednn isa" in answer:
            self.capture.read_back["onednn isa"] = answer.pop("onednn isa")
        return {**answer, "file": name}


def _check_same(capture: Capture, read_back: dict[str, Any]) -> None:
    """Refuse cells that ran under other settings than the cells that the capture has: threads, say."""
    for name, value in read_back.items():
        before = capture.read_back.get(name, value)
        if before != value:
            raise UserError(
                f"a capture comes from one environment; {capture.folder} was made with {name} {before}, "
                f"now it is {value}; use another output folder"
            )


def _answer(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        return {"status": "error", "reason": f"the worker's answer cannot be read: {error}"}
    if not isinstance(content, dict):
        return {"status": "error", "reason": "the worker's answer cannot be read: it is no JSON object"}
    return content
