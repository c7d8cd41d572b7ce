"""How far orders of summation are proved: `python bench_orders.py -o FILE.json` writes the figures.

"random": seeded random declarations in every CPU mode of both frameworks, each on fresh data; what is not
proved is listed with its reason, and what a framework does not offer with the framework's words.  "first":
the 256 to 512 channel 5x5 convolution, from the start of the process to the replay, in seconds for each mode.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from random_sums import declaration

from precision.errors import CannotRun
from precision.live import KernelError, Live
from precision.modes import MODES, Mode
from precision.orders.revealed import Revealed
from precision.orders.search import reveal, reveal_live
from precision.requirements import cpu_model, missing

EACH = 40
"""Random declarations a mode: 560 in the fourteen CPU modes."""

FIRST = {"input": (1, 256, 16, 32), "weight": (512, 256, 5, 5), "bias": (512,)}
FIRST_PARAMS = {"stride": 2, "padding": "same", "dilation": 1, "groups": 1}
LIMITS = {"random": 0.99, "first": 20.0}


def cpu_modes() -> list[Mode]:
    return [mode for mode in MODES if mode.device == "cpu" and not missing(mode)]


def random_sums(each: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, mode in enumerate(cpu_modes()):
        counts: Counter[str] = Counter()
        problems, refused = [], []
        started = time.perf_counter()
        with Live(mode) as live:
            for seed in range(1000 * number, 1000 * number + each):
                what, result = _one(live, seed)
                counts[what] += 1
                if what == "not proved":
                    problems.append(result)
                elif what == "cannot":
                    refused.append(result)
        seconds = round(time.perf_counter() - started, 1)
        found[mode.name] = dict(counts) | {"seconds": seconds, "problems": problems, "refused": refused}
        print(f"random {mode.name}: {dict(counts)}, {seconds} s", flush=True)
    return found


def _one(live: Live, seed: int) -> tuple[str, dict[str, Any]]:
    given = declaration(seed)
    row = {"seed": seed, "op": given.op, "params": given.params, "shapes": given.shapes}
    try:
        found = reveal_live(live, given.op, given.shapes, given.params, seed)
    except CannotRun as reason:
        return "cannot", row | {"reason": str(reason)}
    except KernelError as reason:
        return "not proved", row | {"reason": str(reason)}
    if found.proved:
        return "proved", row
    return "not proved", row | {"reason": found.reason, "equal": dict(found.equal)}


def first_convolution() -> Iterator[tuple[str, float, Revealed]]:
    for mode in cpu_modes():
        started = time.perf_counter()
        found = reveal("conv2d", mode.name, shapes=FIRST, params=FIRST_PARAMS)
        yield mode.name, time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=EACH)
    options = parser.parse_args()
    first = {}
    for mode, seconds, found in first_convolution():
        first[mode] = {"seconds": round(seconds, 2), "proved": found.proved, "order": found.words}
        print(f"first {mode}: {seconds:.1f} s, proved {found.proved}", flush=True)
    random = random_sums(options.each)
    proved = sum(row.get("proved", 0) for row in random.values())
    total = proved + sum(row.get("not proved", 0) for row in random.values())
    summary = {
        "proved": proved,
        "revealed": total,
        "share": proved / total,
        "slowest first": max(row["seconds"] for row in first.values()),
    }
    report = {
        "machine": {"cpu": cpu_model(), "platform": platform.platform()},
        "limits": LIMITS,
        "summary": summary,
        "first": first,
        "random": random,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{proved} of {total} proved bit for bit; {options.output}")


if __name__ == "__main__":
    main()
