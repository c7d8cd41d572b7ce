"""The normalizations as ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import grouped, norm, plain
from reference.op import Op
from reference.truth import Truth


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

    needed = tuple(name for name in params if name == "num_groups")
    known = (*params, "eps")
    return Op(truth.__name__, truth, plain_form, row_terms, ("input",), optional, known, needed, rows, eps)


_AFFINE = ("weight", "bias")
_LAYER = ("normalized_shape", "axes")  # one of them
_BATCH = (*_AFFINE, "running_mean", "running_var")

OPS = (
    _normalization(
        norm.batch_norm,
        plain.batch_norm,
        grouped.batch_norm_rows,
        _BATCH,
        ("training", "momentum", "layout"),
    ),
    _normalization(norm.layer_norm, plain.layer_norm, grouped.layer_norm_rows, _AFFINE, _LAYER),
    _normalization(
        norm.group_norm, plain.group_norm, grouped.group_norm_rows, _AFFINE, ("num_groups", "layout")
    ),
    _normalization(norm.instance_norm, plain.instance_norm, grouped.instance_norm_rows, _AFFINE, ("layout",)),
    _normalization(norm.rms_norm, plain.rms_norm, grouped.rms_norm_rows, ("weight",), _LAYER, eps=2.0**-23),
)
