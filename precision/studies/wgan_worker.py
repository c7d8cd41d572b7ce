"""Runs a part of an example model in the process of a mode (see `precision.studies.wgan_live`)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.studies.wide import split

Float32 = NDArray[np.float32]


def call(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
    """What `run(op, given, x)` of the file returns; float64 arrays as three of float32.

    params: file, the example's; given, its own parameters.
    """
    if op == "copy":
        return {"output": arrays["input"]}
    found = _module(Path(params["file"])).run(op, params["given"], arrays["input"])
    answer: dict[str, Float32] = {}
    for name, array in found.items():
        if array.dtype == np.float64:
            answer |= split(name, array)
        else:
            answer[name] = np.ascontiguousarray(array, np.float32)
    return answer


def _module(path: Path) -> Any:
    name = f"example_{path.stem}"
    if name not in sys.modules:
        sys.path.insert(0, str(path.parent))
        specification = importlib.util.spec_from_file_location(name, path)
        if specification is None or specification.loader is None:
            raise ImportError(f"an example is a Python file; {path} cannot be loaded")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
