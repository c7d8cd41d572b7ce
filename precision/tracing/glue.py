"""What stands between the layers: sums and products of tensors, joined, padded and rearranged ones.

The truth of a + b, a - b, a * b is exact in two float64; a quotient and everything else that is asked for
more precisely is a fraction. A number among the operands is rounded to float32 first, as the frameworks do.
A correctly rounded operation gives the truth rounded once; up to one ulp more passes as rounding (a fused
multiplication and addition of a compiler), with the bound 1 ulp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.finding import Cause, OutputExplained
from precision.score import errors, scores
from precision.tracing.attention import ATTENTION
from reference import Truth
from reference.escalate import exact

Float32 = NDArray[np.float32]
Params = Mapping[str, Any]
ARITHMETIC = ("add", "sub", "mul", "div")
REARRANGED = ("reshape", "permute", "concat", "pad", "clamp", "identity", "embedding")
GLUE = (*ARITHMETIC, *REARRANGED, ATTENTION)
_FRACTIONS: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}
_MOST_JOINED = 5


def glue_truth(op: str, inputs: Sequence[Float32], params: Params) -> Truth:
    """The truth of one operation between layers, on canonical arrays.  ValueError for what does not fit."""
    if op in ARITHMETIC:
        return _arithmetic(op, *_operands(inputs, params))
    return exact(_rearranged(op, inputs, params))


def glue_explained(
    op: str, inputs: Sequence[Float32], params: Params, truth: Truth, name: str, output: Float32
) -> OutputExplained:
    """The verdict on the output of such an operation."""
    if output.shape != truth.value.shape:
        reason = f"its shape is {list(output.shape)}, not {list(truth.value.shape)}"
        return _semantic(op, name, _another(op, inputs, params, output), reason, {})
    found = errors(truth, output)
    figures = scores(truth, found)
    if not found.nonfinite.any() and np.array_equal(found.output, found.rounded, equal_nan=True):
        return OutputExplained(name, "exact", "every output is the truth, correctly rounded", (), figures)
    if op in ARITHMETIC and not found.nonfinite.any() and bool((np.abs(found.ulp) <= 1.0).all()):
        cause = Cause("output rounding", share=1.0, evidence="bounded", detail="at most 1 ulp")
        return OutputExplained(name, "rounding", "every output is within 1 ulp", (cause,), figures)
    reason = f"{int((found.absolute != 0).sum())} outputs are not those of {op}"
    return _semantic(op, name, _another(op, inputs, params, output), reason, figures)


def _semantic(
    op: str, name: str, other: tuple[str, Any, Any, str] | None, reason: str, figures: Mapping[str, Any]
) -> OutputExplained:
    if other is None:
        cause = Cause("unexplained", share=1.0, detail=reason, fix="look at this call in both models")
        return OutputExplained(name, "unexplained", reason, (cause,), figures)
    parameter, declared, found, fix = other
    detail = f"{parameter} is {found}, not {declared}: so every output is exact"
    cause = Cause("semantics", parameter, declared, found, 1.0, None, "proved", detail, fix)
    return OutputExplained(name, "semantics", detail, (cause,), figures)


def _another(
    op: str, inputs: Sequence[Float32], params: Params, output: Float32
) -> tuple[str, Any, Any, str] | None:
    """(parameter, declared, found, mend) of the operation that gives every output exactly."""

    def fits(other_op: str, given: Sequence[Float32], other: Params) -> bool:
        try:
            values = glue_truth(other_op, given, other).round(np.float32)
        except (ValueError, ZeroDivisionError):
            return False
        return values.shape == output.shape and np.array_equal(values, output, equal_nan=True)

    if op in ARITHMETIC:
        for other_op in ARITHMETIC:
            if other_op != op and fits(other_op, inputs, params):
                return "operation", op, other_op, f"{other_op} the two where A does {op}"
        if len(inputs) == 2 and fits(op, inputs[::-1], params):
            return "operand order", "a, b", "b, a", "swap the two operands"
    if op == "concat" and len(inputs) <= _MOST_JOINED:
        for order in permutations(range(len(inputs))):
            if fits(op, [inputs[k] for k in order], params):
                return "concatenation order", list(range(len(inputs))), list(order), "join in A's order"
        for dim in range(inputs[0].ndim):
            if dim != params["dim"] and fits(op, inputs, {"dim": dim}):
                return "axis", params["dim"], dim, f"join along axis {params['dim']} of (N, C, …)"
    if op == "reshape" and "shape" in params:
        other = "NHWC" if params.get("order") == "NCHW" else "NCHW"
        if fits(op, inputs, {**params, "order": other}):
            turn = "(0, 3, 1, 2)" if other == "NHWC" else "(0, 2, 3, 1)"
            return "flatten order", params.get("order"), other, f"transpose by {turn} before the reshape"
    return None


def _operands(inputs: Sequence[Float32], params: Params) -> tuple[Float32, Float32]:
    if "scalar" not in params:
        if len(inputs) != 2:
            raise ValueError(f"an operation between layers takes two tensors, got {len(inputs)}: give two")
        return inputs[0], inputs[1]
    number = np.asarray(params["scalar"], np.float32)
    return (inputs[0], number) if params.get("side") == "right" else (number, inputs[0])


def _arithmetic(op: str, a: Float32, b: Float32) -> Truth:
    x, y = (np.ascontiguousarray(array) for array in np.broadcast_arrays(a, b))
    p, q = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        if op in ("add", "sub"):
            q = q if op == "add" else -q
            value = p + q
            back = value - p
            residual = (p - (value - back)) + (q - back)  # Knuth's two-sum: exact
            magnitude = np.abs(p) + np.abs(q)
            bound = np.zeros_like(value)
        elif op == "mul":
            value, residual = p * q, np.zeros_like(p)  # 24 + 24 bits, exponents within float64's
            magnitude, bound = np.abs(value), np.zeros_like(value)
        else:
            value, residual = p / q, np.zeros_like(p)
            magnitude, bound = np.abs(value), np.abs(value) * 2.0**-52
    wild = ~np.isfinite(value)
    residual[wild], bound[wild], magnitude[wild] = 0.0, 0.0, np.inf
    left, right = x.reshape(-1), y.reshape(-1)

    def refine(index: int, bits: int) -> tuple[Fraction, Fraction]:
        pair = Fraction(float(left[index])), Fraction(float(right[index]))
        return _FRACTIONS[op](*pair), Fraction(0)

    tiers = {"float64": value.size, "double-double": 0, "exact": 0}
    return Truth(value + 0.0, residual, bound, magnitude, tiers, refine)


def _rearranged(op: str, inputs: Sequence[Float32], params: Params) -> Float32:
    moves: Mapping[str, Callable[[], Float32]] = {
        "identity": lambda: inputs[0],
        "concat": lambda: np.concatenate(list(inputs), axis=params["dim"]),
        "permute": lambda: np.ascontiguousarray(inputs[0].transpose(params["dims"])),
        "clamp": lambda: np.clip(inputs[0], params.get("low"), params.get("high")),
        "pad": lambda: padded(inputs[0], params),
        "reshape": lambda: _reshaped(inputs[0], params),
        "embedding": lambda: _looked_up(*inputs),
    }
    if op not in moves:
        raise ValueError(f"an operation between layers is one of {GLUE}, got {op!r}: judge it as a layer")
    return moves[op]()


def _looked_up(indices: Float32, table: Float32) -> Float32:
    """Rows of a table; indices are integers below its length, held as float32."""
    rows = indices.astype(np.int64)
    if rows.size and not (rows.min() >= 0 and rows.max() < len(table)):
        raise ValueError(f"indices are 0 … {len(table) - 1}; one is {rows.min()} or {rows.max()}: check them")
    return table[rows]


def _reshaped(x: Float32, params: Params) -> Float32:
    turned = np.moveaxis(x, 1, -1) if params.get("order") == "NHWC" and x.ndim > 2 else x
    shape = list(params["shape"])
    if not params.get("out_last"):
        return np.ascontiguousarray(turned.reshape(shape))
    native = turned.reshape([shape[0], *shape[2:], shape[1]])
    return np.ascontiguousarray(np.moveaxis(native, -1, 1))


def padded(x: Float32, params: Params) -> Float32:
    """An array with its padding: sides before and after each axis, a mode of torch.nn.functional.pad."""
    sides = list(params["sides"]) + [0] * (2 * x.ndim - len(params["sides"]))
    widths = [(sides[2 * a], sides[2 * a + 1]) for a in range(x.ndim)]
    if params["mode"] == "constant":
        return np.pad(x, widths, constant_values=np.float32(params["value"]))
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    filled: Float32 = np.pad(x, widths, mode=modes[params["mode"]])  # type: ignore[call-overload]
    return filled
