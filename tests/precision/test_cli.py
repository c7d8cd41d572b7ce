"""The command line on bad input: one line that says the rule, what was given and the mend; status 2."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "everything"], "; got 'everything'; choose one of these"),
        (["run", "smoke", "--modes", "torch.gpu"], "got 'torch.gpu'"),
        (["run", "smoke", "--cases", "conv3d"], "got 'conv3d'"),
        (["run", "smoke", "--timeout", "soon"], "--timeout"),
        (["run", "smoke", "--timeout", "-1"], "above 0 seconds"),
        (["run", "smoke", "--jobs", "0"], "--jobs"),
        (["run", "--fast"], "No such option: --fast"),
        (["rnu"], "No such command 'rnu'"),
        (["score", "nowhere"], "there is no nowhere"),
        (["render", "nowhere"], "nowhere"),
        (["score"], "Missing argument 'folder'"),
        (["run", "smoke", "--inputs", "nowhere"], "inputs.json"),
    ],
)
def test_bad_usage(precision_command, tmp_path, arguments, words):
    done = precision_command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("precision: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_output_that_holds_something_else(precision_command, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = precision_command("report", "smoke", "-o", str(tmp_path))
    assert done.returncode == 2
    assert "holds something else; name another folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    file = tmp_path / "notes.txt"
    assert "is a file" in precision_command("run", "smoke", "-o", str(file)).stderr


def test_help_and_version(precision_command):
    assert precision_command("--version").stdout.startswith("precision ")
    assert precision_command().returncode == 0
    assert "Status 1" in precision_command("report", "--help").stdout


@pytest.fixture
def copy(real_report, tmp_path):
    shutil.copytree(real_report[0], tmp_path / "copy")
    return tmp_path / "copy"


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip_a_byte(folder):
    path = folder / "captures/torch.cpu/smoke-linear.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def manifest(folder):
    return folder / "captures/torch.cpu/manifest.json"


BROKEN = {
    "changed byte": (flip_a_byte, "its bytes have changed"),
    "newer capture": (lambda f: edit(manifest(f), lambda c: c.update(schema=9)), "newer than this version"),
    "newer run": (lambda f: edit(f / "run.json", lambda c: c.update(schema=9)), "newer than this version"),
    "older run": (lambda f: edit(f / "run.json", lambda c: c.update(schema=0)), "older than this version"),
    "missing file": (
        lambda f: (f / "captures/torch.cpu/smoke-linear.safetensors").unlink(),
        "lacks smoke-linear.safetensors",
    ),
    "leads out": (
        lambda f: edit(manifest(f), lambda c: c["cells"]["smoke-linear"].update(file="../../run.json")),
        "leads out of it",
    ),
    "another declaration": (
        lambda f: edit(manifest(f), lambda c: c["cells"]["smoke-linear"].update(fingerprint="0")),
        "another declaration of case smoke-linear",
    ),
    "unknown case": (lambda f: edit(f / "run.json", lambda c: c["cases"].append("x")), "names 'x'"),
    "another mode": (
        lambda f: (
            shutil.rmtree(f / "captures/tensorflow.cpu"),
            (f / "captures/torch.cpu").rename(f / "captures/tensorflow.cpu"),
        ),
        "holds 'torch.cpu'",
    ),
    "other switches": (
        lambda f: edit(manifest(f), lambda c: c["asked"].update(threads=1)),
        "is made with its mode's switches",
    ),
    "unknown suite": (lambda f: edit(f / "run.json", lambda c: c.update(suite="x")), "a suite is one of"),
    "not JSON": (lambda f: (f / "run.json").write_text("{"), "must be readable JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_capture_is_refused_and_nothing_is_overwritten(precision_command, copy, name):
    damage, words = BROKEN[name]
    damage(copy)
    before = contents(copy)
    done = precision_command("score", str(copy))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(copy) == before


@pytest.mark.parametrize("name", ["changed byte", "newer capture", "newer run", "missing file", "leads out"])
def test_a_broken_capture_is_not_gone_on_with(precision_command, copy, name):
    BROKEN[name][0](copy)
    before = contents(copy)
    done = precision_command("run", "smoke", "-o", str(copy), "--modes", "torch.cpu")
    assert done.returncode == 2
    assert BROKEN[name][1] in done.stderr
    after = contents(copy)
    after.pop(copy / ".lock", None)
    before.pop(copy / ".lock", None)
    assert after == before


def test_results_of_another_schema_are_refused(precision_command, copy):
    edit(copy / "results/run.json", lambda content: content.update(schema=9))
    done = precision_command("render", str(copy))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_results_older_than_their_captures_are_said_to_be(precision_command, copy):
    assert "changed since they were scored" not in precision_command("render", str(copy)).stderr
    edit(manifest(copy), lambda content: content.update(reason="edited"))
    assert "changed since they were scored" in precision_command("render", str(copy)).stderr


def test_nothing_measured_is_a_report_that_says_so(precision_command, tmp_path):
    done = precision_command(
        "report", "smoke", "-o", str(tmp_path / "r"), "--timeout", "0.01", "--modes", "torch.cpu"
    )
    assert done.returncode == 1
    assert (tmp_path / "r/index.html").stat().st_size > 0
    assert "Nothing could be judged" in done.stdout


def test_a_folder_that_cannot_be_written_is_one_line(precision_command):
    done = precision_command("run", "smoke", "-o", "/proc/precision", "--modes", "torch.cpu")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_of_the_program_is_not_a_finding(monkeypatch, capsys):
    from precision import __main__
    from precision.cli import app

    monkeypatch.setattr(app, "choose", lambda *_: 1 / 0)
    assert __main__.main(["run", "smoke"]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(copy):
    import subprocess
    import sys

    line = f"{sys.executable} -m precision render {copy} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
