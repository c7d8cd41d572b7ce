"""`precision invariance`: what it prints and writes, its status, and bad input."""

from __future__ import annotations

import json

import pytest


def test_a_real_mode_is_asked_and_written(precision_command, tmp_path):
    done = precision_command(
        "invariance", "smoke", "--modes", "torch.cpu,torch.cuda.ieee", "--cases", "smoke-linear", "--factors",
        "repeats,batch,memory format", "--repeats", "3", "-o", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    by = {(row["mode"], row["factor"]): row for row in rows}
    assert by["torch.cpu", "repeats"]["distinct"] == 1
    assert by["torch.cpu", "repeats"]["groups"] == [0, 0, 0]
    assert len(by["torch.cpu", "batch"]["groups"]) == 4
    assert by["torch.cpu", "memory format"]["status"] == "not applicable"
    names = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert names == ["invariance.csv", "invariance.html", "invariance.parquet"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--factors", "speed"], "got 'speed'"),
        (["--threads", "two"], "got 'two'"),
        (["--modes", "torch.gpu"], "got 'torch.gpu'"),
        (["--cases", "conv9d"], "got 'conv9d'"),
    ],
)
def test_bad_usage(precision_command, tmp_path, arguments, words):
    done = precision_command("invariance", "smoke", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run(precision_command, tmp_path):
    done = precision_command("invariance", str(tmp_path))
    assert done.returncode == 2
    assert "run.json" in done.stderr
