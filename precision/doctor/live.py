"""Which modes differ in bits on this machine: each is run on a few tiny layers, and the results are compared.

Tiny layers show which switches reach the kernels here; a larger one may differ where these do not.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import CannotRun
from precision.inputs import Array, Float32, make_arrays
from precision.live import KernelError, Live
from precision.modes import FRAMEWORKS, Mode

SECONDS = 54.0
"""Of a whole diagnosis: after these no further mode is begun, and those in work are ended."""
_AT_ONCE = 2
_PAUSE = 0.05
_LATE = "the time for all modes was used up"
_NORMAL: tuple[str, dict[str, Any]] = ("normal", {})


@dataclass(frozen=True)
class Probe:
    """A tiny layer.  elementwise: by the framework's own module of such functions."""

    name: str
    op: str
    arrays: Mapping[str, Array]
    params: Mapping[str, Any] = field(default_factory=dict)
    elementwise: bool = False

    def make(self) -> dict[str, Float32]:
        """The seeded arrays."""
        return make_arrays(f"doctor/{self.name}", "data", self.arrays)


def _normal(**shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: Array(shape, *_NORMAL) for name, shape in shapes.items()}


PROBES: tuple[Probe, ...] = (
    Probe(
        "conv2d",
        "conv2d",
        _normal(input=(2, 48, 20, 20), weight=(64, 48, 3, 3), bias=(64,)),
        {"stride": 1, "padding": 1, "dilation": 1, "groups": 1},
    ),
    Probe("linear", "linear", _normal(input=(32, 768), weight=(256, 768), bias=(256,))),
    Probe(
        "batch_norm",
        "batch_norm",
        _normal(input=(8, 16, 24, 24), weight=(16,), bias=(16,)),
        {"training": True, "eps": 1e-5},
    ),
    Probe(
        "layer_norm",
        "layer_norm",
        _normal(input=(32, 768), weight=(768,), bias=(768,)),
        {"normalized_shape": [768], "eps": 1e-5},
    ),
    Probe("gelu", "gelu", _normal(input=(64, 129)), elementwise=True),
    Probe("exp", "exp", _normal(input=(64, 129)), elementwise=True),
)


@dataclass(frozen=True)
class ModeBits:
    """What a mode returned on each probe, or why it did not; repeats: probes whose second call differed."""

    mode: str
    outputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    repeats: tuple[str, ...] = ()
    reason: str = ""


class _Asked(Live):
    """A live mode that can be ended from another thread, also while it starts."""

    def __init__(self, mode: Mode, timeout: float, open_: list[_Asked]) -> None:
        open_.append(self)
        super().__init__(mode, timeout)

    def elementwise(self, op: str, arrays: Mapping[str, Float32]) -> Float32:
        """The output of a function of single elements."""
        module = FRAMEWORKS[self.mode.framework].backend.replace("_backend", "_elementwise")
        return self._call({"op": op, "params": {}, "module": module}, arrays)["output"]

    def end(self) -> None:
        """End the process; whoever waits for an answer gets a `KernelError`."""
        process = getattr(self, "_process", None)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ask_modes(
    modes: Sequence[Mode],
    advance: Callable[[str], Any],
    probes: Sequence[Probe] = PROBES,
    seconds: float = SECONDS,
) -> dict[str, ModeBits]:
    """What each mode returns on the probes, two modes at a time; `advance(mode)` after each.

    A mode that cannot start, crashes or comes too late is an answer with a reason.  KeyboardInterrupt passes
    after every process is ended.
    """
    end = time.monotonic() + seconds
    open_: list[_Asked] = []
    found: dict[str, ModeBits] = {}
    pool = ThreadPoolExecutor(_AT_ONCE)
    waiting = []
    try:
        for mode in modes:
            waiting.append(pool.submit(_ask, mode, probes, end, open_))
        for future in as_completed(waiting):
            answer = future.result()
            found[answer.mode] = answer
            advance(answer.mode)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # On an interrupt the processes have to go first, for the threads wait for them; again and again,
        # because one may be about to start.
        while not all(future.done() for future in waiting):
            for live in list(open_):
                live.end()
            time.sleep(_PAUSE)
        pool.shutdown(wait=True)
    return {mode.name: found[mode.name] for mode in modes}


def _ask(mode: Mode, probes: Sequence[Probe], end: float, open_: list[_Asked]) -> ModeBits:
    if time.monotonic() >= end:
        return ModeBits(mode.name, reason=f"not asked: {_LATE}")
    outputs: dict[str, NDArray[np.float32]] = {}
    reasons: dict[str, str] = {}
    repeats = []
    try:
        with _Asked(mode, max(1.0, end - time.monotonic()), open_) as live:
            for probe in probes:
                if time.monotonic() >= end:
                    reasons[probe.name] = _LATE
                    continue
                live.timeout = max(1.0, end - time.monotonic())
                try:
                    first, second = (_run(live, probe) for _ in range(2))
                except CannotRun as reason:
                    reasons[probe.name] = str(reason)
                except KernelError as reason:
                    reasons[probe.name] = _LATE if time.monotonic() >= end else str(reason)
                    if not live.alive:
                        break
                else:
                    outputs[probe.name] = first
                    if first.tobytes() != second.tobytes():
                        repeats.append(probe.name)
    except (CannotRun, KernelError) as reason:
        return ModeBits(mode.name, reason=f"ended: {_LATE}" if time.monotonic() >= end else str(reason))
    return ModeBits(mode.name, outputs, reasons, tuple(repeats))


def _run(live: _Asked, probe: Probe) -> Float32:
    arrays = probe.make()
    if probe.elementwise:
        return live.elementwise(probe.op, arrays)
    return live.run(probe.op, probe.params, arrays)
