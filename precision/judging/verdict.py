"""Verdicts of the report: is a cell's error rounding, or was another function computed?

Two witnesses are heard.

1. The search on the data (`precision.judging.case_judge`, the same that `precision explain` runs): what the
   output is, with its causes.
2. The probes (`precision.judging.probe`), which the same mode computed.  An output that is off on small
   integers by more than rounding can be is another function, even where the data hide it: `semantics`,
   proved; the search then names the parameter from the probe's own arrays.  The probe of full width shows
   operands or results that are narrower than float32; where the mode does not allow them the cell is
   `unexplained`.

Rounding is proved where a known order of the sum, or a known recipe, gives every output bit for bit; but
where a recipe takes another formula (a variance in one pass) and leaves every bound behind, it is another
function on this data.  Rounding is
bounded where every error is within a rigorous bound and both probes came out as exact as the declared formula
allows; it is only consistent where they show rounding of another algorithm, where the error is larger than
rounding is likely to be, or where the call does not repeat itself: a small difference of meaning could hide
there.  What no witness explains is `unexplained`, and said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from precision.judging.finding import Cause, OutputExplained
from precision.judging.probe import Probe

WEAKEST = ("none", "consistent", "bounded", "proved")


@dataclass(frozen=True)
class Verdict:
    """A judgement with its evidence and one sentence that says why.

    transform: the algorithm with transforms that gives every bit, in words, where that is the evidence.
    """

    verdict: str
    evidence: str
    reason: str
    transform: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a verdict is made from.

    explained: what the search says of the output.  shown: what it says of the output of a probe that is off.
    worst, likely, operands, one_pass: largest |error| over the worst-case bound, the probabilistic one, that
    for operands of the format which the mode allows, and that of a variance in one pass; None where the bound
    is infinite, which says nothing.
    low_format: the format to which the mode lets a kernel round operands, or empty.
    call, params: the call that was made and the declaration.
    distinct: different results over the repeats of one call.
    transform: the algorithm with transforms that gives every bit of the data's and the probe's output, or
    empty.
    """

    explained: OutputExplained
    probe: Probe
    width: Probe
    worst: float | None = None
    likely: float | None = None
    operands: float | None = None
    one_pass: float | None = None
    normalization: bool = False
    shown: OutputExplained | None = None
    low_format: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    distinct: int = 1
    transform: str = ""


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict of a cell."""
    verdict = _by_probe(evidence) or _by_search(evidence)
    if evidence.distinct == 1 or verdict.verdict in ("semantics", "data"):
        return verdict
    reason = f"{evidence.distinct} different results in as many calls, the worse is judged; {verdict.reason}"
    weaker = verdict.evidence if verdict.verdict == "unexplained" else "consistent"
    return Verdict("rounding" if verdict.verdict == "exact" else verdict.verdict, weaker, reason)


def probe_in_doubt(probe: Probe, width: Probe, normalization: bool) -> str:
    """The probe that is off by more than rounding can be: `probe`, `width` or none."""
    if probe.mismatches:
        return "probe"
    return "width" if normalization and width.mismatches else ""


def replayed(explained: OutputExplained) -> bool:
    """Whether a known order or recipe gives every output bit for bit."""
    words = {cause.cause: cause.evidence for cause in explained.causes}
    return words.get("accumulation") == "proved" and "unexplained" not in words


def narrowed(explained: OutputExplained) -> list[Cause]:
    """The narrower formats of operands and results that the search found."""
    named = (each for each in explained.causes if each.parameter is not None)
    return [each for each in named if each.cause in ("operand rounding", "output rounding")]


def _by_probe(evidence: Evidence) -> Verdict | None:
    """Another function, as a probe shows it."""
    which = probe_in_doubt(evidence.probe, evidence.width, evidence.normalization)
    if not which:
        return None
    explained, shown = evidence.explained, evidence.shown
    if evidence.normalization and shown is not None and replayed(shown):
        return None  # a known recipe of the declared function gives these very bits
    probe = evidence.probe if which == "probe" else evidence.width
    where = "on small integers" if which == "probe" else "where the variance is near eps"
    nan = math.isnan(probe.error_abs_max)
    size = "with NaN among them" if nan else f"by up to {probe.error_abs_max:.3g}"
    off = f"{probe.mismatches} of {probe.elements} outputs are off {where}, {size}"
    changed = _changed(evidence)
    named = next((each for each in (explained, shown) if each and each.verdict == "semantics"), None)
    if evidence.low_format and not changed and not nan and (named is None or named is shown):
        # Operands that are rounded after a transform (Winograd) are off on integers too.
        reason = f"{off}: another function, or {evidence.low_format} rounding after a transform"
        return Verdict("unexplained", "none", reason)
    words = [f"another function: {off}", *([named.reason] if named else []), *changed]
    return Verdict("semantics", "proved", "; ".join(words))


def _by_search(evidence: Evidence) -> Verdict:
    explained = evidence.explained
    if explained.verdict == "exact":
        return Verdict("exact", "proved", explained.reason)
    if explained.verdict in ("semantics", "data"):
        return _named(evidence)
    narrow = narrowed(explained)
    if narrow and (narrow[0].evidence == "proved" or evidence.width.unlikely):
        return _allowed(narrow, evidence)
    wild = bool(explained.figures.get("nonfinite_mismatches"))
    if evidence.transform and explained.verdict == "rounding":
        words = "its transforms mix neighbours and round what they mix"
        reason = f"bit for bit: {evidence.transform}; {words}"
        return Verdict("rounding", "proved", reason, evidence.transform)
    if evidence.width.unlikely and not (evidence.normalization or wild):
        return _narrow(evidence)
    return _rounding(evidence)


def _named(evidence: Evidence) -> Verdict:
    """Another function, or other data, which the search names."""
    explained = evidence.explained
    named = [cause.evidence for cause in explained.causes if cause.parameter is not None]
    weakest = min(named, key=WEAKEST.index, default="consistent")
    reason = "; ".join([explained.reason, *_changed(evidence)])
    exact = not (evidence.probe.inexact or evidence.width.inexact)
    within = evidence.worst is not None and evidence.worst <= 1
    if explained.verdict == "semantics" and weakest == "consistent" and exact and within:
        reason = f"{reason}; yet both probes are exact: rounding of this data, and no other function"
        return Verdict("rounding", "consistent", reason)
    return Verdict(explained.verdict, weakest, reason)


def _allowed(narrow: list[Cause], evidence: Evidence) -> Verdict:
    """Operands or results of fewer bits, which the search found: rounding only where the mode allows them."""
    details = "; ".join(each.detail for each in narrow)
    if evidence.low_format and all(evidence.low_format in str(each.found) for each in narrow):
        proof = "proved" if replayed(evidence.explained) else "bounded"
        return Verdict("rounding", proof, f"{details}, as this mode allows")
    return Verdict("unexplained", "none", f"{details}, which this mode does not allow")


def _narrow(evidence: Evidence) -> Verdict:
    """Operands or results have fewer bits than float32, and the search does not name how many."""
    width, share = evidence.width, evidence.operands
    if math.isnan(width.error_relative_max):
        return Verdict("unexplained", "none", "NaN on finite values of 24 bits")
    off = f"off by up to {width.error_relative_max:.2g} of their size on values of 24 bits"
    if evidence.low_format and share is not None and share <= 1:
        return Verdict(
            "rounding",
            "bounded",
            f"operands are rounded, as this mode allows ({off}); "
            f"at most {share:.2g} of the bound for {evidence.low_format} operands",
        )
    return Verdict("unexplained", "none", f"operands or results are narrower than float32: {off}")


def _rounding(evidence: Evidence) -> Verdict:
    """Rounding, with the evidence that the causes and the probes leave it, or nothing that is known."""
    if evidence.explained.verdict == "unexplained":
        return Verdict("unexplained", "none", evidence.explained.reason)
    explained, probe, width, likely = evidence.explained, evidence.probe, evidence.width, evidence.likely
    causes = [each for each in explained.causes if each.cause in ("algorithm", "accumulation")]
    reason = next((each.detail for each in causes if each.cause == "accumulation"), explained.reason)
    if replayed(explained):
        for rest in (": the revealed order gives all ", ": all "):  # it stands in the budget
            reason, _, _ = reason.partition(rest)
        reason = f"bit for bit: {reason}"
    if evidence.low_format and not width.inexact:
        reason += f"; {evidence.low_format} is allowed, but no operand was rounded"
    if replayed(explained):
        return _replayed(evidence, reason)
    weakest = min((each.evidence for each in causes), key=WEAKEST.index, default="consistent")
    weakest = "bounded" if weakest == "proved" else weakest  # a part of the error is not explained
    notes = []
    for shown, what in ((probe, "small integers"), (width, "the probe of full width")):
        if shown.inexact:
            notes.append(f"{shown.inexact} outputs are inexact on {what}, by up to {shown.error_abs_max:.2g}")
    if probe.unlikely or (evidence.normalization and width.unlikely):
        words = f"{'; '.join(notes)}: more than rounding is likely to make, less than it can; {reason}"
        return Verdict("unexplained", "none", words)
    if notes:
        notes[-1] += ", as rounding of another algorithm is"
    if likely is not None and likely > 1:
        notes.append(f"{likely:.2g} times what rounding is likely to make")
    reason = "; ".join([reason, *notes])
    return Verdict("rounding", "consistent" if notes else weakest, reason)


def _replayed(evidence: Evidence, reason: str) -> Verdict:
    """Every bit is known; yet what another formula makes of hostile data is no rounding of the declared."""
    beyond = [share is None or share > 1 for share in (evidence.worst, evidence.one_pass)]
    if all(beyond) and any(each.cause == "algorithm" for each in evidence.explained.causes):
        times = "" if evidence.worst is None else f", off by {evidence.worst:.3g} times its worst-case bound"
        words = f"another formula than the declared function's fails on this data{times}; {reason}"
        return Verdict("semantics", "proved", words)
    return Verdict("rounding", "proved", reason)


def _changed(evidence: Evidence) -> list[str]:
    """How the call that was made differs from the declaration."""
    return [
        f"{name}={value!r} was called, {name}={evidence.params.get(name)!r} is declared"
        for name, value in evidence.call.items()
        if value != evidence.params.get(name)
    ]
