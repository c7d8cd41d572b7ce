"""Which operands reach a kernel's multipliers: products v * 1, alone in their sums.

For a format of f fraction bits three scalars part the roundings: 1 + 2^-(f+1) (a tie below an odd neighbour),
1 + 3 * 2^-(f+1) (a tie below an even one) and 1 + 2^-(f+1) + 2^-23 (just above a tie).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from precision.inputs import Float32
from precision.recording import Kernel, Notes, Tensors

SCALARS: Mapping[str, float] = {
    **{
        f"{sign}{name} {words}": factor * (1.0 + value)
        for name, bits in (("tf32", 10), ("bf16", 7))
        for words, value in (
            (f"1+2^-{bits + 1}", 2.0 ** -(bits + 1)),
            (f"1+3*2^-{bits + 1}", 3.0 * 2.0 ** -(bits + 1)),
            (f"1+2^-{bits + 1}+2^-23", 2.0 ** -(bits + 1) + 2.0**-23),
        )
        for sign, factor in (("", 1.0), ("-", -1.0))
    },
    "binary32 1+2^-23": 1.0 + 2.0**-23,
    # Half precision keeps as many bits as TF32, of a narrower range.
    "fp16 range 3*2^-25": 3.0 * 2.0**-25,
    "fp16 range 2^-30": 2.0**-30,
    "fp16 range 2^17": 2.0**17,
    "bf16 range 2^-120": 2.0**-120,
}

SIZE = 64
_LARGEST_HALF = 65504.0


def record(kernel: Kernel, probe_id: str, op: str, pixels: int = 16, taps: int = 3) -> tuple[Tensors, Notes]:
    """Ask each scalar as a left and as a right factor.

    op: linear, conv2d or a gradient of one; SIZE channels on both sides, images of `pixels` squared.
    """
    values = np.array(list(SCALARS.values()), np.float32)
    tensors: Tensors = {"operand": values}
    notes: Notes = {"op": op, "names": list(SCALARS)}
    for side in ("left", "right"):
        # What overflows to infinity would spoil its neighbours' sums: it is asked in a call of its own.
        large = np.abs(values) > _LARGEST_HALF
        parts = []
        for some in (np.where(large, np.float32(0), values), np.where(large, values, np.float32(0))):
            arrays, params, axis = question(op, side, some, pixels, taps)
            output = np.moveaxis(kernel.run(op, params, arrays), axis, 0)[: values.size]
            parts.append(output.reshape(values.size, -1))
        answers = np.where(large[:, None], parts[1], parts[0])
        tensors[side] = answers[:, answers.shape[1] // 2].copy()
        notes[f"{side}_distinct"] = [int(np.unique(row.view(np.uint32)).size) for row in answers]
    return tensors, notes


def question(
    op: str, side: str, values: Float32, pixels: int, taps: int
) -> tuple[dict[str, Float32], dict[str, Any], int]:
    """Return arrays and parameters of a call that multiplies values by 1, and the output's axis of them."""
    left = side == "left"
    ones = np.ones((SIZE, SIZE), np.float32)
    held = np.zeros((SIZE, SIZE), np.float32)
    held[np.arange(values.size), np.arange(values.size)] = values
    if op == "linear":
        return {"input": held if left else ones, "weight": ones if left else held}, {}, 0 if left else 1
    if op == "linear_input_grad":
        arrays = {"grad_output": held if left else ones, "weight": ones if left else held}
        return arrays, {}, 0 if left else 1
    if op == "linear_weight_grad":
        return _single_row(values, left), {}, 0 if left else 1
    params = {"stride": 1, "padding": taps // 2, "dilation": 1, "groups": 1}
    image, weight = (1, SIZE, pixels, pixels), (SIZE, SIZE, taps, taps)
    if op == "conv2d_weight_grad":
        grad = np.zeros(image, np.float32)
        grad[0, :, pixels // 2, pixels // 2] = _padded(values) if left else 1.0
        x = np.ones(image, np.float32)
        if not left:
            x *= _padded(values)[None, :, None, None]
        return {"grad_output": grad, "input": x}, {**params, "weight_size": list(weight)}, 0 if left else 1
    eye = np.zeros(weight, np.float32)
    eye[np.arange(SIZE), np.arange(SIZE), taps // 2, taps // 2] = 1.0 if left else _padded(values)
    x = np.ones(image, np.float32)
    if left:
        x *= _padded(values)[None, :, None, None]
    if op == "conv2d_input_grad":
        return {"grad_output": x, "weight": eye}, {**params, "input_size": list(image)}, 1
    if op == "conv2d":
        return {"input": x, "weight": eye}, params, 1
    raise ValueError(f"operands are asked of linear, conv2d and their gradients; got {op!r}; name one")


def _padded(values: Sequence[float] | Float32) -> Float32:
    found = np.zeros(SIZE, np.float32)
    found[: len(values)] = values
    return found


def _single_row(values: Float32, left: bool) -> dict[str, Float32]:
    grad, x = (np.zeros((SIZE, SIZE), np.float32) for _ in range(2))
    grad[0] = _padded(values) if left else 1.0
    x[0] = 1.0 if left else _padded(values)
    return {"grad_output": grad, "input": x}
