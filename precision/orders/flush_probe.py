"""Three calls on an accumulator: subnormal operands, subnormal results, and the sign of a sum of -0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precision.orders.revealed import TreeClass
from precision.orders.sum_kernel import SumKernel

SUBNORMAL = 2.0**-130


def accumulator_flags(kernel: SumKernel, classes: Sequence[TreeClass]) -> dict[str, bool]:
    """Return daz (subnormal operands count as 0), ftz (subnormal results do), zero_start (sums start at +0).

    Asked of one output; a sum of plain numbers cannot tell daz from ftz and gives both alike.
    """
    part = next(part for part in kernel.parts if part.number == classes[0].part)
    channel, position = part.fullest()
    term = int(part.live(channel, position)[0])
    if term == part.terms:  # the bias alone: nothing is added
        return {}

    def answer(left: float, right: float, everywhere: float = 0.0) -> float:
        values = kernel.blank(left)
        carrier = values[kernel.carrier].reshape(-1)
        carrier[:] = everywhere
        carrier[part.right[channel, term]] = right
        if kernel.bias:
            values["bias"][:] = everywhere
        return float(kernel.call(values).reshape(-1)[part.index[channel, position]])

    alone = kernel.other is None
    return {
        "daz": answer(1.0 if alone else 2.0**10, SUBNORMAL) == 0.0,
        "ftz": answer(1.0 if alone else 2.0**-70, SUBNORMAL if alone else 2.0**-70) == 0.0,
        "zero_start": not np.signbit(answer(1.0, -0.0, -0.0)),
    }
