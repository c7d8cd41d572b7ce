"""Experiments in both frameworks at once: one call in each of the modes in which its result may differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.studies.material import Material

Float32 = NDArray[np.float32]
Answers = dict[str, dict[str, Float32]]

_MODULES = {
    "torch": "precision.frameworks.torch_studies",
    "tensorflow": "precision.frameworks.tensorflow_studies",
}
_MODES = {
    "torch": ("torch.cpu", "torch.cpu.avx2"),
    "tensorflow": ("tensorflow.cpu", "tensorflow.cpu.no_onednn"),
}
"""Calls that are no layers of a suite see little of a mode: the instruction set, and whether oneDNN is "
"used."""


def ask(
    material: Material,
    framework: str,
    op: str,
    params: Mapping[str, Any],
    arrays: Mapping[str, Any],
    backend: bool = False,
) -> Answers:
    """The answers of a framework's modes to one experiment, by mode; the default mode first.

    backend: the op is a layer, run as a suite's cases are.  Raises `CannotRun` where no mode of the framework
    can run.
    """
    given = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    module = "" if backend else _MODULES[framework]
    found: Answers = {}
    reasons = []
    for mode in _MODES[framework]:
        try:
            found[mode] = material.live(mode).call(op, params, given, module=module)
        except CannotRun as reason:
            reasons.append(str(reason))
    if not found:
        raise CannotRun(reasons[0])
    return found


def both(
    material: Material,
    op: str,
    params: Mapping[str, Any],
    arrays: Mapping[str, Any],
    backend: bool = False,
) -> Answers:
    """The answers of both frameworks' modes.  Raises `CannotRun` where one framework has none."""
    return {
        **ask(material, "torch", op, params, arrays, backend),
        **ask(material, "tensorflow", op, params, arrays, backend),
    }


def results(answers: Answers, name: str = "output") -> dict[str, Float32]:
    """One array of every answer, by mode."""
    return {mode: answer[name] for mode, answer in answers.items()}


def framework_results(given: Mapping[str, Float32], framework: str) -> dict[str, Float32]:
    """The arrays of one framework's modes."""
    return {mode: array for mode, array in given.items() if mode.startswith(framework)}
