"""Weights carried from one model into the other: layouts converted, flatten orders too, and read back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precision.errors import UserError
from precision.tracing.declared import reordered
from precision.tracing.run import Side
from precision.tracing.units import Unit

_NEUTRAL = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
"""What an array that is missing stands for."""


def carry_weights(source: Side, target: Side, pairs: Sequence[tuple[Unit, Unit]]) -> list[str]:
    """Copy the weights of every matched unit, layouts converted, and check what is there afterwards.

    A bias or a scale that the source does not have is set to 0 or 1, which is the same. Returns notes. Raises
    UserError where a shape does not fit.
    """
    notes = []
    neutral: list[str] = []
    for one, other in pairs:
        if not one.weights or not other.weights:
            continue
        _, found = source.process.ask({"do": "weights", "call": one.main.index})
        arrays = {name: array for name, array in found.items() if name in one.weights}
        for name in other.weights:
            if name in arrays and arrays[name].shape != tuple(other.weights[name]):
                raise UserError(
                    f"weights are carried between layers of one shape; {name} of {one.name} is "
                    f"{list(arrays[name].shape)}, of {other.name} {list(other.weights[name])}; "
                    "match other layers by --match"
                )
        wanted = {name: arrays[name] for name in other.weights if name in arrays}
        orders = [
            unit.before.params.get("order") if unit.before is not None else None for unit in (one, other)
        ]
        if "weight" in wanted and None not in orders and orders[0] != orders[1] and one.before is not None:
            image = one.before.shapes[0]
            wanted["weight"] = reordered(wanted["weight"], image, str(orders[0]), str(orders[1]))
            notes.append(
                f"{other.name}: columns of the weight reordered: it flattens {orders[1]}, "
                f"{one.name} {orders[0]}"
            )
        for name in set(other.weights) - set(arrays):
            wanted[name] = np.full(tuple(other.weights[name]), _NEUTRAL[name], np.float32)
            neutral.append(f"{name} of {other.name}")
        for name in sorted(set(arrays) - set(other.weights)):
            if not (arrays[name] == _NEUTRAL[name]).all():
                notes.append(f"{other.name} has no {name}, {one.name} has one that matters")
        _, now = target.process.ask({"do": "assign", "call": other.main.index}, wanted)
        wrong = [
            name for name, array in wanted.items() if not np.array_equal(now[name], array, equal_nan=True)
        ]
        if wrong:
            raise UserError(
                f"weights are read back as they were carried; {wrong[0]} of {other.name} is not; "
                "look whether the layer constrains or casts it"
            )
    if neutral:
        shown = ", ".join(neutral[:2]) + (", …" if len(neutral) > 2 else "")
        notes.append(f"{len(neutral)} arrays that the source does not have were set to 0, or 1: {shown}")
    return notes
