"""The judge of one case: truth and limits once, then every output, its causes and their shares.

The shares come from `precision.budget`. Where another function was found, that function's own values take the
place of the declared ones before what is left is split into accumulation and output rounding.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.budget import Budget, Level, budget
from precision.case_folder import Case, ShapeError, tried
from precision.explanation import Cause, OutputExplained
from precision.hypotheses import Declaration, Float64, Known
from precision.meaning import Finding, Meaning, search
from precision.meaning_bench import Bench
from precision.meaning_fit import rms
from precision.meaning_gather import SUMS, output_shape
from precision.meaning_limits import direct
from precision.meaning_norm_form import NORMS
from precision.score import Errors, errors, scores
from precision.tolerance import Tolerance, tolerance
from reference import Truth, error_bound, evaluate, plain_float32, terms
from reference.sum_ops import FACTORS
from reference.tracked import gamma

Array = NDArray[Any]

SINGLE, DOUBLE = 2.0**-24, 2.0**-52
"""Unit roundoffs of the search: see `precision.meaning_bench`."""
_PLAIN = 2.0
"""Times the error of plain float32 code that is still taken for rounding where no bound says anything."""
_VARIANCES = NORMS | {"var", "std", "batch_norm_var", "batch_norm_invstd"}
_SHAPES: dict[str, tuple[Any, ...]] = {
    "padding": ("valid", "same", 0, 1, 2, 3),
    "stride": (1, 2, 3, 4),
    "dilation": (1, 2, 3, 4),
    "output_padding": (0, 1, 2),
}


class Judge:
    """Judges the outputs of one case.  Raises CaseError where the declared op cannot be computed."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.truth: Truth = tried(lambda: evaluate(case.op, case.arrays, case.params), case)

    def limit(self, unit: float = SINGLE, algorithm: str = "two_pass") -> Known:
        """The declared function, with a rigorous limit on what an evaluation of it may be off."""
        case = self.case
        return direct(case.op, case.arrays, case.params, unit, self.truth, algorithm)

    @cached_property
    def known(self) -> Known:
        known: Known = tried(self.limit, self.case)
        return known

    def tolerance(self) -> Tolerance | None:
        """What a comparison of two correct implementations can need; None where no bound is finite."""
        case = self.case
        return tolerance(case.op, case.arrays, case.params, self.truth, self.known.limit)

    def explained(self, name: str, output: Array) -> OutputExplained:
        """The verdict on one output, with its causes.  Raises ShapeError, see `explain`."""
        if output.shape != self.truth.value.shape:
            return self._misshapen(name, output)
        found = self.errors(output)
        figures = scores(self.truth, found)
        if not found.nonfinite.any() and np.array_equal(found.output, found.rounded, equal_nan=True):
            reason = _exactly(found)
            cause = self._rounding(output, Meaning("rounding"))
            cause = tuple(replace(each, evidence="proved") for each in cause if each.cause != "accumulation")
            return OutputExplained(name, "exact", reason, cause, figures)
        meaning = self._doubted(self.search(name, output), found)
        causes = tuple(map(_cause, meaning.findings)) + self._rounding(output, meaning)
        reason = meaning.reason + self._not_finite(output)
        return OutputExplained(name, meaning.verdict, reason, causes, figures, meaning)

    def errors(self, output: Array) -> Errors:
        """The errors of an output; a float64 one is compared with the truth rounded to float64."""
        found = errors(self.truth, output)
        return found if output.dtype == np.float32 else replace(found, rounded=self.truth.round(np.float64))

    def search(self, name: str, output: Array) -> Meaning:
        case = self.case
        framework = framework_of(name)
        meaning: Meaning = tried(
            lambda: search(case.op, case.arrays, case.params, output, truth=self.truth, framework=framework),
            case,
        )
        return meaning

    def _doubted(self, meaning: Meaning, found: Errors) -> Meaning:
        """Rounding is no verdict where the bound is infinite and the error more than is likely.

        An infinite bound allows everything.  Where only overflow makes it infinite, the bound of the sum
        holds all the same for an output that is finite.
        """
        case = self.case
        if meaning.verdict != "rounding" or meaning.findings or found.output.dtype != np.float32:
            return meaning
        blind = ~np.isfinite(self.known.limit) & found.counted
        if not blind.any():
            return meaning
        if case.op in FACTORS:
            count = terms(case.op, case.arrays, case.params) + 2
            limit = gamma(count, 2.0 * SINGLE) * self.truth.magnitude
        else:
            limit = likely_limit(case, self.truth)
        beyond = blind & ~((np.abs(found.absolute) <= limit) & np.isfinite(limit))
        if not beyond.any() or self._like_plain(found, beyond):
            reason = "the worst-case bound is infinite on this data; the error is no more than rounding makes"
            return replace(meaning, reason=reason)
        first = [int(i) for i in np.argwhere(beyond)[0]]
        reason = (
            f"the worst-case bound is infinite on this data, and {int(beyond.sum())} outputs are farther off "
            f"than rounding is likely to make, the first at {first}"
        )
        return replace(meaning, verdict="unexplained", reason=reason)

    def _like_plain(self, found: Errors, where: NDArray[np.bool_]) -> bool:
        """Whether textbook float32 code is hardly better there: then the data leave float32 no more."""
        case = self.case
        try:
            with np.errstate(all="ignore"):
                plain = errors(self.truth, plain_float32(case.op, case.arrays, case.params))
        except ValueError:  # an op without such code
            return False
        own, other = rms(found.absolute[where]), rms(plain.absolute[where])
        return bool(plain.counted[where].all() and own <= _PLAIN * other)

    def _rounding(self, output: Array, meaning: Meaning) -> tuple[Cause, ...]:
        """What the findings leave of the error: accumulation, output rounding, or nothing that is known."""
        computed = self._computed(output, meaning)
        if computed is None:
            return ()
        known, words = computed
        meant = None
        if meaning.findings:
            size = np.abs(known.value)
            meant = Truth(known.value, known.rest, np.zeros(known.value.shape), size)
        within = meaning.verdict != "unexplained"
        if output.dtype == np.float32:
            parts = budget(self.truth, output, meant=meant, worst=known.limit if within else None)
        else:
            parts = self._in_double(output, meant or self.truth, within)
        causes = []
        for row in parts.table():
            cause, share, evidence = row["cause"], row["share"], row["evidence"]
            if cause not in ("output rounding", "accumulation", "unexplained"):
                continue
            needed = meaning.verdict == "rounding" and not meaning.findings and cause != "unexplained"
            needed &= cause == "accumulation" or output.dtype == np.float32
            needed |= meaning.verdict == "unexplained" and cause == "unexplained"
            if (share == 0.0 and row["rms_ulp"] == 0.0 and not needed) or (
                cause == "accumulation" and evidence == "none"
            ):
                continue
            detail, fix = "what even a perfect sum loses: half an ulp at most", ""
            if meaning.findings and evidence == "proved":
                evidence = "bounded"  # the found function is known to float64, not certified
            if cause == "accumulation":
                detail, bounded = self._accumulation(known, output, words)
                evidence = evidence if bounded else "consistent"
            elif cause == "unexplained":
                detail, fix = meaning.reason + self._not_finite(output), _LOOK
                evidence = "none"
            causes.append(Cause(cause, None, None, None, share, row["rms_ulp"], evidence, detail, fix))
        return tuple(causes)

    def _in_double(self, output: Array, meant: Truth, within: bool) -> Budget:
        """The budget of a float64 output, which is not rounded to float32: all that is left is one part."""
        first, last = Level.of_truth(self.truth), Level.of_output(output)
        now = Level.of_truth(meant)
        word = "bounded" if within else "none"
        levels = (first, now, now, now, now, last if within else now, last)
        return Budget(levels, {"accumulation": word, "unexplained": word}, self.truth.ulp())

    def _computed(self, output: Array, meaning: Meaning) -> tuple[Known, str] | None:
        """The function that was computed, with its limit; None where its shape is another one."""
        case = self.case
        single = output.dtype == np.float32
        if meaning.findings and meaning.found is not None:
            bench = Bench(Declaration(case.op, case.arrays, case.params), output, self.truth)
            found = bench.whole(meaning.found)
            return (found, " of the found function") if found.value.shape == output.shape else None
        known = self.known if single else self.limit(DOUBLE)
        if case.op in _VARIANCES and known.violated(output.astype(np.float64)).any():
            for algorithm in ("welford", "one_pass"):
                other = self.limit(SINGLE if single else DOUBLE, algorithm)
                if not other.violated(output.astype(np.float64)).any():
                    return other, f" of a variance by {algorithm}"
        return known, ""

    def _accumulation(self, known: Known, output: Array, words: str) -> tuple[str, bool]:
        """How much of the limit is used, and whether the limit says anything."""
        if not np.isfinite(known.limit).all():
            return "the worst-case bound is infinite on this data: it cannot tell", False
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(known.error(output.astype(np.float64)))
            used = float(np.max(np.where(error > 0, error / known.limit, 0.0), initial=0.0))
        count = terms(self.case.op, self.case.arrays, self.case.params)
        kind = "float32" if output.dtype == np.float32 else "float64"
        sums = f"; {count:,} terms a sum" if count > 1 else ""
        return f"at most {used:.2g} of the worst-case bound{words} for {kind} in any order{sums}", True

    def _not_finite(self, output: Array) -> str:
        wild = ~np.isfinite(output) & np.isfinite(self.truth.round(np.float32))
        if not wild.any():
            return ""
        first = [int(i) for i in np.argwhere(wild)[0]]
        overflow = not np.isfinite(self.known.limit[wild]).any()
        why = ", where a sum of these terms can overflow on its way" if overflow else ""
        return (
            f"; {int(wild.sum())} outputs are NaN or Inf where the truth is finite, the first at {first}{why}"
        )

    def _misshapen(self, name: str, output: Array) -> OutputExplained:
        meaning = self.search(name, output)
        if meaning.findings:
            causes = tuple(map(_cause, meaning.findings))
            return OutputExplained(name, meaning.verdict, meaning.reason, causes, {}, meaning)
        wanted = self.truth.value.shape
        layout = str(self.case.params.get("layout", "NCHW"))
        if output.ndim > 2:
            last = layout.endswith("C")
            moved = np.moveaxis(output, 1, -1) if last else np.moveaxis(output, -1, 1)
            if moved.shape == wanted:
                inner = self.explained(name, np.ascontiguousarray(moved))
                if inner.verdict in ("exact", "rounding"):
                    other = "NCHW" if last else "NHWC"
                    detail = f"the output is laid out {other}; so arranged it is {inner.verdict}"
                    fix = f"y = np.moveaxis(y, {'1, -1' if last else '-1, 1'}) before it is saved"
                    own = "NHWC" if last else "NCHW"
                    cause = Cause("semantics", "layout", own, other, None, None, "proved", detail, fix)
                    return OutputExplained(name, "semantics", detail, (cause,))
        raise ShapeError(
            f"an output has the shape that the declared {self.case.op} gives, {list(wanted)}; output "
            f"{name!r} has {list(output.shape)}; {self._hint(output)}"
        )

    def _hint(self, output: Array) -> str:
        """Which parameter gives that shape, whatever the values are."""
        case = self.case
        if case.op in SUMS:
            for parameter, values in _SHAPES.items():
                for value in values:
                    changed = Declaration(case.op, case.arrays, {**case.params, parameter: value})
                    try:
                        shape = output_shape(changed)
                    except (ValueError, TypeError):
                        continue
                    if tuple(shape) == output.shape:
                        return f"{parameter}={value!r} gives that shape, but not these values; check both"
        if output.ndim == self.truth.value.ndim and sorted(output.shape) == sorted(self.truth.value.shape):
            return "its axes are in another order; transpose it"
        if output.size == self.truth.value.size:
            return "it has as many elements; reshape it"
        return "no parameter that was tried gives it; check params, layout and which output was saved"


