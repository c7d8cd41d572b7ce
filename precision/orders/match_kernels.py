"""A kernel that adds a few sums in one of many orders, fast enough to try thousands of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.jit import compiled_nogil
from reference.replay_kernels import fma


@compiled_nogil
def chain_sums(
    left: Any, right: Any, walk: Any, bias: Any, starts: Any, opens: Any, lanes: int, halves: bool,
    fused: bool, room: Any, out: Any,
) -> None:  # fmt: skip
    """out[j, s] = the sum over k of left[walk[k], s] * right[walk[k], s], with the bias last (j = 0), after
    the first block (1), or first (2; with lanes as 1).

    Block i holds the terms starts[i] to starts[i + 1].  In it, term k joins lane k mod `lanes`; the lanes are
    added in order or, with `halves`, each to the one half-way further on, again and again.  A block with
    opens[i] begins a slice: blocks are added in order in each slice, then the slices.
    room (lanes + 3, sums) is scratch.
    """
    sums, sliced = left.shape[1], False
    totals = room[lanes : lanes + 3]
    for i in range(starts.size - 1):
        _block(left, right, walk, starts[i], starts[i + 1], lanes, halves, fused, room)
        block = room[0]
        if i == 0:
            out[0] = block
            for s in range(sums):
                out[1, s] = block[s] + bias[s]
            out[2] = out[1]
            if lanes == 1:
                out[2] = bias
                _chain(left, right, walk, starts[0], starts[1], 1, fused, out[2])
        elif opens[i]:
            if sliced:
                _add(totals, out)
            else:
                totals[:] = out
            for j in range(3):
                out[j] = block
            sliced = True
        else:
            _add_block(out, block)
    if sliced:
        _add(totals, out)
        out[:] = totals
    for s in range(sums):
        out[0, s] = out[0, s] + bias[s]


@compiled_nogil
def _add_block(out: Any, block: Any) -> None:
    for j in range(out.shape[0]):
        for s in range(out.shape[1]):
            out[j, s] = out[j, s] + block[s]


@compiled_nogil
def _add(totals: Any, more: Any) -> None:
    for j in range(totals.shape[0]):
        for s in range(totals.shape[1]):
            totals[j, s] = totals[j, s] + more[j, s]


@compiled_nogil
def _block(
    left: Any, right: Any, walk: Any, first: int, last: int, lanes: int, halves: bool, fused: bool, room: Any
) -> None:
    """room[0] = the sum of one block."""
    for lane in range(lanes):
        room[lane] = np.float32(-0.0)
        _chain(left, right, walk, first + lane, last, lanes, fused, room[lane])
    width = lanes
    while width > 1:
        kept = (width + 1) // 2 if halves else 1
        for lane in range(kept, width):
            for s in range(room.shape[1]):
                room[lane % kept, s] = room[lane % kept, s] + room[lane, s]
        width = kept


@compiled_nogil
def _chain(left: Any, right: Any, walk: Any, first: int, last: int, step: int, fused: bool, acc: Any) -> None:
    """acc[s] += each product in turn."""
    # Two indices, and no rows taken out: the loop is then compiled to vectors without tests for overlaps.
    for k in range(first, last, step):
        w = walk[k]
        if fused:
            for s in range(acc.size):
                acc[s] = fma(left[w, s], right[w, s], acc[s])
        else:
            for s in range(acc.size):
                acc[s] = acc[s] + left[w, s] * right[w, s]
