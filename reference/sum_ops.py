"""The ops that are sums of products: convolutions, linear layers, matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import conv, geometry, plain
from reference.op import Op


def _conv2d_terms(input: Any, weight: Any, bias: Any = None, **params: Any) -> int:
    return geometry.geometry(np.shape(input), np.shape(weight), **params).terms


def _linear_terms(input: Any, weight: Any, bias: Any = None) -> int:
    return int(np.shape(weight)[-1])


_CONV = ("stride", "padding", "dilation", "groups", "layout")

OPS = (
    Op("conv2d", conv.conv2d, plain.conv2d, _conv2d_terms, ("input", "weight"), ("bias",), _CONV),
    Op("linear", conv.linear, plain.linear, _linear_terms, ("input", "weight"), ("bias",), ()),
)
