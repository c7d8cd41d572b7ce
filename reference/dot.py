"""Certified sums of products: a cascade of float64 matrix products, compensated sums and exact sums.

Every product of two float32 numbers is exact in float64 (48 <= 53 bits, exponents within -298..256), so only
the additions round. Each tier states a bound for its own result; an element moves on while the bound does not
certify it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import compensated
from reference.certify import settle, settle_float64
from reference.columns import fill_terms_first, fill_terms_last
from reference.formats import Array
from reference.geometry import Geometry, Indices
from reference.operands import NO_BITS, Single, Survey, survey
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
    """A convolution to sum: operands as float32, finite parts only, and what is known of their bits."""

    geo: Geometry
    x: Single  # input, flat, in its own layout
    weight: Single  # (groups, filters/group, terms), any strides
    bias: Array  # one number a filter
    ranges: tuple[Survey, Survey, Survey]  # of input, weight, bias

    @property
    def grid(self) -> int:
        """Every term is a multiple of 2**grid."""
        x, w, b = self.ranges
        products = NO_BITS if NO_BITS in (x.grid, w.grid) else x.grid + w.grid
        return min(products, b.grid)

    def exact_below(self) -> float:
        """Magnitude up to which sums of terms of this grid fit 53 bits, hence never round."""
        return float(np.ldexp(1.0, self.grid + 53)) if self.grid < NO_BITS else float("inf")


def certify(geo: Geometry, x: Single, weight: Single, bias: Single | None) -> Truth:
    """The truth of a convolution; arrays already checked, `weight` as (groups, filters/group, terms).

    The result is in the layout of `geo`: (batch, filters, oh, ow), or (batch, oh, ow, filters) if
    channels_last.
    """
    given = np.zeros(geo.filters, np.float32) if bias is None else bias
    ranges = survey(x), survey(weight.ravel("K")), survey(given)
    wild = not (ranges[0].finite and ranges[1].finite and ranges[2].finite)
    tame = (_finite(x), _finite(weight), _finite(given)) if wild else (x, weight, given)
    problem = Problem(geo, tame[0].reshape(-1), tame[1], tame[2].astype(np.float64), ranges)
    value, magnitude, factor = _matrix_products(problem)
    residual, bound = np.zeros_like(value), np.empty_like(value)
    unsure = np.empty(value.shape, np.bool_)
    flat = [a.reshape(-1) for a in (value, residual, bound, magnitude)]
    escalated = settle_float64(flat[0], flat[3], factor, problem.exact_below(), flat[2], unsure.reshape(-1))
    tiers = {"float64": value.size - escalated, "double-double": 0, "exact": 0}
    if escalated:
        tiers |= _escalate(problem, np.flatnonzero(unsure), flat)
    if wild:
        raw = Problem(geo, x.reshape(-1), weight, given.astype(np.float64), ranges)
        _set_wild(raw, flat)
    return Truth(value, residual, bound, magnitude, tiers).arranged(lambda array: _in_layout(array, geo))


def _finite(array: Single) -> Single:
    return np.where(np.isfinite(array), array, np.float32(0.0))


def _in_layout(canonical: Array, geo: Geometry) -> Array:
    if geo.channels_last:  # (positions, filters)
        return canonical.reshape(geo.batch, *geo.out, geo.filters)
    split = canonical.reshape(geo.filters, geo.batch, *geo.out)
    return np.ascontiguousarray(split.swapaxes(0, 1))


def _matrix_products(problem: Problem) -> tuple[Array, Array, float]:
    """(value, magnitude, factor): float64 sums, sums of absolute terms, error <= factor * magnitude.

    A term passes through at most `block` additions in its matrix product, in whatever order and whether fused
    or not, then through one per block and one for the bias. The absolute terms are summed in float32, at half
    the price, when no product can underflow or overflow there, and corrected upwards by that sum's own gamma.
    """
    geo, (xs, ws, _) = problem.geo, problem.ranges
    groups, terms, count, last = geo.groups, geo.terms, geo.positions, geo.channels_last
    each = geo.filters // groups
    blocks = max(1, round(terms / min(BLOCK, max(32, PANEL // geo.filters))))
    block = -(-terms // blocks)
    in_single = xs.smallest * ws.smallest >= 2.0**-126 and block * xs.largest * ws.largest < 2.0**127
    kind = np.dtype(np.float32 if in_single else np.float64)
    tile = max(1, min(count, TILE // max(groups * block, geo.filters)))
    start = problem.bias.reshape((1, groups, each) if last else (groups, each, 1))
    value, magnitude = (np.empty((count, groups, each) if last else (groups, each, count)) for _ in range(2))
    value[...], magnitude[...] = start, np.abs(start)
    # Buffers are made once: fresh memory for every block would cost as much as the products.
    columns = np.empty(groups * block * tile), np.empty(groups * block * tile, np.float32)
    products = {np.dtype(np.float64): np.empty(geo.filters * tile), kind: np.empty(geo.filters * tile, kind)}
    fill = fill_terms_last if last else fill_terms_first
    for m0 in range(0, count, tile):
        m = min(tile, count - m0)
        part = (slice(m0, m0 + m),) if last else (slice(None), slice(None), slice(m0, m0 + m))
        for k0 in range(0, terms, block):
            k = min(block, terms - k0)
            shape = (groups, m, k) if last else (groups, k, m)
            wide, sizes = (buffer[: groups * m * k].reshape(shape) for buffer in columns)
            fill(problem.x, geo.packed, *geo.taps, 0, k0, m0, wide, sizes)
            panel = problem.weight[:, :, k0 : k0 + k]
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
    """One block's sums in canonical order: (positions, groups, filters) if last, else that rotated."""
    groups, each = panel.shape[:2]
    m = columns.shape[1 if last else 2]
    out = buffers[panel.dtype][: groups * each * m]
    if last:
        return np.matmul(columns, panel.swapaxes(1, 2), out=out.reshape(groups, m, each)).swapaxes(0, 1)
    found: npt.NDArray[Any] = np.matmul(panel, columns, out=out.reshape(groups, each, m))
    return found


