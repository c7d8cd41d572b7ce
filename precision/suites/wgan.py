"""Layers of an improved WGAN as two ports of it compare them: all weights 0.05, inputs uniform on [0, 1).

The convolution is scored on 16 of the document's 512 samples; the rows of the study run all of them.
"""

from __future__ import annotations

from dataclasses import replace

from precision.cases import Case
from precision.inputs import Array
from precision.suites.gradients import gradients
from precision.suites.layers import UNIFORM, conv, linear, norm

CONV, INPUT, BATCH_NORM, LAYER_NORM = (
    "wgan-conv2d",
    "wgan-generator-input",
    "wgan-batch-norm",
    "wgan-layer-norm",
)

_WEIGHTS = ("constant", {"value": 0.05})
_ONES = ("constant", {"value": 1.0})
_ZEROS = ("constant", {"value": 0.0})


def _plain(case: Case, channels: int) -> Case:
    """A normalization of uniform data that neither scales nor shifts, as it is at the start of training."""
    arrays = {
        "input": Array(case.arrays["input"].shape, *UNIFORM),
        "weight": Array((channels,), *_ONES),
        "bias": Array((channels,), *_ZEROS),
    }
    return replace(case, arrays=arrays, data="uniform [0, 1), weight 1, bias 0")


def _linear() -> Case:
    case = linear(INPUT, "linear 128→512", "The generator's first layer: all weights 0.05.", 64, 128, 512)
    arrays = {
        "input": Array((64, 128), *UNIFORM),
        "weight": Array((512, 128), *_WEIGHTS),
        "bias": Array((512,), *_ZEROS),
    }
    return replace(case, arrays=arrays, data="uniform [0, 1), weights 0.05")


_BATCH = _plain(
    norm(
        BATCH_NORM,
        "batch norm, 68×3×64×64",
        "Training: statistics of 278,528 numbers a channel.",
        "batch_norm",
        (68, 3, 64, 64),
        False,
        training=True,
        eps=1e-5,
    ),
    3,
)
_LAYER = _plain(
    norm(
        LAYER_NORM,
        "layer norm over 12288",
        "A sample of 3×64×64 as one row: eps inside the root, the variance over N.",
        "layer_norm",
        (68, 12288),
        False,
        normalized_shape=[12288],
        eps=1e-5,
    ),
    12288,
)

CASES: tuple[Case, ...] = (
    conv(
        CONV,
        "conv2d 3×3 12→4 on 32×32",
        "All weights 0.05, which float32 rounds: each output is that number times a sum of 108 inputs.",
        (16, 12, 32, 32),
        (4, 12, 3, 3),
        "uniform [0, 1), weights 0.05",
        (UNIFORM, _WEIGHTS),
        padding=1,
    ),
    _linear(),
    _BATCH,
    _LAYER,
    gradients(_BATCH)[0],
    gradients(_LAYER)[0],
)
