"""The one element of a transposed convolution's arrays whose change explains an error: see `single_element`.

Input element j meets output i through tap p where j * stride + p * dilation = i + padding, so the error of a
weight w[c, o, p] is delta x[c, j] at the outputs of channel o that p reaches, and that of an input element is
delta w[c, o, p] at the outputs that its taps reach. Both come, for every element at once, from one product of
matrices for each tap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.gather import geometry_of, taps
from precision.meaning.hypotheses import Declaration, Float64
from reference.geometry import Geometry

Index = tuple[int, ...]
Candidate = tuple[float, str, Index, float]
"""Energy explained, array, index in the declared layout, change."""
_TRIED = 3


def transposed_elements(
    declared: Declaration, error: Float64, wrong: NDArray[np.bool_]
) -> Iterator[tuple[str, Index, float]]:
    """(array, index, change) of the elements that explain the most, where channels and samples allow one."""
    geo = geometry_of(declared.op, declared.arrays, declared.params)
    x, w = np.asarray(declared.arrays["input"]), np.asarray(declared.arrays["weight"])
    if geo.channels_last:
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-1, -2), (0, 1))
        error, wrong = np.moveaxis(error, -1, 1), np.moveaxis(wrong, -1, 1)
    channels = np.flatnonzero(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != 1)))
    samples = np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))
    found: list[Candidate] = []
    if channels.size == 1:
        channel = int(channels[0])
        if declared.arrays.get("bias") is not None:
            yield "bias", (channel,), float(np.mean(error[:, channel]))
        found = _weights(geo, x, error[:, channel], channel)
    elif samples.size == 1:
        found = _inputs(geo, w, error[samples[0]], int(samples[0]))
    found.sort(key=lambda item: -item[0])
    for _, name, index, delta in found[:_TRIED]:
        if not geo.channels_last:
            yield name, index, delta
        elif name == "weight":
            yield name, (*index[2:], index[1], index[0]), delta
        else:
            yield name, (index[0], *index[2:], index[1]), delta


def _reach(geo: Geometry, tap: Index) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """The input elements whose outputs through a tap exist, and those outputs; None without any."""
    of: list[slice] = []
    to: list[slice] = []
    for axis, (t, count, size) in enumerate(zip(tap, geo.out, geo.size, strict=True)):
        shift = t * geo.dilation[axis] - geo.padding[axis][0]
        s = geo.stride[axis]
        first = max(0, -(shift // s))  # the least j with j * s + shift >= 0
        last = min(count - 1, (size - 1 - shift) // s)
        if last < first:
            return None
        of.append(slice(first, last + 1))
        to.append(slice(first * s + shift, last * s + shift + 1, s))
    return tuple(of), tuple(to)


def _weights(geo: Geometry, x: Any, error: Float64, channel: int) -> list[Candidate]:
    each, per_group = geo.channels // geo.groups, geo.filters // geo.groups
    group = channel // each
    part = x[:, group * per_group : (group + 1) * per_group].astype(np.float64)
    found: list[Candidate] = []
    for tap in taps(geo.kernel):
        reach = _reach(geo, tap)
        if reach is None:
            continue
        of, to = reach
        seen = np.moveaxis(part[(slice(None), slice(None), *of)], 1, 0).reshape(per_group, -1)
        shared = seen @ error[(slice(None), *to)].reshape(-1)
        power = (seen * seen).sum(axis=1)
        for c, gain, delta in _largest(shared, power):
            found.append((gain, "weight", (group * per_group + c, channel % each, *tap), delta))
    return found


def _inputs(geo: Geometry, w: Any, error: Float64, sample: int) -> list[Candidate]:
    each, per_group = geo.channels // geo.groups, geo.filters // geo.groups
    found: list[Candidate] = []
    for group in range(geo.groups):
        ours = error[group * each : (group + 1) * each]
        factors = w[group * per_group : (group + 1) * per_group].astype(np.float64)
        shared = np.zeros((per_group, *geo.out))
        power = np.zeros((per_group, *geo.out))
        for tap in taps(geo.kernel):
            reach = _reach(geo, tap)
            if reach is None:
                continue
            of, to = reach
            factor = factors[(slice(None), slice(None), *tap)]
            shared[(slice(None), *of)] += np.tensordot(factor, ours[(slice(None), *to)], 1)
            square = (factor * factor).sum(axis=1)
            power[(slice(None), *of)] += square.reshape(-1, *(1,) * len(geo.out))
        for place, gain, delta in _largest(shared.reshape(-1), power.reshape(-1)):
            c, *at = (int(i) for i in np.unravel_index(place, shared.shape))
            found.append((gain, "input", (sample, group * per_group + c, *at), delta))
    return found


def _largest(shared: Float64, power: Float64) -> Iterator[tuple[int, float, float]]:
    """(place, energy explained, change) of the best few."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gain = np.where(power > 0, shared**2 / power, 0.0)
        gain = np.where(np.isfinite(gain), gain, 0.0)
    for place in np.argsort(-gain, kind="stable")[:_TRIED].tolist():
        if power[place] > 0:
            yield place, float(gain[place]), float(shared[place] / power[place])
