"""The runner: every way a worker can fail costs its own cells only, and what is done is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from precision.errors import UserError
from precision.results import score_run

CONV, EVEN, NORM, LINEAR = "smoke-conv2d-3x3", "smoke-conv2d-even-same", "smoke-layer-norm", "smoke-linear"
ALL = [CONV, EVEN, NORM, LINEAR]


def statuses(fake):
    return {case: cell["status"] for case, cell in fake.cells().items()}


def test_every_cell_is_captured_with_what_it_ran_in(fake):
    assert sorted(fake.run()) == sorted(ALL)
    manifest = fake.manifest()
    assert set(statuses(fake).values()) == {"ok"}
    assert manifest["asked"] == manifest["read_back"] == {"dial": 11}
    assert manifest["versions"]["fake"] == "1.0"
    assert manifest["finished"]
    # Two repeats on the data, and one call on each of the probes.
    assert fake.calls() == dict.fromkeys(ALL, 4)
    assert not (fake.capture / ".work").exists()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("die", "killed by signal 9"),
        ("exit", "exited with status 7"),
        ("raise", "RuntimeError: no kernel for this <op>"),
        ("float64", "float32"),
        ("garbage", "cannot be read"),
        ("hang", "timed out: no answer within 15 s"),
        ("flood", "printed more than"),
    ],
)
def test_a_failing_case_costs_its_own_cell_only(fake, behaviour, words):
    # Long enough for a slow machine to start a worker; only the hanging one has to wait for it.
    done = fake.run({EVEN: behaviour}, timeout=15.0 if behaviour == "hang" else 120.0)
    assert sorted(done) == sorted(ALL)
    assert statuses(fake) == {CONV: "ok", EVEN: "error", NORM: "ok", LINEAR: "ok"}
    assert words in fake.cells()[EVEN]["reason"]
    scores = score_run(fake.folder)["scores"].set_index("case")
    assert scores.loc[EVEN, "verdict"] == "error"
    assert words in scores.loc[EVEN, "reason"]
    assert set(scores["verdict"].drop(EVEN)) <= {"exact", "rounding"}


def test_chatter_on_standard_output_changes_nothing(fake):
    fake.run({CONV: "chatter"})
    assert set(statuses(fake).values()) == {"ok"}
    assert (fake.capture / "worker.log").stat().st_size <= 64 * 1024


def test_two_bad_cases_in_a_row(fake):
    fake.run({CONV: "die", EVEN: "die"})
    assert statuses(fake) == {CONV: "error", EVEN: "error", NORM: "ok", LINEAR: "ok"}


@pytest.mark.parametrize(
    ("start", "status", "words"),
    [
        ("cannot", "not run", "the fake device is not there"),
        ("deaf", "error", "dial: asked 11, read back 'something else'"),
    ],
)
def test_a_mode_that_cannot_be_set_up_is_a_row_with_a_reason(fake, start, status, words):
    fake.run({"start": start})
    manifest = fake.manifest()
    assert manifest["status"] == status
    assert words in manifest["reason"]
    scores = score_run(fake.folder)["scores"]
    assert set(scores["verdict"]) == {status}
    assert all(words in reason for reason in scores["reason"])


def test_a_worker_that_does_not_start_is_an_error_of_all_its_cells(fake):
    fake.run({"start": "exit"})
    assert set(statuses(fake).values()) == {"error"}
    assert all("the fake framework gives up" in str(cell["reason"]) for cell in fake.cells().values())


def test_a_worker_killed_at_its_start_gets_one_more_chance(fake):
    fake.run({"start": "die once"})
    assert set(statuses(fake).values()) == {"ok"}
    assert "killed" in fake.log.with_suffix(".start").read_text()


def test_a_worker_that_always_dies_at_its_start_is_given_up(fake):
    fake.run({"start": "die"})
    assert set(statuses(fake).values()) == {"error"}
    assert "killed by signal 9" in fake.cells()[CONV]["reason"]


def test_resume_runs_nothing_twice_and_tries_failures_again(fake):
    fake.run({EVEN: "die"})
    calls = fake.calls()
    before = {path.name: path.stat().st_mtime_ns for path in fake.capture.glob("*.safetensors")}
    fake.run()
    after = {path.name: path.stat().st_mtime_ns for path in fake.capture.glob("*.safetensors")}
    assert set(statuses(fake).values()) == {"ok"}
    assert before.items() <= after.items()
    assert fake.calls() == calls | {EVEN: calls[EVEN] + 4}
    fake.run()
    assert fake.calls()[EVEN] == calls[EVEN] + 4


def test_interrupt_keeps_finished_cells(fake):
    def interrupt(mode, case):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.run({EVEN: "hang"}, progress=interrupt)
    assert statuses(fake)[CONV] == "ok"
    assert EVEN not in statuses(fake)
    calls = fake.calls()
    fake.run()
    assert set(statuses(fake).values()) == {"ok"}
    assert fake.calls()[CONV] == calls[CONV]


# A shell starts what runs in the background with Ctrl-C ignored: the driver takes it, however it was started.
DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {here!r})
import pytest
from conftest import Fake
from pathlib import Path
with pytest.MonkeyPatch.context() as patch:
    try:
        Fake(Path({folder!r}), patch).run({{"smoke-conv2d-even-same": "hang"}})
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_parent_ends_the_worker_and_keeps_what_is_done(fake, tmp_path, kill):
    here = os.path.dirname(__file__)
    script = DRIVER.format(here=here, folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while fake.calls().get(EVEN, 0) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = _worker_of(parent.pid)
    parent.send_signal(kill)
    assert parent.wait(30) == (130 if kill == signal.SIGINT else -kill)
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")
    calls = fake.calls()
    fake.run()
    assert set(statuses(fake).values()) == {"ok"}
    assert fake.calls()[CONV] == calls[CONV]


def _worker_of(parent: int) -> int:
    with open(f"/proc/{parent}/task/{parent}/children") as children:
        return int(children.read().split()[0])


def test_answers_that_a_killed_parent_left_behind_are_not_run_again(fake):
    fake.run()
    calls = fake.calls()
    # As a parent leaves it that is killed between a worker's answer and its collection.
    manifest = fake.manifest()
    answer = manifest["cells"].pop(NORM)
    work = fake.capture / ".work"
    work.mkdir()
    (fake.capture / f"{NORM}.safetensors").rename(work / f"{NORM}.safetensors")
    (work / "start.json").write_text(
        json.dumps({"status": "run", "read_back": manifest["read_back"], "versions": manifest["versions"]})
    )
    (work / f"{NORM}.json").write_text(json.dumps(answer))
    (fake.capture / "manifest.json").write_text(json.dumps(manifest))
    fake.run()
    assert set(statuses(fake).values()) == {"ok"}
    assert fake.calls() == calls


def test_cells_of_other_settings_are_not_mixed(fake):
    fake.run({EVEN: "die"})
    path = fake.capture / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["read_back"]["threads"] = 1
    path.write_text(json.dumps(manifest))
    fake.run()  # the fake driver reads no threads back: nothing to compare
    manifest = json.loads(path.read_text())
    manifest["cells"].pop(EVEN)
    manifest["read_back"]["dial"] = 12
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="made with dial 12, now it is 11"):
        fake.run()


def test_a_run_of_another_declaration_is_refused_before_anything_runs(fake):
    fake.run()
    calls = fake.calls()
    path = fake.capture / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["cells"][CONV]["fingerprint"] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="another declaration of case smoke-conv2d-3x3"):
        fake.run()
    assert fake.calls() == calls


def test_a_call_that_does_not_repeat_itself_is_judged_by_its_worse_result(fake):
    fake.run({LINEAR: "first call off"})
    scores = score_run(fake.folder)["scores"].set_index("case")
    assert scores.loc[LINEAR, "repeat_distinct"] == 2
    assert scores.loc[LINEAR, "error_abs_max"] >= 999
    assert scores.loc[LINEAR, "verdict"] == "unexplained"
    assert scores.loc[LINEAR, "reason"].startswith("2 different results")


def test_a_real_time_signal_is_only_a_cell_lost(fake):
    fake.run({EVEN: "signal 36"})
    assert "killed by signal 36" in fake.cells()[EVEN]["reason"]
    assert statuses(fake)[LINEAR] == "ok"


def test_two_runs_on_one_folder_are_refused(fake):
    def second(mode, case):
        with pytest.raises(UserError, match="one run at a time"):
            fake.run(progress=lambda mode, case: None)

    fake.run(progress=second)


def test_a_folder_that_holds_something_else_is_left_alone(fake, tmp_path):
    fake.folder.mkdir()
    (fake.folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"):
        fake.run()
    assert [path.name for path in fake.folder.iterdir()] == ["thesis.tex"]


def test_a_folder_of_another_suite_is_left_alone(fake):
    fake.run()
    path = fake.folder / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps(run | {"suite": "default", "cases": []}))
    before = path.read_bytes()
    with pytest.raises(UserError, match="holds one suite"):
        fake.run()
    assert path.read_bytes() == before


def test_cells_of_another_environment_are_not_mixed(fake):
    fake.run({EVEN: "die"})
    path = fake.capture / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["versions"]["distribution numpy"] = "0.1"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"made with distribution numpy 0\.1"):
        fake.run()


@pytest.mark.parametrize("option", [{"timeout": 0.0}, {"timeout": float("nan")}, {"jobs": 0}])
def test_options_out_of_range(fake, option):
    with pytest.raises(UserError):
        fake.run(**option)
    assert not fake.folder.exists()


def test_the_users_shell_cannot_change_a_mode(fake, monkeypatch):
    from precision.process import worker_environment

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = worker_environment(fake.mode)
    assert not {"ONEDNN_MAX_CPU_ISA", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS"} & set(found)


def test_two_workers_at_a_time_give_the_same(fake):
    fake.run(jobs=2)
    assert set(statuses(fake).values()) == {"ok"}
