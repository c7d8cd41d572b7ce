"""The far end of `precision.tracing.process`: one model in one mode.

`python -m precision.tracing.worker IN OUT`.

IN and OUT are file descriptors; messages are those of `precision.serve`. After the mode is set up the parent
asks: `load` a model file, `inputs` of it, `describe` its calls, its `weights`, `assign` them, `run` a pass,
`gradients` of every unit by itself, `total_gradients` of the model as a whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Float32
from precision.serve import configured, receive, send
from precision.tracing import autograd
from precision.tracing.tape import Tape, TraceError
from precision.worker import one_line

_BACKEND, _TRACE = "_backend", "_trace"


def main(source: BinaryIO, target: BinaryIO) -> int:
    """Set the mode up, then answer until the parent closes its end."""
    backend = configured(source, target)
    if backend is None:
        return 0
    host = Host(importlib.import_module(backend.__name__.replace(_BACKEND, _TRACE)), source, target)
    while True:
        head, arrays = receive(source)
        if not head:
            return 0
        try:
            answer, results = getattr(host, f"do_{head['do']}")(head, arrays)
        except Disconnected:
            return 0
        except TraceError as error:
            send(target, {"status": "refused", "reason": str(error)})
        except Exception as error:
            # Whatever the user's own code raises is the answer to that request.
            send(
                target,
                {"status": "error", "reason": _plain(one_line(error)), "where": _where(error, host.file)},
            )
        else:
            send(target, {"status": "ok", **answer}, results)


class Disconnected(Exception):
    """The parent went away in the middle of a pass."""


class Host:
    """A model and what its passes need."""

    def __init__(self, framework: Any, source: BinaryIO, target: BinaryIO) -> None:
        self.framework, self.source, self.target = framework, source, target
        self.file = ""
        self.module: Any = None
        self.model: Any = None
        self.weights: list[Mapping[str, Any]] = []
        self.expected: list[dict[str, Any]] = []

    def do_load(self, head: Mapping[str, Any], _: Any) -> tuple[dict[str, Any], dict[str, Float32]]:
        """Run the model file, and its `model()`."""
        path = Path(head["file"])
        self.file = str(path)
        sys.path.insert(0, str(path.parent))
        # As if the file were run by itself; and a model draws the same weights every time.
        sys.argv = [str(path)]
        self.framework.seeded(int(head.get("seed", 0)))
        specification = importlib.util.spec_from_file_location(f"traced_{path.stem}", path)
        if specification is None or specification.loader is None:
            raise TraceError(f"a model file is a Python file; {path} cannot be loaded; name it *.py")
        self.module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = self.module
        specification.loader.exec_module(self.module)
        if not callable(getattr(self.module, "model", None)):
            raise TraceError(
                f"a model file defines model(), which returns the model; {path} has none; add it"
            )
        self.model = self.framework.Model(self.module.model(), f"{path}: model()")
        return {
            "shape": self.model.default_shape(),
            "has_inputs": callable(getattr(self.module, "inputs", None)),
            "notes": self.model.notes(),
        }, {}

    def do_inputs(self, head: Mapping[str, Any], _: Any) -> tuple[dict[str, Any], dict[str, Float32]]:
        """What the file's own `inputs()` returns."""
        found = self.module.inputs()
        names = list(map(str, found)) if isinstance(found, dict) else []
        given = list(found.values()) if names else list(found) if isinstance(found, list | tuple) else [found]
        arrays, kinds = {}, []
        for k, value in enumerate(given):
            array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
            kinds.append(_kind(array, f"inputs() of {self.file}"))
            arrays[f"in{k}"] = array.astype(np.float32)
        return {"kinds": kinds, "names": names}, arrays

    def do_describe(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """One pass that sends no arrays: the calls of the model."""
        tape = Tape(self.framework.frame(), "describe", self._exchange)
        self.expected, outputs = [], self._pass(tape, head, arrays)
        self.weights, self.expected = tape.weights, tape.nodes
        return {"calls": tape.nodes, "outputs": outputs}, {}

    def do_weights(self, head: Mapping[str, Any], _: Any) -> tuple[dict[str, Any], dict[str, Float32]]:
        """The weights of one call, channels first."""
        return {}, {name: weight.get() for name, weight in self.weights[head["call"]].items()}

    def do_assign(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """Set weights of one call; answer with what they are now."""
        known = self.weights[head["call"]]
        for name, array in arrays.items():
            if known[name].put is None:
                raise TraceError(
                    f"weights are carried into parameters of the model; {name} of "
                    f"{self.expected[head['call']]['name']} is computed; leave --weights out"
                )
            known[name].put(array)
        return self.do_weights(head, arrays)

    def do_run(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """One pass, `ordinary` or `fed`, over the given units."""
        tape = Tape(self.framework.frame(), head["kind"], self._exchange, head["units"], self.expected)
        outputs = self._pass(tape, head, arrays)
        self._same_calls(tape)
        return {"outputs": outputs}, {}

    def _same_calls(self, tape: Tape) -> None:
        if len(tape.nodes) != len(self.expected):
            raise TraceError(
                f"a model makes the same calls on every pass; it made {len(self.expected)} and then "
                f"{len(tape.nodes)}; remove what depends on the data"
            )

    def do_gradients(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """A pass in which every unit is cut off, and the way back through each of them."""
        return self._differentiated(autograd.CUT, autograd.pull_units, head, arrays)

    def do_total_gradients(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """A pass as it is, and the way back through all of it."""
        return self._differentiated(autograd.WHOLE, autograd.pull_all, head, arrays)

    def _differentiated(
        self, kind: str, back: Any, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        tape = Tape(self.framework.frame(), kind, self._exchange, head["units"], self.expected)
        graphs = tape.graphs = self.framework.graphs(kind == autograd.WHOLE)

        def finish(outputs: Sequence[Any]) -> None:
            self._same_calls(tape)
            back(tape, graphs, outputs)

        tape.finish = finish
        return {"outputs": self._pass(tape, head, arrays)}, {}

    def _pass(self, tape: Tape, head: Mapping[str, Any], arrays: Mapping[str, Float32]) -> list[list[int]]:
        inputs = []
        for k, kind in enumerate(head["kinds"]):
            array = arrays[f"in{k}"].astype(np.dtype(kind))
            turned = head["turn"] and array.ndim > 2
            last = turned and self.model.input_last(array.ndim)
            inputs.append(np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array)
        outputs = self.model.run(tape, inputs, head["seed"], head.get("names", []))
        return [sorted(tape.producers([each])) for each in outputs]

    def do_first(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        """The inputs channels first, from this model's own layout."""
        turned = {}
        for name, array in arrays.items():
            last = array.ndim > 2 and self.model.input_last(array.ndim)
            turned[name] = np.ascontiguousarray(np.moveaxis(array, -1, 1)) if last else array
        return {}, turned

    def _exchange(
        self, head: Mapping[str, Any], arrays: Mapping[str, Float32]
    ) -> tuple[dict[str, Any], dict[str, Float32]]:
        send(self.target, {"status": "call", **head}, arrays)
        answer, results = receive(self.source)
        if not answer:
            raise Disconnected
        return answer, results


def _kind(array: NDArray[Any], what: str) -> str:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TraceError(f"an input holds real numbers; {what} holds {array.dtype}; cast it to float32")
    if array.dtype.kind == "f":
        return "float32"
    if array.size and max(abs(int(array.max())), abs(int(array.min()))) >= 2**24:
        raise TraceError(f"integer inputs are below 2**24; {what} holds larger ones; give smaller indices")
    return str(array.dtype)


def _plain(text: str) -> str:
    """Without the escape sequences that colour a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _where(error: Exception, file: str) -> str:
    """The last line of the user's own file on the way to the error."""
    for entry in reversed(traceback.extract_tb(error.__traceback__)):
        if file and os.path.samefile(entry.filename, file) if os.path.exists(entry.filename) else False:
            return f"line {entry.lineno}"
    return ""


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as incoming, os.fdopen(int(sys.argv[2]), "wb") as outgoing:
        sys.exit(main(incoming, outgoing))
