"""A unit of a model on its arrays, as a declaration that the reference can evaluate; and how two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing.attention import ATTENTION, masked_in_words, sees_nothing
from precision.tracing.glue import GLUE, padded
from precision.tracing.units import CONSTANTS, Unit, explicit
from reference import OPS

Float32 = NDArray[np.float32]
Arrays = Mapping[str, Float32]

FLATTEN = "flatten order"
_NOTHING = 250.0
"""exp of minus this is below 2**-360: less than any sum of float32 numbers shows."""
_RUNNING = ("running_mean", "running_var")
_SILENT = {"momentum"}
"""Parameters that the output does not show."""
_UNSEEN = ("keepdim", "shape", "out_last", "at")
"""Parameters that tell shapes and places, which are compared by themselves."""
_DEFAULTS: Mapping[str, Any] = {
    "padding_mode": "zeros", "training": False, "groups": 1, "approximate": "none", "align_corners": False,
    "recompute_scale_factor": False, "negative_slope": 0.01, "alpha": 1.0, "output_padding": 0,
    "dilation": 1, "ceil_mode": False,
}  # fmt: skip


@dataclass(frozen=True)
class Declared:
    """op, params and arrays as `reference.evaluate` takes them; of glue the inputs stand in order.

    flatten: the order in which an image was taken apart before a linear layer; image: that image.
    """

    op: str
    params: Mapping[str, Any]
    arrays: Arrays
    inputs: tuple[Float32, ...] = ()
    flatten: str | None = None
    image: Float32 | None = None
    pad: Mapping[str, Any] | None = None

    @property
    def known(self) -> bool:
        """Whether there is a truth of it."""
        return self.op in GLUE or self.op in OPS

    @property
    def weights(self) -> dict[str, Float32]:
        own = ("input", "other", *CONSTANTS)
        return {name: array for name, array in self.arrays.items() if name not in own}

    @property
    def operands(self) -> tuple[Float32, ...]:
        """All that glue is computed from: a parameter of the model stands where the call has it."""
        if self.op == "embedding":
            return self.arrays["indices"], self.arrays["weight"]
        if self.op == ATTENTION:
            return (*self.inputs, self.arrays["mask"]) if "mask" in self.arrays else self.inputs
        if "weight" not in self.arrays:
            return self.inputs
        at = int(self.params.get("at", 0))
        return (*self.inputs[:at], self.arrays["weight"], *self.inputs[at:])

    def flattened(self, order: str | None) -> Declared:
        """The same with the image taken apart in another order."""
        if self.image is None or order is None:
            return self
        return replace(self, flatten=order, arrays={**self.arrays, "input": _flat(self.image, order)})


def declare(
    unit: Unit, inputs: Sequence[Float32], weights: Arrays, output: Float32 | None = None
) -> Declared:
    """The declaration of a unit with these inputs and weights; the output gives a dropout's mask."""
    op, params, given = unit.op, dict(unit.params), tuple(inputs)
    if op == "random" and unit.main.detail == "dropout" and "p" in params and output is not None and given:
        mask = ((output != 0) | (given[0] == 0)).astype(np.float32)
        arrays = {"input": given[0], "mask": mask}
        return Declared("dropout", {"p": params["p"], "training": True}, arrays)
    if op in GLUE:
        if op == "reshape":
            params |= {"shape": list(unit.shape)}
        if op == ATTENTION and sees_nothing(weights.get("mask")):
            return Declared("unknown", params, {}, given)
        return Declared(op, params, dict(weights), given)
    if op not in OPS or not given:
        return Declared("unknown", params, {}, given)
    flatten, image, pad = None, None, None
    x, before = given[0], unit.before
    if before is not None and before.op == "reshape":
        flatten, image = str(before.params["order"]), x
        x = _flat(x, flatten)
    elif before is not None and not unit.folds:
        pad = before.params
        x = padded(x, pad)
    arrays = {"input": _unmasked(x, params["dim"]) if op == "softmax" else x, **weights}
    if op == "matmul" and len(given) > 1:
        arrays["other"] = given[1]
    if op == "batch_norm" and params.get("training"):
        arrays = {name: array for name, array in arrays.items() if name not in _RUNNING}
    known = OPS[op]
    arrays = {name: array for name, array in arrays.items() if name in known.required + known.optional}
    params = {name: value for name, value in params.items() if name in known.params}
    return Declared(op, params, arrays, given, flatten, image, pad)


@dataclass(frozen=True)
class Difference:
    """A parameter that two declarations give differently; silent: the output does not show it."""

    parameter: str
    declared: Any
    found: Any
    rules: tuple[str, str] = ("", "")
    """The names of the rules, "same", that the values come from."""

    @property
    def silent(self) -> bool:
        return self.parameter in _SILENT

    @property
    def words(self) -> str:
        a, b = (f"{rule} = " if rule else "" for rule in self.rules)
        return f"{self.parameter}: A {a}{self.declared!r}, B {b}{self.found!r}"


