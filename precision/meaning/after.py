"""What may have been done to an output: an activation, a factor, a sign, another order of its elements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from precision.meaning.functions import ACTIVATIONS, FUNCTIONS, elu, leaky, solved_factors
from precision.meaning.hypotheses import IDENTITY, Change, Declaration, Float64, Sample, Shape, step
from precision.meaning.sums import factors, misread, rewritten, shifted
from reference import OPS, terms

PLAIN = frozenset(("depth_to_space", "space_to_depth", "pixel_shuffle", "pixel_unshuffle", "dropout"))
_NO_SLOPE = 1e-3
"""Slopes that near to one are no activation: statistics that are a little off leave as much."""
LOSSES = frozenset(("cross_entropy", "binary_cross_entropy_with_logits", "mse_loss"))


def after_changes(declared: Declaration, shape: Shape) -> Iterator[Declaration]:
    """Changes of an output of `shape`, the declared function's; those that need no numbers."""
    fused = {change.parameter for change in declared.changes}
    if not any(item.function is not None for item in declared.after):
        if declared.op not in FUNCTIONS | LOSSES and "activation" not in fused:
            for name, activation in ACTIVATIONS.items():
                if np.isfinite(activation.slope):
                    change = Change("activation", "none", name, f"{name} is fused onto the output")
                    yield declared.then(change, activation.after(change))
        change = Change("sign", "+", "-", "the output is negated")
        yield declared.then(change, step(change, function=np.negative))
    if not any(item.arrange is not None for item in declared.after):
        yield from _arrangements(declared, shape)


def solved_changes(declared: Declaration, core: Float64, sample: Sample) -> Iterator[Declaration]:
    """A factor, a slope or an alpha computed from the output and the sampled values of the function."""
    if any(item.function is not None for item in declared.after):
        return
    known = _count(declared)
    for number in solved_factors(core, sample.output):
        if number in (-1.0, 0.0, 1.0):  # no factor: a sign, a constant, nothing
            break
        yield _scaled(declared, number, known)
    for number in {known, 1.0 / known} if known > 1 else set[float]():
        yield _scaled(declared, number, known)
    if declared.op in FUNCTIONS | LOSSES or declared.form == IDENTITY:
        return
    below = (core < 0) & np.isfinite(core)
    negative = np.where(below, core, 0.0)
    for parts, name, make in ((negative, "leaky_relu", leaky), (np.expm1(negative), "elu", elu)):
        for number in solved_factors(parts[below], sample.output[below]):
            found = f"{name}({number:g})"
            if number > 0 and abs(number - 1.0) > _NO_SLOPE and found not in ACTIVATIONS:
                change = Change("activation", "none", found, f"{found} is fused onto the output", solved=True)
                yield declared.then(change, make(number).after(change))


def _scaled(declared: Declaration, number: float, count: float) -> Declaration:
    words = f"the output is {number:g} times the declared one"
    if count > 1 and number == count:
        words += ": the number of its terms, a sum in place of a mean"
    if count > 1 and number == 1.0 / count:
        words += ": one over the number of its terms, a mean in place of a sum"
    change = Change("scale", 1, number, words, solved=True)
    factor = abs(number)
    return declared.then(change, step(change, function=lambda x: x * number, slope=factor, own=3.0 * factor))


def _count(declared: Declaration) -> float:
    """Terms of one sum, a factor to try; 1 without a sum, and for what is no sum any more."""
    if declared.op not in OPS or declared.form is not None:
        return 1.0
    try:
        return float(terms(declared.op, declared.arrays, declared.params))
    except (ValueError, TypeError):
        return 1.0


def _arrangements(declared: Declaration, shape: Shape) -> Iterator[Declaration]:
    """Channels in another order, transposed or shifted images, a buffer of another layout."""
    if len(shape) < 2 or declared.op in FUNCTIONS | LOSSES:
        return
    last = _channel_is_last(declared)
    channel = len(shape) - 1 if last else 1
    count = shape[channel]
    if count > 1:
        change = Change(
            "channel order", "as declared", "output reversed", "the channels of the output are reversed"
        )
        yield _arranged(declared, change, lambda a: np.flip(a, channel))
    for groups in factors(count):
        change = Change(
            "channel order",
            "as declared",
            f"output interleaved by {groups}",
            f"the channels of the output are interleaved by {groups}",
        )
        yield _arranged(declared, change, _interleaved(channel, groups))
    if len(shape) < 3:
        return
    own, other = ("channels last", "channels first") if last else ("channels first", "channels last")
    change = Change("layout", own, f"output {other}", f"the output was written {other}")
    yield _arranged(declared, change, rewritten(last))
    change = Change("layout", own, f"output read as {other}", f"the buffer of the output was read as {other}")
    yield _arranged(declared, change, misread(last))
    first, axes = (1 if last else 2), len(shape) - 2
    for one, end in itertools.combinations(range(axes), 2):
        change = Change("axis", "as declared", ["output", one, end], f"axes {one} and {end} are swapped")
        yield _arranged(declared, change, _swapped(first + one, first + end))
    if axes <= 3:
        for steps in itertools.product((-1, 0, 1), repeat=axes):
            if any(steps) and all(n > abs(s) for n, s in zip(shape[first:], steps, strict=False)):
                yield from _shifts(declared, first, steps)


def _shifts(declared: Declaration, first: int, steps: tuple[int, ...]) -> Iterator[Declaration]:
    none = [0] * len(steps)
    words = f"the output is shifted by {list(steps)}"
    change = Change("shift", none, ["output", *steps], f"{words}, zeros at the border")
    yield _arranged(declared, change, shifted(first, steps))
    change = Change("shift", none, ["output", *steps, "circular"], f"{words}, around the border")
    axes = tuple(range(first, first + len(steps)))
    yield _arranged(declared, change, lambda a: np.roll(a, steps, axes))


def _channel_is_last(declared: Declaration) -> bool:
    if declared.op in ("linear", "matmul", "layer_norm", "rms_norm", "softmax", "log_softmax"):
        return True
    return str(declared.params.get("layout", "NCHW")).endswith("C")


def _interleaved(axis: int, groups: int) -> Callable[[Any], Any]:
    def change(a: Any) -> Any:
        moved = np.moveaxis(a, axis, 0)
        mixed = moved.reshape(groups, -1, *moved.shape[1:]).swapaxes(0, 1).reshape(moved.shape)
        return np.moveaxis(mixed, 0, axis)

    return change


def _swapped(one: int, other: int) -> Callable[[Any], Any]:
    return lambda a: np.swapaxes(a, one, other)


def _arranged(declared: Declaration, change: Change, arrange: Callable[[Any], Any]) -> Declaration:
    return declared.then(change, step(change, arrange=arrange))
