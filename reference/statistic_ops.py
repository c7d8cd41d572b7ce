"""Reductions, batch statistics, vectors of length one, standardized filters, local responses: as ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import batch_statistics, local_response, plain_statistics, reductions, vector_norm
from reference.op import Op
from reference.truth import Truth

Names = tuple[str, ...]
Plain = Callable[..., npt.NDArray[np.float32]]


def _standardized(weight: Any, *, eps: float = 1e-5, layout: str = "NCHW") -> npt.NDArray[np.float32]:
    return plain_statistics.standardized(vector_norm.filters_of(weight, layout), eps)


def _standardized_grad(
    grad_output: Any, weight: Any, *, eps: float = 1e-5, layout: str = "NCHW"
) -> npt.NDArray[np.float32]:
    rows = vector_norm.filters_of(weight, layout)
    return plain_statistics.input_gradient(rows, grad_output, eps)


def _elements_of_a_row(rows: Callable[..., int]) -> Callable[..., int]:
    """Of a gradient: the same sum's length, whatever grad_output is."""
    return lambda grad_output, **given: rows(**given)


def _op(
    name: str,
    truth: Callable[..., Truth],
    plain: Plain | None,
    terms: Callable[..., int],
    params: Names,
    arrays: Names = ("input",),
    needed: Names = (),
) -> Op:
    return Op(name, truth, plain, terms, arrays, (), params, needed)


_AXES = ("dim", "keepdim")
_SPREAD = (*_AXES, "correction")
_LENGTH = ("dim", "eps", "squared_eps")
_FILTER = ("eps", "layout")
_RESPONSE = ("size", "alpha", "beta", "k", "average", "layout")
_UPDATE = ("momentum", "convention", "layout")
_GRAD = ("grad_output", "input")


OPS = (
    _op("sum", reductions.sum_, plain_statistics.sum_, reductions.terms, _AXES),
    _op("mean", reductions.mean, plain_statistics.mean, reductions.terms, _AXES),
    _op("var", reductions.var, plain_statistics.var, reductions.terms, _SPREAD),
    _op("std", reductions.std, plain_statistics.std, reductions.terms, _SPREAD),
    *(
        _op(
            name,
            getattr(batch_statistics, name),
            getattr(plain_statistics, name),
            batch_statistics.terms,
            params,
            arrays,
        )
        for name, params, arrays in (
            ("batch_norm_mean", ("layout",), ("input",)),
            ("batch_norm_var", ("layout",), ("input",)),
            ("batch_norm_invstd", ("eps", "layout"), ("input",)),
            ("batch_norm_running_mean", _UPDATE, ("input", "running_mean")),
            ("batch_norm_running_var", _UPDATE, ("input", "running_var")),
        )
    ),
    _op("normalize", vector_norm.normalize, plain_statistics.normalize, vector_norm.normalize_terms, _LENGTH),
    _op(
        "normalize_input_grad",
        vector_norm.normalize_input_grad,
        None,
        _elements_of_a_row(vector_norm.normalize_terms),
        _LENGTH,
        _GRAD,
    ),
    _op(
        "weight_standardization",
        vector_norm.weight_standardization,
        _standardized,
        vector_norm.filter_terms,
        _FILTER,
        ("weight",),
    ),
    _op(
        "weight_standardization_weight_grad",
        vector_norm.weight_standardization_weight_grad,
        _standardized_grad,
        _elements_of_a_row(vector_norm.filter_terms),
        _FILTER,
        ("grad_output", "weight"),
    ),
    _op(
        "local_response_norm",
        local_response.local_response_norm,
        plain_statistics.local_response_norm,
        local_response.terms,
        _RESPONSE,
        needed=("size",),
    ),
    _op(
        "local_response_norm_input_grad",
        local_response.local_response_norm_input_grad,
        None,
        _elements_of_a_row(local_response.terms),
        _RESPONSE,
        _GRAD,
        ("size",),
    ),
)
