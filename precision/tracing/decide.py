"""The decisions of two traced models: the largest score of the last layer, with its margin.

The bound on each score is what the last layer alone may be off by rounding in any order, or by what a
difference of meaning was seen to do, plus the largest error that the model inherits there: the first is
rigorous, the others were seen. A decision that is safe by it is so for errors like these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from precision.decisions import Decision, decide
from precision.tracing.errors import inherited_error
from precision.tracing.run import Row
from precision.tracing.store import Store

MOST_SAMPLES = 4096


Limit = Callable[[int], NDArray[np.float64] | None]


def last_decisions(
    rows: Sequence[Row], outputs: Sequence[int], store: Store, limit_of: Limit
) -> list[Decision]:
    """Argmax of every output over its classes: a softmax's axis, the last of a linear layer, else axis 1.

    limit_of: the rigorous bound of a unit's own rounding, None where there is none.
    """
    found: list[Decision] = []
    for number in outputs:
        row = rows[number]
        truth = row.truth
        if truth is None or truth.value.ndim < 2:
            continue
        axis = _classes(row)
        count = truth.value.shape[axis]
        if count < 2 or truth.value.size // count > MOST_SAMPLES or not np.isfinite(truth.value).all():
            continue
        limit = limit_of(number)
        for side in ("a", "b"):
            split = row.split_a if side == "a" else row.split_b
            if split.total_relative is None:  # missing, of another shape, or drawn at random
                continue
            ordinary, fed = store.get(row.keys[f"ordinary_{side}"]), store.get(row.keys[f"fed_{side}"])
            if ordinary.shape != truth.value.shape or fed.shape != truth.value.shape:
                continue
            bound = np.abs(truth.error(fed))
            bound = bound if limit is None else np.maximum(bound, limit)
            bound = bound + float(np.max(np.abs(inherited_error(fed, ordinary)), initial=0.0))
            if np.isfinite(bound).all() and not np.isnan(ordinary).any():
                found += decide(truth, {side.upper(): ordinary}, bound, axis=axis)
    return found


def _classes(row: Row) -> int:
    if row.a.op in ("softmax", "log_softmax"):
        return int(row.a.params["dim"])
    return -1 if row.a.op in ("linear", "matmul", "layer_norm") else 1
