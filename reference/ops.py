"""The operations by name: for each, its truth, its plain float32 evaluation and the length of its sums.

Operations, arrays and parameters are named as in torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import conv, geometry, grouped, norm, plain
from reference.truth import Truth

Arrays = Mapping[str, Any]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Op:
    """One operation. The functions take the arrays, then the parameters, as keyword arguments."""

    name: str
    truth: Callable[..., Truth]
    plain: Callable[..., npt.NDArray[np.float32]]
    terms: Callable[..., int]
    required: tuple[str, ...]  # arrays that must be given
    optional: tuple[str, ...]  # arrays that may be given
    params: tuple[str, ...]
    needed: tuple[str, ...] = ()  # parameters without a default
    rows: Callable[..., grouped.Grouped] | None = None  # a normalization's rows; takes no eps, no momentum
    eps: float = 0.0  # a normalization's default


def _conv2d_terms(input: Any, weight: Any, bias: Any = None, **params: Any) -> int:
    return geometry.geometry(np.shape(input), np.shape(weight), **params).terms


def _linear_terms(input: Any, weight: Any, bias: Any = None) -> int:
    return int(np.shape(weight)[-1])


def _normalization(
    truth: Callable[..., Truth],
    plain_form: Callable[..., npt.NDArray[np.float32]],
    rows: Callable[..., grouped.Grouped],
    optional: tuple[str, ...],
    params: tuple[str, ...],
    *,
    eps: float = 1e-5,
) -> Op:
    def row_terms(**keywords: Any) -> int:
        found = rows(**{name: value for name, value in keywords.items() if name not in ("eps", "momentum")})
        return 1 if found.given is not None else int(found.x.shape[1])

    needed = tuple(name for name in params if name in ("normalized_shape", "num_groups"))
    known = (*params, "eps")
    return Op(truth.__name__, truth, plain_form, row_terms, ("input",), optional, known, needed, rows, eps)


_AFFINE = ("weight", "bias")
_BATCH = (*_AFFINE, "running_mean", "running_var")
_CONV = ("stride", "padding", "dilation", "groups", "layout")

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        Op("conv2d", conv.conv2d, plain.conv2d, _conv2d_terms, ("input", "weight"), ("bias",), _CONV),
        Op("linear", conv.linear, plain.linear, _linear_terms, ("input", "weight"), ("bias",), ()),
        _normalization(
            norm.batch_norm,
            plain.batch_norm,
            grouped.batch_norm_rows,
            _BATCH,
            ("training", "momentum", "layout"),
        ),
        _normalization(
            norm.layer_norm, plain.layer_norm, grouped.layer_norm_rows, _AFFINE, ("normalized_shape",)
        ),
        _normalization(
            norm.group_norm, plain.group_norm, grouped.group_norm_rows, _AFFINE, ("num_groups", "layout")
        ),
        _normalization(
            norm.instance_norm, plain.instance_norm, grouped.instance_norm_rows, _AFFINE, ("layout",)
        ),
        _normalization(
            norm.rms_norm,
            plain.rms_norm,
            grouped.rms_norm_rows,
            ("weight",),
            ("normalized_shape",),
            eps=2.0**-23,
        ),
    )
}


def evaluate(op: str, arrays: Arrays, params: Params) -> Truth:
    """The certified truth of `op`. Raises ValueError for names, shapes, dtypes that do not fit."""
    return checked(op, arrays, params).truth(**arrays, **params)


def plain_float32(op: str, arrays: Arrays, params: Params) -> npt.NDArray[np.float32]:
    """`op` as textbook float32 code gives it: every operation rounded, terms in their natural order.

    Raises ValueError as `evaluate` does.
    """
    return checked(op, arrays, params).plain(**arrays, **params)


def terms(op: str, arrays: Arrays, params: Params) -> int:
    """Terms of one sum: products of an output (conv2d, linear), elements of a statistic (normalizations)."""
    return checked(op, arrays, params).terms(**arrays, **params)


def checked(op: str, arrays: Arrays, params: Params) -> Op:
    """The `Op` of that name, after a check that it takes these arrays and parameters."""
    if op not in OPS:
        raise ValueError(f"the op must be one of {sorted(OPS)}, got {op!r}: name a known one")
    found = OPS[op]
    missing = [name for name in found.required if arrays.get(name) is None]
    missing += [name for name in found.needed if params.get(name) is None]
    if missing:
        raise ValueError(f"{op} needs {found.required + found.needed}, {missing} are missing: give them")
    for given, known, kind in (
        (arrays, found.required + found.optional, "arrays"),
        (params, found.params, "parameters"),
    ):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"{op} takes the {kind} {known}, got {unknown}: leave them out or rename them")
    return found
