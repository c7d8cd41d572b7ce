"""One way of writing for all trees that give the same bits.

What may be exchanged: the two values of an addition, so the product that starts an accumulator and a rounded
product that joins it, a sum and a sum that is added to it; the terms of an addition of many.  A leaf that is
fused onto an accumulator may not.

With `zero_start` the sign of a zero depends on more: +0 is added to the leaf, or to the addition of many,
that starts an accumulator, but to no sum that does.  -0 + -0 is the one addition that tells, so it matters
whether a value can be -0; an exchange that could change that sign is left undone.  Forms that differ in the
sign of a zero half-way, but not in the sum, may stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from reference.tree_items import Fused, Item, Run, Series, bottom_up, merged, singles


@dataclass(frozen=True)
class _Known:
    """A canonical item, its smallest leaf, and whether its value is never -0."""

    item: Item
    least: int
    positive: bool


@dataclass(frozen=True)
class Canonical:
    """The rules for one arithmetic; `bias` is the number of the leaf that is no product."""

    bias: int
    zero_start: bool
    flush: bool  # results may become -0 by flushing
    exact: bool  # products are exact in the accumulator: no leaf is fused

    def of(self, root: Item) -> Item:
        """The canonical form of a whole tree."""
        return bottom_up(Series((root,)) if isinstance(root, Run) else root, self._combine).item

    def _combine(self, item: Item, parts: list[_Known]) -> _Known:
        if isinstance(item, Run):
            leaves = tuple(item.leaves)
            return _Known(Run(leaves, item.fused and not self.exact), min(leaves, default=self.bias), False)
        if isinstance(item, Fused):
            return self._many(item, parts)
        flat: list[_Known] = []
        for part in parts:
            if isinstance(part.item, Run):
                flat += [
                    _Known(one, min(one.leaves), False) for one in singles(part.item) if isinstance(one, Run)
                ]
            else:
                flat.append(part)
        steps, known = self._start(flat[0])
        for part in flat[1:]:
            steps, known = self._join(steps, known, part)
        return self._closed(steps, known)

    def _many(self, item: Fused, parts: list[_Known]) -> _Known:
        nodes = sorted(
            (part for part in parts if not isinstance(part.item, Run)), key=lambda part: part.least
        )
        leaves = sorted(leaf for part in parts if isinstance(part.item, Run) for leaf in part.item.leaves)
        terms = [part.item for part in nodes] + ([Run(tuple(leaves), True)] if leaves else [])
        least = min(part.least for part in parts)
        return _Known(Fused(tuple(terms), item.fraction_bits, item.rounding), least, False)

    def _closed(self, steps: list[Item], known: _Known) -> _Known:
        first = steps[0]
        if len(steps) == 1 and isinstance(first, Fused) and not self.zero_start:
            return _Known(first, known.least, False)
        if isinstance(first, Run) and not self.zero_start:
            steps = [Run(first.leaves, not self.exact), *steps[1:]]
        # The bias fits any run; what it starts is written alike in all of them.
        keep = self.zero_start and not (isinstance(first, Run) and first.leaves[0] == self.bias)
        return _Known(Series(tuple(merged(steps, keep_start=keep))), known.least, known.positive)

    def _leaf(self, item: Item) -> Run | None:
        """The item if it is one leaf, alone or in a series of its own."""
        while isinstance(item, Series) and len(item.items) == 1:
            item = item.items[0]
        return item if isinstance(item, Run) and len(item.leaves) == 1 else None

    def _plain(self, leaf: int) -> Run:
        """A leaf that is rounded before it is added."""
        return Run((leaf,), leaf == self.bias and not self.exact)

    def _start(self, part: _Known) -> tuple[list[Item], _Known]:
        item = part.item
        if isinstance(item, Series):
            return [one for inner in item.items for one in singles(inner)], part
        if isinstance(item, Run):
            leaf = item.leaves[0]
            item = Run(item.leaves, item.fused or (leaf == self.bias and not self.exact))
            return [item], _Known(item, leaf, leaf == self.bias or not item.fused)
        return [item], _Known(item, part.least, True)

    def _join(self, steps: list[Item], known: _Known, part: _Known) -> tuple[list[Item], _Known]:
        """What is added to an accumulator; `steps` is used up."""
        leaf, single = self._leaf(part.item), isinstance(part.item, Run)
        lone = steps[0] if len(steps) == 1 and isinstance(steps[0], Run) else None
        least = min(known.least, part.least)
        if leaf is not None and single and leaf.fused and leaf.leaves[0] != self.bias:
            steps.append(leaf)
            return steps, _Known(part.item, least, False)
        after = _Known(part.item, least, (known.positive or part.positive) and not self.flush)
        free = not self.zero_start or known.positive
        if leaf is not None and lone is not None and (free or part.positive):
            low, high = sorted((lone.leaves[0], leaf.leaves[0]))
            return [self._plain(low), self._plain(high)], after
        if leaf is not None and (free or single):
            steps.append(self._plain(leaf.leaves[0]))
            return steps, after
        begun, start = self._start(part)
        joins = self._exchange(steps, known, part)
        if lone is not None and joins:
            begun.append(self._plain(lone.leaves[0]))
        elif part.least < known.least and (isinstance(part.item, Series) if lone is not None else joins):
            alone = isinstance(steps[0], Fused) and len(steps) == 1
            begun.append(steps[0] if alone else self._closed(steps, known).item)
        else:
            steps.append(part.item)
            return steps, after
        return begun, _Known(part.item, least, (known.positive or start.positive) and not self.flush)

    def _exchange(self, before: list[Item], known: _Known, part: _Known) -> bool:
        """Whether the part may start the accumulator, and what came before be added to it."""
        if not self.zero_start:
            return True
        many, alone = isinstance(part.item, Fused), len(before) == 1
        if alone and isinstance(before[0], Run):
            return part.positive or (many and known.positive)
        return known.positive if many else not alone or part.positive
