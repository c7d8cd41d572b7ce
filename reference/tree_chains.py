"""The chains at the bottom of a tree of additions: accumulators that only leaves join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference.tree import Fused, Item, Run, Series, leaves_of, series


@dataclass(frozen=True)
class Chain:
    """Leaves that are added in one accumulator: one after another, or `width` at a time."""

    leaves: tuple[int, ...]
    fused: bool
    width: int = 0
    bits: int | None = None
    rounding: str = "RNE"

    def item(self, before: Sequence[int] = (), after: Sequence[int] = ()) -> Item:
        """The chain, with a bias at its start or its end."""
        if not self.width:
            return Series((Run((*before, *self.leaves, *after), self.fused),))
        whole: Item | None = Run(tuple(before)) if before else None
        for at in range(0, len(self.leaves), self.width):
            terms = Run(self.leaves[at : at + self.width])
            whole = Fused((terms,) if whole is None else (whole, terms), self.bits, self.rounding)
        start = () if whole is None else (whole,)
        return series(*start, Run(tuple(after), self.fused)) if after else series(*start)

    def roundings(self, double: bool) -> int:
        """Roundings that the last leaf passes within the chain."""
        if self.width or len(self.leaves) == 1:
            return int(bool(self.width) or not double)
        return 1 if self.fused or double else 2


def chains_of(root: Item, bias: int) -> tuple[list[Chain], tuple[Chain, ...]]:
    """The chains of a canonical tree in its order, and the leaves added one by one after all of them;
    the bias is left out.
    """
    found: list[Chain] = []
    tail: list[Chain] = []
    todo: list[tuple[Item, bool]] = [(root, True)]
    while todo:
        item, top = todo.pop()
        chain = _of_many(item, bias)
        if chain is not None or not isinstance(item, Series):
            leaves = tuple(leaf for leaf in leaves_of(item) if leaf != bias)
            found.append(chain or Chain(leaves, True))
            continue
        nodes = [part for part in item.items if not isinstance(part, Run)]
        begun = isinstance(item.items[0], Run)
        head: list[Run] = []
        passed = 0
        for part in item.items:
            if not isinstance(part, Run):
                passed += 1
                continue
            leaves = tuple(leaf for leaf in part.leaves if leaf != bias)
            if leaves and begun and not passed:
                head.append(Run(leaves, part.fused))
            elif leaves:
                (tail if top and passed == len(nodes) else found).append(Chain(leaves, part.fused))
        if head:
            found.append(Chain(tuple(leaf for run in head for leaf in run.leaves), head[-1].fused))
        todo += [(node, top and n == 0 and not head) for n, node in reversed(list(enumerate(nodes)))]
    return [chain for chain in found if chain.leaves], tuple(tail)


def _of_many(item: Item, bias: int) -> Chain | None:
    """Additions of many terms, each the first term of the next, which a bias may begin or end."""
    if isinstance(item, Series) and isinstance(item.items[0], Fused):
        rest = item.items[1:]
        if not rest or (len(rest) == 1 and isinstance(rest[0], Run) and rest[0].leaves == (bias,)):
            item = item.items[0]
    if not isinstance(item, Fused):
        return None
    steps: list[tuple[int, ...]] = []
    kind = (item.fraction_bits, item.rounding)
    at: Item | None = item
    while isinstance(at, Fused) and (at.fraction_bits, at.rounding) == kind:
        nodes = [part for part in at.items if not isinstance(part, Run)]
        runs = [part for part in at.items if isinstance(part, Run)]
        steps.append(tuple(leaf for run in runs for leaf in run.leaves if leaf != bias))
        if len(nodes) > 1:
            return None
        at = nodes[0] if nodes else None
    if at is not None and list(leaves_of(at)) != [bias]:
        return None
    steps.reverse()
    width = max(map(len, steps))
    return Chain(tuple(leaf for step in steps for leaf in step), True, width, *kind) if width else None
