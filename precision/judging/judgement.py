"""Judges one case in all its modes: truth, bounds and plain evaluation once, then every captured output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.capture import Capture
from precision.cases import VARIANTS, Case
from precision.inputs import checksum
from precision.judging import case_folder
from precision.judging.budget_rows import budget_rows, hidden_row, with_formula, with_transform
from precision.judging.case_details import Details
from precision.judging.case_folder import ShapeError
from precision.judging.case_judge import Judge
from precision.judging.distribution import error_map, histogram
from precision.judging.finding import OutputExplained, plain
from precision.judging.probe import Limits, Probe, judge_probe, probe_limits
from precision.judging.sampled_judgement import explained_sample, whole_index, whole_output
from precision.judging.transformed import winograd_words
from precision.judging.verdict import Evidence, Verdict, judge, probe_in_doubt, replayed
from precision.meaning.counterexample import Counterexample
from precision.modes import Mode
from precision.orders.revealed import Revealed
from precision.orders.sampled_recipes import recipe_candidates
from precision.orders.store import Order
from precision.sampling import Sampled
from precision.score import (
    Errors,
    bound_over_magnitude,
    condition,
    errors,
    largest_share,
    scores,
)
from reference import Truth, error_bound, formats, plain_float32, terms

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Row = dict[str, Any]

OUTPUT = "output"
MOST_NUMBERS = 1000
"""Of a counterexample that is kept: a larger one is no small one."""


@dataclass(frozen=True)
class Reference:
    """All that is known of a case before any framework's output is looked at."""

    case: Case
    judge: Judge
    truth: Truth
    probe: Limits
    width: Limits
    bounds: Mapping[str, Float64]
    terms: int
    plain: Row
    inputs: Mapping[str, str]
    arrays: Mapping[str, Float32]


@dataclass(frozen=True)
class Judged:
    """What one distinct output of a case comes to, shared by every mode that gave its bits."""

    found: Errors
    figures: Row
    shares: Mapping[str, float | None]


def reference_of(case: Case) -> Reference:
    """Compute the truth, the bounds and the plain evaluation of a case."""
    arrays, params = case.make("data"), case.declared("data")
    engine = _engine(case, "data")
    truth = engine.truth
    bounds = {
        kind: error_bound(case.op, arrays, params, truth, kind=kind)
        for kind in ("deterministic", "probabilistic")
    }
    plain = errors(truth, plain_float32(case.op, arrays, params))
    return Reference(
        case,
        engine,
        truth,
        probe_limits(case),
        probe_limits(case, "width"),
        bounds,
        terms(case.op, arrays, params),
        scores(truth, plain),
        {variant: checksum(case.make(variant)) for variant in VARIANTS},
        arrays,
    )


def _engine(case: Case, variant: str) -> Judge:
    """The judge that `precision explain` uses, of a variant of the case."""
    return Judge(case_folder.Case(case.op, case.declared(variant), case.make(variant), {}))


def case_row(reference: Reference, order: int) -> Row:
    """Return the case's row of `reports.schema.CASES`."""
    case, truth = reference.case, reference.truth
    median, largest = condition(truth)
    tolerance = reference.judge.tolerance()
    return {
        "case": case.id,
        "order": order,
        "title": case.title,
        "family": case.family,
        "op": case.op,
        "params": json.dumps(dict(case.params)),
        "shapes": json.dumps({name: list(array.shape) for name, array in case.arrays.items()}),
        "data": case.data,
        "note": case.note,
        "terms": reference.terms,
        "elements": truth.value.size,
        "condition_median": median,
        "condition_max": largest,
        "truth_tiers": json.dumps({name: int(count) for name, count in truth.tiers.items()}),
        "truth_uncertainty_ulp_max": _largest(truth.uncertainty_ulp(np.float32)),
        "plain_error_ulp_median": reference.plain["error_ulp_median"],
        "tolerance": None if tolerance is None else json.dumps(plain(asdict(tolerance))),
    }


