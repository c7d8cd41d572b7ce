"""Judges one case in all its modes: truth, bounds and plain evaluation once, then every captured output."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.capture import Capture
from precision.cases import VARIANTS, Case
from precision.distribution import error_map, histogram
from precision.inputs import checksum
from precision.modes import Mode
from precision.probe import Limits, Probe, judge_probe, probe_limits
from precision.score import (
    Errors,
    bound_over_magnitude,
    condition,
    errors,
    largest_share,
    scores,
)
from precision.verdict import Evidence, Shares, Verdict, judge
from reference import Truth, error_bound, evaluate, formats, plain_float32, terms

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Row = dict[str, Any]

OUTPUT = "output"


@dataclass(frozen=True)
class Reference:
    """All that is known of a case before any framework's output is looked at."""

    case: Case
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
    truth = evaluate(case.op, arrays, params)

    def bound(**options: Any) -> Float64:
        limits: Float64 = error_bound(case.op, arrays, params, truth, **options)
        return limits

    bounds = {"deterministic": bound(), "probabilistic": bound(kind="probabilistic")}
    if case.family == "normalization":
        bounds["one_pass"] = bound(algorithm="one_pass")
    plain = errors(truth, plain_float32(case.op, arrays, params))
    return Reference(
        case,
        truth,
        probe_limits(case),
        probe_limits(case, "width"),
        bounds,
        terms(case.op, arrays, params),
        scores(truth, plain),
        {variant: checksum(case.make(variant)) for variant in VARIANTS},
        arrays,
    )


def case_row(reference: Reference, order: int) -> Row:
    """Return the case's row of `reports.schema.CASES`."""
    case, truth = reference.case, reference.truth
    median, largest = condition(truth)
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
    }


class CaseJudge:
    """Judges the outputs of one case; equal bits are judged once."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.histograms: list[Row] = []
        self.maps: list[Row] = []
        self._groups: dict[str, int] = {}
        self._judged: dict[str, Judged] = {}
        self._operand_bounds: dict[str, Float64] = {}

    def row(self, mode: Mode, capture: Capture) -> Row:
        """Return the cell's row of `reports.schema.SCORES`."""
        row = self._identity(mode)
        case = self.reference.case
        cell = capture.cells.get(case.id)
        if capture.status != "run" or cell is None:
            status = "error" if capture.status == "error" else "not run"
            reason = capture.reason or "not captured: the run was stopped before it, or asked for other cases"
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
        outputs = capture.outputs(case.id)
        declared = reference.truth.value.shape
        # All variants have the same shapes, so one wrong shape is enough to tell.
        shapes = {output.shape for output in outputs.values()}
        if shapes != {declared}:
            group = self._group(outputs["data"])[1]
            found = next(iter(shapes - {declared}))
            reason = f"another function: the output has shape {list(found)}, declared is {list(declared)}"
            return {**group, **_verdict(Verdict("semantics", "proved", reason))}
        chosen = outputs["data"]
        if "repeat" in outputs:
            chosen = max((chosen, outputs["repeat"]), key=self._distance)
        digest, group = self._group(chosen)
        judged = self._judge_bits(mode, digest, chosen)
        probe, width = (
            judge_probe(reference.probe, outputs["probe"]),
            judge_probe(reference.width, outputs["width"]),
        )
        low = (
            mode.operand_format
            if mode.operand_format != "binary32" and case.family != "normalization"
            else ""
        )
        verdict = judge(
            Evidence(
                judged.found,
                probe,
                width,
                self._shares(judged, low),
                low,
                case.call(mode.framework, "data"),
                case.params,
                int(capture.cells[case.id]["distinct"]),
            )
        )
        return {**group, **judged.figures, **_probe_figures(probe, width), **_verdict(verdict)}

    def _group(self, output: Float32) -> tuple[str, Row]:
        digest = hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()
        number = self._groups.setdefault(digest, len(self._groups) + 1)
        return digest, {"bits_sha256": digest, "bits_group": number}

    def _distance(self, output: Float32) -> float:
        """How far an output is from the truth, for choosing the worse of two repeats."""
        found = errors(self.reference.truth, output)
        return math.inf if found.nonfinite.any() else float(np.max(np.abs(found.scaled), initial=0.0))

    def _judge_bits(self, mode: Mode, digest: str, output: Float32) -> Judged:
        if digest not in self._judged:
            truth, bounds = self.reference.truth, self.reference.bounds
            found = errors(truth, output)
            shares = {name: largest_share(found, bound) for name, bound in bounds.items()}
            figures = scores(truth, found)
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
            where = {"case": self.reference.case.id, "mode": mode.name, "output": OUTPUT}
            self.maps += [{**where, **block} for block in error_map(found)]
        judged = self._judged[digest]
        where = {"case": self.reference.case.id, "mode": mode.name, "output": OUTPUT}
        self.histograms += [{**where, **row} for row in histogram(judged.found)]
        return judged

    def _shares(self, judged: Judged, low_format: str) -> Shares:
        shares = judged.shares
        return Shares(
            shares["deterministic"],
            shares["probabilistic"],
            largest_share(judged.found, self._operand_bound(low_format)) if low_format else None,
            shares.get("one_pass"),
            "one_pass" in shares,
        )

    def _operand_bound(self, name: str) -> Float64:
        if name not in self._operand_bounds:
            case = self.reference.case
            # Twice the unit roundoff of round to nearest: kernels may truncate their operands.
            roundoff = 2.0 * formats.FORMATS[name].unit_roundoff
            self._operand_bounds[name] = error_bound(
                case.op, self.reference.arrays, case.params, self.reference.truth, operand_roundoff=roundoff
            )
        return self._operand_bounds[name]

    def _identity(self, mode: Mode) -> Row:
        return {
            "case": self.reference.case.id,
            "mode": mode.name,
            "output": OUTPUT,
            "framework": mode.framework,
            "device": mode.device,
        }


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
