"""Outputs of which a capture keeps a sample: judged whole where they can be had, else by bounds.

The checksum of a sampled output is that of all of it.  An array with that checksum is the output: the truth
correctly rounded, or the replay of a revealed order.  Where none has it, only the kept elements are judged,
and no search is made: a change of the declaration must explain every output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from precision.inputs import Float32
from precision.judging.budget import budget
from precision.judging.finding import Cause, OutputExplained
from precision.sampling import Sampled, output_sha256
from precision.score import Errors, Float64
from reference import Truth


def whole_output(sampled: Sampled, candidates: Iterable[Callable[[], Float32]]) -> Float32 | None:
    """The whole output: as it was kept, or the candidate that has its checksum; None where none has."""
    if sampled.whole:
        return sampled.values
    for candidate in candidates:
        array = candidate()
        if array.shape == sampled.shape and output_sha256(array) == sampled.sha256:
            return array
    return None


def explained_sample(
    name: str, truth: Truth, found: Errors, limit: Float64, sampled: Sampled, figures: Mapping[str, Any]
) -> OutputExplained:
    """What bounds say of the kept elements.

    truth, found, limit: of the kept elements; limit: the worst case of float32 in any order.
    """
    kept = f"{sampled.values.size:,} of {int(np.prod(sampled.shape)):,} outputs were kept"
    wild = bool(found.nonfinite.any())
    parts = budget(truth, sampled.values, worst=None if wild else limit)
    rows = {row["cause"]: row for row in parts.table()}
    bounded = rows["accumulation"]["evidence"] == "bounded"
    with np.errstate(invalid="ignore", divide="ignore"):
        used = float(np.max(np.where(found.absolute != 0, np.abs(found.absolute) / limit, 0.0), initial=0.0))
    infinite = bool(np.isinf(limit).any())
    if bounded and infinite:
        detail = f"the worst-case bound is infinite on this data: it cannot tell; {kept}"
    elif bounded:
        detail = f"at most {used:.2g} of the worst-case bound for float32 in any order; {kept}"
    else:
        detail = f"beyond the worst-case bound for float32 in any order; {kept}: a sample is not searched"
    evidence = "none" if not bounded else "consistent" if infinite else "bounded"
    words = {
        "output rounding": ("proved", "what even a perfect sum loses: half an ulp at most"),
        "accumulation" if bounded else "unexplained": (evidence, detail),
    }
    causes = tuple(
        Cause(cause, None, None, None, rows[cause]["share"], rows[cause]["rms_ulp"], proof, text)
        for cause, (proof, text) in words.items()
    )
    verdict = "rounding" if bounded else "unexplained"
    return OutputExplained(name, verdict, detail, causes, figures, parts=parts)


def whole_index(figures: dict[str, Any], sampled: Sampled) -> dict[str, Any]:
    """The figures with the worst element's index in the whole output."""
    if sampled.index is None or figures["worst_index"] is None:
        return figures
    (kept,) = json.loads(figures["worst_index"])
    index = np.unravel_index(int(sampled.index[kept]), sampled.shape)
    return {**figures, "worst_index": json.dumps([int(i) for i in index])}
