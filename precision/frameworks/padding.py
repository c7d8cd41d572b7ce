"""Declared padding as explicit amounts, for the calls that take nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def explicit_padding(
    padding: Any, size: Sequence[int], kernel: Sequence[int], stride: Any, dilation: Any
) -> tuple[int, int, int, int]:
    """Return [top, bottom, left, right] of a declared padding.

    `padding` is a number, a pair, four numbers, "valid", or "same" by TensorFlow's rule:
    max((ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) pixels an axis, the odd one at the end
    (TensorFlow guide, "Padding" notes of tf.nn).
    """
    strides, dilations = _pair(stride), _pair(dilation)
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        amounts: list[int] = []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            amounts += [total // 2, total - total // 2]
        return (amounts[0], amounts[1], amounts[2], amounts[3])
    if isinstance(padding, int):
        return (padding, padding, padding, padding)
    values = [int(value) for value in padding]
    if len(values) == 2:
        return (values[0], values[0], values[1], values[1])
    return (values[0], values[1], values[2], values[3])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