def differences(a: Unit, b: Unit, one: Declared, other: Declared) -> list[Difference]:
    """What two units declare differently, in effect: "same" and the numbers that it comes to are equal."""
    if a.op != b.op:
        return [Difference(_kind(a.op), a.op, b.op)]
    found = _constants(one, other)
    left, right = _effective(a, one), _effective(b, other)
    for name in {**left, **right}:
        x, y = left.get(name, _DEFAULTS.get(name)), right.get(name, _DEFAULTS.get(name))
        if not _equal(x, y):
            found.append(Difference(_word(name), x, y, (_rule(a, name), _rule(b, name))))
    for name in {**one.weights, **other.weights}:
        has = name in one.weights
        if name not in _RUNNING and has != (name in other.weights):
            if ((one if has else other).weights[name] == (0.0 if name == "bias" else 1.0)).all():
                continue  # a bias of zeros, a scale of ones: the same as none
            missing = Difference("affine" if "norm" in a.op else name, has, not has)
            if missing not in found:
                found.append(missing)
    return found


def _constants(one: Declared, other: Declared) -> list[Difference]:
    """What a call is given besides numbers: the mask of an attention, the indices of a table."""
    a, b = (each.arrays.get("indices") for each in (one, other))
    if a is not None and b is not None and not np.array_equal(a, b):
        return [Difference("indices", "A's", "others")]
    if one.op != ATTENTION:
        return []
    masks = [each.arrays.get("mask") for each in (one, other)]
    full = [np.zeros(1, np.float32) if mask is None else mask for mask in masks]
    try:
        left, right = np.broadcast_arrays(*full)
        same = np.array_equal(left, right)
    except ValueError:
        same = False
    if same:
        return []
    words = [masked_in_words(mask) for mask in masks]
    declared, found = words if words[0] != words[1] else ("A's", "another")
    return [Difference("mask", declared, found)]


def same_weights(a: Declared, b: Declared) -> tuple[bool, str]:
    """Whether the arrays that both have are the same, and in words what is not."""
    for name, array in a.weights.items():
        other = b.weights.get(name)
        if other is None:
            continue
        if array.shape != other.shape:
            return False, f"{name} is {list(other.shape)}, A's is {list(array.shape)}"
        if not np.array_equal(array, other, equal_nan=True):
            apart = float(np.max(np.abs(array.astype(np.float64) - other)))
            return False, f"{name} differs from A's by up to {apart:.3g}"
    return True, ""


def reordered(weight: Float32, image: Sequence[int], now: str, wanted: str) -> Float32:
    """A linear layer's weight for an image that is taken apart in another order; image: (N, C, *space)."""
    if now == wanted or len(image) < 3:
        return weight
    channels, space = int(image[1]), [int(n) for n in image[2:]]
    if now == "NHWC":
        split = np.moveaxis(weight.reshape(-1, *space, channels), -1, 1)
    else:
        split = np.moveaxis(weight.reshape(-1, channels, *space), 1, -1)
    return np.ascontiguousarray(split.reshape(weight.shape))


def _unmasked(x: Float32, dim: int) -> Float32:
    """Scores of a softmax, those of -Inf put so far below the largest that they round to nothing too.

    A row of nothing but -Inf stays: its softmax is no number.
    """
    shut = np.isneginf(x)
    if not shut.any():
        return x
    top = x.max(dim, keepdims=True)
    return np.where(shut & np.isfinite(top), top - np.float32(_NOTHING), x)


def _flat(image: Float32, order: str) -> Float32:
    turned = np.moveaxis(image, 1, -1) if order == "NHWC" else image
    return np.ascontiguousarray(turned.reshape(len(image), -1))


def _effective(unit: Unit, declared: Declared) -> dict[str, Any]:
    params = {name: value for name, value in declared.params.items() if name not in _UNSEEN}
    if "padding" in params and not unit.op.startswith("conv_transpose"):
        by_rule = params["padding"] == "same"
        params["padding"] = _padding(unit)
        if unit.op.startswith("avg_pool"):
            counted = params.get("count_include_pad")
            params["count_include_pad"] = (not by_rule if counted is None else counted) or not any(
                params["padding"]
            )
    for name in ("stride", "dilation", "kernel_size", "output_padding"):
        if isinstance(params.get(name), list) and len(set(params[name])) == 1:
            params[name] = params[name][0]
    if unit.op.startswith("max_pool") and declared.pad is not None:
        params["padding value"] = float(declared.pad["value"])
    return params


def _padding(unit: Unit) -> list[int]:
    own = unit.params["padding"]
    if isinstance(own, list):
        return [int(side) for side in own]
    return explicit(unit.main)


def _rule(unit: Unit, name: str) -> str:
    own = unit.params.get(name)
    return own if name == "padding" and isinstance(own, str) and own != "valid" else ""


def _equal(x: Any, y: Any) -> bool:
    if isinstance(x, float) or isinstance(y, float):
        try:
            return abs(float(x) - float(y)) <= 1e-12 * max(abs(float(x)), abs(float(y)))
        except (TypeError, ValueError):
            return bool(x == y)
    return bool(x == y)


def _kind(op: str) -> str:
    if op in ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus", "prelu",
              "clamp", "softmax", "log_softmax"):  # fmt: skip
        return "activation"
    return "normalization" if op.endswith("_norm") else "operation"


def _word(name: str) -> str:
    return {"num_groups": "groups", "dim": "axis", "padding_mode": "padding mode"}.get(name, name)
