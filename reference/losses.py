"""The truth of losses: cross entropy, binary cross entropy of logits, mean squared error.

reduction "none" gives one loss an element, "sum" their sum, "mean" their sum divided by the count, or by the
sum of the targets' weights in cross_entropy; a mean over nothing is NaN (0/0). magnitude is the sum of the
absolute terms of that last sum. A total that takes no part of a sum is +0.

Every function raises ValueError for shapes that differ, an unknown reduction, and dtypes that `operand`
refuses.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import loss_kernels as kernels
from reference.escalate import finish
from reference.formats import Array
from reference.intervals import Interval, Reals, enclose
from reference.operands import Single, operand
from reference.rows import rows
from reference.softmax import log_of_shifted_sum
from reference.truth import Refine, Truth

Like = npt.ArrayLike
Indices = npt.NDArray[np.int64]
Parts = tuple[Array, Array, Array, Array]
REDUCTIONS = ("none", "mean", "sum")
_NONE = np.zeros(0, np.float32)


def cross_entropy(
    input: Like,
    target: Like,
    weight: Like | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Truth:
    """Cross entropy of logits and class indices, as torch.nn.functional.cross_entropy.

    input (C,), (N, C) or (N, C, d1, ...); target, an integer array of that shape without C, holds classes
    0..C-1, or ignore_index, whose loss is 0 and takes no part in a mean. With w = weight (C,) or ones and
    s = label_smoothing (an exact float64 within 0..1):
    loss = (1 - s) w_t nll_t + s/C sum_c w_c nll_c, nll_c = log sum exp(x) - x_c.

    Raises ValueError for targets out of range or not integers, and negative weights, besides the above.
    """
    x = operand(input, "input")
    _check(reduction)
    if x.ndim == 0:
        raise ValueError("cross_entropy takes logits (C,), (N, C) or (N, C, ...), got a number: add the axes")
    found = rows(x, 0 if x.ndim == 1 else 1)
    classes = found.x.shape[1]
    wanted = x.shape[1:] if x.ndim == 1 else (x.shape[0], *x.shape[2:])
    chosen = _classes(target, wanted, classes, int(ignore_index)).reshape(-1)
    w = np.ones(classes, np.float32) if weight is None else operand(weight, "weight")
    if w.shape != (classes,) or (w < 0).any():
        raise ValueError(
            f"weight must have one number >= 0 for each of the {classes} classes, got shape {w.shape}, "
            f"least {w.min() if w.size else None}: check it"
        )
    smoothing = float(label_smoothing)
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be within 0..1, got {label_smoothing!r}: give e.g. 0.1")
    near, far = 1 - Fraction(smoothing), Fraction(smoothing) / max(classes, 1)

    def loss(reals: Reals, index: int) -> Interval:
        t, row = int(chosen[index]), found.x[index]
        if t < 0:
            return reals.rational(0)
        top, last = Fraction(float(row.max())), log_of_shifted_sum(reals, row)
        out = reals.rational(0)
        for c in [t] if smoothing == 0.0 else range(classes):
            factor = (near * (c == t) + far) * Fraction(float(w[c]))
            if factor:
                out = out + (last + reals.rational(top - Fraction(float(row[c])))) * reals.rational(factor)
        return out

    parts = _parts(chosen.shape)
    kernels.cross_entropy(found.x, chosen, w, smoothing, *parts)
    used = w[chosen[chosen >= 0]] if (chosen >= 0).any() else np.zeros(1, np.float32)
    return _reduced(parts, wanted, reduction, loss, used if reduction == "mean" else _NONE)


def binary_cross_entropy_with_logits(
    input: Like,
    target: Like,
    weight: Like | None = None,
    pos_weight: Like | None = None,
    *,
    reduction: str = "mean",
) -> Truth:
    """w ((1 - y) log(1 + exp(x)) + p y log(1 + exp(-x))), as in torch and tf.nn.sigmoid/weighted forms.

    target has input's shape, and so has weight, or it is one number; pos_weight p is one number, or one for
    each entry of the last axis. Targets are usually within 0..1, but need not be.
    """
    x, y = _alike(input, target)
    _check(reduction)
    w = _repeated(weight, "weight", (x.shape, ()), x.size)
    p = _repeated(pos_weight, "pos_weight", (x.shape[-1:], ()), x.shape[-1] if x.ndim else 1)
    xs, ys = x.reshape(-1), y.reshape(-1)

    def loss(reals: Reals, index: int) -> Interval:
        number, label = Fraction(float(xs[index])), Fraction(float(ys[index]))
        scale, positive = (Fraction(float(a[index % a.size])) for a in (w, p))
        if 1 - label + positive * label == 0:
            return reals.rational(scale * (1 - label) * number)
        out = reals.rational(0)
        for factor, argument in ((1 - label, number), (positive * label, -number)):
            if factor and scale:
                out = out + reals.softplus(reals.rational(argument)) * reals.rational(factor * scale)
        return out

    parts = _parts(xs.shape)
    kernels.binary_cross_entropy(xs, ys, w, p, *parts)
    return _reduced(parts, x.shape, reduction, loss, _NONE)


def mse_loss(input: Like, target: Like, *, reduction: str = "mean") -> Truth:
    """(x - y)**2 for arrays of one shape."""
    x, y = _alike(input, target)
    _check(reduction)
    xs, ys = x.reshape(-1), y.reshape(-1)

    def square(index: int) -> Fraction:
        return (Fraction(float(xs[index])) - Fraction(float(ys[index]))) ** 2

    def exact(index: int, bits: int) -> tuple[Fraction, Fraction]:
        if reduction == "none":
            return square(index), Fraction(0)
        whole = sum(map(square, range(xs.size)), Fraction(0))
        return whole / (xs.size if reduction == "mean" else 1), Fraction(0)

    parts = _parts(xs.shape)
    kernels.squares(xs, ys, *parts)
    return _finished(parts, x.shape, reduction, exact, _NONE)


def plain_mse_loss(input: Like, target: Like, *, reduction: str = "mean") -> Single:
    """((d_1**2 + d_2**2) + ...) / N with d = x - y: each operation rounded to float32."""
    x, y = _alike(input, target)
    _check(reduction)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = (x - y) * (x - y)
        if reduction == "none":
            return squares
        whole = np.add.accumulate(squares.reshape(-1))[-1] if x.size else np.float32(0)
        found = whole / np.float32(x.size) if reduction == "mean" else whole
    return np.asarray(found, np.float32)


def loss_terms(input: Like, target: Like, **others: Any) -> int:
    """Losses in the last sum: 1 without a reduction."""
    return 1 if others.get("reduction", "mean") == "none" else max(1, int(np.size(target)))


def _reduced(parts: Parts, shape: tuple[int, ...], reduction: str, loss: Any, weights: Single) -> Truth:
    count = parts[0].size

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        if reduction == "none":
            return enclose(lambda reals: loss(reals, index), bits)
        divisor = Fraction(1)
        if reduction == "mean":
            divisor = (
                sum((Fraction(float(w)) for w in weights), Fraction(0)) if weights.size else Fraction(count)
            )

        def whole(reals: Reals) -> Interval:
            out = reals.rational(0)
            for i in range(count):
                out = out + loss(reals, i)
            return out / reals.rational(divisor)

        return enclose(whole, bits)

    return _finished(parts, shape, reduction, refine, weights)


def _finished(parts: Parts, shape: tuple[int, ...], reduction: str, refine: Refine, weights: Single) -> Truth:
    if reduction == "none":
        return finish(*parts, refine, signed=False).arranged(lambda array: array.reshape(shape))
    count = float(parts[0].size) if reduction == "mean" else 1.0
    value, residual, bound, magnitude = (np.array([part]) for part in kernels.total(*parts, weights, count))
    truth = finish(value, residual, bound, magnitude, refine, signed=False)
    return truth.arranged(lambda array: array.reshape(()))


def _parts(shape: tuple[int, ...]) -> Parts:
    return np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape)


def _check(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}: name one of them")


def _alike(input: Like, target: Like) -> tuple[Single, Single]:
    x, y = operand(input, "input"), operand(target, "target")
    if x.shape != y.shape:
        raise ValueError(f"the target must have the input's shape {x.shape}, got {y.shape}: reshape it")
    return x, y


def _repeated(array: Like | None, name: str, shapes: tuple[tuple[int, ...], ...], count: int) -> Single:
    if array is None:
        return np.ones(1, np.float32)
    given = operand(array, name)
    if given.shape not in shapes and given.shape != (1,):
        raise ValueError(
            f"{name} must have the shape {shapes[0]} or be one number, got {given.shape}: reshape it"
        )
    return given.reshape(-1)


def _classes(target: Like, shape: tuple[int, ...], classes: int, ignored: int) -> Indices:
    given = np.asarray(target)
    if given.dtype.kind not in "iu":
        raise ValueError(
            f"target must hold class indices (integers), got {given.dtype.name}: cast it to int64"
        )
    if given.shape != shape:
        raise ValueError(
            f"target must have the shape {shape}, got {given.shape}: one class for each position"
        )
    wide = given.astype(np.int64)
    used = wide != ignored
    if (used & ((wide < 0) | (wide >= classes))).any():
        worst = int(wide[used & ((wide < 0) | (wide >= classes))][0])
        raise ValueError(f"a class must be within 0..{classes - 1}, got {worst}: or name it as ignore_index")
    return np.where(used, wide, -1)
