"""A normalization as statistics over axes, a formula and an affine map: more than the ops' parameters say.

    y = (x - m) r scale + shift,   r = 1/sqrt(v + eps), or 1/(sqrt(v) + eps) with eps outside the root

m and v are those of the axes, or given; v may be divided by N - 1; m may be left out. The float64 evaluation
here is a few thousand times 2**-53 away from the function at most, far below the limits of float32, which
are those of `reference.statistic_bounds` for statistics in two passes: they are multiplied by what the
formula changes, and a few roundings are added for each operation that it adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision.meaning.hypotheses import Float64, Known, Shape
from reference import OPS, statistic_bounds
from reference.grouped import Grouped, normalized_axes
from reference.tracked import Rules, gamma

NORMS = frozenset(name for name, op in OPS.items() if op.rows is not None)
BIASED, UNBIASED, DEVIATION, ROOT = "biased", "unbiased", "standard deviation", "square root"


@dataclass(frozen=True)
class NormForm:
    """The formula of a normalization of `input` as the module's text has it."""

    split: Shape  # the input's shape, or that with its channels split into groups
    axes: tuple[int, ...]  # of `split`: those that share statistics
    eps: float
    channel: int  # of the input's shape
    scale: Float64 | None = None  # in a shape that broadcasts against the input
    shift: Float64 | None = None
    centred: bool = True
    place: str = "inside"
    variance: str = BIASED
    given: tuple[Float64, Float64] | None = None  # running mean and variance, as scale's shape

    @property
    def count(self) -> int:
        return int(np.prod([self.split[a] for a in self.axes], initial=1))


