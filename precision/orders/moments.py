"""How large the error of a known order is expected to be: the sum of the variances of its roundings.

A rounding to nearest of something that has d bits below the last place of the result, all equally likely,
is off by a number of mean zero and variance (1 + 2**(1 - 2 d)) ulp**2 / 12, ties included; without such bits
it is exact.  Where d is small they are not equally likely (ties to even leave three even numbers in four):
there the square of the rounding's own error is taken.  Errors of different roundings are taken for
uncorrelated, so their variances add up (Higham & Mary 2019, "A new approach to probabilistic rounding error
analysis", SIAM J. Sci. Comput. 41(5), section 2).
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

_FEW = 4
"""Bits that are lost, up to which the error itself is taken."""


def error_variance(
    tree: SummationTree, left: npt.ArrayLike, right: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> Array:
    """Expected square of the error of the tree's sums, (P, C) float64, from its own partial sums.

    left (P, K), right (K, C), bias (C,): float32.  Raises ValueError for what it does not cover: additions
    of many terms, binary64 accumulators, and operands of which something would be flushed.
    """
    a, b = (operands_of(tree, np.ascontiguousarray(x, np.float32)) for x in (left, right))
    shift = np.zeros(b.shape[1], np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
    program = program_of(tree)
    if tree.accumulator != "binary32" or MANY in program.steps[:, 0]:
        raise ValueError(
            "variances are of single additions in binary32, got others in the tree: judge without the tree"
        )
    if tree.flush and not never_subnormal(a, b, shift):
        raise ValueError(
            "variances need operands without subnormal sums, got some: scale them by a power of two"
        )
    shape = a.shape[0], b.shape[1]
    stack, variance = np.empty((program.depth, *shape), np.float32), np.zeros(shape)
    top = -1
    for code, first, last, *_ in program.steps.tolist():
        if code == BEGIN:
            top += 1
            stack[top] = 0.0
        elif code in (ADD, BIAS):
            top -= code == ADD
            term = stack[top + 1] if code == ADD else np.broadcast_to(shift, shape)
            _join(stack[top], np.ascontiguousarray(term), variance)
        else:
            _run(a, b, program.order[first:last], code == FUSED_RUN, stack[top], variance)
    return variance


@compiled_nogil
def _place(value: Any) -> int:
    """Exponent of the last place of a float32 number; far above all others for zero."""
    exponent = int(np.float32(value).view(np.int32) >> np.int32(23)) & 255
    return max(exponent, 1) - 150 if value != 0 else 10_000


@compiled_nogil
def _variance(exact: Any, total: Any, low: int) -> float:
    """Of rounding `exact`, which has bits down to 2**low, to `total`; `exact` is that to 53 bits."""
    lost = exact - np.float64(total)
    if lost == 0:
        return 0.0
    place = _place(total)
    bits = place - low
    if bits <= _FEW:
        return float(lost * lost)
    ulp = 2.0**place
    return float(ulp * ulp / 12.0 * (1.0 + 2.0 ** (1.0 - 2.0 * min(bits, 60))))


@compiled_nogil
def _sum_variance(a: Any, b: Any, total: Any) -> float:
    """Of rounding a + b to `total`."""
    return float(_variance(np.float64(a) + np.float64(b), total, min(_place(a), _place(b))))


@compiled_nogil
def _join(sums: Any, terms: Any, variance: Any) -> None:
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            total = sums[i, j] + terms[i, j]
            variance[i, j] += _sum_variance(sums[i, j], terms[i, j], total)
            sums[i, j] = total


@compiled_nogil
def _run(left: Any, right: Any, leaves: Any, fused: bool, sums: Any, variance: Any) -> None:
    """The leaves join the sums."""
    zero = np.float32(0.0)
    for i in range(sums.shape[0]):
        for k in leaves:
            a = left[i, k]
            for j in range(sums.shape[1]):
                b, before = right[k, j], sums[i, j]
                if a * b == zero:
                    continue
                low = _place(a) + _place(b)  # of the exact product
                exact = np.float64(a) * np.float64(b)
                if fused:
                    total = fma(a, b, before)
                    variance[i, j] += _variance(exact + np.float64(before), total, min(low, _place(before)))
                else:
                    product = a * b
                    total = before + product
                    variance[i, j] += _variance(exact, product, low) + _sum_variance(before, product, total)
                sums[i, j] = total
