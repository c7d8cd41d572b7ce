"""The far end of `precision.live`: answers calls of one framework (`python -m precision.serve IN OUT`).

IN and OUT are file descriptors.  A message is a line of JSON, and the float32 arrays whose shapes it
gives, as raw bytes.  Standard output stays free for whatever libraries print.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from precision.errors import CannotRun
from precision.inputs import Float32
from precision.worker import die_with_parent, one_line


def main(source: BinaryIO, target: BinaryIO) -> int:
    """Set the mode up, say what was read back, then answer calls until the parent closes its end."""
    backend = configured(source, target)
    if backend is None:
        return 0
    while (message := receive(source)) is not None:
        call, arrays = message
        if not call:
            break
        try:
            # The state that `configure` set is the driver's own: modules beside it share it.
            module = importlib.import_module(call["module"]) if "module" in call else backend
            answer = getattr(module, call.get("function", "run"))(call["op"], call["params"], arrays)
            results = answer if isinstance(answer, Mapping) else {"output": answer}
        except CannotRun as reason:
            send(target, {"status": "cannot", "reason": str(reason)})
        except Exception as error:
            # Any failure of a framework is the answer to that call; the next one may work.
            send(target, {"status": "error", "reason": one_line(error)})
        else:
            send(target, {"status": "ok"}, results)
    return 0


def configured(source: BinaryIO, target: BinaryIO) -> ModuleType | None:
    """Set up the mode that the first message asks for, say what was read back; None where it cannot run."""
    die_with_parent()
    job, _ = receive(source)
    try:
        backend = importlib.import_module(job["backend"])
        read_back = backend.configure(job["device"], job["switches"])
    except CannotRun as reason:
        send(target, {"status": "not run", "reason": str(reason)})
        return None
    send(target, {"status": "ready", "read_back": read_back, "versions": backend.versions()})
    return backend


def send(target: BinaryIO, head: Mapping[str, Any], arrays: Mapping[str, Float32] | None = None) -> None:
    """Write one message.  Raises TypeError unless the arrays are float32."""
    given = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    for name, array in given.items():
        if array.dtype != np.float32:
            raise TypeError(f"a message holds float32 arrays; got {array.dtype} for {name}")
    # ascontiguousarray gives a number one axis: the shapes are those of the arrays as they came.
    shapes = [[name, np.shape(array)] for name, array in (arrays or {}).items()]
    target.write(json.dumps({"head": dict(head), "arrays": shapes}).encode() + b"\n")
    for array in given.values():
        target.write(array.reshape(-1).view(np.uint8).data)
    target.flush()


def receive(source: BinaryIO) -> tuple[dict[str, Any], dict[str, Float32]]:
    """Read one message; an empty head at the end of the stream."""
    line = source.readline()
    if not line:
        return {}, {}
    message = json.loads(line)
    arrays: dict[str, Float32] = {}
    for name, shape in message["arrays"]:
        size = 4 * math.prod(shape)
        data = bytearray(source.read(size))  # to be written to: a view of bytes is not
        if len(data) < size:
            raise EOFError("the other end closed in the middle of a message")
        arrays[name] = np.frombuffer(data, np.float32).reshape(shape)
    return message["head"], arrays


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as incoming, os.fdopen(int(sys.argv[2]), "wb") as outgoing:
        sys.exit(main(incoming, outgoing))
