"""Made-up results: six cases in eight modes that ran and four that did not; no framework is asked."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from reports.schema import OPTIONAL, TABLES, validate
from reports.store import Results

CASES = (
    # id, title, op, K, elements, error scale in ulp
    ("conv2d-5x5-s2", "conv2d 5×5 s2 256→512", "conv2d", 6400, 65536, 1.2),
    ("conv2d-1x1", "conv2d 1×1 64→128", "conv2d", 64, 8192, 0.4),
    ("batch-norm-train", "batch_norm, training, 32×64×8×8", "batch_norm", 2048, 131072, 0.6),
    ("layer-norm-offset", "layer_norm of data with mean 1000", "layer_norm", 512, 4096, 30.0),
    ("linear-1024", "linear 1024→512", "linear", 1024, 16384, 0.7),
    ("conv2d-integers", "conv2d of small integers", "conv2d", 225, 2048, 0.0),
)
MODES = (
    # name, framework, factor on the error, bits group
    ("torch.cpu", "torch", 1.0, 0),
    ("torch.cpu.threads1", "torch", 1.0, 0),
    ("torch.cpu.channels_last", "torch", 12.0, 1),
    ("torch.cpu.bf16", "torch", 400.0, 2),
    ("torch.cpu.native", "torch", 0.9, 3),
    ("tensorflow.cpu", "tensorflow", 12.0, 1),
    ("tensorflow.cpu.eigen", "tensorflow", 1.1, 4),
    ("tensorflow.cpu.bf16", "tensorflow", 400.0, 2),
)
ABSENT = ("torch.cuda", "torch.cuda.tf32", "torch.cuda.deterministic", "tensorflow.cuda")
NO_GPU = "this machine has no CUDA device"
EDGES = (-math.inf, -64.0, -16.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 16.0, 64.0, math.inf)

RUN: dict[str, Any] = {
    "schema": 2,
    "suite": "synthetic",
    "title": "A made-up report",
    "created": "2000-01-02T03:04:05+00:00",
    "command": "precision report synthetic -o report",
    "machine": {"processor": "Imaginary CPU", "cores": "2"},
    "versions": {"torch": "0.0.1", "tensorflow": "0.0.2"},
}


def results() -> Results:
    """Results with every verdict, two outputs in one case, and modes that were not run."""
    random = np.random.default_rng(7)
    scores, budgets, histograms, maps = [], [], [], []
    details: dict[str, list[dict[str, Any]]] = {"profiles": [], "orders": [], "expected": []}
    for number, case in enumerate(CASES):
        for mode in MODES:
            for output in ("output", "running_mean") if case[0] == "batch-norm-train" else ("output",):
                row = _score(number, case, mode, output)
                scores.append(row)
                if row["verdict"] == "error":
                    continue
                cell = {"case": case[0], "mode": mode[0], "output": output}
                budgets += [cell | part for part in _budget(row)]
                spread = max(case[5] * mode[2], 0.01)
                for name, rows in _details(case, row, spread).items():
                    details[name] += [cell | each for each in rows]
                sample = np.random.default_rng([number, mode[3]]).normal(0, spread, 4000)
                counts, _ = np.histogram(sample, np.array(EDGES))
                for left, right, amount in zip(EDGES, EDGES[1:], counts, strict=False):
                    histograms.append(
                        cell | {"bin_left_ulp": left, "bin_right_ulp": right, "count": int(amount)}
                    )
                if case[2] == "conv2d":
                    maps += [
                        cell | {"row": r, "column": c, "error_scaled_ulp_mean": 0.1 * spread}
                        | {"error_scaled_ulp_rms": spread * (1 + 0.2 * random.random())}
                        for r in range(4) for c in range(8)
                    ]  # fmt: skip
        scores += [
            _empty("scores")
            | {"case": case[0], "mode": name, "output": "output", "framework": name.split(".")[0]}
            | {"device": "cuda", "verdict": "not run", "evidence": "none", "reason": NO_GPU}
            for name in ABSENT
        ]
    return Results(
        scores=frame("scores", scores),
        budgets=frame("budgets", budgets),
        cases=frame("cases", [_case(number, case) for number, case in enumerate(CASES)]),
        modes=frame("modes", [_mode(number, name) for number, name in enumerate([*MODES, *ABSENT])]),
        histograms=frame("histograms", histograms),
        maps=frame("maps", maps),
        **{name: frame(name, rows) for name, rows in details.items()},
        run=json.loads(json.dumps(RUN)),
    )


def frame(table: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A validated table of these rows; it may have none."""
    names = [column.name for column in {**TABLES, **OPTIONAL}[table]]
    return validate(table, pd.DataFrame(rows, columns=names))


