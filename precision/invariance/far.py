"""The far end of the timings: calls an op in turn under sets of switches, inside the framework's process.

Answers `precision.live` calls that name this module.  The drivers keep their own switches, so that the same
process can go from one set to the other and back, and what else the machine does meets both alike.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from precision.inputs import Float32


def timed(op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> dict[str, Float32]:
    """Return `seconds` (sets of switches, rounds): each round calls once under every set.

    params: backend (a module), device, call (the op's parameters), switches (a list of sets), rounds.  A call
    includes what it takes to hand the arrays over, which is alike for all sets.  The first set is restored.
    """
    backend = importlib.import_module(params["backend"])
    sets: list[dict[str, Any]] = params["switches"]
    seconds = np.zeros((len(sets), params["rounds"]), np.float32)
    try:
        for number in range(-1, params["rounds"]):  # the first round warms up and is not counted
            for place, switches in enumerate(sets):
                if len(sets) > 1:
                    _check(backend.configure(params["device"], switches), switches)
                began = time.perf_counter()
                backend.run(op, params["call"], arrays)
                if number >= 0:
                    seconds[place, number] = time.perf_counter() - began
    finally:
        if len(sets) > 1:
            backend.configure(params["device"], sets[0])
    return {"seconds": seconds}


def _check(read_back: Mapping[str, Any], switches: Mapping[str, Any]) -> None:
    for name, value in switches.items():
        if read_back.get(name) != value:
            raise RuntimeError(f"a switch did not take: {name} asked {value!r}, is {read_back.get(name)!r}")
