"""What is planted into sums of products: parameters, moved arrays, single elements, rounded operands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from verdict_cells import OPERANDS, PERMUTED, UNKNOWN, Layer, Plant, Planted, called

Rng = np.random.Generator


def _axes(layer: Layer) -> int:
    return layer.arrays["input"].ndim - 2


def _sides(layer: Layer) -> list[int]:
    """The declared padding as an amount for each side."""
    pad = layer.params.get("padding", 0)
    return [int(pad)] * (2 * _axes(layer)) if isinstance(pad, int) else list(pad)


def padding_side(rng: Rng, layer: Layer) -> Planted | None:
    """One pixel less before and one more after every axis, as SAME with stride 2 does."""
    sides = _sides(layer)
    if min(sides) < 1:
        return None
    found = [n + (1 if i % 2 else -1) for i, n in enumerate(sides)]
    return called(layer, "padding side", {"padding": found}, params={"padding": found})


def padding_amount(rng: Rng, layer: Layer) -> Planted | None:
    found = [n + 1 for n in _sides(layer)]
    return called(layer, "padding amount", {"padding": found}, params={"padding": found})


def padding_mode(mode: str) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted | None:
        x, sides = layer.arrays.get("input", np.zeros((0, 0))), _sides(layer)
        if min(sides) < 1 or min(x.shape[2:]) <= max(sides):
            return None
        return called(layer, f"padding {mode}", {"padding mode": mode}, params={"padding_mode": mode})

    return planted


def stride(rng: Rng, layer: Layer) -> Planted | None:
    found = 3 - int(layer.params["stride"])
    return called(layer, "stride", {"stride": found}, params={"stride": found})


def dilation(rng: Rng, layer: Layer) -> Planted | None:
    """Twice the dilation, and the padding that keeps the output's size."""
    k, own = layer.arrays["weight"].shape[-1], int(layer.params["dilation"])
    if k != 3 or own != 1 or layer.op.startswith("conv_transpose"):
        return None
    if min(layer.arrays["input"].shape[2:]) < 5:
        return None
    found = [2] * (2 * _axes(layer))
    wanted = {"dilation": 2, "padding": found}
    return called(layer, "dilation", wanted, params={"dilation": 2, "padding": found})


def flip(rng: Rng, layer: Layer) -> Planted | None:
    w = layer.arrays["weight"]
    if min(w.shape[2:]) < 2:
        return None
    turned = np.ascontiguousarray(np.flip(w, tuple(range(2, w.ndim))))
    return called(layer, "kernel flip", {"kernel flip": None}, arrays={"weight": turned})


def transpose(rng: Rng, layer: Layer) -> Planted | None:
    w = layer.arrays["weight"]
    if w.ndim < 4 or w.shape[-1] < 2 or w.shape[-1] != w.shape[-2]:
        return None
    turned = np.ascontiguousarray(w.swapaxes(-1, -2))
    return called(layer, "kernel transpose", {"kernel transpose": None}, arrays={"weight": turned})


def swap_channels(rng: Rng, layer: Layer) -> Planted | None:
    w = layer.arrays["weight"]
    if w.shape[0] != w.shape[1]:
        return None
    turned = np.ascontiguousarray(w.swapaxes(0, 1))
    return called(layer, "O and I swapped", {"kernel transpose": "I,O"}, arrays={"weight": turned})


def input_moved(name: str, wanted: Mapping[str, Any], layer: Layer, x: np.ndarray) -> Planted:
    return called(layer, name, wanted, arrays={"input": np.ascontiguousarray(x)})


def channels_reversed(rng: Rng, layer: Layer) -> Planted | None:
    x = layer.arrays["input"]
    axis = x.ndim - 1 if layer.op == "linear" else 1
    wanted = {"channel order": "input reversed"}
    return input_moved("channels reversed", wanted, layer, np.flip(x, axis)) if x.shape[axis] > 1 else None


