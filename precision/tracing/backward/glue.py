"""The gradients of what stands between the layers: sums and products of tensors, joined and moved ones.

    a + b   g, g                    a - b   g, -g
    a b     g b, g a                a / b   g / b, -g a / b**2

each summed over the axes along which its operand was broadcast. -g a / b**2 is taken in any of the orders
g (a / b) / b, (g a / b) / b, g ((a / b) / b): four roundings. What is joined is taken apart, what is moved
moved back; rows of a table add up what was handed to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.judging.finding import Cause
from precision.tracing.backward.functions import elementwise
from precision.tracing.backward.sums import moved, places_of, product_sums, scattered
from precision.tracing.backward.verdict import FLUSH, LARGEST, Pullback
from precision.tracing.declared import Declared
from precision.tracing.glue import ARITHMETIC, padded

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Params = Mapping[str, Any]
Found = dict[str, Pullback]
_OF_ONE = ("identity", "reshape", "permute", "pad", "clamp")


def glue_pullbacks(declared: Declared, gradient: Float32) -> Found:
    """The gradients of one operation between layers; of an op that is not known, none.

    Raises ValueError where the gradient has not the shape of the operation's output.
    """
    op, params = declared.op, declared.params
    if op in ARITHMETIC:
        return _arithmetic(declared, gradient)
    if op == "embedding":
        return {"weight": _table(declared, gradient)}
    operands, names = declared.operands, _names(declared)
    if op == "concat":
        return _taken_apart(operands, names, gradient, int(params["dim"]))
    if op not in _OF_ONE or len(operands) != 1:
        return {}
    return {names[0]: _of_one(op, operands[0], gradient, params)}


def _of_one(op: str, x: Float32, gradient: Float32, params: Params) -> Pullback:
    if op == "clamp":
        _fits(gradient.shape, x.shape, op)
        return elementwise("clamp", x, gradient, params)
    if op == "pad":
        return unpadded(x.shape, gradient, params)
    if op == "permute":
        found = np.ascontiguousarray(gradient.transpose(np.argsort(params["dims"])))
    else:
        found = _shaped_back(x, gradient, params) if op == "reshape" else gradient
    _fits(found.shape, x.shape, op)
    return moved(found)


def _fits(has: tuple[int, ...], wanted: tuple[int, ...], op: str) -> None:
    if has != wanted:
        raise ValueError(
            f"a gradient has the shape of the output of {op}; led back it is {list(has)}, the operand "
            f"{list(wanted)}; give the gradient of this unit"
        )


def _names(declared: Declared) -> list[str]:
    """in0, in1, … of the inputs, and "weight" where a parameter of the model stands among the operands."""
    names = [f"in{k}" for k in range(len(declared.inputs))]
    if "weight" in declared.arrays:
        names.insert(int(declared.params.get("at", 0)), "weight")
    return names


def _arithmetic(declared: Declared, gradient: Float32) -> Found:
    op, params = declared.op, declared.params
    pairs: list[tuple[str | None, Float32]] = list(zip(_names(declared), declared.operands, strict=True))
    if "scalar" in params:
        number: tuple[str | None, Float32] = (None, np.asarray(params["scalar"], np.float32))
        pairs = [pairs[0], number] if params.get("side") == "right" else [number, pairs[0]]
    if len(pairs) != 2:
        return {}
    (first, a), (second, b) = pairs
    _fits(gradient.shape, np.broadcast_shapes(a.shape, b.shape), op)
    left, right = (np.ascontiguousarray(np.broadcast_to(each, gradient.shape)) for each in (a, b))
    found: Found = {}
    for name, own, other, is_left in ((first, a, right, True), (second, b, left, False)):
        if name is None:
            continue
        places = places_of(own.shape, gradient.shape)
        if op in ("add", "sub"):
            sign = -1 if op == "sub" and not is_left else 1
            found[name] = _sum(sign * gradient, places, own.shape)
        elif op == "mul":
            found[name] = product_sums(gradient, other, places, own.shape)
        elif not (right == 0.0).any():
            found[name] = _ratio(gradient, left, right, places, own.shape, is_left)
    return found


def _sum(gradient: Float32, places: NDArray[np.int64], shape: tuple[int, ...]) -> Pullback:
    if shape == gradient.shape:
        return moved(gradient)
    flat = gradient.reshape(-1)
    return scattered(gradient.astype(np.float64), places, shape, lambda j: Fraction(float(flat[j])))


def _ratio(
    gradient: Float32, a: Float32, b: Float32, places: NDArray[np.int64], shape: tuple[int, ...], left: bool
) -> Pullback:
    """g / b, or -g a / b**2."""
    g, p, q = (each.astype(np.float64) for each in (gradient, a, b))
    flat = [each.reshape(-1) for each in (gradient, a, b)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        small = (np.abs(q) < FLUSH) | (np.abs(g) < FLUSH)
        if left:
            terms, roundings = g / q, 2
            steps = np.abs(1.0 / q)
            lost = FLUSH * (1.0 + np.abs(g))
        else:
            terms, roundings = -(g * p) / (q * q), 4
            once = np.abs(p / q)
            steps = np.maximum(np.maximum(once, once / np.abs(q)), np.abs(g) * once)
            lost = FLUSH * (1.0 + np.abs(g)) * (1.0 + 1.0 / np.abs(q)) + FLUSH / np.abs(q)
            small |= np.abs(p) < FLUSH
        lost = np.where(terms != 0.0, lost + np.where(small, np.abs(terms), 0.0), 0.0)
        lost = np.where((steps >= LARGEST) | (np.abs(q) < FLUSH), np.inf, lost)

    def term(j: int) -> Fraction:
        numbers = [Fraction(float(each[j])) for each in flat]
        return numbers[0] / numbers[2] if left else -numbers[0] * numbers[1] / numbers[2] ** 2

    return scattered(terms, places, shape, term, off=4.0 * 2.0**-53, roundings=roundings, lost=lost)


def _taken_apart(operands: tuple[Float32, ...], names: list[str], gradient: Float32, dim: int) -> Found:
    _fits((gradient.shape[dim],), (sum(each.shape[dim] for each in operands),), "concat")
    ends = np.cumsum([each.shape[dim] for each in operands])[:-1]
    parts = np.split(gradient, ends, axis=dim)
    for part, each in zip(parts, operands, strict=True):
        _fits(part.shape, each.shape, "concat")
    return {name: moved(np.ascontiguousarray(part)) for name, part in zip(names, parts, strict=True)}


def _shaped_back(x: Float32, gradient: Float32, params: Params) -> Float32:
    turned = params.get("order") == "NHWC" and x.ndim > 2
    native = np.moveaxis(gradient, 1, -1) if params.get("out_last") else gradient
    if not turned:
        return np.ascontiguousarray(native.reshape(x.shape))
    lying = native.reshape((x.shape[0], *x.shape[2:], x.shape[1]))
    return np.ascontiguousarray(np.moveaxis(lying, -1, 1))


def inside(shape: tuple[int, ...], params: Params) -> tuple[slice, ...]:
    """Where an array of that shape lies in its padded one."""
    sides = list(params["sides"]) + [0] * (2 * len(shape) - len(params["sides"]))
    return tuple(slice(sides[2 * axis], sides[2 * axis] + n) for axis, n in enumerate(shape))


def unpadded(shape: tuple[int, ...], gradient: Float32, params: Params) -> Pullback:
    """The gradient of a padding: the inner part, and with a mode that copies what its copies were handed."""
    own = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64).reshape(shape)
    places = padded(own, {**params, "mode": "constant", "value": 0.0} if _zeros(params) else params)  # type: ignore[arg-type]
    _fits(gradient.shape, places.shape, "pad")
    if _zeros(params):
        return moved(np.ascontiguousarray(gradient[inside(shape, params)]))
    flat = gradient.reshape(-1)
    at = np.ascontiguousarray(places, np.int64)
    return scattered(gradient.astype(np.float64), at, shape, lambda j: Fraction(float(flat[j])))


def _zeros(params: Params) -> bool:
    return bool(params["mode"] == "constant")


def _table(declared: Declared, gradient: Float32) -> Pullback:
    indices, table = declared.operands
    rows, width = indices.astype(np.int64), table.shape[1]
    _fits(gradient.shape, (*indices.shape, width), "embedding")
    places = rows[..., None] * width + np.arange(width)
    flat = gradient.reshape(-1)
    found = scattered(gradient.astype(np.float64), places, table.shape, lambda j: Fraction(float(flat[j])))
    return Pullback(found.truth, found.limit, (_PaddingRow(),))


@dataclass(frozen=True)
class _PaddingRow:
    """A row of the table that is given no gradient, as PyTorch's padding_idx does."""

    def cause(self, own: Pullback, output: Float32) -> Cause | None:
        rows = np.flatnonzero(own.beyond(output).any(1))
        if rows.size != 1 or output[rows[0]].any():
            return None
        row = int(rows[0])
        detail = f"row {row} of the table has no gradient, and all others have theirs"
        fix = "give both tables one padding_idx, or none"
        return Cause("semantics", "padding_idx", None, row, 1.0, None, "consistent", detail, fix)
