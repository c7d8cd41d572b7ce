"""The guide's example does what the guide says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from precision.__main__ import main

GUIDE = Path(__file__).parents[2] / "docs" / "trace.md"


def test_example_of_the_guide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
    *models, example, gradients = blocks
    for name, text in zip(("a.py", "b.py"), models, strict=True):
        (tmp_path / name).write_text(text)
    (tmp_path / "example.py").write_text(example + gradients)
    environment = {"PYTHONPATH": str(GUIDE.parents[1]), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 (batch_norm) in B 1: semantics, eps: A 1e-05, B 0.001")
    assert done.stdout.count("rounding") >= 2
    assert "\n1 (batch_norm) in B 1: semantics, eps: A 1e-05, B 0.001 (proved); mend" in done.stdout
    assert done.stdout.count("weight") == 3
    files = [str(tmp_path / name) for name in ("a.py", "b.py")]
    kept = tmp_path / "out"
    assert main(["trace", *files, "--shape", "2,3,8,8", "--json", "-o", str(kept)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first_difference"]["parameter"] == "eps"
    assert (kept / "trace.csv").read_text().startswith("layer_a,layer_b,op")
    assert (kept / "trace.txt").read_text().startswith("first difference: 1 (batch_norm)")
