"""Other normalizations that the declared one may have been."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from precision.meaning.hypotheses import Change, Declaration, Float64, Shape, nice_numbers
from precision.meaning.norm_form import (
    BIASED,
    DEVIATION,
    ROOT,
    UNBIASED,
    NormForm,
    Statistics,
    centre_and_spread,
    grouped,
    picked,
    replaced,
)

NAMED_EPS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 2.0**-23, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Values of eps that libraries use, tried whatever the data says of them."""


def norm_changes(declared: Declaration) -> Iterator[Declaration]:
    """Every single change of a normalization whose number need not be solved for."""
    form: NormForm = declared.form
    shape = np.shape(declared.arrays["input"])
    yield from _affine(declared, form)
    yield from _statistics(declared, form, shape)
    if form.place == "inside":
        change = Change(
            "eps place", "inside the root", "outside the root", f"1/(sqrt(v) + eps) with eps {form.eps:g}"
        )
        yield declared.changed(change, form=replaced(form, place="outside"))
    for eps in NAMED_EPS:
        if eps != form.eps:
            yield _with_eps(declared, form, eps)


def _with_eps(declared: Declaration, form: NormForm, eps: float, solved: bool = False) -> Declaration:
    change = Change("eps", form.eps, eps, f"eps {eps:g} in place of {form.eps:g}", solved=solved)
    return declared.changed(change, form=replaced(form, eps=eps))


def _affine(declared: Declaration, form: NormForm) -> Iterator[Declaration]:
    for name, words in (("scale", "weight"), ("shift", "bias")):
        if getattr(form, name) is not None:
            change = Change("affine", "weight and bias", f"{words} missing", f"the {words} is not applied")
            yield declared.changed(change, form=replaced(form, **{name: None}))
            flipped = np.flip(getattr(form, name), form.channel)
            change = Change(
                "channel order",
                "as declared",
                f"{words} reversed",
                f"the channels of the {words} are reversed",
            )
            yield declared.changed(change, form=replaced(form, **{name: flipped}))
    if form.scale is not None and form.shift is not None:
        change = Change("affine", "weight and bias", "missing", "neither weight nor bias is applied")
        yield declared.changed(change, form=replaced(form, scale=None, shift=None))
        if form.scale.shape == form.shift.shape:
            change = Change("affine", "weight and bias", "swapped", "weight and bias are exchanged")
            yield declared.changed(change, form=replaced(form, scale=form.shift, shift=form.scale))
    if form.scale is not None:
        change = Change("affine", "weight", "1 + weight", "the weight is added to one")
        yield declared.changed(change, form=replaced(form, scale=1.0 + form.scale))
    if form.shift is not None:
        change = Change("affine", "bias", "bias doubled", "the bias is added twice")
        yield declared.changed(change, form=replaced(form, shift=2.0 * form.shift))


def _statistics(declared: Declaration, form: NormForm, shape: Shape) -> Iterator[Declaration]:
    """Over which elements, around which centre, divided by what."""
    own, axes = declared.op, form.axes
    if form.given is None and form.count > 1 and form.variance == BIASED and form.centred:
        change = Change("variance", BIASED, UNBIASED, f"the variance is divided by N - 1 = {form.count - 1}")
        yield declared.changed(change, form=replaced(form, variance=UNBIASED))
    if form.given is not None:
        change = Change("variance", "variance", DEVIATION, "the running variance is taken as a deviation")
        yield declared.changed(change, form=replaced(form, variance=DEVIATION))
        words = "a deviation is taken as the running variance"
        yield declared.changed(
            Change("variance", "variance", ROOT, words), form=replaced(form, variance=ROOT)
        )
        change = Change("training", False, True, "the batch's own statistics are used")
        yield declared.changed(change, form=replaced(form, given=None))
        mean, variance = form.given
        change = Change("centering", "running mean", "none", "the running mean is not subtracted")
        yield declared.changed(change, form=replaced(form, given=(np.zeros_like(mean), variance)))
    elif form.centred:
        words = "the mean is not subtracted: root mean square"
        change = Change("centering", "mean", "none", words)
        yield declared.changed(change, form=replaced(form, centred=False))
    else:
        change = Change("centering", "none", "mean", "the mean is subtracted")
        yield declared.changed(change, form=replaced(form, centred=True))
    yield from _running(declared, form, shape)
    if own in ("group_norm", "instance_norm"):
        channels = shape[form.channel]
        now = form.split[form.channel] if len(form.split) > len(shape) else channels
        for groups in range(1, channels + 1):
            if channels % groups == 0 and groups != now:
                words = {1: " (layer normalization)", channels: " (instance normalization)"}.get(groups, "")
                change = Change("groups", now, groups, f"{groups} groups of channels{words}")
                yield declared.changed(change, form=grouped(form, shape, groups))
    yield from _axes(declared, form, shape, axes)


