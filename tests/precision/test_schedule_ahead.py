"""Workers that load ahead: they wait for their turn, change no answer, and end with the run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import ClassVar

import pytest

from precision import modes, schedule
from precision.capture import Capture, check_capture
from precision.inbox import Inbox
from precision.process import Worker

CASES = ["smoke-conv2d-3x3", "smoke-conv2d-even-same", "smoke-layer-norm", "smoke-linear"]


@pytest.fixture
def three(fake, monkeypatch):
    """Three modes of the fake framework, and their tasks."""
    monkeypatch.setenv("FAKE_PLAN", "{}")
    found = [replace(fake.mode, name=f"fake.{name}") for name in "abc"]
    monkeypatch.setattr(modes, "MODES", (*modes.MODES, *found))
    fake.folder.mkdir()
    return schedule.plan(fake.folder, fake.cases, found, lambda mode, case: None)


def run(tasks, progress=lambda mode, case: None, **options):
    schedule.run_tasks(tasks, "smoke", None, 120.0, 1, progress, **options)


@pytest.mark.parametrize("ahead", [True, False])
def test_one_mode_computes_at_a_time(fake, three, ahead):
    told = []
    run(three, lambda mode, case: told.append((mode, case)), ahead=ahead)
    assert told == [(task.mode.name, case) for task in three for case in CASES]
    # Calls of two modes at once would mix; a case is called four times.
    assert fake.log.read_text().split() == [case for case in CASES for _ in range(4)] * 3
    for task in three:
        capture = check_capture(fake.folder, task.mode.name)
        assert capture is not None
        assert {cell["status"] for cell in capture.cells.values()} == {"ok"}
        assert all((cell["seconds"] is None) == ahead for cell in capture.cells.values())


class Recorder:
    """In a worker's place: it answers nothing and has ended."""

    held: ClassVar[list[bool]] = []

    def __init__(self, mode, capture, suite, cases, inputs, *, alone, held):
        self.mode, self.capture, self.held_back = mode, capture, held
        self.inbox = Inbox(capture, [])
        assert not alone or not held
        Recorder.held.append(held)

    def go(self):
        assert self.held_back

    def finished(self, timeout):
        return ""

    def close(self):
        pass


@pytest.mark.parametrize(("device", "expected"), [("cpu", [False, True, True]), ("cuda", [False] * 3)])
def test_the_next_one_is_loaded_ahead_and_never_beside_a_gpu(three, monkeypatch, device, expected):
    monkeypatch.setattr(schedule, "Worker", Recorder)
    monkeypatch.setattr(Recorder, "held", [])
    first = replace(three[0], mode=replace(three[0].mode, device=device))
    run([first, *three[1:]], ahead=True)
    assert Recorder.held == expected


def test_a_held_worker_waits_for_its_word(fake, monkeypatch):
    monkeypatch.setenv("FAKE_PLAN", "{}")
    capture = Capture(fake.capture, fake.mode.name)
    worker = Worker(fake.mode, capture, "smoke", list(fake.cases), None, alone=False, held=True)
    try:
        deadline = time.monotonic() + 60
        while not (worker.folder / "start.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        assert json.loads((worker.folder / "start.json").read_text())["status"] == "run"
        assert not worker.began()
        assert not fake.log.exists()
        worker.go()
        assert worker.process.wait(60) == 0
        assert sorted(worker.inbox.collect()) == sorted(CASES)
    finally:
        worker.kill()
        worker.close()


def test_stopping_ends_the_waiting_one_too(three, monkeypatch):
    started = []

    class Seen(Worker):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            started.append(self)

    def stop(mode, case):
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule, "Worker", Seen)
    with pytest.raises(KeyboardInterrupt):
        run(three, stop, ahead=True)
    assert len(started) == 2
    assert all(worker.process.poll() is not None for worker in started)
    assert not any(worker.folder.exists() for worker in started)


def test_a_waiting_one_that_died_costs_its_own_cells_only(fake, three, monkeypatch):
    def die(mode, case):
        if mode == "fake.a":
            held[-1].kill()

    held = []

    class Seen(Worker):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            held.append(self)

    monkeypatch.setattr(schedule, "Worker", Seen)
    run(three, die, ahead=True)
    statuses = {
        task.mode.name: {cell["status"] for cell in check_capture(fake.folder, task.mode.name).cells.values()}
        for task in three
    }
    assert statuses["fake.a"] == statuses["fake.c"] == {"ok"}
    assert statuses["fake.b"] == {"error"}
