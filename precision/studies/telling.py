"""Words and figures that rows of several studies share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.studies.material import Material

WEAKEST_FIRST = ("none", "consistent", "bounded", "proved")


def number(value: float, digits: int = 3) -> str:
    """A figure in a few digits: 0.0347, -1.11e-05."""
    return f"{value:.{digits}g}"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in one line; of more than `most` the rest is counted."""
    given = list(names)
    rest = f" and {len(given) - most} more" if len(given) > most else ""
    return ", ".join(given[:most]) + rest


def weakest(words: Iterable[str]) -> str:
    """The weakest of several evidences; none at all is no evidence."""
    return min(words, key=WEAKEST_FIRST.index, default="none")


def outputs(material: Material, case: str, variant: str = "data") -> dict[str, NDArray[np.float32]]:
    """The outputs of a case by mode, in the order of the run.  Raises `CannotRun` where there is none."""
    return {mode: material.output(case, mode, variant) for mode in material.modes_of(case)}


def both(material: Material, case: str) -> tuple[list[str], list[str]]:
    """The modes of torch and those of tensorflow that gave an output.  Raises `CannotRun` for none of one."""
    return material.modes_of(case, "torch"), material.modes_of(case, "tensorflow")


_WORST_FIRST = (
    "unexplained", "semantics", "data", "operand rounding", "algorithm", "accumulation", "output rounding",
)  # fmt: skip


def leading(material: Material, case: str, modes: Iterable[str]) -> tuple[str, str]:
    """(cause, evidence) of a case over several modes: the worst leading cause, and its weakest evidence.

    A mode's leading cause is another function, changed data or an unexplained part where there is one, and
    else the one with the largest share of its error.  ("none", "proved") where every mode is exact.
    """
    found: list[tuple[str, str]] = []
    for mode in modes:
        causes = material.causes(case, mode)
        grave = [each for each in causes if each["cause"] in _WORST_FIRST[:3]]
        telling = [each for each in (grave or causes) if grave or each["share"]]
        found += [(str(each["cause"]), str(each["evidence"])) for each in telling[:1]]
    if not found:
        return "none", "proved"
    worst = min((cause for cause, _ in found), key=_WORST_FIRST.index)
    return worst, weakest(evidence for cause, evidence in found if cause == worst)


def asked_modes(material: Material, framework: str, device: str = "cpu") -> list[str]:
    """The modes of a framework that were asked for.  Raises `CannotRun` where there is none."""
    found = [m.name for m in material.modes.values() if (m.framework, m.device) == (framework, device)]
    if not found:
        raise CannotRun(f"no mode of {framework} on the {device.upper()} was asked for")
    return found


def groups(given: Mapping[str, NDArray[Any]]) -> list[list[str]]:
    """Names whose arrays have the same bits, together; in the order given."""
    found: dict[bytes, list[str]] = {}
    for name, array in given.items():
        found.setdefault(np.ascontiguousarray(array).tobytes() + str(array.shape).encode(), []).append(name)
    return list(found.values())


@dataclass(frozen=True)
class Difference:
    """The largest |a - b| of two modes' outputs."""

    first: str
    second: str
    largest: float


def differences(given: Mapping[str, NDArray[np.float32]]) -> list[Difference]:
    """Of every pair of modes, largest first."""
    pairs = [
        Difference(a, b, float(np.max(np.abs(given[a].astype(np.float64) - given[b]), initial=0.0)))
        for a, b in combinations(given, 2)
    ]
    return sorted(pairs, key=lambda pair: -pair.largest)


def missing_words(material: Material, case: str) -> str:
    """What the run lacks of a case, in words; empty where every mode that was asked for gave an output."""
    reasons: dict[str, list[str]] = {}
    for mode in material.modes.values():
        try:
            material.score(case, mode.name)
        except CannotRun as reason:
            reasons.setdefault(str(reason).removeprefix(f"{mode.name}: "), []).append(mode.name)
    return "".join(f"; no output of {listed(modes, 2)} ({why})" for why, modes in reasons.items())
