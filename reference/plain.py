"""The same formulas as textbook float32 code evaluates them: the comparison for what a framework does better
or worse.

Every operation is rounded to float32; products and sums are separate (no FMA); terms are added one after
another, so the result depends on nothing but the operands.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.columns import fill_terms_first
from reference.conv import conv_plan, linear_plan
from reference.geometry import split_weight
from reference.grouped import (
    Grouped,
    batch_norm_rows,
    group_norm_rows,
    instance_norm_rows,
    layer_norm_rows,
    rms_norm_rows,
)
from reference.jit import compiled
from reference.norm import check_eps
from reference.operands import Like, Single
from reference.scheme import Part, Plan

_TILE = 256  # output pixels at a time: their partial sums stay in the innermost cache


def conv2d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Single:
    """y = ((0 + p_1) + p_2) + ... + bias, each product and each sum rounded; products in the order (kh, kw,
    c).

    Parameters and errors as `reference.conv2d`.
    """
    return conv(2, input, weight, bias, **params)


def conv(axes: int, input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Single:
    """As `conv2d`, over one, two or three axes."""
    plan = conv_plan(axes, input, weight, bias, **params)
    return sums(plan, taps=prod(split_weight(np.shape(weight), plan.parts[0].scheme.last)[2]))


def linear(input: Like, weight: Like, bias: Like | None = None) -> Single:
    """y = ((x_1 w_1 + x_2 w_2) + ...) + bias over the last axis, each product and each sum rounded."""
    return sums(linear_plan(input, weight, bias))


def sums(plan: Plan, taps: int = 1) -> Single:
    """Every sum of a plan, term after term, each product and each addition rounded, the bias last.

    Terms that lie as (c, tap) are taken in the order (tap, c): `taps` is how many of them there are.
    """
    whole = np.empty(plan.shape, np.float32)
    for part in plan.parts:
        found = _part_sums(part, 1 if part.scheme.last else taps)
        place = whole if part.view is None else part.view(whole)
        place[...] = found.reshape(place.shape)
    return whole


def _part_sums(part: Part, taps: int) -> Single:
    scheme, weight = part.scheme, part.weight
    order = np.arange(scheme.terms).reshape(-1, taps).T.ravel()
    offsets, weight = scheme.offsets[order], np.ascontiguousarray(weight[:, :, order])
    groups, each = weight.shape[:2]
    out = np.empty((groups, each, scheme.positions), np.float32)
    for m0 in range(0, scheme.positions, _TILE):
        m = min(_TILE, scheme.positions - m0)
        wide, sizes = np.empty((1, scheme.terms, m)), np.empty((1, scheme.terms, m), np.float32)
        for g in range(groups):
            fill_terms_first(
                part.x, scheme.starts, scheme.run, scheme.step, offsets, scheme.groups, g, 0, m0, wide, sizes
            )
            _sum_columns(wide[0].astype(np.float32), weight[g], m0, out[g])
    if part.bias is not None:
        out += part.bias.astype(np.float32).reshape(groups, each, 1)
    return np.ascontiguousarray(out.transpose(2, 0, 1)) if scheme.last else out


@compiled
def _sum_columns(columns: Any, weight: Any, m0: int, out: Any) -> None:
    total = np.empty(columns.shape[1], np.float32)
    for o in range(weight.shape[0]):
        total[:] = np.float32(0.0)
        for k in range(columns.shape[0]):
            factor = weight[o, k]
            for m in range(total.size):
                total[m] = total[m] + columns[k, m] * factor
        out[o, m0 : m0 + total.size] = total


def batch_norm(
    input: Like,
    running_mean: Like | None = None,
    running_var: Like | None = None,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    training: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.1,
    layout: str = "NCHW",
) -> Single:
    """See `plain_rows`; in training the elements of a channel are taken in the order (n, h, w)."""
    rows = batch_norm_rows(input, running_mean, running_var, weight, bias, training=training, layout=layout)
    return plain_rows(rows, eps)


def layer_norm(
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    axes: Any = None,
) -> Single:
    """See `plain_rows`; the elements of a row are taken in the input's order."""
    return plain_rows(layer_norm_rows(input, normalized_shape, weight, bias, axes=axes), eps)


def group_norm(
    input: Like,
    num_groups: int,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Single:
    """See `plain_rows`; the elements of a group are taken in the order (c, h, w)."""
    return plain_rows(group_norm_rows(input, num_groups, weight, bias, layout=layout), eps)


def instance_norm(
    input: Like,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Single:
    """See `plain_rows`."""
    return plain_rows(instance_norm_rows(input, weight, bias, layout=layout), eps)


def rms_norm(
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    *,
    eps: float = 2.0**-23,
    axes: Any = None,
) -> Single:
    """See `plain_rows`; the mean is 0."""
    return plain_rows(rms_norm_rows(input, normalized_shape, weight, axes=axes), eps)


def plain_rows(rows: Grouped, eps: float) -> Single:
    """m = sum(x)/N, v = sum((x - m)**2)/N, r = 1/sqrt(v + eps), y = ((x - m)*r)*w + b, each step in float32.

    Without weight or without bias that step is left out.
    """
    weight, bias = rows.affine(np.float32)
    mean, variance = rows.given if rows.given is not None else (np.zeros(0, np.float32),) * 2
    out = np.empty(rows.x.shape, np.float32)
    _normalize(
        rows.x, mean, variance, np.float32(check_eps(eps)), rows.centred, rows.weight is not None,
        rows.bias is not None, weight, bias, rows.row_step, rows.inner, out,
    )  # fmt: skip
    restored: npt.NDArray[np.float32] = rows.restore(out)
    return restored


@compiled
def _normalize(
    x: Any, given_mean: Any, given_variance: Any, eps: Any, centred: bool, scaled: bool, shifted: bool,
    weight: Any, bias: Any, row_step: int, inner: int, out: Any,
) -> None:  # fmt: skip
    one, zero = np.float32(1.0), np.float32(0.0)
    count = np.float32(x.shape[1])
    for row in range(x.shape[0]):
        mean, variance = zero, zero
        if given_mean.size:
            mean, variance = given_mean[row], given_variance[row]
        else:
            if centred:
                for j in range(x.shape[1]):
                    mean = mean + x[row, j]
                mean = mean / count
            for j in range(x.shape[1]):
                difference = x[row, j] - mean
                variance = variance + difference * difference
            variance = variance / count
        inverse = one / np.sqrt(variance + eps)
        for j in range(x.shape[1]):
            entry = (row * row_step + j // inner) % weight.size
            y = (x[row, j] - mean) * inverse
            if scaled:
                y = y * weight[entry]
            if shifted:
                y = y + bias[entry]
            out[row, j] = y
