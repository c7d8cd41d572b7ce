"""Reductions, statistics and gradients of the normalizations as textbook float32 code evaluates them.

As `plain`: every operation is rounded to float32, products and sums are separate, sums take their terms one
after another in the order of the rows. Parameters and errors are those of the certified functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.batch_statistics import checked_running, new_share
from reference.gradient_rows import given_gradient
from reference.grouped import Grouped, Like, batch_norm_rows
from reference.local_response import windows_of
from reference.norm import check_eps
from reference.operands import Single, operand
from reference.reductions import Dim, checked_correction, rows_of
from reference.vector_norm import vectors_of

F = np.float32


def running_sum(terms: npt.NDArray[Any]) -> Single:
    """Sum over the last axis, one term after another."""
    with np.errstate(all="ignore"):
        chain: Single = np.cumsum(terms, axis=-1, dtype=F)
    return chain[..., -1] if terms.shape[-1] else np.zeros(terms.shape[:-1], F)


def moments(x: Single, correction: int = 0, centred: bool = True) -> tuple[Single, Single]:
    """Mean and variance of each row, in two passes."""
    count = x.shape[1]
    with np.errstate(all="ignore"):
        mean = running_sum(x) / F(count) if centred else np.zeros(len(x), F)
        difference = x - mean[:, None]
        return mean, running_sum(difference * difference) / F(max(0, count - correction))


def sum_(input: Like, *, dim: Dim = None, keepdim: bool = False) -> Single:
    """x_1 + x_2 + ..."""
    rows, shape = rows_of(operand(input, "input"), dim, keepdim)
    return running_sum(rows).reshape(shape)


def mean(input: Like, *, dim: Dim = None, keepdim: bool = False) -> Single:
    """(x_1 + x_2 + ...) / N."""
    rows, shape = rows_of(operand(input, "input"), dim, keepdim)
    return moments(rows)[0].reshape(shape)


def var(input: Like, *, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Single:
    """((x_1 - m)**2 + ...) / (N - correction)."""
    rows, shape = rows_of(operand(input, "input"), dim, keepdim)
    return moments(rows, checked_correction(correction))[1].reshape(shape)


def std(input: Like, *, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Single:
    """The root of `var`."""
    return np.asarray(np.sqrt(var(input, dim=dim, keepdim=keepdim, correction=correction)))


def batch_norm_mean(input: Like, *, layout: str = "NCHW") -> Single:
    """See `mean`."""
    return moments(batch_norm_rows(input, training=True, layout=layout).x)[0]


def batch_norm_var(input: Like, *, layout: str = "NCHW") -> Single:
    """See `var`, with correction 0."""
    return moments(batch_norm_rows(input, training=True, layout=layout).x)[1]


def batch_norm_invstd(input: Like, *, eps: float = 1e-5, layout: str = "NCHW") -> Single:
    """1 / sqrt(v + eps)."""
    with np.errstate(all="ignore"):
        inverse: Single = F(1) / np.sqrt(batch_norm_var(input, layout=layout) + F(check_eps(eps)))
    return inverse


def batch_norm_running_mean(
    input: Like,
    running_mean: Like,
    *,
    momentum: float = 0.1,
    convention: str = "torch",
    layout: str = "NCHW",
) -> Single:
    """(1 - a) old + a new."""
    rows = batch_norm_rows(input, training=True, layout=layout)
    old = checked_running(running_mean, rows, "running_mean")
    return _blended(old, moments(rows.x)[0], float(new_share(momentum, convention)))


def batch_norm_running_var(
    input: Like,
    running_var: Like,
    *,
    momentum: float = 0.1,
    convention: str = "torch",
    layout: str = "NCHW",
) -> Single:
    """(1 - a) old + a new."""
    rows = batch_norm_rows(input, training=True, layout=layout)
    old = checked_running(running_var, rows, "running_var")
    correction = int(convention != "keras" and rows.x.shape[1] > 1)
    return _blended(old, moments(rows.x, correction)[1], float(new_share(momentum, convention)))


def _blended(old: Single, new: Single, share: float) -> Single:
    with np.errstate(all="ignore"):
        blended: Single = F(1.0 - share) * old + F(share) * new
    return blended


def input_gradient(rows: Grouped, grad_output: Like, eps: float) -> Single:
    """r * ((g - sum(g)/N) - x' * (sum(g x')/N)) with g = dy * w, x' = (x - m) * r; r * g in inference."""
    dy = rows.flatten(given_gradient(grad_output, rows.shape))
    inverse, normalized = _normalized(rows, eps)
    with np.errstate(all="ignore"):
        g = dy if rows.weight is None else dy * rows.entries(rows.affine(F)[0])
        if rows.given is not None:
            return rows.restore(g * inverse)
        count = F(rows.x.shape[1])
        inner = g - running_sum(g)[:, None] / count if rows.centred else g
        slope = running_sum(g * normalized)[:, None] / count
        return rows.restore(inverse * (inner - normalized * slope))


def weight_gradient(rows: Grouped, grad_output: Like, eps: float, shape: tuple[int, ...]) -> Single:
    """dy * x' added up over the rows, and along each row, in their order."""
    dy = rows.flatten(given_gradient(grad_output, rows.shape))
    size = math.prod(shape)
    index = np.arange(rows.x.shape[0])[:, None] * rows.row_step + np.arange(rows.x.shape[1]) // rows.inner
    with np.errstate(all="ignore"):
        products = dy * _normalized(rows, eps)[1]
        total = np.zeros(size, F)
        np.add.at(total, (index % size).reshape(-1), products.reshape(-1))
    return total.reshape(shape)


def standardized(rows: Grouped, eps: float) -> Single:
    """(x - m) * (1 / sqrt(v + eps))."""
    return rows.restore(_normalized(rows, eps)[1])


def _normalized(rows: Grouped, eps: float) -> tuple[Single, Single]:
    with np.errstate(all="ignore"):
        mean, variance = rows.given if rows.given is not None else moments(rows.x, 0, rows.centred)
        inverse: Single = (F(1) / np.sqrt(variance + F(check_eps(eps))))[:, None]
        return inverse, (rows.x - mean[:, None]) * inverse


def normalize(input: Like, *, dim: Dim = 1, eps: float = 1e-12, squared_eps: bool = False) -> Single:
    """x / max(sqrt(x_1**2 + ...), eps), or x * (1 / sqrt(max(x_1**2 + ..., eps)))."""
    rows, _ = vectors_of(input, dim, eps, squared_eps)
    with np.errstate(all="ignore"):
        square = running_sum(rows.x * rows.x)[:, None]
        if squared_eps:
            return rows.restore(rows.x * (F(1) / np.sqrt(np.maximum(square, F(eps)))))
        return rows.restore(rows.x / np.maximum(np.sqrt(square), F(eps)))


def local_response_norm(
    input: Like,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    average: bool = True,
    layout: str = "NCHW",
) -> Single:
    """x / (k + a * (x_1**2 + ...))**beta; the power is float64's, rounded once."""
    windows = windows_of(input, size, alpha, beta, k, average, layout)
    x = windows.x
    with np.errstate(all="ignore"):
        squares = np.pad(x * x, ((0, 0), (windows.size // 2, (windows.size - 1) // 2)))
        reach = np.arange(x.shape[1])[:, None] + np.arange(windows.size)
        below = F(k) + F(windows.scale) * running_sum(squares[:, reach])
        powers = np.power(below.astype(np.float64), float(windows.beta)).astype(F)
        return windows.restore(x / powers)
