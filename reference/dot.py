"""Certified sums of products: a cascade of float64 matrix products, compensated sums and exact sums.

Every product of two float32 numbers is exact in float64 (48 <= 53 bits, exponents within -298..256), so only
the additions round. Each tier states a bound for its own result; an element moves on while the bound does not
certify it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import compensated
from reference.certify import settle, settle_float64
from reference.columns import fill_terms_first, fill_terms_last
from reference.formats import Array
from reference.operands import NO_BITS, Single, Survey, survey
from reference.scheme import Indices, Part, Scheme
from reference.truth import Truth

U64, U32 = 2.0**-53, 2.0**-24
BLOCK = 384  # terms a matrix product: the bound grows with it plus the number of blocks
PANEL = 1 << 23  # elements of a block of the weight: 64 MiB of float64
TILE = 1 << 21  # elements of a tile's largest buffer: 16 MiB of float64
_INFLATE = 1.0 + 2.0**-40  # covers the roundings of the bound's own evaluation, a few float64 operations


def gamma(terms: float, unit_roundoff: float) -> float:
    """n*u / (1 - n*u) (Higham 2002, lemma 3.1), rounded up; infinity where it does not exist."""
    product = terms * unit_roundoff
    return product / (1.0 - product) * _INFLATE if product < 1.0 else float("inf")


@dataclass(frozen=True)
class Problem:
    """Sums to certify: operands as float32, finite parts only, and what is known of their bits."""

    scheme: Scheme
    x: Single  # flat
    weight: Single  # (groups, filters/group, terms), any strides
    bias: Array  # one number a filter
    ranges: tuple[Survey, Survey, Survey]  # of x, weight, bias

    @property
    def filters(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[1])

    @property
    def grid(self) -> int:
        """Every term is a multiple of 2**grid."""
        x, w, b = self.ranges
        products = NO_BITS if NO_BITS in (x.grid, w.grid) else x.grid + w.grid
        return min(products, b.grid)

    def exact_below(self) -> float:
        """Magnitude up to which sums of terms of this grid fit 53 bits, hence never round."""
        return float(np.ldexp(1.0, self.grid + 53)) if self.grid < NO_BITS else float("inf")

    @property
    def addresses(self) -> tuple[Single, Indices, int, int, Indices, Indices]:
        """What the compiled kernels take."""
        scheme = self.scheme
        return self.x, scheme.starts, scheme.run, scheme.step, scheme.offsets, scheme.groups

    def split(self, indices: Indices) -> tuple[Indices, Indices]:
        """(positions, filters) of flat indices."""
        if self.scheme.last:
            return indices // self.filters, indices % self.filters
        return indices % self.scheme.positions, indices // self.scheme.positions

    def terms(self, index: int) -> Array:
        """The exact terms of one sum, the bias last."""
        scheme = self.scheme
        positions, filters = self.split(np.array([index], np.int64))
        position, filter_index = int(positions[0]), int(filters[0])
        group, row = divmod(filter_index, self.weight.shape[1])
        base = scheme.groups[group] + scheme.starts[position // scheme.run]
        left = np.empty(scheme.terms)
        compensated.gather(self.x, int(base + position % scheme.run * scheme.step), scheme.offsets, left)
        products = left * self.weight[group, row].astype(np.float64)
        return np.append(products, self.bias[filter_index])

    def refine(self, index: int, bits: int) -> tuple[Fraction, Fraction]:
        """The exact sum; `bits` does not matter."""
        del bits
        return compensated.exact_fraction(self.terms(index)), Fraction(0)


def certify(part: Part) -> Truth:
    """The truth of a part's sums, flat, in their own order; its arrays are already checked."""
    x, weight = part.x, part.weight
    given = np.zeros(weight.shape[0] * weight.shape[1]) if part.bias is None else part.bias
    ranges = survey(x), survey(weight.ravel("K")), survey(given.astype(np.float32))
    wild = not (ranges[0].finite and ranges[1].finite and ranges[2].finite)
    tame = (_finite(x), _finite(weight), _finite(given)) if wild else (x, weight, given)
    problem = Problem(part.scheme, tame[0], tame[1], tame[2], ranges)
    value, magnitude, factor = _matrix_products(problem)
    residual, bound = np.zeros_like(value), np.empty_like(value)
    unsure = np.empty(value.shape, np.bool_)
    flat = [a.reshape(-1) for a in (value, residual, bound, magnitude)]
    escalated = settle_float64(flat[0], flat[3], factor, problem.exact_below(), flat[2], unsure.reshape(-1))
    tiers = {"float64": value.size - escalated, "double-double": 0, "exact": 0}
    if escalated:
        tiers |= _escalate(problem, np.flatnonzero(unsure), flat)
    if wild:
        _set_wild(part, given, flat)
    return Truth(flat[0], flat[1], flat[2], flat[3], tiers, problem.refine)


def _finite(array: Any) -> Any:
    return np.where(np.isfinite(array), array, array.dtype.type(0.0))


