"""Raw TensorFlow operations between layers as declarations: sums, activations, reshapes, pads, products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from precision.frameworks.tensorflow_trace_functions import Found, axis_of, reshaped
from precision.tracing.tape import IDENTITY, Call, Tape, Weight

RANDOM = frozenset(
    {
        "RandomUniform",
        "RandomStandardNormal",
        "TruncatedNormal",
        "StatelessRandomUniformV2",
        "StatelessRandomNormalV2",
        "StatelessTruncatedNormalV2",
        "RandomUniformInt",
        "StatelessRandomUniform",
        "StatelessRandomNormal",
    }
)
MOVES = frozenset(
    {
        "StridedSlice",
        "Slice",
        "Split",
        "SplitV",
        "Unpack",
        "Pack",
        "Tile",
        "GatherV2",
        "BroadcastTo",
        "ReverseV2",
        "Roll",
        "GatherNd",
        "Shape",
        "ShapeN",
        "Rank",
        "Size",
        "ArgMax",
        "ArgMin",
        "StopGradient",
        "Cast",
        "Snapshot",
        "Copy",
    }
)
"""Operations that only move numbers, or give none."""
SPREADS = frozenset({"BroadcastTo", "Tile", "ExpandDims", "Reshape", "Identity"})
"""Operations after which a parameter is still the same numbers."""
_BOTH = (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
TRANSPOSED = dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _BOTH)
_UNARY = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Selu": "selu", "Exp": "exp", "Log": "log",
          "Expm1": "expm1", "Log1p": "log1p", "Erf": "erf", "Erfc": "erfc",
          "Softplus": "softplus"}  # fmt: skip
_BINARY = {
    "AddV2": "add",
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "RealDiv": "div",
    "Div": "div",
    "BiasAdd": "add",
}
_PADS = {"Pad": "constant", "PadV2": "constant", "MirrorPad": "reflect"}


def call_of(name: str, inputs: Any, attributes: Mapping[str, Any], outputs: Any, tape: Tape) -> Found | None:
    """The declaration of one operation; None for one that is not known."""
    known = [each for each in inputs if tape.known(each) is not None]
    last = tape.last(known)
    operands = tuple(inputs)
    if name in _UNARY:
        return Call(_UNARY[name], operands[:1], {}, {}, f"tf {name}"), last, last
    if name == "BiasAdd" and attributes.get("data_format") not in (b"NHWC", "NHWC"):
        return None
    if name in _BINARY:
        return _binary(_BINARY[name], operands, tape, last)
    if name in TRANSPOSED:
        return _matmul(operands, attributes, tape)
    if name == "ConcatV2":
        return _concat(operands, tape, last)
    build = _BUILDERS.get(name)
    return build(operands, attributes, outputs, last) if build is not None else None


def spread(weight: Weight, output: Any) -> Weight | None:
    """The parameter in the shape of a tensor with its numbers, once or repeated; None for other shapes."""
    shape, own = tuple(int(n) for n in output.shape), weight.get().shape
    padded = (1,) * (len(shape) - len(own)) + own
    same = int(np.prod(shape)) == int(np.prod(own))
    if not same and (
        len(padded) != len(shape) or any(p not in (1, n) for p, n in zip(padded, shape, strict=True))
    ):
        return None

    def get() -> Any:
        array = weight.get()
        return array.reshape(shape) if same else np.broadcast_to(array.reshape(padded), shape).copy()

    def put(array: Any) -> None:
        once = () if same else tuple(slice(0, 1) if n == 1 else slice(None) for n in padded)
        if weight.put is not None:
            weight.put(np.ascontiguousarray(array[once]).reshape(own))

    return Weight(get, put)


def _with_parameter(
    op: str, operands: Any, params: Mapping[str, Any], tape: Tape, last: bool
) -> Found | None:
    """The call with the one operand that is a parameter of the model as its weight; None without such."""
    at = [k for k, each in enumerate(operands) if tape.held(each) is not None]
    held = tape.held(operands[at[0]]) if len(at) == 1 else None
    if held is None:
        return None
    rest = tuple(each for k, each in enumerate(operands) if k != at[0])
    rank = max(len(each.shape) for each in operands)
    own = [int(n) for n in operands[at[0]].shape]
    shape = [1] * (rank - len(own)) + own
    turned = last and rank > 2

    def turn(array: Any) -> Any:
        array = array.reshape(shape)
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if turned else array

    def get() -> Any:
        return turn(held.get())

    def put(array: Any) -> None:
        if held.put is not None:
            held.put((np.moveaxis(array, 1, -1) if turned else array).reshape(own))

    weight = Weight(get, put, native=operands[at[0]], turn=turn)
    return Call(op, rest, {**params, "at": at[0]}, {"weight": weight}, op), last, last


def _binary(op: str, operands: tuple[Any, ...], tape: Tape, last: bool) -> Found | None:
    found = _with_parameter(op, operands, {}, tape, last)
    if found is not None:
        return found
    a, b = operands
    for side, tensor, other in (("right", a, b), ("left", b, a)):
        if tape.known(other) is None and len(other.shape) == 0:
            params = {"scalar": float(other.numpy()), "side": side}
            return Call(op, (tensor,), params, {}, op), last, last
    if last and len(a.shape) != len(b.shape):
        return None  # the canonical arrays would not be broadcast alike
    return Call(op, (a, b), {}, {}, op), last, last


def _same(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
    return Call(IDENTITY, operands[:1], {}, {}, "identity"), last, last


def _leaky(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
    params = {"negative_slope": float(attributes.get("alpha", 0.2))}
    return Call("leaky_relu", operands[:1], params, {}, "tf LeakyRelu"), last, last


def _elu(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
    return Call("elu", operands[:1], {"alpha": 1.0}, {}, "tf Elu"), last, last


def _relu6(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
    return Call("clamp", operands[:1], {"low": 0.0, "high": 6.0}, {}, "tf Relu6"), last, last


def _softmax(op: str) -> Any:
    def build(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
        params = {"dim": axis_of(-1, len(operands[0].shape), last)}
        return Call(op, operands[:1], params, {}, f"tf {op}"), last, last

    return build


def _reshape(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
    params, out = reshaped(len(operands[0].shape), len(outputs[0].shape), last)
    return Call("reshape", operands[:1], params, {}, "tf Reshape"), last, out


def _transpose(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found | None:
    dims, rank = [int(d) for d in operands[1].numpy()], len(operands[0].shape)
    if last and rank > 2 and dims == [0, rank - 1, *range(1, rank - 1)]:
        return Call(IDENTITY, operands[:1], {}, {}, "tf Transpose"), True, False
    return Call("permute", operands[:1], {"dims": dims}, {}, "tf Transpose"), False, False


def _concat(operands: Any, tape: Tape, last: bool) -> Found:
    rank = len(operands[0].shape)
    params = {"dim": axis_of(int(operands[-1].numpy()), rank, last)}
    found = _with_parameter("concat", operands[:-1], params, tape, last)
    return found or (Call("concat", tuple(operands[:-1]), params, {}, "tf ConcatV2"), last, last)


def _pad(name: str) -> Any:
    def build(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found | None:
        pairs = np.asarray(operands[1].numpy()).tolist()
        if attributes.get("mode", b"REFLECT") not in (b"REFLECT", "REFLECT"):
            return None
        if last and len(pairs) > 2:
            pairs = [pairs[0], pairs[-1], *pairs[1:-1]]
        value = float(operands[2].numpy()) if name == "PadV2" else 0.0
        sides = [int(n) for pair in pairs for n in pair]
        params = {"sides": sides, "mode": _PADS[name], "value": value}
        return Call("pad", operands[:1], params, {}, f"tf {name}"), last, last

    return build


def _reduce(op: str) -> Any:
    def build(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found:
        rank = len(operands[0].shape)
        axes = np.atleast_1d(operands[1].numpy()).tolist()
        keep = bool(attributes.get("keep_dims", False))
        params = {"dim": sorted(axis_of(a, rank, last) for a in axes), "keepdim": keep}
        return Call(op, operands[:1], params, {}, f"tf {op}"), last, last and keep

    return build


def _matmul(operands: Any, attributes: Mapping[str, Any], tape: Tape) -> Found:
    held = tape.held(operands[1])
    if held is None or len(operands[1].shape) != 2:
        return Call("matmul", tuple(operands[:2]), {}, {}, "tf MatMul"), False, False
    as_is = any(attributes.get(name) for name in _BOTH[1])

    def turn(array: Any) -> Any:
        return array if as_is else np.ascontiguousarray(array.T)

    def get() -> Any:
        return turn(held.get())

    def put(array: Any) -> None:
        if held.put is not None:
            held.put(array if as_is else np.ascontiguousarray(array.T))

    weight = Weight(get, put, native=operands[1], turn=turn)
    return Call("linear", operands[:1], {}, {"weight": weight}, "tf MatMul"), False, False


def _conv(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found | None:
    if attributes.get("data_format") not in (b"NHWC", "NHWC"):
        return None
    padding = attributes["padding"]
    rule = (padding.decode() if isinstance(padding, bytes) else padding).lower()
    if rule == "explicit":
        sides: Any = [int(n) for n in attributes["explicit_paddings"][2:6]]
    else:
        sides = rule
    kernel = operands[1]

    def turn(array: Any) -> Any:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))

    def get() -> Any:
        return turn(kernel.numpy())

    params = {
        "stride": [int(n) for n in attributes["strides"][1:3]],
        "padding": sides,
        "dilation": [int(n) for n in attributes.get("dilations", [1, 1, 1, 1])[1:3]],
        "groups": int(operands[0].shape[-1]) // int(kernel.shape[2]),
    }
    weight = Weight(get, native=kernel, turn=turn)
    return Call("conv2d", operands[:1], params, {"weight": weight}, "tf Conv2D"), True, True


def _pool(kind: str) -> Any:
    def build(operands: Any, attributes: Any, outputs: Any, last: bool) -> Found | None:
        if attributes.get("data_format") not in (b"NHWC", "NHWC"):
            return None
        padding = attributes["padding"]
        rule = (padding.decode() if isinstance(padding, bytes) else padding).lower()
        if rule not in ("same", "valid"):
            return None
        params = {
            "kernel_size": [int(n) for n in attributes["ksize"][1:3]],
            "stride": [int(n) for n in attributes["strides"][1:3]],
            "padding": rule,
        }
        return Call(f"{kind}_pool2d", operands[:1], params, {}, f"tf {kind}_pool"), True, True

    return build


_BUILDERS: Mapping[str, Callable[[Any, Any, Any, bool], Found | None]] = {
    "Identity": _same,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "Relu6": _relu6,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "ExpandDims": _reshape,
    "Transpose": _transpose,
    **{name: _pad(name) for name in _PADS},
    "Mean": _reduce("mean"),
    "Sum": _reduce("sum"),
    "Conv2D": _conv,
    "MaxPool": _pool("max"),
    "AvgPool": _pool("avg"),
}
