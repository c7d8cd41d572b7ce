"""Writes docs/orders.md: how each mode adds, from a table that `precision reveal` and the benchmark measured.

python docs/generate_orders.py --table DIR --sums DIR --bench FILE    keep new measurements, write the page
python docs/generate_orders.py                             write the page from the kept ones
python docs/generate_orders.py --check                     status 1 where the page differs from them
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path

import pandas as pd

from precision.orders.suite import as_markdown
from precision.requirements import cpu_model
from precision.worker import installed

ROOT = Path(__file__).resolve().parent.parent
PAGE, KEPT = ROOT / "docs" / "orders.md", ROOT / "docs" / "results" / "orders"
TITLE = """# How the frameworks add, proved bit for bit

This page is generated (`docs/generate_orders.py`) from what was measured on one machine: {machine}. Another processor, another
version or another number of threads may add in another order: `precision reveal` tells.

A row is one case of the default suite in one mode. *Order* is the tree of additions that masks revealed, in words; *equal* is the
share of outputs that a replay of this tree gives bit for bit on fresh random data, with the tree frozen. For normalizations
the order is part of a recipe: which formula, which sums, which rounding.
"""


def keep(table: Path, sums: Path | None, bench: Path | None) -> None:
    """Copy measurements to where the page is made from."""
    KEPT.mkdir(parents=True, exist_ok=True)
    shutil.copy(table / "orders.csv", KEPT / "orders.csv")
    if sums is not None:
        shutil.copy(sums / "orders.csv", KEPT / "sums.csv")
    names = ("torch", "tensorflow", "keras")
    machine = {"cpu": cpu_model(), "system": platform.system()} | {name: installed(name) for name in names}
    (KEPT / "machine.json").write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")
    if bench is not None:
        report = json.loads(bench.read_text(encoding="utf-8"))
        small = {key: report[key] for key in ("machine", "limits", "summary", "first")}
        small["random"] = {
            mode: {name: row.get(name, 0) for name in ("proved", "not proved", "cannot")}
            for mode, row in report["random"].items()
        }
        (KEPT / "bench.json").write_text(json.dumps(small, indent=1) + "\n", encoding="utf-8")


def page() -> str:
    """The page's text, from the kept measurements alone."""
    table = pd.read_csv(KEPT / "orders.csv")
    machine = json.loads((KEPT / "machine.json").read_text(encoding="utf-8"))
    named = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("cpu", "system"))
    parts = [TITLE.format(machine=f"{machine['cpu']}, {named}"), _summary(table)]
    if (KEPT / "bench.json").exists():
        parts.append(_bench(json.loads((KEPT / "bench.json").read_text(encoding="utf-8"))))
    parts += ["\n## The layers of the default suite, cell by cell\n", as_markdown(table)]
    if (KEPT / "sums.csv").exists():
        beside = pd.read_csv(KEPT / "sums.csv")
        parts += ["\n## Sums beside them: transposed, gradients, products, means\n", _counts(beside)]
        parts.append(as_markdown(beside))
    return "\n".join(parts)


def _summary(table: pd.DataFrame) -> str:
    proved = (table["equal_uniform"] == 1) & (table["equal_normal"] == 1)
    sums = table["op"].str.startswith(("conv", "linear"))
    lines = ["| mode | convolutions and linear layers proved | normalizations proved |", "|---|---|---|"]
    for mode, rows in table.groupby("mode", sort=False):
        cells = []
        for kind in (sums, ~sums):
            here = kind.loc[rows.index]
            cells.append(f"{int(proved.loc[rows.index][here].sum())} of {int(here.sum())}")
        lines.append(f"| {mode} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _counts(table: pd.DataFrame) -> str:
    proved = (table["equal_uniform"] == 1) & (table["equal_normal"] == 1)
    refused = table["equal_uniform"].isna()
    return (
        f"{int(proved.sum())} of {len(table)} cells: every output equal bit for bit on fresh data; {int(refused.sum())} are not "
        "offered by the framework, or no order was found, with the reason beside them.\n"
    )


def _bench(report: dict[str, dict[str, dict[str, float]]]) -> str:
    summary = report["summary"]
    text = (
        f"\nRandom declarations (convolutions of one to three axes, transposed, both gradients, depthwise, grouped, linear layers, "
        f"matrix products), seeded, on fresh data: {summary['proved']} of {summary['revealed']} proved for every output. The 5×5 "
        f"convolution of 256 to 512 channels takes {summary['slowest first']:.1f} s in the slowest mode, start of the process included.\n"
    )
    rows = [
        "| mode | random: proved | not proved | not offered by the framework | 5×5 convolution, s |",
        "|---|---|---|---|---|",
    ]
    for mode, row in report["random"].items():
        first = report["first"][mode]["seconds"]
        rows.append(f"| {mode} | {row['proved']} | {row['not proved']} | {row['cannot']} | {first:.1f} |")
    return text + "\n" + "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sums", type=Path)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.table is not None:
        keep(options.table, options.sums, options.bench)
    text = page()
    if options.check:
        return int(text != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
