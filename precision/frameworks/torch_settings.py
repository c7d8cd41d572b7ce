"""Settings of PyTorch that may change while a process runs: what probes of invariance vary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from precision.errors import CannotRun
from precision.frameworks.torch_tensors import state


@contextmanager
def varied(factor: str, value: Any) -> Iterator[None]:
    """Run the calls inside under another setting, and restore it after.

    threads: a number, on the CPU; memory_format: contiguous or channels_last; offset: elements by which the
    memory of operands is shifted; stream: idle, busy (others run beside) or own, on a GPU.
    Raises `CannotRun` for what the device does not have.
    """
    gpu = state["device"] == "cuda"
    if factor == "threads":
        if gpu:
            raise CannotRun("the CPU's threads do not compute on a GPU")
        before = torch.get_num_threads()
        torch.set_num_threads(int(value))
        try:
            yield
        finally:
            torch.set_num_threads(before)
    elif factor in ("memory_format", "offset"):
        kept = state[factor]
        state[factor] = value
        try:
            yield
        finally:
            state[factor] = kept
    elif factor == "stream":
        if value != "idle" and not gpu:
            raise CannotRun("a CPU has no streams")
        with _stream(value):
            yield
    else:
        raise CannotRun(f"PyTorch has no setting {factor!r} to vary")


@contextmanager
def _stream(value: str) -> Iterator[None]:
    if value == "idle":
        yield
        return
    other = torch.cuda.Stream()
    if value == "own":
        with torch.cuda.stream(other):
            yield
        return
    with torch.cuda.stream(other):
        # Some tens of milliseconds of work that shares the GPU with the calls inside.
        load = torch.ones((4096, 4096), device="cuda")
        for _ in range(100):
            load = load @ load * 0.0
    yield
    other.synchronize()
