"""Orders with a name: how n products may be added, as trees; and what a case's error would be under each.

A bias is leaf n.  Where it can join: "first", the accumulator starts from it; "after_first", after the first
block; "last", after everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import BINARY32, ulp
from reference.library_orders import (
    eigen_inner_sum,
    eigen_outer_sum,
    numpy_pairwise,
    torch_full_sum,
    torch_inner_sum,
    torch_outer_sum,
)
from reference.operands import Single
from reference.replay import replay
from reference.replay_kernels import kahan_products
from reference.tree import Item, Run, Series, SummationTree, relabelled, series
from reference.truth import Truth

__all__ = [
    "COMBINATIONS",
    "blocked",
    "eigen_inner_sum",
    "eigen_outer_sum",
    "kahan_sum_products",
    "numpy_pairwise",
    "pairwise",
    "sequential",
    "split_k",
    "strided",
    "torch_full_sum",
    "torch_inner_sum",
    "torch_outer_sum",
    "what_if",
]

Combine = Callable[[Sequence[Item]], Item]


def sequential(n: int, fused: bool = True, bias: str | None = None, reverse: bool = False) -> SummationTree:
    """((p_0 + p_1) + p_2) + …, or from the last term to the first; bias None, "first" or "last".

    fused: a chain of fused multiply-adds; otherwise every product is rounded first.
    """
    _check(n, bias, "first", "last")
    leaves = tuple(range(n - 1, -1, -1) if reverse else range(n))
    run = {None: leaves, "first": (n, *leaves), "last": (*leaves, n)}[bias]
    return SummationTree(Series((Run(run, fused),)), n, bias is not None)


def blocked(n: int, block: int, bias: str | None = "last", fused: bool = True) -> SummationTree:
    """A chain over each `block` terms in a row (the last block may be shorter); the blocks added in order.

    bias: None, "first" (starts the first block), "after_first" or "last".
    """
    _check(n, bias, "first", "after_first", "last")
    _positive("a block", block)
    chains = [Run(tuple(range(at, min(at + block, n))), fused) for at in range(0, n, block)]
    term = (Run((n,), fused),)
    parts: list[Item] = [Series((chain,)) for chain in chains[1:]]
    before, after = (term, ()) if bias == "first" else ((), term if bias == "after_first" else ())
    last = term if bias == "last" else ()
    return SummationTree(series(*before, chains[0], *after, *parts, *last), n, bias is not None)


def pairwise(n: int, leaf_block: int = 1, fused: bool = True, bias: str | None = None) -> SummationTree:
    """Halves, halved again down to chains of `leaf_block` terms; of an odd number the first half is larger.

    fused: within a chain, and where a half is one single product.  bias None or "last".
    """
    _check(n, bias, "last")
    _positive("a leaf block", leaf_block)
    blocks: list[Item] = [
        Run(tuple(range(at, min(at + leaf_block, n))), fused) for at in range(0, n, leaf_block)
    ]
    root = _halves([part if leaf_block == 1 else Series((part,)) for part in blocks])
    return _with_bias(root, n, bias)


def strided(
    n: int,
    lanes: int,
    combine: str = "sequential",
    fused: bool = True,
    tail: str = "lanes",
    bias: str | None = None,
) -> SummationTree:
    """Vector lanes: term k joins chain k mod `lanes`; then the lanes are added.

    combine: "sequential" ((l0 + l1) + l2) + …; "pairwise" (l0 + l1) + (l2 + l3) …; "butterfly", lane l and
    lane l + lanes/2, again and again.  tail: where the n mod lanes terms after the last whole vector go:
    "lanes", the first of them; "last", one by one onto the sum of the lanes; "first", a chain to which the
    sum of the lanes is added.  bias None or "last".
    """
    _check(n, bias, "last")
    _positive("a number of lanes", lanes)
    _one_of("combine", combine, tuple(COMBINATIONS))
    _one_of("tail", tail, ("lanes", "last", "first"))
    whole = n if tail == "lanes" else n - n % lanes
    chains = [Series((Run(tuple(range(lane, whole, lanes)), fused),)) for lane in range(min(lanes, whole))]
    rest = [Run(tuple(range(whole, n)), fused)] if whole < n else []
    if not chains:
        root: Item = series(*rest)
    elif tail == "first" and rest:
        root = series(series(*rest), COMBINATIONS[combine](chains))
    else:
        root = series(COMBINATIONS[combine](chains), *rest)
    return _with_bias(root, n, bias)


def split_k(
    n: int,
    parts: int,
    inner: Callable[[int], SummationTree] = sequential,
    combine: str = "sequential",
    bias: str | None = None,
) -> SummationTree:
    """The terms in `parts` slices of one length (the last may be shorter), each summed by `inner`.

    inner: from a number of terms to a tree without a bias.  combine: as in `strided`.  bias None or "last".
    """
    _check(n, bias, "last")
    _positive("a number of parts", parts)
    _one_of("combine", combine, tuple(COMBINATIONS))
    length = -(-n // parts)
    sums: list[Item] = []
    for at in range(0, n, length):
        tree = inner(min(length, n - at))
        root = tree.root if isinstance(tree.root, Series) else series(tree.root)
        sums.append(relabelled(root, {k: at + k for k in range(tree.leaves)}))
    return _with_bias(COMBINATIONS[combine](sums), n, bias)


def _in_order(items: Sequence[Item]) -> Item:
    return series(*items)


def _halves(items: Sequence[Item]) -> Item:
    if len(items) == 1:
        return items[0]
    middle = -(-len(items) // 2)
    return series(_halves(items[:middle]), _halves(items[middle:]))


def _butterfly(items: Sequence[Item]) -> Item:
    while len(items) > 1:
        half = -(-len(items) // 2)
        items = [series(*items[lane::half]) for lane in range(half)]
    return items[0]


COMBINATIONS: dict[str, Combine] = {"sequential": _in_order, "pairwise": _halves, "butterfly": _butterfly}
"""How several sums may be added: ((s0 + s1) + s2) + …, in halves, or each to the one half-way further on."""


def _with_bias(root: Item, n: int, bias: str | None) -> SummationTree:
    parts: list[Item] = [root, Run((n,))] if bias == "last" else [root]
    return SummationTree(series(*parts), n, bias is not None)


def _check(n: int, bias: str | None, *places: str) -> None:
    _positive("a number of terms", n)
    _one_of("bias", bias, (None, *places))


def _positive(what: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{what} is at least 1, got {number}: give a positive number")


def _one_of(name: str, given: str | None, allowed: Sequence[str | None]) -> None:
    if given not in allowed:
        raise ValueError(f"{name} must be one of {tuple(allowed)}, got {given!r}: name one of them")


def kahan_sum_products(left: Single, right: Single, bias: Single | None = None) -> Single:
    """output[p, c] = the compensated sum of left[p, k] * right[k, c], rounded products in order, bias last.

    With s = c = 0, for each term: y = p - c, t = s + y, c = (t - s) - y, s = t, all in float32: not a tree of
    additions, since every term meets an error of the ones before.  left (P, K), right (K, C), bias (C,).

    Source: Kahan 1965, "Further remarks on reducing truncation errors", Commun. ACM 8(1).
    """
    a, b = np.ascontiguousarray(left, np.float32), np.ascontiguousarray(right, np.float32)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"left (P, K) and right (K, C) share K, got {a.shape} and {b.shape}: transpose one")
    terms = np.zeros(b.shape[1], np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
    if terms.shape != (b.shape[1],):
        raise ValueError(f"bias has shape ({b.shape[1]},), got {terms.shape}: give one number a column")
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    kahan_products(a, b, terms, bias is not None, out)
    return out


def what_if(
    left: Single,
    right: Single,
    truth: Truth | npt.ArrayLike,
    orders: Mapping[str, SummationTree | Callable[..., Single]],
    bias: Single | None = None,
) -> list[dict[str, Any]]:
    """The error that a case would have under each of several orders, as rows of a table.

    left (P, K), right (K, C), bias (C,); truth (P, C), certified or an array; orders: trees, or functions
    such as `kahan_sum_products` of (left, right, bias).  Each row: order; error_abs_max; error_ulp_max, _rms
    and _mean, in ulps (the spacing of float32 at the truth); correctly_rounded, a share of the outputs.
    Outputs that are not finite count as an error that is not finite.

    Raises ValueError for a truth of another shape, and what `replay` raises.
    """
    value, residual = (
        (truth.value, truth.residual)
        if isinstance(truth, Truth)
        else (np.asarray(truth, np.float64), np.float64(0.0))
    )
    shape = np.shape(left)[0], np.shape(right)[1]
    if value.shape != shape:
        raise ValueError(f"the truth has the sums' shape {shape}, got {value.shape}: reshape it")
    best = truth.round(np.float32) if isinstance(truth, Truth) else value.astype(np.float32)
    rows = []
    for name, order in orders.items():
        found = (
            replay(order, left, right, bias) if isinstance(order, SummationTree) else order(left, right, bias)
        )
        error = (found.astype(np.float64) - value) - residual
        ulps = error / ulp(value, BINARY32)
        rows.append(
            {
                "order": name,
                "error_abs_max": float(np.max(np.abs(error), initial=0.0)),
                "error_ulp_max": float(np.max(np.abs(ulps), initial=0.0)),
                "error_ulp_rms": float(np.sqrt(np.mean(ulps**2))) if ulps.size else 0.0,
                "error_ulp_mean": float(np.mean(ulps)) if ulps.size else 0.0,
                "correctly_rounded": float(np.mean(found == best)) if ulps.size else 1.0,
            }
        )
    return rows
