"""Builders of gradient cases from the layers that they belong to: both operands of a layer's backward call.

The probes are as in `precision.suites.layers`: integers on which sums are exact in any order, and one
product for each output (`width`), which float32 returns with all of its 24 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from precision.cases import Case
from precision.frameworks.padding import explicit_padding, per_axis
from precision.inputs import Array

_NORMAL: tuple[str, Mapping[str, Any]] = ("normal", {})
_SMALL: tuple[str, Mapping[str, Any]] = ("integers", {"low": -2, "high": 2})
_WIDE: tuple[str, Mapping[str, Any]] = ("uniform", {"low": -1.0, "high": 1.0})
# A normalization's probe comes from its forward case; its gradient must not cancel to nothing.
_STATISTICS = ("running_mean", "running_var")


def output_shape(case: Case) -> tuple[int, ...]:
    """Return the shape of a layer's output, from its declaration alone."""
    image = case.arrays["input"].shape
    if case.op == "linear":
        return (*image[:-1], case.arrays["weight"].shape[0])
    if case.family == "normalization":
        return image
    weight, p = case.arrays["weight"].shape, case.params
    pads = explicit_padding(p["padding"], image[2:], weight[2:], p["stride"], p["dilation"])
    strides, dilations = per_axis(p["stride"], 2), per_axis(p["dilation"], 2)
    sizes = (
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, pad, k, d, s in zip(image[2:], pads, weight[2:], dilations, strides, strict=True)
    )
    return (image[0], weight[0], *sizes)


def gradients(case: Case) -> tuple[Case, Case]:
    """Return the gradients of a layer's input and of its weight, as cases of their own."""
    if case.family == "normalization":
        return _norm_gradient(case, "input"), _norm_gradient(case, "weight")
    return _sum_gradient(case, "input"), _sum_gradient(case, "weight")


def _sum_gradient(case: Case, wanted: str) -> Case:
    other = "weight" if wanted == "input" else "input"
    shapes = {"grad_output": output_shape(case), other: case.arrays[other].shape}
    arrays = {"grad_output": Array(shapes["grad_output"], *_NORMAL), other: case.arrays[other]}
    probe = {name: Array(shape, *_SMALL) for name, shape in shapes.items()}
    width = {
        "grad_output": Array(shapes["grad_output"], *_WIDE),
        other: Array(shapes[other], *_WIDE),
    }
    params = dict(case.params)
    if case.op == "linear":
        picked = other if wanted == "input" else "grad_output"
        width[picked] = _picked(shapes[picked], shapes[picked], (1,))
    else:
        params[f"{wanted}_size"] = list(case.arrays[wanted].shape)
        groups, weight = int(params["groups"]), case.arrays["weight"].shape
        if wanted == "input":
            grouped = (groups, weight[0] // groups, *weight[1:])
            width["weight"] = _picked(weight, grouped, (0, 2))
        else:
            width["grad_output"] = _picked(shapes["grad_output"], shapes["grad_output"], (1,))
    return Case(
        f"{case.id}-{wanted}-grad",
        f"{case.title}: gradient of the {wanted}",
        "gradient",
        f"{case.op}_{wanted}_grad",
        params,
        arrays,
        probe,
        width,
        f"gradient normal; {other}: {case.data}",
        f"The backward call of {case.id}: {case.note}",
    )


def _picked(shape: tuple[int, ...], grouped: tuple[int, ...], keep: tuple[int, ...]) -> Array:
    return Array(shape, "picked", {"grouped": list(grouped), "keep": list(keep)})


def _norm_gradient(case: Case, wanted: str) -> Case:
    names = {"input", *_STATISTICS} | ({"weight"} if wanted == "input" else set())
    shape = case.arrays["input"].shape

    def with_gradient(arrays: Mapping[str, Array], recipe: tuple[str, Mapping[str, Any]]) -> dict[str, Array]:
        kept = {name: array for name, array in arrays.items() if name in names}
        return {"grad_output": Array(shape, *recipe), **kept}

    return Case(
        f"{case.id}-{wanted}-grad",
        f"{case.title}: gradient of the {wanted}",
        "normalization gradient",
        f"{case.op}_{wanted}_grad",
        case.params,
        with_gradient(case.arrays, _NORMAL),
        with_gradient(case.probe, _SMALL),
        with_gradient(case.width, _WIDE),
        f"gradient normal; input: {case.data}",
        f"The backward call of {case.id}: {case.note}",
        probe_params=case.probe_params,
    )
