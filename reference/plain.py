"""The same formulas as textbook float32 code evaluates them: the comparison for what a framework does better
or worse.

Every operation is rounded to float32; products and sums are separate (no FMA); terms are added one after
another, so the result depends on nothing but the operands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference.columns import fill_terms_first
from reference.conv import conv2d_problem, linear_problem
from reference.geometry import Geometry
from reference.grouped import (
    Grouped,
    Like,
    batch_norm_rows,
    group_norm_rows,
    instance_norm_rows,
    layer_norm_rows,
    rms_norm_rows,
)
from reference.jit import compiled
from reference.norm import check_eps
from reference.operands import Single

_TILE = 256  # output pixels at a time: their partial sums stay in the innermost cache


def conv2d(input: Like, weight: Like, bias: Like | None = None, **params: Any) -> Single:
    """y = ((0 + p_1) + p_2) + ... + bias, each product and each sum rounded; products in the order (kh, kw,
    c).

    Parameters and errors as `reference.conv2d`.
    """
    return _sums(*conv2d_problem(input, weight, bias, **params))


def linear(input: Like, weight: Like, bias: Like | None = None) -> Single:
    """y = ((x_1 w_1 + x_2 w_2) + ...) + bias over the last axis, each product and each sum rounded."""
    y = _sums(*linear_problem(input, weight, bias))
    return y.reshape(*np.shape(input)[:-1], np.shape(weight)[0])


def _sums(geo: Geometry, x: Single, weight: Single, bias: Single | None) -> Single:
    rows, cols, channel = geo.taps
    if not geo.channels_last:  # these follow the weight's layout, (c, kh, kw): put the channel last
        order = np.arange(geo.terms).reshape(-1, *geo.kernel).transpose(1, 2, 0).ravel()
        rows, cols, channel, weight = rows[order], cols[order], channel[order], weight[:, :, order]
    weight = np.ascontiguousarray(weight)
    out = np.empty((*weight.shape[:2], geo.positions), np.float32)
    for m0 in range(0, geo.positions, _TILE):
        m = min(_TILE, geo.positions - m0)
        for g in range(geo.groups):
            wide, sizes = np.empty((1, geo.terms, m)), np.empty((1, geo.terms, m), np.float32)
            fill_terms_first(x.reshape(-1), geo.packed, rows, cols, channel, g, 0, m0, wide, sizes)
            _sum_columns(wide[0].astype(np.float32), weight[g], m0, out[g])
    y = out.reshape(geo.filters, geo.batch, *geo.out)
    if bias is not None:
        y = y + bias.reshape(-1, 1, 1, 1)
    return np.ascontiguousarray(y.transpose((1, 2, 3, 0) if geo.channels_last else (1, 0, 2, 3)))


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
    normalized_shape: Any,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
) -> Single:
    """See `plain_rows`."""
    return plain_rows(layer_norm_rows(input, normalized_shape, weight, bias), eps)


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
    input: Like, normalized_shape: Any, weight: Like | None = None, *, eps: float = 2.0**-23
) -> Single:
    """See `plain_rows`; the mean is 0."""
    return plain_rows(rms_norm_rows(input, normalized_shape, weight), eps)


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
