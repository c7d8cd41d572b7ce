"""A bound of a replay's error from the replay itself: u times the sum of the sizes of all that was rounded.

Each rounding to nearest is within u |result| of what it rounds (or half the smallest subnormal number), and
additions pass errors on unchanged; so the error is at most u sum |node values|.  That knows of cancellation,
which a bound from the order alone does not.  Source: Higham 2002, "Accuracy and Stability of Numerical
Algorithms", section 3.3 (running error analysis).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.jit import compiled_nogil
from reference.replay import never_subnormal, operands_of, program_of
from reference.replay_kernels import ADD, BEGIN, BIAS, FUSED_RUN, MANY, fma
from reference.tree import SummationTree

_U, _SPACING = 2.0**-24, 2.0**-149


def running_bound(
    tree: SummationTree, left: npt.ArrayLike, right: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> Array:
    """A rigorous bound of |replay - exact|, (P, C) float64: u times the sum of |value| over all roundings.

    left (P, K), right (K, C), bias (C,), float32; exact is as in `order_bound`.  Where something overflows,
    the bound is not finite.  Raises ValueError for what it does not cover: additions of many terms, binary64,
    and operands of which something would be flushed.
    """
    a, b = (operands_of(tree, np.ascontiguousarray(x, np.float32)) for x in (left, right))
    shift = np.zeros(b.shape[1], np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
    program = program_of(tree)
    if tree.accumulator != "binary32" or MANY in program.steps[:, 0]:
        raise ValueError(
            "a running bound is of single additions in binary32, got others in the tree: use order_bound"
        )
    if tree.flush and not never_subnormal(a, b, shift):
        raise ValueError("a running bound needs operands without subnormal sums, got some: use order_bound")
    shape = a.shape[0], b.shape[1]
    stack, sizes = np.empty((program.depth, *shape), np.float32), np.zeros(shape)
    top = -1
    for code, first, last, *_ in program.steps.tolist():
        if code == BEGIN:
            top += 1
            stack[top] = 0.0
        elif code in (ADD, BIAS):
            top -= code == ADD
            stack[top] += stack[top + 1] if code == ADD else shift
            sizes += np.abs(stack[top])
        else:
            _run(a, b, program.order[first:last], code == FUSED_RUN, stack[top], sizes)
    roundings = 2.0 * program.order.size + len(program.steps)
    return np.asarray(_U * sizes * (1.0 + roundings * 2.0**-52) + roundings * _SPACING)


@compiled_nogil
def _run(left: Any, right: Any, leaves: Any, fused: bool, sums: Any, sizes: Any) -> None:
    """The leaves join the sums; sizes takes in the size of all that is rounded."""
    for i in range(sums.shape[0]):
        for k in leaves:
            a = left[i, k]
            for j in range(sums.shape[1]):
                if fused:
                    sums[i, j] = fma(a, right[k, j], sums[i, j])
                else:
                    product = a * right[k, j]
                    sums[i, j] = sums[i, j] + product
                    sizes[i, j] += abs(np.float64(product))
                sizes[i, j] += abs(np.float64(sums[i, j]))
