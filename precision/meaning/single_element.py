"""Data that is not the declared data: one element of an array, or channels in another order.

The error of a sum of products that one weight w[o, c, p] causes is delta x_patch(c, p) in channel o and zero
elsewhere; one input element's is delta w at the outputs that see it, one bias' is constant. delta is found by
least squares, in float64, for each element that can be the one; those that explain the most are then proved
like every hypothesis: with the truth of the changed arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.bench import Bench
from precision.meaning.channel_order import permuted_channels
from precision.meaning.elements_transposed import transposed_elements
from precision.meaning.gather import SUMS, geometry_of, taps
from precision.meaning.hypotheses import DATA, Change, Declaration, Float64
from precision.meaning.norm_form import NORMS, NormForm, centre_and_spread, inverse_root, picked, replaced
from reference.padding import padded

_TRIED = 3
_MOST_PIXELS = 400
_LEAST_CHANNELS, _GOOD_PART = 4, 0.3
"""Of channels that share no element; of the largest error that rounding alone does not leave elsewhere."""
Mask = NDArray[np.bool_]
Index = tuple[int, ...]


@dataclass(frozen=True)
class _Layer:
    """A convolution or linear layer with its channels first."""

    x: Any  # (N, C, ...), padded
    w: Any  # (O, C/groups, ...)
    error: Float64  # (N, O, ...)
    wrong: Mask
    stride: Index
    dilation: Index
    before: Index
    size: Index  # of the input without padding
    groups: int
    last: bool
    rows: Index | None = None  # leading axes of a linear layer's input

    def weight_index(self, index: Index) -> Index:
        """(o, c, ...) in the declared layout."""
        return (*index[2:], index[1], index[0]) if self.last and self.rows is None else index

    def input_index(self, index: Index) -> Index:
        """(n, c, ...) in the declared layout."""
        if self.rows is not None:
            return (*(int(i) for i in np.unravel_index(index[0], self.rows)), index[1])
        return (index[0], *index[2:], index[1]) if self.last else index


def element_changes(bench: Bench) -> Iterator[Declaration]:
    """Declarations with one element changed, or the channels of the output, that may explain the output."""
    declared = bench.declared
    error, wrong = bench.known.error(bench.output), bench.known.violated(bench.output)
    if not np.isfinite(error).all():
        return
    if declared.op in NORMS:
        yield from _norm_elements(bench, error, wrong)
    yield from _elements(declared, error, wrong)
    yield from permuted_channels(bench)


def near_elements(bench: Bench) -> Iterator[Declaration]:
    """The same where the bound would allow the error: one element explains it where it is far larger.

    A change of one weight or bias shows in one channel of several, one of the input in one place: there the
    error is a good part of its largest, which rounding errors are everywhere.
    """
    declared = bench.declared
    error = bench.known.error(bench.output)
    sizes = np.abs(error)
    if declared.op not in SUMS | NORMS or not np.isfinite(error).all() or not sizes.any():
        return
    last = declared.op in ("linear", "layer_norm", "rms_norm")
    last |= str(declared.params.get("layout", "NCHW")).endswith("C")
    if error.shape[-1 if last else 1] < _LEAST_CHANNELS:
        return
    wrong = sizes > _GOOD_PART * float(sizes.max())
    if declared.op in NORMS:
        yield from _norm_elements(bench, error, wrong)
        return
    yield from _elements(declared, error, wrong)


def _elements(declared: Declaration, error: Float64, wrong: Mask) -> Iterator[Declaration]:
    """One element of a layer that is a sum of products."""
    if declared.op.startswith("conv_transpose") and "grad" not in declared.op:
        for name, place, delta in transposed_elements(declared, error, wrong):
            yield from _values(declared, name, place, float(declared.arrays[name][place]) + delta)
    layer = _layer(declared, error, wrong)
    if layer is not None:
        yield from _sum_elements(declared, layer)


def _layer(declared: Declaration, error: Float64, wrong: Mask) -> _Layer | None:
    x, w = declared.arrays.get("input"), declared.arrays.get("weight")
    if declared.op == "linear" and x is not None:
        rows = x.reshape(-1, x.shape[-1])
        flat, mask = error.reshape(len(rows), -1), wrong.reshape(len(rows), -1)
        return _Layer(rows, w, flat, mask, (), (), (), (), 1, True, x.shape[:-1] or (1,))
    if declared.op not in ("conv1d", "conv2d", "conv3d") or x is None:
        return None
    geo = geometry_of(declared.op, declared.arrays, declared.params)
    if geo.channels_last:
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(np.asarray(w), (-1, -2), (0, 1))
        error, wrong = np.moveaxis(error, -1, 1), np.moveaxis(wrong, -1, 1)
    before = tuple(pad[0] for pad in geo.padding)
    filled = padded(np.ascontiguousarray(x), geo.padding, False, geo.mode)
    return _Layer(
        filled, w, error, wrong, geo.stride, geo.dilation, before, geo.size, geo.groups, geo.channels_last
    )


def _sum_elements(declared: Declaration, layer: _Layer) -> Iterator[Declaration]:
    others = tuple(a for a in range(layer.wrong.ndim) if a != 1)
    channels = np.flatnonzero(layer.wrong.any(axis=others))
    samples = np.flatnonzero(layer.wrong.any(axis=tuple(range(1, layer.wrong.ndim))))
    if channels.size == 1:
        channel = int(channels[0])
        bias = declared.arrays.get("bias")
        if bias is not None:
            value = float(bias[channel]) + float(np.mean(layer.error[:, channel]))
            yield from _values(declared, "bias", (channel,), value)
        for index, delta in _weights(layer, channel):
            place = layer.weight_index(index)
            yield from _values(declared, "weight", place, float(declared.arrays["weight"][place]) + delta)
    if samples.size == 1 and declared.params.get("padding_mode", "zeros") == "zeros":
        for index, delta in _inputs(layer, int(samples[0])):
            place = layer.input_index(index)
            yield from _values(declared, "input", place, float(declared.arrays["input"][place]) + delta)


def _values(declared: Declaration, name: str, index: Index, value: float) -> Iterator[Declaration]:
    """One element changed to a value: to a plain one where that is near, else to the nearest float32."""
    array = np.asarray(declared.arrays[name], np.float32)
    own = float(array[index])
    change_by = abs(value - own)
    plain = [number for number in (0.0, -own, 2.0 * own, 0.5 * own) if abs(number - value) < 0.02 * change_by]
    for number in (*plain, value):
        found = float(np.float32(number))
        if found == own or not np.isfinite(found):
            continue
        other = array.copy()
        other[index] = found
        change = Change(
            f"{name} element",
            {"index": list(index), "value": own},
            {"index": list(index), "value": found},
            f"element {list(index)} of {name} is about {found:g}, not {own:g}",
            DATA,
        )
        yield declared.with_arrays(change, **{name: other})


def _weights(layer: _Layer, channel: int) -> list[tuple[Index, float]]:
    """The weights of a channel whose change explains most of its error, with that change."""
    each = layer.w.shape[0] // layer.groups
    per_group, out = layer.w.shape[1], layer.error.shape[2:]
    first = channel // each * per_group
    part = layer.x[:, first : first + per_group]
    error = layer.error[:, channel]
    gains: list[tuple[float, Index, float]] = []
    for tap in taps(layer.w.shape[2:]):
        steps = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, layer.dilation, out, layer.stride, strict=True)
        )
        seen = part[(slice(None), slice(None), *steps)].astype(np.float64)
        seen = np.moveaxis(seen, 1, 0).reshape(per_group, -1)
        gains += _gains(
            seen @ error.reshape(-1), (seen * seen).sum(axis=1), lambda c, t=tap: (channel, c, *t)
        )
    return _best(gains)


def _inputs(layer: _Layer, sample: int) -> list[tuple[Index, float]]:
    """The elements of a sample whose change explains most of its error, with that change."""
    wrong, error = layer.wrong[sample], layer.error[sample]
    places = np.argwhere(wrong)
    each, per_group = layer.w.shape[0] // layer.groups, layer.w.shape[1]
    owners = np.unique(places[:, 0] // each)
    if owners.size != 1:
        return []
    group = int(owners[0])
    w = layer.w[group * each : (group + 1) * each].astype(np.float64)
    ranges = []
    for axis, size in enumerate(layer.size):
        start = places[:, 1 + axis] * layer.stride[axis] - layer.before[axis]
        reach = (layer.w.shape[2 + axis] - 1) * layer.dilation[axis]
        ranges.append(range(max(0, int(start.max())), min(size - 1, int(start.min()) + reach) + 1))
    if np.prod([len(r) for r in ranges], initial=1) > _MOST_PIXELS:
        return []
    gains: list[tuple[float, Index, float]] = []
    for pixel in itertools.product(*ranges):
        shared, power = np.zeros(per_group), np.zeros(per_group)
        for tap in taps(layer.w.shape[2:]):
            moved = [
                p + b - t * d for p, b, t, d in zip(pixel, layer.before, tap, layer.dilation, strict=True)
            ]
            at = [m // s for m, s in zip(moved, layer.stride, strict=True)]
            if any(m % s for m, s in zip(moved, layer.stride, strict=True)):
                continue
            if any(not 0 <= a < n for a, n in zip(at, error.shape[1:], strict=True)):
                continue
            seen = error[(slice(group * each, (group + 1) * each), *at)]
            factor = w[(slice(None), slice(None), *tap)]
            shared += seen @ factor
            power += (factor * factor).sum(axis=0)
        gains += _gains(shared, power, lambda c, p=pixel: (sample, group * per_group + c, *p))
    return _best(gains)


def _gains(shared: Float64, power: Float64, index: Any) -> list[tuple[float, Index, float]]:
    """(energy explained, index, change) of the best few of many elements."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(power > 0, shared**2 / power, 0.0)
    chosen = np.argsort(-gain, kind="stable")[:_TRIED]
    return [
        (float(gain[c]), index(int(c)), float(shared[c] / power[c])) for c in chosen.tolist() if power[c] > 0
    ]


