"""From the parts of a plan to the truth of the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np

from reference.dot import certify
from reference.formats import Array
from reference.scheme import Indices, Part, Plan
from reference.truth import Refine, Truth


def solve(plan: Plan) -> Truth:
    """The certified truth of a plan, in its shape."""
    if plan.parts[0].view is None:  # the only part, and its sums lie as the result does
        return _shaped(certify(plan.parts[0]), plan.shape)
    value, residual, bound, magnitude = arrays = [np.empty(plan.shape) for _ in range(4)]
    tiers: Counter[str] = Counter()
    refines = []
    for part in plan.parts:  # one after another: the arrays of one part alone exist beside the whole
        refines.append(_put(part, arrays, tiers))
    return Truth(value, residual, bound, magnitude, dict(tiers), _located(plan, refines))


def _put(part: Part, arrays: list[Array], tiers: Counter[str]) -> Refine | None:
    found = certify(part)
    tiers.update(found.tiers)
    for whole, numbers in zip(
        arrays, (found.value, found.residual, found.bound, found.magnitude), strict=True
    ):
        place = whole if part.view is None else part.view(whole)
        place[...] = numbers.reshape(place.shape)
    return found.refine


def _shaped(truth: Truth, shape: tuple[int, ...]) -> Truth:
    return replace(
        truth,
        value=truth.value.reshape(shape),
        residual=truth.residual.reshape(shape),
        bound=truth.bound.reshape(shape),
        magnitude=truth.magnitude.reshape(shape),
    )


def _located(plan: Plan, refines: list[Refine | None]) -> Refine:
    """`refine` of the whole; an element's part and place in it are found at the first call."""

    @cache
    def places() -> tuple[Indices, Indices]:
        owner, place = np.empty(prod(plan.shape), np.int64), np.empty(prod(plan.shape), np.int64)
        everything = np.arange(owner.size).reshape(plan.shape)
        for number, part in enumerate(plan.parts):
            mine = (everything if part.view is None else part.view(everything)).reshape(-1)
            owner[mine], place[mine] = number, np.arange(mine.size)
        return owner, place

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        owner, place = places()
        chosen = refines[int(owner[index])]
        if chosen is None:
            raise ArithmeticError("a part of the plan cannot be refined: this is a defect of the toolkit")
        return chosen(int(place[index]), bits)

    return refine