def interleaved(rng: Rng, layer: Layer) -> Planted | None:
    x = layer.arrays["input"]
    if x.shape[1] < 4 or x.shape[1] % 2:
        return None
    mixed = x.reshape(x.shape[0], 2, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
    return input_moved("interleaved", {"channel order": "input interleaved by 2"}, layer, mixed)


def channels_permuted(rng: Rng, layer: Layer) -> Planted | None:
    """The input channels in some order: data of another layer.

    Only where the output determines it: twice as many positions, or outputs at one, as there are terms, and
    no few of them that hide the others.
    """
    x, w = layer.arrays["input"], layer.arrays["weight"]
    axis = x.ndim - 1 if layer.op == "linear" else 1
    turned = layer.op.startswith("conv_transpose")
    each = int(np.prod(w.shape)) // w.shape[1 if turned else 0]
    if x.shape[axis] < 4 or layer.data in ("cancelling", "wide") or layer.params.get("groups", 1) != 1:
        return None
    if max(x.size // x.shape[axis], w.shape[1 if turned else 0]) < 2 * each:
        return None
    order = rng.permutation(x.shape[axis])
    moved = np.ascontiguousarray(np.take(x, order, axis))
    return called(layer, "channels permuted", {"channel order": None}, arrays={"input": moved}, kind=PERMUTED)


def filters_permuted(rng: Rng, layer: Layer) -> Planted | None:
    w, turned = layer.arrays["weight"], layer.op.startswith("conv_transpose")
    if layer.params.get("groups", 1) != 1:
        return None
    axis = 1 if turned else 0
    if w.shape[axis] < 4:
        return None
    order = rng.permutation(w.shape[axis])
    arrays = {"weight": np.ascontiguousarray(np.take(w, order, axis))}
    if layer.arrays.get("bias") is not None:
        arrays["bias"] = layer.arrays["bias"][order]
    return called(layer, "filters permuted", {"channel order": None}, arrays=arrays, kind=PERMUTED)


def misread(rng: Rng, layer: Layer) -> Planted | None:
    x = layer.arrays["input"]
    if x.shape[1] < 2:
        return None
    found = np.moveaxis(x.reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)
    return input_moved("layout misread", {"layout": None}, layer, found)


def shift(rng: Rng, layer: Layer) -> Planted | None:
    """The image moved by a pixel along its first axis, zeros where none is."""
    x = layer.arrays["input"]
    moved = np.zeros_like(x)
    moved[:, :, 1:] = x[:, :, :-1]
    found = [1] + [0] * (_axes(layer) - 1)
    return input_moved("shift", {"shift": found}, layer, moved)


def image_transposed(rng: Rng, layer: Layer) -> Planted | None:
    x = layer.arrays["input"]
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        return None
    return input_moved("image transposed", {"axis": [0, 1]}, layer, x.swapaxes(2, 3))


def bias(found: str) -> Plant:
    def planted(rng: Rng, layer: Layer) -> Planted | None:
        own = layer.arrays.get("bias")
        if own is None:
            return None
        other = None if found == "missing" else own * np.float32(2)
        return called(layer, f"bias {found}", {"bias": found}, arrays={"bias": other})

    return planted


def element(name: str, by: float = 1e-2) -> Plant:
    """One element of an array changed by that part of its size."""

    def planted(rng: Rng, layer: Layer) -> Planted | None:
        array = layer.arrays.get(name)
        if array is None:
            return None
        flat = np.abs(array.reshape(-1))
        place = int(rng.choice(np.flatnonzero(flat >= np.median(flat))))
        index = tuple(int(i) for i in np.unravel_index(place, array.shape))
        other = array.copy()
        other[index] *= np.float32(1 + by)
        wanted = {f"{name} element": {"index": list(index)}}
        return called(layer, f"one {name}", wanted, arrays={name: other}, kind=PERMUTED)

    return planted


def checkpoint(rng: Rng, layer: Layer) -> Planted | None:
    """Every weight a little different: another checkpoint, which nothing that is declared explains."""
    name = "weight" if "weight" in layer.arrays else "input"
    w = layer.arrays[name]
    other = (w * (1 + 0.01 * rng.standard_normal(w.shape))).astype(np.float32)
    return called(layer, "another checkpoint", {}, arrays={name: other}, kind=UNKNOWN)


def _bits(kept: int) -> Any:
    """To nearest even, in as many bits after the point."""
    return lambda a, mode: _masked(np.asarray(a, np.float32), 23 - kept, mode)


def _masked(a: np.ndarray, drop: int, mode: str) -> np.ndarray:
    bits = a.view(np.uint32)
    half, last = np.uint32(1 << (drop - 1)), (bits >> np.uint32(drop)) & np.uint32(1)
    added = {"RZ": np.uint32(0), "RNA": half, "RNE": half - np.uint32(1) + last}[mode]
    return ((bits + added) & ~np.uint32((1 << drop) - 1)).view(np.float32)


def _cast(kind: Any) -> Any:
    def rounded(a: np.ndarray, mode: str) -> np.ndarray:
        with np.errstate(over="ignore"):  # an array with infinities is no plant
            return np.asarray(a, np.float32).astype(kind).astype(np.float32)

    return rounded


FORMATS = {
    "tf32": _bits(10),
    "bfloat16": _cast(ml_dtypes.bfloat16),
    "binary16": _cast(np.float16),
    "e4m3": _cast(ml_dtypes.float8_e4m3fn),
    "e5m2": _cast(ml_dtypes.float8_e5m2),
}


def operands(kind: str, mode: str = "RNE", which: str = "both") -> Plant:
    """The factors rounded to a narrower format before the framework's call."""

    def planted(rng: Rng, layer: Layer) -> Planted | None:
        names = [name for name in layer.arrays if name in ("input", "weight", "other", "grad_output")]
        names = names if which == "both" else [which]
        rounded = {name: FORMATS[kind](layer.arrays[name], mode) for name in names if name in layer.arrays}
        if not all(np.isfinite(array).all() for array in rounded.values()):
            return None
        words = f"{' and '.join(names)}: {kind} {mode}"
        return called(layer, f"operands {kind} {mode}", {"operands": words}, arrays=rounded, kind=OPERANDS)

    return planted
