"""The house: which package may import which, what stays unloaded, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("reference", "precision", "reports")
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax"}
PLOTTING = {"matplotlib", "seaborn"}


def imports(source: str) -> list[tuple[str, bool]]:
    """Return (top-level module, whether it is imported at module level) of every import."""
    tree = ast.parse(source)
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
        found += [(name.split(".")[0], id(node) not in late) for name in names]
    return found


def violations(path: str, source: str) -> list[str]:
    """Return what is wrong with the imports of one file, in words."""
    package = path.split("/", maxsplit=1)[0]
    wrong = []
    for name, early in imports(source):
        if package == "reference" and name in {"precision", "reports", "pandas"} | FRAMEWORKS | PLOTTING:
            wrong.append(f"{path} imports {name}")
        if package == "reports" and name in {"precision", "reference"} | FRAMEWORKS:
            wrong.append(f"{path} imports {name}")
        if package == "precision" and name == "reports" and (early or not path.startswith("precision/cli/")):
            wrong.append(f"{path} imports reports; only the command line does, inside a function")
        if name in FRAMEWORKS and not path.startswith("precision/frameworks/"):
            wrong.append(f"{path} imports {name}")
        if name in PLOTTING and path != "reports/plots.py" and early:
            wrong.append(f"{path} imports {name} at once")
    return wrong


FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_package_reaches_the_wrong_way():
    wrong = [
        line for path in FILES for line in violations(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("reference/conv.py", "import torch"),
        ("reference/conv.py", "def f():\n    from precision.cases import Case"),
        ("reports/page.py", "from reference import Truth"),
        ("precision/score.py", "import reports"),
        ("precision/cli/app.py", "from reports import render"),
        ("precision/worker.py", "import tensorflow as tf"),
        ("reports/page.py", "import matplotlib.pyplot as plt"),
    ],
)
def test_the_check_rejects_a_planted_import(path, source):
    assert violations(path, source)


@pytest.mark.parametrize("package", [*PACKAGES, "precision.cli.app", "precision.results"])
def test_importing_loads_no_framework_and_no_plots(package):
    heavy = FRAMEWORKS | PLOTTING
    code = f"import sys, {package}; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_capturing_needs_only_numpy_and_safetensors():
    code = "import sys, precision.worker, precision.runner; print(' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in found.stdout.split()}
    assert not loaded & {"reference", "reports", "pandas", "numba", "mpmath", "typer", "rich", "pyarrow"}


def test_files_stay_readable():
    long = {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}
    assert not [path for path in FILES if path.name == "utils.py"]
