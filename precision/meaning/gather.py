"""A few outputs of a convolution, a transposed one or a linear layer, in float64: to turn a hypothesis down.

Each output gathers its own products, so that the cost is that of the outputs asked for and not of the layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.hypotheses import SUM, After, Declaration, Float64, Indices, Known, Shape
from reference.conv_transpose import transposed_geometry
from reference.formats import FORMATS, round_to
from reference.geometry import Geometry, geometry
from reference.tracked import gamma

SUMS = frozenset(("linear", *(f"{kind}{axes}d" for kind in ("conv", "conv_transpose") for axes in (1, 2, 3))))


def axes_of(op: str) -> int:
    """Spatial axes of an op of `SUMS` or of its gradient; 0 for linear."""
    return int(next((letter for letter in op if letter.isdigit()), "0"))


def geometry_of(op: str, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Geometry:
    """The checked geometry of a (transposed) convolution.  Raises ValueError for what does not fit."""
    shapes = np.shape(arrays["input"]), np.shape(arrays["weight"])
    if op.startswith("conv_transpose"):
        return transposed_geometry(axes_of(op), *shapes, **params)
    return geometry(*shapes, axes=axes_of(op), op=op, **params)


def output_shape(declared: Declaration) -> Shape:
    """The shape of the result.  Raises ValueError for what does not fit."""
    arrays = declared.arrays
    x, w = np.shape(arrays["input"]), np.shape(arrays["weight"])
    if declared.op == "linear":
        if len(w) != 2 or not x or x[-1] != w[1]:
            raise ValueError(f"linear takes input (..., K) and weight (O, K), got {x} and {w}: transpose one")
        return (*x[:-1], w[0])
    geo = geometry_of(declared.op, arrays, declared.params)
    if declared.op.startswith("conv_transpose"):
        return geo.shape(geo.channels, geo.size)
    return geo.shape(geo.filters, geo.out)


def gathered(declared: Declaration, at: tuple[Indices, ...], unit: float) -> Known:
    """The outputs at these indices."""
    with np.errstate(invalid="ignore", over="ignore"):  # operands that overflow a narrow format are infinite
        return _gathered(declared, at, unit)


def _gathered(declared: Declaration, at: tuple[Indices, ...], unit: float) -> Known:
    x, w, owner = _products(declared, at)
    value, size = (x * w).sum(axis=1), (np.abs(x) * np.abs(w)).sum(axis=1)
    count = x.shape[1]
    bias, added = declared.arrays.get("bias"), np.zeros(0)
    after = SUM in form_of_operands(declared)
    if bias is not None:
        added = _rounded(np.asarray(bias)[owner], declared, "bias")
    if bias is not None and not after:
        value, size, count = value + added, size + np.abs(added), count + 1
    limit = (gamma(count + 2, unit) + (count + 2) * 2.0**-52) * size * 1.001
    small = 2.0**-126 * count * (2.0 + _largest(x) + _largest(w)) if unit > 2.0**-30 else 0.0
    known = Known(value, np.zeros_like(value), limit + small)
    return joined(known, added, declared, unit) if after else known


def joined(known: Known, added: Float64, declared: Declaration, unit: float) -> Known:
    """A sum rounded as the declaration's form says, then the bias in its turn."""
    kind, mode = form_of_operands(declared)[SUM]
    rounding = After(SUM, lambda x: round_to(x, FORMATS[kind], mode), staircase=True)
    found = rounding.apply(known, unit)
    value = found.value + added
    with np.errstate(over="ignore", invalid="ignore"):
        exact = value.astype(np.float32) == value
        limit = found.limit + np.where(exact & (found.limit == 0.0), 0.0, unit * np.abs(value))
    return Known(value, np.zeros_like(value), limit)


def form_of_operands(declared: Declaration) -> Mapping[str, tuple[str, str]]:
    """To what each array, or the sum, is rounded first: (format, rounding) by its name."""
    return declared.form if isinstance(declared.form, dict) else {}


def left_factors(declared: Declaration, rows: Indices, positions: int, shape: Shape) -> Float64:
    """The first factors (row, term) of the outputs at some positions: (n, place) numbers in reading order."""
    last = declared.op == "linear" or str(declared.params.get("layout", "NCHW")).endswith("C")
    sizes = shape[:-1] if last else (shape[0], *shape[2:])
    at = np.unravel_index(rows, sizes) if positions else ()
    first = np.zeros(len(rows), np.int64)
    place = (*at, first) if last else (at[0], first, *at[1:])
    return _products(declared, tuple(place))[0]


def _largest(values: Float64) -> float:
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))


