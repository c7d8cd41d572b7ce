"""Evaluating sums of products without a framework, as a GPU's units or float32 code would: by the plan.

Operands are rounded before the plan is made (rounding commutes with taking elements), so the plan holds the
very numbers that a unit multiplies.  The bias is never rounded: it joins in float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from precision.prediction.orders import KOrder
from reference import tensorcore
from reference.formats import Format
from reference.operands import Single
from reference.replay import replay
from reference.scheme import Indices, Part, Plan, Scheme, View
from reference.sum_plans import PLANS
from reference.tensorcore import Unit
from reference.tree import SummationTree

_TILE = 1 << 22  # gathered numbers at a time: 16 MiB
_MOST_OUTPUTS = 1 << 20  # of a prediction: each has a truth and a dozen variants
THREADS = os.cpu_count() or 1  # no bit depends on it
_DEPTH = 256  # products at a time: their columns stay in a near cache, which is five times as fast
_FEW_FILTERS = 8  # fewer columns than this are not worth a matrix product each
Dot = Callable[[Single, Single, Single | None], Single]
"""(B, P, K), (B, F, K) and a bias (B, F) or None -> (B, P, F)."""


def has_tensor_cores(op: str) -> bool:
    """Whether an op is sums of products of two arrays, which is what tensor cores compute."""
    return op in PLANS and op.startswith(("conv", "linear", "matmul")) and not op.endswith("_bias_grad")


def plan_of(op: str, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Plan:
    """The plan of an op.  Raises ValueError for arrays and parameters that do not fit."""
    return PLANS[op](**arrays, **params)


def rounded_arrays(arrays: Mapping[str, Any], fmt: Format, mode: str) -> dict[str, Any]:
    """The factors as the units take them; the bias as it is."""
    return {
        name: array if name == "bias" else tensorcore.round_operand(array, fmt, mode)
        for name, array in arrays.items()
    }


def products(plan: Plan) -> int:
    """Multiply-adds of the whole plan."""
    return sum(_outputs(part) * part.scheme.terms for part in plan.parts)


def _outputs(part: Part) -> int:
    return part.scheme.positions * prod(part.weight.shape[:2])


@dataclass(frozen=True)
class Sample:
    """Some outputs of a plan, the same of any plan of that shape; index: their places in the flat result."""

    positions: tuple[Indices, ...]
    filters: tuple[Indices, ...]
    index: Indices

    def of(self, plan: Plan) -> Plan:
        """The plan of these outputs alone: a row of numbers."""
        parts, start = [], 0
        for part, positions, filters in zip(plan.parts, self.positions, self.filters, strict=True):
            small = _chosen(part, positions, filters)
            parts.append(replace(small, view=_stretch(start, start + _outputs(small))))
            start += _outputs(small)
        return Plan((start,), tuple(parts))


def _stretch(first: int, last: int) -> View:
    return lambda whole: whole[first:last]


def _chosen(part: Part, positions: Indices, filters: Indices) -> Part:
    scheme, (groups, _, terms) = part.scheme, part.weight.shape
    starts = scheme.starts[positions // scheme.run] + positions % scheme.run * scheme.step
    few = Scheme(starts, 1, 0, scheme.offsets, scheme.groups, scheme.last)
    weight = np.ascontiguousarray(part.weight[:, filters])
    bias = None if part.bias is None else part.bias.reshape(groups, -1)[:, filters].reshape(-1)
    return Part(few, part.x, weight.reshape(groups, filters.size, terms), bias, part.present)


def sample_of(plan: Plan, limit: int, seed: int = 0) -> Sample | None:
    """A seeded sample of about `limit` multiply-adds and at most about a million outputs.

    None where the whole plan has no more.
    """
    total = products(plan)
    limit = min(limit, max(1, total * _MOST_OUTPUTS // max(1, prod(plan.shape))))
    if total <= limit:
        return None
    rng = np.random.default_rng(seed)
    everything = np.arange(prod(plan.shape)).reshape(plan.shape)
    positions, filters, index = [], [], []
    for part in plan.parts:
        groups, each, _ = part.weight.shape
        count = part.scheme.positions
        some = min(count, max(1, int(count * limit / total)))
        # One position may be too much already: then some filters of it.
        left = limit / total * count / some
        fewer = each if left >= 1 else max(1, int(each * left))
        positions.append(np.sort(rng.choice(count, some, replace=False)))
        filters.append(np.sort(rng.choice(each, fewer, replace=False)))
        place = everything if part.view is None else part.view(everything)
        if part.scheme.last:
            found = place.reshape(count, groups, each)[positions[-1]][:, :, filters[-1]]
        else:
            found = place.reshape(groups, each, count)[:, filters[-1]][:, :, positions[-1]]
        index.append(found.reshape(-1))
    return Sample(tuple(positions), tuple(filters), np.concatenate(index))


def evaluated(plan: Plan, dot_of: Callable[[Part], Dot]) -> Single:
    """Every sum of a plan, in its shape, by the dot products that `dot_of` gives for a part."""
    whole = np.empty(plan.shape, np.float32)
    for part in plan.parts:
        groups, filters, _ = part.weight.shape
        out = np.empty((groups, filters, part.scheme.positions), np.float32)
        dot = dot_of(part)
        for rows, columns, left in _tiles(part):
            right = np.ascontiguousarray(part.weight[rows], np.float32)
            bias = None if part.bias is None else part.bias.astype(np.float32).reshape(groups, -1)[rows]
            out[rows, :, columns] = dot(left, right, bias).swapaxes(1, 2)
        place = whole if part.view is None else part.view(whole)
        place[...] = (out.transpose(2, 0, 1) if part.scheme.last else out).reshape(place.shape)
    return whole


def _tiles(part: Part) -> Iterator[tuple[slice, slice, Single]]:
    """Groups, positions and their left factors (B, P, K), a tile at a time."""
    scheme, (groups, filters, terms) = part.scheme, part.weight.shape
    many = groups if filters < _FEW_FILTERS else 1
    size = max(1, terms)
    positions = max(1, min(scheme.positions, _TILE // size))
    batch = max(1, min(many, _TILE // (size * positions)))
    for group in range(0, groups, batch):
        rows = slice(group, min(group + batch, groups))
        for at in range(0, scheme.positions, positions):
            m = np.arange(at, min(at + positions, scheme.positions))
            starts = scheme.starts[m // scheme.run] + m % scheme.run * scheme.step
            address = scheme.groups[rows, None, None] + starts[:, None] + scheme.offsets
            yield rows, slice(at, int(m[-1]) + 1), part.x[address]


def by_unit(unit: Unit, order: KOrder, bias_joins: str, threads: int = THREADS) -> Dot:
    """Dot products of a tensor core: chains of fused steps; slices and the bias are added in float32.

    bias_joins: "last", one more addition, or "first", as the accumulator that the first chain starts from.
    """

    def dot(left: Single, right: Single, bias: Single | None) -> Single:
        start = bias if bias_joins == "first" else None
        total: Single | None = None
        with np.errstate(over="ignore", invalid="ignore"):
            for places in order.slices:
                chain = _chain(unit, _taken(left, places), _taken(right, places), start, threads)
                total, start = chain if total is None else total + chain, None
            if total is None:
                raise ArithmeticError("an order has at least one slice: this is a defect of the toolkit")
            return total if bias is None or bias_joins == "first" else total + bias[:, None, :]

    return dot


def _taken(factors: Single, places: Indices) -> Single:
    found = factors[..., np.maximum(places, 0)]
    if places.size and places.min() < 0:
        found[..., places < 0] = 0.0
    return found


def _chain(unit: Unit, left: Single, right: Single, start: Single | None, threads: int) -> Single:
    batch, positions, terms = left.shape
    if terms == 0:
        zero = np.zeros((batch, positions, right.shape[1]), np.float32)
        return zero if start is None else zero + start[:, None, :]
    if right.shape[1] < _FEW_FILTERS and batch > 1:
        begin = np.float32(0.0) if start is None else start[:, None, :]
        return np.asarray(tensorcore.fused_dot(left[:, :, None, :], right[:, None, :, :], begin, unit))
    found, depth = [], _DEPTH // unit.terms * unit.terms
    for i in range(batch):
        total = None if start is None else start[i]
        for k in range(0, terms, depth):
            # Whole fused steps: a chain goes on from its accumulator as if it had not been cut.
            part = np.ascontiguousarray(left[i, :, k : k + depth])
            columns = np.ascontiguousarray(right[i, :, k : k + depth].T)
            total = tensorcore.matmul(part, columns, unit, c=total, c_joins="first", threads=threads)
        found.append(np.asarray(total, np.float32))
    return np.stack(found)


def by_tree(tree: SummationTree | None, places: Indices) -> Dot:
    """Dot products in float32 by a tree of additions over the products at `places`, in that order.

    Without a tree there are no products: each result is its bias, or +0.
    """

    def dot(left: Single, right: Single, bias: Single | None) -> Single:
        if tree is None:
            zero = np.zeros((*left.shape[:2], right.shape[1]), np.float32)
            return zero if bias is None else zero + bias[:, None, :]
        found = []
        for i in range(left.shape[0]):
            columns = np.ascontiguousarray(right[i][:, places].T)
            shift = None if bias is None else np.ascontiguousarray(bias[i])
            found.append(replay(tree, np.ascontiguousarray(left[i][:, places]), columns, shift))
        return np.stack(found)

    return dot
