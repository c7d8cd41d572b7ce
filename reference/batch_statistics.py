"""The statistics of a batch, channel by channel, and the running ones that batch normalization keeps of them.

Over all axes but the channel's, N elements a channel:

    batch_norm_mean    m = sum x / N
    batch_norm_var     v = sum (x - m)**2 / N
    batch_norm_invstd  r = 1 / sqrt(v + eps), what the frameworks save for the backward pass

    batch_norm_running_mean  (1 - a) running_mean + a m
    batch_norm_running_var   (1 - a) running_var + a v'

| convention         | a            | v'                                                                  |
|--------------------|--------------|---------------------------------------------------------------------|
| "torch"            | momentum     | unbiased, v N / (N - 1)                                             |
| "keras"            | 1 - momentum | v                                                                   |
| "tensorflow_fused" | 1 - momentum | unbiased, v N / max(1, N - 1) (tf.raw_ops.FusedBatchNormV3)         |

So torch's momentum 0.1 is Keras's 0.9. momentum is the exact float64 given and 1 - momentum the exact
difference. A cumulative average (torch's momentum=None) is "torch" with 1 / number of batches. All but invstd
are fractions. magnitude is |(1 - a) running| + a |new|; of the batch's mean sum |x| / N; else the value.

Every function takes `layout` as `reference.batch_norm` does and raises ValueError as it does; also for a
momentum outside [0, 1], an unknown convention, and an unbiased variance of one element, as torch.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reference.certify import certain
from reference.compensated import split_fraction
from reference.grouped import Grouped, batch_norm_rows
from reference.moments import DENOMINATOR, DENOMINATOR_LOW, PLAIN, RELATIVE, VARIANCE
from reference.norm import check_eps, element_refiner, exact_statistics, row_statistics, settle_elements
from reference.operands import Single, operand
from reference.rational import exact_moments, remembered
from reference.reductions import MEAN, VAR, reduced_rows
from reference.surds import SurdSum
from reference.truth import Truth

Like = npt.ArrayLike
CONVENTIONS = ("torch", "keras", "tensorflow_fused")


def batch_norm_mean(input: Like, *, layout: str = "NCHW") -> Truth:
    """Certified mean of each channel."""
    return reduced_rows(_rows(input, layout).x, MEAN)


def batch_norm_var(input: Like, *, layout: str = "NCHW") -> Truth:
    """Certified biased variance of each channel."""
    return reduced_rows(_rows(input, layout).x, VAR)


def batch_norm_invstd(input: Like, *, eps: float = 1e-5, layout: str = "NCHW") -> Truth:
    """Certified 1 / sqrt(variance + eps) of each channel; infinite where that is 1/0."""
    rows = _rows(input, layout)
    stats = row_statistics(rows, check_eps(eps))
    exact = exact_statistics(rows, eps)
    centres = []
    for row, (high, low, relative, plain) in enumerate(
        stats[:, [DENOMINATOR, DENOMINATOR_LOW, RELATIVE, PLAIN]].tolist()
    ):
        if plain:
            centres.append(_wild(np.inf if stats[row, VARIANCE] == 0.0 else np.nan))
            continue
        centre = 1 / (Fraction(high) + Fraction(low))
        centres.append(
            split_fraction(centre, centre * Fraction(1.001 * relative) if relative < 1.0 else centre)
        )

    def surds(row: int) -> SurdSum:
        total = exact(row)[1]
        return [(1 / total, total)]

    value, _, bound = np.array(centres).T if centres else np.zeros((3, 0))
    return _finished(centres, surds, np.where(np.isfinite(value), np.abs(value) + bound, np.inf))


def batch_norm_running_mean(
    input: Like,
    running_mean: Like,
    *,
    momentum: float = 0.1,
    convention: str = "torch",
    layout: str = "NCHW",
) -> Truth:
    """Certified running mean after one more batch."""
    rows = _rows(input, layout)
    old = checked_running(running_mean, rows, "running_mean")
    share = new_share(momentum, convention)
    return _updated(old, reduced_rows(rows.x, MEAN), share, lambda i: exact_moments(rows.x[i], True)[0])


def batch_norm_running_var(
    input: Like,
    running_var: Like,
    *,
    momentum: float = 0.1,
    convention: str = "torch",
    layout: str = "NCHW",
) -> Truth:
    """Certified running variance after one more batch."""
    rows = _rows(input, layout)
    old = checked_running(running_var, rows, "running_var")
    share = new_share(momentum, convention)
    count = rows.x.shape[1]
    if convention == "torch" and count == 1:
        raise ValueError(
            "an unbiased variance needs two elements a channel, got 1: give more, or convention='keras'"
        )
    correction = int(convention != "keras" and count > 1)
    scale = Fraction(count, count - correction)
    new = reduced_rows(rows.x, VAR, correction)
    return _updated(old, new, share, lambda i: exact_moments(rows.x[i], True)[1] * scale)


def terms(input: Like, *, layout: str = "NCHW", **_: object) -> int:
    """Elements of a channel."""
    return int(_rows(input, layout).x.shape[1])


def _rows(input: Like, layout: str) -> Grouped:
    return batch_norm_rows(input, training=True, layout=layout)


def checked_running(array: Like, rows: Grouped, name: str) -> Single:
    """A running statistic as float32; raises ValueError for another shape than (channels,)."""
    given = operand(array, name)
    if given.shape != rows.x.shape[:1]:
        raise ValueError(f"{name} must have shape {rows.x.shape[:1]}, got {given.shape}: reshape it")
    return given


def new_share(momentum: float, convention: str) -> Fraction:
    """The weight of the new value."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {CONVENTIONS}, got {convention!r}: name one")
    if isinstance(momentum, bool) or not isinstance(momentum, int | float | np.floating | np.integer):
        raise ValueError(f"momentum must be a number, got {momentum!r}: give e.g. 0.1")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be within [0, 1], got {momentum!r}: give e.g. 0.1")
    given = Fraction(float(momentum))
    return given if convention == "torch" else 1 - given


