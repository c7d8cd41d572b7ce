"""PyTorch's functions as declarations: which op of the reference each is, and where its parameters stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from precision.frameworks.torch_trace_held import with_parameter
from precision.frameworks.torch_trace_names import ARITHMETIC, DROPOUTS, UNARY
from precision.tracing.tape import IDENTITY, RANDOM, Call, Weight

Args = tuple[Any, ...]
Given = Mapping[str, Any]
Weigh = Callable[[Any], Weight]
Builder = Callable[[Args, Given, Weigh], Call | None]


def _at(args: Args, given: Given, place: int, name: str, default: Any = None) -> Any:
    return args[place] if place < len(args) else given.get(name, default)


def _numbers(value: Any, axes: int) -> list[int]:
    items = list(value) if isinstance(value, list | tuple | torch.Size) else [value]
    return [int(item) for item in (items * axes if len(items) == 1 else items)]


def _sides(padding: Any, axes: int) -> Any:
    """Padding as [before, after] of each axis; "same" is torch's own rule."""
    if isinstance(padding, str):
        return "same_torch" if padding == "same" else padding
    return [side for amount in _numbers(padding, axes) for side in (amount, amount)]


def _affine(weigh: Weigh, **tensors: Any) -> dict[str, Weight]:
    return {name: weigh(tensor) for name, tensor in tensors.items() if tensor is not None}


def drops(args: Args, given: Given) -> bool:
    """Whether F.dropout drops anything."""
    return bool(_at(args, given, 2, "training", True)) and float(_at(args, given, 1, "p", 0.5)) > 0.0


def random_call(name: str, args: Args, given: Given) -> Call:
    """A call with random state; of F.dropout the mask can be read from its output."""
    tensors = tuple(each for each in args[:1] if isinstance(each, torch.Tensor))
    if not tensors and isinstance(given.get("input"), torch.Tensor):
        tensors = (given["input"],)
    params = {"p": float(_at(args, given, 1, "p", 0.5))} if name == "dropout" else {}
    return Call(RANDOM, tensors, params, detail=name)


def inplace_flag(name: str, args: Args) -> bool:
    """Whether the flag `inplace` is set by position."""
    place = {"relu": 1, "silu": 1, "selu": 1, "elu": 2, "leaky_relu": 2, "hardtanh": 3, "dropout": 3}.get(
        name
    )
    return place is not None and len(args) > place and args[place] is True


def _conv(axes: int) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call:
        params = {
            "stride": _numbers(_at(args, given, 3, "stride", 1), axes),
            "padding": _sides(_at(args, given, 4, "padding", 0), axes),
            "dilation": _numbers(_at(args, given, 5, "dilation", 1), axes),
            "groups": int(_at(args, given, 6, "groups", 1)),
        }
        arrays = _affine(weigh, weight=_at(args, given, 1, "weight"), bias=_at(args, given, 2, "bias"))
        return Call(f"conv{axes}d", (_at(args, given, 0, "input"),), params, arrays, f"conv{axes}d")

    return build


def _conv_transpose(axes: int) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call:
        params = {
            "stride": _numbers(_at(args, given, 3, "stride", 1), axes),
            "padding": _sides(_at(args, given, 4, "padding", 0), axes),
            "output_padding": _numbers(_at(args, given, 5, "output_padding", 0), axes),
            "groups": int(_at(args, given, 6, "groups", 1)),
            "dilation": _numbers(_at(args, given, 7, "dilation", 1), axes),
        }
        arrays = _affine(weigh, weight=_at(args, given, 1, "weight"), bias=_at(args, given, 2, "bias"))
        name = f"conv_transpose{axes}d"
        return Call(name, (_at(args, given, 0, "input"),), params, arrays, name)

    return build


def _linear(args: Args, given: Given, weigh: Weigh) -> Call:
    arrays = _affine(weigh, weight=_at(args, given, 1, "weight"), bias=_at(args, given, 2, "bias"))
    return Call("linear", (_at(args, given, 0, "input"),), {}, arrays, "linear")


def _matmul(args: Args, given: Given, weigh: Weigh) -> Call | None:
    a, b = _at(args, given, 0, "input"), _at(args, given, 1, "other", given.get("mat2"))
    if not all(isinstance(each, torch.Tensor) and each.ndim >= 2 for each in (a, b)):
        return None
    return Call("matmul", (a, b), {}, {}, "matmul")


