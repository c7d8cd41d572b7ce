"""A capture that does not fit is refused in one line with status 2, by every command that reads it."""

from __future__ import annotations

import json
import shutil

import pytest

from precision import runner
from precision.__main__ import main
from precision.cases import load_suite
from precision.modes import MODES

CASE = "smoke-linear"


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "run"
    cases = [case for case in load_suite("smoke") if case.id == CASE]
    runner.run(folder, "smoke", cases, [mode for mode in MODES if mode.name == "torch.cpu.threads1"])
    return folder


@pytest.fixture
def run_folder(captured, tmp_path):
    """A copy of a good run, to be spoilt."""
    return shutil.copytree(captured, tmp_path / "run")


def manifest(folder):
    return folder / "captures" / "torch.cpu.threads1" / "manifest.json"


def edited(change):
    def edit(folder):
        path = manifest(folder)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def tensors(folder):
    return manifest(folder).with_name(f"{CASE}.safetensors")


def change_a_byte(folder):
    content = bytearray(tensors(folder).read_bytes())
    content[-1] ^= 1
    tensors(folder).write_bytes(content)


def other_schema_of_the_run(folder):
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))


SPOILT = {
    "a newer schema": (edited(lambda c: c.update(schema=99)), "is of schema 99, newer than this version's"),
    "an older schema": (edited(lambda c: c.update(schema=0)), "is of schema 0, older than this version's"),
    "a newer run": (
        other_schema_of_the_run,
        "is of schema 99, newer than this version's 1; update precision",
    ),
    "a missing file": (lambda f: tensors(f).unlink(), f"lacks {CASE}.safetensors of case {CASE}"),
    "a changed file": (change_a_byte, "its bytes have changed"),
    "no manifest's end": (lambda f: manifest(f).write_text('{"schema": 2'), "must be readable JSON"),
    "another suite version": (
        edited(lambda c: c["cells"][CASE].update(fingerprint="0" * 64)),
        f"was made for another declaration of case {CASE}",
    ),
    "a switch that did not take": (
        edited(lambda c: c["read_back"].update(threads=2)),
        "threads was asked 1 and read back 2; capture again",
    ),
    "other switches": (edited(lambda c: c["asked"].update(threads=7)), "was made with {'threads': 7}"),
    "another mode": (edited(lambda c: c.update(mode="torch.cpu")), "holds 'torch.cpu'; move it back"),
}


@pytest.fixture
def command(capsys):
    """The command line, in this process: its status and what it complains of."""

    def run(*arguments):
        status = main(arguments)
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize("what", SPOILT)
def test_a_capture_that_does_not_fit_is_refused_in_one_line(run_folder, command, what):
    spoil, words = SPOILT[what]
    spoil(run_folder)
    status, complaint = command("score", str(run_folder))
    assert status == 2
    (line,) = [line for line in complaint.splitlines() if not line.startswith("score")]
    assert line.startswith("precision: ")
    assert words in line


def test_the_good_capture_is_not_refused(run_folder, command):
    assert command("score", str(run_folder))[0] == 0


@pytest.mark.parametrize("what", ["a newer schema", "a missing file", "a changed file"])
def test_orders_are_not_revealed_from_a_capture_that_does_not_fit(run_folder, command, what):
    spoil, words = SPOILT[what]
    spoil(run_folder)
    status, complaint = command("reveal", "--from", str(run_folder))
    assert status == 2
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reveal", "--from", "RUN"], "from the order probes of suite gpu"),
        (["reveal", "--from", "RUN/nowhere"], "has neither; check the path"),
        (["reveal", "linear", "--from", "RUN"], "leave these out"),
    ],
)
def test_orders_need_order_probes(run_folder, command, arguments, words):
    status, complaint = command(*(each.replace("RUN", str(run_folder)) for each in arguments))
    assert status == 2
    assert words in complaint