def _updated(old: Single, new: Truth, share: Fraction, exact: Callable[[int], Fraction]) -> Truth:
    """(1 - share) old + share new: intervals in fractions, which float64 then holds as value +- bound."""
    centres = []
    magnitude = np.empty(old.size)
    for i, number in enumerate(old.astype(np.float64)):
        parts = [float(a[i]) for a in (new.value, new.residual, new.bound)]
        if not (np.isfinite(number) and np.isfinite(parts[0])):
            with np.errstate(invalid="ignore"):
                centres.append(_wild(float(number * float(1 - share) + np.float64(parts[0]) * float(share))))
            magnitude[i] = np.inf
            continue
        kept = (1 - share) * Fraction(float(number))
        added = share * (Fraction(parts[0]) + Fraction(parts[1]))
        centres.append(split_fraction(kept + added, share * Fraction(parts[2])))
        magnitude[i] = float(abs(kept) + abs(added)) * (1.0 + 2.0**-40) + parts[2]

    def surds(i: int) -> SurdSum:
        return [((1 - share) * Fraction(float(old[i])) + share * exact(i), Fraction(1))]

    return _finished(centres, surds, magnitude)


def _wild(value: float) -> tuple[float, float, float]:
    return value, 0.0, 0.0


def _finished(
    centres: list[tuple[float, float, float]],
    surds: Callable[[int], SurdSum],
    magnitude: npt.NDArray[np.float64],
) -> Truth:
    value, residual, bound = (np.ascontiguousarray(a) for a in np.array(centres).reshape(-1, 3).T)
    unsure = np.array([not certain(*c) for c in centres], np.bool_)
    surds = remembered(surds)
    settle_elements(np.flatnonzero(unsure), surds, (value, residual, bound))
    escalated = int(unsure.sum())
    tiers = {"float64": 0, "double-double": value.size - escalated, "exact": escalated}
    return Truth(value, residual, bound, magnitude, tiers, element_refiner(surds))