def _best(gains: list[tuple[float, Index, float]]) -> list[tuple[Index, float]]:
    gains.sort(key=lambda item: -item[0])
    return [(index, delta) for _, index, delta in gains[:_TRIED]]


def _norm_elements(bench: Bench, error: Float64, wrong: Mask) -> Iterator[Declaration]:
    """One entry of the affine map, or of the running statistics."""
    form: NormForm = bench.declared.form
    if bench.stats is None:
        return
    mean, variance = centre_and_spread(form, bench.stats)
    root = inverse_root(form, variance)
    for part, name in (
        ("shift", "bias"),
        ("scale", "weight"),
        ("given", "running_mean"),
        ("given", "running_var"),
    ):
        held = getattr(form, part)
        if held is None:
            continue
        array = held if part != "given" else held[0 if name == "running_mean" else 1]
        along = tuple(a for a in range(error.ndim) if array.shape[a] == 1)
        entries = np.argwhere(wrong.any(axis=along, keepdims=True))
        if len(entries) != 1:
            continue
        entry = tuple(int(i) for i in entries[0])
        here = tuple(
            slice(None) if n == 1 else slice(i, i + 1) for i, n in zip(entry, array.shape, strict=True)
        )
        x = np.asarray(bench.stats.x[here], np.float64)
        local = (np.broadcast_to(a, error.shape)[here] for a in (mean, root))
        m, r = local
        w = np.broadcast_to(picked(form.scale, None, 1.0), error.shape)[here]
        pattern = {"bias": np.ones_like(x), "weight": (x - m) * r, "running_mean": -r * w}.get(
            name, (x - m) * r * w
        )
        power = float(np.sum(pattern**2))
        if power == 0.0:
            continue
        delta, own = float(np.sum(pattern * error[here])) / power, float(array[entry])
        value = own + delta
        if name == "running_var":
            if delta <= -1.0:
                continue
            value = (own + form.eps) / (1.0 + delta) ** 2 - form.eps
        other = array.copy()
        other[entry] = float(np.float32(value))
        index = [i for i, n in zip(entry, array.shape, strict=True) if n > 1]
        change = Change(
            f"{name} element",
            {"index": index, "value": own},
            {"index": index, "value": float(other[entry])},
            f"element {index} of {name} is about {float(other[entry]):g}, not {own:g}",
            DATA,
        )
        if part == "given":
            given = (other, held[1]) if name == "running_mean" else (held[0], other)
            yield bench.declared.changed(change, form=replaced(form, given=given))
        else:
            yield bench.declared.changed(change, form=replaced(form, **{part: other}))
