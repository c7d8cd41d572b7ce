"""Kernels that release the interpreter's lock, side by side on slices of their work.

What is computed must not depend on how the work is cut: every slice writes results of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

Result = TypeVar("Result")


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_slices(work: Callable[[slice], Result], count: int, least: int = 1) -> list[Result]:
    """work(slice) for slices that together are range(count), of at least `least` each; in order."""
    parts = max(1, min(processors(), count // max(1, least)))
    cuts = [count * n // parts for n in range(parts + 1)]
    slices = [slice(a, b) for a, b in pairwise(cuts)]
    if parts == 1:
        return [work(slices[0])]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, slices))
