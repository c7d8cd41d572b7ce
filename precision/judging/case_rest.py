"""What is left of an output's error beside the findings: algorithm, accumulation, rounding, unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.accumulation_evidence import AccumulationEvidence, accumulation_evidence
from precision.judging.budget import Budget, Level, budget
from precision.judging.finding import Cause
from precision.meaning.bench import Bench
from precision.meaning.hypotheses import OPERANDS, RESULT, Declaration, Known
from precision.meaning.norm_form import NORMS
from precision.meaning.search import Meaning
from precision.orders.match import OrderMatch
from reference import Truth, terms
from reference.sum_ops import FACTORS

if TYPE_CHECKING:
    from precision.judging.case_judge import Judge

Array = NDArray[Any]

SINGLE, DOUBLE = 2.0**-24, 2.0**-52
"""Unit roundoffs of the search: see `precision.meaning.bench`."""
_VARIANCES = NORMS | {"var", "std", "batch_norm_var", "batch_norm_invstd"}
_LOOK = "judge a smaller layer, or the part of the output that is named, to find the difference"


class Rest:
    """Splits what the findings leave of the error of a judge's outputs."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.case, self.truth = judge, judge.case, judge.truth

    @property
    def known(self) -> Known:
        """The declared function with its limit."""
        return self.judge.known

    def causes(
        self, output: Array, meaning: Meaning, match: OrderMatch | None = None
    ) -> tuple[tuple[Cause, ...], Budget | None]:
        """What the findings leave of the error: algorithm, accumulation, output rounding, or not known."""
        computed = self._computed(output, meaning)
        if computed is None:
            return (), None
        known, words = computed
        within = meaning.verdict != "unexplained"
        meant = _truth(known) if meaning.findings else None
        if output.dtype == np.float32:
            parts = self._in_single(output, meaning, known, within, match)
        else:
            parts = self._in_double(output, meant or self.truth, within)
        causes = []
        for row in parts.table():
            cause, share, evidence = row["cause"], row["share"], row["evidence"]
            if cause in ("semantics", "operand rounding") or (
                cause == "output rounding" and _rounded_once_more(meaning)
            ):
                continue  # the findings say it
            needed = meaning.verdict == "rounding" and not meaning.findings
            needed &= cause == "accumulation" or (cause == "output rounding" and output.dtype == np.float32)
            needed |= meaning.verdict == "unexplained" and cause == "unexplained"
            needed |= cause == "accumulation" and _rounded_once_more(meaning)
            if (share == 0.0 and row["rms_ulp"] == 0.0 and not needed) or (
                cause == "accumulation" and evidence == "none"
            ):
                continue
            detail, fix = "what even a perfect sum loses: half an ulp at most", ""
            if cause == "algorithm" and match is not None:
                detail = f"{match.formula_words}: what it adds to the error of two passes in the same orders"
                fix = "compute the variance in two passes where the mean is large"
            if meaning.findings and evidence == "proved" and (cause != "accumulation" or not match):
                evidence = "bounded"  # the found function is known to float64, not certified
            if cause == "accumulation":
                detail, weaker = self._accumulation(known, output, words, match)
                evidence = weaker or evidence
            elif cause == "unexplained":
                detail, fix = self._left(output, meaning, match), _LOOK
                evidence = "none"
            causes.append(Cause(cause, None, None, None, share, row["rms_ulp"], evidence, detail, fix))
        return tuple(causes), parts

    def _in_single(
        self, output: Array, meaning: Meaning, known: Known, within: bool, match: OrderMatch | None
    ) -> Budget:
        """The budget of a float32 output."""
        meant = _truth(known) if meaning.findings else None
        operands = bool(meaning.findings) and all(each.cause == OPERANDS for each in meaning.findings)
        worst = known.limit if within else None
        if match is not None and match.bound is not None:
            worst = match.bound + self.truth.bound
        if _rounded_once_more(meaning):
            return self._narrow(output, meaning, known, match)
        formula = None
        if match is not None and match.formula is not None:
            base = self.truth if meant is None else meant
            value = base.value + match.formula
            formula = Truth(value, base.residual, np.zeros(value.shape), np.abs(value))
        return budget(
            self.truth,
            output,
            meant=None if operands else meant,
            rounded=meant if operands else None,
            formula=formula,
            replay=None if match is None else match.replay,
            worst=worst,
            perfect=self.judge.rounded,
        )

    def _narrow(self, output: Array, meaning: Meaning, known: Known, match: OrderMatch | None) -> Budget:
        """The budget of results in a narrower format: another function, its operands, then its results."""
        exact, last = Level.of_truth(self.truth), Level.of_output(output)
        meant = operands = exact
        for finding, step in zip(meaning.findings, meaning.steps, strict=False):
            if finding.cause == OPERANDS:
                operands = _level(step)
            elif finding.cause != RESULT:
                meant = operands = _level(step)
        replayed = last if match is None or not match.proved else Level.of_output(match.replay)
        evidence = dict.fromkeys(("output rounding", "accumulation"), "bounded")
        if match is not None and match.proved:
            evidence["accumulation"] = "proved"
        levels = (exact, meant, operands, operands, _level(known), replayed, last)
        return Budget(levels, evidence, self.truth.ulp())

    def _left(self, output: Array, meaning: Meaning, match: OrderMatch | None) -> str:
        """What is known of the unexplained part."""
        if meaning.verdict == "unexplained" or match is None:
            return meaning.reason + self.not_finite(output)
        wrong = (match.replay != output) & ~np.isnan(match.replay)
        first = [int(i) for i in np.argwhere(wrong)[0]] if wrong.any() else []
        return f"{int(wrong.sum()):,} outputs differ from this order, the first at {first}"

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
            found = meaning.known
            if found is None:
                bench = Bench(Declaration(case.op, case.arrays, case.params), output, self.truth)
                found = bench.whole(meaning.found)
            return (found, " of the found function") if found.value.shape == output.shape else None
        known = self.known if single else self.judge.limit(DOUBLE)
        if case.op in _VARIANCES and known.violated(output.astype(np.float64)).any():
            for algorithm in ("welford", "one_pass"):
                other = self.judge.limit(SINGLE if single else DOUBLE, algorithm)
                if not other.violated(output.astype(np.float64)).any():
                    return other, f" of a variance by {algorithm}"
        return known, ""

    def _accumulation(
        self, known: Known, output: Array, words: str, match: OrderMatch | None
    ) -> tuple[str, str]:
        """The order in words, or how much of the limit is used; and the evidence where that is weaker."""
        count = terms(self.case.op, self.case.arrays, self.case.params)
        sums = f"; {count:,} terms a sum" if count > 1 else ""
        if match is not None and match.proved:
            return match.words + sums, ""
        order = "" if match is None else f"; {match.words}"
        found = self._statistics(known, output)
        told = "" if found is None else f"; {found.words}"
        limit, kind = known.limit, "in any order"
        if match is not None and match.bound is not None:
            limit, kind = match.bound + known.limit * 2.0**-40, "in this order"
        if not np.isfinite(limit).all():
            weak = "consistent" if found is not None and found.consistent else "none"
            return f"the worst-case bound is infinite on this data: it cannot tell{order}{told}", weak
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(known.error(output.astype(np.float64)))
            used = float(np.max(np.where(error > 0, error / limit, 0.0), initial=0.0))
        single = "float32" if output.dtype == np.float32 else "float64"
        return f"at most {used:.2g} of the worst-case bound{words} for {single} {kind}{order}{told}{sums}", ""

    def _statistics(self, known: Known, output: Array) -> AccumulationEvidence | None:
        """What the errors say of the accumulator where no order is proved; None where they say nothing."""
        case = self.case
        summed = bool(FACTORS.get(case.op)) or case.op in ("sum", "mean")
        if known is not self.known or output.dtype != np.float32 or not summed:
            return None
        return accumulation_evidence(self.truth, output, max(1, terms(case.op, case.arrays, case.params)))

    def not_finite(self, output: Array) -> str:
        """Where NaN or Inf stand in the place of finite numbers, in words; empty where none do."""
        if np.isfinite(output).all():
            return ""
        wild = ~np.isfinite(output) & np.isfinite(self.judge.rounded)
        if not wild.any():
            return ""
        first = [int(i) for i in np.argwhere(wild)[0]]
        overflow = not np.isfinite(self.known.limit[wild]).any()
        why = ", where a sum of these terms can overflow on its way" if overflow else ""
        return (
            f"; {int(wild.sum())} outputs are NaN or Inf where the truth is finite, the first at {first}{why}"
        )


def _truth(known: Known) -> Truth:
    """A function that was found as if it were certified: it is known to float64."""
    return Truth(known.value, known.rest, np.zeros(known.value.shape), np.abs(known.value))


def _level(known: Known) -> Level:
    return Level(known.value, known.rest, np.zeros(known.value.shape))


def _rounded_once_more(meaning: Meaning) -> bool:
    return any(each.cause == RESULT for each in meaning.findings)
