"""First verdicts: is a cell's error rounding, or was another function computed?

Two experiments decide.

1. The probe: the same op on small integers, where float32 arithmetic is exact in any order.  An output
   that is off there is another function (`semantics`, proved).  Kernels that transform their operands first
   (Winograd) or divide (Welford, 1/N) are not exact on integers; they differ by rounding, so
   an element is off only where rounding cannot explain it: by half a unit or more where the
   exact result is an integer sum, by more than the rigorous bound where it is a normalization.
2. The data: an error within the rigorous bound for float32 in any order (or for operands rounded to
   the format that the mode allows) is `rounding`, bounded.  What exceeds every bound is
   `unexplained`, and said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.score import Errors
from reference import Truth

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """A judgement with its evidence and one sentence that says why."""

    verdict: str
    evidence: str
    reason: str


@dataclass(frozen=True)
class Probe:
    """What the small-integer probe showed."""

    elements: int
    mismatches: int
    error_abs_max: float
    integer_sum: bool


@dataclass(frozen=True)
class Shares:
    """Largest |error| / bound over the elements, for each bound that was tried; a bound may be infinite."""

    float32: float
    float32_finite: bool
    probabilistic: float
    operands: float | None = None
    operands_format: str = ""
    one_pass: float | None = None
    one_pass_finite: bool = False


def judge_probe(truth: Truth, output: Float32, bound: Float64, integer_sum: bool) -> Probe:
    """Compare the output of the probe with its truth.

    integer_sum: whether the exact results are integers made by additions and products alone.
    """
    error = np.abs(truth.error(output))
    limit = np.full(error.shape, 0.5) if integer_sum else np.nextafter(bound, np.inf)
    off = ~(error < limit)  # also where NaN
    largest = float(np.max(error, initial=0.0)) if not np.isnan(error).any() else math.nan
    return Probe(output.size, int(np.sum(off)), largest, integer_sum)


def judge(
    found: Errors, probe: Probe, shares: Shares, call: Mapping[str, Any], params: Mapping[str, Any]
) -> Verdict:
    """Return the verdict of a cell.  `call` and `params` are the call that was made and the declaration."""
    if probe.mismatches:
        return Verdict("semantics", "proved", _semantics(probe, call, params))
    wrong = int(np.sum(found.nonfinite))
    if wrong:
        reason = f"NaN or Inf at {wrong} outputs where the truth has none"
        return Verdict("unexplained", "none", reason + _hint(shares))
    if np.array_equal(found.output, found.rounded, equal_nan=True):
        return Verdict("exact", "proved", "every output is the correctly rounded truth")
    return _rounding(shares)


def _semantics(probe: Probe, call: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    largest = (
        f"by up to {probe.error_abs_max:g}" if not math.isnan(probe.error_abs_max) else "with NaN among them"
    )
    count = f"{probe.mismatches} of {probe.elements}"
    text = f"another function: {count} outputs are off on small integers, {largest}"
    changed = [
        f"{name}={call[name]!r} was called, {name}={params.get(name)!r} is declared"
        for name in call
        if call[name] != params.get(name)
    ]
    return "; ".join([text, *changed])


def _rounding(shares: Shares) -> Verdict:
    if shares.float32 <= 1 and shares.float32_finite:
        return Verdict(
            "rounding",
            "bounded",
            f"at most {shares.float32:.2g} of the worst-case bound for float32 in any order",
        )
    if shares.operands is not None and shares.operands <= 1:
        return Verdict(
            "rounding",
            "bounded",
            f"beyond float32's bound; at most {shares.operands:.2g} of the bound for operands rounded to "
            f"{shares.operands_format}, which this mode allows",
        )
    if not shares.float32_finite and shares.probabilistic <= 1:
        return Verdict(
            "rounding",
            "consistent",
            "the worst-case bound is infinite on this data; "
            f"at most {shares.probabilistic:.2g} of the probabilistic bound",
        )
    if shares.one_pass is not None and shares.one_pass_finite and shares.one_pass <= 1:
        return Verdict(
            "rounding",
            "consistent",
            f"{shares.float32:.2g} of the bound for a two-pass variance, "
            f"{shares.one_pass:.2g} of that for E[x²] − E[x]²",
        )
    reason = f"{shares.float32:.3g} times the worst-case bound for float32 in any order"
    return Verdict("unexplained", "none", reason + _hint(shares))


def _hint(shares: Shares) -> str:
    if shares.one_pass is None or shares.one_pass_finite:
        return ""
    return "; a one-pass variance, E[x²] − E[x]², can fail like this on this data, which is not proved"
