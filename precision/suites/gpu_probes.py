"""The probes of the GPU suite: what is asked of every mode and recorded (see `precision.suites.gpu`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from precision.recording import RecordedProbe
from precision.recording.invariance import NEIGHBOURS

_CONVOLUTION = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
_IMAGE, _WEIGHT = [1, 64, 28, 28], [64, 64, 3, 3]

_OPERANDS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    *((op, {"op": op}) for op in ("linear", "linear_input_grad", "linear_weight_grad")),
    *((op, {"op": op}) for op in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")),
    ("conv2d-1x1", {"op": "conv2d", "taps": 1}),
)

_ORDERS = tuple((op, terms) for op in ("linear", "conv2d") for terms in (64, 256, 576, 1152))
_ACCUMULATORS = (("linear", 64), ("linear", 1152), ("conv2d", 64), ("conv2d", 1152))

_LAYERS: Mapping[str, Mapping[str, Any]] = {
    "conv2d-3x3": {
        "op": "conv2d",
        "params": _CONVOLUTION,
        "shapes": {"input": _IMAGE, "weight": _WEIGHT},
    },
    "conv2d-1x1": {
        "op": "conv2d",
        "params": {**_CONVOLUTION, "padding": 0},
        "shapes": {"input": [1, 256, 14, 14], "weight": [128, 256, 1, 1]},
    },
    "conv2d-depthwise": {
        "op": "conv2d",
        "params": {**_CONVOLUTION, "groups": 64},
        "shapes": {"input": _IMAGE, "weight": [64, 1, 3, 3]},
    },
    "conv2d-input-grad": {
        "op": "conv2d_input_grad",
        "params": {**_CONVOLUTION, "input_size": _IMAGE},
        "shapes": {"grad_output": _IMAGE, "weight": _WEIGHT},
    },
    "conv2d-weight-grad": {
        "op": "conv2d_weight_grad",
        "params": {**_CONVOLUTION, "weight_size": _WEIGHT},
        "shapes": {"grad_output": [8, *_IMAGE[1:]], "input": [8, *_IMAGE[1:]]},
    },
    "linear": {
        "op": "linear",
        "params": {},
        "shapes": {"input": [1, 1024], "weight": [256, 1024], "bias": [256]},
    },
    "linear-weight-grad": {
        "op": "linear_weight_grad",
        "params": {},
        "shapes": {"grad_output": [512, 128], "input": [512, 128]},
    },
    "layer-norm": {
        "op": "layer_norm",
        "params": {"normalized_shape": [768], "eps": 1e-5},
        "shapes": {"input": [1, 768], "weight": [768], "bias": [768]},
    },
    "batch-norm": {
        "op": "batch_norm",
        "params": {"training": True, "eps": 1e-5},
        "shapes": {"input": [8, *_IMAGE[1:]], "weight": [64], "bias": [64]},
    },
    "group-norm": {
        "op": "group_norm",
        "params": {"num_groups": 8, "eps": 1e-5},
        "shapes": {"input": _IMAGE, "weight": [64], "bias": [64]},
    },
}

# A sample of a batch is a question of its own only where nothing is summed over the batch.
_OF_SAMPLES = tuple(name for name in _LAYERS if not name.endswith("weight-grad") and name != "batch-norm")
_IMAGES = tuple(name for name, layer in _LAYERS.items() if len(layer["shapes"].get("input", ())) == 4)
_WIDER = ("conv2d-3x3", "conv2d-1x1", "conv2d-depthwise")

_FACTORS: Mapping[str, tuple[Sequence[Any], Sequence[str]]] = {
    "repeats": (list(range(1, 21)), tuple(_LAYERS)),
    "batch": ([1, 2, 8, 32], _OF_SAMPLES),
    "neighbours": (list(NEIGHBOURS), _OF_SAMPLES),
    "width": ([0, 1, 4, 36], _WIDER),
    "threads": ([1, 2, 4], tuple(_LAYERS)),
    "memory_format": (["contiguous", "channels_last"], (*_IMAGES, "conv2d-input-grad")),
    "offset": ([0, 1, 4], ("conv2d-3x3", "linear", "layer-norm")),
    "stream": (["idle", "busy", "own"], ("conv2d-3x3", "conv2d-weight-grad", "linear", "layer-norm")),
}

PROBES: tuple[RecordedProbe, ...] = (
    *(
        RecordedProbe(f"operands-{name.replace('_', '-')}", f"operands of {name}", "operands", arguments)
        for name, arguments in _OPERANDS
    ),
    *(
        RecordedProbe(
            f"accumulator-{op}-{terms}",
            f"accumulator of {op}, {terms} terms",
            "accumulator",
            {"op": op, "terms": terms},
        )
        for op, terms in _ACCUMULATORS
    ),
    *(
        RecordedProbe(
            f"order-{op}-{terms}",
            f"order of {op}, {terms} terms",
            "order",
            {"op": op, "terms": terms},
        )
        for op, terms in _ORDERS
    ),
    *(
        RecordedProbe(
            f"{factor.replace('_', '-')}-{name}",
            f"{name}: same bits over {factor.replace('_', ' ')}?",
            "invariance",
            {"factor": factor, "settings": list(settings), "case": name, **_LAYERS[name]},
        )
        for factor, (settings, names) in _FACTORS.items()
        for name in names
    ),
)
