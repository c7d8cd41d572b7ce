"""Other convolutions, transposed convolutions and linear layers that the declared one may have been."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from precision.meaning.gather import SUMS, axes_of, geometry_of
from precision.meaning.hypotheses import Change, Declaration, Memory, Shape
from reference.geometry import Geometry, extents
from reference.padding import MODES, pad_amounts

RULES = ("same", "same_lower", "valid")
_SPATIAL = ("height", "width")


def sum_changes(declared: Declaration, shape: Shape, memory: Memory) -> Iterator[Declaration]:
    """Every single change of a sum of products that could give an output of that shape."""
    if declared.op not in SUMS:
        return
    yield from _biases(declared, memory)
    if declared.op == "linear":
        yield from _linear(declared, memory)
        return
    last = _channels_last(declared)
    yield from _kernels(declared, last, memory)
    yield from _channels(declared, last, memory)
    yield from _layouts(declared, last, memory)
    yield from _steps(declared)
    try:
        geo = geometry_of(declared.op, declared.arrays, declared.params)
    except ValueError:  # a change of strides or dilations that the declared padding does not carry
        return
    yield from _paddings(declared, geo, shape)
    if not declared.op.startswith("conv_transpose"):
        yield from _modes(declared, geo)


def gradient_changes_of_layer(
    declared: Declaration, geo: Geometry, gradient: Shape, memory: Memory
) -> Iterator[Declaration]:
    """Single changes of a convolution whose output has the shape of `gradient`, for its gradients."""
    if declared.arrays.get("weight") is not None:
        yield from _kernels(declared, _channels_last(declared), memory)
    yield from _paddings(declared, geo, gradient)
    yield from _modes(declared, geo)


def _channels_last(declared: Declaration) -> bool:
    return str(declared.params.get("layout", "NCHW")).endswith("C")


def _biases(declared: Declaration, memory: Memory) -> Iterator[Declaration]:
    bias = declared.arrays.get("bias")
    if bias is None:
        return
    without = {name: array for name, array in declared.arrays.items() if name != "bias"}
    yield declared.changed(Change("bias", "added", "missing", "the bias is not added"), arrays=without)
    change = Change("bias", "added", "doubled", "the bias is added twice")
    yield declared.with_arrays(change, bias=memory.array(bias, "doubled", lambda b: b * np.float32(2)))


def _linear(declared: Declaration, memory: Memory) -> Iterator[Declaration]:
    x, w = declared.arrays["input"], declared.arrays["weight"]
    if w.shape[0] == w.shape[1]:
        change = Change("kernel transpose", "O,I", "I,O", "the weight is transposed")
        yield declared.with_arrays(change, weight=memory.array(w, "transposed", np.transpose))
    count = w.shape[1]
    change = Change("channel order", "as declared", "input reversed", "the input features are reversed")
    yield declared.with_arrays(change, input=memory.array(x, "reversed", lambda a: a[..., ::-1]))
    for parts in range(2, count // 2 + 1):
        if count % parts == 0:
            rest = count // parts
            found = f"({rest}, {parts})"
            change = Change(
                "flatten order", f"({parts}, {rest})", found, f"features flattened as {found}, channels last"
            )
            yield declared.with_arrays(
                change, input=memory.array(x, f"flatten {found}", _reflatten(parts, rest))
            )


def _reflatten(parts: int, rest: int) -> Callable[[Any], Any]:
    return lambda a: a.reshape(*a.shape[:-1], parts, rest).swapaxes(-1, -2).reshape(a.shape)


def _kernels(declared: Declaration, last: bool, memory: Memory) -> Iterator[Declaration]:
    """Flips and transposes of the kernel."""
    w, axes = declared.arrays["weight"], axes_of(declared.op)
    first = 0 if last else 2
    sizes = w.shape[first : first + axes]
    movable = [axis for axis in range(axes) if sizes[axis] > 1]
    for count in range(len(movable), 0, -1):
        for chosen in itertools.combinations(movable, count):
            flip = tuple(first + axis for axis in chosen)
            found = list(chosen) if count < axes else "all axes"
            change = Change(
                "kernel flip", "none", found, f"the kernel is flipped along {found}: a convolution"
            )
            yield declared.with_arrays(change, weight=memory.array(w, f"flip {flip}", _flip(flip)))
    for one, other in itertools.combinations(range(axes), 2):
        if sizes[one] > 1 or sizes[other] > 1:
            change = Change(
                "kernel transpose",
                "as declared",
                [one, other],
                f"axes {one} and {other} of the kernel swapped",
            )
            swap = first + one, first + other
            yield declared.with_arrays(change, weight=memory.array(w, f"swap {swap}", _swap(*swap)))
    outer, inner = (-1, -2) if last else (0, 1)
    if w.shape[outer] == w.shape[inner] > 1:
        change = Change(
            "kernel transpose", "O,I", "I,O", "input and output channels of the kernel are swapped"
        )
        yield declared.with_arrays(change, weight=memory.array(w, "swap channels", _swap(outer, inner)))


def _flip(axes: tuple[int, ...]) -> Callable[[Any], Any]:
    return lambda a: np.flip(a, axes)


def _swap(one: int, other: int) -> Callable[[Any], Any]:
    return lambda a: np.swapaxes(a, one, other)


def _channels(declared: Declaration, last: bool, memory: Memory) -> Iterator[Declaration]:
    """The order of the input channels."""
    x = declared.arrays["input"]
    axis = x.ndim - 1 if last else 1
    count = x.shape[axis]
    if count > 1:
        words = "RGB is read as BGR" if count == 3 else "the input channels are reversed"
        change = Change("channel order", "as declared", "input reversed", words)
        yield declared.with_arrays(change, input=memory.array(x, "reversed channels", _flip((axis,))))
    for groups in factors(count):
        change = Change(
            "channel order",
            "as declared",
            f"input interleaved by {groups}",
            f"input channels interleaved: c in group c % {groups} in place of c // {count // groups}",
        )
        made = memory.array(x, f"interleave {groups}", _interleave(axis, groups))
        yield declared.with_arrays(change, input=made)


def factors(count: int) -> list[int]:
    """Divisors of a number of channels by which they may be interleaved."""
    return [n for n in range(2, count) if count % n == 0][:12]


def _interleave(axis: int, groups: int) -> Callable[[Any], Any]:
    def change(a: Any) -> Any:
        moved = np.moveaxis(a, axis, 0)
        mixed = moved.reshape(groups, -1, *moved.shape[1:]).swapaxes(0, 1).reshape(moved.shape)
        return np.moveaxis(mixed, 0, axis)

    return change


def _layouts(declared: Declaration, last: bool, memory: Memory) -> Iterator[Declaration]:
    """Buffers read in another layout, transposed images, images shifted by a pixel."""
    x, axes = declared.arrays["input"], axes_of(declared.op)
    own, other = ("channels last", "channels first") if last else ("channels first", "channels last")
    change = Change("layout", own, f"input {other}", f"the buffer of the input was read as {other}")
    yield declared.with_arrays(change, input=memory.array(x, "misread", misread(last)))
    words = f"the input was written {other}, and its buffer read as {own}"
    change = Change("layout", own, f"input written {other}", words)
    yield declared.with_arrays(change, input=memory.array(x, "rewritten", rewritten(last)))
    first = 1 if last else 2
    for one, end in itertools.combinations(range(axes), 2):
        if x.shape[first + one] == x.shape[first + end] > 1:
            change = Change(
                "axis", "as declared", [one, end], f"axes {one} and {end} of the input are swapped"
            )
            swap = first + one, first + end
            yield declared.with_arrays(change, input=memory.array(x, f"swap {swap}", _swap(*swap)))
    for steps in itertools.product((-1, 0, 1), repeat=axes):
        if any(steps) and all(n > abs(s) for n, s in zip(x.shape[first:], steps, strict=False)):
            change = Change(
                "shift",
                [0] * axes,
                list(steps),
                f"the input is shifted by {list(steps)}, zeros at the border",
            )
            yield declared.with_arrays(change, input=memory.array(x, f"shift {steps}", shifted(first, steps)))


def misread(last: bool) -> Callable[[Any], Any]:
    """An array whose buffer is read in the other layout."""

    def change(a: Any) -> Any:
        if last:  # the buffer is (N, C, ...), the array says (N, ..., C)
            return np.moveaxis(a.reshape(a.shape[0], a.shape[-1], *a.shape[1:-1]), 1, -1)
        return np.moveaxis(a.reshape(a.shape[0], *a.shape[2:], a.shape[1]), -1, 1)

    return change


def rewritten(last: bool) -> Callable[[Any], Any]:
    """An array that was written in the other layout, its buffer then read in its own: undoes `misread`."""

    def change(a: Any) -> Any:
        return np.moveaxis(a, *((-1, 1) if last else (1, -1))).reshape(a.shape)

    return change


def shifted(first: int, steps: tuple[int, ...]) -> Callable[[Any], Any]:
    """a[i - step] with zeros where there is none, over the axes from `first` on."""

    def change(a: Any) -> Any:
        out = np.zeros_like(a)
        to, of = [slice(None)] * a.ndim, [slice(None)] * a.ndim
        for axis, move in enumerate(steps):
            to[first + axis] = slice(max(move, 0), a.shape[first + axis] + min(move, 0))
            of[first + axis] = slice(max(-move, 0), a.shape[first + axis] - max(move, 0))
        out[tuple(to)] = a[tuple(of)]
        return out

    return change


def _steps(declared: Declaration) -> Iterator[Declaration]:
    """Strides and dilations."""
    axes = axes_of(declared.op)
    for name in ("stride", "dilation"):
        own = declared.params.get(name, 1)
        values = [int(n) for n in ([own] * axes if isinstance(own, int | np.integer) else own)]
        found = [[n] * axes for n in (1, 2, 3, 4)]
        if len(set(values)) > 1:
            found.append(values[::-1])
        for item in found:
            if item != values:
                shown = item[0] if len(set(item)) == 1 else item
                change = Change(name, own, shown, f"{name} {shown} in place of {own}")
                yield declared.with_params(change, **{name: item})


def _paddings(declared: Declaration, geo: Geometry, shape: Shape) -> Iterator[Declaration]:
    """Amounts before each axis that fit the output's shape; those after it as declared where they can be."""
    transposed = declared.op.startswith("conv_transpose")
    sizes = shape[1:-1] if geo.channels_last else shape[2:]
    spans = extents(geo.kernel, geo.dilation)
    if len(shape) != len(geo.size) + 2:
        return
    rules = [] if transposed else [pad_amounts(rule, geo.size, spans, geo.stride) for rule in RULES]
    choices = []
    for axis, (span, out) in enumerate(zip(spans, sizes, strict=True)):
        stride, (before, after) = geo.stride[axis], geo.padding[axis]
        pairs: list[tuple[int, int]] = []
        for first in range(max(span, before) + 1):
            if transposed:
                total = (geo.out[axis] - 1) * stride + span - out  # cropped, or padded below zero
                low, high = total - first, total - first
            else:
                low = (out - 1) * stride + span - geo.size[axis] - first
                high = low + stride - 1
            if high >= 0 or transposed:
                ends = [after] if first == before else []
                ends += [ruled[axis][1] for ruled in rules if ruled[axis][0] == first]
                ends += [before + after - first, after]  # as much as declared in all, or on this side
                fitting = [end for end in ends if max(low, 0) <= end <= high]
                pairs.append((first, fitting[0] if fitting else min(max(after, low, 0), high)))
        choices.append(pairs)
    own = declared.params.get("padding", 0)
    for pads in itertools.product(*choices):
        if pads == geo.padding:
            continue
        extra = [max(0, -after) for _, after in pads]
        amounts = [max(0, number) for pair in pads for number in pair]
        words = f"padding {amounts}{_rule(geo, pads, sizes, transposed)}"
        more = {"output_padding": extra, "output_shape": None} if transposed else {}
        yield declared.with_params(Change("padding", own, amounts, words), padding=amounts, **more)


def _rule(geo: Geometry, pads: tuple[tuple[int, int], ...], sizes: Shape, transposed: bool) -> str:
    """A remark on amounts that follow a rule."""
    if transposed:
        return ""
    spans = extents(geo.kernel, geo.dilation)
    for rule in RULES:
        amounts = pad_amounts(rule, geo.size, spans, geo.stride)
        same = tuple(-(-n // s) for n, s in zip(geo.size, geo.stride, strict=True))
        fits = rule == "valid" or same == tuple(sizes)
        if fits and all(a[0] == b[0] for a, b in zip(amounts, pads, strict=True)):
            return f", as {rule!r} gives"
    return ""


def _modes(declared: Declaration, geo: Geometry) -> Iterator[Declaration]:
    if not prod(1 + sum(pair) for pair in geo.padding) > 1:
        return
    for mode in MODES:
        if mode != geo.mode:
            change = Change(
                "padding mode", geo.mode, mode, f"the padding holds {mode} in place of {geo.mode}"
            )
            yield declared.with_params(change, padding_mode=mode)
