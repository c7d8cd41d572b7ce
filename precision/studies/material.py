"""What a study explains its rows with: a run's cases, truths, judgements and outputs, and experiments.

    material.output("conv2d-even", "torch.cpu")           the captured output (data variant)
    material.truth("conv2d-even")                         its certified truth
    material.score("conv2d-even", "torch.cpu")            its row of `reports.schema.SCORES`
    material.causes("conv2d-even", "torch.cpu")           its rows of `reports.schema.BUDGETS`, largest first
    material.modes_of("conv2d-even", "torch")             the modes that gave an output, default first
    material.live("torch.cpu").call(op, params, arrays, module=..., function=...)    an experiment
    material.kept("trace of the generator", key, make)    any other work whose result is arrays and notes

Experiments are calls that are no cases.  Each is kept in the run folder under a digest of all that it
depends on, so that `precision score` gives the same rows again, also on a machine without the framework:

    DIR/study/DIGEST.safetensors    the arrays
    DIR/study/DIGEST.json           what was asked, the notes, the versions, the SHA-256 of the arrays

What a run lacks raises `CannotRun` with the reason, which `precision.studies.row.made` turns into a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from precision.capture import Capture, read_json, read_tensors, write_atomically, write_tensors
from precision.cases import Case
from precision.errors import CannotRun
from precision.judging.judgement import Reference, Row
from precision.live import Live
from precision.modes import Mode
from reference import Truth

Float32 = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]

SCHEMA = 1
FOLDER = "study"


class Material:
    """All that the rows of a study are made from; see the module's text.

    references, scores, budgets: of the cases that were asked for; captures: by mode, of those asked for.
    """

    def __init__(
        self,
        folder: Path,
        references: Mapping[str, Reference],
        scores: Sequence[Row],
        budgets: Sequence[Row],
        modes: Sequence[Mode],
        captures: Mapping[str, Capture],
    ) -> None:
        self.folder = folder
        self.references = references
        self.modes = {mode.name: mode for mode in modes}
        self.captures = captures
        self._scores = {(row["case"], row["mode"]): row for row in scores}
        self._budgets = list(budgets)
        self._lives: dict[str, StudyLive] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for live in self._lives.values():
            live.close()

    def case(self, case: str) -> Case:
        """The case of that id.  Raises `CannotRun` where it was not asked for."""
        return self.reference(case).case

    def reference(self, case: str) -> Reference:
        """Truth, bounds and arrays of a case.  Raises `CannotRun` where it was not asked for."""
        if case not in self.references:
            raise CannotRun(f"case {case} was not asked for")
        return self.references[case]

    def truth(self, case: str) -> Truth:
        """The certified truth of a case (data variant)."""
        return self.reference(case).truth

    def score(self, case: str, mode: str) -> Row:
        """The row of `reports.schema.SCORES`.  Raises `CannotRun` where the mode gave no output."""
        self.reference(case)
        row = self._scores.get((case, mode))
        if row is None:
            raise CannotRun(f"mode {mode} was not asked for")
        if row["verdict"] in ("not run", "error"):
            raise CannotRun(f"{mode}: {row['reason']}")
        return row

    def causes(self, case: str, mode: str) -> list[Row]:
        """The rows of `reports.schema.BUDGETS`, by falling share; those of an exact output have none."""
        self.score(case, mode)
        found = [row for row in self._budgets if (row["case"], row["mode"]) == (case, mode)]
        return sorted(found, key=lambda row: -abs(row["share"] or 0.0))

    def output(self, case: str, mode: str, variant: str = "data") -> Float32:
        """The captured output, whole.  Raises `CannotRun` where the mode gave none."""
        self.score(case, mode)
        return self.captures[mode].outputs(case)[variant]

    def modes_of(self, case: str, framework: str = "") -> list[str]:
        """The modes (of a framework) in which a case has an output, in the order of the run.

        Raises `CannotRun`, with the first reason, where there is none.
        """
        self.reference(case)
        asked = [mode.name for mode in self.modes.values() if mode.framework.startswith(framework)]
        found, reasons = [], []
        for mode in asked:
            try:
                self.score(case, mode)
            except CannotRun as reason:
                reasons.append(str(reason))
            else:
                found.append(mode)
        if not found:
            which = f"no mode of {framework}" if framework else "no mode"
            raise CannotRun(reasons[0] if reasons else f"{which} was asked for")
        return found

    def live(self, mode: str) -> StudyLive:
        """The experiments of a mode.  Raises `CannotRun` where the mode was not asked for."""
        if mode not in self.modes:
            raise CannotRun(f"mode {mode} was not asked for")
        if mode not in self._lives:
            self._lives[mode] = StudyLive(self, mode)
        return self._lives[mode]

    def kept(
        self,
        what: str,
        key: Mapping[str, Any],
        make: Callable[[], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]],
    ) -> tuple[Tensors, dict[str, Any]]:
        """The arrays and notes (JSON) of a piece of work: read where it was kept, else made and kept.

        what: in a few words; key: JSON data that name all it depends on (the bytes of input arrays through
        `digest_of`).  What `make` raises passes, and nothing is kept.
        """
        asked = {"what": what, **key}
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        place = self.folder / FOLDER
        if (place / f"{name}.json").is_file():
            known = read_json(place / f"{name}.json", "an experiment", SCHEMA)
            return read_tensors(place, f"{name}.safetensors", str(known["sha256"])), dict(known["notes"])
        arrays, notes = make()
        place.mkdir(parents=True, exist_ok=True)
        sha256 = write_tensors(place / f"{name}.safetensors", dict(arrays))
        content = {"schema": SCHEMA, "asked": asked, "notes": dict(notes), "sha256": sha256}
        write_atomically(place / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
        # As a later run reads them: there, a number is an array of one element.
        return read_tensors(place, f"{name}.safetensors", sha256), dict(notes)


class StudyLive:
    """Experiments in one mode: calls of a driver module's function, each kept.  The process starts late."""

    def __init__(self, material: Material, mode: str) -> None:
        self._material, self.mode = material, mode
        self._process: _Asking | None = None

    def call(
        self,
        op: str,
        params: Mapping[str, Any],
        arrays: Mapping[str, Float32],
        module: str = "",
        function: str = "run",
    ) -> dict[str, Float32]:
        """The arrays that `function(op, params, arrays)` of a driver module returns.

        module: a module under `precision.frameworks`; "" is the framework's backend, whose `run` gives
        {"output": ...}.  params: JSON data; arrays: float32, also the answers.  Raises `CannotRun` where the
        mode cannot run here and the answer was not kept, `KernelError` where the call failed.
        """
        key = {
            "mode": self.mode,
            "module": module,
            "function": function,
            "op": op,
            "params": dict(params),
            "arrays": digest_of(arrays),
        }

        def ask() -> tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]:
            if self._process is None or not self._process.alive:
                self._process = _Asking(self.mode)
            answer = self._process.ask(op, params, arrays, module, function)
            return answer, {"versions": dict(self._process.versions)}

        return self._material.kept(f"{op} in {self.mode}", key, ask)[0]

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()


class _Asking(Live):
    """A live framework that is asked for functions of any driver module."""

    def ask(
        self, op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32], module: str, function: str
    ) -> dict[str, Float32]:
        call: dict[str, Any] = {"op": op, "params": dict(params), "function": function}
        if module:
            call["module"] = module
        return self._call(call, arrays)


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes of arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{np.shape(arrays[name])};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
