"""The truth of the normalizations. All are y = (x - m) / sqrt(v + eps) * weight + bias over groups of
elements.

v is the biased variance (divided by N), eps stands inside the root and is the exact float64 given. magnitude
= (|x| + |m|) |weight| / sqrt(v + eps) + |bias|. A group whose v + eps is zero gives what IEEE 754 makes of
(x - m) * (1/0) * weight + bias. Every function raises ValueError for shapes, parameters or dtypes that do not
fit; `layout` "NHWC" means that the channels are the last axis, "NCHW" that they are the second, for any rank
>= 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import Array
from reference.grouped import (
    Grouped,
    Like,
    batch_norm_rows,
    group_norm_rows,
    instance_norm_rows,
    layer_norm_rows,
    rms_norm_rows,
)
from reference.moments import given_statistics, normalize, statistics
from reference.operands import survey
from reference.rational import exact_moments, remembered
from reference.surds import SurdSum, refine_surds, settle_surds
from reference.truth import Refine, Truth

EPS_RANGE = (2.0**-300, 2.0**300)  # double-word arithmetic neither underflows nor overflows between these
Statistics = Callable[[int], tuple[Fraction, Fraction]]  # of a finite row: mean, and variance + eps


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
) -> Truth:
    """Certified batch normalization; statistics per channel over all other axes if training, else the running
    ones.

    `momentum` concerns only the running statistics, not y: it is accepted and not used.
    """
    return certify_rows(
        batch_norm_rows(input, running_mean, running_var, weight, bias, training=training, layout=layout),
        check_eps(eps),
    )


def layer_norm(
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    axes: Any = None,
) -> Truth:
    """Certified layer normalization over the last axes, `normalized_shape`, or over any `axes`.

    One of the two is given: normalized_shape, the sizes of the last axes, as in
    torch.nn.functional.layer_norm; or axes, one or several axes of the input, as in Keras'
    LayerNormalization(axis=...). Weight and bias have the shape of those axes, in the input's order.
    """
    return certify_rows(layer_norm_rows(input, normalized_shape, weight, bias, axes=axes), check_eps(eps))


def group_norm(
    input: Like,
    num_groups: int,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Truth:
    """Certified group normalization: statistics per sample and group of channels, affine per channel."""
    return certify_rows(group_norm_rows(input, num_groups, weight, bias, layout=layout), check_eps(eps))


def instance_norm(
    input: Like,
    weight: Like | None = None,
    bias: Like | None = None,
    *,
    eps: float = 1e-5,
    layout: str = "NCHW",
) -> Truth:
    """Certified instance normalization: statistics per sample and channel; weight and bias per channel."""
    return certify_rows(instance_norm_rows(input, weight, bias, layout=layout), check_eps(eps))


def rms_norm(
    input: Like,
    normalized_shape: Any = None,
    weight: Like | None = None,
    *,
    eps: float = 2.0**-23,
    axes: Any = None,
) -> Truth:
    """Certified root-mean-square normalization, x / sqrt(mean(x**2) + eps) * weight.

    Over the last axes, `normalized_shape`, or over any `axes`, as `layer_norm`. The default eps is the
    spacing of float32 at 1, as in torch.nn.functional.rms_norm.
    """
    return certify_rows(rms_norm_rows(input, normalized_shape, weight, axes=axes), check_eps(eps))


def check_eps(eps: float) -> float:
    """eps as float, 0 or within `EPS_RANGE`."""
    if isinstance(eps, bool) or not isinstance(eps, int | float | np.floating):
        raise ValueError(f"eps must be a number, got {eps!r}: give e.g. 1e-5")
    if eps != 0 and not EPS_RANGE[0] <= eps <= EPS_RANGE[1]:
        raise ValueError(f"eps must be 0 or within {EPS_RANGE}, got {eps!r}: give e.g. 1e-5")
    return float(eps)


def certify_rows(rows: Grouped, eps: float) -> Truth:
    """The truth of a normalization, in the input's shape."""
    return certify_with(rows, row_statistics(rows, eps), exact_statistics(rows, eps))