def _running(declared: Declaration, form: NormForm, shape: Shape) -> Iterator[Declaration]:
    """Inference in place of training, where running statistics are at hand."""
    arrays = declared.arrays
    if declared.op != "batch_norm" or form.given is not None or arrays.get("running_mean") is None:
        return
    if arrays.get("running_var") is None:
        return
    entry = tuple(n if a == form.channel else 1 for a, n in enumerate(shape))
    given = tuple(np.asarray(arrays[n], np.float64).reshape(entry) for n in ("running_mean", "running_var"))
    change = Change("training", True, False, "the running statistics are used")
    yield declared.changed(change, form=replaced(form, given=given, variance=BIASED))


def _axes(
    declared: Declaration, form: NormForm, shape: Shape, axes: tuple[int, ...]
) -> Iterator[Declaration]:
    """Statistics over other axes, with the affine map where it is."""
    if form.given is not None:
        return
    rank, c = len(shape), form.channel
    rest = tuple(a for a in range(1, rank) if a != c)
    choices: dict[tuple[int, ...], str] = {
        (rank - 1,): "the last axis",
        (1,): "axis 1",
        tuple(range(1, rank)): "all axes but the first",
        tuple(range(rank)): "all axes",
        (0, *rest): "all axes but the channels, as batch normalization",
        rest: "the axes of the image, as instance normalization",
        (c,): "the channels",
        (0,): "the batch",
        tuple(range(rank - 2, rank)): "the last two axes",
    }
    own = list(axes) if len(form.split) == rank else "by groups"
    for chosen, words in choices.items():
        if chosen and min(chosen) >= 0 and (chosen != axes or len(form.split) != rank):
            if len(form.split) > rank and chosen in (rest, tuple(range(1, rank))):
                continue  # a number of groups says the same
            change = Change("axis", own, sorted(chosen), f"statistics over {words}")
            yield declared.changed(change, form=replaced(form, split=shape, axes=tuple(sorted(chosen))))


def solved_eps(declared: Declaration, stats: Statistics, output: Float64) -> Iterator[Declaration]:
    """The eps with which the output fits best: r by least squares for each row, eps = 1/r**2 - v."""
    form: NormForm = declared.form
    found = _eps_of_rows(form, stats, output)
    if found is None:
        return
    value, _, least = found
    tolerance = max(abs(value) * 0.05, 1e-7 * least)
    for number in nice_numbers(value, tolerance):
        if number >= 0 and number != form.eps and number not in NAMED_EPS and not 0 < number < 1e-30:
            yield _with_eps(declared, form, number, solved=True)


def likely_eps(declared: Declaration, stats: Statistics, output: Float64) -> list[Declaration]:
    """Another eps that libraries use, near enough to what the rows ask for, the nearest first.

    Near enough: within half of it, or within five standard errors of the mean over the rows.
    """
    form: NormForm = declared.form
    found = _eps_of_rows(form, stats, output)
    if found is None:
        return []
    value, error, _ = found
    reach = max(0.5 * abs(value), 5.0 * error)
    near = [eps for eps in NAMED_EPS if eps != form.eps and abs(eps - value) <= max(reach, 0.5 * eps)]
    return [_with_eps(declared, form, eps) for eps in sorted(near, key=lambda eps: abs(eps - value))]


def _eps_of_rows(form: NormForm, stats: Statistics, output: Float64) -> tuple[float, float, float] | None:
    """The eps that rows ask for, on average; its standard error over the rows; their least variance."""
    x, out = _part(stats.x), _part(output)
    if np.shape(output) != np.shape(stats.x):
        return None
    mean, variance = centre_and_spread(form, stats)
    with np.errstate(all="ignore"):
        left = (x - mean[: x.shape[0]] if mean.shape[0] > 1 else x - mean) * picked(form.scale, None, 1.0)
        right = out - picked(form.shift, None, 0.0)
        v = variance[: x.shape[0]] if variance.shape[0] > 1 else variance
        reduce = tuple(a for a in range(x.ndim) if v.shape[a] == 1)
        power = np.sum(left * left, axis=reduce, keepdims=True)
        root = np.sum(left * right, axis=reduce, keepdims=True) / power
        eps = (1.0 / root - np.sqrt(v)) if form.place == "outside" else (1.0 / root**2 - v)
        weight = power / (v + form.eps) / (v + form.eps) ** 2
        good = np.isfinite(eps) & np.isfinite(weight) & (root > 0) & (weight > 0)
    if not good.any():
        return None
    share = weight[good] / np.sum(weight[good])
    value = float(np.sum(eps[good] * share))
    error = float(np.sqrt(np.sum((share * (eps[good] - value)) ** 2)))
    return value, error, float(np.min(v[good]))


def _part(array: Any) -> Float64:
    """As many samples as hold 2**18 numbers, at least one."""
    count = max(1, (1 << 18) * array.shape[0] // max(array.size, 1)) if array.ndim else 1
    return np.asarray(array[:count], np.float64)