class CaseJudge:
    """Judges the outputs of one case; equal bits are judged once.

    orders: by mode, the order of its kernel where it was revealed.
    """

    def __init__(self, reference: Reference, orders: Mapping[str, Order] | None = None) -> None:
        self.reference = reference
        self.orders = orders or {}
        self.budgets: list[Row] = []
        self.histograms: list[Row] = []
        self.maps: list[Row] = []
        self.details = Details(reference.judge.case, reference.truth)
        self._groups: dict[str, int] = {}
        self._judged: dict[str, Judged] = {}
        self._explained: dict[tuple[str, str], OutputExplained] = {}
        self._operand_bounds: dict[str, Float64] = {}

    def row(self, mode: Mode, capture: Capture) -> Row:
        """Return the cell's row of `reports.schema.SCORES`; its causes go to `budgets`."""
        row = self._identity(mode)
        case = self.reference.case
        cell = capture.cells.get(case.id)
        if capture.status != "run" or cell is None:
            status = "error" if capture.status == "error" else "not run"
            reason = capture.reason or _not_captured(mode)
            return {**row, **_verdict(Verdict(status, "none", reason))}
        if cell["status"] != "ok":
            return {**row, **_verdict(Verdict("error", "none", str(cell["reason"])))}
        row |= {
            "call_seconds": cell["seconds"],
            "repeat_distinct": cell["distinct"],
            "kernels": ", ".join(cell["kernels"]) or None,
        }
        if cell["inputs"] != dict(self.reference.inputs):
            reason = "the captured inputs are not the declared ones (their checksums differ)"
            return {**row, **_verdict(Verdict("data", "proved", reason))}
        return {**row, **self._score(mode, capture)}

    def _score(self, mode: Mode, capture: Capture) -> Row:
        reference, case = self.reference, self.reference.case
        samples = capture.samples(case.id)
        declared = reference.truth.value.shape
        # All variants have the same shapes, so one wrong shape is enough to tell.
        shapes = {sample.shape for sample in samples.values()}
        if shapes != {declared}:
            return self._misshapen(mode, samples["data"], next(iter(shapes - {declared})))
        chosen = self._worse(samples)
        group = self._group(chosen.sha256)
        judged = self._judge_bits(mode, chosen)
        explained = self._explain(mode, chosen, judged)
        kept = judged.found if chosen.whole else None
        self.details.add(self._where(mode), chosen.sha256, kept, explained)
        probe, width = (
            judge_probe(limits.kept(samples[variant].of), samples[variant].values)
            for variant, limits in (("probe", reference.probe), ("width", reference.width))
        )
        low = mode.operand_format if mode.operand_format != "binary32" and not self._normalizes else ""
        doubted = probe_in_doubt(probe, width, self._norm)
        shown = None
        if doubted and explained.verdict != "semantics" and samples[doubted].whole:
            shown = _engine(case, doubted).explained(mode.name, samples[doubted].values)
        verdict = judge(
            Evidence(
                explained,
                probe,
                width,
                judged.shares["deterministic"],
                judged.shares["probabilistic"],
                largest_share(judged.found, chosen.of(self._operand_bound(low))) if low else None,
                self._one_pass(judged, chosen),
                self._norm,
                shown,
                low,
                case.call(mode.framework, "data"),
                case.params,
                int(capture.cells[case.id]["distinct"]),
                winograd_words(case, samples) if width.unlikely else "",
            )
        )
        example = next((each for each in (explained, shown) if each and each.verdict == "semantics"), None)
        self._add_budget(mode, explained, shown, verdict)
        return {
            **group,
            **judged.figures,
            **_probe_figures(probe, width),
            **_verdict(verdict),
            "counterexample": _counterexample(example) if verdict.verdict == "semantics" else None,
        }

    @property
    def _norm(self) -> bool:
        return self.reference.case.family == "normalization"

    @property
    def _normalizes(self) -> bool:
        """Whether there are no products of which a mode may round the operands."""
        return self.reference.case.family.startswith("normalization")

    def _worse(self, samples: Mapping[str, Sampled]) -> Sampled:
        """The output that is judged: of two calls that differ the one farther from the truth."""

        def distance(sample: Sampled) -> float:
            found = errors(self.reference.truth.arranged(sample.of), sample.values)
            return math.inf if found.nonfinite.any() else float(np.max(np.abs(found.scaled), initial=0.0))

        calls = [samples[variant] for variant in ("data", "repeat") if variant in samples]
        return max(calls, key=distance) if len(calls) > 1 else calls[0]

    def _misshapen(self, mode: Mode, sample: Sampled, found: tuple[int, ...]) -> Row:
        """An output of another shape than declared: another function, which the search may name."""
        declared = list(self.reference.truth.value.shape)
        group = self._group(sample.sha256)
        reason = f"another function: the output has shape {list(found)}, declared is {declared}"
        example = None
        if sample.whole and sample.shape == found:
            try:
                explained = self._explain(mode, sample, None)
            except ShapeError:
                pass  # no change of the declaration gives this output: its shape is all there is to say
            else:
                reason += f"; {explained.reason}"
                example = _counterexample(explained)
                self._add_budget(mode, explained, None, None)
        verdict = Verdict("semantics", "proved", reason)
        return {**group, **_verdict(verdict), "counterexample": example}

    def _explain(self, mode: Mode, sample: Sampled, judged: Judged | None) -> OutputExplained:
        """What the search says of an output; the mends are in the words of the mode's framework."""
        order, digest = self.orders.get(mode.name), sample.sha256
        key = digest, mode.framework
        known = self._explained.get(key)
        if known is None:
            other = next((each for (bits, _), each in self._explained.items() if bits == digest), None)
            # Only a mend depends on the framework: where nothing is to be mended, one judgement does.
            named = other is not None and any(each.parameter is not None for each in other.causes)
            known = None if named else other
        if known is None or (order is not None and known.verdict == "rounding" and not replayed(known)):
            known = self._judge_whole(mode, sample, order, judged)
        self._explained[key] = known
        return known

    def _judge_whole(
        self, mode: Mode, sample: Sampled, order: Order | None, judged: Judged | None
    ) -> OutputExplained:
        truth, arrays = self.reference.truth, self.reference.arrays
        candidates: list[Callable[[], Float32]] = [lambda: truth.round(np.float32)]
        if isinstance(order, Revealed):
            candidates.append(lambda: order.replay(arrays))
        case = self.reference.case
        recipes = recipe_candidates(case.op, arrays, case.params, sample) if self._norm else ()
        whole = whole_output(sample, chain(candidates, recipes))
        if whole is not None or judged is None:
            output = sample.values if whole is None else whole
            return self.reference.judge.explained(mode.name, output, order)
        limit = sample.of(self.reference.bounds["deterministic"])
        return explained_sample(
            mode.name, truth.arranged(sample.of), judged.found, limit, sample, judged.figures
        )

    def _add_budget(
        self,
        mode: Mode,
        explained: OutputExplained,
        shown: OutputExplained | None,
        verdict: Verdict | None,
    ) -> None:
        """Add the causes; of another function also those that only a probe or the verdict names."""
        where = self._where(mode)
        rows = [with_transform(row, verdict.transform if verdict else "") for row in budget_rows(explained)]
        if verdict is not None and verdict.verdict == "semantics" and explained.verdict != "semantics":
            rows = [with_formula(row) for row in rows]
            rows += [hidden_row(row) for row in budget_rows(shown) if row["parameter"]] if shown else []
        self.budgets += [{**where, **row} for row in rows]

    def _group(self, digest: str) -> Row:
        return {"bits_sha256": digest, "bits_group": self._groups.setdefault(digest, len(self._groups) + 1)}

    def _judge_bits(self, mode: Mode, sample: Sampled) -> Judged:
        digest = sample.sha256
        if digest not in self._judged:
            truth = self.reference.truth.arranged(sample.of)
            bounds = {name: sample.of(bound) for name, bound in self.reference.bounds.items()}
            found = errors(truth, sample.values)
            shares = {name: largest_share(found, bound) for name, bound in bounds.items()}
            figures = whole_index(scores(truth, found), sample)
            plain = self.reference.plain["error_abs_rms"]
            figures |= {
                "bound_deterministic_over_magnitude": bound_over_magnitude(truth, bounds["deterministic"]),
                "bound_probabilistic_over_magnitude": bound_over_magnitude(truth, bounds["probabilistic"]),
                "error_over_bound_max": shares["deterministic"],
                "error_over_plain": figures["error_abs_rms"] / plain
                if plain and figures["error_abs_rms"] is not None
                else None,
                "truth_uncertainty_ulp_max": _largest(truth.uncertainty_ulp(np.float32)),
            }
            figures["condition_median"], figures["condition_max"] = condition(truth)
            self._judged[digest] = Judged(found, figures, shares)
            if sample.whole:
                where = self._where(mode)
                self.maps += [{**where, **block} for block in error_map(found)]
        judged = self._judged[digest]
        where = self._where(mode)
        self.histograms += [{**where, **row} for row in histogram(judged.found)]
        return judged

    def _one_pass(self, judged: Judged, sample: Sampled) -> float | None:
        """Largest |error| over the bound of a variance in one pass, where that of two passes does not do."""
        within = judged.shares["deterministic"] is not None and judged.shares["deterministic"] <= 1
        if within or not self._norm:
            return None
        case, truth = self.reference.case, self.reference.truth
        limit = error_bound(case.op, self.reference.arrays, case.params, truth, algorithm="one_pass")
        return largest_share(judged.found, sample.of(limit))

    def _operand_bound(self, name: str) -> Float64:
        if name not in self._operand_bounds:
            case = self.reference.case
            # Twice the unit roundoff of round to nearest: kernels may truncate their operands.
            roundoff = 2.0 * formats.FORMATS[name].unit_roundoff
            self._operand_bounds[name] = error_bound(
                case.op, self.reference.arrays, case.params, self.reference.truth, operand_roundoff=roundoff
            )
        return self._operand_bounds[name]

    def _where(self, mode: Mode) -> Row:
        return {"case": self.reference.case.id, "mode": mode.name, "output": OUTPUT}

    def _identity(self, mode: Mode) -> Row:
        return {**self._where(mode), "framework": mode.framework, "device": mode.device}


def _not_captured(mode: Mode) -> str:
    if mode.output_format != "binary32":
        return f"sums come out in {mode.output_format}: probes alone are recorded"
    return "not captured: the run was stopped before it, or asked for other cases"


def _verdict(verdict: Verdict) -> Row:
    return {"verdict": verdict.verdict, "evidence": verdict.evidence, "reason": verdict.reason}


def _probe_figures(probe: Probe, width: Probe) -> Row:
    return {
        "probe_mismatches": probe.mismatches,
        "probe_error_abs_max": probe.error_abs_max,
        "width_error_over_magnitude_max": width.error_relative_max,
    }


def _largest(values: Float64) -> float | None:
    return float(np.max(values)) if values.size else None


def _counterexample(explained: OutputExplained | None) -> str | None:
    """The smallest integers that show the difference, as JSON; None where there are none, or too many."""
    example: Counterexample | None = None if explained is None else explained.counterexample
    if example is None:
        return None
    found = {"declared": example.declared, "found": example.found}
    if sum(np.size(array) for array in (*example.arrays.values(), *found.values())) > MOST_NUMBERS:
        return None
    return json.dumps(plain({"arrays": dict(example.arrays), **found}))