def _batch_norm(args: Args, given: Given, weigh: Weigh) -> Call:
    training = bool(_at(args, given, 5, "training", False))
    momentum = _at(args, given, 6, "momentum", 0.1)
    params = {"training": training, "eps": float(_at(args, given, 7, "eps", 1e-5))}
    if momentum is not None:
        params["momentum"] = float(momentum)
    arrays = _affine(
        weigh,
        running_mean=_at(args, given, 1, "running_mean"),
        running_var=_at(args, given, 2, "running_var"),
        weight=_at(args, given, 3, "weight"),
        bias=_at(args, given, 4, "bias"),
    )
    return Call("batch_norm", (_at(args, given, 0, "input"),), params, arrays, "batch_norm")


def _layer_norm(args: Args, given: Given, weigh: Weigh) -> Call:
    params = {
        "normalized_shape": [int(n) for n in _at(args, given, 1, "normalized_shape")],
        "eps": float(_at(args, given, 4, "eps", 1e-5)),
    }
    arrays = _affine(weigh, weight=_at(args, given, 2, "weight"), bias=_at(args, given, 3, "bias"))
    return Call("layer_norm", (_at(args, given, 0, "input"),), params, arrays, "layer_norm")


def _rms_norm(args: Args, given: Given, weigh: Weigh) -> Call:
    eps = _at(args, given, 3, "eps")
    params = {
        "normalized_shape": [int(n) for n in _at(args, given, 1, "normalized_shape")],
        "eps": 2.0**-23 if eps is None else float(eps),
    }
    arrays = _affine(weigh, weight=_at(args, given, 2, "weight"))
    return Call("rms_norm", (_at(args, given, 0, "input"),), params, arrays, "rms_norm")


def _group_norm(args: Args, given: Given, weigh: Weigh) -> Call:
    params = {
        "num_groups": int(_at(args, given, 1, "num_groups")),
        "eps": float(_at(args, given, 4, "eps", 1e-5)),
    }
    arrays = _affine(weigh, weight=_at(args, given, 2, "weight"), bias=_at(args, given, 3, "bias"))
    return Call("group_norm", (_at(args, given, 0, "input"),), params, arrays, "group_norm")


def _instance_norm(args: Args, given: Given, weigh: Weigh) -> Call | None:
    if not _at(args, given, 5, "use_input_stats", True):
        return None
    arrays = _affine(weigh, weight=_at(args, given, 3, "weight"), bias=_at(args, given, 4, "bias"))
    params = {"eps": float(_at(args, given, 7, "eps", 1e-5))}
    return Call("instance_norm", (_at(args, given, 0, "input"),), params, arrays, "instance_norm")


def _unary(op: str, **places: tuple[int, str, Any]) -> Builder:
    """A function of one tensor; places: of each parameter (position, torch's name, default)."""

    def build(args: Args, given: Given, weigh: Weigh) -> Call:
        params = {name: _at(args, given, *place) for name, place in places.items()}
        return Call(op, (_at(args, given, 0, "input"),), params, {}, op)

    return build


def _softmax(op: str) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        dim = _at(args, given, 1, "dim")
        x = _at(args, given, 0, "input")
        return None if dim is None else Call(op, (x,), {"dim": int(dim) % x.ndim}, {}, op)

    return build


def _prelu(args: Args, given: Given, weigh: Weigh) -> Call:
    return Call("prelu", (args[0],), {}, _affine(weigh, weight=_at(args, given, 1, "weight")), "prelu")


def _clamp(low: Any, high: Any) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        names = ("min_val", "max_val") if low is not None else ("min", "max")
        least, most = _at(args, given, 1, names[0], low), _at(args, given, 2, names[1], high)
        if any(isinstance(each, torch.Tensor) for each in (least, most)):
            return None
        limits = {"low": least, "high": most}
        params = {name: float(value) for name, value in limits.items() if value is not None}
        return Call("clamp", (_at(args, given, 0, "input"),), params, {}, "clamp")

    return build


def _pool(kind: str, axes: int) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        kernel = _numbers(_at(args, given, 1, "kernel_size"), axes)
        stride = _at(args, given, 2, "stride")
        params = {
            "kernel_size": kernel,
            "stride": kernel if stride is None or stride == [] else _numbers(stride, axes),
            "padding": _sides(_at(args, given, 3, "padding", 0), axes),
        }
        if kind == "max":
            if given.get("return_indices"):
                return None
            params["dilation"] = _numbers(_at(args, given, 4, "dilation", 1), axes)
            params["ceil_mode"] = bool(_at(args, given, 5, "ceil_mode", False))
        else:
            params["ceil_mode"] = bool(_at(args, given, 4, "ceil_mode", False))
            params["count_include_pad"] = bool(_at(args, given, 5, "count_include_pad", True))
            divisor = _at(args, given, 6, "divisor_override")
            if divisor is not None:
                params["divisor_override"] = int(divisor)
        name = f"{kind}_pool{axes}d"
        return Call(name, (_at(args, given, 0, "input"),), params, {}, name)

    return build


