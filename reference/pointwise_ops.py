"""The ops without products of arrays: functions of one number, softmax, losses, resizing, optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import activations, dropout, losses, optimizers, rearrange, resize, softmax
from reference.op import Op
from reference.operands import operand
from reference.optimizer_formulas import Adam, Sgd
from reference.truth import Truth

Plain = Callable[..., npt.NDArray[np.float32]]


def _function(truth: Callable[..., Truth], *params: str, plain: Plain | None = None) -> Op:
    return Op(truth.__name__, truth, plain, None, ("input",), (), params)


def _relu(input: Any) -> npt.NDArray[np.float32]:
    x = operand(input, "input")
    return np.where(x < 0, np.float32(0), x)


def _leaky_relu(input: Any, *, negative_slope: float = 0.01) -> npt.NDArray[np.float32]:
    x = operand(input, "input")
    return np.where(x < 0, x * np.float32(negative_slope), x)


def _prelu(input: Any, weight: Any, *, layout: str = "NCHW") -> npt.NDArray[np.float32]:
    x, slopes = activations.prelu_slopes(input, weight, layout)
    return np.where(x < 0, x * slopes, x)


def _row(input: Any, *, dim: int = -1, **_: Any) -> int:
    return max(1, int(np.shape(input)[dim])) if np.ndim(input) else 1


def _row_op(truth: Callable[..., Truth], *params: str) -> Op:
    return Op(truth.__name__, truth, None, _row, ("input",), (), params)


def _loss(
    truth: Callable[..., Truth], optional: tuple[str, ...], *params: str, plain: Plain | None = None
) -> Op:
    return Op(truth.__name__, truth, plain, losses.loss_terms, ("input", "target"), optional, params)


def _step(name: str, rule: Callable[..., dict[str, Truth]], output: str) -> Op:
    """One output of an optimizer step as an op."""
    fields = [field.name for field in dataclasses.fields(Sgd if rule is optimizers.sgd else Adam)]
    needed = ("step",) if "step" in fields else ()
    state = ("exp_avg", "exp_avg_sq") if needed else ()
    kept = () if needed else ("momentum_buffer",)

    def truth(**given: Any) -> Truth:
        return rule(**given)[output]

    truth.__name__, family = name, name.partition("_")[0]
    truth.__doc__ = f"{output} after one step of {family}; see reference.optimizers.{family}"

    return Op(name, truth, None, None, ("param", "grad", *state), kept, tuple(fields), needed)


_RESIZE = (
    "size",
    "scale_factor",
    "mode",
    "align_corners",
    "recompute_scale_factor",
    "coordinates",
    "cubic_coefficient",
    "border",
    "layout",
)
_BLOCKS = ("block_size", "mode", "layout")

OPS = (
    *(
        _function(truth)
        for truth in (
            activations.exp,
            activations.expm1,
            activations.log,
            activations.log1p,
            activations.erf,
            activations.erfc,
            activations.tanh,
            activations.sigmoid,
            activations.silu,
            activations.selu,
        )
    ),
    _function(activations.relu, plain=_relu),
    _function(activations.leaky_relu, "negative_slope", plain=_leaky_relu),
    _function(activations.elu, "alpha"),
    _function(activations.gelu, "approximate"),
    _function(activations.softplus, "beta", "threshold"),
    Op("prelu", activations.prelu, _prelu, None, ("input", "weight"), (), ("layout",)),
    _row_op(softmax.softmax, "dim"),
    _row_op(softmax.log_softmax, "dim"),
    _row_op(softmax.logsumexp, "dim", "keepdim"),
    _loss(losses.cross_entropy, ("weight",), "ignore_index", "reduction", "label_smoothing"),
    _loss(losses.binary_cross_entropy_with_logits, ("weight", "pos_weight"), "reduction"),
    _loss(losses.mse_loss, (), "reduction", plain=losses.plain_mse_loss),
    Op("interpolate", resize.interpolate, None, resize.interpolate_terms, ("input",), (), _RESIZE),
    Op(
        "depth_to_space", rearrange.depth_to_space, rearrange.plain_depth_to_space, None,
        ("input",), (), _BLOCKS, ("block_size",),
    ),
    Op(
        "space_to_depth", rearrange.space_to_depth, rearrange.plain_space_to_depth, None,
        ("input",), (), _BLOCKS, ("block_size",),
    ),
    Op(
        "pixel_shuffle", rearrange.pixel_shuffle, None, None,
        ("input",), (), ("upscale_factor",), ("upscale_factor",),
    ),
    Op(
        "pixel_unshuffle", rearrange.pixel_unshuffle, None, None,
        ("input",), (), ("downscale_factor",), ("downscale_factor",),
    ),
    Op("dropout", dropout.dropout, None, None, ("input", "mask"), (), ("p", "training")),
    _step("sgd_param", optimizers.sgd, optimizers.PARAM),
    _step("sgd_momentum_buffer", optimizers.sgd, optimizers.BUFFER),
    _step("adam_param", optimizers.adam, optimizers.PARAM),
    _step("adam_exp_avg", optimizers.adam, optimizers.FIRST),
    _step("adam_exp_avg_sq", optimizers.adam, optimizers.SECOND),
)  # fmt: skip
