"""When an output is not the declared function: which function is it?

    search(op, arrays, params, output) -> Meaning

1. Within `reference.error_bound` everywhere, for normalizations also that of a variance in one pass or by
   Welford, if each row is what some statistics give: `rounding`. But where a change or one element takes away
   nearly all of the error, that is named, as `consistent`.
2. Single changes of the declaration, operands or results rounded to narrower formats among them. Each is
   tried on a few outputs first. It explains the output only if *every* output is within the limit of the
   changed function, and it parts from the declared one by more than rounding where that fails.
3. The whole layer in bfloat16 or float16, arrays and result, as declared or with one change more.
4. One element of the arrays, or the order of the output's or the input's channels: `data`.
5. Pairs of changes, in the same way.
6. Else `unexplained`, with the place of what is left.

Nothing is claimed to be proved of an output that one of the limits allows to be the declared function's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.bench import Bench
from precision.meaning.counterexample import Counterexample, smallest_between
from precision.meaning.fit import (
    Fit,
    closer,
    far_better,
    fits_but_for_statistics,
    fits_of,
    pairs,
    refined,
    rms,
    simplest,
)
from precision.meaning.hypotheses import DATA, SEMANTICS, Declaration, Float64, Known
from precision.meaning.limits import direct
from precision.meaning.mends import mend
from precision.meaning.narrow import in_narrow_layers, nearly_narrow
from precision.meaning.norm_form import NORMS
from precision.meaning.norm_rows import LARGEST, is_right_but_for_statistics
from precision.meaning.single_element import element_changes, near_elements
from precision.meaning.where import Where, where
from reference import Truth
from reference.formats import BINARY32, ulp


@dataclass(frozen=True)
class Alternative:
    """Another explanation that fits every output: (parameter, found) of each change, and what it leaves."""

    changes: tuple[tuple[str, Any], ...]
    residual_rms: float


@dataclass(frozen=True)
class Finding:
    """One difference from the declaration.

    share: <part, error> / <error, error> in float64; None where the shapes differ. rms_ulp: of the part, in
    float32 ulp of the declared truth. evidence: `proved` where every output is within the rigorous limit of
    the found function and some are beyond that of the declared one, else `consistent`.
    """

    cause: str
    parameter: str
    declared: Any
    found: Any
    share: float | None
    rms_ulp: float | None
    evidence: str
    detail: str
    fix: str
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Meaning:
    """The verdict (`rounding`, `semantics`, `data`, `unexplained`), its findings, and where the rest is."""

    verdict: str
    findings: tuple[Finding, ...] = ()
    where: Where | None = None
    reason: str = ""
    declared: Declaration | None = None
    found: Declaration | None = None
    known: Known | None = field(default=None, repr=False, compare=False)
    """The found function's values with their limit."""
    steps: tuple[Known, ...] = field(default=(), repr=False, compare=False)
    """The functions on the way to it, one for each finding; empty where one of them cannot be computed."""

    def counterexample(self) -> Counterexample | None:
        """The smallest integer arrays on which declared and found differ by 1/2; None without any."""
        if self.declared is None or self.found is None:
            return None
        return smallest_between(self.declared, self.found)


def search(
    op: str,
    arrays: Mapping[str, Any],
    params: Mapping[str, Any],
    output: NDArray[Any],
    *,
    truth: Truth | None = None,
    framework: str | None = None,
) -> Meaning:
    """Find what `output` is, if it is not what float32 makes of the declared op.

    op, arrays, params: as for `reference.evaluate`; output: float32, or float64 (whose own rounding is then
    allowed for); truth: of the declared op, where it is known already; framework: "torch" or "tensorflow",
    for the words of the mend.

    Raises ValueError for a declaration that `reference.evaluate` refuses or that has no bound, and for an
    output that is neither float32 nor float64.
    """
    out = np.asarray(output)
    if out.dtype not in (np.float32, np.float64):
        raise ValueError(f"an output is float32 or float64, got {out.dtype}: cast it to float32")
    given = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    bench = Bench(Declaration(op, given, dict(params)), out, truth)
    if out.size == 0:
        return Meaning("rounding", reason="there are no outputs")
    if bench.fits_shape and not bench.known.violated(bench.output).any():
        reason, evidence = "every output is within the bound of the declared function", "consistent"
        fits = closer(bench, near_elements(bench))
        if not fits and _beyond_any_statistics(bench):
            reason = "the worst-case bound allows nearly everything on this data, but no statistics give this"
            return Meaning("unexplained", reason=reason, declared=bench.declared)
    else:
        fits, reason, evidence = _beyond(bench)
    if fits:
        more = refined(bench, fits[0]) if bench.fits_shape else None
        return _explained(bench, [more, *fits] if more else fits, framework, evidence, more is not None)
    if reason:
        return Meaning("rounding", reason=reason, declared=bench.declared)
    rest = where(bench.known, bench.output, bench.declared) if bench.fits_shape else None
    words = rest.words if rest else f"its shape is {list(out.shape)}, not {list(bench.known.value.shape)}"
    near = nearly_narrow(bench)
    if near is not None:
        item, known, count = near
        rest = where(known, bench.output, bench.declared)
        details = " and ".join(change.detail for change in item.changes)
        words = (
            f"but for {count:,} of {out.size:,} outputs it is the declared one with {details}; {rest.words}"
        )
    reason = f"no change of the declaration that was tried gives this output; {words}"
    return Meaning("unexplained", where=rest, reason=reason, declared=bench.declared)


def found_by_replay(bench: Bench, item: Declaration, framework: str | None) -> Meaning:
    """The meaning of an output that a changed function gives bit for bit, though the bound would allow it."""
    known = bench.whole(item)
    return _explained(bench, [Fit(item, known, rms(known.error(bench.output)))], framework, "proved")


