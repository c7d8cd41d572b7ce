"""The figures of a predicted output: its error against the truth, the causes of it, its worst elements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.judging.budget import budget
from precision.score import decimal, errors, scores
from reference.truth import Truth

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_U = 2.0**-24
_SHOWN = (
    "error_ulp_rms",
    "error_ulp_mean",
    "error_ulp_max",
    "error_abs_max",
    "error_abs_rms",
    "relative_l2",
    "error_scaled_ulp_rms",
    "share_correctly_rounded",
    "nonfinite_mismatches",
    "zero_truth_mismatches",
)
_BASIS = {
    "operand rounding": "exact: the truth of the rounded operands less the truth",
    "output rounding": "exact: what even a perfect sum of the rounded operands loses in float32",
    "accumulation": "emulated: for this order of the products",
}
WORST = 5


@dataclass(frozen=True)
class Variant:
    """One output that may come back. kind: "prediction", "order", "rounding", "unit" or "float32".

    base: the exact result of the operands as they were rounded: what is left of the error is accumulation;
    None where that was not evaluated.
    """

    kind: str
    name: str
    words: str
    output: Float32
    base: Truth | None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, **self.figures, "words": self.words}


@dataclass(frozen=True)
class Part:
    """What one cause adds to the error, element by element, and its figures."""

    cause: str
    values: Float64
    row: Mapping[str, Any]


def scored(kind: str, name: str, words: str, output: Float32, truth: Truth, base: Truth | None) -> Variant:
    """A variant with its figures: those of `precision.score`, and of its accumulation alone

    accumulation_bias_u = mean of sign(base) (output - base) / (2^-24 sum|terms|): below zero, the sums are
    too small; and accumulation_rms_u, the root mean square of the same.
    """
    found = scores(truth, errors(truth, output))
    bias, rms = (None, None) if base is None else accumulation(output, base)
    figures = {key: found[key] for key in _SHOWN}
    figures |= {"accumulation_bias_u": bias, "accumulation_rms_u": rms}
    return Variant(kind, name, words, output, base, figures)


def accumulation(output: Float32, base: Truth) -> tuple[float | None, float | None]:
    """Signed mean and root mean square of the accumulation in 2^-24 sum|terms|; None without any element."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = base.error(output) * np.sign(base.value)
        usable = np.isfinite(output) & np.isfinite(base.value) & (base.magnitude > 0) & (base.value != 0)
        units = error[usable] / (_U * base.magnitude[usable])
    if not units.size:
        return None, None
    return float(np.mean(units)), float(np.sqrt(np.mean(np.square(units))))


def parts_of(truth: Truth, base: Truth, output: Float32) -> dict[str, Part]:
    """The error split into operand rounding, output rounding and accumulation, which add up to it."""
    split = budget(truth, output, rounded=base, replay=output)
    rows = {row["cause"]: row for row in split.table()}
    found = {}
    for cause, basis in _BASIS.items():
        row = {name: value for name, value in rows[cause].items() if name != "evidence"}
        found[cause] = Part(cause, split.part(cause), {**row, "basis": basis})
    return found


def worst_elements(
    truth: Truth, output: Float32, shape: Sequence[int], index: npt.NDArray[np.int64] | None
) -> tuple[dict[str, Any], ...]:
    """Elements of the largest error in ulp of sum|terms|: a small result of large terms is no surprise."""
    if not output.size:
        return ()
    found = errors(truth, output)
    badness = np.where(found.nonfinite, np.inf, np.abs(found.scaled)).reshape(-1)
    rows = []
    for flat in np.argsort(-badness, kind="stable")[:WORST].tolist():
        if badness[flat] == 0:
            break
        at = tuple(int(i) for i in np.unravel_index(flat, output.shape))
        whole = flat if index is None else int(index[flat])
        terms, exact = float(truth.magnitude[at]), abs(float(truth.value[at]))
        rows.append(
            {
                "index": json.dumps([int(i) for i in np.unravel_index(whole, tuple(shape))]),
                "got": float(output[at]),
                "got_hex": float(output[at]).hex(),
                "truth": decimal(truth, at),
                "correctly_rounded": float(found.rounded[at]),
                "error_ulp": float(found.ulp[at]),
                "error_scaled_ulp": float(found.scaled[at]),
                "condition": terms / exact if exact else None,
            }
        )
    return tuple(rows)


def overflowed(arrays: Mapping[str, Any], rounded: Mapping[str, Any]) -> dict[str, int]:
    """How many finite elements of each array became infinite by rounding."""
    found = {
        name: int(np.sum(np.isinf(rounded[name]) & np.isfinite(array))) for name, array in arrays.items()
    }
    return {name: count for name, count in found.items() if count}


def vanished(arrays: Mapping[str, Any], rounded: Mapping[str, Any]) -> dict[str, int]:
    """How many elements of each array became zero by rounding."""
    found = {name: int(np.sum((rounded[name] == 0) & (array != 0))) for name, array in arrays.items()}
    return {name: count for name, count in found.items() if count}
