"""The gradients of the normalizations as ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import grouped, norm_gradients, plain_statistics
from reference.norm_gradients import normalized_sizes
from reference.op import Op
from reference.truth import Truth

Names = tuple[str, ...]
Rows = Callable[..., grouped.Grouped]
_RUNNING = ("running_mean", "running_var")
_LAYER = ("normalized_shape", "axes")  # one of them
_BOTH = ("grad_output", "input")


def _input_grad(truth: Callable[..., Truth], rows: Rows, params: Names, optional: Names, eps: float) -> Op:
    def plain(grad_output: Any, eps: float = eps, **given: Any) -> npt.NDArray[np.float32]:
        return plain_statistics.input_gradient(rows(**given), grad_output, eps)

    def terms(grad_output: Any, eps: float = eps, **given: Any) -> int:
        found = rows(**given)
        return 1 if found.given is not None else int(found.x.shape[1])

    return Op(truth.__name__, truth, plain, terms, _BOTH, optional, (*params, "eps"), _needed(params))


def _weight_grad(truth: Callable[..., Truth], rows: Rows, params: Names, optional: Names, eps: float) -> Op:
    def shape(given: dict[str, Any]) -> tuple[int, ...]:
        if "axes" in params:
            return normalized_sizes(
                np.shape(given["input"]), given.get("normalized_shape"), given.get("axes")
            )
        return (int(np.shape(given["input"])[-1 if given.get("layout") == "NHWC" else 1]),)

    def plain(grad_output: Any, eps: float = eps, **given: Any) -> npt.NDArray[np.float32]:
        return plain_statistics.weight_gradient(rows(**given), grad_output, eps, shape(given))

    def terms(grad_output: Any, eps: float = eps, **given: Any) -> int:
        return int(rows(**given).x.size) // max(1, math.prod(shape(given)))

    return Op(truth.__name__, truth, plain, terms, _BOTH, optional, (*params, "eps"), _needed(params))


def _bias_grad(truth: Callable[..., Truth], params: Names) -> Op:
    def axes(shape: tuple[int, ...], given: dict[str, Any]) -> list[int]:
        if "axes" in params:
            within = grouped.normalized_axes(shape, given.get("normalized_shape"), given.get("axes"))
            return [a for a in range(len(shape)) if a not in within]
        channel = len(shape) - 1 if given.get("layout") == "NHWC" else 1
        return [a for a in range(len(shape)) if a != channel]

    def plain(grad_output: Any, **given: Any) -> npt.NDArray[np.float32]:
        truth(grad_output, **given)  # raises for what does not fit
        return plain_statistics.sum_(grad_output, dim=axes(np.shape(grad_output), given))

    def terms(grad_output: Any, **given: Any) -> int:
        shape = np.shape(grad_output)
        return math.prod(shape[a] for a in axes(shape, given))

    return Op(truth.__name__, truth, plain, terms, ("grad_output",), (), params, _needed(params))


def _needed(params: Names) -> Names:
    return tuple(name for name in params if name == "num_groups")


def _family(name: str, rows: Rows, params: Names, running: Names = (), eps: float = 1e-5) -> tuple[Op, ...]:
    """The three gradients; a bias gradient only where there is a bias, and without what it does not need."""
    of_input, of_weight = (getattr(norm_gradients, f"{name}_{kind}_grad") for kind in ("input", "weight"))
    made = (
        _input_grad(of_input, rows, params, (*running, "weight"), eps),
        _weight_grad(of_weight, rows, params, running, eps),
    )
    of_bias = getattr(norm_gradients, f"{name}_bias_grad", None)
    if of_bias is None:
        return made
    kept = tuple(p for p in params if p in ("layout", *_LAYER))
    return (*made, _bias_grad(of_bias, kept))


OPS = (
    *_family("batch_norm", grouped.batch_norm_rows, ("training", "layout"), _RUNNING),
    *_family("layer_norm", grouped.layer_norm_rows, _LAYER),
    *_family("group_norm", grouped.group_norm_rows, ("num_groups", "layout")),
    *_family("instance_norm", grouped.instance_norm_rows, ("layout",)),
    *_family("rms_norm", grouped.rms_norm_rows, _LAYER, eps=2.0**-23),
)
