"""The truth of average and maximum pooling over one, two or three axes.

An average is an exact sum divided by an integer: where its bound does not settle it, a fraction does. A
maximum is exact.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import plain
from reference.certify import settle
from reference.compensated import split_fraction
from reference.conv import activation_strides
from reference.formats import Array
from reference.operands import Like, Single, operand
from reference.padding import padded
from reference.plan import solve
from reference.scheme import Indices, Part, Plan, Scheme, lattice
from reference.truth import Refine, Truth
from reference.window import window


def avg_pool(axes: int, input: Like, **params: Any) -> Truth:
    """Certified average over windows, as torch.nn.functional.avg_pool{1,2,3}d and tf.nn.avg_pool.

    y = sum of the window / divisor. kernel_size, stride (default: kernel_size): integers or one an axis;
    padding: numbers as in `reference.conv2d`, "valid", "same" or "same_lower"; ceil_mode: also windows that
    reach beyond the padding, if they begin inside the input or the padding before it. The divisor is
    divisor_override, or the window's elements in the padded input if count_include_pad (the default, but not
    with "same", where padding never counts), or its elements in the input. magnitude = sum |x| / divisor.

    Raises ValueError for shapes, parameters or dtypes that do not fit.
    """
    plan, divisor = avg_pool_plan(axes, input, **params)
    total = solve(plan)
    size = divisor.astype(np.float64)
    with np.errstate(invalid="ignore"):
        value = total.value / size + 0.0
        carried = (np.abs(total.residual) + total.bound) * (1.0 + 2.0**-50) / size
        exact = (carried == 0.0) & _without_rest(total.value, value, divisor)
        bound = np.where(exact, 0.0, carried + np.abs(value) * 2.0**-52)
    bound[~np.isfinite(value)] = 0.0
    residual = np.zeros_like(value)
    flat = [a.reshape(-1) for a in (value, residual, bound)]
    unsure = np.empty(value.size, np.bool_)
    count = settle(np.stack(flat[:2], axis=-1), flat[2], unsure)
    refine = _divided(total, divisor.reshape(-1))
    for index in np.flatnonzero(unsure):
        for part, number in zip(flat, split_fraction(refine(int(index), 0)[0]), strict=True):
            part[index] = number
    magnitude = total.magnitude / size * (1.0 + 2.0**-50)
    tiers = {"float64": value.size - count, "double-double": 0, "exact": count}
    return Truth(value, residual, bound, magnitude, tiers, refine)


def _without_rest(total: Array, value: Array, divisor: Indices) -> npt.NDArray[np.bool_]:
    """Where total / divisor is proved to be value: every tie is, as it has few bits.

    A power of two divides without rounding; 27 bits times 26 are a product without rounding.
    """
    short = (value.view(np.int64) & (2**26 - 1) == 0) & (divisor < 2**26)
    return np.asarray((divisor & (divisor - 1) == 0) | short & (value * divisor == total))


def _divided(total: Truth, divisor: Indices) -> Refine:
    whole = total.refine
    if whole is None:
        raise ArithmeticError("a sum of products cannot be refined: this is a defect of the toolkit")

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        return whole(index, bits)[0] / int(divisor[index]), Fraction(0)

    return refine


def avg_pool_plan(
    axes: int, input: Like, *, count_include_pad: bool | None = None, divisor_override: int | None = None,
    **params: Any,
) -> tuple[Plan, Indices]:  # fmt: skip
    """The sums of an average pooling, and the divisor of each."""
    x = operand(input, "input")
    at = window(axes, x.shape, **params)
    if count_include_pad is not None and not isinstance(count_include_pad, bool):
        raise ValueError(
            f"count_include_pad must be True, False or None, got {count_include_pad!r}: give one of them"
        )
    if count_include_pad and at.by_rule:
        raise ValueError(
            f"padding {params['padding']!r} never counts, got count_include_pad True: give numbers"
        )
    if divisor_override is not None and (
        isinstance(divisor_override, bool)
        or not isinstance(divisor_override, int | np.integer)
        or not 1 <= divisor_override < 2**31
    ):
        raise ValueError(
            f"divisor_override must be a positive integer below 2**31, got {divisor_override!r}: "
            "give one, or leave it out"
        )
    filled = padded(x, at.reach, at.last)
    outer, channel, inner = activation_strides(filled.shape, at.last)
    moves = [s * move for s, move in zip(inner, at.stride, strict=True)]
    if at.last:
        starts, run, step = lattice((at.batch, *at.out), (outer, *moves)), at.channels, channel
    else:
        starts = lattice((at.batch, at.channels, *at.out[:-1]), (outer, channel, *moves[:-1]))
        run, step = at.out[-1], moves[-1]
    scheme = Scheme(starts, run, step, lattice(at.kernel, inner), np.zeros(1, np.int64), last=False)
    part = Part(scheme, filled.reshape(-1), np.ones((1, 1, prod(at.kernel)), np.float32))
    include = not at.by_rule if count_include_pad is None else count_include_pad
    counts = at.counts(include) if divisor_override is None else np.full(at.out, divisor_override, np.int64)
    spread = np.broadcast_to(counts[..., None] if at.last else counts, at.shape)
    return Plan(at.shape, (part,)), np.ascontiguousarray(spread)


def avg_pool_plain(axes: int, input: Like, **params: Any) -> Single:
    """The float32 sum of each window, one element after another in the order (h, w), over its divisor."""
    plan, divisor = avg_pool_plan(axes, input, **params)
    return np.divide(plain.sums(plan), divisor, dtype=np.float32, casting="same_kind")


def max_pool(axes: int, input: Like, **params: Any) -> Truth:
    """The largest element of each window, as torch.nn.functional.max_pool{1,2,3}d and tf.nn.max_pool: exact.

    Parameters as `avg_pool`, with dilation and without the divisor's. Padding is never chosen. A NaN in a
    window is its maximum; a zero is +0 whatever its sign. magnitude = |y|.

    Raises ValueError for shapes, parameters or dtypes that do not fit.
    """
    value = max_pool_plain(axes, input, **params).astype(np.float64) + 0.0
    magnitude = np.where(np.isfinite(value), np.abs(value), np.inf)
    zeros = np.zeros_like(value), np.zeros_like(value)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        del bits
        return Fraction(float(value.reshape(-1)[index])), Fraction(0)

    tiers = {"float64": value.size, "double-double": 0, "exact": 0}
    return Truth(value, *zeros, magnitude, tiers, refine)


def max_pool_plain(axes: int, input: Like, **params: Any) -> Single:
    """The largest element of each window; no arithmetic, so nothing is rounded."""
    x = operand(input, "input")
    at = window(axes, x.shape, **params)
    lead = 1 if at.last else 2
    widths = [(0, 0)] * lead + list(at.reach) + [(0, 0)] * (2 - lead)
    filled = np.pad(x, widths, constant_values=-np.inf)
    found = np.full(at.shape, -np.inf, np.float32)
    for taps in np.ndindex(*at.kernel):
        steps = tuple(
            slice(tap * d, tap * d + (o - 1) * s + 1, s)
            for tap, d, o, s in zip(taps, at.dilation, at.out, at.stride, strict=True)
        )
        np.maximum(found, filled[(slice(None),) * lead + steps], out=found)
    return found
