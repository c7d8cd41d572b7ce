"""The same computation asked in several settings, of which none may change what is computed.

    repeats        the same call again and again, in one process
    processes      the same call in another fresh process
    batch          one sample alone, and in batches of 2, 8, 32: its own part of each result
    position       one sample in different places of a batch of 8
    width          zeros behind the data: columns of an image, terms of a sum; the old outputs of each result
    threads        numbers of threads
    memory format  contiguous and channels_last (PyTorch)

Mathematically a factor changes nothing, so results are compared bit for bit.  Where the function itself
depends on the factor (a batch norm that trains, a gradient that sums over the batch) it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from precision.cases import Case
from precision.inputs import Float32

FACTORS = ("repeats", "processes", "batch", "position", "width", "threads", "memory format")
BATCHES = (1, 2, 8, 32)
PLACES = (0, 1, 4, 7)
STEPS = (0, 1, 8)
"""By how many strides an image is widened."""
LONGER = (0, 1, 8, 64)
"""By how many terms a sum is made longer."""


class NotApplicable(Exception):
    """The function depends on the factor, or has nothing that could be varied; the message says which."""


@dataclass(frozen=True)
class Setting:
    """One call, and the part of its result that must be the same in every setting."""

    label: str
    params: Mapping[str, Any]
    arrays: Mapping[str, Float32]
    kept: Callable[[Float32], Float32]


def settings(case: Case, framework: str, factor: str) -> list[Setting]:
    """The calls of a case for a factor that is varied in one process: batch, position or width.

    Raises `NotApplicable`.
    """
    if factor == "width":
        return _widths(case, framework)
    name = _batched(case)
    params, arrays = case.call(framework, "data"), case.make("data")
    sample = arrays[name][:1]
    declared = case.arrays[name]
    shape = (max(BATCHES) - 1, *declared.shape[1:])
    others = replace(declared, shape=shape).make(f"{case.id}/data/{name}/neighbours")
    if factor == "batch":
        chosen = [(f"batch of {count}", 0, count) for count in BATCHES]
    else:
        chosen = [(f"place {place} of {max(PLACES) + 1}", place, max(PLACES) + 1) for place in PLACES]
    found = []
    for label, place, count in chosen:
        batch = np.concatenate([others[:place], sample, others[place : count - 1]])
        given = _sized(params, count)
        found.append(Setting(label, given, {**arrays, name: batch}, _sample(place)))
    return found


def _sample(place: int) -> Callable[[Float32], Float32]:
    return lambda output: output[place : place + 1]


def _sized(params: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Parameters for a batch of another size: a gradient names the shape of what it is the gradient of."""
    found = dict(params)
    if "input_size" in found:
        found["input_size"] = [count, *found["input_size"][1:]]
    return found


_CONVOLUTIONS = tuple(f"conv{turned}{axes}d" for axes in (1, 2, 3) for turned in ("", "_transpose"))
_OF_INPUT = frozenset(
    (
        *_CONVOLUTIONS,
        *(f"{kind}_pool{axes}d" for axes in (1, 2, 3) for kind in ("avg", "max")),
        *("linear", "layer_norm", "rms_norm", "group_norm", "instance_norm"),
    )
)
_OF_GRADIENT = frozenset(("linear_input_grad", *(f"{name}_input_grad" for name in _CONVOLUTIONS)))


def _batched(case: Case) -> str:
    """The array whose first axis holds samples that do not depend on one another."""
    if case.op == "batch_norm" and not case.params.get("training"):
        return "input"
    if case.op.startswith("batch_norm"):
        raise NotApplicable("its statistics are of the whole batch")
    if case.op.endswith(("_weight_grad", "_bias_grad", "_other_grad")):
        raise NotApplicable("it sums over the batch")
    if case.op in _OF_INPUT:
        return "input"
    if case.op in _OF_GRADIENT:
        return "grad_output"
    raise NotApplicable(f"no batch is known in the arrays of {case.op}")


def _widths(case: Case, framework: str) -> list[Setting]:
    params, arrays = case.call(framework, "data"), case.make("data")
    if case.op == "linear":
        return [_longer(params, arrays, more) for more in LONGER]
    if case.op not in ("conv1d", "conv2d", "conv3d"):
        raise NotApplicable("zeros behind the data would change the function")
    if str(params.get("layout", "NCHW")).endswith("C") or params.get("padding_mode", "zeros") != "zeros":
        raise NotApplicable("an image is widened where channels come first and the padding is of zeros")
    return [_wider(params, arrays, _last(params.get("stride", 1)), steps) for steps in STEPS]


def _longer(params: Mapping[str, Any], arrays: Mapping[str, Float32], more: int) -> Setting:
    """A sum with `more` products of zeros behind its own."""

    def padded(array: Float32) -> Float32:
        return np.pad(array, [*([(0, 0)] * (array.ndim - 1)), (0, more)])

    given = {name: padded(array) if name in ("input", "weight") else array for name, array in arrays.items()}
    return Setting(f"{arrays['weight'].shape[-1] + more} terms", params, given, lambda output: output)


def _wider(params: Mapping[str, Any], arrays: Mapping[str, Float32], stride: int, steps: int) -> Setting:
    """An image with columns of zeros behind it.

    Whole strides: the padding that SAME puts before the image stays.  Zeros of the image then stand where
    zeros of the padding stood, so the first outputs are the same function of the same numbers.
    """
    image = arrays["input"]
    wide = np.pad(image, [*([(0, 0)] * (image.ndim - 1)), (0, stride * steps)])

    def kept(output: Float32) -> Float32:
        return output[..., : output.shape[-1] - steps]  # every stride adds one column

    return Setting(f"{wide.shape[-1]} columns", params, {**arrays, "input": wide}, kept)


def _last(value: Any) -> int:
    return int(value if isinstance(value, int) else value[-1])
