"""The judge of one case: truth and limits once, then every output, its causes and their shares.

The shares come from `precision.judging.budget`. Where another function was found, that function's own values
take the place of the declared ones before what is left is split into accumulation and output rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import Case, ShapeError, tried
from precision.judging.case_rest import SINGLE, Rest
from precision.judging.case_shapes import shape_hint
from precision.judging.finding import Cause, OutputExplained
from precision.judging.tolerance import Tolerance, tolerance
from precision.meaning.bench import Bench
from precision.meaning.fit import rms
from precision.meaning.gather import form_of_operands, rounded_arrays
from precision.meaning.hypotheses import SUM, Declaration, Float64, Known
from precision.meaning.limits import direct
from precision.meaning.norm_form import NORMS
from precision.meaning.norms import likely_eps
from precision.meaning.search import Finding, Meaning, found_by_replay, search
from precision.orders.match import Known as KnownOrder
from precision.orders.match import OrderMatch, match_order
from precision.orders.match_tally import Ending
from precision.score import Errors, errors, scores
from reference import Truth, error_bound, evaluate, plain_float32, terms
from reference.sum_ops import FACTORS
from reference.sum_plans import PLANS
from reference.tracked import gamma

Array = NDArray[Any]

ORDERED = frozenset(PLANS) | NORMS
"""Ops whose orders or recipes are known."""
_PLAIN = 2.0
"""Times the error of plain float32 code that is still taken for rounding where no bound says anything."""


class Judge:
    """Judges the outputs of one case.  Raises CaseError where the declared op cannot be computed."""

    def __init__(self, case: Case) -> None:
        self.case = case
        truth: Truth = tried(lambda: evaluate(case.op, case.arrays, case.params), case)
        wide = any(output.dtype == np.float64 for output in case.outputs.values())
        self.truth = truth.sharpened() if wide else truth
        self._rest = Rest(self)

    def limit(self, unit: float = SINGLE, algorithm: str = "two_pass") -> Known:
        """The declared function, with a rigorous limit on what an evaluation of it may be off."""
        case = self.case
        return direct(case.op, case.arrays, case.params, unit, self.truth, algorithm)

    @cached_property
    def known(self) -> Known:
        known: Known = tried(self.limit, self.case)
        return known

    @property
    def most_terms(self) -> int:
        """How many terms one output is the sum of."""
        return terms(self.case.op, self.case.arrays, self.case.params)

    @cached_property
    def rounded(self) -> NDArray[np.float32]:
        """The truth rounded to float32."""
        return self.truth.round(np.float32)

    def tolerance(self) -> Tolerance | None:
        """What a comparison of two correct implementations can need; None where no bound is finite."""
        case = self.case
        return tolerance(case.op, case.arrays, case.params, self.truth, self.known.limit)

    def explained(self, name: str, output: Array, order: KnownOrder | None = None) -> OutputExplained:
        """The verdict on one output, with its causes and its budget.

        order: the order or recipe that was revealed for the mode that gave it, where there is one: replayed
        before the known ones.  Raises ShapeError, see `explain`; ValueError for an order of another op or
        other shapes.
        """
        if output.shape != self.truth.value.shape:
            return self._misshapen(name, output)
        found = self.errors(output)
        figures = scores(self.truth, found)
        if not found.nonfinite.any() and np.array_equal(found.output, found.rounded, equal_nan=True):
            reason = _exactly(found)
            cause, parts = self._rest.causes(output, Meaning("rounding"))
            cause = tuple(replace(each, evidence="proved") for each in cause if each.cause != "accumulation")
            return OutputExplained(name, "exact", reason, cause, figures, parts=parts)
        match = self._declared_order(output, found, order)
        if match is not None and match.proved and match.formula is None and self._elsewhere(output):
            match = None  # whatever gives these bits is not the declared function
        if match is not None and match.proved:
            wild = found.nonfinite & np.isfinite(self.truth.value)
            if match.formula is not None and (wild.any() or self._ruined(output)):
                return self._one_pass(name, output, match, figures)
            meaning = Meaning("rounding", reason=_WITHIN)
        else:
            meaning = self._doubted(self.search(name, output), found)
            other = None if meaning.findings else self._replayed_eps(name, output)
            if other is not None:
                meaning, match = other
            elif meaning.findings:
                match = self._found_order(meaning, output)
        rest, parts = self._rest.causes(output, meaning, match)
        causes = tuple(map(_cause, meaning.findings)) + rest
        reason = meaning.reason + self._rest.not_finite(output)
        return OutputExplained(name, meaning.verdict, reason, causes, figures, meaning, parts, match)

    def _declared_order(self, output: Array, found: Errors, order: KnownOrder | None) -> OrderMatch | None:
        """The order of an output that may be one of the declared function."""
        case = self.case
        if output.dtype != np.float32 or case.op not in ORDERED:
            return None
        far = self.known.violated(output.astype(np.float64))
        if case.op not in NORMS and far.any():
            return None
        return match_order(case.op, case.arrays, case.params, output, found.rounded, order)

    def _found_order(self, meaning: Meaning, output: Array) -> OrderMatch | None:
        """The order of the function that was found, if it is an op on arrays: its own operands rounded."""
        found = meaning.found
        if found is None or output.dtype != np.float32 or found.op not in ORDERED:
            return None
        ending = ending_of(found)
        if len(found.after) > (ending is not None):
            return None
        if found.op not in PLANS and found.form is not None and found.changes:
            return None  # another formula, which no recipe is of
        if isinstance(found.form, str):
            return None
        bench = Bench(Declaration(self.case.op, self.case.arrays, self.case.params), output, self.truth)
        known = bench.whole(found)
        arrays = {name: np.ascontiguousarray(a) for name, a in rounded_arrays(found).items()}
        form = {name: how for name, how in form_of_operands(found).items() if name in FACTORS[found.op]}
        perfect = (known.value + known.rest).astype(np.float32)
        if ending is not None and SUM in form_of_operands(found):
            ending = replace(ending, bias=arrays.pop("bias"))
        return match_order(found.op, arrays, found.params, output, perfect, None, form, ending)

    def _replayed_eps(self, name: str, output: Array) -> tuple[Meaning, OrderMatch] | None:
        """Another eps with which a known recipe gives every bit, where none does with the declared one.

        A variance in one pass may lose more than such a change makes: no bound tells the two apart.
        """
        case = self.case
        if case.op not in NORMS or output.dtype != np.float32 or not np.isfinite(output).all():
            return None
        bench = Bench(Declaration(case.op, case.arrays, case.params), output, self.truth)
        if bench.stats is None or bench.declared.form.given is not None:
            return None
        for item in likely_eps(bench.declared, bench.stats, bench.output):
            params = {**case.params, "eps": item.form.eps}
            match = match_order(case.op, case.arrays, params, output, output)
            if match is not None and match.proved:
                return found_by_replay(bench, item, framework_of(name)), match
        return None

    def _one_pass(
        self, name: str, output: Array, match: OrderMatch, figures: Mapping[str, Any]
    ) -> OutputExplained:
        """What a variance in one pass makes of data that it cannot bear, predicted to the bit."""
        wild = int(np.sum(~np.isfinite(output) & np.isfinite(self.truth.value)))
        words = f"one pass in float32: NaN or Inf in {wild:,} of {output.size:,} outputs"
        detail = f"the variance is computed in one pass, and comes out as nothing or less; {match.words}"
        if not wild:
            words = f"one pass in float32: off by up to {figures['error_abs_max']:.3g}"
            detail = f"the variance is computed in one pass, where the mean's square swamps it; {match.words}"
        rest, parts = self._rest.causes(output, Meaning("rounding"), match)
        fix = "centre the data before, or compute the variance in two passes"
        cause = Cause("semantics", "variance", "two passes", words, None, None, "proved", detail, fix)
        return OutputExplained(name, "semantics", words, (cause, *rest), figures, parts=parts)

    def _elsewhere(self, output: Array) -> bool:
        """Whether the output is beyond the bound of the declared function by every way to its variance."""
        given = output.astype(np.float64)
        if not self.known.violated(given).any():
            return False
        return self.case.op not in NORMS or bool(self.limit(algorithm="welford").violated(given).any())

    def _ruined(self, output: Array) -> bool:
        """Whether the errors are no rounding of any formula: beyond each bound that says anything."""
        limits = (self.known, self.limit(algorithm="one_pass"))
        given = output.astype(np.float64)
        return all(each.violated(given).any() or not np.isfinite(each.limit).all() for each in limits)

    def errors(self, output: Array) -> Errors:
        """The errors of an output; a float64 one is compared with the truth rounded to float64."""
        found = errors(self.truth, output, self.rounded)
        return found if output.dtype == np.float32 else replace(found, rounded=self.truth.round(np.float64))

    def search(self, name: str, output: Array) -> Meaning:
        case = self.case
        framework = framework_of(name)
        _ = self.known  # what has no bound is refused here: a fault of the search is no fault of the case
        return search(case.op, case.arrays, case.params, output, truth=self.truth, framework=framework)

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
            f"{name!r} has {list(output.shape)}; {shape_hint(self.case, output, wanted)}"
        )


_WITHIN = "every output is that of the declared function, added in a known order"


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


def ending_of(found: Declaration) -> Ending | None:
    """How sums of products are rounded to a narrower format, where that is all that follows them."""
    last = found.changes[-1] if found.changes else None
    if last is None or last.parameter != "output" or len(found.after) != 1 or found.op not in PLANS:
        return None
    kind, mode = str(last.found).split()
    return Ending(kind, mode)


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
