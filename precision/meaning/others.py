"""Other parameters of poolings, resizings, rearrangements, softmax, losses, statistics, optimizers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from precision.meaning.hypotheses import Change, Declaration, Shape

Listed = Mapping[str, tuple[Any, tuple[Any, ...]]]
"""Of a parameter: its default and the other values to try."""

_EPS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
_FLAGS = (False, True)
_REARRANGE: Listed = {"mode": ("DCR", ("DCR", "CRD")), "layout": ("NCHW", ("NCHW", "NHWC"))}
_OPTIMIZER: Listed = {
    "nesterov": (False, _FLAGS),
    "weight_decay": (0.0, (0.0,)),
    "dampening": (0.0, (0.0,)),
    "amsgrad": (False, _FLAGS),
    "eps": (1e-8, _EPS),
}
LISTED: Mapping[str, Listed] = {
    "depth_to_space": _REARRANGE,
    "space_to_depth": _REARRANGE,
    "batch_norm_invstd": {"eps": (1e-5, _EPS)},
    "var": {"correction": (1, (0, 1))},
    "std": {"correction": (1, (0, 1))},
    "normalize": {"eps": (1e-12, _EPS), "squared_eps": (False, _FLAGS)},
    "weight_standardization": {"eps": (1e-5, _EPS)},
    "local_response_norm": {
        "average": (True, _FLAGS),
        "k": (1.0, (0.0, 1.0, 2.0)),
        "alpha": (1e-4, (1e-5, 2e-5, 1e-4, 5e-4, 1e-3, 1e-2, 1.0)),
        "beta": (0.75, (0.5, 0.75, 1.0)),
    },
    "cross_entropy": {
        "reduction": ("mean", ("mean", "sum", "none")),
        "label_smoothing": (0.0, (0.0, 0.1)),
    },
    "binary_cross_entropy_with_logits": {"reduction": ("mean", ("mean", "sum", "none"))},
    "mse_loss": {"reduction": ("mean", ("mean", "sum", "none"))},
    "softplus": {"beta": (1.0, (1.0,)), "threshold": (20.0, (20.0, float("inf")))},
    "dropout": {"training": (True, _FLAGS)},
}
_SWAPPED: Mapping[str, str] = {"softmax": "log_softmax", "log_softmax": "softmax"}
_ACCEPTED = {
    "sgd": ("nesterov", "weight_decay", "dampening"),
    "adam": ("weight_decay", "amsgrad", "eps"),
}


def other_changes(declared: Declaration, shape: Shape) -> Iterator[Declaration]:
    """Every single change of an op whose parameters are few."""
    op, family = declared.op, declared.op.partition("_")[0]
    if family in _ACCEPTED and "_" in op:
        yield from _parameters(declared, {n: _OPTIMIZER[n] for n in _ACCEPTED[family]})
    elif op in LISTED:
        yield from _parameters(declared, LISTED[op])
    if op in _SWAPPED:
        change = Change("function", op, _SWAPPED[op], f"{_SWAPPED[op]} in place of {op}")
        yield declared.changed(change, op=_SWAPPED[op])
    if op in ("softmax", "log_softmax", "logsumexp", "mean", "sum", "var", "std", "normalize"):
        yield from _dimensions(declared)
    if op.startswith(("avg_pool", "max_pool")):
        yield from _pooling(declared, shape)
    if op == "interpolate":
        yield from _resizing(declared, shape)
    if op in ("batch_norm_running_mean", "batch_norm_running_var"):
        yield from _running(declared)
    if op in ("pixel_shuffle", "pixel_unshuffle"):
        block = declared.params["upscale_factor" if op == "pixel_shuffle" else "downscale_factor"]
        other = "depth_to_space" if op == "pixel_shuffle" else "space_to_depth"
        change = Change(
            "mode", "CRD", "DCR", "blocks split off the front of the channels, as TensorFlow does"
        )
        yield declared.changed(change, op=other, params={"block_size": block, "mode": "DCR"})
    if op == "matmul":
        yield from _transposed_factors(declared)
    for name in ("weight", "pos_weight", "momentum_buffer"):
        if op in LISTED and declared.arrays.get(name) is not None and op.endswith(("entropy", "logits")):
            rest = {key: array for key, array in declared.arrays.items() if key != name}
            yield declared.changed(Change(name, "given", "missing", f"{name} is not applied"), arrays=rest)


def _parameters(declared: Declaration, listed: Listed) -> Iterator[Declaration]:
    for name, (default, tried) in listed.items():
        own = declared.params.get(name, default)
        for value in tried:
            if value != own:
                change = Change(_named(name), own, value, f"{name} {value!r} in place of {own!r}")
                yield declared.with_params(change, **{name: value})


def _running(declared: Declaration) -> Iterator[Declaration]:
    own = float(declared.params.get("momentum", 0.1))
    change = Change("momentum", own, 1.0 - own, f"momentum {1.0 - own:g} is taken for {own:g}")
    yield declared.with_params(change, momentum=1.0 - own)
    if declared.op == "batch_norm_running_var":
        biased = declared.params.get("convention", "torch") == "keras"
        kinds = ("biased", "unbiased") if biased else ("unbiased", "biased")
        same = declared.params.get("convention") == "tensorflow_fused"  # its momentum is Keras's
        change = Change("variance", *kinds, f"the {kinds[1]} variance is kept")
        found = {"convention": "torch" if biased else "keras", "momentum": own if same else 1.0 - own}
        yield declared.with_params(change, **found)


def _transposed_factors(declared: Declaration) -> Iterator[Declaration]:
    for name in ("input", "other"):
        array = declared.arrays[name]
        if array.ndim >= 2 and array.shape[-1] == array.shape[-2] > 1:
            change = Change("transpose", "as declared", name, f"{name} is transposed")
            yield declared.with_arrays(change, **{name: np.swapaxes(array, -1, -2)})


def _named(parameter: str) -> str:
    return {"correction": "variance"}.get(parameter, parameter)


def _dimensions(declared: Declaration) -> Iterator[Declaration]:
    rank = np.ndim(declared.arrays["input"])
    default = 1 if declared.op == "normalize" else -1
    own = declared.params.get("dim", default if declared.op != "mean" else None)
    for axis in range(rank):
        if own is None or not isinstance(own, int) or axis != own % rank:
            change = Change("axis", own, axis, f"along axis {axis} in place of {own}")
            yield declared.with_params(change, dim=axis)


def _pooling(declared: Declaration, shape: Shape) -> Iterator[Declaration]:
    kind, axes = declared.op[:3], int(declared.op[-2])
    params = declared.params
    if kind == "avg":
        included = params.get("count_include_pad")
        by_rule = isinstance(params.get("padding"), str)
        now = (not by_rule) if included is None else included
        if not by_rule or now:
            words = "counts" if not now else "does not count"
            change = Change("count_include_pad", now, not now, f"the padding {words} in the divisor")
            yield declared.with_params(change, count_include_pad=not now)
    rest = ("count_include_pad", "divisor_override") if kind == "avg" else ("dilation",)
    other = f"{'max' if kind == 'avg' else 'avg'}_pool{axes}d"
    plain = {name: value for name, value in params.items() if name not in rest}
    change = Change("function", declared.op, other, f"{other} in place of {declared.op}")
    yield declared.changed(change, op=other, params=plain)
    own = params.get("ceil_mode", False)
    yield declared.with_params(Change("ceil_mode", own, not own, f"ceil_mode {not own}"), ceil_mode=not own)
    given = params["kernel_size"]
    kernel = [given] * axes if isinstance(given, int) else list(given)
    sizes = shape[1:-1] if str(params.get("layout", "NCHW")).endswith("C") else shape[2:]
    if len(sizes) != axes:
        return
    if max(kernel) <= 5 and axes <= 2:
        for sides in itertools.product(*(range(k // 2 + 1) for k in kernel for _ in range(2))):
            if list(sides) != params.get("padding", 0):
                change = Change("padding", params.get("padding", 0), list(sides), f"padding {list(sides)}")
                yield declared.with_params(change, padding=list(sides))
    for rule in ("same", "same_lower", "valid"):
        if params.get("padding", 0) != rule:
            change = Change("padding", params.get("padding", 0), rule, f"padding {rule!r}")
            extra = {"count_include_pad": None} if kind == "avg" else {}
            yield declared.with_params(change, padding=rule, **extra)
    for stride in range(1, max(kernel) + 1):
        if stride != params.get("stride", given):
            change = Change("stride", params.get("stride", given), stride, f"stride {stride}")
            yield declared.with_params(change, stride=stride)
    for size in range(1, 8):
        if size != given:
            extra = {} if "stride" in params else {"stride": given}
            change = Change("kernel size", given, size, f"windows of size {size}")
            yield declared.with_params(change, kernel_size=size, **extra)


def _resizing(declared: Declaration, shape: Shape) -> Iterator[Declaration]:
    params = declared.params
    rank = np.ndim(declared.arrays["input"]) - 2
    last = params.get("layout", "NCHW") == "NHWC"
    sizes = list(shape[1:-1] if last else shape[2:])
    if len(sizes) != rank:
        return
    own_mode = params.get("mode", "nearest")
    plain = "asymmetric" if own_mode == "nearest" else "half_pixel"
    own = params.get("coordinates") or ("align_corners" if params.get("align_corners") else plain)
    modes = ("nearest", "nearest-exact", ("linear", "bilinear", "trilinear")[rank - 1])
    for mode in (*modes, "bicubic") if rank == 2 else modes:
        if mode != own_mode:
            change = Change("mode", own_mode, mode, f"{mode} in place of {own_mode}")
            yield declared.with_params(change, mode=mode)
    for kind in ("half_pixel", "align_corners", "asymmetric"):
        if kind != own:
            change = Change("coordinates", own, kind, f"coordinates by {kind} in place of {own}")
            yield declared.with_params(change, coordinates=kind, align_corners=False)
    if params.get("scale_factor") is not None:
        change = Change("scale factor", params["scale_factor"], "sizes", "the step is the ratio of the sizes")
        yield declared.with_params(change, scale_factor=None, size=sizes, recompute_scale_factor=False)
    if own_mode == "bicubic":
        coefficient = params.get("cubic_coefficient", -0.75)
        other = -0.5 if coefficient == -0.75 else -0.75
        change = Change("cubic coefficient", coefficient, other, f"Keys' coefficient {other}")
        yield declared.with_params(change, cubic_coefficient=other)
        border = params.get("border", "replicate")
        found = "exclude" if border == "replicate" else "replicate"
        yield declared.with_params(Change("border", border, found, f"border by {found!r}"), border=found)
        change = Change("cubic coefficient", coefficient, f"{other}, border {found}", "TensorFlow's bicubic")
        yield declared.with_params(change, cubic_coefficient=other, border=found)
