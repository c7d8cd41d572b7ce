"""What a tree of additions is made of: runs of leaves, series of additions, additions of many terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")


@dataclass(frozen=True)
class Run:
    """Leaves that join an accumulator one after another.

    `fused`: acc = fma(a_k, b_k, acc), one rounding; otherwise acc = round(acc + round(a_k b_k)).  For the
    bias the two are the same; for the leaf that starts a series too, but for the sign of a zero
    (`zero_start`).
    """

    leaves: tuple[int, ...]
    fused: bool = True


@dataclass(frozen=True, eq=False)
class Series:
    """The first item starts the accumulator; each further item is added to it, with one rounding each.

    A series that comes first is unfolded: its accumulator is this one.
    """

    items: tuple[Item, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Series) and _tokens(self) == _tokens(other)

    def __hash__(self) -> int:
        return hash(tuple(_tokens(self)))


@dataclass(frozen=True, eq=False)
class Fused:
    """One addition of many terms: exact products of its leaves (the bias itself) and values of its nodes.

    fraction_bits None: added exactly, rounded once by `rounding`.  Otherwise every term is first truncated to
    that many bits below the largest exponent, as tensor cores do (see `reference.tensorcore`).
    """

    items: tuple[Item, ...]
    fraction_bits: int | None = None
    rounding: str = "RNE"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fused) and _tokens(self) == _tokens(other)

    def __hash__(self) -> int:
        return hash(tuple(_tokens(self)))


Item = Run | Series | Fused


def _parts(item: Item) -> tuple[Item, ...]:
    return () if isinstance(item, Run) else item.items


def _downwards(root: Item) -> Iterator[Item]:
    """An item before its parts, those in order.  Trees may be thousands deep: nothing here calls itself."""
    todo = [root]
    while todo:
        item = todo.pop()
        yield item
        todo += reversed(_parts(item))


def _tokens(root: Item) -> list[Any]:
    """The item as a flat list: equal lists, equal items."""
    return [
        item
        if isinstance(item, Run)
        else ("series", len(item.items))
        if isinstance(item, Series)
        else ("fused", len(item.items), item.fraction_bits, item.rounding)
        for item in _downwards(root)
    ]


def leaves_of(item: Item) -> Iterator[int]:
    """The leaves below an item, in the order in which they are written."""
    for part in _downwards(item):
        if isinstance(part, Run):
            yield from part.leaves


def bottom_up(root: Item, combine: Callable[[Item, list[Found]], Found]) -> Found:
    """combine(item, what it gave for the parts), for every item, the parts before the whole."""
    found: dict[int, Found] = {}
    for item in reversed(list(_downwards(root))):
        found[id(item)] = combine(item, [found[id(part)] for part in _parts(item)])
    return found[id(root)]


def series(*items: Item) -> Series:
    """A series with what is nested at its start unfolded, and neighbouring runs of one kind merged."""
    flat: list[Item] = []
    for item in items:
        if isinstance(item, Series) and not flat:
            flat += item.items
        else:
            flat.append(item)
    return Series(tuple(merged(flat)))


def chain(leaves: Any, fused: bool = True) -> Series:
    """A sequential sum of the given leaves."""
    return Series((Run(tuple(int(k) for k in leaves), fused),))


def merged(items: Sequence[Item], *, keep_start: bool = False) -> list[Item]:
    """Neighbouring runs of one kind as one; a single leaf at the start fits a run of either kind.

    keep_start: it does not, since the sign of a zero may depend on it.
    """
    out: list[Item] = []
    joined: list[int] = []  # the leaves of the last item, if it is a run

    def close() -> None:
        if joined and isinstance(out[-1], Run) and len(out[-1].leaves) != len(joined):
            out[-1] = Run(tuple(joined), out[-1].fused)

    for item in items:
        last = out[-1] if out else None
        if isinstance(item, Run) and isinstance(last, Run):
            start = len(out) == 1 and len(joined) == 1 and not keep_start
            if start or last.fused == item.fused:
                if start:
                    out[-1] = Run(last.leaves, item.fused)
                joined += item.leaves
                continue
        close()
        out.append(item)
        joined = list(item.leaves) if isinstance(item, Run) else []
    close()
    return out


def singles(item: Item) -> list[Item]:
    """A run as one run for each of its leaves; anything else as it is."""
    return [Run((leaf,), item.fused) for leaf in item.leaves] if isinstance(item, Run) else [item]


def relabelled(root: Item, leaves: Mapping[int, int | Item]) -> Item:
    """The item with each leaf replaced by another, or by a whole item, which is then added as a node."""

    def combine(item: Item, parts: list[Item]) -> Item:
        if isinstance(item, Series):
            return series(*parts)
        if isinstance(item, Fused):
            return Fused(tuple(parts), item.fraction_bits, item.rounding)
        new = [leaves[leaf] for leaf in item.leaves]
        if all(isinstance(leaf, int) for leaf in new):
            return Run(tuple(leaf for leaf in new if isinstance(leaf, int)), item.fused)
        return series(*(Run((leaf,), item.fused) if isinstance(leaf, int) else leaf for leaf in new))

    return bottom_up(root, combine)
