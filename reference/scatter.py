"""The sums of a transposed convolution, which is the gradient of a convolution with respect to its input.

Axis by axis, element q of the padded large side takes from element j of the small side through tap p where
j * stride + p * dilation = q. An element i of the large side is copied to q = i + padding, and by a padding
mode to some more; it takes from all of them, in one sum. So the elements of one residue modulo the stride
whose copies lie alike share their taps and are a plain convolution of stride 1: one part of the plan for
each combination of such stretches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from reference.conv import activation_strides
from reference.formats import Array
from reference.geometry import Geometry
from reference.operands import Single
from reference.padding import copies, padded
from reference.scheme import Part, Plan, Scheme, View, lattice


@dataclass(frozen=True)
class Stretch:
    """Of one axis: the elements first, first + stride, ..., and the taps that reach them or their copies."""

    first: int
    stride: int
    count: int
    taps: tuple[int, ...]
    shifts: tuple[int, ...]  # element number t takes from element t + shift, one shift a tap


def scatter_plan(geo: Geometry, small: Single, weight: Single, bias: Array | None = None) -> Plan:
    """The gradient of the convolution `geo` with respect to its input, given that of its output, `small`.

    Outside the small side there are no terms: the zeros that it is padded with here are marked as absent.
    """
    stretches = [_stretches(geo, axis) for axis in range(len(geo.size))]
    pads = tuple(
        (
            max([0, *(-shift for at in found for shift in at.shifts)]),
            max([0, *(shift + at.count - out for at in found for shift in at.shifts)]),
        )
        for found, out in zip(stretches, geo.out, strict=True)
    )
    filled = padded(small, pads, geo.channels_last)
    present = None
    if filled.size > small.size:
        present = padded(np.ones(small.shape, np.float32), pads, geo.channels_last).reshape(-1) > 0
    shape = geo.shape(geo.channels, geo.size)
    lead = tuple(before for before, _ in pads)
    choices = list(product(*stretches))
    whole = len(choices) == 1 and (geo.channels_last or geo.batch == 1)
    taken = cache(partial(_taken, geo, weight))  # many parts use the same taps
    parts = tuple(
        Part(
            _scheme(geo, filled.shape, lead, choice),
            filled.reshape(-1),
            taken(tuple(at.taps for at in choice)),
            bias,
            present,
            None if whole else _view(geo, choice),
        )
        for choice in choices
    )
    return Plan(shape, parts)


def _stretches(geo: Geometry, axis: int) -> list[Stretch]:
    """All elements of an axis, each once."""
    stride, dilation, out = geo.stride[axis], geo.dilation[axis], geo.out[axis]
    found = []
    for begin, end, shifts in copies(geo.size[axis], geo.padding[axis], geo.mode):
        for first in range(begin, min(begin + stride, end)):
            count = -(-(end - first) // stride)
            origins = [
                (tap, first + shift - tap * dilation) for shift in shifts for tap in range(geo.kernel[axis])
            ]
            used = [
                (tap, origin // stride)
                for tap, origin in origins
                if origin % stride == 0 and (len(shifts) == 1 or -count < origin // stride < out)
            ]
            found.append(Stretch(first, stride, count, tuple(t for t, _ in used), tuple(j for _, j in used)))
    return found


def _scheme(
    geo: Geometry, shape: tuple[int, ...], lead: tuple[int, ...], choice: tuple[Stretch, ...]
) -> Scheme:
    """The addresses of a part in the padded small side, `lead` elements of padding before each axis."""
    outer, channel, inner = activation_strides(shape, geo.channels_last)
    counts = [at.count for at in choice]
    taps = np.zeros(1, np.int64)
    for at, before, stride in zip(choice, lead, inner, strict=True):
        steps = (np.array(at.shifts, np.int64) + before) * stride
        taps = (taps[:, None] + steps).reshape(-1)
    per_group = geo.filters // geo.groups
    channels = lattice((per_group,), (channel,))
    grid = taps[:, None] + channels if geo.channels_last else channels[:, None] + taps
    return Scheme(
        starts=lattice((geo.batch, *counts[:-1]), (outer, *inner[:-1])),
        run=counts[-1],
        step=inner[-1],
        offsets=np.ascontiguousarray(grid).reshape(-1),
        groups=lattice((geo.groups,), (per_group * channel,)),
        last=geo.channels_last,
    )


def _taken(geo: Geometry, weight: Single, chosen: tuple[tuple[int, ...], ...]) -> Single:
    """The weight at the chosen taps of each axis, as (groups, channels/group, terms)."""
    groups, each, per_group = geo.groups, geo.channels // geo.groups, geo.filters // geo.groups
    taps = prod(map(len, chosen))
    if taps == 0:
        return np.zeros((groups, each, 0), np.float32)
    lead = 0 if geo.channels_last else 2
    for axis, at in enumerate(chosen):
        weight = np.take(weight, at, axis=lead + axis)
    if geo.channels_last:  # (taps, each, groups, per_group)
        split = weight.reshape(taps, each, groups, per_group).transpose(2, 1, 0, 3)
    else:
        split = weight.reshape(groups, per_group, each, taps).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(split).reshape(groups, each, taps * per_group)


def _view(geo: Geometry, choice: tuple[Stretch, ...]) -> View:
    """A part's elements of the whole, in the order of its sums."""
    steps = tuple(slice(at.first, at.first + (at.count - 1) * at.stride + 1, at.stride) for at in choice)

    def view(whole: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return whole[:, *steps] if geo.channels_last else whole.swapaxes(0, 1)[:, :, *steps]

    return view
