"""What the order of a sum alone says of its error: roundings on the way of each term, and rigorous bounds.

Every rounding multiplies by 1 + d, |d| <= u, so a term that passes n of them ends as a_k b_k (1 + t) with
|t| <= gamma_n = n u / (1 - n u): Higham 2002, "Accuracy and Stability of Numerical Algorithms", lemma 3.1.
A chain's first terms pass all of its additions, a balanced tree's only log2 of them.

Truncated additions of many terms (tensor cores) lose less than 2**(emax - F) a term, and 2**emax is at most
the sum of the sizes: c terms count as c 2**-F, plus 2u for rounding toward zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.replay import OPERANDS, operands_of
from reference.tree import Fused, Indices, Item, Run, Series, SummationTree

_U32, _U64 = 2.0**-24, 2.0**-53
_NORMAL, _SPACING = 2.0**-126, 2.0**-149


class DepthStatistics(NamedTuple):
    """Roundings on the way of the leaves of a tree."""

    smallest: int
    largest: int
    mean: float


@dataclass
class _Ways:
    """Per leaf: roundings passed, log of what truncation adds; in all: roundings that may underflow."""

    roundings: Indices
    extra: Array
    wide: npt.NDArray[np.bool_]  # terms of a truncated addition, where subnormal factors count as normal ones
    additions: int = 0
    total: int = 0
    cuts: float = 0.0


def depths(tree: SummationTree) -> Indices:
    """Roundings that each leaf passes, (leaves + 1 with a bias,); -1 for leaves that the tree lacks.

    A product that is rounded by itself counts one, every addition on the way one; a fused multiply-add one
    for both, an addition of many terms one.  In binary64 products are exact, and the end is one more.
    """
    return _ways(tree).roundings[: tree.leaves + tree.bias]


def depth_statistics(tree: SummationTree) -> DepthStatistics:
    """Smallest, largest and mean of `depths` over the leaves of the tree."""
    found = depths(tree)
    found = found[found >= 0]
    return DepthStatistics(int(found.min()), int(found.max()), float(found.mean()))


def additions(tree: SummationTree) -> int:
    """Additions in the tree, one of many terms counting once."""
    return _ways(tree).additions


def order_bound(
    tree: SummationTree, left: npt.ArrayLike, right: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> Array:
    """A rigorous bound of |replay - exact|, (P, C) float64: the sum over the leaves of gamma_d |a_k b_k|.

    d: `depths`.  left (P, K), right (K, C), bias (C,), float32; exact is the sum of the products of the
    factors as the tree takes them (rounded to its format, flushed).  Terms for underflow are included; where
    something overflows the bound does not hold.
    """
    ways, count = _ways(tree), tree.leaves
    double = tree.accumulator == "binary64"
    logs = np.where(ways.roundings > 0, ways.roundings, 0) * np.log1p(_U64 if double else _U32) + ways.extra
    if double:  # the last rounding is to float32
        logs = logs - np.log1p(_U64) + np.log1p(_U32)
    factors = np.where(ways.roundings >= 0, np.expm1(logs), 0.0)
    emin = OPERANDS[tree.operands].emin
    a, b = (np.abs(operands_of(tree, np.asarray(x, np.float32))).astype(np.float64) for x in (left, right))
    floor = np.where(ways.wide[:count], 2.0**emin, 0.0)
    a = np.where(a > 0.0, np.maximum(a, floor), 0.0)
    b = np.where(b > 0.0, np.maximum(b, floor[:, None]), 0.0)
    bound = (a * factors[:count]) @ b
    if tree.bias and bias is not None:
        bound = bound + factors[count] * np.abs(np.asarray(bias, np.float64))
    # Sums of doubles above, and the absolute errors of what is rounded to a subnormal number or to zero.
    loss = _NORMAL if tree.flush else _SPACING
    tiny = (loss * (1 if double else ways.total) + ways.cuts * _NORMAL) * float(np.exp(logs.max()))
    return np.asarray(bound * (1.0 + (count + 8) * 2.0**-52) + tiny)


def _ways(tree: SummationTree) -> _Ways:
    size = tree.leaves + 1
    double = tree.accumulator == "binary64"
    ways = _Ways(np.full(size, -1, np.int64), np.zeros(size), np.zeros(size, np.bool_))
    unit = _U64 if double else _U32
    # An item, the roundings that its value passes, and what truncation adds to them.
    todo: list[tuple[Item, int, float]] = [(tree.root, int(double), 0.0)]
    while todo:
        item, passed, extra = todo.pop()
        if isinstance(item, Fused):
            terms = sum(len(part.leaves) if isinstance(part, Run) else 1 for part in item.items)
            ways.additions += terms > 1
            ways.total += 1
            if item.rounding == "RZ":
                extra += float(np.log1p(2.0 * unit) - np.log1p(unit))
            bits = item.fraction_bits
            if bits is not None:
                extra += float(np.log1p(terms * 2.0**-bits))
                ways.cuts += terms * 2.0**-bits * terms
            for part in item.items:
                if isinstance(part, Run):
                    _mark(ways, part.leaves, passed + 1, extra, bits is not None)
                else:
                    todo.append((part, passed + 1, extra))
            continue
        todo += _series(item, tree, passed, extra, ways)
    return ways


def _series(
    item: Run | Series, tree: SummationTree, passed: int, extra: float, ways: _Ways
) -> list[tuple[Item, int, float]]:
    """Marks the leaves of one accumulator; returns its nodes."""
    parts = (item,) if isinstance(item, Run) else item.items
    joins = sum(len(part.leaves) if isinstance(part, Run) else 1 for part in parts) - 1
    double = tree.accumulator == "binary64"
    ways.additions += joins
    ways.total += 2 * (joins + 1)
    found: list[tuple[Item, int, float]] = []
    place = 0  # of the next leaf or node in the accumulator
    for part in parts:
        if not isinstance(part, Run):
            found.append((part, passed + joins - max(place, 1) + 1, extra))
            place += 1
            continue
        for leaf in part.leaves:
            later = joins - max(place, 1) + 1  # additions from its own on
            product = leaf != tree.leaves and not double and (place == 0 or not part.fused)
            _mark(ways, (leaf,), passed + later + product, extra, False)
            place += 1
    return found


def _mark(ways: _Ways, leaves: tuple[int, ...], roundings: int, extra: float, wide: bool) -> None:
    index = np.array(leaves, np.int64)
    ways.roundings[index] = roundings
    ways.extra[index] = extra
    ways.wide[index] = wide