def _escalate(problem: Problem, indices: Indices, flat: list[Array]) -> dict[str, int]:
    """Settle the elements at the flat canonical `indices` by compensated sums, then exactly; in place."""
    positions, filters = _split(problem.geo, indices)
    results = _compensated(problem, positions, filters)
    magnitude = flat[3][indices]
    rounding = gamma(compensated.depth(problem.geo.terms), U64)
    # The error terms share the grid of the terms: where their own sum fits 53 bits nothing was rounded.
    exact = magnitude * rounding <= problem.exact_below()
    bound = np.where(exact, 0.0, rounding * rounding * magnitude * _INFLATE)
    for part, found in zip(flat[:3], (results[:, 0], results[:, 1], bound), strict=True):
        part[indices] = found
    left = np.empty(bound.shape, np.bool_)
    count = settle(results, bound, left)
    for i in np.flatnonzero(left):
        terms = _terms(problem, int(positions[i]), int(filters[i]))
        for part, number in zip(flat[:3], compensated.exact_sum(terms), strict=True):
            part[indices[i]] = number
    return {"double-double": indices.size - count, "exact": count}


def _split(geo: Geometry, indices: Indices) -> tuple[Indices, Indices]:
    if geo.channels_last:
        return indices // geo.filters, indices % geo.filters
    return indices % geo.positions, indices // geo.positions


def _compensated(problem: Problem, positions: Indices, filters: Indices) -> Array:
    geo = problem.geo
    padded = problem.weight.reshape(geo.filters, geo.terms)
    if geo.terms % compensated.LANES:
        padded = np.pad(padded, ((0, 0), (0, -geo.terms % compensated.LANES)))
    padded = np.ascontiguousarray(padded)
    order = np.lexsort((filters, positions))
    found = np.empty((positions.size, 2))
    out = np.empty((positions.size, 2))
    compensated.sum_products(
        problem.x, geo.packed, *geo.taps, padded, problem.bias, geo.filters // geo.groups,
        positions[order], filters[order], found,
    )  # fmt: skip
    out[order] = found
    return out


def _terms(problem: Problem, position: int, filter_index: int) -> list[float]:
    geo = problem.geo
    each = geo.filters // geo.groups
    group, row = filter_index // each, filter_index % each
    left = np.empty(geo.terms)
    compensated.gather(problem.x, geo.packed, *geo.taps, group, position, left)
    products: npt.NDArray[np.float64] = left * problem.weight[group, row].astype(np.float64)
    return [*products.tolist(), float(problem.bias[filter_index])]


def _set_wild(raw: Problem, flat: list[Array]) -> None:
    """Put NaN and infinity where IEEE 754 has them: where the plain sum of the raw terms has one."""
    with np.errstate(all="ignore"):
        everything = np.arange(flat[0].size, dtype=np.int64)
        found = _compensated(raw, *_split(raw.geo, everything))[:, 0]
    wild = ~np.isfinite(found)
    flat[0][wild], flat[1][wild], flat[2][wild], flat[3][wild] = found[wild], 0.0, 0.0, np.inf
