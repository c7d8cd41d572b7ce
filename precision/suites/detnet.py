"""Layers of DetNet and IKNet at full size, one of each kind; the whole networks are traced by the study.

A picture of 128 x 128 becomes maps of 64 x 64, then 32 x 32, which stay so: later blocks are dilated.
"""

from __future__ import annotations

from precision.cases import Case
from precision.suites.layers import UNIFORM, conv, linear, norm

CONV7, CONV7_PADDING = "detnet-conv7", "detnet-conv7-padding"
_WEIGHTS = ("uniform", {"low": -0.143, "high": 0.143})
"""Bound sqrt(3 / 147): what is summed keeps the mean square of the picture."""

CASES: tuple[Case, ...] = (
    conv(
        CONV7,
        "conv2d 7×7 s2 3→64, SAME",
        "The first layer, on a picture in [0, 1): SAME pads 2 before and 3 after.",
        (1, 3, 128, 128),
        (64, 3, 7, 7),
        "uniform [0, 1)",
        (UNIFORM, _WEIGHTS),
        stride=2,
        padding="same",
    ),
    conv(
        CONV7_PADDING,
        "conv2d 7×7 s2 3→64, padding=3 for SAME",
        "The first layer as PyTorch users write it; with stride 2 on an even size it is another function.",
        (1, 3, 128, 128),
        (64, 3, 7, 7),
        "uniform [0, 1)",
        (UNIFORM, _WEIGHTS),
        natural={"torch": {"padding": 3}},
        stride=2,
        padding="same",
    ),
    norm(
        "detnet-batch-norm",
        "batch norm of 64 maps, inference",
        "The normalization after the first layer.",
        "batch_norm",
        (1, 64, 64, 64),
        False,
        training=False,
        eps=1e-5,
    ),
    conv(
        "detnet-dilated",
        "conv2d 3×3 dilation 2 128→128",
        "The middle of a block whose stride became a dilation.",
        (1, 128, 32, 32),
        (128, 128, 3, 3),
        "normal",
        padding="same",
        dilation=2,
    ),
    conv(
        "detnet-predict",
        "conv2d 1×1 256→21",
        "The last layer of the heat maps.",
        (1, 256, 32, 32),
        (21, 256, 1, 1),
        "normal",
        bias=("normal", {"scale": 0.1}),
    ),
    linear("iknet-first", "linear 252→1024", "The first layer of IKNet.", 1, 252, 1024),
    linear("iknet-dense", "linear 1024→1024", "A layer of IKNet.", 1, 1024, 1024),
)
