"""The two example models, run in the run's own modes: torch in the first one that can, TensorFlow "
"likewise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.inputs import Array
from precision.live import KernelError, Live
from precision.requirements import missing
from precision.studies.example_files import example_folder
from precision.studies.material import Material
from precision.studies.wide import PARTS, joined

Float32 = NDArray[np.float32]
Outputs = dict[str, NDArray[Any]]
Notes = dict[str, Any]

EXAMPLES = example_folder("wgan")
FILES = {"torch": "torch_model.py", "tensorflow": "keras_model.py"}
VERSION = 1
"""Of what is measured: another one makes kept figures stale."""
_MODULE = "precision.studies.wgan_worker"
_TIMEOUT = 600.0


def uniform(name: str, *shape: int) -> Float32:
    """An input, uniform on [0, 1): the same bits on every machine."""
    return Array(shape, "uniform").make(f"wgan/{name}")


class Models:
    """Both models, each in a process that starts when it is first asked.  Raises `CannotRun` without them."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self._processes: dict[str, _Asking] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.close()

    def mode(self, framework: str) -> str:
        """The mode of that framework whose figures are shown."""
        names = [each.name for each in self.material.modes.values() if each.framework == framework]
        if not names:
            raise CannotRun(f"no mode of {framework} was asked for")
        able = [name for name in names if not missing(self.material.modes[name])]
        return (able or names)[0]

    def run(self, framework: str, what: str, x: Float32, **given: Any) -> Outputs:
        """What the example's `run(what, given, x)` returns in that framework, by name."""
        process = self._process(framework)
        found = process.ask(what, {"file": str(file_of(framework)), "given": given}, {"input": x})
        names = dict.fromkeys(name.rpartition(".")[0] if _is_part(name) else name for name in found)
        return {name: found[name] if name in found else joined(name, found) for name in names}

    def figures(self, row: str, make: Callable[[Models], Notes], **key: Any) -> Notes:
        """The notes that `make` returns, kept in the run folder; key: what else they depend on."""
        asked = {
            **key,
            "row": row,
            "modes": [self.mode(framework) for framework in FILES],
            "examples": digest(),
            "version": VERSION,
        }
        arrays = {"none": np.zeros(1, np.float32)}
        _, notes = self.material.kept("a row of the wgan study", asked, lambda: (arrays, make(self)))
        return notes

    def _process(self, framework: str) -> _Asking:
        known = self._processes.get(framework)
        if known is None or not known.alive:
            known = self._processes[framework] = _Asking(self.mode(framework), _TIMEOUT)
        return known


class _Asking(Live):
    """A live framework that is asked for parts of the example."""

    def ask(self, what: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
        return self._call({"op": what, "params": dict(params), "module": _MODULE, "function": "call"}, arrays)


def file_of(framework: str) -> Path:
    """The example's file.  Raises `CannotRun` where the examples are not there."""
    path = EXAMPLES / FILES[framework]
    if not path.is_file():
        raise CannotRun(f"the models of this study are an example; {path} is not there")
    return path


def digest() -> str:
    """SHA-256 over the example's files."""
    every = hashlib.sha256()
    for framework in FILES:
        file_of(framework)
    for path in sorted(EXAMPLES.glob("*.py")):
        every.update(path.name.encode() + path.read_bytes())
    return every.hexdigest()


def _is_part(name: str) -> bool:
    return name.rpartition(".")[2] in PARTS and "." in name


__all__ = ["CannotRun", "KernelError", "Models", "Notes", "digest", "uniform"]
