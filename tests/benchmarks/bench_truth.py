"""Time of a certified convolution over the time of torch's float64 convolution: `python bench_truth.py -o
FILE.json`.

Both take the same float32 operands, in one process, with the same number of threads, in turn; the figure is
the ratio of medians. BENCH_THREADS sets the threads (2): on a machine that others use, 1 gives steadier
figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)  # read when NumPy is imported

import numba  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import reference  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "5x5 s2, 256 to 512, 16x32": {
        "input": (1, 256, 16, 32), "weight": (512, 256, 5, 5), "stride": 2, "padding": [1, 2, 1, 2]
    },
    "3x3, 64 to 64, 56x56": {"input": (1, 64, 56, 56), "weight": (64, 64, 3, 3), "padding": [1] * 4},
    "1x1, 512 to 128, 28x28": {"input": (1, 512, 28, 28), "weight": (128, 512, 1, 1), "padding": [0] * 4},
    "3x3, 256 to 256, 14x14, batch 8": {
        "input": (8, 256, 14, 14), "weight": (256, 256, 3, 3), "padding": [1] * 4
    },
}  # fmt: skip


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call, after one that lets its threads wake and the other library's go to sleep."""
    time.sleep(0.01)
    function()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(shape: dict[str, Any], data: str, repeats: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    draw = rng.random if data == "uniform" else rng.standard_normal
    x, w = draw(shape["input"], np.float32), draw(shape["weight"], np.float32)
    b = draw(shape["weight"][:1], np.float32)
    top, bottom, left, right = shape["padding"]
    stride = shape.get("stride", 1)
    tx, tw, tb = (torch.from_numpy(a).double() for a in (x, w, b))
    tx = torch.nn.functional.pad(tx, (left, right, top, bottom))

    def truth() -> reference.Truth:
        return reference.conv2d(x, w, b, stride=stride, padding=shape["padding"])

    def double() -> torch.Tensor:
        return torch.nn.functional.conv2d(tx, tw, tb, stride=stride)

    found = truth()
    found.round()
    double()
    times = [(timed(truth), timed(double)) for _ in range(repeats)]
    columns = list(zip(*times, strict=True))
    ours, theirs = map(statistics.median, columns)
    return {
        "data": data,
        "outputs": found.value.size,
        "terms": int(np.prod(shape["weight"][1:])) + 1,
        "truth_seconds": ours,
        "torch_float64_seconds": theirs,
        "ratio": ours / theirs,
        "ratio_of_minima": min(columns[0]) / min(columns[1]),
        "uncertainty_ulp_max": float(found.uncertainty_ulp().max()),
        "tiers": dict(found.tiers),
    }


def machine() -> dict[str, Any]:
    names = {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__}
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(":", 1)[1].strip() for line in info.open() if line.startswith("model name")), cpu
        )
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": THREADS, **names, "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=21)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    results = {}
    print(f"{'shape':36}{'data':>9}{'truth ms':>10}{'torch ms':>10}{'ratio':>7}{'of minima':>11}  tiers")
    for name, shape in SHAPES.items():
        for data in ("uniform", "normal"):
            row = measure(shape, data, given.repeats)
            results[f"{name}, {data}"] = row
            tiers = ", ".join(f"{tier} {count}" for tier, count in row["tiers"].items())
            ours, theirs = row["truth_seconds"] * 1e3, row["torch_float64_seconds"] * 1e3
            print(
                f"{name:36}{data:>9}{ours:10.1f}{theirs:10.1f}{row['ratio']:7.2f}"
                f"{row['ratio_of_minima']:11.2f}  {tiers}"
            )
    given.output.write_text(
        json.dumps({"schema": 1, "machine": machine(), "results": results}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
