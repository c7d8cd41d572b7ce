"""The plan of every op that is a sum of products: where each product finds its factors, by the op's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np

from reference import conv, conv_gradients, matmul, pooling
from reference.conv_transpose import conv_transpose_plan
from reference.operands import Like, operand
from reference.reductions import Dim, reduced_axes
from reference.scheme import Part, Plan, Scheme, lattice, strides_of


def reduction_plan(input: Like, *, dim: Dim = None, keepdim: bool = False) -> Plan:
    """The sums of an array's elements along axes, each times 1; arguments as `reference.mean`."""
    x = operand(input, "input")
    axes = reduced_axes(dim, x.ndim)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    strides = strides_of(x.shape)

    def grid(chosen: Any) -> Any:
        return lattice([x.shape[a] for a in chosen], [strides[a] for a in chosen])

    scheme = Scheme(grid(kept), 1, 0, grid(axes), np.zeros(1, np.int64), last=False)
    ones = np.ones((1, 1, prod(x.shape[a] for a in axes)), np.float32)
    shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape) if keepdim or a not in axes)
    return Plan(shape, (Part(scheme, x.reshape(-1), ones),))


def _average(axes: int, input: Like, **params: Any) -> Plan:
    return pooling.avg_pool_plan(axes, input, **params)[0]


def _of_axes(axes: int) -> dict[str, Callable[..., Plan]]:
    direct, turned = f"conv{axes}d", f"conv_transpose{axes}d"
    return {
        direct: partial(conv.conv_plan, axes),
        turned: partial(conv_transpose_plan, axes),
        f"{direct}_input_grad": partial(conv_gradients.conv_input_grad_plan, axes),
        f"{direct}_weight_grad": partial(conv_gradients.conv_weight_grad_plan, axes),
        f"{direct}_bias_grad": partial(conv_gradients.channel_sum_plan, axes),
        f"{turned}_input_grad": partial(conv_gradients.conv_transpose_input_grad_plan, axes),
        f"{turned}_weight_grad": partial(conv_gradients.conv_transpose_weight_grad_plan, axes),
        f"{turned}_bias_grad": partial(conv_gradients.channel_sum_plan, axes),
        f"avg_pool{axes}d": partial(_average, axes),
    }


PLANS: Mapping[str, Callable[..., Plan]] = {
    **_of_axes(1),
    **_of_axes(2),
    **_of_axes(3),
    "linear": conv.linear_plan,
    "linear_input_grad": conv_gradients.linear_input_grad_plan,
    "linear_weight_grad": conv_gradients.linear_weight_grad_plan,
    "linear_bias_grad": conv_gradients.linear_bias_grad_plan,
    "matmul": matmul.matmul_plan,
    "matmul_input_grad": matmul.matmul_input_grad_plan,
    "matmul_other_grad": matmul.matmul_other_grad_plan,
    "sum": reduction_plan,
    "mean": reduction_plan,
}
"""Arrays and parameters as of the op in `reference.OPS`.  An average's sums, before they are divided."""


def divisors(op: str, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    """By what each sum of the plan is divided, in the shape of the result: an array, or None for nothing."""
    if op == "mean":
        plan = reduction_plan(arrays["input"], **params)
        return np.full(plan.shape, plan.terms, np.int64)
    if op.startswith("avg_pool"):
        return pooling.avg_pool_plan(int(op[8]), arrays["input"], **params)[1]
    return None
