"""What the emulation of tensor cores costs: `python bench_tensorcore.py -o FILE.json` writes the figures.

Multiply-adds a second of `tensorcore.matmul`, 512 x 1152 by 1152 x 512 of standard normal numbers, rounding
of the operands included, for units that differ in L, F or operands, with 1 and with 2 threads. The limit is
for two threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_truth import machine

from reference.tensorcore import UNITS, matmul

LIMIT = 100e6  # multiply-adds a second, two threads
SHAPE = (512, 1152, 512)
CHOSEN = (("volta", "fp16"), ("ampere", "tf32"), ("ampere", "bf16"), ("hopper", "tf32"), ("hopper", "bf16"))


def measured(
    architecture: str, fmt: str, threads: int, rounds: int, shape: tuple[int, ...]
) -> dict[str, Any]:
    rows, terms, columns = shape
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal(size, dtype=np.float32) for size in ((rows, terms), (terms, columns)))
    unit = UNITS[architecture, fmt]
    matmul(left[:2, :8], right[:8, :8], unit, operand_rounding="RNE", threads=threads)  # compiles
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        matmul(left, right, unit, operand_rounding="RNE", threads=threads)
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    return {
        "architecture": architecture,
        "format": fmt,
        "threads": threads,
        "seconds_median": middle,
        "seconds_least": min(seconds),
        "macs_per_second": rows * terms * columns / middle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each unit")
    given = parser.parse_args()
    start, results = machine(), []
    for architecture, fmt in CHOSEN:
        for threads in (1, 2):
            row = measured(architecture, fmt, threads, given.rounds, SHAPE)
            results.append(row)
            figure = f"{row['macs_per_second'] / 1e6:.0f} M multiply-adds a second"
            print(f"{architecture:8}{fmt:6}{threads} threads  {figure}", flush=True)
    kept = min(row["macs_per_second"] for row in results if row["threads"] == 2) >= LIMIT
    record = {"schema": 1, "machine": start, "limit": LIMIT, "kept": kept, "shape": SHAPE, "results": results}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(record, indent=2) + "\n")
    print(start["cpu"], "limit", "kept" if kept else "NOT kept")


if __name__ == "__main__":
    main()
