"""The ops that are sums of products: convolutions, linear layers, matrix products, gradients, pooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from reference import conv, conv_gradients, plain, pooling
from reference.conv_transpose import conv_transpose_plan
from reference.matmul import matmul_input_grad_plan, matmul_other_grad_plan, matmul_plan
from reference.op import Op
from reference.plan import solve
from reference.scheme import Plan

Names = tuple[str, ...]

_WINDOW = ("stride", "padding", "dilation", "groups", "layout")
_PADDED = (*_WINDOW, "padding_mode")
_TRANSPOSED = (*_WINDOW, "output_padding", "output_shape")
_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "layout")


def _op(
    name: str,
    plan: Callable[..., Plan],
    required: Names,
    params: Names = (),
    *,
    optional: Names = (),
    needed: Names = (),
) -> Op:
    return Op(
        name,
        lambda **given: solve(plan(**given)),
        lambda **given: plain.sums(plan(**given)),
        lambda **given: plan(**given).terms,
        required,
        optional,
        params,
        needed,
    )


def _convolutions(axes: int) -> tuple[Op, ...]:
    direct, transposed = f"conv{axes}d", f"conv_transpose{axes}d"
    sized, weighed = ("input_size",), ("weight_size",)
    by_weight, by_input = ("grad_output", "weight"), ("grad_output", "input")
    both, bias = ("input", "weight"), ("bias",)
    plans = (
        (direct, partial(conv_gradients.conv_input_grad_plan, axes), by_weight, sized, _PADDED),
        (direct, partial(conv_gradients.conv_weight_grad_plan, axes), by_input, weighed, _PADDED),
        (
            transposed,
            partial(conv_gradients.conv_transpose_input_grad_plan, axes),
            by_weight,
            sized,
            _TRANSPOSED,
        ),
        (
            transposed,
            partial(conv_gradients.conv_transpose_weight_grad_plan, axes),
            by_input,
            weighed,
            _TRANSPOSED,
        ),
    )
    sums = partial(conv_gradients.channel_sum_plan, axes)
    forward = partial(conv.conv_plan, axes)
    return (
        Op(
            direct,
            (conv.conv1d, conv.conv2d, conv.conv3d)[axes - 1],
            partial(plain.conv, axes),
            lambda **given: forward(**given).terms,
            both,
            bias,
            _PADDED,
        ),
        _op(transposed, partial(conv_transpose_plan, axes), both, _TRANSPOSED, optional=bias),
        *(
            _op(f"{name}_{of[0][:-5]}_grad", plan, arrays, (*of, *params), needed=of)
            for name, plan, arrays, of, params in plans
        ),
        *(_op(f"{name}_bias_grad", sums, ("grad_output",), ("layout",)) for name in (direct, transposed)),
    )


def _poolings(axes: int) -> tuple[Op, ...]:
    return (
        Op(
            f"avg_pool{axes}d",
            partial(pooling.avg_pool, axes),
            partial(pooling.avg_pool_plain, axes),
            lambda **given: pooling.avg_pool_plan(axes, **given)[0].terms,
            ("input",),
            (),
            (*_POOL, "count_include_pad", "divisor_override"),
            ("kernel_size",),
        ),
        Op(
            f"max_pool{axes}d",
            partial(pooling.max_pool, axes),
            partial(pooling.max_pool_plain, axes),
            None,
            ("input",),
            (),
            (*_POOL, "dilation"),
            ("kernel_size",),
        ),
    )


OPS = (
    *(op for axes in (1, 2, 3) for op in _convolutions(axes)),
    Op(
        "linear",
        conv.linear,
        plain.linear,
        lambda **given: conv.linear_plan(**given).terms,
        ("input", "weight"),
        ("bias",),
        (),
    ),
    _op("linear_input_grad", conv_gradients.linear_input_grad_plan, ("grad_output", "weight")),
    _op("linear_weight_grad", conv_gradients.linear_weight_grad_plan, ("grad_output", "input")),
    _op("linear_bias_grad", conv_gradients.linear_bias_grad_plan, ("grad_output",)),
    _op("matmul", matmul_plan, ("input", "other")),
    _op("matmul_input_grad", matmul_input_grad_plan, ("grad_output", "other"), ("input_size",)),
    _op("matmul_other_grad", matmul_other_grad_plan, ("grad_output", "input"), ("other_size",)),
    *(op for axes in (1, 2, 3) for op in _poolings(axes)),
)

FACTORS: dict[str, Names] = {
    op.name: tuple(name for name in op.required if op.terms is not None) for op in OPS
}
"""The arrays whose products each op sums; empty where it has no sum."""
