"""Probes of a suite: questions to a mode whose answers are recorded where it runs and read anywhere.

Recording needs NumPy alone, as capturing does.  A probe is data: a kind and its arguments; the kinds' modules
have a function `record(kernel, probe id, **arguments) -> (tensors, notes)`.  What they record is told in
`precision.suites.gpu`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Float32

Tensors = dict[str, NDArray[Any]]
Notes = dict[str, Any]

KINDS: Mapping[str, str] = {
    "operands": "precision.recording.operands",
    "accumulator": "precision.recording.accumulator",
    "order": "precision.recording.order",
    "invariance": "precision.recording.invariance",
}


class Kernel(Protocol):
    """What a worker gives a probe to ask: the driver of a framework (see `precision.frameworks`)."""

    def run(self, op: str, params: Mapping[str, Any], arrays: Mapping[str, Float32]) -> Float32:
        """One call of an op."""

    def varied(self, factor: str, value: Any) -> AbstractContextManager[None]:
        """Calls inside run under another setting.  Raises `CannotRun` where there is no such thing."""


@dataclass(frozen=True)
class RecordedProbe:
    """One probe: its stable id, what it is about, its kind and the arguments of the kind's `record`."""

    id: str
    title: str
    kind: str
    arguments: Mapping[str, Any]

    def fingerprint(self) -> str:
        """SHA-256 of the declaration: answers to another declaration do not fit."""
        declaration = {"id": self.id, "kind": self.kind, "arguments": dict(self.arguments)}
        return hashlib.sha256(json.dumps(declaration, sort_keys=True).encode()).hexdigest()

    def record(self, kernel: Kernel) -> tuple[Tensors, Notes]:
        """Ask the kernel, and return the tensors and the notes of the answers."""
        module = importlib.import_module(KINDS[self.kind])
        tensors, notes = module.record(kernel, self.id, **self.arguments)
        return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, {
            "kind": self.kind,
            **notes,
        }
