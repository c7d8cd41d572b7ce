"""The truth of matrix products, which attention's q.k^T and p.v are, and of their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reference.operands import Like, Single, operand
from reference.plan import solve
from reference.scheme import Part, Plan, Scheme, lattice
from reference.truth import Truth

Shape = tuple[int, ...]


def matmul(input: Like, other: Like) -> Truth:
    """Certified matrix product y[..., m, n] = sum over k of input[..., m, k] * other[..., k, n].

    As torch.matmul for operands of at least two axes: the axes before the last two are a batch; they must be
    equal, 1 or missing in one of the two. magnitude = sum |a||b|. Raises ValueError for shapes or dtypes
    that do not fit.
    """
    return solve(matmul_plan(input, other))


def matmul_plan(input: Like, other: Like) -> Plan:
    """The sums of a matrix product: a group for each matrix, a filter for each row of `input`."""
    a, b = operand(input, "input"), operand(other, "other")
    batch = _batch(a.shape, b.shape)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul takes input (..., M, K) and other (..., K, N), got shapes {a.shape} and {b.shape}: "
            "transpose one of them"
        )
    m, k, n = *a.shape[-2:], b.shape[-1]
    rows = _spread(a, batch).reshape(prod(batch), m, k)
    matrices = np.arange(prod(b.shape[:-2]), dtype=np.int64).reshape(b.shape[:-2])
    groups = np.ascontiguousarray(np.broadcast_to(matrices, batch)).reshape(-1) * (k * n)
    return Plan((*batch, m, n), (_product(rows, b.reshape(-1), groups, n, 1, n),))


def matmul_input_grad_plan(grad_output: Like, other: Like, *, input_size: Any = None) -> Plan:
    """The gradient with respect to the input, g @ other^T.

    input_size: the input's shape, (..., M, K); its batch axes that are 1 or missing are summed over. Default:
    the batch of grad_output, so nothing is summed.
    """
    g, b = operand(grad_output, "grad_output"), operand(other, "other")
    _at_least_two(g.shape, b.shape)
    size = (*g.shape[:-1], b.shape[-2]) if input_size is None else shape_of(input_size, "input_size")
    _check_product(size, b.shape, g.shape, "input_size")
    left, right = _folded(g, size), _folded(_spread(b, g.shape[:-2]), size)
    count = left.shape[-1]
    groups = lattice((left.shape[0],), (right.shape[1] * count,))
    return Plan(size, (_product(left, right.reshape(-1), groups, right.shape[1], count, 1),))


def matmul_other_grad_plan(grad_output: Like, input: Like, *, other_size: Any = None) -> Plan:
    """The gradient with respect to `other`, input^T @ g; other_size as input_size above."""
    g, a = operand(grad_output, "grad_output"), operand(input, "input")
    _at_least_two(g.shape, a.shape)
    size = (*g.shape[:-2], a.shape[-1], g.shape[-1])
    size = size if other_size is None else shape_of(other_size, "other_size")
    _check_product(a.shape, size, g.shape, "other_size")
    wide = _spread(a, g.shape[:-2])
    left, right = _folded(wide.swapaxes(-1, -2), size), _folded(g.swapaxes(-1, -2), size)
    count = left.shape[-1]
    groups = lattice((left.shape[0],), (right.shape[1] * count,))
    return Plan(size, (_product(left, right.reshape(-1), groups, right.shape[1], count, 1),))


def _product(rows: Single, x: Single, groups: Any, columns: int, step: int, distance: int) -> Part:
    """Rows (groups, M, K) times columns of flat x, `step` apart, their elements `distance` apart."""
    zero = np.zeros(1, np.int64)
    scheme = Scheme(zero, columns, step, lattice((rows.shape[2],), (distance,)), groups, last=False)
    return Part(scheme, np.ascontiguousarray(x), rows)


def _batch(left: Shape, right: Shape) -> Shape:
    _at_least_two(left, right)
    try:
        return np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise ValueError(
            f"the batch axes of a matrix product must be equal or 1, got {left[:-2]} and {right[:-2]} "
            f"(shapes {left} and {right}): reshape one operand"
        ) from None


def _at_least_two(left: Shape, right: Shape) -> None:
    if min(len(left), len(right)) < 2:
        raise ValueError(
            f"a matrix product takes operands of at least 2 axes, got shapes {left} and {right}: "
            "add the missing axes"
        )


def _check_product(left: Shape, right: Shape, result: Shape, name: str) -> None:
    fits = left[-1] == right[-2] and (*_batch(left, right), left[-2], right[-1]) == result
    if not fits:
        raise ValueError(
            f"grad_output must have the shape of the product of {left} and {right}, got {result}: "
            f"check the operands and {name}"
        )


def _spread(array: Single, batch: Shape) -> Single:
    """`array` with its batch axes broadcast; never a view that cannot be written, see `operand`."""
    if array.shape[:-2] == batch:
        return array
    return np.broadcast_to(array, (*batch, *array.shape[-2:])).copy()


def _folded(array: Any, size: Shape) -> Single:
    """(..., R, T) as (groups, R, terms): the batch axes that `size` lacks become terms, before T."""
    batch = array.ndim - 2
    kept_sizes = (1,) * (batch - (len(size) - 2)) + size[:-2]
    folded = [i for i in range(batch) if kept_sizes[i] == 1]
    kept = [i for i in range(batch) if kept_sizes[i] != 1]
    moved = array.transpose(*kept, batch, *folded, batch + 1)
    groups = prod(array.shape[i] for i in kept)
    terms = prod(array.shape[i] for i in folded) * array.shape[-1]
    return np.ascontiguousarray(moved).reshape(groups, array.shape[-2], terms)


def shape_of(value: Any, name: str) -> Shape:
    """A shape: at least two sizes >= 0."""
    good = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value) >= 2
    if not good or any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 0 for i in value):
        raise ValueError(
            f"{name} must be a shape, two or more integers >= 0, got {value!r}: give e.g. [2, 3]"
        )
    return tuple(int(i) for i in value)