def _adaptive(axes: int) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        x, size = _at(args, given, 0, "input"), _at(args, given, 1, "output_size")
        given_size = [size] * axes if isinstance(size, int) or size is None else list(size)
        spatial: list[int] = [int(n) for n in x.shape[-axes:]]
        wanted = [n if w is None else int(w) for w, n in zip(given_size, spatial, strict=True)]
        if x.ndim != axes + 2 or any(n % w for n, w in zip(spatial, wanted, strict=True)):
            return None
        detail = f"adaptive_avg_pool{axes}d"
        if all(w == 1 for w in wanted):
            return Call("mean", (x,), {"dim": list(range(2, axes + 2)), "keepdim": True}, {}, detail)
        kernel = [n // w for n, w in zip(spatial, wanted, strict=True)]
        return Call(f"avg_pool{axes}d", (x,), {"kernel_size": kernel, "stride": kernel}, {}, detail)

    return build


def _reduce(op: str) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        x, dim = _at(args, given, 0, "input"), _at(args, given, 1, "dim", given.get("axis"))
        if given.get("dtype") is not None:
            return None
        axes = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
        params = {
            "dim": sorted(int(a) % x.ndim for a in axes),
            "keepdim": bool(_at(args, given, 2, "keepdim", given.get("keepdims", False))),
        }
        return Call(op, (x,), params, {}, op)

    return build


def _binary(op: str, swapped: bool = False) -> Builder:
    def build(args: Args, given: Given, weigh: Weigh) -> Call | None:
        a, b = _at(args, given, 0, "input"), _at(args, given, 1, "other")
        if given.get("alpha", 1) != 1 or given.get("rounding_mode") is not None:
            return None
        a, b = (b, a) if swapped else (a, b)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return with_parameter(op, (a, b), {}, weigh, max(a.ndim, b.ndim)) or Call(op, (a, b), {}, {}, op)
        tensor, number = (a, b) if isinstance(a, torch.Tensor) else (b, a)
        if isinstance(number, bool) or not isinstance(number, int | float):
            return None
        params = {"scalar": float(number), "side": "right" if tensor is a else "left"}
        return Call(op, (tensor,), params, {}, op)

    return build


def _cat(args: Args, given: Given, weigh: Weigh) -> Call:
    tensors = tuple(_at(args, given, 0, "tensors"))
    dim = int(_at(args, given, 1, "dim", given.get("axis", 0)))
    params, rank = {"dim": dim % tensors[0].ndim}, tensors[0].ndim
    return with_parameter("concat", tensors, params, weigh, rank) or Call(
        "concat", tensors, params, {}, "cat"
    )


def _same(args: Args, given: Given, weigh: Weigh) -> Call:
    return Call(IDENTITY, (_at(args, given, 0, "input"),), {}, {}, "dropout")


def _reshape(args: Args, given: Given, weigh: Weigh) -> Call:
    return Call("reshape", (_at(args, given, 0, "input"),), {"order": "NCHW"}, {}, "reshape")


def _permute(args: Args, given: Given, weigh: Weigh) -> Call:
    x = args[0]
    dims = args[1:] if len(args) > 2 or isinstance(_at(args, given, 1, "dims"), int) else args[1]
    return Call("permute", (x,), {"dims": [int(d) % x.ndim for d in dims]}, {}, "permute")


def _transpose(args: Args, given: Given, weigh: Weigh) -> Call:
    x, dims = args[0], list(range(args[0].ndim))
    a, b = int(_at(args, given, 1, "dim0")) % x.ndim, int(_at(args, given, 2, "dim1")) % x.ndim
    dims[a], dims[b] = dims[b], dims[a]
    return Call("permute", (x,), {"dims": dims}, {}, "transpose")


def _pad(args: Args, given: Given, weigh: Weigh) -> Call | None:
    x, amounts = _at(args, given, 0, "input"), [int(n) for n in _at(args, given, 1, "pad")]
    mode, value = _at(args, given, 2, "mode", "constant"), _at(args, given, 3, "value")
    if min(amounts, default=0) < 0 or mode not in ("constant", "reflect", "replicate", "circular"):
        return None
    sides = [0] * (2 * x.ndim)
    for k in range(len(amounts) // 2):
        axis = x.ndim - 1 - k
        sides[2 * axis], sides[2 * axis + 1] = amounts[2 * k], amounts[2 * k + 1]
    params = {"sides": sides, "mode": mode, "value": float(value or 0.0)}
    return Call("pad", (x,), params, {}, "pad")


def _interpolate(args: Args, given: Given, weigh: Weigh) -> Call | None:
    x = _at(args, given, 0, "input")
    size, scale = _at(args, given, 1, "size"), _at(args, given, 2, "scale_factor")
    mode = _at(args, given, 3, "mode", "nearest")
    if given.get("antialias") or mode == "area":
        return None
    params = {"mode": mode, "align_corners": bool(_at(args, given, 4, "align_corners", False))}
    if size is not None:
        params["size"] = _numbers(size, x.ndim - 2)
    else:
        scales = list(scale) if isinstance(scale, list | tuple) else [scale] * (x.ndim - 2)
        params["scale_factor"] = [float(each) for each in scales]
        params["recompute_scale_factor"] = bool(given.get("recompute_scale_factor"))
    return Call("interpolate", (x,), params, {}, "interpolate")


def _normalize(args: Args, given: Given, weigh: Weigh) -> Call | None:
    if float(_at(args, given, 1, "p", 2.0)) != 2.0:
        return None
    params = {"dim": int(_at(args, given, 2, "dim", 1)), "eps": float(_at(args, given, 3, "eps", 1e-12))}
    return Call("normalize", (_at(args, given, 0, "input"),), params, {}, "normalize")


def _gelu(args: Args, given: Given, weigh: Weigh) -> Call:
    approximate = given.get("approximate", "none")
    return Call("gelu", (_at(args, given, 0, "input"),), {"approximate": approximate}, {}, "gelu")


def _alike(names: str, builder: Builder) -> dict[str, Builder]:
    return dict.fromkeys(names.split(), builder)


BUILDERS: Mapping[str, Builder] = {
    **{f"conv{axes}d": _conv(axes) for axes in (1, 2, 3)},
    **{f"conv_transpose{axes}d": _conv_transpose(axes) for axes in (1, 2, 3)},
    "linear": _linear,
    **_alike("matmul bmm mm __matmul__", _matmul),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    **{name: _unary(name) for name in UNARY},
    **{f"{name}_": _unary(name) for name in UNARY},
    **_alike("leaky_relu leaky_relu_", _unary("leaky_relu", negative_slope=(1, "negative_slope", 0.01))),
    **_alike("elu elu_", _unary("elu", alpha=(1, "alpha", 1.0))),
    "softplus": _unary("softplus", beta=(1, "beta", 1), threshold=(2, "threshold", 20)),
    "gelu": _gelu,
    "prelu": _prelu,
    **_alike("hardtanh hardtanh_", _clamp(-1.0, 1.0)),
    **_alike("relu6", _clamp(0.0, 6.0)),
    **_alike("clamp clamp_ clip", _clamp(None, None)),
    "softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"),
    **{f"{kind}_pool{axes}d": _pool(kind, axes) for kind in ("max", "avg") for axes in (1, 2, 3)},
    **{f"adaptive_avg_pool{axes}d": _adaptive(axes) for axes in (1, 2, 3)},
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    **{name: _binary(op) for name, op in ARITHMETIC.items()},
    **{f"{name}_": _binary(op) for name, op in ARITHMETIC.items()},
    **{f"__{name}__": _binary(op) for name, op in (("add", "add"), ("sub", "sub"), ("mul", "mul"),
                                                   ("truediv", "div"), ("iadd", "add"), ("isub", "sub"),
                                                   ("imul", "mul"), ("itruediv", "div"))},
    **{f"__{name}__": _binary(op, True) for name, op in (("radd", "add"), ("rsub", "sub"), ("rmul", "mul"),
                                                         ("rtruediv", "div"), ("rdiv", "div"))},
    "rsub": _binary("sub", True),
    **_alike("cat concat concatenate", _cat),
    **dict.fromkeys(DROPOUTS, _same),
    **_alike("flatten reshape view view_as squeeze unsqueeze reshape_as ravel", _reshape),
    "permute": _permute,
    **_alike("transpose swapdims", _transpose),
    "t": lambda args, given, weigh: _transpose((args[0], 0, args[0].ndim - 1), {}, weigh),
    "pad": _pad,
    "interpolate": _interpolate,
    "pixel_shuffle": _unary("pixel_shuffle", upscale_factor=(1, "upscale_factor", None)),
    "pixel_unshuffle": _unary("pixel_unshuffle", downscale_factor=(1, "downscale_factor", None)),
    "normalize": _normalize,
    "local_response_norm": _unary(
        "local_response_norm",
        size=(1, "size", None), alpha=(2, "alpha", 1e-4), beta=(3, "beta", 0.75), k=(4, "k", 1.0),
    ),
}  # fmt: skip
