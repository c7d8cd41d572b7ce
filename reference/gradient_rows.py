"""Gradients of the normalizations on rows: kernel, exact tier, what is not finite. See `norm_gradients`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.gradient_kernels import input_gradients, weight_gradients
from reference.grouped import Grouped, Like
from reference.moments import DENOMINATOR, MEAN, PLAIN
from reference.norm import (
    Statistics,
    check_eps,
    element_refiner,
    exact_statistics,
    restored,
    row_statistics,
    settle_elements,
)
from reference.operands import NO_BITS, Single, operand, survey
from reference.rational import exact_product, exact_total, remembered, remembered_few
from reference.surds import SurdSum
from reference.truth import Truth

Flags = npt.NDArray[np.bool_]


def given_gradient(grad_output: Like, shape: tuple[int, ...]) -> Single:
    """grad_output as float32 in the shape of the input; raises ValueError."""
    gradient = operand(grad_output, "grad_output")
    if gradient.shape != shape:
        raise ValueError(f"grad_output must have the input's shape {shape}, got {gradient.shape}: reshape it")
    return gradient


def input_gradient(rows: Grouped, grad_output: Like, eps: float) -> Truth:
    """dx, in the input's shape."""
    eps = check_eps(eps)
    dy = rows.flatten(given_gradient(grad_output, rows.shape))
    stats = row_statistics(rows, eps)
    exact = exact_statistics(rows, eps)
    fixed = np.full(len(stats), rows.given is not None)
    return input_gradient_rows(rows, dy, stats, exact, divisor=rows.x.shape[1], fixed=fixed)


def input_gradient_rows(
    rows: Grouped, dy: Single, stats: Array, exact: Statistics, *, divisor: int, fixed: Flags
) -> Truth:
    """dx = (g - P/N - d sum(g d) / (divisor t)) / sqrt(t) from statistics; only g / sqrt(t) in fixed rows.

    `exact` gives mean and t of a finite row; dy is like rows.x.
    """
    x = rows.x
    weight, _ = rows.affine(np.float32)
    scaled = rows.weight is not None
    with np.errstate(invalid="ignore"):
        grad = dy.astype(np.float64)
        if scaled:
            grad *= rows.entries(weight.astype(np.float64))
    grids = survey(dy).grid, survey(weight).grid
    grid = NO_BITS if NO_BITS in grids else sum(grids)
    lost = ~np.isfinite(grad)
    wild = (stats[:, PLAIN] != 0.0) | ~fixed & lost.any(axis=1)
    out, unsure = np.zeros((4, *x.shape)), np.zeros(x.shape, np.bool_)
    input_gradients(x, grad, stats, wild, fixed, rows.centred, float(divisor), grid, out, unsure)
    for row in np.flatnonzero(wild | lost.any(axis=1)):
        taken = slice(None) if wild[row] else lost[row]
        found = _wild_input(rows, int(row), grad[row], stats[row], exact, divisor, bool(fixed[row]))[taken]
        out[0, row, taken], out[1, row, taken], out[2, row, taken] = found, 0.0, 0.0
        out[3, row, taken] = np.where(np.isfinite(found), 0.0, np.inf)
        unsure[row, taken] = False
    surds = _input_surds(rows, dy, weight, exact, divisor, fixed)
    left = np.flatnonzero(unsure)
    settle_elements(left, surds, (out[0], out[1], out[2]))
    tiers = {"float64": 0, "double-double": x.size - left.size, "exact": int(left.size)}
    return restored(rows, Truth(out[0], out[1], out[2], out[3], tiers, element_refiner(surds)))


