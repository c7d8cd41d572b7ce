"""Keras's activation functions as declarations, and where axes and reshapes of channels-last arrays lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from precision.tracing.tape import IDENTITY, UNKNOWN, Call

Found = tuple[Call, bool, bool]
"""The call, whether its operands lie channels last, whether its output does."""

_FUNCTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {}),
    "relu6": ("clamp", {"low": 0.0, "high": 6.0}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}),
    "elu": ("elu", {"alpha": 1.0}),
    "selu": ("selu", {}),
    "gelu": ("gelu", {"approximate": "none"}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "softplus": ("softplus", {}),
    "exponential": ("exp", {}),
    "softmax": ("softmax", {}),
    "log_softmax": ("log_softmax", {}),
    "linear": (IDENTITY, {}),
}


def activation_call(function: Any, x: Any, last: bool) -> Call:
    """The declaration of an activation function with its default parameters."""
    name = getattr(function, "__name__", type(function).__name__)
    known = _FUNCTIONS.get(name)
    if known is None:
        return Call(UNKNOWN, (x,), detail=name)
    op, params = known
    if op in ("softmax", "log_softmax"):
        params = {"dim": axis_of(-1, len(x.shape), last)}
    return Call(op, (x,), params, {}, name)


COMPOSED = ("gelu", "silu", "swish")
"""Functions of tf.nn and keras.activations that are many operations."""


def composed_call(name: str, x: Any, given: Mapping[str, Any]) -> Call | None:
    """The declaration of one of these; given: all its arguments."""
    if name == "gelu":
        return Call("gelu", (x,), {"approximate": "tanh" if given["approximate"] else "none"}, {}, name)
    return Call("silu", (x,), {}, {}, name) if float(given.get("beta", 1.0)) == 1.0 else None


def axis_of(axis: int, rank: int, last: bool) -> int:
    """An axis of a tensor as an axis of its canonical array."""
    positive = int(axis) % rank
    if not last or rank < 3 or positive == 0:
        return positive
    return 1 if positive == rank - 1 else positive + 1


def reshaped(before: int, after: int, last: bool) -> tuple[dict[str, Any], bool]:
    """The parameters of a reshape between two ranks, and whether its result lies channels last.

    An image that becomes a sequence, (N, H, W, C) to (N, pixels, C), lies as sequences do in every framework.
    """
    turned = last and before > 2
    out = turned and after > 2 and not (before > 3 and after == 3)
    return {"order": "NHWC" if turned else "NCHW", "out_last": out}, out
