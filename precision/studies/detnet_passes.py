"""Passes of the study's models: the outputs of some of their calls, in any mode, whatever is changed in them.

The models are examples of use, outside of the package: `examples/detnet`.  They run in processes of their
own, as in `precision.trace`; here only their arrays of names and weights are read, which need NumPy alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun, UserError
from precision.studies.example_files import example_folder
from precision.tracing.process import TraceProcess

Float32 = NDArray[np.float32]

FOLDER = example_folder("detnet")
FILES = {"torch": "torch_model.py", "tensorflow": "keras_model.py"}
_CANDIDATES = "torch_candidates.py"
STAGE_CALLS = {
    "conv1": "relu1",
    "block1": "block1.2.relu",
    "block2": "block2.3.relu",
    "block3": "block3.5.relu",
    "squeeze": "relu2",
    "hmap": "heat",
    "dmap": "dmap.predict",
    "lmap": "lmap.predict",
}
"""The call whose output is a stage's map; both frameworks' models have the same names."""
_REQUEST: Mapping[str, Any] = {"kinds": ["float32"], "turn": True, "seed": 0}


@cache
def shared() -> Any:
    """The module of weights and pictures that both models use.  Raises CannotRun where it is not there."""
    path = FOLDER / "detnet_weights.py"
    specification = importlib.util.spec_from_file_location("detnet_weights", path)
    if not path.is_file() or specification is None or specification.loader is None:
        raise CannotRun(f"the models are an example, examples/detnet of the source tree; {path} is not there")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def source_digest(candidates: bool = True) -> str:
    """SHA-256 of the models' files, with the candidates' or without: what is kept holds for these files."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.py")):
        if path.name == _CANDIDATES and not candidates:
            continue
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def model_file(body: str) -> Iterator[Path]:
    """A model file of its own whose `model()` runs `body`, beside the examples."""
    with tempfile.TemporaryDirectory(prefix="precision-detnet-") as folder:
        path = Path(folder) / "changed.py"
        path.write_text(
            f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\n\n\ndef model():\n    {body}\n",
            encoding="utf-8",
        )
        yield path


class Passes:
    """`with Passes("torch.cpu") as passes: passes.run(path, {"in0": x}, ["relu1"])`.

    Raises CannotRun, with the reason, where the mode cannot run here or a model does not run.
    """

    def __init__(self, mode: str) -> None:
        shared()
        self._process = TraceProcess(FOLDER, mode, "A")

    def __enter__(self) -> Passes:
        try:
            self._process.ready()
        except UserError as error:
            self._process.close()
            raise CannotRun(str(error)) from None
        except BaseException:
            self._process.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._process.close()

    def run(self, file: Path, given: Float32, calls: Sequence[str]) -> dict[str, Float32]:
        """The outputs of those calls, channels first; given: the input, channels first."""
        try:
            return self._run(file, given, calls)
        except UserError as error:
            raise CannotRun(str(error)) from None

    def _run(self, file: Path, given: Float32, calls: Sequence[str]) -> dict[str, Float32]:
        self._process.ask({"do": "load", "file": str(file)})
        arrays = {"in0": np.ascontiguousarray(given)}
        head, _ = self._process.ask({"do": "describe", **_REQUEST}, arrays)
        # What a change adds before a layer bears the layer's name too: the last of them is the layer.
        index = {str(call["name"]).partition("#")[0]: k for k, call in enumerate(head["calls"])}
        found: dict[str, Float32] = {}

        def answer(head: Mapping[str, Any], arrays: Mapping[str, Float32]) -> tuple[dict[str, Any], Any]:
            found[calls[int(head["unit"])]] = arrays["output"]
            return {}, {}

        units = [[index[call]] for call in calls]
        self._process.run({"do": "run", "kind": "ordinary", "units": units, **_REQUEST}, arrays, answer)
        return found

    def own(self, framework: str, given: Float32, net: str, calls: Sequence[str]) -> dict[str, Float32]:
        """The same of the framework's own model as it is; net: detnet or iknet."""
        name = FILES[framework].removesuffix(".py")
        with model_file(f"import {name}\n    return {name}.{net}()") as path:
            return self.run(path, given, calls)

    def changed(self, candidate: str, given: Float32, net: str, calls: Sequence[str]) -> dict[str, Float32]:
        """The same of the torch model with one thing changed, by its name in `torch_candidates`."""
        with model_file(
            f"import torch_candidates\n    return torch_candidates.candidate({candidate!r}, {net!r})"
        ) as path:
            return self.run(path, given, calls)