def certify_with(rows: Grouped, stats: Array, exact: Statistics) -> Truth:
    """(x - m) / s * w + b from the columns of `moments`; `exact` gives m and s**2 of a finite row."""
    x = rows.x
    weight, bias = rows.affine(np.float64)
    value, residual, bound, magnitude = (np.empty(x.shape) for _ in range(4))
    unsure = np.empty(x.shape, np.bool_)
    escalated = normalize(
        x, stats, weight, bias, rows.row_step, rows.inner, value, residual, bound, magnitude, unsure
    )
    surds = element_surds(rows, exact)
    settle_elements(np.flatnonzero(unsure), surds, (value, residual, bound))
    tiers = {"float64": 0, "double-double": x.size - escalated, "exact": escalated}
    return restored(rows, Truth(value, residual, bound, magnitude, tiers, element_refiner(surds)))


def restored(rows: Grouped, truth: Truth) -> Truth:
    """The truth of the rows in the shape of the input."""
    if rows.axes != tuple(range(len(rows.axes))):
        return truth.arranged(rows.restore)
    arrays = (truth.value, truth.residual, truth.bound, truth.magnitude)
    value, residual, bound, magnitude = (array.reshape(rows.shape) for array in arrays)
    return replace(truth, value=value, residual=residual, bound=bound, magnitude=magnitude)


def row_statistics(rows: Grouped, eps: float) -> Array:
    """The columns of `moments` for each row."""
    stats = np.empty((rows.x.shape[0], 8))
    if rows.given is not None:
        mean, variance = (a.astype(np.float64) for a in rows.given)
        given_statistics(mean, variance, eps, stats)
    elif rows.x.size:
        statistics(rows.x, rows.centred, eps, survey(rows.x).grid, stats)
    return stats


def exact_statistics(rows: Grouped, eps: float) -> Statistics:
    """Mean and variance + eps of a row, exactly; for finite rows."""

    def of_row(row: int) -> tuple[Fraction, Fraction]:
        if rows.given is None:
            mean, variance = exact_moments(rows.x[row], rows.centred)
        else:
            mean, variance = (Fraction(float(a[row])) for a in rows.given)
        return mean, variance + Fraction(eps)

    return remembered(of_row)


def element_surds(rows: Grouped, exact: Statistics) -> Callable[[int], SurdSum]:
    """Element by flat index as a surd sum: (x - m) w / sqrt(t) + b.

    An infinite weight leaves only the sign of x - m, times that infinity: `WildError`.
    """
    weight, bias = rows.affine(np.float64)

    def of_element(index: int) -> SurdSum:
        row, j = divmod(index, rows.x.shape[1])
        mean, total = exact(row)
        entry = (row * rows.row_step + j // rows.inner) % weight.size
        difference = Fraction(float(rows.x[row, j])) - mean
        w, b = float(weight[entry]), float(bias[entry])
        if not np.isfinite(w):
            with np.errstate(invalid="ignore"):
                raise WildError(float(np.float64((difference > 0) - (difference < 0)) * w + b))
        return [(difference * Fraction(w) / total, total), (Fraction(b), Fraction(1))]

    return of_element


def element_refiner(surds: Callable[[int], SurdSum]) -> Refine:
    """`Truth.refine` for elements that are surd sums."""
    return lambda index, bits: refine_surds(surds(index), bits)


class WildError(ArithmeticError):
    """The exact value is not a number but an infinity or NaN, which is the argument."""


def settle_elements(
    indices: npt.NDArray[np.intp], surds: Callable[[int], SurdSum], out: tuple[Array, Array, Array]
) -> None:
    """Decide the elements at the flat indices exactly: value, residual and bound, in place."""
    flat = [part.reshape(-1) for part in out]
    for i in indices:
        try:
            found = settle_surds(surds(int(i)))
        except WildError as wild:
            found = (wild.args[0], 0.0, 0.0)
        for part, number in zip(flat, found, strict=True):
            part[i] = number
