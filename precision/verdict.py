"""First verdicts: is a cell's error rounding, or was another function computed?

Three experiments decide.

1. The integer probe (`precision.probe`): an output that is off by more than rounding can be is another
   function: `semantics`, proved.
2. The probe of full width: operands or results that are narrower than float32 show there.  Where the mode
   does not allow them the cell is `unexplained`.
3. The data: an error within the rigorous bound for float32 in any order (or for operands rounded to
   the format that the mode allows) is `rounding`.  It is bounded where both probes came out as exact as the
   declared formula allows; it is only consistent where they show rounding of another algorithm, where
   the error is larger than rounding is likely to be, or where the call does not repeat itself: a
   small difference of meaning could hide there.  What exceeds every bound is `unexplained`, and
   said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Largest |error| / bound over the elements for each bound; None where a bound is infinite.

    An infinite bound says nothing, so nothing can be within it.
    """

    float32: float | None
    probabilistic: float | None
    operands: float | None = None
    one_pass: float | None = None
    normalization: bool = False


@dataclass(frozen=True)
class Evidence:
    """All that a verdict is made from.

    low_format: the format to which the mode lets a kernel round operands, or empty.
    call, params: the call that was made and the declaration.
    distinct: different results over the repeats of one call.
    """

    found: Errors
    probe: Probe
    width: Probe
    shares: Shares
    low_format: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    distinct: int = 1


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict of a cell."""
    semantics = _semantics(evidence)
    if semantics:
        return semantics
    found = evidence.found
    wrong = int(np.sum(found.nonfinite))
    if wrong:
        reason = f"NaN or Inf differ from the truth at {wrong} outputs"
        return Verdict("unexplained", "none", reason + _hint(evidence.shares))
    if np.array_equal(found.output, found.rounded, equal_nan=True):
        verdict = _exact(found)
    elif evidence.width.unlikely:
        verdict = _narrow(evidence)
    else:
        verdict = _weakened(_rounding(evidence.shares), evidence)
    if evidence.distinct > 1:
        reason = (
            f"{evidence.distinct} different results in as many calls, the worse is judged; {verdict.reason}"
        )
        weaker = verdict.evidence if verdict.verdict == "unexplained" else "consistent"
        return Verdict("rounding" if verdict.verdict == "exact" else verdict.verdict, weaker, reason)
    return verdict


def _semantics(evidence: Evidence) -> Verdict | None:
    probe, width = evidence.probe, evidence.width
    changed = [
        f"{name}={value!r} was called, {name}={evidence.params.get(name)!r} is declared"
        for name, value in evidence.call.items()
        if value != evidence.params.get(name)
    ]
    if probe.mismatches:
        size = (
            "with NaN among them" if math.isnan(probe.error_abs_max) else f"by up to {probe.error_abs_max:g}"
        )
        off = f"{probe.mismatches} of {probe.elements} outputs are off on small integers, {size}"
        if evidence.low_format and not changed and not math.isnan(probe.error_abs_max):
            # Operands that are rounded after a transform (Winograd) are off on integers too.
            reason = f"{off}: another function, or {evidence.low_format} rounding after a transform"
            return Verdict("unexplained", "none", reason)
        return Verdict("semantics", "proved", "; ".join([f"another function: {off}", *changed]))
    if width.mismatches and evidence.shares.normalization:
        off = f"{width.mismatches} of {width.elements} outputs are off where the variance is near eps"
        return Verdict("semantics", "proved", f"another function: {off}, by up to {width.error_abs_max:.2g}")
    return None


def _exact(found: Errors) -> Verdict:
    zeros = (found.output == 0) & (np.signbit(found.output) != np.signbit(found.rounded))
    but = f", but for the sign of {int(np.sum(zeros))} zeros" if zeros.any() else ""
    return Verdict("exact", "proved", f"every output is the correctly rounded truth{but}")


def _narrow(evidence: Evidence) -> Verdict:
    """Operands or results have fewer bits than float32."""
    width, shares = evidence.width, evidence.shares
    if math.isnan(width.error_relative_max):
        return Verdict("unexplained", "none", "NaN on finite values of 24 bits")
    off = f"off by up to {width.error_relative_max:.2g} of their size on values of 24 bits"
    if evidence.low_format and shares.operands is not None and shares.operands <= 1:
        return Verdict(
            "rounding",
            "bounded",
            f"operands are rounded, as this mode allows ({off}); "
            f"at most {shares.operands:.2g} of the bound for {evidence.low_format} operands",
        )
    return Verdict("unexplained", "none", f"operands or results are narrower than float32: {off}")


def _rounding(shares: Shares) -> Verdict:
    if shares.float32 is not None and shares.float32 <= 1:
        reason = f"at most {shares.float32:.2g} of the worst-case bound for float32 in any order"
        return Verdict("rounding", "bounded", reason)
    if shares.float32 is None and shares.probabilistic is not None and shares.probabilistic <= 1:
        reason = (
            "the worst-case bound is infinite on this data; "
            f"at most {shares.probabilistic:.2g} of the probabilistic bound"
        )
        return Verdict("rounding", "consistent", reason)
    if shares.one_pass is not None and shares.one_pass <= 1:
        reason = (
            f"beyond the bound for a variance in two passes; {shares.one_pass:.2g} of that for E[x²] − E[x]²"
        )
        return Verdict("rounding", "consistent", reason)
    if shares.float32 is None:
        reason = "the worst-case bound is infinite on this data, and the error beyond the probabilistic bound"
    else:
        reason = f"{shares.float32:.3g} times the worst-case bound for float32 in any order"
    return Verdict("unexplained", "none", reason + _hint(shares))


def _weakened(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Return a verdict of rounding with the evidence that the probes leave it."""
    if verdict.verdict != "rounding":
        return verdict
    probe, width, likely = evidence.probe, evidence.width, evidence.shares.probabilistic
    notes = []
    for shown, what in ((probe, "small integers"), (width, "the probe of full width")):
        if shown.inexact:
            notes.append(f"{shown.inexact} outputs are inexact on {what}, by up to {shown.error_abs_max:.2g}")
    if probe.unlikely or (evidence.shares.normalization and width.unlikely):
        reason = (
            f"{'; '.join(notes)}: more than rounding is likely to make, less than it can; {verdict.reason}"
        )
        return Verdict("unexplained", "none", reason)
    if notes:
        notes[-1] += ", as rounding of another algorithm is"
    if likely is not None and likely > 1:
        notes.append(f"{likely:.2g} times what rounding is likely to make")
    reason = "; ".join([verdict.reason, *notes])
    if evidence.low_format and not width.inexact:
        reason += f"; {evidence.low_format} is allowed, but no operand was rounded"
    return Verdict("rounding", "consistent" if notes else verdict.evidence, reason)


def _hint(shares: Shares) -> str:
    if not shares.normalization or shares.one_pass is not None:
        return ""
    return "; a one-pass variance, E[x²] − E[x]², can fail like this on this data, which is not proved"
