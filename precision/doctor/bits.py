"""The matrix of modes and probes: a letter for each result that is the same to the bit."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.doctor.live import ModeBits
from precision.modes import Mode
from reference.formats import BINARY32, ulp

MISSING = "-"


@dataclass(frozen=True)
class ProbeBits:
    """One probe. letters: by mode, "A" for the bits of the first mode that answered.

    apart: the largest difference of any two results, in float32 ulp of the largest value: small values do not
    count for more. None where they cannot be compared (another shape, NaN, infinity).
    """

    name: str
    letters: Mapping[str, str]
    distinct: int
    apart: float | None


def probe_bits(name: str, answers: Mapping[str, ModeBits]) -> ProbeBits:
    """Group the modes by what they returned on a probe."""
    known: dict[tuple[tuple[int, ...], bytes], str] = {}
    results: list[NDArray[np.float32]] = []
    letters = {}
    for mode, answer in answers.items():
        output = answer.outputs.get(name)
        if output is None:
            letters[mode] = MISSING
            continue
        key = output.shape, output.tobytes()
        if key not in known:
            known[key] = _letter(len(known))
            results.append(output)
        letters[mode] = known[key]
    return ProbeBits(name, letters, len(known), _widest(results))


def _letter(number: int) -> str:
    count = len(string.ascii_uppercase)
    return string.ascii_uppercase[number % count] + (str(number // count) if number >= count else "")


def _widest(results: Sequence[NDArray[np.float32]]) -> float | None:
    widest = 0.0
    for i, first in enumerate(results):
        for second in results[i + 1 :]:
            if first.shape != second.shape or not np.isfinite([first, second]).all():
                return None
            difference = np.max(np.abs(first.astype(np.float64) - second), initial=0.0)
            unit = float(ulp(np.max(np.abs(first), initial=0.0), BINARY32))
            widest = max(widest, float(difference) / unit)
    return widest


def changed(mode: Mode, modes: Sequence[Mode], probes: Sequence[ProbeBits]) -> list[str] | None:
    """Probes on which a mode differs from its framework's first mode on that device.

    None for that one itself, and where one of the two did not answer at all.
    """
    first = next(each for each in modes if (each.framework, each.device) == (mode.framework, mode.device))
    both = [
        each
        for each in probes
        if MISSING not in (each.letters.get(mode.name, MISSING), each.letters.get(first.name, MISSING))
    ]
    if first is mode or not both:
        return None
    return [each.name for each in both if each.letters[mode.name] != each.letters[first.name]]
