"""Does a kernel give the same bits to the same question, whatever else changes around it?

A factor is what changes: `repeats` nothing at all; `batch` how many other samples are computed with it;
`neighbours` where in a batch it stands and what the others are; `width` how far the image goes on beyond the
compared part; and, by the driver's own means (`varied`), `threads`, `memory_format`, `offset` (elements by
which the arrays' memory is shifted) and `stream` (idle, busy beside another, or one of its own).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from precision.errors import CannotRun
from precision.inputs import Array, Float32
from precision.recording import Kernel, Notes, Tensors
from precision.sampling import output_sha256

FACTORS = ("repeats", "batch", "neighbours", "width", "threads", "memory_format", "offset", "stream")
LISTED = 256
"""Differing elements that are kept with their values."""
CALLS = 2
_FROM_DRIVER = ("threads", "memory_format", "offset", "stream")

Arrays = dict[str, Float32]
Question = tuple[Arrays, dict[str, Any], Callable[[Float32], Float32]]


def record(
    kernel: Kernel,
    probe_id: str,
    factor: str,
    settings: Sequence[Any],
    case: str,
    op: str,
    params: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    recipes: Mapping[str, str] | None = None,
) -> tuple[Tensors, Notes]:
    """Run one layer under every setting of a factor, and compare what is the same question in all.

    shapes: of the layer for one sample where the factor is batch or neighbours.  recipes: of arrays that are
    not normal.  Settings that the framework does not have are listed as skipped.
    """
    answers: dict[str, Float32] = {}
    seconds: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for setting in settings:
        word = str(setting)
        try:
            arrays, call, part = _question(probe_id, factor, setting, params, shapes, recipes or {})
            for output, spent in _calls(kernel, factor, setting, op, call, arrays):
                found = np.ascontiguousarray(part(output))
                seconds[word] = min(spent, seconds.get(word, spent))
                if word in answers and answers[word].tobytes() != found.tobytes():
                    word = f"{setting}, again"  # not even the same call repeats itself
                answers[word] = found
        except CannotRun as reason:
            skipped[word] = str(reason)
    tensors, notes = compared(answers)
    notes["seconds"] = [seconds.get(word) for word in notes["settings"]]
    return tensors, {"factor": factor, "case": case, "op": op, **notes, "skipped": skipped}


def compared(answers: Mapping[str, Float32]) -> tuple[Tensors, Notes]:
    """Return the differing elements, and in words how many distinct answers there are."""
    bits = {word: answer.reshape(-1).view(np.uint32) for word, answer in answers.items()}
    sha256 = {word: output_sha256(answer) for word, answer in answers.items()}
    first = next(iter(bits.values()), np.zeros(0, np.uint32))
    differs = np.zeros(first.size, np.bool_)
    for each in bits.values():
        differs |= each != first
    index = np.flatnonzero(differs)
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(each, len(numbers) + 1) for each in sha256.values()]
    kept = index[:LISTED]
    listed = [answer.reshape(-1)[kept] for answer in answers.values()]
    values = np.array(listed, np.float32) if listed else np.zeros((0, 0), np.float32)
    return {"index": kept.astype(np.int64), "values": values}, {
        "settings": list(answers),
        "sha256": list(sha256.values()),
        "groups": groups,
        "distinct": len(numbers),
        "elements": int(first.size),
        "differing": int(index.size),
        "ulp_max": _steps([answer.reshape(-1)[index] for answer in answers.values()]),
        "abs_max": _apart([answer.reshape(-1)[index] for answer in answers.values()]),
    }


def _steps(answers: Sequence[Float32]) -> int | None:
    """The most float32 steps between two answers to one element; None where one is NaN."""
    if not answers or not answers[0].size:
        return 0
    every = np.stack(answers)
    if np.isnan(every).any():
        return None
    bits = every.view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return int((ordered.max(axis=0) - ordered.min(axis=0)).max())


def _apart(answers: Sequence[Float32]) -> float | None:
    """The largest difference between two answers to one element; None where it is no number."""
    if not answers or not answers[0].size:
        return 0.0
    every = np.stack(answers).astype(np.float64)
    found = float((every.max(axis=0) - every.min(axis=0)).max()) if np.isfinite(every).all() else math.nan
    return found if math.isfinite(found) else None


def _calls(
    kernel: Kernel, factor: str, setting: Any, op: str, params: Mapping[str, Any], arrays: Arrays
) -> Iterator[tuple[Float32, float]]:
    def timed() -> tuple[Float32, float]:
        began = time.perf_counter()
        return kernel.run(op, params, arrays), time.perf_counter() - began

    if factor in _FROM_DRIVER:
        with kernel.varied(factor, setting):
            for _ in range(CALLS):
                yield timed()
    else:
        for _ in range(1 if factor == "repeats" else CALLS):
            yield timed()


def _question(
    probe_id: str,
    factor: str,
    setting: Any,
    params: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    recipes: Mapping[str, str],
) -> Question:
    """Return arrays, parameters and the part of the output that is to be the same in all settings."""
    call = dict(params)
    arrays = {name: _array(probe_id, name, shape, recipes) for name, shape in shapes.items()}
    if factor == "batch":
        many = {name: _batch(probe_id, arrays, name, int(setting)) for name in _moving(arrays)}
        _resize(call, int(setting))
        return {**arrays, **many}, call, lambda output: output[:1]
    if factor == "neighbours":
        place, size, others = _NEIGHBOURS[setting]
        many = {}
        for name in _moving(arrays):
            many[name] = _batch(probe_id, arrays, name, size) * np.float32(others)
            many[name][place] = arrays[name][0]
        _resize(call, size)
        return {**arrays, **many}, call, lambda output: output[place : place + 1]
    if factor == "width":
        image = arrays["input"]
        more = _array(probe_id, "more", (*image.shape[:-1], int(setting)), recipes)
        arrays["input"] = np.ascontiguousarray(np.concatenate([image, more], axis=-1))
        reach = arrays["weight"].shape[-1]
        return arrays, call, lambda output: output[..., : image.shape[-1] - reach]
    return arrays, call, lambda output: output


_NEIGHBOURS: Mapping[str, tuple[int, int, float]] = {
    "first of 8": (0, 8, 1.0),
    "last of 8": (7, 8, 1.0),
    "first of 8, others zero": (0, 8, 0.0),
    "first of 8, others larger": (0, 8, 1024.0),
}
NEIGHBOURS = tuple(_NEIGHBOURS)


def _array(probe_id: str, name: str, shape: Sequence[int], recipes: Mapping[str, str]) -> Float32:
    return Array(tuple(shape), recipes.get(name, "normal")).make(f"{probe_id}/{name}")


def _moving(arrays: Arrays) -> list[str]:
    return [name for name in ("input", "grad_output") if name in arrays]


def _batch(probe_id: str, arrays: Arrays, name: str, size: int) -> Float32:
    """A batch whose first sample is the layer's own."""
    one = arrays[name]
    others = [_array(f"{probe_id}/{number}", name, one.shape, {}) for number in range(1, size)]
    return np.concatenate([one, *others])


def _resize(call: dict[str, Any], size: int) -> None:
    if "input_size" in call:
        call["input_size"] = [size, *call["input_size"][1:]]
