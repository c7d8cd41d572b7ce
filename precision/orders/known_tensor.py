"""Orders of tensor cores as candidates: chains of fused steps, cut and truncated as each architecture does.

What is known of GPUs is the arithmetic of one step (`reference.tensorcore`); the walk through the terms, the
number of slices and the place of the bias are the kernel's, and tried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import prod

from precision.orders.known import Axes, walks
from reference.tensorcore import UNITS
from reference.tree import Fused, Indices, Item, Run, SummationTree, series

FORMATS = {"tf32": ("tf32", "fp16"), "bfloat16": ("bf16",), "binary16": ("fp16", "tf32")}
"""Formats of units by the format found: numbers of ordinary size are the same in TF32 and binary16."""
SPLITS = (1, 2, 3, 4)
WALKS = 6
MOST_TERMS = 20_000
"""Of a sum: a tree of fused steps has an item for each of them."""


def tensor_trees(axes: Axes, bias: bool, formats: Collection[str]) -> Iterator[SummationTree]:
    """Every width and truncation of a step for operands of these formats, on the first walks."""
    terms = prod(size for _, size in axes)
    if terms > MOST_TERMS:
        return
    short = {unit for name in formats for unit in FORMATS.get(name, ())}
    steps = {
        (unit.terms, unit.fraction_bits): None
        for (_, fmt), unit in UNITS.items()
        if fmt.split(".")[0] in short
    }
    for walk in walks(axes)[:WALKS]:
        for width, bits in steps:
            for split in SPLITS:
                if split > 1 and terms < 2 * split * width:
                    continue
                root = _slices(walk, width, bits, split)
                whole = series(root, Run((terms,))) if bias else root
                yield SummationTree(whole, terms, bias, axes=axes)


def _slices(walk: Indices, width: int, bits: int, split: int) -> Item:
    """Contiguous slices of whole steps, each a chain from zero, added in order."""
    steps = -(-walk.size // width)
    size = -(-steps // split) * width
    parts = [_chain(walk[at : at + size], width, bits) for at in range(0, walk.size, size)]
    return parts[0] if len(parts) == 1 else series(*parts)


def _chain(walk: Indices, width: int, bits: int) -> Item:
    item: Item | None = None
    for at in range(0, walk.size, width):
        run = Run(tuple(walk[at : at + width].tolist()))
        item = Fused((run,) if item is None else (item, run), bits, "RZ")
    assert item is not None
    return item
