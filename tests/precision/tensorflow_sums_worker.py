"""Runs TensorFlow's driver on given and on random declarations; reads a job from stdin, answers on stdout.

The job and the answer are JSON. A worker of its own: switches and environment are read once a process.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from sum_configurations import SUMS, drawn, right

from precision.errors import CannotRun
from precision.frameworks import tensorflow_backend as backend


def given(op, params, arrays):
    """The output of a declaration, or why there is none."""
    arrays = {name: np.array(array, np.float32) for name, array in arrays.items()}
    try:
        return {"output": backend.run(op, params, arrays).tolist()}
    except CannotRun as reason:
        return {"refused": str(reason)}


def crops(op, params, arrays):
    """Where TensorFlow's own kernel begins elsewhere: SAME over three axes, a kernel below its stride."""
    if "3d" not in op or not op.startswith("conv") or params.get("padding") != "same":
        return False
    kernel = params["weight_size"][2:] if "weight_size" in params else arrays["weight"].shape[2:]
    return bool((np.array(kernel) < params["stride"]).any())


def random(seeds, eigen):
    ran, refused, wrong = Counter(), {}, []
    for op in SUMS:
        for seed in seeds:
            params, arrays, truth = drawn(op, np.random.default_rng([seed, SUMS.index(op)]))
            if eigen and crops(op, params, arrays):
                continue
            try:
                output = backend.run(op, params, arrays)
            except CannotRun as reason:
                refused.setdefault(op, []).append(str(reason))
                continue
            ran[op] += 1
            if not right(op, truth, output):
                wrong.append([op, params, {name: array.shape for name, array in arrays.items()}])
    return {"ran": ran, "refused": refused, "wrong": wrong}


def kept():
    """Calls kept after many declarations, and after a repeat of the last; the traces of that one."""
    counts = []
    for n in (*range(1, 300), 299):
        backend.run("sum", {"dim": 0}, {"input": np.ones(n, np.float32)})
        counts.append(len(backend._calls))
    last = list(backend._calls.values())[-1]
    traces = (
        last.experimental_get_tracing_count() if hasattr(last, "experimental_get_tracing_count") else None
    )
    return {"most": max(counts), "last": counts[-2:], "traces": traces}


job = json.load(sys.stdin)
backend.configure("cpu", job.get("switches", {}))
answer = {
    "given": [given(*case) for case in job.get("given", [])],
    "random": random(range(*job.get("seeds", [0, 0])), job.get("eigen", False)),
}
if job.get("kept"):
    answer["kept"] = kept()
print(json.dumps(answer))
