"""Layers of "the same outputs in TensorFlow and PyTorch": batch normalization, and sums whose repeats must "
"agree."""

from __future__ import annotations

from precision.cases import Case
from precision.suites import default
from precision.suites.gradients import gradients

_LAYERS = {case.id: case for case in default.CASES}

CASES: tuple[Case, ...] = (
    _LAYERS["batch-norm-training"],
    gradients(_LAYERS["batch-norm-training"])[0],
    gradients(_LAYERS["conv2d-3x3"])[1],
    _LAYERS["linear-1024-1000"],
)