TREE = {
    "schema": 1, "leaves": 6, "bias": False, "accumulator": "binary32", "operands": "binary32",
    "zero_start": False, "flush": False, "axes": [],
    "root": {"series": [{"run": [[0, 3, 1]], "fused": True}, {"run": [[3, 3, 1]], "fused": True}]},
}  # fmt: skip


def _details(case: Any, row: dict[str, Any], spread: float) -> dict[str, list[dict[str, Any]]]:
    """Errors along channels and conditions, the order of a convolution, and what it lets expect."""
    size = {"count": 64, "error_ulp_rms": spread, "error_scaled_ulp_rms": spread}
    size["error_scaled_ulp_mean"] = 0.0
    found = {
        "profiles": [
            *({"axis": "channel", "low": c, "high": c, **size} for c in range(5)),
            *({"axis": "condition", "low": 2.0**c, "high": 2.0 ** (c + 1), **size} for c in range(4)),
        ],
        "orders": [],
        "expected": [],
    }
    if case[2] == "conv2d" and row["verdict"] == "rounding":
        order = {"where": "all outputs", "words": "2 blocks of 3 terms", "evidence": "proved"}
        found["orders"] = [order | {"tree": json.dumps(TREE), "expected_ulp_rms": spread}]
        normal = [0.5 * (1 + math.erf(edge / spread / math.sqrt(2))) for edge in EDGES]
        found["expected"] = [
            {"bin_left_ulp": EDGES[i], "bin_right_ulp": EDGES[i + 1]}
            | {"expected": 4000 * (normal[i + 1] - normal[i])}
            for i in range(len(EDGES) - 1)
        ]
    return found


def _empty(table: str) -> dict[str, Any]:
    return dict.fromkeys(column.name for column in TABLES[table])


def _score(number: int, case: Any, mode: Any, output: str) -> dict[str, Any]:
    name, framework, factor, group = mode
    row = _empty("scores") | {
        "case": case[0], "mode": name, "output": output, "framework": framework, "device": "cpu",
    }  # fmt: skip
    if case[0] == "linear-1024" and name == "tensorflow.cpu.eigen":
        return row | {"verdict": "error", "evidence": "none", "reason": "the worker was killed"}
    rms = case[5] * factor
    verdict, evidence, reason = "rounding", "bounded", "within the bound for any order of the sum"
    if rms == 0:
        verdict, evidence, reason = "exact", "proved", "every element is the correctly rounded truth"
    elif group == 1:
        evidence, reason = "proved", "the replay of the revealed order gives the same bits"
    if case[0] == "conv2d-1x1" and framework == "tensorflow":
        verdict, evidence, reason = "semantics", "proved", "pads 0, 1, 0, 1 where 1, 1, 1, 1 was declared"
        rms, group = 1.2e6, 8
        row |= {"counterexample": json.dumps({"arrays": {"input": [[2.0]]}, "declared": 1.0, "found": 3.0})}
    if case[0] == "layer-norm-offset" and name == "torch.cpu.native":
        verdict, evidence, reason = "unexplained", "none", "larger than the worst-case bound"
    return row | {
        "verdict": verdict, "evidence": evidence, "reason": reason, "elements": case[4],
        "error_abs_max": rms * 4e-7, "error_abs_mean": rms * 0.8e-7, "error_abs_rms": rms * 1e-7,
        "error_ulp_median": rms * 0.67, "error_ulp_p99": rms * 2.6, "error_ulp_max": rms * 4.5,
        "error_scaled_ulp_max": rms * 4.4, "error_scaled_ulp_rms": rms, "worst_condition": 1.5,
         "error_ulp_rms": rms, "error_ulp_mean": -0.01 * rms,
        "share_correctly_rounded": 1.0 if rms == 0 else min(1.0, 0.4 / max(rms, 0.4)),
        "relative_l2": rms * 3e-8, "cosine": 1.0 - rms * 1e-12, "angle_rad": rms * 1e-8,
        "error_over_magnitude_max": rms * 2e-8, "bound_deterministic_over_magnitude": case[3] * 6e-8,
        "bound_probabilistic_over_magnitude": math.sqrt(case[3]) * 2.4e-7,
        "error_over_bound_max": rms / case[3], "condition_median": 1.0, "condition_max": 1.5,
        "truth_uncertainty_ulp_max": 1e-6, "zero_truth_mismatches": 0, "nonfinite_mismatches": 0,
        "signed_zero_mismatches": 0, "error_over_plain": factor, "probe_mismatches": 0,
        "probe_error_abs_max": 0.0, "width_error_over_magnitude_max": 0.0, "repeat_distinct": 1,
        "bits_group": group,
        "bits_sha256": f"{number:02x}{group:02x}" * 16, "worst_index": "[0, 1, 2, 3]",
        "worst_got": 1.0 + 2**-20, "worst_rounded": 1.0, "worst_got_hex": "0x1.000010p+0",
        "worst_rounded_hex": "0x1.000000p+0", "worst_exact": "1.00000000000000000021", "call_seconds": 0.01,
    }  # fmt: skip


