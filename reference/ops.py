"""The operations by name: for each, its truth, its plain float32 evaluation and the length of its sums.

Operations, arrays and parameters are named as in torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from reference import norm_gradient_ops, norm_ops, pointwise_ops, statistic_ops, sum_ops
from reference.op import Op
from reference.truth import Truth

Arrays = Mapping[str, Any]
Params = Mapping[str, Any]

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        *sum_ops.OPS,
        *norm_ops.OPS,
        *norm_gradient_ops.OPS,
        *statistic_ops.OPS,
        *pointwise_ops.OPS,
    )
}


@overload
def evaluate(op: str, arrays: Arrays, params: Params, precision_bits: None = None) -> Truth: ...


@overload
def evaluate(op: str, arrays: Arrays, params: Params, precision_bits: int) -> npt.NDArray[np.object_]: ...


def evaluate(
    op: str, arrays: Arrays, params: Params, precision_bits: int | None = None
) -> Truth | npt.NDArray[np.object_]:
    """The certified truth of `op`; with `precision_bits`, its elements to that precision instead.

    Those are mpmath numbers of a private context, see `Truth.at_precision`. Raises ValueError for names,
    shapes, dtypes, bits that do not fit.
    """
    truth = checked(op, arrays, params).truth(**arrays, **params)
    return truth if precision_bits is None else truth.at_precision(precision_bits)


def plain_float32(op: str, arrays: Arrays, params: Params) -> npt.NDArray[np.float32]:
    """`op` as textbook float32 code gives it: every operation rounded, terms in their natural order.

    Raises ValueError as `evaluate` does.
    """
    found = checked(op, arrays, params).plain
    if found is None:
        raise ValueError(f"{op} has no plain float32 form: compare it with a framework instead")
    return found(**arrays, **params)


def terms(op: str, arrays: Arrays, params: Params) -> int:
    """Terms of one sum: products of an output, elements of a normalization's statistic; 1 without a sum."""
    found = checked(op, arrays, params).terms
    return 1 if found is None else found(**arrays, **params)


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