def _products(declared: Declaration, at: tuple[Indices, ...]) -> tuple[Float64, Float64, Indices]:
    """Left and right factors (elements, terms), and the output channel of each element."""
    x, w = np.asarray(declared.arrays["input"]), np.asarray(declared.arrays["weight"])
    if declared.op == "linear":
        owner = at[-1]
        left, right = x[at[:-1]], w[owner]
    else:
        geo = geometry_of(declared.op, declared.arrays, declared.params)
        if geo.channels_last:
            x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-1, -2), (0, 1))
            at = (at[0], at[-1], *at[1:-1])
        owner = at[1]
        gather = _transposed if declared.op.startswith("conv_transpose") else _direct
        left, right = gather(geo, x, w, at)
    count = len(owner)
    factors = (
        _rounded(part.reshape(count, -1), declared, name)
        for part, name in ((left, "input"), (right, "weight"))
    )
    first, second = factors
    return first, second, owner


def _direct(geo: Geometry, x: Any, w: Any, at: tuple[Indices, ...]) -> tuple[Any, Any]:
    per_group, each = geo.channels // geo.groups, geo.filters // geo.groups
    channels = (at[1] // each)[:, None] * per_group + np.arange(per_group)
    places, inside = [], []
    for axis, size in enumerate(geo.size):
        place = (
            at[2 + axis][:, None] * geo.stride[axis]
            + np.arange(geo.kernel[axis]) * geo.dilation[axis]
            - geo.padding[axis][0]
        )
        inside.append((place >= 0) & (place < size))
        places.append(_folded(place, size, geo.mode))
    picked = _picked(x, at[0], channels, places)
    if geo.mode == "zeros" and not all(mask.all() for mask in inside):
        picked = np.where(_outer(inside), picked, np.float32(0.0))
    return picked, w[at[1]]


def _transposed(geo: Geometry, x: Any, w: Any, at: tuple[Indices, ...]) -> tuple[Any, Any]:
    """geo is that of the convolution whose gradient this is: its outputs are the inputs here."""
    each, per_group = geo.channels // geo.groups, geo.filters // geo.groups
    channels = (at[1] // each)[:, None] * per_group + np.arange(per_group)
    places, inside = [], []
    for axis, size in enumerate(geo.out):
        reach = at[2 + axis][:, None] + geo.padding[axis][0]
        reach = reach - np.arange(geo.kernel[axis]) * geo.dilation[axis]
        place = reach // geo.stride[axis]
        inside.append((reach % geo.stride[axis] == 0) & (place >= 0) & (place < size))
        places.append(np.clip(place, 0, size - 1))
    picked = np.where(_outer(inside), _picked(x, at[0], channels, places), np.float32(0.0))
    return picked, w[channels, (at[1] % each)[:, None]]


def _folded(place: Indices, size: int, mode: str) -> Indices:
    """Indices outside of an axis, where `mode` finds them inside."""
    if mode == "circular":
        return place % size
    if mode == "reflect" and size > 1:
        place = np.abs(place) % (2 * size - 2)
        return np.minimum(place, 2 * size - 2 - place)
    return np.clip(place, 0, size - 1)


def _picked(x: Any, batch: Indices, channels: Indices, places: list[Indices]) -> Any:
    """x[n, c, ...] as (elements, channels, taps of each axis ...)."""
    axes = len(places)
    index: list[Any] = [
        batch.reshape(-1, *(1,) * (axes + 1)),
        channels.reshape(*channels.shape, *(1,) * axes),
    ]
    for axis, place in enumerate(places):
        shape = [place.shape[0], 1, *(1,) * axes]
        shape[2 + axis] = place.shape[1]
        index.append(place.reshape(shape))
    return x[tuple(index)]


def _outer(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Masks (elements, taps) of each axis as one of (elements, 1, taps ...)."""
    found = np.ones((masks[0].shape[0], 1, *(1,) * len(masks)), np.bool_)
    for axis, mask in enumerate(masks):
        shape = [mask.shape[0], 1, *(1,) * len(masks)]
        shape[2 + axis] = mask.shape[1]
        found = found & mask.reshape(shape)
    return found


def _rounded(values: Any, declared: Declaration, name: str) -> Float64:
    kind = form_of_operands(declared).get(name)
    return np.asarray(values, np.float64) if kind is None else narrowed(values, *kind)


def narrowed(values: Any, kind: str, mode: str) -> Float64:
    """Operands in a narrower format: beyond the largest number float16 has infinity, as casts give it."""
    return round_to(values, FORMATS[kind], mode, saturate=kind != "binary16")


def rounded_arrays(declared: Declaration) -> dict[str, Any]:
    """The arrays with their operands rounded as the form says."""
    arrays = dict(declared.arrays)
    for name, (kind, mode) in form_of_operands(declared).items():
        if name != SUM:
            arrays[name] = narrowed(arrays[name], kind, mode).astype(np.float32)
    return arrays


def taps(kernel: Shape) -> list[Shape]:
    """All places in a kernel."""
    return list(itertools.product(*map(range, kernel)))
