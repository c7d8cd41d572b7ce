"""Builders that turn a layer's shape into a `Case`, with its small-integer probe.

Probes.  A convolution or linear layer gets integers from -2 to 2: all partial sums are integers
below 2^24, so float32, TF32 and bfloat16 operands give the same exact result in any order.  A
normalization gets groups with exact mean and variance 3/4, and eps 1/4, so that the
reciprocal square root is exactly 1: the output is an integer too.  Every other group has mean 0:
there the sums are exact in any order, and only the last few operations may round.

The `width` variant of a sum picks one input for each output, times a power of two: float32 returns all
24 bits of it, and narrower operands or results do not.  That of a normalization has a variance near
eps, so that another eps shows, and weights of 24 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from precision.cases import Case
from precision.inputs import Array

_NO_ARGUMENTS: Mapping[str, Any] = {}

UNIFORM = ("uniform", _NO_ARGUMENTS)
NORMAL = ("normal", _NO_ARGUMENTS)
OFFSET = ("normal", {"mean": 1000.0})

Recipe = tuple[str, Mapping[str, Any]]

# Multiples of 2^-23 in [-1, 1): all 24 bits of a significand are used.
_FULL_WIDTH: Recipe = ("uniform", {"low": -1.0, "high": 1.0})
_ZEROS: Recipe = ("constant", {"value": 0.0})
_NEAR_EPS = 2.0**-8
"""Scale at which the variance 3/4 becomes 1.1e-5, about the usual eps."""


def _he(terms: int) -> Recipe:
    """Normal weights of variance 2 / terms (He et al. 2015), so that activations keep their scale."""
    return ("normal", {"scale": round((2.0 / terms) ** 0.5, 6)})


def conv(
    id: str,
    title: str,
    note: str,
    input: tuple[int, int, int, int],
    weight: tuple[int, int, int, int],
    data: str,
    recipes: tuple[Recipe, Recipe] | None = None,
    bias: Recipe | None = None,
    natural: Mapping[str, Mapping[str, Any]] = _NO_ARGUMENTS,
    **params: Any,
) -> Case:
    """A conv2d case: `input` is N, C, H, W and `weight` O, I/groups, kh, kw."""
    recipes = recipes or (NORMAL, _he(weight[1] * weight[2] * weight[3]))
    arrays = {"input": Array(input, *recipes[0]), "weight": Array(weight, *recipes[1])}
    probe = {
        "input": Array(input, "integers", {"low": -2, "high": 2}),
        "weight": Array(weight, "integers", {"low": -2, "high": 2}),
    }
    width = {"input": Array(input, *_FULL_WIDTH), "weight": Array(weight, "selector")}
    if bias is not None:
        arrays["bias"] = Array((weight[0],), *bias)
        probe["bias"] = Array((weight[0],), "integers", {"low": -8, "high": 8})
        width["bias"] = Array((weight[0],), *_ZEROS)
    declared = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **params}
    return Case(id, title, "convolution", "conv2d", declared, arrays, probe, width, data, note, natural)


def linear(id: str, title: str, note: str, rows: int, inputs: int, outputs: int) -> Case:
    """A linear case: input (rows, inputs), weight (outputs, inputs), bias (outputs)."""
    shapes = {"input": (rows, inputs), "weight": (outputs, inputs), "bias": (outputs,)}
    recipes = {"input": NORMAL, "weight": _he(inputs), "bias": NORMAL}
    arrays = {name: Array(shape, *recipes[name]) for name, shape in shapes.items()}
    probe = {name: Array(shape, "integers", {"low": -2, "high": 2}) for name, shape in shapes.items()}
    width = {
        "input": Array(shapes["input"], *_FULL_WIDTH),
        "weight": Array(shapes["weight"], "selector"),
        "bias": Array(shapes["bias"], *_ZEROS),
    }
    return Case(id, title, "linear", "linear", {}, arrays, probe, width, "normal", note)


def product(id: str, title: str, note: str, rows: int, inputs: int, outputs: int, recipe: Recipe) -> Case:
    """A linear case without bias, both arrays of one recipe: what an accumulator does with them."""
    shapes = {"input": (rows, inputs), "weight": (outputs, inputs)}
    arrays = {name: Array(shape, *recipe) for name, shape in shapes.items()}
    probe = {name: Array(shape, "integers", {"low": -2, "high": 2}) for name, shape in shapes.items()}
    width = {"input": Array(shapes["input"], *_FULL_WIDTH), "weight": Array(shapes["weight"], "selector")}
    return Case(id, title, "linear", "linear", {}, arrays, probe, width, recipe[0], note)


_AXES: Mapping[str, tuple[int, ...]] = {
    "batch_norm": (0, 2, 3),
    "instance_norm": (2, 3),
    "layer_norm": (-1,),
    "rms_norm": (-1,),
}


def norm(
    id: str, title: str, note: str, op: str, input: tuple[int, ...], offset: bool, **params: Any
) -> Case:
    """A normalization case on normal data, or on data with mean 1000 and variance 1."""
    per_channel = (input[-1],) if op in ("layer_norm", "rms_norm") else (input[1],)
    arrays = {
        "input": Array(input, *(OFFSET if offset else NORMAL)),
        "weight": Array(per_channel, "uniform", {"low": 0.5, "high": 1.5}),
        "bias": Array(per_channel, *NORMAL),
    }
    probe = {
        "input": _balanced(op, input, params),
        "weight": Array(per_channel, "integers", {"low": -2, "high": 2}),
        "bias": Array(per_channel, "integers", {"low": -8, "high": 8}),
    }
    width = {
        "input": _balanced(op, input, params, _NEAR_EPS),
        "weight": Array(per_channel, "uniform", {"low": 0.5, "high": 1.5}),
        "bias": Array(per_channel, *NORMAL),
    }
    probe_params: dict[str, Any] = {"eps": 0.25}
    if op == "rms_norm":
        del arrays["bias"], probe["bias"], width["bias"]
    if params.get("training") is False:
        mean = {"mean": 1000.0, "scale": 0.1} if offset else {"scale": 0.1}
        arrays["running_mean"] = Array(per_channel, "normal", mean)
        arrays["running_var"] = Array(per_channel, "uniform", {"low": 0.5, "high": 1.5})
        probe["running_mean"] = Array(per_channel, "integers", {"low": -2, "high": 2})
        probe["running_var"] = Array(per_channel, "constant", {"value": 0.75})
        width["running_mean"] = Array(per_channel, *_ZEROS)
        width["running_var"] = Array(per_channel, "constant", {"value": 0.75 * _NEAR_EPS**2})
    data = "mean 1000, variance 1" if offset else "normal"
    return Case(
        id, title, "normalization", op, params, arrays, probe, width, data, note, probe_params=probe_params
    )


def _balanced(op: str, input: tuple[int, ...], params: Mapping[str, Any], scale: float = 1.0) -> Array:
    # RMS norm does not centre: only with mean 0 is its mean square the variance, 3/4.  At a scale near
    # eps a mean would only add rounding.
    mean = 0 if op == "rms_norm" or scale != 1.0 else 2
    arguments: dict[str, Any] = {"mean": mean, "scale": scale}
    if op != "group_norm":
        return Array(input, "balanced", {"axes": list(_AXES[op]), **arguments})
    samples, channels, height, width = input
    groups = params["num_groups"]
    grouped = (samples, groups, channels // groups, height, width)
    return Array(input, "balanced_groups", {"grouped": list(grouped), **arguments})
