"""Other gradients that the declared one may have been: of convolutions and of normalizations.

A convolution's gradient is declared with the geometry of the layer it belongs to, so the changes are those of
that layer. A normalization's gradient is computed here once in float64, for every eps that is tried,

    input   dx = a r - b r**3    a = g - mean(g),  b = d mean(g d)    g = dy w, d = x - m, r = 1/sqrt(v + eps)
            dx = g r             without training
    weight  dw = sum dy d r

to turn down what leaves as much as the declaration; what is proved is proved with the certified truth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from precision.meaning.hypotheses import Change, Declaration, Float64, Memory, nice_numbers
from precision.meaning.norm_form import Statistics, centre_and_spread, form_of, picked
from precision.meaning.norms import NAMED_EPS
from precision.meaning.sums import gradient_changes_of_layer
from reference import OPS
from reference.geometry import geometry
from reference.matmul import shape_of

_LARGE = 1 << 21
_NEARER = 0.5
"""What is left of the declaration's residual by a value that is worth the certified truth."""
_GOLDEN = 0.6180339887498949


def norm_of(op: str) -> str:
    """The normalization whose gradient with respect to its input or weight an op is; empty for others."""
    name, _, end = op.removesuffix("_grad").rpartition("_")
    known = op.endswith("_grad") and end in ("input", "weight") and name.endswith("_norm")
    return name if known and name in OPS and OPS[name].rows is not None else ""


def gradient_changes(declared: Declaration, output: Float64, memory: Memory) -> Iterator[Declaration]:
    """Every single change of a gradient."""
    if norm_of(declared.op):
        yield from _norm_changes(declared, output)
    elif declared.op.startswith(("conv1d_", "conv2d_", "conv3d_")):
        yield from _layer_changes(declared, memory)


def _layer_changes(declared: Declaration, memory: Memory) -> Iterator[Declaration]:
    axes, params = int(declared.op[4]), dict(declared.params)
    gradient = np.shape(declared.arrays["grad_output"])
    x, w = params.pop("input_size", None), params.pop("weight_size", None)
    if x is None and w is None:
        return
    x = np.shape(declared.arrays["input"]) if x is None else shape_of(x, "input_size")
    w = np.shape(declared.arrays["weight"]) if w is None else shape_of(w, "weight_size")
    geo = geometry(x, w, axes=axes, op=declared.op, **params)
    yield from gradient_changes_of_layer(declared, geo, gradient, memory)


def _norm_changes(declared: Declaration, output: Float64) -> Iterator[Declaration]:
    arrays, params, op = declared.arrays, declared.params, declared.op
    if arrays.get("weight") is not None:
        rest = {name: array for name, array in arrays.items() if name != "weight"}
        change = Change("affine", "weight", "weight missing", "the weight is not applied")
        yield declared.changed(change, arrays=rest)
    if op.startswith("batch_norm"):
        own = bool(params.get("training", False))
        if own is False or all(arrays.get(name) is not None for name in ("running_mean", "running_var")):
            words = "the running statistics are used" if own else "the batch's own statistics are used"
            change = Change("training", own, not own, words)
            yield declared.with_params(change, training=not own)
    if op.startswith("group_norm"):
        channels = np.shape(arrays["input"])[-1 if str(params.get("layout", "NCHW")).endswith("C") else 1]
        for groups in range(1, channels + 1):
            if channels % groups == 0 and groups != params["num_groups"]:
                change = Change("groups", params["num_groups"], groups, f"{groups} groups of channels")
                yield declared.with_params(change, num_groups=groups)
    if np.size(arrays["input"]) <= _LARGE:
        yield from _eps_changes(declared, output)


def _eps_changes(declared: Declaration, output: Float64) -> Iterator[Declaration]:
    """The values of eps that libraries use, and the one that the output fits best, if they fit better."""
    own = float(declared.params.get("eps", OPS[declared.op].eps or OPS[norm_of(declared.op)].eps))
    function = InEps(declared)
    if not np.isfinite(output).all() or function.of(own).shape != output.shape:
        return
    left = function.residual(own, output)
    for eps in NAMED_EPS:
        if eps != own and function.residual(eps, output) <= _NEARER * left:
            yield _with_eps(declared, own, eps, False)
    value = function.best(output)
    if function.residual(value, output) > _NEARER * left:
        return
    for number in nice_numbers(value, 0.05 * value):
        if number != own and number not in NAMED_EPS and function.residual(number, output) <= _NEARER * left:
            yield _with_eps(declared, own, number, True)


def _with_eps(declared: Declaration, own: float, eps: float, solved: bool) -> Declaration:
    change = Change("eps", own, eps, f"eps {eps:g} in place of {own:g}", solved=solved)
    return declared.with_params(change, eps=eps)


class InEps:
    """The gradient of a normalization as a function of eps, in float64."""

    def __init__(self, declared: Declaration) -> None:
        name, arrays = norm_of(declared.op), declared.arrays
        others = {key: value for key, value in arrays.items() if key != "grad_output"}
        form = form_of(name, others, declared.params)
        stats = Statistics(arrays["input"])
        mean, self._variance = centre_and_spread(form, stats)
        dy = np.asarray(arrays["grad_output"], np.float64)
        d = np.asarray(arrays["input"], np.float64) - mean
        self._weight: tuple[int, ...] | None = None
        self._third: Float64 | None = None
        if declared.op.endswith("_weight_grad"):
            own = tuple(range(d.ndim)) if name in ("layer_norm", "rms_norm") else (form.channel,)
            entries = form.axes if name in ("layer_norm", "rms_norm") else own
            self._weight = tuple(a for a in range(d.ndim) if a not in entries)
            self._first = dy * d
            return
        g = dy * picked(form.scale, None, 1.0)
        self._first = g
        if form.given is None:
            axes, split = form.axes, form.split

            def average(values: Float64) -> Float64:
                rows = values.reshape(split).mean(axis=axes, keepdims=True)
                return np.broadcast_to(rows, split).reshape(values.shape)

            self._first = g - average(g) if form.centred else g
            self._third = d * average(g * d)

    def of(self, eps: float) -> Float64:
        """The gradient."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            r = 1.0 / np.sqrt(self._variance + eps)
            found = self._first * r
            if self._third is not None:
                found = found - self._third * r**3
        return found if self._weight is None else np.asarray(found.sum(axis=self._weight))

    def residual(self, eps: float, output: Float64) -> float:
        """Root of the sum of squares of what it leaves; infinite where it is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            left = float(np.sqrt(np.sum((output - self.of(eps)) ** 2)))
        return left if np.isfinite(left) else np.inf

    def best(self, output: Float64) -> float:
        """The eps between 1e-13 and 10 that leaves the least: the best of a grid, then golden sections."""
        grid = np.arange(-13.0, 1.01, 0.5)
        place = int(np.argmin([self.residual(10.0**at, output) for at in grid]))
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        for _ in range(24):
            one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            if self.residual(10.0**one, output) <= self.residual(10.0**two, output):
                high = two
            else:
                low = one
        return float(10.0 ** (0.5 * (low + high)))