_LOOK = "judge a smaller layer, or the part of the output that is named, to find the difference"


def _exactly(found: Errors) -> str:
    zeros = (found.output == 0) & (np.signbit(found.output) != np.signbit(found.rounded))
    but = f", but for the sign of {int(np.sum(zeros))} zeros" if zeros.any() else ""
    return f"every output is the truth, correctly rounded to {found.output.dtype}{but}"


def _cause(finding: Finding) -> Cause:
    detail = finding.detail
    for other in finding.alternatives[:2]:
        listed = " and ".join(f"{name} {value!r}" for name, value in other.changes)
        detail += f"; {listed} would fit as well"
    return Cause(
        finding.cause,
        finding.parameter,
        finding.declared,
        finding.found,
        finding.share,
        finding.rms_ulp,
        finding.evidence,
        detail,
        finding.fix,
    )


def likely_limit(case: Case, truth: Truth) -> Float64:
    """What rounding is likely to stay within; infinite where no such bound is known."""
    try:
        return error_bound(case.op, case.arrays, case.params, truth, kind="probabilistic")
    except ValueError:
        return np.full(truth.value.shape, np.inf)


def framework_of(name: str) -> str | None:
    """The framework that an output is named after."""
    word = name.lower()
    if word.startswith(("torch", "pytorch")):
        return "torch"
    return "tensorflow" if word.startswith(("tensorflow", "tf", "keras")) else None
