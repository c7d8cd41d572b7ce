"""Sums beside the layers of the default suite: transposed convolutions, gradients, products, means.

Their orders are revealed (`precision reveal --suite sums`); they are not scored.
"""

from __future__ import annotations

from typing import Any

from precision.cases import Case
from precision.inputs import Array

_NORMAL: tuple[str, dict[str, Any]] = ("normal", {})
_LAYERS: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ("3x3", (2, 64, 28, 28), (64, 64, 3, 3), {"padding": 1}),
    ("3x3-s2", (1, 64, 28, 28), (128, 64, 3, 3), {"stride": 2, "padding": 1}),
    ("1x1", (1, 256, 14, 14), (64, 256, 1, 1), {}),
    ("depthwise", (1, 64, 28, 28), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
    ("5x5-s2-same", (1, 32, 16, 16), (64, 32, 5, 5), {"stride": 2, "padding": "same"}),
)


def _case(id: str, op: str, shapes: dict[str, tuple[int, ...]], params: dict[str, Any]) -> Case:
    arrays = {name: Array(shape, *_NORMAL) for name, shape in shapes.items()}
    return Case(id, f"{op} {id}", "sum", op, params, arrays, arrays, arrays, "normal", "")


def _layer(name: str, image: tuple[int, ...], weight: tuple[int, ...], params: dict[str, Any]) -> list[Case]:
    stride = params.get("stride", 1)
    result = (image[0], weight[0], *(-(-size // stride) for size in image[2:]))
    declared = {"stride": stride, "padding": params.get("padding", 0), "dilation": 1}
    declared["groups"] = params.get("groups", 1)
    # The transposed layer takes the small side back to the large one, with the same weight.
    crop = 0 if declared["padding"] == "same" else declared["padding"]
    turned = {**declared, "padding": crop}
    back = {"input": result, "weight": weight, "bias": (weight[1] * declared["groups"],)}
    return [
        _case(
            f"input-grad-{name}",
            "conv2d_input_grad",
            {"grad_output": result, "weight": weight},
            {**declared, "input_size": list(image)},
        ),
        _case(
            f"weight-grad-{name}",
            "conv2d_weight_grad",
            {"grad_output": result, "input": image},
            {**declared, "weight_size": list(weight)},
        ),
        _case(f"transposed-{name}", "conv_transpose2d", back, turned),
    ]


CASES = (
    *(case for layer in _LAYERS for case in _layer(*layer)),
    _case(
        "conv1d-k5", "conv1d", {"input": (2, 32, 200), "weight": (64, 32, 5), "bias": (64,)}, {"padding": 2}
    ),
    _case(
        "conv3d-3x3x3",
        "conv3d",
        {"input": (1, 16, 8, 12, 12), "weight": (32, 16, 3, 3, 3), "bias": (32,)},
        {"padding": 1},
    ),
    _case("linear-input-grad", "linear_input_grad", {"grad_output": (32, 256), "weight": (256, 512)}, {}),
    _case("linear-weight-grad", "linear_weight_grad", {"grad_output": (32, 256), "input": (32, 512)}, {}),
    _case("matmul-batched", "matmul", {"input": (4, 64, 96), "other": (4, 96, 64)}, {}),
    _case("sum-rows", "sum", {"input": (64, 1000)}, {"dim": 1}),
    _case("mean-columns", "mean", {"input": (300, 70)}, {"dim": 0}),
    _case("avg-pool-3x3-s2", "avg_pool2d", {"input": (2, 32, 28, 28)}, {"kernel_size": 3, "stride": 2}),
)
