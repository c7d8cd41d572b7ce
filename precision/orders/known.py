"""The orders in which libraries are known to add sums of products, as candidates to be tried on an output.

An order is a walk through the terms (loops over channels and taps, whole or in blocks of channels), cuts of
that walk into blocks that are summed by themselves, lanes inside a block, and the place of the bias.  These
are the structures that masks revealed in PyTorch, TensorFlow, XLA, oneDNN, MKL and Eigen on x86 processors
(`docs/orders.md`); block lengths depend on caches and threads, so all lengths that a sum can have are tried.
Nothing is selected by the name of a framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

import numpy as np
import numpy.typing as npt

from precision.orders.sum_kernel import SumKernel, SumPart
from reference import orders
from reference.tree import Indices, Item, Run, Series, SummationTree, series

LANES = (2, 4, 8, 16)
SLICES = (2, 3, 4, 8)
CHANNEL_BLOCKS = (2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
ALL_LENGTHS = 1200
"""Sums of at most so many terms are cut into blocks of every length."""
_STEP, _PARTS = 8, 96
_LANED = (32, 48, 64, 80, 96, 128, 192, 256, 320, 384, 512)
MOST_TREES = 4096
BIAS = ("last", "after_first", "first")

Axes = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Cuts:
    """Blocks of a walk: block i holds its terms starts[i] to starts[i + 1]; opens[i]: it begins a slice."""

    starts: Indices
    opens: npt.NDArray[np.bool_]
    lanes: int = 1
    halves: bool = False
    fused: bool = True


@dataclass(frozen=True)
class Order:
    """One candidate: a walk, its cuts, and where the bias joins ("" for none)."""

    walk: Indices
    cuts: Cuts
    bias: str

    def tree(self, axes: Axes) -> SummationTree:
        """The order as a tree, its leaves numbered along `axes`."""
        cuts, terms = self.cuts, self.walk.size
        shift = (Run((terms,), cuts.fused),)
        slices: list[list[Item]] = [[]]
        for number, (first, last) in enumerate(zip(cuts.starts[:-1], cuts.starts[1:], strict=True)):
            items: list[Item] = [
                Series((Run(tuple(self.walk[first + lane : last : cuts.lanes].tolist()), cuts.fused),))
                for lane in range(min(cuts.lanes, int(last - first)))
            ]
            if number == 0 and self.bias == "first":
                items[0] = series(*shift, *_runs(items[0]))
            while len(items) > 1:
                kept = -(-len(items) // 2) if cuts.halves else 1
                items = [series(*items[lane::kept]) for lane in range(kept)]
            after = shift if number == 0 and self.bias == "after_first" else ()
            if cuts.opens[number] and number:
                slices.append([])
            slices[-1].append(series(*items, *after) if after else items[0])
        parts = [series(*each) for each in slices]
        root = series(*parts, *(shift if self.bias == "last" else ()))
        return SummationTree(root, terms, bool(self.bias), axes=axes)


def _runs(item: Item) -> tuple[Item, ...]:
    return item.items if isinstance(item, Series) else (item,)


def term_axes(kernel: SumKernel, part: SumPart) -> Axes:
    """Names and sizes of the axes along which the terms of a part are numbered, in either layout."""
    from precision.orders.words import leaf_axes

    layout = str(kernel.params.get("layout", "NCHW"))
    if not layout.endswith("C") or not kernel.op.startswith("conv"):
        return leaf_axes(kernel, part)
    axes = len(kernel.shapes[kernel.carrier]) - 2
    taps = ("tap",) if axes == 1 else ("kernel plane", "kernel row", "kernel column")[-axes:]
    if kernel.op in (f"conv{axes}d", f"conv_transpose{axes}d_input_grad"):
        shape = kernel.shapes["weight"]
        channel = "input channel" if kernel.op == f"conv{axes}d" else "channel"
        found: Axes = (*zip(taps, shape[:axes], strict=True), (channel, shape[axes]))
    elif kernel.op.endswith("_weight_grad"):
        small = kernel.shapes[kernel.carrier]
        names = ("output element",) if axes == 1 else ("output plane", "output row", "output column")[-axes:]
        found = (("image", small[0]), *zip(names, small[1:-1], strict=True))
    else:
        channels = kernel.shapes["weight"][-1] // int(kernel.params.get("groups", 1))
        found = (("tap", part.terms // channels), ("channel", channels)) if channels else ()
    return found if found and prod(size for _, size in found) == part.terms else (("term", part.terms),)


def walks(axes: Axes) -> list[Indices]:
    """The walks through the terms, those met most often first, each once."""
    found: dict[bytes, Indices] = {}
    for walk in _walks(axes):
        flat = np.ascontiguousarray(walk.reshape(-1))
        found.setdefault(flat.tobytes(), flat)
    return list(found.values())


def _walks(axes: Axes) -> Iterator[Indices]:
    sizes = tuple(size for _, size in axes)
    grid = np.arange(prod(sizes), dtype=np.int64).reshape(sizes)
    channel = next((n for n, (name, _) in enumerate(axes) if name.endswith("channel")), None)
    if channel is None:  # images and output elements, or terms without structure
        yield grid
        if len(sizes) > 1:
            yield np.moveaxis(grid, 0, -1)
            yield np.moveaxis(grid, -1, 0)
        return
    grid = np.moveaxis(grid, channel, 0)
    taps = grid.ndim - 1
    yield np.moveaxis(grid, 0, -1)
    yield grid
    turned = np.flip(grid, tuple(range(1, taps + 1)))
    for block in CHANNEL_BLOCKS:
        if block < grid.shape[0]:
            yield _by_channels(grid, block)
    if taps > 1 or grid.shape[-1] > 1:
        yield np.moveaxis(turned, 0, -1)
        yield turned
    for each in (grid, turned):
        across = each.transpose(0, *range(taps, 0, -1))
        yield np.moveaxis(across, 0, -1)
        yield across
    for place in range(1, taps):
        yield np.moveaxis(grid, 0, place)
    for block in CHANNEL_BLOCKS:
        if block < grid.shape[0]:
            yield _by_channels(turned, block)
            if taps > 1:
                yield np.concatenate([_by_channels(row, block) for row in np.moveaxis(grid, 1, 0)])


def _by_channels(grid: Indices, block: int) -> Indices:
    """Blocks of channels; in each all taps, and for each tap the channels of the block."""
    parts = [grid[at : at + block] for at in range(0, grid.shape[0], block)]
    return np.concatenate([np.moveaxis(part, 0, -1).reshape(-1) for part in parts])


def plain_cuts(terms: int, sizes: Sequence[int], every: bool = True) -> Iterator[Cuts]:
    """Blocks of equal length, the last one shorter, or the last two alike; chains of fused multiply-adds and
    a few of rounded products.  sizes: of the axes; every: blocks of all lengths, else of usual ones."""
    lengths = _lengths(terms, sizes, every)
    seen: set[bytes] = set()
    for fused in (True, False):
        seen.clear()
        for length in lengths if fused else [n for n in lengths if n in _LANED or n == terms]:
            starts = np.append(np.arange(0, terms, length), terms)
            if starts.tobytes() not in seen:
                seen.add(starts.tobytes())
                yield Cuts(starts, np.zeros(starts.size, np.bool_), fused=fused)
            rest = terms % length
            if rest and starts.size > 2:
                balanced = np.concatenate([starts[:-2], [starts[-3] + -(-(length + rest) // 2), terms]])
                if balanced.tobytes() not in seen:  # several lengths have the same halves
                    seen.add(balanced.tobytes())
                    yield Cuts(balanced, np.zeros(starts.size, np.bool_), fused=fused)


def _lengths(terms: int, sizes: Sequence[int], every: bool) -> list[int]:
    """Lengths of blocks, the whole sum first."""
    found = {terms: None}
    inner = 1
    for size in reversed(sizes):
        inner *= size
        found |= dict.fromkeys(inner * n for n in range(1, 9))
    taps = prod(sizes) // max(sizes, default=1)
    found |= dict.fromkeys([*_LANED, *(taps * n for n in CHANNEL_BLOCKS)])
    if not every:
        return [length for length in found if 2 <= length <= terms] or [terms]
    found |= dict.fromkeys(-(-terms // n) for n in range(1, _PARTS))
    found |= dict.fromkeys(range(_STEP, terms, 1 if terms <= ALL_LENGTHS else _STEP))
    return [length for length in found if 2 <= length <= terms] or [terms]


def more_cuts(terms: int, sizes: Sequence[int]) -> Iterator[Cuts]:
    """Slices of blocks, blocks inside each index of the outer axes, lanes inside blocks."""
    lengths = sorted({terms, *(n for n in _LANED if n < terms)}, reverse=True)
    edges = [np.linspace(0, terms, sizes[0] + 1).astype(np.int64)] if sizes and 1 < sizes[0] <= 64 else []
    if len(sizes) > 2 and sizes[0] * sizes[1] <= 256:
        edges.append(np.linspace(0, terms, sizes[0] * sizes[1] + 1).astype(np.int64))
    for ends in edges:
        for length in [n for n in lengths if n < ends[1]]:
            starts = [np.arange(a, b, length) for a, b in pairwise(ends)]
            whole = np.append(np.concatenate(starts), terms)
            yield Cuts(whole, np.zeros(whole.size, np.bool_))
            yield Cuts(whole, np.isin(whole, ends))
    for size in dict.fromkeys(-(-terms // (count * unit)) * unit for count in SLICES for unit in (1, _STEP)):
        for length in dict.fromkeys([*range(4 * _STEP, size, _STEP), *(n for n in lengths if n < size)]):
            starts = [np.arange(at, min(at + size, terms), length) for at in range(0, terms, size)]
            whole = np.append(np.concatenate(starts), terms)
            yield Cuts(whole, whole % size == 0)
    for lanes in LANES:
        for length in [n for n in lengths if n >= 2 * lanes or n == terms]:
            whole = np.append(np.arange(0, terms, length), terms)
            opens = np.zeros(whole.size, np.bool_)
            for fused in (True, False):
                for halves in (False, True) if lanes > 2 else (False,):
                    yield Cuts(whole, opens, lanes, halves, fused)


def other_trees(axes: Axes, bias: bool) -> Iterator[SummationTree]:
    """Orders that are no chains of blocks: halves, lanes with a tail, what libraries do to plain numbers."""
    terms = prod(size for _, size in axes)
    if terms > MOST_TREES:
        return
    found = []
    for fused in (True, False):
        for block in (1, 2, 4, 8, 16, 32, 64, 128):
            if block < terms:
                found.append(orders.pairwise(terms, block, fused))
                found += _blocks_and_tail(terms, block, fused)
        for lanes, combine, tail in product(LANES, orders.COMBINATIONS, ("last", "first", "lanes")):
            found.append(orders.strided(terms, lanes, combine, fused, tail))
    for lanes, fused in product((4, 8, 16), (True, False)):
        found += [_headed(terms, head, lanes, fused) for head in range(1, min(lanes, terms - lanes + 1))]
    found += [orders.numpy_pairwise(terms), orders.torch_inner_sum(terms), orders.eigen_inner_sum(terms)]
    found += [orders.torch_outer_sum(terms, 64, column) for column in (0, 63)]
    found += [orders.torch_outer_sum(terms, 33, 32), orders.eigen_outer_sum(terms, 64, 0)]
    for tree in found:
        whole = series(tree.root, Run((terms,))) if bias else tree.root
        yield SummationTree(whole, terms, bias, zero_start=tree.zero_start, axes=axes)


def _blocks_and_tail(terms: int, block: int, fused: bool) -> Iterator[SummationTree]:
    """A power of two of blocks, each added to the one half-way further on; what is left one by one."""
    count = 1 << ((terms // block).bit_length() - 1)
    blocks = [Series((Run(tuple(range(n * block, (n + 1) * block)), fused),)) for n in range(count)]
    rest = tuple(range(count * block, terms))
    for combine in orders.COMBINATIONS.values():
        root = series(combine(blocks), *([Run(rest, fused)] if rest else []))
        yield SummationTree(root, terms)


def _headed(terms: int, head: int, lanes: int, fused: bool) -> SummationTree:
    """Lanes from where memory is aligned on: the terms before begin the first lane, those after come last."""
    last = head + (terms - head) // lanes * lanes
    first = (*range(head), *range(head, last, lanes))
    chains: list[Item] = [Series((Run(first, fused),))]
    chains += [Series((Run(tuple(range(head + n, last, lanes)), fused),)) for n in range(1, lanes)]
    rest = [Run(tuple(range(last, terms)), fused)] if last < terms else []
    return SummationTree(series(orders.COMBINATIONS["butterfly"](chains), *rest), terms)
