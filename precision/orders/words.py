"""Names for the terms of a sum and for groups of outputs."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from precision.orders.sum_kernel import SumKernel, SumPart

_SPACE = {1: ("",), 2: (" row", " column"), 3: (" plane", " row", " column")}


def leaf_axes(kernel: SumKernel, part: SumPart) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the axes along which the terms of a part are numbered, the last the fastest."""
    op, shapes, terms = kernel.op, kernel.shapes, part.terms
    if not op.startswith("conv"):
        return (("term", terms),)
    axes = len(kernel.shapes[kernel.carrier]) - 2
    taps = [f"kernel{name}" if name else "tap" for name in _SPACE.get(axes, ())]
    if op.endswith("_weight_grad"):
        small = shapes[kernel.carrier]
        names = ["image", *(f"output{name}" if name else "output element" for name in _SPACE.get(axes, ()))]
        found = tuple(zip(names, (small[0], *small[2:]), strict=True))
    elif op in (f"conv{axes}d", f"conv_transpose{axes}d_input_grad"):
        weight = shapes["weight"]
        found = (("input channel" if op == f"conv{axes}d" else "channel", weight[1]),)
        found += tuple(zip(taps, weight[2:], strict=True))
    elif op.endswith("bias_grad"):
        found = (("term", terms),)
    else:  # a transposed convolution: the taps that reach the outputs of one part
        channels = shapes["weight"][0] // int(kernel.params.get("groups", 1))
        found = (("channel", channels), ("tap", terms // channels))
    return found if prod(size for _, size in found) == terms else (("term", terms),)


def where_in_words(kernel: SumKernel, part: SumPart, taken: npt.NDArray[np.bool_]) -> str:
    """A group of outputs in words: all, a box of indices, or their number."""
    total = prod(kernel.shape)
    if int(taken.sum()) == total:
        return "all outputs"
    mask = np.zeros(total, np.bool_)
    mask[part.index[taken]] = True
    mask = mask.reshape(kernel.shape)
    sets = [
        np.flatnonzero(mask.any(axis=tuple(b for b in range(mask.ndim) if b != a))) for a in range(mask.ndim)
    ]
    if prod(each.size for each in sets) != int(taken.sum()):
        return f"{int(taken.sum())} of {total} outputs"
    named = zip(_names(kernel), sets, kernel.shape, strict=True)
    return ", ".join(
        f"{name}{'s' if each.size > 1 else ''} {_numbers(each)}"
        for name, each, size in named
        if each.size < size
    )


def _names(kernel: SumKernel) -> list[str]:
    rank = len(kernel.shape)
    if kernel.op.endswith("_weight_grad") and rank >= 3:
        return ["output channel", "input channel", *(f"kernel{name}" for name in _SPACE[rank - 2])]
    if kernel.op.startswith(("conv", "avg_pool")) and rank >= 3:
        return ["image", "channel", *(name.strip() or "element" for name in _SPACE[rank - 2])]
    if rank == 2:
        return ["row", "column"]
    return [f"index of axis {axis}," for axis in range(rank)]


def _numbers(found: npt.NDArray[np.intp]) -> str:
    steps = set(np.diff(found).tolist())
    if found.size == 1:
        return str(found[0])
    if steps == {1}:
        return f"{found[0]} to {found[-1]}"
    if len(steps) == 1 and found.size > 2:
        return f"{found[0]}, {found[1]}, … {found[-1]}"
    text = ", ".join(map(str, found[:6].tolist()))
    return text if found.size <= 6 else f"{text}, …"
