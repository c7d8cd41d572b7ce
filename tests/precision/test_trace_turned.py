"""Weights whose elements were moved: each move has its own name, anything else has none."""

from __future__ import annotations

import numpy as np
import pytest

from precision.tracing.turned import turned

KERNEL = np.random.default_rng(5).standard_normal((4, 4, 3, 3)).astype(np.float32)
MATRIX = KERNEL[:, :, 0, 0]
MOVES = {
    "kernel flip": (KERNEL, KERNEL[:, :, ::-1, ::-1], "every axis"),
    "kernel flip along one axis": (KERNEL, KERNEL[:, :, :, ::-1], "axis 1"),
    "kernel transpose": (KERNEL, np.swapaxes(KERNEL, 2, 3), "last two axes"),
    "weight transpose": (KERNEL, np.swapaxes(KERNEL, 0, 1), "inputs and outputs"),
    "weight transpose of a matrix": (MATRIX, MATRIX.T, "inputs and outputs"),
    "channel order": (KERNEL, KERNEL[:, [1, 0, 3, 2]], "inputs in the order 1, 0, 3, 2"),
    "channel order of outputs": (KERNEL, KERNEL[[3, 0, 1, 2]], "outputs in the order 3, 0, 1, 2"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_has_its_name(move):
    a, b, words = MOVES[move]
    found = turned(a, np.ascontiguousarray(b))
    assert found is not None
    assert move.startswith(found[0])
    assert words in found[1]


@pytest.mark.parametrize("move", MOVES)
def test_one_changed_element_is_no_move(move):
    a, b, _ = MOVES[move]
    changed = np.ascontiguousarray(b)
    changed.flat[1] += np.float32(1.0)
    assert turned(a, changed) is None


def test_a_channel_that_stands_twice_is_no_order():
    assert turned(KERNEL, np.ascontiguousarray(KERNEL[:, [0, 0, 2, 3]])) is None
