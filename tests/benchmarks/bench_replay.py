"""What a replay costs: `python bench_replay.py -o FILE.json` writes multiply-adds a second, tree by tree.

Beside them, in the same run, torch's float32 matrix product of the same operands (in an order of its own) and
a plain NumPy loop over k, the simplest way to fix an order.  The contenders take turns, after a pause that
lets idle threads of the others go to sleep; a turn is one call that is not timed and some that are, and the
figures are medians over all turns.  Seconds of different runs are not comparable, ratios within one run are.
BENCH_THREADS sets the threads (2).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reference.orders import blocked, pairwise, sequential, strided
from reference.replay import replay
from reference.tree import Fused, Item, Run, SummationTree

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
PAUSE = 0.05  # seconds; longer than idle threads spin
SHAPE = (1024, 2304, 256)  # positions, terms, channels: a 3x3 convolution of 256 channels, 32x32 pixels
BLOCKS = (128, 6400, 512)  # a 5x5 convolution of 256 channels with stride 2, 16x32 pixels
LIMIT = 5e9  # multiply-adds a second of the chains and blocks


def tensor_core_chain(width: int, terms: int) -> SummationTree:
    item: Item = Fused((Run(tuple(range(width))),), 25, "RZ")
    for k in range(width, terms, width):
        item = Fused((item, Run(tuple(range(k, min(k + width, terms))))), 25, "RZ")
    return SummationTree(item, terms)


def trees() -> dict[str, tuple[SummationTree, tuple[int, int, int]]]:
    terms = SHAPE[1]
    return {
        "chain": (sequential(terms, bias="last"), SHAPE),
        "chain, 16 blocks of 400": (blocked(BLOCKS[1], 400, "after_first"), BLOCKS),
        "chain of rounded products": (sequential(terms, fused=False, bias="last"), SHAPE),
        "chain, flushing": (replace(sequential(terms, bias="last"), flush=True), SHAPE),
        "chain, bfloat16 operands": (replace(sequential(terms, bias="last"), operands="bfloat16"), SHAPE),
        "chain in binary64": (replace(sequential(terms, bias="last"), accumulator="binary64"), SHAPE),
        "8 lanes": (strided(terms, 8, "pairwise"), SHAPE),
        "pairwise": (pairwise(terms), SHAPE),
        "8 products at once, cut to 25 bits": (tensor_core_chain(8, terms), (256, *SHAPE[1:])),
    }


def operands(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    count, terms, width = shape
    sizes = (count, terms), (terms, width), (width,)
    left, right, bias = (rng.uniform(-1.0, 1.0, size).astype(np.float32) for size in sizes)
    return left, right, bias


def numpy_loop(left: np.ndarray, right: np.ndarray, bias: np.ndarray) -> np.ndarray:
    total = left[:, :1] * right[0]
    for k in range(1, left.shape[1]):
        total += left[:, k : k + 1] * right[k]
    return total + bias


def contenders(tree: SummationTree, shape: tuple[int, int, int], loop: bool) -> dict[str, Callable[[], Any]]:
    left, right, bias = operands(shape)
    tensors = [torch.from_numpy(x) for x in (bias, left, right)]
    found: dict[str, Callable[[], Any]] = {
        "replay": lambda: replay(tree, left, right, bias, threads=THREADS),
        "replay, one thread": lambda: replay(tree, left, right, bias, threads=1),
        "torch": lambda: torch.addmm(*tensors),
    }
    if loop:
        found["numpy loop"] = lambda: numpy_loop(left, right, bias)
    return found


def timed(calls: dict[str, Callable[[], Any]], rounds: int, times: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # compile
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            call()
            for _ in range(1 if name == "numpy loop" else times):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(rounds: int, times: int, shrink: int = 1) -> dict[str, Any]:
    """Figures for each tree; `shrink` makes all of them smaller, to try the benchmark out."""
    torch.set_num_threads(THREADS)
    found: dict[str, Any] = {}
    for name, (tree, (count, terms, width)) in trees().items():
        shape = max(1, count // shrink), terms, max(1, width // shrink)
        macs = float(np.prod(shape, dtype=float))
        seconds = timed(contenders(tree, shape, name == "chain of rounded products"), rounds, times)
        rows = {
            who: {
                "macs_a_second": macs / statistics.median(each),
                "of_the_best": macs / min(each),
                "timings": len(each),
            }
            for who, each in seconds.items()
        }
        rate = rows["replay"]["macs_a_second"]
        ratios = {f"of {who}": rate / row["macs_a_second"] for who, row in rows.items() if who != "replay"}
        found[name] = {"shape": list(shape), "rows": rows, "replay": ratios}
        others = ", ".join(f"{ratio:.3g} x {who[3:]}" for who, ratio in ratios.items())
        print(f"{name:36}{rate / 1e9:7.2f} G multiply-adds a second ({others})", flush=True)
    return found


def machine() -> dict[str, Any]:
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.open() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    libraries = {name: version(name) for name in ("numpy", "numba", "torch")}
    load = list(os.getloadavg())
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": THREADS, "load_average": load, **libraries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender")
    parser.add_argument("--calls", type=int, default=3, help="timed calls a turn")
    given = parser.parse_args()
    start = machine()
    results = measure(given.rounds, given.calls)
    chains = [
        results[name]["rows"]["replay"]["macs_a_second"] for name in results if name.startswith("chain")
    ]
    record = {
        "schema": 1,
        "machine": start,
        "limits": {"chains": LIMIT},
        "kept": {"chains": min(chains) >= LIMIT},
        "results": results,
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(record, indent=2) + "\n")
    print(f"limit     {LIMIT / 1e9:g} G for every chain: {'kept' if min(chains) >= LIMIT else 'NOT kept'}")


if __name__ == "__main__":
    main()