def _matrix_products(problem: Problem) -> tuple[Array, Array, float]:
    """(value, magnitude, factor): float64 sums, sums of absolute terms, error <= factor * magnitude.

    A term passes through at most `block` additions in its matrix product, in whatever order and whether fused
    or not, then through one per block and one for the bias. The absolute terms are summed in float32, at half
    the price, when no product can underflow or overflow there, and corrected upwards by that sum's own gamma.
    """
    scheme, (xs, ws, _) = problem.scheme, problem.ranges
    (groups, each, terms), count, last = problem.weight.shape, scheme.positions, scheme.last
    blocks = max(1, round(terms / min(BLOCK, max(32, PANEL // max(1, each)))))
    block = max(1, -(-terms // blocks))
    in_single = xs.smallest * ws.smallest >= 2.0**-126 and block * xs.largest * ws.largest < 2.0**127
    kind = np.dtype(np.float32 if in_single else np.float64)
    # A tile is some positions of some groups: all groups, unless even few positions of them are too many.
    some = max(1, min(groups, TILE // (max(block, each) * max(1, min(count, 256)))))
    tile = max(1, min(count, TILE // (some * max(block, each))))
    start = problem.bias.reshape((1, groups, each) if last else (groups, each, 1))
    value, magnitude = (np.empty((count, groups, each) if last else (groups, each, count)) for _ in range(2))
    value[...], magnitude[...] = start, np.abs(start)
    # Buffers are made once: fresh memory for every block would cost as much as the products.
    columns = np.empty(some * block * tile), np.empty(some * block * tile, np.float32)
    products = {np.dtype(np.float64): np.empty(some * each * tile), kind: np.empty(some * each * tile, kind)}
    fill = fill_terms_last if last else fill_terms_first
    for g0 in range(0, groups, some):
        g = min(some, groups - g0)
        for m0 in range(0, count, tile):
            m = min(tile, count - m0)
            at = (slice(m0, m0 + m), slice(g0, g0 + g))
            part = at if last else (at[1], slice(None), at[0])
            for k0 in range(0, terms, block):
                k = min(block, terms - k0)
                shape = (g, m, k) if last else (g, k, m)
                wide, sizes = (buffer[: g * m * k].reshape(shape) for buffer in columns)
                fill(*problem.addresses, g0, k0, m0, wide, sizes)
                panel = problem.weight[g0 : g0 + g, :, k0 : k0 + k]
                value[part] += _product(wide, panel.astype(np.float64), last, products)
                magnitude[part] += _product(
                    sizes.astype(kind, copy=False), np.abs(panel).astype(kind, copy=False), last, products
                )
    additions = block + blocks + 1
    magnitude *= (1.0 + gamma(block, U32 if in_single else U64) * 1.001) * (1.0 + gamma(additions, U64))
    return value, magnitude, gamma(additions, U64)


def _product(
    columns: npt.NDArray[Any],
    panel: npt.NDArray[Any],
    last: bool,
    buffers: dict[np.dtype[Any], npt.NDArray[Any]],
) -> npt.NDArray[Any]:
    """One block's sums in the order of the sums: (positions, groups, filters) if last, else that rotated."""
    groups, each = panel.shape[:2]
    m = columns.shape[1 if last else 2]
    out = buffers[panel.dtype][: groups * each * m]
    if last:
        return np.matmul(columns, panel.swapaxes(1, 2), out=out.reshape(groups, m, each)).swapaxes(0, 1)
    found: npt.NDArray[Any] = np.matmul(panel, columns, out=out.reshape(groups, each, m))
    return found


def _escalate(problem: Problem, indices: Indices, flat: list[Array]) -> dict[str, int]:
    """Settle the elements at the flat `indices` by compensated sums, then exactly; in place."""
    results = _compensated(problem, *problem.split(indices))
    magnitude = flat[3][indices]
    rounding = gamma(compensated.depth(problem.scheme.terms), U64)
    # The error terms share the grid of the terms: where their own sum fits 53 bits nothing was rounded.
    exact = magnitude * rounding <= problem.exact_below()
    bound = np.where(exact, 0.0, rounding * rounding * magnitude * _INFLATE)
    for part, found in zip(flat[:3], (results[:, 0], results[:, 1], bound), strict=True):
        part[indices] = found
    left = np.empty(bound.shape, np.bool_)
    count = settle(results, bound, left)
    for i in indices[left]:
        terms = problem.terms(int(i)).tolist()
        for part, number in zip(flat[:3], compensated.exact_sum(terms), strict=True):
            part[i] = number
    return {"double-double": indices.size - count, "exact": count}


def _compensated(problem: Problem, positions: Indices, filters: Indices) -> Array:
    terms = problem.scheme.terms
    rows = problem.weight.reshape(problem.filters, terms)
    if terms % compensated.LANES:
        rows = np.pad(rows, ((0, 0), (0, -terms % compensated.LANES)))
    order = np.lexsort((filters, positions))
    found = np.empty((positions.size, 2))
    out = np.empty((positions.size, 2))
    compensated.sum_products(
        *problem.addresses, np.ascontiguousarray(rows), problem.bias, positions[order], filters[order], found
    )
    out[order] = found
    return out


def _set_wild(part: Part, bias: Array, flat: list[Array]) -> None:
    """Put NaN and infinity where IEEE 754 has them: where the plain sum of the raw terms has one."""
    scheme = part.scheme
    present = np.zeros(0, np.bool_) if part.present is None else part.present
    found = np.empty(flat[0].size)
    compensated.sum_raw(
        part.x, scheme.starts, scheme.run, scheme.step, scheme.offsets, scheme.groups,
        np.ascontiguousarray(part.weight), bias, present, scheme.last, found,
    )  # fmt: skip
    wild = ~np.isfinite(found)
    flat[0][wild], flat[1][wild], flat[2][wild], flat[3][wild] = found[wild], 0.0, 0.0, np.inf
