"""Activations as data, and the ops that are functions of one number: which other one was it?

Each activation has its Lipschitz constant and what its float32 evaluation rounds, in units of u: `own` times
the size of the argument, `flat` besides. The constants hold for a library whose exp, tanh and erf are right
within 4 ulp (see `reference.function_bounds`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision.meaning.hypotheses import (
    IDENTITY,
    After,
    Change,
    Declaration,
    Float64,
    Sample,
    nice_numbers,
    step,
)

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """A function of one number; slope, own, flat as in `precision.meaning.hypotheses.After`."""

    function: Callable[[Float64], Float64]
    slope: float = 1.0
    own: float = 0.0
    flat: float = 0.0

    def after(self, change: Change) -> After:
        return step(change, function=self.function, slope=self.slope, own=self.own, flat=self.flat)


def sigmoid(x: Float64) -> Float64:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def erf(x: Float64) -> Float64:
    return np.array([math.erf(t) for t in x.reshape(-1).tolist()]).reshape(x.shape)


def erfc(x: Float64) -> Float64:
    return np.array([math.erfc(t) for t in x.reshape(-1).tolist()]).reshape(x.shape)


def leaky(slope: float) -> Activation:
    """x, or slope x below zero."""
    return Activation(lambda x: np.where(x < 0, slope * x, x), max(1.0, abs(slope)), 2.0 * abs(slope))


def elu(alpha: float) -> Activation:
    """x, or alpha (exp(x) - 1) below zero."""
    return Activation(
        lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x),
        max(1.0, abs(alpha)),
        16.0 * abs(alpha),
        16.0 * abs(alpha),  # exp(x) - 1 without expm1 loses digits near zero
    )


def _softplus(x: Float64) -> Float64:
    return np.asarray(np.logaddexp(0.0, x))


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(lambda x: np.where(x < 0, 0.0, x)),
    "relu6": Activation(lambda x: np.clip(x, 0.0, 6.0)),
    "leaky_relu(0.01)": leaky(0.01),
    "leaky_relu(0.2)": leaky(0.2),
    "leaky_relu(0.3)": leaky(0.3),
    "leaky_relu(0.1)": leaky(0.1),
    "silu": Activation(lambda x: x * sigmoid(x), 1.1, 20.0),
    "gelu": Activation(lambda x: 0.5 * x * erfc(-x / math.sqrt(2.0)), 1.13, 32.0),
    "gelu(tanh)": Activation(
        lambda x: x * sigmoid(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x * x * x)), 1.13, 40.0
    ),
    "quick gelu": Activation(lambda x: x * sigmoid(1.702 * x), 1.1, 24.0),
    "sigmoid": Activation(sigmoid, 0.25, 4.0, 16.0),
    "tanh": Activation(np.tanh, 1.0, 16.0),
    "elu": elu(1.0),
    "selu": Activation(
        lambda x: SELU_SCALE * elu(SELU_ALPHA).function(x), SELU_SCALE * SELU_ALPHA, 32.0, 32.0
    ),
    "softplus": Activation(_softplus, 1.0, 16.0, 24.0),
    "mish": Activation(lambda x: x * np.tanh(_softplus(x)), 1.1, 40.0),
    "hard_sigmoid": Activation(lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0), 1.0 / 6.0, 4.0, 4.0),
    "hard_sigmoid(0.2 x + 0.5)": Activation(lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0), 0.2, 4.0, 4.0),
    "hard_swish": Activation(lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0), 1.5, 8.0),
    "softsign": Activation(lambda x: x / (1.0 + np.abs(x)), 1.0, 8.0),
    "exp": Activation(np.exp, math.inf),
}
"""Fused after another op, or in place of a function of one number. exp has no Lipschitz constant: it is only
looked for where its argument is known exactly."""

OF_OP: Mapping[str, str] = {
    "relu": "relu",
    "silu": "silu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "selu": "selu",
    "softplus": "softplus",
    "exp": "exp",
}
FUNCTIONS = frozenset((*OF_OP, "leaky_relu", "elu", "gelu", "expm1", "log", "log1p", "erf", "erfc"))


def name_of(op: str, params: Mapping[str, Any]) -> str:
    """The name of a declared function of one number, as in `ACTIVATIONS` where it is one of them."""
    if op == "leaky_relu":
        return f"leaky_relu({float(params.get('negative_slope', 0.01)):g})"
    if op == "gelu":
        return "gelu(tanh)" if params.get("approximate") == "tanh" else "gelu"
    alpha = float(params.get("alpha", 1.0))
    if op == "elu":
        return "elu" if alpha == 1.0 else f"elu({alpha:g})"
    return OF_OP.get(op, op)


def in_place_of(declared: Declaration, sample: Sample) -> Iterator[Declaration]:
    """Other functions of the same numbers: another kind of gelu, another slope, another activation, none."""
    if declared.op not in FUNCTIONS or declared.form == IDENTITY:
        return
    own = name_of(declared.op, declared.params)
    x = np.asarray(declared.arrays["input"]).reshape(-1)[sample.flat].astype(np.float64)
    yield from _solved(declared, x, sample.output)
    for name, activation in ACTIVATIONS.items():
        if name == own or {declared.op, name.split("(")[0]} in ({"leaky_relu"}, {"gelu"}):
            continue
        change = Change("activation", own, name, f"{name} in place of {own}")
        yield declared.then(change, activation.after(change), form=IDENTITY)
    if declared.op == "gelu":
        kind = "none" if declared.params.get("approximate") == "tanh" else "tanh"
        found = "gelu" if kind == "none" else "gelu(tanh)"
        change = Change(
            "approximate", declared.params.get("approximate", "none"), kind, f"GELU by the formula {kind!r}"
        )
        yield declared.then(change, ACTIVATIONS[found].after(change), form=IDENTITY)
    change = Change("activation", own, "none", f"{own} is missing")
    yield declared.then(change, step(change), form=IDENTITY)


def _solved(declared: Declaration, x: Float64, output: Float64) -> Iterator[Declaration]:
    """Slopes and alphas that the output itself gives."""
    if declared.op not in ("leaky_relu", "relu", "elu"):
        return
    below = (x < 0) & np.isfinite(x)
    negative = np.where(below, x, 0.0)
    part = np.expm1(negative) if declared.op == "elu" else negative
    name, make = ("alpha", elu) if declared.op == "elu" else ("negative_slope", leaky)
    for number in solved_factors(part[below], output[below]):
        found = Change(
            name,
            declared.params.get(name, {"alpha": 1.0, "negative_slope": 0.01}[name])
            if declared.op != "relu"
            else 0.0,
            number,
            f"{name} {number:g}",
            solved=True,
        )
        yield declared.then(found, make(number).after(found), form=IDENTITY)


def solved_factors(parts: Float64, output: Float64) -> Iterator[float]:
    """Numbers c near the one with output = c parts, simplest first; none where nothing can be solved."""
    good = np.isfinite(parts) & np.isfinite(output) & (parts != 0)
    whole = float(np.sum(parts[good] ** 2))
    if np.count_nonzero(good) >= LEAST_SOLVED and whole > 0:
        factor = float(np.sum(parts[good] * output[good])) / whole
        yield from nice_numbers(factor, max(1e-4 * abs(factor), 1e-7))


LEAST_SOLVED = 4
"""Numbers that must agree before a factor computed from them says anything."""
