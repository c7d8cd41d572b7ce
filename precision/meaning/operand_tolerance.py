"""How far sums of products are from the truth where their operands are rounded first, as on tensor cores.

A rounding of the operands by at most q of them, or by eta where they are subnormal in the format, and
additions by a unit u that truncate, in any order:

    |output - truth| <= ((1 + q)**2 (1 + gamma_n) - 1) sum|ab|          (`reference.error_bound`)
                        + (1 + gamma_n) n (eta_a max|b| + eta_b max|a|) (1 + q)

q and eta are what the rounding does to the arrays at hand. u: a fused step of L products and the accumulator
loses less than (L + 1) 2**-F of its largest term, and 2**-23 of its result; over K/L steps that is at most
1.75 K 2**-24 sum|ab| for Ampere and later, 3 K 2**-24 for Volta (L = 4, F = 23), so u = 2**-23 and 2**-22
(`reference.tensorcore`). What is likely is measured: the operands are rounded and some outputs evaluated
again, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.meaning.gather import SUMS, gathered
from precision.meaning.hypotheses import Declaration
from reference import Truth, error_bound, evaluate, terms
from reference.formats import BFLOAT16, BINARY16, TF32, Format
from reference.sum_ops import FACTORS
from reference.tensorcore import round_operand
from reference.tracked import gamma

Float64 = NDArray[np.float64]

_PRODUCTS = 400_000
"""Products that are gathered to see what rounding the operands does."""
_FEWEST, _MOST = 8, 400
_WHOLE = 2_000_000
"""Products of a layer up to which an op whose products cannot be gathered is evaluated again."""
_RARE = 1e-3
"""Probability that an output of the layer exceeds what is likely."""


@dataclass(frozen=True)
class OperandMode:
    """Arithmetic of a class of kernels with float32 results.

    format, roundings: of the operands. unit: of the additions, truncation included.
    """

    name: str
    format: Format
    roundings: tuple[str, ...]
    unit: float


MODES = (
    # Kernels round to TF32 in one of three ways, to the other formats to nearest.
    OperandMode("tf32", TF32, ("RNE", "RNA", "RZ"), 2.0**-23),
    OperandMode("bfloat16", BFLOAT16, ("RNE",), 2.0**-23),
    OperandMode("float16", BINARY16, ("RNE",), 2.0**-22),
)


def operand_limits(
    op: str, arrays: Mapping[str, Any], params: Mapping[str, Any], truth: Truth
) -> Iterator[tuple[str, Float64, Float64 | None]]:
    """For each mode that the data allow: its name, the worst and the likely |output - truth|.

    Nothing for ops that are no sums of products of two arrays, and for formats that the arrays overflow.
    The likely limit is None where measuring it would cost more than the layer.
    """
    names = FACTORS.get(op, ())
    if len(names) != 2 or not truth.value.size:
        return
    try:
        own = {name: np.asarray(arrays[name], np.float32) for name in names}
    except (ValueError, TypeError):
        return
    for mode in MODES:
        rounded = {
            how: {name: round_operand(array, mode.format, how) for name, array in own.items()}
            for how in mode.roundings
        }
        changes = {name: _changes(own[name], [many[name] for many in rounded.values()], mode) for name in own}
        roundoff = max(relative for relative, _ in changes.values())
        if not math.isfinite(roundoff):
            continue
        worst = error_bound(
            op, arrays, params, truth, unit_roundoff=mode.unit, operand_roundoff=roundoff
        ) + _small(own, changes, terms(op, arrays, params), mode.unit)
        yield mode.name, worst, _likely(op, arrays, params, truth, mode, rounded)


def _changes(array: Any, rounded: list[Any], mode: OperandMode) -> tuple[float, float]:
    """The largest change of normal numbers, relative, and of others; infinite where one is not finite."""
    if not all(np.isfinite(many).all() for many in rounded):
        return math.inf, math.inf
    wide = array.astype(np.float64)
    normal = np.abs(wide) >= 2.0**mode.format.emin
    changes = [np.abs(many - wide) for many in rounded]
    own = [float(np.max(change[normal] / np.abs(wide[normal]), initial=0.0)) for change in changes]
    small = [float(np.max(change, initial=0.0, where=~normal)) for change in changes]
    return max(own), max(small)


def _small(
    own: Mapping[str, Any], changes: Mapping[str, tuple[float, float]], count: int, unit: float
) -> float:
    """What the changes of subnormal operands add to the bound."""
    (x, w), (first, second) = own.values(), changes.values()
    largest = [float(np.max(np.abs(each), initial=0.0)) for each in (x, w)]
    most = first[1] * (largest[1] * (1.0 + second[0]) + second[1])
    most += second[1] * (largest[0] * (1.0 + first[0]) + first[1])
    return count * most * (1.0 + gamma(count + 2, unit))


def _likely(
    op: str,
    arrays: Mapping[str, Any],
    params: Mapping[str, Any],
    truth: Truth,
    mode: OperandMode,
    rounded: Mapping[str, Mapping[str, Any]],
) -> Float64 | None:
    count = terms(op, arrays, params)
    flat = _places(truth, count)
    shares = []
    for many in rounded.values():
        change = _change(op, {**arrays, **many}, params, truth, count, flat)
        if change is None:
            return None
        size = truth.magnitude.reshape(-1)[flat]
        shares.append(_share(change[size > 0] / size[size > 0], truth.value.size))
    adding = error_bound(op, arrays, params, truth, unit_roundoff=mode.unit, kind="probabilistic")
    # Truncation takes a part of every partial sum: K/2 times half a unit of the sum, at its most.
    adding = adding + 0.25 * mode.unit * count * np.abs(truth.value)
    return np.asarray(adding + max(shares) * truth.magnitude)


def _places(truth: Truth, count: int) -> NDArray[np.int64]:
    """Outputs to look at, drawn from a fixed seed."""
    size = truth.value.size
    most = max(_FEWEST, min(_MOST, _PRODUCTS // max(1, count)))
    if size <= most:
        return np.arange(size, dtype=np.int64)
    return np.random.default_rng(20261101).choice(size, most, replace=False).astype(np.int64)


def _change(
    op: str,
    arrays: Mapping[str, Any],
    params: Mapping[str, Any],
    truth: Truth,
    count: int,
    flat: NDArray[np.int64],
) -> Float64 | None:
    """What other arrays make of these outputs."""
    if op in SUMS:
        at = tuple(np.asarray(i, np.int64) for i in np.unravel_index(flat, truth.value.shape))
        value = gathered(Declaration(op, arrays, params), at, 2.0**-52).value
    elif count * truth.value.size <= _WHOLE:
        value = evaluate(op, arrays, params).value.reshape(-1)[flat]
    else:
        return None
    return np.asarray(value - truth.value.reshape(-1)[flat])


def _share(shares: Float64, outputs: int) -> float:
    """Of the sum of the sizes: what so many outputs are likely to stay within, if they scatter normally."""
    if not shares.size:
        return 0.0
    reach = math.sqrt(2.0 * math.log(2.0 * outputs / _RARE))
    # The scatter of few outputs is itself uncertain.
    reach *= 1.0 + 2.0 / math.sqrt(shares.size)
    return abs(float(np.mean(shares))) + reach * float(np.std(shares))
