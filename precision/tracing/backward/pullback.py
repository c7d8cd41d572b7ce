"""The exact gradient of one unit of a model: what its output's gradient becomes at its operands.

With L a function of the unit's output y and g = dL/dy, the gradient at an operand x is the vector-Jacobian
product sum over the outputs of g dy/dx. Its truth is certified; its bound holds for a float32 evaluation in
any order, from the operands or, as frameworks do for activations, from the unit's own output.

Sums of products and normalizations are ops of the reference (`conv2d_input_grad` and its like), and the
search for another meaning runs on them; functions of one number, softmax, pooling and what stands between
layers are derived in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError, make_case
from precision.judging.case_judge import Judge
from precision.tracing.backward.functions import FUNCTIONS, elementwise, pulled, sloped
from precision.tracing.backward.glue import glue_pullbacks, inside
from precision.tracing.backward.pools import pool_pullback
from precision.tracing.backward.softmax import softmax_pullback
from precision.tracing.backward.sums import product_sums, spread_back
from precision.tracing.backward.verdict import Judged, Pullback
from precision.tracing.declared import Declared
from precision.tracing.glue import GLUE
from reference import OPS
from reference.activations import prelu_slopes

__all__ = ["Pullback", "pullbacks"]

Float32 = NDArray[np.float32]
Change = Callable[[NDArray[Any]], NDArray[Any]]
Found = dict[str, Pullback]

_ENGINE = {"in0": "input", "in1": "other", "weight": "weight", "bias": "bias"}
"""Of each operand of a sum of products or a normalization: what the op of its gradient is called after."""
_MASKED = ("add", "sub")
"""Operations whose gradients do not depend on what they add: a mask of -Inf does no harm."""


def pullbacks(declared: Declared, gradient: Float32) -> Found:
    """The gradients at a unit's operands, from the gradient at its output (of its canonical shape).

    Keys: "in0", "in1", … for `declared.inputs`, and the names of `declared.weights`. What is not known is
    left out: all of it where the gradient or an operand holds NaN or Inf (but for -Inf in the scores of a
    softmax, and in what is added to them). Raises ValueError where the gradient has another shape than the
    output.
    """
    if not declared.known or not _finite(declared, gradient):
        return {}
    op = declared.op
    if op in GLUE:
        return glue_pullbacks(declared, gradient)
    if op == "dropout":
        given = {"input": gradient, "mask": declared.arrays["mask"]}
        return _judged("in0", "dropout", given, declared.params)
    if f"{op}_input_grad" in OPS:
        return _by_engine(declared, gradient)
    return _by_formula(declared, gradient)


def _finite(declared: Declared, gradient: Float32) -> bool:
    arrays = list(declared.arrays.values())
    if declared.op != "softmax":  # there the scores are in `arrays`, those of -Inf made finite
        arrays += declared.inputs
    if declared.op in _MASKED:
        arrays = [np.where(np.isneginf(each), np.float32(0), each) for each in arrays]
    return bool(np.isfinite(gradient).all()) and all(bool(np.isfinite(each).all()) for each in arrays)


def _by_formula(declared: Declared, gradient: Float32) -> Found:
    op, params = declared.op, declared.params
    x = declared.arrays["input"]
    if op in FUNCTIONS or op in ("prelu", "softmax", "log_softmax"):
        if gradient.shape != x.shape:
            raise ValueError(
                f"a gradient has the shape of the output of {op}, {list(x.shape)}; it is "
                f"{list(gradient.shape)}; give the gradient of this unit"
            )
        if op in FUNCTIONS:
            return {"in0": elementwise(op, x, gradient, params)}
        if op == "prelu":
            return _prelu(x, declared.arrays["weight"], gradient)
        return {"in0": softmax_pullback(op, x, gradient, int(params["dim"]))}
    if op in ("sum", "mean"):
        given = params.get("dim")
        dims = range(x.ndim) if given is None else [given] if isinstance(given, int) else given
        return {"in0": spread_back(gradient, x.shape, [int(a) % x.ndim for a in dims], op == "mean")}
    if op[:-2] not in ("avg_pool", "max_pool"):
        return {}
    found = pool_pullback(op, x, gradient, params)
    change = _to_operand(declared)
    return {} if change is None else {"in0": _kept(found, declared, change)}


def _kept(found: Pullback, declared: Declared, change: Change) -> Pullback:
    return found if declared.pad is None else found.arranged(change)


def _prelu(x: Float32, weight: Float32, gradient: Float32) -> Found:
    """x where x > 0, w x elsewhere: dw is the sum of g x over the elements of its channel below zero."""
    _, slopes = prelu_slopes(x, weight)
    full = np.broadcast_to(slopes.astype(np.float64), x.shape)
    channels = np.arange(weight.size, dtype=np.int64)
    axis = 1 if x.ndim > 1 else 0
    shape = [1] * x.ndim
    shape[axis] = weight.size
    places = np.ascontiguousarray(np.broadcast_to(channels.reshape(shape), x.shape))
    below = np.minimum(x, np.float32(0))
    return {
        # Keras writes relu(x) - w relu(-x): at zero neither has a slope.
        "in0": pulled(x, gradient, sloped(x.astype(np.float64), full, 0.0)),
        "weight": product_sums(gradient, below, places, weight.shape),
    }


def _by_engine(declared: Declared, gradient: Float32) -> Found:
    found: Found = {}
    shared = {name: array for name, array in declared.arrays.items() if name != "grad_output"}
    for key, name in _ENGINE.items():
        op = f"{declared.op}_{name}_grad"
        if op not in OPS or name not in declared.arrays:
            continue
        known = OPS[op]
        taken = known.required + known.optional
        arrays = {each: array for each, array in shared.items() if each in taken} | {"grad_output": gradient}
        params = {each: value for each, value in declared.params.items() if each in known.params}
        sized = f"{name}_size"
        if sized in known.params:
            params[sized] = list(declared.arrays[name].shape)
        change: Change | None = None
        if key == "in0":
            change = _to_operand(declared)
            if change is None:
                continue
        found |= _judged(key, op, arrays, params, declared, change)
    return found


def _judged(
    key: str,
    op: str,
    arrays: Mapping[str, Float32],
    params: Mapping[str, Any],
    declared: Declared | None = None,
    change: Change | None = None,
) -> Found:
    """The gradient that an op of the reference is; left out where the op refuses these arrays."""
    shown = {"op": op, "params": dict(params), "arrays": dict(arrays)}
    try:
        engine = Judge(make_case(shown, {"output": np.zeros(1, np.float32)}))
        truth, limit = engine.truth, np.asarray(engine.known.limit)
    except CaseError:
        return {}
    if declared is None or change is None or (declared.pad is None and declared.image is None):
        return {key: Judged(truth, limit, (), engine)}
    places = change(np.arange(truth.value.size, dtype=np.int64).reshape(truth.value.shape))

    def whole(output: Float32) -> Float32:
        filled = engine.rounded.copy()
        filled.reshape(-1)[places.reshape(-1)] = output.reshape(-1)
        return filled

    return {key: Judged(truth.arranged(change), change(limit), (), engine, whole)}


def _to_operand(declared: Declared) -> Change | None:
    """From the array that the op takes to the unit's operand: cut out of its padding, the image put together.

    None where the padding copies the operand, whose gradient is then no part of the op's.
    """
    if declared.image is not None:
        shape = declared.image.shape
        if declared.flatten == "NHWC":
            lying = (shape[0], *shape[2:], shape[1])
            return lambda array: np.ascontiguousarray(np.moveaxis(array.reshape(lying), -1, 1))
        return lambda array: np.ascontiguousarray(array.reshape(shape))
    if declared.pad is None:
        return lambda array: array
    if declared.pad["mode"] != "constant":
        return None
    within = inside(declared.inputs[0].shape, declared.pad)
    return lambda array: np.ascontiguousarray(array[within])
