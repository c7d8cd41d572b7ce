"""Operands that are parameters of the model: `x + self.positions`, a class token before a sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from precision.tracing.tape import Call, Weight

Weigh = Callable[[Any], Weight]


def with_parameter(
    op: str, operands: tuple[Any, ...], params: Mapping[str, Any], weigh: Weigh, rank: int
) -> Call | None:
    """The call with the one operand that is a parameter of the model as its weight; None without such."""
    held = [at for at, each in enumerate(operands) if weigh(each).put is not None]
    if len(held) != 1:
        return None
    at, rest = held[0], tuple(each for k, each in enumerate(operands) if k != held[0])
    return Call(op, rest, {**params, "at": at}, {"weight": ranked(weigh(operands[at]), rank)}, op)


def ranked(weight: Weight, rank: int) -> Weight:
    """A weight with as many axes as what it is joined with: as broadcasting adds them, in front."""
    put, own = weight.put, weight.get().shape

    def get() -> Any:
        array = weight.get()
        return array.reshape((1,) * (rank - array.ndim) + array.shape)

    def turn(array: Any) -> Any:
        turned = weight.canonical(array)
        return turned.reshape((1,) * (rank - turned.ndim) + turned.shape)

    back = None if put is None else lambda array: put(array.reshape(own))
    return Weight(get, back, weight.native, turn, weight.rows)