def _budget(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A budget that fits the verdict; its shares add up to 1 unless there is no error."""
    size = {"part_ulp_rms": row["error_ulp_rms"], "part_ulp_mean": 0.01, "part_abs_max": row["error_abs_max"]}
    words = {"parameter": None, "declared": None, "found": None, "detail": "as made up", "fix": ""}
    rounding = {"cause": "output rounding", "evidence": "proved", "share": -0.002, **size, **words}
    if row["verdict"] == "exact":
        return [rounding | {"share": 0.0}]
    main = {"cause": "accumulation", "evidence": row["evidence"], "share": 1.002, **size, **words}
    if row["verdict"] == "unexplained":
        main |= {"cause": "unexplained"}
    if row["verdict"] == "semantics":
        main |= {"cause": "semantics", "parameter": "padding", "declared": "[1, 1, 1, 1]"}
        main |= {"found": "[0, 1, 0, 1]", "fix": "pad by tf.pad first"}
    return [rounding, main]


def _case(number: int, case: Any) -> dict[str, Any]:
    name, title, op, terms, elements, scale = case
    family = {"conv2d": "convolution", "linear": "linear"}.get(op, "normalization")
    return {
        "case": name, "order": number, "title": title, "family": family, "op": op,
        "params": json.dumps({"stride": 2, "padding": [1, 2, 1, 2]} if op == "conv2d" else {"eps": 1e-5}),
        "shapes": json.dumps({"input": [16, 256, 16, 32], "weight": [512, 256, 5, 5]}),
        "data": "uniform in [0, 1), seed 7", "note": "made up to exercise the report", "terms": terms,
        "elements": elements, "condition_median": 1.0, "condition_max": 1.5,
        "truth_tiers": json.dumps({"float64": elements - 3, "split": 3}), "truth_uncertainty_ulp_max": 1e-6,
        "plain_error_ulp_median": scale, "tolerance": json.dumps({"rtol": 0.001, "atol": 0.0}),
    }  # fmt: skip


def _mode(number: int, mode: Any) -> dict[str, Any]:
    absent = isinstance(mode, str)
    name = mode if absent else mode[0]
    return {
        "mode": name, "order": number, "framework": name.split(".")[0], "device": name.split(".")[1],
        "title": f"{name} as made up", "status": "not run" if absent else "run",
        "reason": NO_GPU if absent else "", "environment": json.dumps({"IMAGINARY": "1"}),
        "switches": json.dumps({"tf32": False}), "read_back": json.dumps({} if absent else {"tf32": False}),
        "versions": json.dumps({} if absent else {"framework": "0.0.1", "threads": 2}),
    }  # fmt: skip
