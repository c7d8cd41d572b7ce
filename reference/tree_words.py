"""A tree of additions in words.

The words come from a guess at the tree's structure, and only after the guess, built again, has proved to be
the same tree; anything else is described by its counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from reference.leaf_loops import loops_of, words_of_loops
from reference.orders import COMBINATIONS
from reference.tree import Indices, Item, Run, Series, SummationTree, leaves_of, series
from reference.tree_bounds import additions, depth_statistics, depths
from reference.tree_chains import Chain, chains_of

_ADDED = {
    "sequential": "in order",
    "pairwise": "pairwise",
    "butterfly": "each to the one half-way further on",
}
_ROUNDED = {"RNE": "to nearest even", "RNA": "to nearest, ties away", "RZ": "toward zero"}


@dataclass(frozen=True)
class Guess:
    """Chains combined in one way; a tail joins them one by one ("last") or as a sum of its "own"."""

    chains: tuple[Chain, ...]
    tail: tuple[Chain, ...]
    combine: str
    build: Callable[[Sequence[Item]], Item]
    where: str  # the bias joins: "none", "first", "after_first", "last"
    place: str


def describe(tree: SummationTree, *, products: bool = True) -> str:
    """The order of the tree in words, by the loops in which its leaves are numbered (`tree.axes`).

    Such as "16 blocks of 400 terms, an FMA chain over 16 input channels x 5 kernel rows x 5 kernel columns in
    each; blocks added in order; bias after the first block".  products=False: the leaves are numbers, so
    nothing is said of products.  A tree of no known structure: "a tree of 37 additions, depth 5 to 12".
    """
    plain = replace(tree, axes=())
    words = _structure(plain, tree.axes, products)
    if words is None:
        found, count = depth_statistics(plain), additions(plain)
        span = str(found.smallest) + (f" to {found.largest:,}" if found.largest > found.smallest else "")
        words = [f"a tree of {count:,} addition{'s' * (count != 1)}, depth {span}"]
    return "; ".join([*words, *_arithmetic(tree)])


def _arithmetic(tree: SummationTree) -> Iterator[str]:
    if tree.operands != "binary32":
        yield f"factors rounded to {tree.operands}"
    if tree.accumulator == "binary64":
        yield "in binary64, rounded to float32 at the end"
    if tree.flush:
        yield "subnormal numbers count as zeros"
    missing = tree.leaves + tree.bias - tree.count
    if missing:
        yield f"{missing:,} of the {tree.leaves + tree.bias:,} terms are never added"


def _structure(tree: SummationTree, axes: tuple[tuple[str, int], ...], products: bool) -> list[str] | None:
    """The first guess that is the tree."""
    wanted = tree.canonical().root
    bias = tree.leaves if tree.bias and tree.leaves in set(leaves_of(tree.root)) else None
    chains, tail = chains_of(wanted, tree.leaves)
    teller = Teller(axes, tree.leaves, tree.accumulator == "binary64", products)

    def same(root: Item) -> bool:
        return replace(tree, root=root).canonical().root == wanted

    if not chains:
        return ["the bias alone"]
    if len(chains) == 1 and not tail:
        return _one_chain(chains[0], bias, same, teller)
    for guess in _guesses(tree, chains, tail, bias):
        if same(_build(guess, bias)):
            return teller.blocks(guess)
    return None


def _guesses(
    tree: SummationTree, chains: list[Chain], tail: tuple[Chain, ...], bias: int | None
) -> Iterator[Guess]:
    """What the tree may be, likely things first; only those with each chain as deep as it is."""
    found, double = depths(tree), tree.accumulator == "binary64"
    levels = {chain: int(found[chain.leaves[-1]]) - chain.roundings(double) for chain in chains}
    ordered = sorted(chains, key=lambda chain: min(chain.leaves))
    # Added in order, the earlier of two sums has more additions before it, but for the first two.
    deep = sorted(ordered, key=lambda chain: -levels[chain])
    orders = [ordered]
    orders += [parts for parts in (deep, [*deep[1::-1], *deep[2:]]) if parts != ordered]
    ends = [(parts, tail, "last") for parts in orders]
    if not tail and len(chains) > 2:  # the last chain may be a tail with a sum of its own
        ends += [(parts[:-1], (parts[-1],), "own") for parts in orders]
    ways = {**COMBINATIONS, **{f"{n} slices": _slices(n) for n in range(2, min(9, len(chains)))}}
    for parts, rest, place in ends:
        level = np.array([levels[chain] for chain in parts])
        for combine, build in ways.items():
            # The bias may be joined to the first chain, so the others are compared with one another.
            if np.ptp((level - _model(len(parts), build))[1:] if len(parts) > 1 else 0):
                continue
            for where in ("none",) if bias is None else ("last", "after_first", "first"):
                yield Guess(tuple(parts), rest, combine, build, where, place)


@lru_cache(maxsize=64)
def _model(count: int, build: Callable[[Sequence[Item]], Item]) -> Indices:
    """Roundings on the way of each of `count` sums that are combined so."""
    return depths(SummationTree(build([Series((Run((n,)),)) for n in range(count)]), count))


@cache
def _slices(count: int) -> Callable[[Sequence[Item]], Item]:
    """Slices of as many sums each (the last may have fewer), each added in order, then the slices."""

    def build(items: Sequence[Item]) -> Item:
        size = -(-len(items) // count)
        return series(*(series(*items[at : at + size]) for at in range(0, len(items), size)))

    return build


def _one_chain(
    chain: Chain, bias: int | None, same: Callable[[Item], bool], teller: Teller
) -> list[str] | None:
    ends: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {"none": ((), ())}
    if bias is not None:
        ends = {"last": ((), (bias,)), "first": ((bias,), ())}
    for where, (before, after) in ends.items():
        if same(chain.item(before, after)):
            return [teller.chain(chain), *bias_words(where)]
    return None


def _build(guess: Guess, bias: int | None) -> Item:
    """The guess as a tree."""
    first = (bias,) if bias is not None and guess.where == "first" else ()
    items = [chain.item(first if n == 0 else ()) for n, chain in enumerate(guess.chains)]
    term: list[Item] = [] if bias is None else [Run((bias,))]
    if guess.where == "after_first":
        items[0] = series(items[0], *term)
    rest: list[Item] = [Run(part.leaves, part.fused) for part in guess.tail]
    if guess.place == "own":
        rest = [Series(tuple(rest))]
    root = series(guess.build(items), *rest)
    return series(root, *term) if guess.where == "last" else root


def bias_words(where: str) -> list[str]:
    """Where the bias joins a chain."""
    return {"none": [], "last": ["bias last"], "first": ["starting from the bias"]}[where]


@dataclass(frozen=True)
class Teller:
    """Words for what was found."""

    axes: tuple[tuple[str, int], ...]
    leaves: int
    double: bool
    products: bool

    def kind(self, chain: Chain) -> str:
        """What is done in one chain."""
        if chain.width:
            cut = "exact" if chain.bits is None else f"cut to {chain.bits} bits below the largest"
            return (
                f"{chain.width} products and the sum so far added at once "
                f"({cut}, rounded {_ROUNDED[chain.rounding]})"
            )
        if len(chain.leaves) == 1 or self.double or not self.products:
            return "a chain"
        return "an FMA chain" if chain.fused else "a chain of rounded products"

    def loops(self, leaves: Sequence[int]) -> str | None:
        return words_of_loops(leaves, self.axes, self.leaves)

    def chain(self, chain: Chain) -> str:
        """A tree that is one chain."""
        comma = "," * bool(chain.width)
        terms = f"{_terms(len(chain.leaves))}, not in the order of their numbers"
        return f"{self.kind(chain)}{comma} over {self.loops(chain.leaves) or terms}"

    def blocks(self, guess: Guess) -> list[str]:
        """A tree of several chains."""
        what, head = self._head(guess)
        least = [min(chain.leaves) for chain in guess.chains]
        along = self.loops([leaf for chain in guess.chains for leaf in chain.leaves])
        words = [head, self._added(guess, what)]
        if len(guess.chains) == 1:
            what, words = "chain", [self.chain(guess.chains[0])]
        elif not along and least != sorted(least):
            words[1] = (
                words[1].replace(" in order", " one after another") + ", not in the order of their terms"
            )
        if guess.tail:
            count = _terms(sum(len(part.leaves) for part in guess.tail))
            words.append(
                f"then the sum of the other {count}" if guess.place == "own" else f"then {count} one by one"
            )
        bias = {"last": "bias last", "first": f"the first {what} starting from the bias"}
        bias["after_first"] = f"bias after the first {what}"
        return words + ([bias[guess.where]] if guess.where in bias else [])

    @staticmethod
    def _added(guess: Guess, what: str) -> str:
        if guess.combine in _ADDED:
            return f"{what}s added {_ADDED[guess.combine]}"
        return f"{what}s added in order in each of {guess.combine}, then the slices"

    def _head(self, guess: Guess) -> tuple[str, str]:
        """What the chains are called, and how many of what kind they are."""
        chains = guess.chains
        first, count = chains[0], len(chains)
        size, last = len(first.leaves), len(chains[-1].leaves)
        equal = all(len(chain.leaves) == size for chain in chains[:-1])
        shifted = equal and last <= size and all(_shifted(first, chain) for chain in chains)
        what, along, over = "chain", "", ""
        if _is_lanes(chains):
            what, along = "lane", f" (k mod {count})"
        else:
            each = {self.loops(chain.leaves) for chain in chains if len(chain.leaves) == size}
            whole = self.loops([leaf for chain in chains for leaf in chain.leaves])
            contiguous = loops_of(first.leaves) in ([(size, 1)], [])
            if shifted and len(each) == 1 and None not in each:
                what, over = "block", f" over {each.pop()}" if self.axes or not contiguous else ""
            elif equal and whole is not None:
                what, along = "block", f" along {whole}" if self.axes else ""
        if equal and last <= size:
            head = f"{count} {what}s of {_terms(size)}" + (f" (the last of {last:,})" if last != size else "")
        else:
            sizes = [len(chain.leaves) for chain in chains]
            head = f"{count} {what}s of {min(sizes):,} to {max(sizes):,} terms"
        kinds = {replace(chain, leaves=()) for chain in chains if len(chain.leaves) > 1}
        if len(kinds) > 1:
            return what, f"{head}{along}, of several kinds"
        longest = max(chains, key=lambda chain: len(chain.leaves))
        inner = f", {self.kind(longest)}{',' * bool(longest.width and over)}{over} in each"
        return what, head + along + (inner if len(longest.leaves) > 1 else "")


def _terms(count: int) -> str:
    return f"{count:,} term{'s' * (count != 1)}"


def _shifted(first: Chain, other: Chain) -> bool:
    """Whether the other chain is the first one, moved, as far as it goes."""
    move = other.leaves[0] - first.leaves[0]
    return all(b - a == move for a, b in zip(first.leaves, other.leaves, strict=False))


def _is_lanes(chains: Sequence[Chain]) -> bool:
    """Whether chain l has the terms l, l + count, l + 2 count, …"""
    count = len(chains)
    return count > 1 and all(
        chain.leaves == tuple(range(lane, lane + count * len(chain.leaves), count))
        for lane, chain in enumerate(chains)
    )
