"""The convolutions of a notebook that compares PyTorch and TensorFlow layer by layer, on small integers."""

from __future__ import annotations

from precision.cases import Case
from precision.inputs import Array
from precision.suites import default
from precision.suites.layers import conv

EVEN_PAD, EVEN_SAME = "conv2d-even-pad1", "conv2d-even-same"
ODD, DOWN, UP = "conv2d-odd-pad1", "conv2d-19-to-10", "conv-transpose2d-10-to-19"

_INPUT = ("integers", {"low": 0, "high": 3})
_WEIGHT = ("integers", {"low": 0, "high": 1})
_SMALL = ("integers", {"low": -2, "high": 2})

_WEIGHTS = (1, 1, 5, 5)


def _transposed() -> Case:
    shapes = {"input": (1, 1, 10, 10), "weight": _WEIGHTS}
    recipes = {"input": ("integers", {"low": 0, "high": 75}), "weight": _WEIGHT}
    return Case(
        UP,
        "transposed conv2d 5×5 s2, 10→19",
        "convolution",
        "conv_transpose2d",
        {"stride": 2, "padding": 2, "output_padding": 0, "dilation": 1, "groups": 1},
        {name: Array(shape, *recipes[name]) for name, shape in shapes.items()},
        {name: Array(shape, *_SMALL) for name, shape in shapes.items()},
        {
            "input": Array(shapes["input"], "uniform", {"low": -1.0, "high": 1.0}),
            "weight": Array(shapes["weight"], "selector"),
        },
        "integers 0..75 and 0..1",
        "The way back: 19 and 20 both come down to 10, so the size must be said (output_padding).",
    )


CASES: tuple[Case, ...] = (
    *(case for case in default.CASES if case.id in (EVEN_PAD, EVEN_SAME)),
    conv(
        ODD,
        "conv2d 3×3 s2 on 5×5, padding 1",
        "On an odd input one pixel on every side is what SAME pads as well.",
        (2, 2, 5, 5),
        (3, 2, 3, 3),
        "integers 0..3 and 0..1",
        (_INPUT, _WEIGHT),
        natural={"tensorflow": {"padding": "same"}},
        stride=2,
        padding=1,
    ),
    conv(
        DOWN,
        "conv2d 5×5 s2, 19→10",
        "The way down, before the transposed convolution.",
        (1, 1, 19, 19),
        _WEIGHTS,
        "integers 0..3 and 0..1",
        (_INPUT, _WEIGHT),
        stride=2,
        padding=2,
    ),
    _transposed(),
)
