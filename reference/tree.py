"""The order in which a sum of products is added, as a tree of additions.

The n products a_k b_k of a sum are its leaves 0 … n-1; leaf n, where there is one, is a bias: a term that is
no product.  Every addition rounds once, to nearest even.  A tree says nothing of the values, so one tree can
be asked about any operands: evaluated bit for bit (`reference.replay`), counted, bounded, drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.tree_canonical import Canonical
from reference.tree_items import (
    Fused,
    Item,
    Run,
    Series,
    bottom_up,
    chain,
    leaves_of,
    relabelled,
    series,
)

__all__ = [
    "Fused",
    "Indices",
    "Item",
    "Run",
    "Series",
    "SummationTree",
    "bottom_up",
    "chain",
    "fold",
    "leaves_of",
    "relabelled",
    "series",
]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SummationTree:
    """A whole sum: its root, how many products it has, and the arithmetic of its additions.

    accumulator: "binary32", or "binary64" (products and sums in double, rounded to float32 at the end).
    operands: the format to which both factors are rounded to nearest even before ("binary32": not at all).
    zero_start: accumulators start at +0 instead of at their first term, which shows in the sign of a zero.
    flush: subnormal operands and results count as zeros of their sign.
    axes: names and sizes of the axes along which the leaves are numbered, last fastest, for descriptions.
    """

    root: Item
    leaves: int
    bias: bool = False
    accumulator: str = "binary32"
    operands: str = "binary32"
    zero_start: bool = False
    flush: bool = False
    axes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        found = sorted(leaves_of(self.root))
        if not found or found[0] < 0 or found[-1] > self.leaves - (not self.bias):
            raise ValueError(
                f"a tree's leaves are numbered 0 to {self.leaves - (not self.bias)}, got "
                f"{found[:1]} to {found[-1:]}: number the products first, the bias last"
            )
        if len(set(found)) != len(found):
            raise ValueError(
                f"a tree has each leaf once, got {len(found)} leaves, {len(set(found))} of them distinct: "
                "leave the repeated ones out"
            )
        if not bottom_up(self.root, _filled):
            raise ValueError("every item of a tree has leaves, got an empty one: leave it out")

    @property
    def count(self) -> int:
        """Leaves in the tree; fewer than `leaves` where some terms are never added (padding, say)."""
        return sum(1 for _ in leaves_of(self.root))

    def canonical(self) -> SummationTree:
        """One tree for all trees that give the same bits whatever the operands: those compare equal.

        Additions of many terms are left as they are, but for the order of their terms.
        """
        double = self.accumulator == "binary64"
        rules = Canonical(self.leaves, self.zero_start, self.flush and not double, double)
        return replace(self, root=rules.of(self.root))

    def to_json(self) -> dict[str, Any]:
        """The tree as JSON data; runs of leaves are folded to [first, count, step].

        Items: {"run": [[first, count, step], …], "fused": bool}; {"series": [item, …]}; {"fused": [item, …],
        "fraction_bits": …, "rounding": …}, or with "steps": [[item, …], …] in place of "fused" where every
        addition of many is the first term of the next.
        """
        names = ("leaves", "bias", "accumulator", "operands", "zero_start", "flush")
        head = {name: getattr(self, name) for name in names}
        root = bottom_up(self.root, _to_json)
        return {"schema": 1, **head, "axes": [list(axis) for axis in self.axes], "root": root}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SummationTree:
        """The inverse of `to_json`.  Raises ValueError for data that is no tree."""
        try:
            if data["schema"] != 1:
                raise ValueError(
                    f"a tree's schema is 1, got {data['schema']!r}: read it with its own version"
                )
            return SummationTree(
                _from_json(data["root"]),
                int(data["leaves"]),
                bool(data["bias"]),
                str(data["accumulator"]),
                str(data["operands"]),
                bool(data["zero_start"]),
                bool(data["flush"]),
                tuple((str(name), int(size)) for name, size in data["axes"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"a tree has schema, leaves, …, root; {error!r}: write it with to_json"
            ) from None


def _filled(item: Item, parts: list[bool]) -> bool:
    return all(parts) and bool(item.leaves if isinstance(item, Run) else item.items)


def _to_json(item: Item, parts: list[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(item, Run):
        return {"run": fold(item.leaves), "fused": item.fused}
    if isinstance(item, Series):
        return {"series": parts}
    kind = {"fraction_bits": item.fraction_bits, "rounding": item.rounding}
    first = item.items[0]
    if isinstance(first, Fused) and (first.fraction_bits, first.rounding) == (*kind.values(),):
        steps = parts[0].get("steps") or [parts[0]["fused"]]
        steps.append(parts[1:])
        return {"steps": steps, **kind}
    return {"fused": parts, **kind}


def fold(leaves: tuple[int, ...]) -> list[list[int]]:
    """Leaves as stretches [first, count, step], in their order."""
    out: list[list[int]] = []
    for leaf in leaves:
        if out and out[-1][1] == 1:
            out[-1] = [out[-1][0], 2, leaf - out[-1][0]]
        elif out and leaf == out[-1][0] + out[-1][1] * out[-1][2]:
            out[-1][1] += 1
        else:
            out.append([leaf, 1, 0])
    return out


def _from_json(data: Mapping[str, Any]) -> Item:
    if "run" in data:
        leaves = tuple(int(f) + i * int(s) for f, count, s in data["run"] for i in range(int(count)))
        return Run(leaves, bool(data["fused"]))
    if "series" in data:
        return Series(tuple(_from_json(part) for part in data["series"]))
    bits, rounding = data["fraction_bits"], str(data["rounding"])
    item: Item | None = None
    for step in data["steps"] if "steps" in data else [data["fused"]]:
        parts = tuple(_from_json(part) for part in step)
        item = Fused(
            (*(() if item is None else (item,)), *parts), None if bits is None else int(bits), rounding
        )
    if item is None:
        raise KeyError("fused")
    return item
