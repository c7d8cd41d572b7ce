"""First verdicts: is a cell's error rounding, or was another function computed?

Two experiments decide.

1. The probe (`precision.probe`): the same op on small integers.  An output that is off there by more than
   rounding can be is another function: `semantics`, proved.
2. The data: an error within the rigorous bound for float32 in any order (or for operands rounded to
   the format that the mode allows) is `rounding`.  It is bounded where the probe came out as exact as the
   declared formula allows, and only consistent where the probe shows rounding of another algorithm: a small
   difference of meaning could hide there.  What exceeds every bound is `unexplained`, and said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision.probe import Probe
from precision.score import Errors


@dataclass(frozen=True)
class Verdict:
    """A judgement with its evidence and one sentence that says why."""

    verdict: str
    evidence: str
    reason: str


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
    found_rounding = _rounding(shares)
    if found_rounding.verdict != "rounding" or not probe.inexact:
        return found_rounding
    off = f"{probe.inexact} outputs are inexact on small integers, by up to {probe.error_abs_max:.2g}"
    if probe.unlikely:
        reason = f"{off}: more than rounding is likely to make, less than it can; {found_rounding.reason}"
        return Verdict("unexplained", "none", reason)
    return Verdict(
        "rounding", "consistent", f"{found_rounding.reason}; {off}, as rounding of another algorithm is"
    )


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
