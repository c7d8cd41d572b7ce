"""Data on which orders of summation part, and the check of a tree against a framework's answers on it.

Random data is weak evidence: on uniform numbers a chain with FMA and one without agree on most outputs.
Where every sum cancels to nothing but its rounding errors, a wrong order agrees on next to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precision.orders.revealed import DIVIDED, MULTIPLIED, PLAIN, evaluated
from precision.orders.sum_kernel import SumKernel, SumPart
from reference.tree import SummationTree

Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Arrays = Mapping[str, Float32]
Numbers = npt.NDArray[np.int64]

TESTS_PER_POSITION = 100
MOST_TESTS = 24
SHORT = 32
"""Sums of fewer terms often do not round at all: they take more trials."""
CALLS_ALIKE = 10
SINGLES = 12


@dataclass(frozen=True)
class Trial:
    """Arrays, and what the framework made of them."""

    arrays: Arrays
    result: Float32


def fresh(kernel: SumKernel, kind: str, rng: np.random.Generator) -> dict[str, Float32]:
    """Arrays of one kind: uniform in [0, 1), normal, or cancelling (the left factors all one number)."""
    arrays: dict[str, Float32] = {}
    for name, shape in kernel.shapes.items():
        draw = rng.random(shape, np.float32) if kind == "uniform" else rng.standard_normal(shape, np.float32)
        arrays[name] = np.asarray(draw, np.float32)
    if kind == "cancelling":
        if kernel.other is not None:
            arrays[kernel.other] = np.full(kernel.shapes[kernel.other], 1.0 + rng.random(), np.float32)
        carrier = arrays[kernel.carrier].reshape(-1)
        for part in kernel.parts:
            if part.left is None:
                # Windows may overlap: neighbours of opposite sign and very different size.
                carrier *= np.exp2(rng.integers(0, 10, carrier.size)).astype(np.float32)
                break
            values = rng.standard_normal(part.right.shape).astype(np.float32)
            half = part.terms // 2
            values[:, half : 2 * half] = -values[:, :half]
            values = rng.permuted(values, axis=1)
            there = part.right >= 0
            carrier[part.right[there]] = values[there]
        if "bias" in arrays:
            arrays["bias"] *= np.float32(0.125)
    return arrays


def trials(kernel: SumKernel, rng: np.random.Generator) -> list[Trial]:
    """As many calls as give each position a hundred tests, or each output as many as are affordable."""
    channels = min((part.channels for part in kernel.parts if part.left is not None), default=1)
    terms = max((part.terms for part in kernel.parts), default=1)
    least = 4 if terms >= SHORT else 12
    count = int(np.clip(-(-TESTS_PER_POSITION // channels), least, MOST_TESTS))
    # Few terms often cancel without any rounding: then random numbers tell more.
    found = []
    for number in range(count):
        arrays = fresh(kernel, "normal" if number % (4 if terms >= SHORT else 2) == 0 else "cancelling", rng)
        found.append(Trial(arrays, kernel.call(arrays)))
    return found


def clusters(part: SumPart, rng: np.random.Generator) -> Numbers | None:
    """Numbers (channels, positions): equal where outputs gave the same bits whenever given the same factors.

    Every channel gets the same row of right factors, and all left factors are one number: then outputs of as
    many terms differ only if they are added in different orders.  None where outputs share factors.
    """
    kernel = part.kernel
    there = part.right >= 0
    if part.left is None and np.unique(part.right[there]).size < int(there.sum()):
        return None
    hashes = np.zeros((part.channels, part.positions), np.uint64)
    for number in range(CALLS_ALIKE if part.terms >= SHORT else 3 * CALLS_ALIKE):
        arrays = kernel.blank(1.0 + rng.random())
        row = rng.standard_normal(part.terms + 1).astype(np.float32)
        if number % 2 and part.terms >= SHORT:
            half = part.terms // 2
            row[half : 2 * half] = -row[:half]
            row[: part.terms] = rng.permutation(row[: part.terms])
        carrier = arrays[kernel.carrier].reshape(-1)
        carrier[part.right[there]] = np.broadcast_to(row[:-1], part.right.shape)[there]
        if kernel.bias:
            arrays["bias"][:] = row[-1]
        bits = part.output(kernel.call(arrays)).view(np.uint32).astype(np.uint64)
        hashes = (hashes ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    _, found = np.unique(hashes, return_inverse=True)
    return np.asarray(found, np.int64).reshape(part.channels, part.positions)


def finals(kernel: SumKernel) -> tuple[str, ...]:
    """What may follow the sum."""
    return (PLAIN,) if kernel.divisor is None else (DIVIDED, MULTIPLIED)


def agreement(
    part: SumPart, tree: SummationTree, final: str, tests: list[Trial], open_: Booleans
) -> Booleans:
    """Which open outputs (channels, positions) are equal in every trial."""
    positions = np.flatnonzero(open_.any(axis=0))
    equal = open_[:, positions].copy()
    for trial in tests:
        wanted = part.output(trial.result)[:, positions]
        equal &= evaluated(part, tree, final, trial.arrays, positions) == wanted
        if not equal.any():
            break
    found = np.zeros_like(open_)
    found[:, positions] = equal
    return found


def accepted(equal: Booleans, open_: Booleans, tests: int, alike: Numbers | None, strict: bool) -> Booleans:
    """The open outputs for which a tree is taken.

    A group is taken when all that is open in it was equal in every trial: outputs that answer alike; where
    these are not known, or not strict, whole positions, else whole channels.  Single outputs last, and only
    where there were trials enough for each, as a wrong order now and then agrees by chance.
    """
    failed = open_ & ~equal
    if alike is not None:
        bad = np.zeros(int(alike.max(initial=0)) + 1, np.bool_)
        bad[alike[failed]] = True
        found = open_ & ~bad[alike]
        if found.any() or strict:
            return np.asarray(found)
    for axis in (0, 1):
        found = open_ & ~failed.any(axis=axis, keepdims=True)
        if found.any():
            return np.asarray(found)
    return np.asarray(open_ & equal) if tests >= SINGLES else np.zeros_like(open_)
