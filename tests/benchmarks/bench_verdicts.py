"""How good the verdicts are: `python bench_verdicts.py -o FILE.json` writes the figures.

Some 330 cells from real frameworks in every CPU mode that runs here, half as declared, half with a planted
difference, judged through `precision.explain`; what is planted, and which of it can be seen, is said in
`verdict_cells`. Ends with status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from bench_verdicts_collect import Output, cells, cpu_modes, judgeable, large_cells, outputs
from bench_verdicts_score import Row, Said, missed_goals, row_of, shown, summary, today

import precision
from precision.judging.case_folder import CaseError
from precision.meaning.bench import Bench
from precision.meaning.hypotheses import Declaration
from precision.requirements import cpu_model

SEED, COUNT = 12, 330


def engine(output: Output) -> Said:
    """The public surface: `precision.explain`."""
    cell = output.cell
    case = {"op": cell.layer.op, "params": dict(cell.layer.params), "arrays": dict(cell.layer.arrays)}
    try:
        found = precision.explain(case, {cell.mode: output.value}).outputs[cell.mode]
    except CaseError as reason:
        return Said("refused", {}, words=str(reason))
    causes = [cause for cause in found.causes if cause.parameter is not None]
    kind = "rounding" if found.verdict == "exact" else found.verdict
    if kind == "rounding" and any(cause.cause == "operand rounding" for cause in causes):
        kind = "operand rounding"
    elif kind == "rounding" and causes:
        kind = "semantics"  # a finding on an output that is called rounding: no cell asks for one
    others: tuple[Any, ...] = ()
    if found.meaning is not None and found.meaning.findings:
        others = tuple(dict(other.changes) for other in found.meaning.findings[0].alternatives)
    named = {cause.parameter: cause.found for cause in causes}
    return Said(kind, named, others, lambda: _values(output, found.meaning), found.reason)


def _values(output: Output, meaning: Any) -> np.ndarray | None:
    """The found function in float64; asked for only where another value of a parameter was named."""
    layer = output.cell.layer
    if meaning is None or meaning.found is None:
        return None
    bench = Bench(Declaration(layer.op, layer.arrays, layer.params), output.value, output.truth)
    known = bench.whole(meaning.found)
    return known.value + known.rest


def judged(found: list[Output], judge: Any = engine) -> list[Row]:
    """Every cell judged, with the seconds that it took."""
    rows = []
    for output in found:
        started = time.perf_counter()
        said = judge(output)
        rows.append(row_of(output, said, time.perf_counter() - started))
    return rows


def report(rows: list[Row], found: list[Output], seed: int) -> dict[str, Any]:
    figures = summary(rows)
    slowest = max(rows, key=lambda row: row.seconds)
    large = [row for row in rows if row.output.cell.large]
    longest = max((row.seconds for row in large), default=0.0)
    counts = Counter(row.output.cell.mode for row in rows)
    return {
        "machine": {"cpu": cpu_model(), "platform": platform.platform()},
        "seed": seed,
        "missed goals": missed_goals(figures, longest),
        "summary": figures,
        "today": today(found),
        "seconds": {
            "mean": round(float(np.mean([row.seconds for row in rows])), 3),
            "largest": round(slowest.seconds, 2),
            "of": slowest.output.cell.words,
            "large layers": [
                {"cell": row.output.cell.words, "seconds": round(row.seconds, 2), "said": row.said.kind}
                for row in large
            ],
        },
        "modes": dict(sorted(counts.items())),
        "wrong": [row.to_json() for row in rows if not row.right and row.output.strength != "invalid"],
        "not the first named": [row.to_json() for row in rows if row.named in ("listed", "equal")],
        "invalid": [row.output.cell.words for row in rows if row.output.strength == "invalid"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--cells", type=int, default=COUNT)
    parser.add_argument("--no-large", action="store_true")
    options = parser.parse_args()
    modes = cpu_modes()
    started = time.perf_counter()
    drawn = cells(options.seed, options.cells, modes)
    if not options.no_large:
        drawn += large_cells(options.seed, modes)
    returned, refused = outputs(drawn, modes)
    found = list(judgeable(returned))
    print(f"{len(found)} cells in {time.perf_counter() - started:.0f} s", flush=True)
    rows = judged(found)
    figures = report(rows, found, options.seed) | {"called nowhere": refused}
    figures["seconds"]["whole"] = round(time.perf_counter() - started, 1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1, default=shown) + "\n", encoding="utf-8")
    for row in figures["wrong"]:
        print(f"{row['seed']} {row['cell'][:110]} [{row['mode']}, {row['strength']}]: wanted {row['wanted']}")
        print(f"    said {row['said']} {row['found']}")
    print(json.dumps({name: figures[name] for name in ("summary", "today", "missed goals")}, indent=1))
    print(f"whole: {figures['seconds']['whole']} s; {options.output}")
    return 1 if figures["missed goals"] else 0


if __name__ == "__main__":
    sys.exit(main())
