"""What is installed: the wheel holds the models that the studies run, and the studies find them there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from precision.studies import example_files
from precision.studies.example_files import CHECKOUT, INSTALLED, example_folder

ROOT = Path(__file__).parent.parent
EXAMPLES = ("wgan", "detnet")


def test_the_examples_are_found_in_the_checkout() -> None:
    for name in EXAMPLES:
        assert example_folder(name) == CHECKOUT / name == ROOT / "examples" / name
        assert list(example_folder(name).glob("*.py"))


def test_installed_copies_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_files, "INSTALLED", tmp_path)
    (tmp_path / "wgan").mkdir()
    assert example_folder("wgan") == tmp_path / "wgan"
    assert example_folder("detnet") == CHECKOUT / "detnet"


def test_the_build_puts_the_examples_where_they_are_looked_for() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    included = built["targets"]["wheel"]["force-include"]
    place = INSTALLED.relative_to(ROOT).as_posix()
    assert included == {f"examples/{name}": f"{place}/{name}" for name in EXAMPLES}


@pytest.mark.slow
def test_the_wheel_runs_its_studies_without_the_source_tree(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if built.returncode != 0 and "hatchling" in built.stderr:
        pytest.skip("the build needs hatchling, which cannot be fetched here")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    for name in EXAMPLES:
        for path in (ROOT / "examples" / name).glob("*.py"):
            assert f"precision/studies/models/{name}/{path.name}" in names
    assert not any(name.startswith(("tests/", "examples/")) or "__pycache__" in name for name in names)
    program = (
        "import precision\n"
        "from precision.studies import detnet_passes, wgan_live\n"
        "print(precision.__file__)\nprint(wgan_live.file_of('torch'))\n"
        "print(detnet_passes.FOLDER, detnet_passes.shared().JOINTS)\n"
    )
    environment = {"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert all(str(unpacked) in line for line in lines)
    assert lines[-1].endswith("models/detnet 21")
