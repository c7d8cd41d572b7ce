"""Padding: the rules that say how much of it, and the modes that say what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from reference.operands import Single

Pads = tuple[tuple[int, int], ...]
_NumpyMode = Literal["constant", "reflect", "edge", "wrap"]

MODES: dict[str, _NumpyMode] = {
    "zeros": "constant",
    "reflect": "reflect",  # mirrored at the border element, which is not repeated
    "replicate": "edge",
    "circular": "wrap",
}
RULES = ("valid", "same", "same_lower", "same_torch")


def pad_amounts(padding: Any, size: tuple[int, ...], span: tuple[int, ...], stride: tuple[int, ...]) -> Pads:
    """Padding as (before, after) of each axis.

    One integer pads all sides, one an axis both sides of it, two an axis (before, after): [left, right],
    [top, bottom, left, right], [front, back, top, bottom, left, right]. "valid" pads nothing. "same" is
    TensorFlow's rule: ceil(size/stride) outputs, total = max((out - 1)*stride + span - size, 0), the larger
    half after; "same_lower" puts it before. "same_torch" is torch's, for stride 1 alone: total = span - 1,
    the larger half after.
    """
    if isinstance(padding, str) and padding.lower() in RULES:
        return _by_rule(padding.lower(), size, span, stride)
    axes = len(size)
    items = [padding] if isinstance(padding, int | np.integer) else padding
    good = isinstance(items, Sequence | np.ndarray) and not isinstance(items, str)
    if (
        not good
        or len(items) not in (1, axes, 2 * axes)
        or any(isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 0 for i in items)
    ):
        counts = sorted({1, axes, 2 * axes})
        raise ValueError(
            f"padding must be one of {RULES}, or {', '.join(map(str, counts[:-1]))} or {counts[-1]} integers "
            f">= 0 (before and after, axis by axis), got {padding!r}: give e.g. {[1, 2] * axes}"
        )
    sides = [int(i) for i in items]
    if len(sides) == 2 * axes:
        return tuple((sides[2 * i], sides[2 * i + 1]) for i in range(axes))
    sides = sides * axes if len(sides) == 1 else sides
    return tuple((side, side) for side in sides)


def _by_rule(rule: str, size: tuple[int, ...], span: tuple[int, ...], stride: tuple[int, ...]) -> Pads:
    if rule == "valid":
        return tuple((0, 0) for _ in size)
    if rule == "same_torch":
        if max(stride) > 1:
            raise ValueError(
                f"padding 'same_torch' needs stride 1, got {list(stride)}: give the padding in numbers"
            )
        return tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in span)
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, span, stride, strict=True)]
    halves = tuple((t // 2, t - t // 2) for t in total)
    return halves if rule == "same" else tuple((after, before) for before, after in halves)


def check_room(mode: str, pads: Pads, size: tuple[int, ...]) -> None:
    """A mode that copies the input cannot pad by more than there is to copy."""
    least = {"zeros": None, "replicate": 0, "reflect": 1, "circular": 0}[mode]
    if least is None:
        return
    most = [n if mode == "replicate" else n - least for n in size]
    for n, pad, limit in zip(size, pads, most, strict=True):
        if max(pad) > 0 and (n == 0 or (mode != "replicate" and max(pad) > limit)):
            raise ValueError(
                f"padding_mode {mode!r} pads an axis of {n} elements by at most {max(limit, 0)}, got "
                f"{list(pad)}: pad less, or by zeros"
            )


def padded(x: Single, pads: Pads, last: bool, mode: str = "zeros") -> Single:
    """`x`, (N, C, ...) or channels last (N, ..., C), with its other axes padded; itself where none is."""
    if not any(before or after for before, after in pads):
        return x
    widths = [(0, 0), *pads, (0, 0)] if last else [(0, 0), (0, 0), *pads]
    return cast("Single", np.pad(x, widths, mode=MODES[mode]))


def copies(size: int, pad: tuple[int, int], mode: str) -> list[tuple[int, int, tuple[int, ...]]]:
    """Where the padding of one axis puts its elements: the adjoint of `padded`.

    Each (begin, end, shifts) says that every element i of begin <= i < end is found at i + shift of the
    padded axis, for each of the shifts and nowhere else. The stretches follow one another and are all the
    elements.
    """
    if mode == "zeros" or not any(pad):
        return [(0, size, (pad[0],))]
    source = np.pad(np.arange(size), pad, mode=MODES[mode])
    found: list[tuple[int, int, tuple[int, ...]]] = []
    places = np.argsort(source, kind="stable")
    ends = np.cumsum(np.bincount(source, minlength=size))
    for i, at in enumerate(np.split(places, ends[:-1])):
        shifts = tuple((at - i).tolist())
        if found and found[-1][2] == shifts:
            found[-1] = (found[-1][0], i + 1, shifts)
        else:
            found.append((i, i + 1, shifts))
    return found
