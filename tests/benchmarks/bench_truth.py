"""What the truth costs: `python bench_truth.py -o FILE.json` writes the figures and, beside them, a plot.

Sections: "certified" and "exact", the time of a convolution over that of torch's float64 convolution;
"per_mac", the time of a multiply-add against python-flint's arb_mat and mpmath's fdot; "norms", against
NumPy's float64; "memory", the peak beyond operands and result; "scaling", time against multiply-adds over
three decades. How the timing is kept fair: `blocks`. BENCH_THREADS sets the threads (2).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from blocks import Workers, ratio
from picture import draw

THREADS = int(os.environ.get("BENCH_THREADS", "2"))

LIMITS = {
    "certified": 3.0,  # times torch's float64 convolution
    "exact": 25.0,  # times torch's float64 convolution
    "arb_mat": 0.1,  # of its time for a multiply-add, python-flint with the one thread that it comes with
    "fdot": 0.001,
    "norms": 15.0,  # times NumPy's float64 normalization
    "memory": 256 * 2**20,  # bytes beyond operands and result
}
SHAPES: dict[str, tuple[list[int], list[int], int, list[int]]] = {
    "5x5 s2, 256 to 512, 16x32": ([1, 256, 16, 32], [512, 256, 5, 5], 2, [1, 2, 1, 2]),
    "3x3, 64 to 64, 56x56": ([1, 64, 56, 56], [64, 64, 3, 3], 1, [1] * 4),
    "1x1, 512 to 128, 28x28": ([1, 512, 28, 28], [128, 512, 1, 1], 1, [0] * 4),
    "3x3, 256 to 256, 14x14, batch 8": ([8, 256, 14, 14], [256, 256, 3, 3], 1, [1] * 4),
}
NORMS: dict[str, tuple[str, list[int]]] = {
    "layer_norm, 2048 rows of 1024": ("layer_norm", [2048, 1024]),
    "batch_norm, 8x64x56x56": ("batch_norm", [8, 64, 56, 56]),
}
SIDES = (16, 32, 64, 128, 256, 512)  # pixels; 3x3, 64 to 64: 9.4e6 to 9.7e9 multiply-adds


def conv_spec(
    image: list[int], weight: list[int], stride: int, padding: list[int], data: str
) -> dict[str, Any]:
    return {"shapes": [image, weight, weight[:1]], "stride": stride, "padding": padding, "data": data}


def convolutions(workers: Workers, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"certified": {}, "exact": {}}
    for name, shape in SHAPES.items():
        for data in ("uniform", "normal"):
            times = workers.compare(
                ["truth_conv", "exact_conv", "torch_conv"], conv_spec(*shape, data), rounds, 3
            )
            for section, task in (("certified", "truth_conv"), ("exact", "exact_conv")):
                row = ratio(times[task], times["torch_conv"]) | {
                    "ours": times[task],
                    "torch_float64": times["torch_conv"],
                }
                found[section][f"{name}, {data}"] = row
                say(section, f"{name}, {data}", f"{row['ratio']:.2f} x torch float64", row)
    return found


def products(workers: Workers, rounds: int) -> dict[str, Any]:
    """mpmath gets a smaller matrix: its time grows as the multiply-adds do, and is long."""
    spec = {"shapes": [[1024, 1024], [1024, 1024]], "data": "normal"}
    rivals: dict[str, tuple[str, dict[str, Any]]] = {
        "arb_mat": ("arb_product", {"flint_threads": 1}),  # as python-flint comes
        "arb_mat, as many threads": ("arb_product", {}),
        "fdot": ("mpmath_product", {"shapes": [[16, 1024], [16, 1024]]}),
    }
    found = {}
    for name, (task, changes) in rivals.items():
        before = workers.compare(["truth_product"], spec, rounds, 3)["truth_product"]
        theirs = workers.compare([task], spec | changes, max(2, rounds // 2), 1)[task]
        after = workers.compare(["truth_product"], spec, rounds, 3)["truth_product"]
        ours = max(before, after, key=lambda times: times["seconds_median"])  # the slower
        found[name] = ratio(ours, theirs, per_work=True) | {"ours": ours, "theirs": theirs}
        say("per_mac", name, f"1/{1 / found[name]['ratio']:.1f} of its time", found[name])
    return found


def norms(workers: Workers, rounds: int) -> dict[str, Any]:
    found = {}
    for name, (op, shape) in NORMS.items():
        spec = {"op": op, "shapes": [shape], "data": "normal"}
        times = workers.compare(["truth_norm", "numpy_norm"], spec, rounds, 3)
        found[name] = ratio(times["truth_norm"], times["numpy_norm"]) | {
            "ours": times["truth_norm"],
            "numpy_float64": times["numpy_norm"],
        }
        say("norms", name, f"{found[name]['ratio']:.1f} x NumPy float64", found[name])
    return found


def memory() -> dict[str, Any]:
    """Of 1x256x224x224 to 256, 3x3, in a fresh process that has compiled its kernels."""
    with Workers(THREADS) as fresh:
        small = conv_spec([1, 8, 9, 9], [8, 8, 3, 3], 1, [1] * 4, "normal")
        fresh.ask("truth_conv", small, calls=1)
        shape = ([1, 256, 224, 224], [256, 256, 3, 3], 1, [1] * 4)
        answer = fresh.ask("truth_conv", conv_spec(*shape, "normal"), memory=True)
    extra = answer["growth_bytes"] - answer["result_bytes"]
    say("memory", "1x256x224x224 to 256, 3x3", f"{extra / 2**20:.0f} MiB beyond operands and result")
    return {"3x3, 256 to 256, 224x224": answer | {"extra_bytes": extra}}


def scaling(workers: Workers, rounds: int) -> dict[str, Any]:
    points = []
    for side in SIDES:
        spec = conv_spec([1, 64, side, side], [64, 64, 3, 3], 1, [1] * 4, "normal")
        found = workers.compare(["truth_conv"], spec, max(2, rounds // 2), 3 if side < 256 else 1)[
            "truth_conv"
        ]
        points.append({"macs": found["work"], "seconds": found["seconds_median"]})
        say("scaling", f"{found['work']:.1e} multiply-adds", f"{found['seconds_median']:.4f} s")
    logs = np.log([[p["macs"], p["seconds"]] for p in points]).T
    slope, level = np.polyfit(logs[0], logs[1], 1)
    say("scaling", "slope", f"{slope:.3f} (1 is linear)")
    return {"points": points, "slope": float(slope), "level": float(np.exp(level))}


def within(results: dict[str, Any]) -> dict[str, bool]:
    """Which of the limits this run kept."""
    figures = {
        "certified": [row["ratio"] for row in results["certified"].values()],
        "exact": [row["ratio"] for row in results["exact"].values()],
        "arb_mat": [results["per_mac"]["arb_mat"]["ratio"]],
        "fdot": [results["per_mac"]["fdot"]["ratio"]],
        "norms": [row["ratio"] for row in results["norms"].values()],
        "memory": [row["extra_bytes"] for row in results["memory"].values()],
    }
    return {name: max(figures[name]) <= limit for name, limit in LIMITS.items()}


def say(section: str, name: str, figure: str, row: dict[str, Any] | None = None) -> None:
    least = "" if row is None else f"  (of the least times {row['ratio_of_least']:.3g})"
    print(f"{section:10}{name:45}{figure}{least}", flush=True)


def machine() -> dict[str, Any]:
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.open() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    libraries = {name: version(name) for name in ("numpy", "numba", "torch", "mpmath", "python-flint")}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        **libraries,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file; the plot goes beside it")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each library")
    given = parser.parse_args()
    start = machine()
    with Workers(THREADS) as workers:
        results = convolutions(workers, given.rounds)
        results |= {"per_mac": products(workers, given.rounds), "norms": norms(workers, given.rounds)}
        results["scaling"] = scaling(workers, given.rounds)
    results["memory"] = memory()
    kept = within(results)
    record = {"schema": 2, "machine": start, "limits": LIMITS, "kept": kept, "results": results}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(record, indent=2) + "\n")
    draw(record, given.output.with_suffix(".png"))
    for name, good in kept.items():
        say("limit", name, "kept" if good else "NOT kept")


if __name__ == "__main__":
    main()
