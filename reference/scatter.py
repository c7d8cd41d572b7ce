"""The sums of a transposed convolution, which is the gradient of a convolution with respect to its input.

Axis by axis, element i of the large side takes from element j of the small side through tap p where
j * stride + p * dilation = i + padding. So the elements of one residue modulo the stride share their taps and
are a plain convolution of stride 1: one part of the plan for each combination of residues.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from reference.conv import activation_strides
from reference.formats import Array
from reference.geometry import Geometry
from reference.operands import Single
from reference.padding import padded
from reference.scheme import Part, Plan, Scheme, View, lattice


@dataclass(frozen=True)
class Residue:
    """Of one axis: the elements first, first + stride, ..., and the taps that reach them."""

    first: int
    stride: int
    count: int
    taps: tuple[int, ...]
    shifts: tuple[int, ...]  # element number t takes from element t + shift, one shift a tap


def scatter_plan(geo: Geometry, small: Single, weight: Single, bias: Array | None = None) -> Plan:
    """The gradient of the convolution `geo` with respect to its input, given that of its output, `small`.

    Outside the small side there are no terms: the zeros that it is padded with here are marked as absent.
    """
    axes = range(len(geo.size))
    residues = [
        [_residue(geo, axis, r) for r in range(min(geo.stride[axis], geo.size[axis]))] for axis in axes
    ]
    pads = tuple(
        (
            max([0, *(-shift for at in residues[axis] for shift in at.shifts)]),
            max([0, *(shift + at.count - geo.out[axis] for at in residues[axis] for shift in at.shifts)]),
        )
        for axis in axes
    )
    filled = padded(small, pads, geo.channels_last)
    present = None
    if filled.size > small.size:
        present = padded(np.ones(small.shape, np.float32), pads, geo.channels_last).reshape(-1) > 0
    shape = geo.shape(geo.channels, geo.size)
    lead = tuple(before for before, _ in pads)
    parts = tuple(
        Part(
            _scheme(geo, filled.shape, lead, choice),
            filled.reshape(-1),
            _taken(geo, weight, choice),
            bias,
            present,
            _view(geo, choice),
        )
        for choice in product(*residues)
    )
    return Plan(shape, parts)


def _residue(geo: Geometry, axis: int, first: int) -> Residue:
    stride, dilation, before = geo.stride[axis], geo.dilation[axis], geo.padding[axis][0]
    origins = [first + before - tap * dilation for tap in range(geo.kernel[axis])]
    taps = tuple(tap for tap, origin in enumerate(origins) if origin % stride == 0)
    count = -(-(geo.size[axis] - first) // stride)
    return Residue(first, stride, count, taps, tuple(origins[tap] // stride for tap in taps))


def _scheme(
    geo: Geometry, shape: tuple[int, ...], lead: tuple[int, ...], choice: tuple[Residue, ...]
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


def _taken(geo: Geometry, weight: Single, choice: tuple[Residue, ...]) -> Single:
    """The weight at the chosen taps, as (groups, channels/group, terms)."""
    groups, each, per_group = geo.groups, geo.channels // geo.groups, geo.filters // geo.groups
    taps = prod(len(at.taps) for at in choice)
    if taps == 0:
        return np.zeros((groups, each, 0), np.float32)
    lead = 0 if geo.channels_last else 2
    for axis, at in enumerate(choice):
        weight = np.take(weight, at.taps, axis=lead + axis)
    if geo.channels_last:  # (taps, each, groups, per_group)
        split = weight.reshape(taps, each, groups, per_group).transpose(2, 1, 0, 3)
    else:
        split = weight.reshape(groups, per_group, each, taps).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(split).reshape(groups, each, taps * per_group)


def _view(geo: Geometry, choice: tuple[Residue, ...]) -> View | None:
    """A part's elements of the whole; None where they are all of it, in its own order."""
    if max(geo.stride) == 1 and (geo.channels_last or geo.batch == 1):
        return None
    steps = tuple(slice(at.first, None, at.stride) for at in choice)

    def view(whole: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return whole[:, *steps] if geo.channels_last else whole.swapaxes(0, 1)[:, :, *steps]

    return view