def form_of(op: str, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> NormForm:
    """The declared normalization as a form.  Its arguments are known to fit the op."""
    shape = np.shape(arrays["input"])
    rank = len(shape)
    eps = float(params.get("eps", OPS[op].eps))
    if op in ("layer_norm", "rms_norm"):
        axes = normalized_axes(shape, params.get("normalized_shape"), params.get("axes"))
        entry = tuple(n if a in axes else 1 for a, n in enumerate(shape))
        form = NormForm(shape, axes, eps, rank - 1, centred=op == "layer_norm")
    else:
        channel = rank - 1 if str(params.get("layout", "NCHW")).endswith("C") else 1
        entry = tuple(n if a == channel else 1 for a, n in enumerate(shape))
        if op == "batch_norm":
            form = NormForm(shape, tuple(a for a in range(rank) if a != channel), eps, channel)
        else:
            groups = int(params["num_groups"]) if op == "group_norm" else shape[channel]
            form = grouped(NormForm(shape, (), eps, channel), shape, groups)
    parts: dict[str, Any] = {}
    for name, array in (("scale", "weight"), ("shift", "bias")):
        if arrays.get(array) is not None:
            parts[name] = np.asarray(arrays[array], np.float64).reshape(entry)
    if op == "batch_norm" and not params.get("training", False):
        parts["given"] = tuple(
            np.asarray(arrays[name], np.float64).reshape(entry) for name in ("running_mean", "running_var")
        )
    return replaced(form, **parts)


def replaced(form: NormForm, **parts: Any) -> NormForm:
    """The form with parts replaced."""
    fields = {name: getattr(form, name) for name in form.__dataclass_fields__}
    return NormForm(**{**fields, **parts})


def grouped(form: NormForm, shape: Shape, groups: int) -> NormForm:
    """Statistics per sample and group of channels."""
    c = form.channel
    split = (*shape[:c], groups, shape[c] // groups, *shape[c + 1 :])
    axes = tuple(a for a in range(1, len(split)) if a != c)
    return replaced(form, split=split, axes=axes, given=None)


class Statistics:
    """Means and variances of one input over any axes, computed once each."""

    def __init__(self, x: Any) -> None:
        self.x = np.asarray(x)
        self._held: dict[tuple[Shape, tuple[int, ...]], tuple[Float64, Float64]] = {}

    def of(self, form: NormForm) -> tuple[Float64, Float64]:
        """Mean and biased variance, broadcast against the input."""
        key = form.split, form.axes
        if key not in self._held:
            x = self.x.reshape(form.split)
            mean = x.mean(axis=form.axes, keepdims=True, dtype=np.float64)
            spread = x - mean
            variance = np.mean(spread * spread, axis=form.axes, keepdims=True)
            self._held[key] = self._spread(mean, form), self._spread(variance, form)
        return self._held[key]

    def _spread(self, rows: Float64, form: NormForm) -> Float64:
        if len(form.split) == self.x.ndim:
            return rows
        c = form.channel  # every channel gets the statistics of its group
        whole = np.broadcast_to(rows, (*rows.shape[: c + 1], form.split[c + 1], *rows.shape[c + 2 :]))
        return whole.reshape(*rows.shape[:c], -1, *rows.shape[c + 2 :])


def centre_and_spread(form: NormForm, stats: Statistics) -> tuple[Float64, Float64]:
    """The mean that is subtracted and the variance (before eps), broadcast against the input."""
    if form.given is not None:
        mean, variance = form.given
        if form.variance == ROOT:
            return mean, np.sqrt(np.maximum(variance, 0.0))
        return mean, variance**2 if form.variance == DEVIATION else variance
    mean, variance = stats.of(form)
    if not form.centred:
        return np.zeros_like(mean), variance + mean**2
    if form.variance == UNBIASED:
        variance = variance * (form.count / max(form.count - 1, 1))
    return mean, variance


def inverse_root(form: NormForm, variance: Float64) -> Float64:
    with np.errstate(divide="ignore", invalid="ignore"):
        if form.place == "outside":
            return np.asarray(1.0 / (np.sqrt(variance) + form.eps))
        return np.asarray(1.0 / np.sqrt(variance + form.eps))


def picked(array: Float64 | None, at: tuple[Any, ...] | None, default: float) -> Any:
    """A broadcast array at some elements, or as it is."""
    if array is None:
        return default
    if at is None:
        return array
    return array[tuple(i if n > 1 else 0 for i, n in zip(at, array.shape, strict=True))]


def values(form: NormForm, stats: Statistics, at: tuple[Any, ...] | None = None) -> Float64:
    """The function in float64, whole or at some elements."""
    mean, variance = centre_and_spread(form, stats)
    root = inverse_root(form, variance)
    x = (stats.x if at is None else stats.x[at]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        found = (x - picked(mean, at, 0.0)) * picked(root, at, 1.0)
        return np.asarray(found * picked(form.scale, at, 1.0) + picked(form.shift, at, 0.0))


def rough(form: NormForm, stats: Statistics, unit: float, at: tuple[Any, ...]) -> Known:
    """The function at some elements with a limit that is never too small, but for one-pass statistics."""
    value = values(form, stats, at)
    mean, variance = (picked(a, at, 0.0) for a in centre_and_spread(form, stats))
    root = picked(inverse_root(form, centre_and_spread(form, stats)[1]), at, 1.0)
    x = np.abs(stats.x[at].astype(np.float64))
    n = 0 if form.given is not None else form.count
    size = np.sqrt(variance + mean**2) + np.abs(mean)  # at least the mean of |x|
    off = 1.05 * gamma(n + 8, unit) * size if form.given is None else np.zeros_like(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = 2.0 * gamma(n + 16, unit) + off**2 / np.where(variance > 0, variance + form.eps, form.eps)
        rho = np.where(t < 0.5, 2.0 * t + 32.0 * unit, np.inf)
        part = off + 8.0 * unit * (x + np.abs(mean) + off)
        core = root * ((1.0 + rho) * part + rho * np.abs(x + np.abs(mean)))
        limit = np.abs(picked(form.scale, at, 1.0)) * core + 8.0 * unit * np.abs(value)
        limit = limit + 8.0 * unit * np.abs(picked(form.shift, at, 0.0)) + 2.0**-100
    return Known(value, np.zeros_like(value), np.where(np.isnan(limit), np.inf, limit))


def whole(form: NormForm, stats: Statistics, unit: float, algorithm: str = "two_pass") -> Known:
    """The function everywhere, with its limit."""
    value = values(form, stats)
    rows = _rows(form, stats)
    rules = Rules(unit, lambda n: gamma(n, unit), 8.0 * unit, algorithm)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        inside = form.eps if form.place == "inside" else 0.0
        limit = statistic_bounds.normalization(rows, inside, rules).reshape(value.shape)
        limit = limit * np.abs(picked(form.scale, None, 1.0))
        plain = form.variance == BIASED and form.place == "inside"
        shift = np.abs(picked(form.shift, None, 0.0))
        limit = limit + (2.0 if plain else 10.0) * unit * (np.abs(value) + shift) + 4.0 * unit * shift
        limit = (limit * (1.0 + unit) + 2.0**-120) * (1.0 + 2.0**-16)
    return Known(value, np.zeros_like(value), np.where(np.isnan(limit), np.inf, limit))


def _rows(form: NormForm, stats: Statistics) -> Grouped:
    """The input as rows without an affine map, for the bound."""
    x = stats.x.reshape(form.split)
    given = None
    if form.given is not None:
        order = (form.channel, *(a for a in range(x.ndim) if a != form.channel))
        rows = np.ascontiguousarray(x.transpose(order), np.float32).reshape(x.shape[form.channel], -1)
        mean, variance = centre_and_spread(form, stats)
        given = mean.reshape(-1).astype(np.float32), variance.reshape(-1).astype(np.float32)
    else:
        order = (*(a for a in range(x.ndim) if a not in form.axes), *form.axes)
        rows = np.ascontiguousarray(x.transpose(order), np.float32).reshape(-1, form.count)
    return Grouped(rows, None, None, 0, 1, order, form.split, given, form.centred)