def _beyond(bench: Bench) -> tuple[list[Fit], str, str]:
    """What explains an output beyond the bound; why another algorithm may be the reason; the evidence."""
    reason, doubted = _another_algorithm(bench)
    evidence = "consistent" if doubted else "proved"
    fits = fits_of(bench, bench.changes(bench.declared))
    if not fits or fits[0].loose:
        fits = in_narrow_layers(bench) or fits
    if not fits and bench.fits_shape:
        fits = fits_of(bench, element_changes(bench), screened=False)
        if fits and int(bench.known.violated(bench.output).sum()) == 1:
            # A number solved from one output fits that output: an altered output looks the same.
            evidence = "consistent"
    if not fits:
        fits = fits_but_for_statistics(bench)
    if not fits or fits[0].loose or any(change.solved for change in fits[0].declaration.changes):
        fits = simplest(fits, fits_of(bench, pairs(bench)))
    if reason:
        fits = far_better(bench, fits)
    if fits and fits[0].loose:
        evidence = "consistent"
    return fits, reason, evidence


def _another_algorithm(bench: Bench) -> tuple[str, bool]:
    """Why every output may be the declared function with its variance by another algorithm, else an empty
    text; and whether the worst case of such an algorithm would hold them.

    That worst case is one for each element, wide where the mean is far from zero. A row of real outputs is
    wrong as a whole: see `precision.meaning.norm_rows`.
    """
    declared, reason = bench.declared, ""
    if bench.fits_shape and declared.op in NORMS | {"var", "std", "batch_norm_var", "batch_norm_invstd"}:
        for name in ("welford", "one_pass"):
            known = direct(declared.op, declared.arrays, declared.params, bench.unit, bench.truth, name)
            if np.isfinite(known.limit).all() and not known.violated(bench.output).any():
                reason = f"every output is within the bound of the declared function, its variance by {name}"
                break
    if declared.op not in NORMS or bench.stats is None or not bench.fits_shape:
        return reason, bool(reason)
    if reason and (bench.output.size > LARGEST or declared.form.given is not None):
        return reason, True
    if is_right_but_for_statistics(declared.form, bench.stats, bench.output, bench.unit):
        words = "every output is what the declared formula makes of statistics that one pass may give"
        return reason or words, True
    return "", bool(reason)


def _beyond_any_statistics(bench: Bench) -> bool:
    """Whether rounding cannot be the reason of an output that a bound wider than the output allows."""
    declared = bench.declared
    if declared.op not in NORMS or bench.stats is None or declared.form.given is not None:
        return False
    limit = bench.known.limit
    if bench.output.size > LARGEST or not np.isfinite(bench.output).all():
        return False
    if np.isfinite(limit).all() and rms(limit) <= rms(bench.output):
        return False
    return not is_right_but_for_statistics(declared.form, bench.stats, bench.output, bench.unit)


def _explained(
    bench: Bench, fits: list[Fit], framework: str | None, evidence: str, more: bool = False
) -> Meaning:
    """The best of the explanations in words; `more`: the bound does not ask for its last change."""
    best, rest = fits[0], fits[1:]
    others = tuple(
        Alternative(tuple((c.parameter, c.found) for c in fit.declaration.changes), fit.residual)
        for fit in rest
    )
    findings = []
    changes = best.declaration.changes
    steps = _steps(bench, best)
    for change, (share, size) in zip(changes, _parts(bench, steps, len(changes)), strict=True):
        findings.append(
            Finding(
                change.cause,
                change.parameter,
                change.declared,
                change.found,
                share,
                size,
                "consistent" if more and change is changes[-1] else evidence,
                change.detail,
                mend(change, bench.declared, framework),
                others,
            )
        )
    causes = {change.cause for change in changes}
    verdict = SEMANTICS if SEMANTICS in causes else DATA if DATA in causes else "rounding"
    words = " and ".join(change.detail for change in changes)
    if verdict == "rounding":
        words += ", which is rounding and no difference of meaning"
    return Meaning(verdict, tuple(findings), None, words, bench.declared, best.declaration, best.known, steps)


def _steps(bench: Bench, best: Fit) -> tuple[Known, ...]:
    """The function after each change; empty where the shapes differ, or where one needs the next."""
    ways, found = [best.declaration.before], [best.known]
    while ways[-1] is not None and ways[-1].changes:
        ways.append(ways[-1].before)
    try:
        found += [bench.whole(each) for each in ways if each is not None and each.changes]
    except ValueError:
        return ()
    if not bench.fits_shape or any(known.value.shape != bench.output.shape for known in found):
        return ()
    return tuple(reversed(found))


def _parts(bench: Bench, steps: tuple[Known, ...], count: int) -> list[tuple[float | None, float | None]]:
    """Share and rms ulp of each change: the first alone, then what each of the others adds."""
    if not steps:
        return [(None, None)] * count
    error, before, out = bench.known.error(bench.output), bench.known, []
    for known in steps:
        with np.errstate(invalid="ignore"):
            part = (known.value - before.value) + (known.rest - before.rest)
        out.append(_share(part, error, bench.known.value))
        before = known
    return out


def _share(part: Float64, error: Float64, truth: Float64) -> tuple[float | None, float | None]:
    good = np.isfinite(part) & np.isfinite(error)
    if not good.all():
        part, error, truth = part[good], error[good], truth[good]
    top = float(np.max(np.abs(error), initial=0.0))
    if top == 0.0:
        return None, None
    whole = float(np.sum((error / top) ** 2))
    share = float(np.sum((part / top) * (error / top))) / whole
    zero = truth == 0
    if zero.any():
        part, truth = part[~zero], truth[~zero]
    sizes = part / ulp(truth, BINARY32)
    return share, rms(sizes) if sizes.size else None
