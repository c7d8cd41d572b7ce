"""The default suite: real layers of real sizes, and the data on which they go wrong."""

from __future__ import annotations

from typing import Any

from precision.cases import Case
from precision.suites.layers import UNIFORM, conv, linear, norm

_ONES = ("constant", {"value": 1.0})
_ZEROS = ("constant", {"value": 0.0})

_CONVOLUTIONS = (
    conv(
        "conv2d-5x5-s2-uniform",
        "conv2d 5×5 s2 256→512",
        "Two frameworks with equal arrays differ by more than 1e-3 here: 6400 positive terms in each sum.",
        (1, 256, 16, 32),
        (512, 256, 5, 5),
        "uniform [0, 1)",
        (UNIFORM, UNIFORM),
        UNIFORM,
        stride=2,
        padding="same",
    ),
    conv(
        "conv2d-5x5-s2-ones",
        "conv2d 5×5 s2 256→512, ones",
        "The twin of ones and zeros: every partial sum is an integer, so every order is exact.",
        (1, 256, 16, 32),
        (512, 256, 5, 5),
        "ones, bias zeros",
        (_ONES, _ONES),
        _ZEROS,
        stride=2,
        padding="same",
    ),
    conv(
        "conv2d-even-same",
        "conv2d 3×3 s2 on 6×6, SAME",
        "Declared as TensorFlow's SAME, which pads right and bottom; PyTorch users write padding=1.",
        (2, 2, 6, 6),
        (3, 2, 3, 3),
        "integers 0..3 and 0..1",
        (("integers", {"low": 0, "high": 3}), ("integers", {"low": 0, "high": 1})),
        natural={"torch": {"padding": 1}},
        stride=2,
        padding="same",
    ),
    conv(
        "conv2d-even-pad1",
        "conv2d 3×3 s2 on 6×6, padding 1",
        "Declared with one pixel on every side; TensorFlow users write SAME, which is another function.",
        (2, 2, 6, 6),
        (3, 2, 3, 3),
        "integers 0..3 and 0..1",
        (("integers", {"low": 0, "high": 3}), ("integers", {"low": 0, "high": 1})),
        natural={"tensorflow": {"padding": "same"}},
        stride=2,
        padding=1,
    ),
    conv(
        "conv2d-7x7-s2-stem",
        "conv2d 7×7 s2 3→64 on 224×224",
        "The first layer of a ResNet: three input channels, K = 147.",
        (1, 3, 224, 224),
        (64, 3, 7, 7),
        "normal",
        stride=2,
        padding=3,
    ),
    conv(
        "conv2d-3x3",
        "conv2d 3×3 64→64 on 56×56",
        "The commonest layer of a ResNet, where libraries may choose Winograd.",
        (1, 64, 56, 56),
        (64, 64, 3, 3),
        "normal",
        padding=1,
    ),
    conv(
        "conv2d-1x1",
        "conv2d 1×1 512→128 on 28×28",
        "A matrix product in disguise: libraries may call their GEMM.",
        (1, 512, 28, 28),
        (128, 512, 1, 1),
        "normal",
    ),
    conv(
        "conv2d-depthwise-3x3",
        "depthwise conv2d 3×3, 128 channels",
        "Nine terms a sum: hardly any accumulation, mostly the last rounding.",
        (1, 128, 28, 28),
        (128, 1, 3, 3),
        "normal",
        padding=1,
        groups=128,
    ),
    conv(
        "conv2d-grouped-3x3",
        "grouped conv2d 3×3 128→128, 32 groups",
        "The layer of a ResNeXt: four channels a group.",
        (1, 128, 28, 28),
        (128, 4, 3, 3),
        "normal",
        padding=1,
        groups=32,
    ),
    conv(
        "conv2d-dilated-3x3",
        "dilated conv2d 3×3 128→128",
        "Dilation 2, as in segmentation networks.",
        (1, 128, 28, 28),
        (128, 128, 3, 3),
        "normal",
        padding=2,
        dilation=2,
    ),
    conv(
        "conv2d-ill-conditioned",
        "conv2d 3×3 64→32, cancelling",
        "Each sum cancels to a millionth of its terms: the data, not the arithmetic, makes the error large.",
        (1, 64, 8, 8),
        (32, 64, 3, 3),
        "cancelling in pairs of channels",
        (("mirrored", {}), ("cancelling", {})),
        padding=1,
    ),
    conv(
        "conv2d-wide-range",
        "conv2d 3×3 32→32, wide range",
        "Exponents spread over 2^±20: a few terms decide each sum.",
        (1, 32, 16, 16),
        (32, 32, 3, 3),
        "exponents uniform on -20..20",
        (("wide", {"exponent": 20}), ("wide", {"exponent": 20})),
        padding=1,
    ),
)

_NORMS: tuple[tuple[str, str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("batch-norm-training", "batch norm, training", "batch_norm", (8, 64, 28, 28), {"training": True}),
    ("batch-norm-inference", "batch norm, inference", "batch_norm", (8, 64, 28, 28), {"training": False}),
    ("layer-norm-768", "layer norm over 768", "layer_norm", (256, 768), {"normalized_shape": [768]}),
    ("layer-norm-1000", "layer norm over 1000", "layer_norm", (256, 1000), {"normalized_shape": [1000]}),
    ("group-norm", "group norm, 32 groups of 64", "group_norm", (4, 64, 28, 28), {"num_groups": 32}),
    ("instance-norm", "instance norm", "instance_norm", (4, 64, 28, 28), {}),
    ("rms-norm-768", "RMS norm over 768", "rms_norm", (256, 768), {"normalized_shape": [768]}),
)

_NOTES = {
    False: "Normal data: the statistics are well conditioned.",
    True: "Mean 1000 and variance 1: subtracting the mean cancels, and a one-pass variance fails.",
}

_NORMALIZATIONS = tuple(
    norm(
        f"{id}-offset" if offset else id,
        f"{title}, mean 1000" if offset else title,
        _NOTES[offset],
        op,
        shape,
        offset,
        eps=1e-5,
        **params,
    )
    for id, title, op, shape, params in _NORMS
    for offset in (False, True)
)

CASES: tuple[Case, ...] = (
    *_CONVOLUTIONS,
    *_NORMALIZATIONS,
    linear("linear-1024-1000", "linear 1024→1000", "The classifier at the end of a network.", 32, 1024, 1000),
)
