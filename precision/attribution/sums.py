"""The sums of chosen outputs as rows of factors, and what tensor cores make of them.

A capture may keep a sample of an output's elements: every element is gathered by itself, by its flat index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.prediction.orders import KOrder
from precision.prediction.sums import plan_of
from reference.scheme import Indices, Part
from reference.tensorcore import UNBOUNDED, Unit, fused_dot

Single = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_TILE = 1 << 22  # gathered numbers at a time: 16 MiB


@dataclass(frozen=True)
class Rows:
    """Sums of one part of a plan: their places among the chosen outputs, and where their factors are."""

    part: Part
    places: Indices
    group: Indices
    filter: Indices
    position: Indices

    def tiles(self) -> Iterator[tuple[slice, Single, Single, Single | None]]:
        """Stretches of the rows with their left and right factors (n, K) and their biases (n,)."""
        scheme, weight = self.part.scheme, self.part.weight
        step = max(1, _TILE // max(1, scheme.terms))
        for at in range(0, self.places.size, step):
            rows = slice(at, min(at + step, self.places.size))
            m = self.position[rows]
            start = (
                scheme.starts[m // scheme.run]
                + m % scheme.run * scheme.step
                + scheme.groups[self.group[rows]]
            )
            left = np.asarray(self.part.x[start[:, None] + scheme.offsets], np.float32)
            right = np.asarray(weight[self.group[rows], self.filter[rows]], np.float32)
            bias = None
            if self.part.bias is not None:
                each = weight.shape[1]
                bias = self.part.bias.astype(np.float32)[self.group[rows] * each + self.filter[rows]]
            yield rows, left, np.ascontiguousarray(right), bias


def rows_of(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], index: Indices | None
) -> tuple[int, list[Rows]]:
    """How many outputs were chosen, and the rows of the plan's parts; index None: all of them, as they lie.

    Raises ValueError for arrays and parameters that do not fit the op.
    """
    plan = plan_of(op, arrays, params)
    size = prod(plan.shape)
    chosen = np.arange(size) if index is None else np.asarray(index, np.int64)
    place = np.full(size, -1, np.int64)
    place[chosen] = np.arange(chosen.size)
    numbers = np.arange(size).reshape(plan.shape)
    found = []
    for part in plan.parts:
        groups, filters, _ = part.weight.shape
        positions = part.scheme.positions
        view = numbers if part.view is None else part.view(numbers)
        if part.scheme.last:
            grid = view.reshape(positions, groups, filters).transpose(1, 2, 0)
        else:
            grid = view.reshape(groups, filters, positions)
        mine = place[grid]
        where = np.nonzero(mine >= 0)
        found.append(Rows(part, mine[where], where[0], where[1], where[2]))
    return chosen.size, found


def replayed(count: int, rows: list[Rows], unit: Unit, orders: Mapping[int, KOrder], joins: str) -> Single:
    """The chosen outputs as the unit gives them, flat; orders: one for each part, by its number.

    joins: the bias is added "last" in float32, or is the accumulator that the chain starts from: "first".
    """
    result = np.zeros(count, np.float32)
    for number, each in enumerate(rows):
        for at, left, right, bias in each.tiles():
            result[each.places[at]] = _sum(left, right, bias, unit, orders[number], joins)
    return result


def _sum(left: Single, right: Single, bias: Single | None, unit: Unit, order: KOrder, joins: str) -> Single:
    zero = np.zeros(len(left), np.float32)
    start = bias if joins == "first" and bias is not None else zero
    total: Single | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        for places in order.slices:
            chain = fused_dot(_taken(left, places), _taken(right, places), start, unit)
            total, start = (chain, zero) if total is None else (total + chain, zero)
        total = zero if total is None else total
        return np.asarray(total if bias is None or joins == "first" else total + bias)


def _taken(factors: Single, places: Indices) -> Single:
    found = factors[:, np.maximum(places, 0)]
    found[:, places < 0] = 0.0
    return found


def sizes(count: int, rows: list[Rows], emin: int) -> tuple[Float64, Float64]:
    """Sum of |a b| + |bias| of the chosen outputs, and the number of their products that are not zero.

    Factors below 2**emin count as that: a unit aligns subnormal operands by the exponent of normal ones.
    """
    total, terms = np.zeros(count), np.zeros(count)
    floor = 2.0**emin
    for each in rows:
        for at, left, right, bias in each.tiles():
            a, b = np.abs(left.astype(np.float64)), np.abs(right.astype(np.float64))
            live = (a > 0.0) & (b > 0.0)
            with np.errstate(over="ignore", invalid="ignore"):
                products = np.where(live, np.maximum(a, floor) * np.maximum(b, floor), 0.0)
                found = products.sum(axis=1)
            total[each.places[at]] = found if bias is None else found + np.abs(bias)
            terms[each.places[at]] = live.sum(axis=1)
    return total, terms


def any_order_bound(size: Float64, terms: Float64, unit: Unit) -> Float64:
    """A bound on |output - exact| for tensor cores of this kind, in whatever order and however split.

    For K products that are not zero: at most K fused steps have one, so at most 2 K terms are truncated, each
    by less than 2**(emax - F), where 2**emax is at most the largest term or partial sum; each step then
    rounds toward zero, by less than 2**-23 of its result; at most K partial sums and a bias are added to
    nearest.  With W = 2 K 2**-F + K 2**-23 + (K + 1) 2**-24 and S the sum of sizes, partial sums are at most
    S + E, so E <= W (S + E): E = W S / (1 - W).  Fewer, fuller steps lose less.  The step: MMA-Sim, arXiv
    2511.10909, table 9.
    """
    weight = 2.0 * terms * 2.0**-unit.fraction_bits + terms * 2.0**-23 + (terms + 1.0) * 2.0**-24
    floor = 0.0 if unit.lowest == UNBOUNDED else 2.0 ** (unit.lowest - unit.fraction_bits)
    tiny = terms * 2.0 * (floor + 2.0**-149) + 2.0**-149
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bound = (weight * size + tiny) / (1.0 - weight)
    return np.where(weight < 0.5, bound * (1.0 + 2.0**-20), np.inf)
