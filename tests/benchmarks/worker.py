"""A process that times one library: a request a line on stdin, an answer a line on stdout.

Request: {"task": name, "spec": {...}, "calls": n}. Answer: the seconds of n calls, after one that is not
timed; and the call's work and figures. "memory" asks for the growth of the high-water mark of resident memory
over one call instead.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
from tasks import TASKS, Task


def figures(found: Any) -> dict[str, Any]:
    """What a result says of itself: tiers and uncertainty of a truth, exact elements of a sliced product."""
    if hasattr(found, "tiers"):
        worst = float(np.max(found.uncertainty_ulp(), initial=0.0))
        return {"outputs": found.value.size, "tiers": dict(found.tiers), "uncertainty_ulp_max": worst}
    if isinstance(found, list) and len(found) == 3 and isinstance(found[0], np.ndarray):
        return {"outputs": found[0].size, "exact": int(np.count_nonzero(found[2] == 0.0))}
    return {}


def high_water() -> int:
    """Bytes of resident memory at most so far (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def timed(task: Task, calls: int) -> dict[str, Any]:
    call, work = task
    found = call()  # wakes this library's threads, while those of the others have gone to sleep
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "work": work} | figures(found)


def grown(task: Task) -> dict[str, Any]:
    before = high_water()
    found = task[0]()
    result = sum(a.nbytes for a in (found.value, found.residual, found.bound, found.magnitude))
    return {"growth_bytes": high_water() - before, "result_bytes": result}


def main() -> None:
    task, known = None, None
    for line in sys.stdin:
        request = json.loads(line)
        if known != (request["task"], request["spec"]):
            known = request["task"], request["spec"]
            task = TASKS[request["task"]](request["spec"])
        answer = grown(task) if request.get("memory") else timed(task, request["calls"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
