"""Replaying a tree of additions on real operands, bit for bit as hardware does it.

A tree becomes a short program over a stack of accumulators: begin one, join leaves to it, add the topmost to
the one below, add many at once.  The kernels run it on tiles of outputs; every output is a sum of its own, so
neither the size of the tiles nor the number of threads can change a bit.

Fused multiply-adds are the processor's (one rounding); going through float64 would round twice.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import BFLOAT16, BINARY16, BINARY32, TF32, Format
from reference.operands import Single
from reference.replay_kernels import (
    ADD,
    BEGIN,
    BIAS,
    FUSED_RUN,
    MANY,
    PLAIN_RUN,
    lowest_digit,
    replay_tile,
    transpose,
)
from reference.rounding import mode_code
from reference.tree import Fused, Item, Run, Series, SummationTree

OPERANDS = {fmt.name: fmt for fmt in (BINARY32, TF32, BFLOAT16, BINARY16)}
_ROWS, _COLUMNS = 16, 256  # of a tile: 16 KiB of accumulators
_STACK = 1 << 20  # bytes of all accumulators of a tile
_MODES = ("RNE", "RNA", "RZ")


@dataclass(frozen=True)
class Program:
    """steps (n, 6): code, first and last leaf in `order`, values taken off the stack, bits, rounding."""

    steps: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    depth: int


def program_of(tree: SummationTree) -> Program:
    """The steps of a tree.  Raises ValueError for a rounding or a width that no step has."""
    steps: list[tuple[int, int, int, int, int, int]] = []
    order: list[int] = []
    height, depth = 0, 1
    todo: list[Any] = [_series_of(tree.root)]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):  # a step to be written after its operands
            height += {BEGIN: 1, ADD: -1, MANY: 1 - item[3]}.get(item[0], 0)
            depth = max(depth, height)
            steps.append(item)
        elif isinstance(item, Run):
            code = FUSED_RUN if item.fused else PLAIN_RUN
            cut = item.leaves.index(tree.leaves) if tree.leaves in item.leaves else len(item.leaves)
            for leaves in (item.leaves[:cut], item.leaves[cut : cut + 1], item.leaves[cut + 1 :]):
                kind = BIAS if leaves == (tree.leaves,) else code
                if leaves:
                    steps.append((kind, len(order), len(order) + len(leaves), 0, 0, 0))
                    order += leaves
        elif isinstance(item, Fused):
            mode, bits = _checked(item)
            first = len(order)
            nodes = [part for part in item.items if not isinstance(part, Run)]
            order += [leaf for part in item.items if isinstance(part, Run) for leaf in part.leaves]
            todo.append((MANY, first, len(order), len(nodes), bits, mode))
            todo += [_series_of(node) for node in reversed(nodes)]
        else:
            todo += reversed(_unfolded(item, tree.zero_start))
    return Program(np.array(steps, np.int64).reshape(-1, 6), np.array(order, np.int64), depth)


def _series_of(item: Item) -> Item:
    return Series((item,)) if isinstance(item, Run) else item


def _unfolded(item: Series, zero_start: bool) -> list[Any]:
    """The parts and steps of a series; a series at its start is the start itself."""
    begin, add = (BEGIN, 0, 0, 0, 0, 0), (ADD, 0, 0, 0, 0, 0)
    found: list[Any] = []
    for place, part in enumerate(item.items):
        if place == 0 and (isinstance(part, Series) or (isinstance(part, Fused) and not zero_start)):
            found.append(part)
            continue
        if place == 0:
            found.append(begin)
        found += [part] if isinstance(part, Run) else [part, add]
    return found


def _checked(item: Fused) -> tuple[int, int]:
    if item.rounding not in _MODES:
        raise ValueError(
            f"a fused addition rounds by one of {_MODES}, got {item.rounding!r}: name one of them"
        )
    bits = -1 if item.fraction_bits is None else item.fraction_bits
    if not -1 <= bits <= 40:
        raise ValueError(
            f"a fused addition keeps 0 to 40 fraction bits, or None for all, got {bits}: give one of these"
        )
    return mode_code(item.rounding), bits


def replay(
    tree: SummationTree, left: npt.ArrayLike, right: npt.ArrayLike, bias: npt.ArrayLike | None = None,
    *, threads: int | None = None,
) -> Single:  # fmt: skip
    """output[p, c] = the tree's sum of left[p, k] * right[k, c] over its leaves k; leaf K is bias[c].

    left (P, K), right (K, C), bias (C,): float32; a bias that the tree lacks is ignored.  Leaves that the
    tree lacks do not count.  NaN and infinities propagate.  A truncated `Fused` gives +0 for a sum of zero,
    and infinity from 2**128 on.

    With `flush`, subnormal operands, products that are rounded by themselves and results become zeros of
    their sign: results that would be subnormal with 24 bits and an unbounded exponent (tininess after
    rounding, IEEE 754-2019, section 7.5, as on x86).  A product inside a fused multiply-add is not rounded,
    so not flushed.

    threads: None for one a processor; no bit depends on it.

    Raises ValueError for operands that are not float32 or do not fit the tree, and for an arithmetic that is
    not known.
    """
    a, b = _matrix("left", left), _matrix("right", right)
    if a.shape[1] != tree.leaves or b.shape[0] != tree.leaves:
        raise ValueError(
            f"left (P, K) and right (K, C) need the tree's K = {tree.leaves} products, got {a.shape} and "
            f"{b.shape}: give every term its column and its row"
        )
    double, fmt = _arithmetic(tree)
    shift = _rounded(_bias(tree, bias, b.shape[1]), BINARY32, tree.flush)
    kind = np.float64 if double else np.float32
    a, b = (np.ascontiguousarray(_rounded(x, fmt, tree.flush)) for x in (a, b))
    flush = tree.flush and not never_subnormal(a, b, shift)
    # Columns are the vectors: the longer axis takes their part.
    turned = a.shape[0] > b.shape[1] and b.shape[1] < _COLUMNS
    shape = (b.shape[1], a.shape[0]) if turned else (a.shape[0], b.shape[1])
    result = np.empty(shape, np.float32)
    emin = BINARY16.emin if fmt is BINARY16 else BINARY32.emin
    task = _Task(program_of(tree), tree.zero_start, flush, emin, turned, shift.astype(kind))
    first, second = (np.ascontiguousarray(b.T), a) if turned else (a, b)
    task.run(first.astype(kind, copy=False), second.astype(kind, copy=False), result, threads)
    return np.ascontiguousarray(result.T) if turned else result


def replay_rows(
    tree: SummationTree, values: npt.ArrayLike, bias: float | None = None, *, threads: int | None = None
) -> Single:
    """output[r] = the tree's sum of the numbers values[r, n]; leaf N is `bias`, one number.

    values (R, N): float32.  Nothing is multiplied, so a fused run is a chain of additions.  Otherwise as
    `replay`.
    """
    x = _matrix("values", values)
    ones = np.ones((x.shape[1], 1), np.float32)
    shift = None if bias is None else np.full(1, bias, np.float32)
    return replay(tree, x, ones, shift, threads=threads)[:, 0]


def operands_of(tree: SummationTree, x: Single) -> Single:
    """Factors as the tree takes them: rounded to its format to nearest even, flushed if it flushes."""
    return _rounded(x, _arithmetic(tree)[1], tree.flush)


def _matrix(name: str, given: npt.ArrayLike) -> Single:
    array = np.asarray(given)
    if array.dtype != np.float32 or array.ndim != 2:
        raise ValueError(
            f"{name} must be a float32 matrix, got {array.dtype} of shape {array.shape}: convert it"
        )
    return array


def _bias(tree: SummationTree, bias: npt.ArrayLike | None, count: int) -> Single:
    if bias is None and tree.bias:
        raise ValueError("the tree has a bias among its leaves, got none: give one number a column")
    if bias is None or not tree.bias:
        return np.zeros(count, np.float32)
    array = np.asarray(bias)
    if array.dtype != np.float32 or array.shape != (count,):
        raise ValueError(
            f"bias must be float32 of shape ({count},), got {array.dtype} of shape {array.shape}: "
            "give one number a column"
        )
    return array


def _arithmetic(tree: SummationTree) -> tuple[bool, Format]:
    if tree.accumulator not in ("binary32", "binary64"):
        raise ValueError(
            f"a tree's accumulator is binary32 or binary64, got {tree.accumulator!r}: name one of them"
        )
    if tree.operands not in OPERANDS:
        raise ValueError(
            f"a tree's operands are one of {sorted(OPERANDS)}, got {tree.operands!r}: name one of them"
        )
    return tree.accumulator == "binary64", OPERANDS[tree.operands]


def _rounded(x: Single, fmt: Format, flush: bool) -> Single:
    """Operands to nearest even; subnormal float32 numbers to zeros of their sign first if `flush`."""
    if flush:
        x = np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0.0), x), x)
    if fmt is BINARY32:
        return x
    if fmt is BINARY16:
        with np.errstate(over="ignore", under="ignore"):
            return x.astype(np.float16).astype(np.float32)
    drop = BINARY32.precision - fmt.precision
    bits = np.ascontiguousarray(x).view(np.uint32)
    # Half of what is dropped, less one for ties unless the last kept bit is odd; a carry may give infinity.
    rounded = bits + np.uint32((1 << drop - 1) - 1) + (bits >> np.uint32(drop) & np.uint32(1))
    rounded &= np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isnan(x), x, rounded.view(np.float32))


def never_subnormal(left: Single, right: Single, shift: Single) -> bool:
    """Whether all sums of products, in any order, are multiples of a normal number: nothing to flush."""
    digits = [int(lowest_digit(x.reshape(-1).view(np.int32))) for x in (left, right, shift)]
    return digits[0] + digits[1] >= BINARY32.emin and digits[2] >= BINARY32.emin


@dataclass(frozen=True)
class _Task:
    """A program and its arithmetic.

    turned: the rows of `right` are given as (columns, K), and the bias belongs to the rows of the result.
    """

    program: Program
    zero_start: bool
    flush: bool
    emin: int
    turned: bool
    shift: npt.NDArray[Any]

    def run(self, left: Any, right: Any, result: Single, threads: int | None) -> None:
        columns = max(1, min(_COLUMNS, result.shape[1]))
        fitting = _STACK // (self.program.depth * columns * left.itemsize)
        rows = max(1, min(_ROWS, fitting, result.shape[0]))
        starts = range(0, result.shape[1], columns), range(0, result.shape[0], rows)
        tiles = [(i, j) for j in starts[0] for i in starts[1]]
        workers = max(1, min(threads or os.cpu_count() or 1, len(tiles)))

        def work(share: list[tuple[int, int]]) -> None:
            stack = np.empty((self.program.depth * rows, columns), left.dtype)
            spare, filled = np.empty(columns, left.dtype), -1
            strip = np.empty((left.shape[1], columns), left.dtype) if self.turned else right
            for i, j in share:
                width = min(columns, result.shape[1] - j)
                if self.turned and j != filled:
                    transpose(right, j, width, strip)
                    filled = j
                replay_tile(
                    self.program.steps, self.program.order, left, strip, self.shift, self.turned,
                    self.zero_start, self.flush, self.emin, i, min(rows, result.shape[0] - i), j, width,
                    0 if self.turned else j, stack, spare, result,
                )  # fmt: skip

        if workers == 1:
            work(tiles)
            return
        cuts = [len(tiles) * n // workers for n in range(workers + 1)]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, [tiles[a:b] for a, b in pairwise(cuts)]))