def _input_surds(
    rows: Grouped, dy: Single, weight: Single, exact: Statistics, divisor: int, fixed: Flags
) -> Callable[[int], SurdSum]:
    count = rows.x.shape[1]
    entries = np.arange(count) // rows.inner

    @remembered
    def sums(row: int) -> tuple[Fraction, Fraction]:
        """P/N and K = (sum g x - m P) / (divisor t)."""
        mean, total = exact(row)
        factors = [dy[row]]
        if rows.weight is not None:
            factors.append(weight[(row * rows.row_step + entries) % weight.size])
        plain = exact_product(*factors) if rows.centred else Fraction(0)
        weighted = exact_product(*factors, rows.x[row])
        return plain / count, (weighted - mean * plain) / (divisor * total)

    def of_element(index: int) -> SurdSum:
        row, j = divmod(index, count)
        mean, total = exact(row)
        entry = (row * rows.row_step + j // rows.inner) % weight.size
        a = Fraction(float(dy[row, j])) * Fraction(float(weight[entry]))
        if not fixed[row]:
            average, slope = sums(row)
            a -= average + (Fraction(float(rows.x[row, j])) - mean) * slope
        return [(a / total, total)]

    return of_element


def _wild_input(
    rows: Grouped, row: int, g: Array, stats: Array, exact: Statistics, divisor: int, fixed: bool
) -> Array:
    """The formula in float64 on a row that has NaN, infinity or v + eps = 0."""
    with np.errstate(all="ignore"):
        inverse, normalized = _wild_normalized(rows, row, stats, exact)
        if fixed:
            return g * inverse
        average = g.sum() / g.size if rows.centred else 0.0
        products: Array = inverse * (g - average - normalized * ((g * normalized).sum() / divisor))
        return products


def _wild_normalized(rows: Grouped, row: int, stats: Array, exact: Statistics) -> tuple[float, Array]:
    """r, and x' with the exact signs of x - m, in float64."""
    x = rows.x[row].astype(np.float64)
    regular = np.isfinite(x).all() and rows.given is None and rows.centred
    if regular:
        mean = exact(row)[0]
        difference = np.array([float(Fraction(v) - mean) for v in x.tolist()])
    else:
        difference = x - stats[MEAN]
    inverse = stats[DENOMINATOR] if stats[PLAIN] else 1.0 / stats[DENOMINATOR]
    return float(inverse), difference * inverse


def weight_gradient(rows: Grouped, grad_output: Like, eps: float, shape: tuple[int, ...]) -> Truth:
    """dw, in the weight's shape."""
    eps = check_eps(eps)
    dy = rows.flatten(given_gradient(grad_output, rows.shape))
    stats = row_statistics(rows, eps)
    exact = exact_statistics(rows, eps)
    size = int(np.prod(shape))
    out, unsure = np.zeros((4, size)), np.zeros(size, np.bool_)
    finite = np.isfinite(dy)
    if rows.given is not None:
        finite &= np.isfinite(rows.x)
    weight_gradients(rows.x, dy, stats, rows.row_step, rows.inner, finite, out, unsure)
    index = np.arange(rows.x.shape[0])[:, None] * rows.row_step + np.arange(rows.x.shape[1]) // rows.inner
    index %= size
    wild = _wild_weights(rows, dy, stats, exact, finite, index, size)
    changed = ~np.isfinite(wild)
    out[0, changed], out[1, changed], out[2, changed], out[3, changed] = wild[changed], 0.0, 0.0, np.inf
    rows_of = _rows_of_entries(rows, size)

    @remembered_few
    def surds(entry: int) -> SurdSum:
        terms = []
        for row in rows_of(entry):
            if stats[row, PLAIN]:
                continue
            taken = index[row] == entry
            mean, total = exact(int(row))
            part = exact_product(dy[row, taken], rows.x[row, taken]) - mean * exact_total(dy[row, taken])
            terms.append((part / total, total))
        return terms

    found = np.flatnonzero(unsure & ~changed)
    settle_elements(found, surds, (out[0], out[1], out[2]))
    tiers = {"float64": 0, "double-double": size - found.size, "exact": int(found.size)}
    truth = Truth(out[0], out[1], out[2], out[3], tiers, element_refiner(surds))
    return truth.arranged(lambda a: a.reshape(shape))


def _rows_of_entries(rows: Grouped, size: int) -> Callable[[int], npt.NDArray[np.int64]]:
    first = np.arange(rows.x.shape[0], dtype=np.int64) * rows.row_step % size
    each = max(1, rows.x.shape[1] // rows.inner)
    return lambda entry: np.flatnonzero((entry - first) % size < each)


def _wild_weights(
    rows: Grouped, dy: Single, stats: Array, exact: Statistics, finite: npt.NDArray[np.bool_],
    index: npt.NDArray[np.int64], size: int,
) -> Array:  # fmt: skip
    """Sum of the terms that are not finite, for each entry; 0 where there are none."""
    total = np.zeros(size)
    plain = stats[:, PLAIN] != 0.0
    with np.errstate(all="ignore"):
        for row in np.flatnonzero(plain | ~finite.all(axis=1)):
            taken = np.ones(dy.shape[1], np.bool_) if plain[row] else ~finite[row]
            _, normalized = _wild_normalized(rows, int(row), stats[row], exact)
            np.add.at(total, index[row, taken], (dy[row].astype(np.float64) * normalized)[taken])
    return total
