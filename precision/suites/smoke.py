"""A few small layers that run in seconds: to try an installation, and for tests."""

from __future__ import annotations

from precision.cases import Case
from precision.suites.layers import UNIFORM, conv, linear, norm

CASES: tuple[Case, ...] = (
    conv(
        "smoke-conv2d-3x3",
        "conv2d 3×3 16→24",
        "A small convolution with bias.",
        (1, 16, 10, 12),
        (24, 16, 3, 3),
        "uniform [0, 1)",
        (UNIFORM, UNIFORM),
        UNIFORM,
        stride=2,
        padding="same",
    ),
    conv(
        "smoke-conv2d-even-same",
        "conv2d 3×3 s2 on 6×6, SAME",
        "Declared as TensorFlow's SAME; PyTorch users write padding=1.",
        (2, 2, 6, 6),
        (3, 2, 3, 3),
        "integers 0..3 and 0..1",
        (("integers", {"low": 0, "high": 3}), ("integers", {"low": 0, "high": 1})),
        natural={"torch": {"padding": 1}},
        stride=2,
        padding="same",
    ),
    norm(
        "smoke-layer-norm",
        "layer norm over 64",
        "A small normalization.",
        "layer_norm",
        (16, 64),
        False,
        normalized_shape=[64],
        eps=1e-5,
    ),
    linear("smoke-linear", "linear 32→16", "A small matrix product.", 8, 32, 16),
)
