"""Random declarations of ops that are sums of products: seeded, and small enough to be revealed at once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from reference.geometry import geometry

FAMILIES = (
    "conv2d",
    "conv2d",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_transpose2d",
    "conv1d",
    "conv3d",
    "depthwise",
    "linear",
    "matmul",
)
MOST_TERMS = 1500
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Declaration:
    """One op with its parameters and the shapes of its arrays."""

    op: str
    params: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def declaration(seed: int) -> Declaration:
    """The declaration of one seed."""
    rng = random.Random(seed)
    while True:
        family = rng.choice(FAMILIES)
        found = _dense(rng, family) if family in ("linear", "matmul") else _convolution(rng, family)
        if found is not None:
            return found


def _channels(rng: random.Random) -> int:
    return rng.choice((1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 32, 33, 48, 64, 96))


def _dense(rng: random.Random, family: str) -> Declaration:
    rows, terms, columns = rng.randint(1, 40), rng.randint(1, 600), _channels(rng)
    if family == "matmul":
        batch = rng.choice(((), (2,), (3,)))
        return Declaration("matmul", {}, {"input": (*batch, rows, terms), "other": (*batch, terms, columns)})
    shapes: dict[str, tuple[int, ...]] = {"input": (rows, terms), "weight": (columns, terms)}
    if rng.random() < 0.6:
        shapes["bias"] = (columns,)
    return Declaration("linear", {}, shapes)


def _convolution(rng: random.Random, family: str) -> Declaration | None:
    axes = {"conv1d": 1, "conv3d": 3}.get(family, 2)
    depthwise = family == "depthwise"
    op = "conv2d" if depthwise else family
    inputs = _channels(rng)
    outputs = inputs * rng.choice((1, 1, 2)) if depthwise else _channels(rng)
    groups = (
        inputs if depthwise else rng.choice([g for g in (1, 1, 1, 2, 4) if not (inputs % g or outputs % g)])
    )
    limit = {1: 40, 2: 16, 3: 7}[axes]
    size = tuple(rng.randint(3, limit) for _ in range(axes))
    kernel = tuple(rng.choice((1, 2, 3, 3, 5)) for _ in range(axes))
    params: dict[str, Any] = {
        "stride": rng.choice((1, 1, 1, 2, 3)),
        "dilation": rng.choice((1, 1, 1, 2)),
        "groups": groups,
        "padding": rng.choice((0, 1, "same", [1, 2] * axes)),
    }
    batch = rng.choice((1, 1, 2, 3))
    weight = (outputs, inputs // groups, *kernel)
    image = (batch, inputs, *size)
    if op.startswith("conv_transpose"):
        params["padding"] = rng.choice((0, 1))
        weight = (inputs, outputs // groups, *kernel)
        if min(kernel) < 2 * int(params["padding"]) + 1 or inputs // groups * max(kernel) ** 2 > MOST_TERMS:
            return None
        shapes = {"input": image, "weight": weight}
        if rng.random() < 0.5:
            shapes["bias"] = (outputs,)
        return Declaration(op, params, shapes)
    try:
        geo = geometry(image, weight, axes=axes, op=f"conv{axes}d", **params)
    except ValueError:
        return None
    terms = {"_input_grad": geo.filters * 9, "_weight_grad": batch * geo.out[0] * geo.out[-1]}
    if max([geo.terms, *(n for name, n in terms.items() if op.endswith(name))]) > MOST_TERMS:
        return None
    return _direct(rng, op, params, image, weight, (batch, outputs, *geo.out))


def _direct(
    rng: random.Random, op: str, params: dict[str, Any], image: Shape, weight: Shape, result: Shape
) -> Declaration:
    if op.endswith("_input_grad"):
        return Declaration(
            op, {**params, "input_size": list(image)}, {"grad_output": result, "weight": weight}
        )
    if op.endswith("_weight_grad"):
        return Declaration(
            op, {**params, "weight_size": list(weight)}, {"grad_output": result, "input": image}
        )
    shapes: dict[str, Shape] = {"input": image, "weight": weight}
    if rng.random() < 0.6:
        shapes["bias"] = weight[:1]
    return Declaration(op, params, shapes)
