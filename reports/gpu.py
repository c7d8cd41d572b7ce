"""The GPU section: what the modes of a GPU gave, what TF32 costs there, and what its accumulators do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports import numbers
from reports.cells import LOST, Row, in_order, records
from reports.schema import VERDICTS
from reports.store import Results
from reports.tables import Cell, Head, Table

DEVICE = "cuda"
_GPU = ("gpu", "compute capability")
_CAUSES = ("operand rounding", "accumulation", "output rounding", "unexplained")


@dataclass(frozen=True)
class GpuSection:
    """The devices in words, the modes, the causes of their errors, and what was not recorded."""

    devices: tuple[str, ...]
    sentence: str
    modes: Table
    causes: Table


def gpu(results: Results, rows: Sequence[Row]) -> GpuSection | None:
    """What was measured on a GPU (rows of `cells.grid`); None where no such mode ran."""
    modes = [mode for mode in in_order(results.modes) if mode["device"] == DEVICE]
    cells = [row for row in rows if row["device"] == DEVICE and row["verdict"] not in LOST]
    names = [mode["mode"] for mode in modes if any(row["mode"] == mode["mode"] for row in cells)]
    if not names:
        return None
    devices = tuple(dict.fromkeys(_device(mode) for mode in modes if mode["mode"] in names))
    concern = sum(row["verdict"] not in ("exact", "rounding") for row in cells)
    many = [row for row in cells if (row["repeat_distinct"] or 1) > 1]
    sentence = (
        f"{numbers.times(len(cells), 'result')} in {numbers.times(len(names), 'mode')}: "
        f"{len(cells) - concern:,} exact or rounding, {concern:,} something else; "
        f"{numbers.times(len(many), 'result')} changed from one call to the next."
    )
    return GpuSection(devices, sentence, _modes(modes, names, cells), _causes(results, names))


def _device(mode: Row) -> str:
    """What the worker said of its GPU."""
    try:
        known = json.loads(mode["versions"] or "{}")
    except ValueError:
        known = {}
    told = [str(known[name]) for name in _GPU if isinstance(known, dict) and known.get(name)]
    return ", compute capability ".join(told) or "a GPU that gave no name"


def _modes(modes: Sequence[Row], names: Sequence[str], cells: Sequence[Row]) -> Table:
    heads = (
        Head("mode"), Head("GPU"), Head("results", True), Head("verdicts"),
        Head("median rms", True, "over the cases, in ulp of Σ|terms|; less is better"),
        Head("largest rms", True),
        Head("calls that differ", True, "cases whose repeated call gave other bits"),
        Head("kernels", False, "the commonest, where the library tells"),
    )  # fmt: skip
    rows = []
    for mode in modes:
        here = [row for row in cells if row["mode"] == mode["mode"]]
        if mode["mode"] not in names:
            continue
        sizes = [row["error_scaled_ulp_rms"] for row in here if row["error_scaled_ulp_rms"] is not None]
        verdicts = Counter(row["verdict"] for row in here)
        words = ", ".join(f"{numbers.SIGNS[v]} {verdicts[v]} {v}" for v in VERDICTS if verdicts[v])
        kernels = Counter(row["kernels"] for row in here if row["kernels"]).most_common(1)
        differ = sum((row["repeat_distinct"] or 1) > 1 for row in here)
        rows.append(
            (
                Cell(mode["mode"], style="modes"),
                Cell(_device(mode), style="reason"),
                Cell(str(len(here)), str(len(here)), "num"),
                Cell(words, style="reason"),
                *(_figure(value) for value in ((median(sizes), max(sizes)) if sizes else (None, None))),
                Cell(str(differ), str(differ), "num"),
                Cell(kernels[0][0] if kernels else "not told", style="reason"),
            )
        )
    return Table("Modes of a GPU", heads, tuple(rows))


def _causes(results: Results, names: Sequence[str]) -> Table:
    """Median share of each cause over the cases of a mode, and how much of it is proved."""
    every = [row for row in records(results.budgets) if row["mode"] in names and row["share"] is not None]
    heads = (
        Head("mode"), Head("cause"), Head("results", True), Head("median share", True),
        Head("median rms ulp", True), Head("median bias ulp", True, "mean signed part"), Head("evidence"),
        Head("for example"),
    )  # fmt: skip
    rows = []
    for mode in names:
        for cause in _CAUSES:
            here = [row for row in every if row["mode"] == mode and row["cause"] == cause]
            if not here:
                continue
            evidence = Counter(row["evidence"] for row in here)
            telling = max(here, key=lambda row: abs(row["share"]))
            rows.append(
                (
                    Cell(mode, style="modes"),
                    Cell(cause),
                    Cell(str(len(here)), str(len(here)), "num"),
                    Cell(numbers.share(median(row["share"] for row in here)), style="num"),
                    *(_figure(_median(here, name)) for name in ("part_ulp_rms", "part_ulp_mean")),
                    Cell(", ".join(f"{count} {word}" for word, count in evidence.most_common())),
                    Cell(f"{telling['case']}: {telling['detail']}", style="reason"),
                )
            )
    return Table("Causes of the error on a GPU", heads, tuple(rows))


def _median(rows: Sequence[Row], name: str) -> float | None:
    known = [row[name] for row in rows if row[name] is not None]
    return median(known) if known else None


def _figure(value: float | None) -> Cell:
    return Cell(numbers.figure(value), "" if value is None else repr(value), "num")
