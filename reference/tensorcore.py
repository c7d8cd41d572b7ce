"""What tensor cores return, to the bit: fused multi-term additions, with the architectures as data.

One fused step of a unit adds L products and the accumulator c:

1. the products of the significands are exact and not normalised: in [1, 4), with exponent e_a + e_b;
2. all L + 1 terms are aligned to the largest exponent among those that are not zero, and truncated toward
   zero to F fractional bits;
3. they are added exactly;
4. the sum is normalised and rounded toward zero to float32 (a float16 result: to nearest, ties to even).

Longer sums chain the steps, the accumulator in the first. A step that is not full lacks terms, which is the
same as zeros.

What is special: subnormal operands and results are kept. A sum of zero is +0, of zeros of whatever sign too;
a sum that is rounded to zero keeps its sign. Rounding toward zero or not, a float32 sum of at least 2**128 is
infinity (a float16 one from 65520 on); products are not limited: 2**200 - 2**200 is 0. NaN operands, 0 * Inf
and Inf - Inf give the one NaN 0x7fffffff.

"MMA-Sim", arXiv 2511.10909, and its program (steps, L, F, specials; table 9: the bound); Khattak & Mikaitis,
"Accurate Models of NVIDIA Tensor Cores", ACM TACO, doi 10.1145/3830409, and their models (the same steps,
`lowest`). Compared with recorded results of V100, A100 and H100 where `Unit.recorded` says so. The recordings
hold numbers of ordinary size: the special cases are the models', and the sign of a sum that is rounded to
zero, on which they differ, is a choice made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import tensorcore_kernels as kernels
from reference.formats import BFLOAT16, BINARY16, BINARY32, TF32, Array, Format, round_to
from reference.operands import Like, Single, operand

UNBOUNDED = -400  # lower than the exponent of any product
ORDERS = ("sequential", "pairwise", "interleaved")
OPERAND_MODES = ("RNE", "RNA", "RZ")


@dataclass(frozen=True)
class Unit:
    """A fused multi-term adder."""

    architecture: str
    format: Format  # of the operands
    terms: int  # L, products in one fused step
    fraction_bits: int  # F
    output: Format = BINARY32  # of the accumulator and the result
    lowest: int = UNBOUNDED  # terms are never aligned to an exponent below this one
    recorded: bool = False  # whether results of the hardware were compared, bit by bit

    @property
    def name(self) -> str:
        return f"{self.architecture} {self.format.name}, {self.terms} terms"


def _table() -> dict[tuple[str, str], Unit]:
    """Rows: architecture, L of TF32, L of the 16-bit formats, F, lowest, formats that were recorded."""
    rows: tuple[tuple[str, int, int, int, int, tuple[str, ...]], ...] = (
        ("volta", 0, 4, 23, UNBOUNDED, ("fp16",)),
        ("turing", 0, 8, 24, UNBOUNDED, ()),
        ("ampere", 4, 8, 24, UNBOUNDED, ("tf32", "bf16", "fp16")),
        ("ada", 4, 8, 24, UNBOUNDED, ()),
        ("hopper", 8, 16, 25, -133, ("tf32", "bf16", "fp16")),
        ("blackwell", 8, 16, 25, -133, ()),
    )
    found = {}
    for architecture, wide, narrow, fraction, lowest, recorded in rows:
        formats = {"tf32": (TF32, wide), "bf16": (BFLOAT16, narrow), "fp16": (BINARY16, narrow)}
        for name, (fmt, terms) in formats.items():
            if terms and (wide or name == "fp16"):  # before Ampere the units took float16 alone
                unit = Unit(architecture, fmt, terms, fraction, BINARY32, lowest, name in recorded)
                found[architecture, name] = unit
                if name == "tf32" and terms == 8:  # the same unit, compiled through the WMMA interface
                    found[architecture, "tf32.wmma"] = replace(unit, terms=4)
    return found


UNITS = _table()


def unit_of(architecture: str, fmt: str, output: str = "float32") -> Unit:
    """The unit of an architecture ("volta" ... "blackwell") for operands in "tf32", "bf16", "fp16" or, what
    WMMA makes of TF32 since Hopper, "tf32.wmma"; output "float16" is for fp16 operands alone.

    Raises ValueError for a combination that does not exist.
    """
    if (architecture, fmt) not in UNITS:
        known = ", ".join(f"{a} {f}" for a, f in UNITS)
        raise ValueError(f"a unit is one of {known}, got {architecture!r} {fmt!r}: name one of them")
    unit = UNITS[architecture, fmt]
    if output == "float32":
        return unit
    if output != "float16" or fmt != "fp16":
        raise ValueError(
            f"a unit returns float32, or float16 for fp16 operands, got {output!r} for {fmt}: ask for float32"
        )
    lowest = -15 if architecture == "blackwell" else unit.lowest
    return replace(unit, output=BINARY16, lowest=lowest, recorded=False)


def round_operand(x: Like, fmt: Format, mode: str) -> Single:
    """`x` (float32) rounded to TF32, bfloat16 or float16 as conversions of operands do it, as float32.

    mode: "RNE" to nearest, ties to even; "RNA" to nearest, ties away from zero; "RZ" toward zero, which is
    what a unit does to operands that are handed to it as they are. Subnormals and infinities are kept, NaN
    stays NaN. Overflow by `formats.round_to`.

    Raises ValueError for another mode or format.
    """
    if mode not in OPERAND_MODES:
        raise ValueError(f"operands are rounded by one of {OPERAND_MODES}, got {mode!r}: name one of them")
    single = operand(x, "operand")
    if fmt == BINARY16:
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is one more NaN
            return round_to(single, fmt, mode).astype(np.float32)
    if fmt not in (TF32, BFLOAT16):
        raise ValueError(f"operands are of tf32, bfloat16 or binary16, got {fmt.name}: give one of them")
    out = np.empty(single.shape, np.float32)
    bits = single.reshape(-1).view(np.uint32)
    kernels.round_bits(bits, 24 - fmt.precision, OPERAND_MODES.index(mode), out.reshape(-1).view(np.uint32))
    return out


def fused_dot(a: Like, b: Like, c: Like, unit: Unit) -> npt.NDArray[Any]:
    """c + sum over k of a[..., k] * b[..., k]: chained fused steps of `unit.terms` terms, c in the first.

    a, b (..., K) hold numbers of `unit.format`, c (...) of `unit.output`; all three broadcast. Returns the
    sums (...) as float32, or float16 where that is the unit's output.

    Raises ValueError for shapes that do not fit, and for values that the formats do not have.
    """
    return _fused(a, b, c, unit)[0]


def fused_error_bound(a: Like, b: Like, c: Like, unit: Unit) -> Array:
    """A bound on |fused_dot(a, b, c, unit) - (c + a . b)| for the operands as they are given.

    The sum over the steps of (L + 1) * 2**(emax - F) + ulp(result), where emax is the exponent that the step
    aligned to: MMA-Sim, table 9. Infinite where a sum overflows. Parameters and errors as `fused_dot`.
    """
    return _fused(a, b, c, unit)[1]


def _fused(a: Like, b: Like, c: Like, unit: Unit) -> tuple[npt.NDArray[Any], Array]:
    x, y = checked_operand(a, "a", unit.format), checked_operand(b, "b", unit.format)
    z = checked_operand(c, "c", unit.output)
    if x.ndim < 1 or y.ndim < 1 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"a and b need the same last axis, got shapes {x.shape} and {y.shape}: pad one")
    try:
        shape = np.broadcast_shapes(x.shape[:-1], y.shape[:-1], z.shape)
    except ValueError:
        raise ValueError(
            f"a (..., K), b (..., K) and c (...) must broadcast, got {x.shape}, {y.shape} and {z.shape}: "
            "align their leading axes"
        ) from None
    rows = [
        np.array(np.broadcast_to(m, (*shape, m.shape[-1])), np.float32).reshape(-1, m.shape[-1])
        for m in (x, y)
    ]
    total = np.array(np.broadcast_to(z, shape), np.float64).reshape(-1)
    bound = np.zeros(total.size)
    places = [_places(m, unit.format) for m in rows]
    kernels.paired(
        rows[0], places[0], rows[1], places[1], unit.terms, unit.fraction_bits, unit.lowest,
        unit.output == BINARY16, total, bound,
    )  # fmt: skip
    return _stored(total, unit).reshape(shape), bound.reshape(shape)


def matmul(
    left: Like,
    right: Like,
    unit: Unit,
    *,
    operand_rounding: str | None = None,
    c: Like | None = None,
    c_joins: str = "last",
    split_k: int = 1,
    k_block: int = 32,
    order: str = "sequential",
    threads: int = 1,
) -> npt.NDArray[Any]:
    """left (M, K) @ right (K, N) + c as a GEMM on `unit` returns it; float32 (M, N), or the unit's output.

    operand_rounding: what is done to float32 operands first, "RNE", "RNA" or "RZ"; None: they are numbers of
    the unit's format already. K runs in fused steps of `unit.terms` terms, the last of them not full. With
    split_k > 1 that many slices of K, made of blocks of k_block terms, are summed from zero and then added
    in the output's format, to nearest: order "sequential": contiguous slices, ((s0 + s1) + s2) ...;
    "pairwise": contiguous slices, neighbours first; "interleaved": block i belongs to slice i mod split_k,
    added as "sequential". c broadcasts to (M, N) and joins "first", as the accumulator of the first slice,
    or "last", in one more addition. threads: rows are dealt to so many; the result does not depend on it.

    Raises ValueError for shapes, values and parameters that do not fit.
    """
    x, y = (
        operand(m, name) if operand_rounding is None else round_operand(m, unit.format, operand_rounding)
        for m, name in ((left, "left"), (right, "right"))
    )
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(
            f"a product takes left (M, K) and right (K, N), got {x.shape} and {y.shape}: transpose one"
        )
    if operand_rounding is None:
        x, y = checked_operand(x, "left", unit.format), checked_operand(y, "right", unit.format)
    _check_counts(split_k=split_k, k_block=k_block, threads=threads)
    if order not in ORDERS or c_joins not in ("first", "last"):
        raise ValueError(
            f"order is one of {ORDERS} and c_joins 'first' or 'last', got {order!r} and {c_joins!r}: "
            "name one of them"
        )
    shape = (x.shape[0], y.shape[1])
    start = np.zeros(shape) if c is None else _accumulator(c, shape, unit)
    first = start if c is not None and c_joins == "first" else np.zeros(shape)
    slices = [
        _slice(x, y, chosen, first if i == 0 else np.zeros(shape), unit, threads)
        for i, chosen in enumerate(_chosen(x.shape[1], split_k, k_block, order))
    ]
    total = _added(slices, order, unit)
    if c is not None and c_joins == "last":
        total = _nearest(total + start, unit)
    return _stored(total.reshape(-1), unit).reshape(shape)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name} is a positive integer, got {count!r}: give e.g. 1")


def _accumulator(c: Like, shape: tuple[int, int], unit: Unit) -> Array:
    z = checked_operand(c, "c", unit.output)
    try:
        return np.array(np.broadcast_to(z, shape), np.float64)
    except ValueError:
        raise ValueError(f"c must broadcast to the result {shape}, got {z.shape}: reshape it") from None


def _chosen(count: int, split_k: int, k_block: int, order: str) -> list[npt.NDArray[np.int64]]:
    """The terms of each slice; slices without terms are left out, but for the first."""
    terms = np.arange(count)
    block = terms // k_block
    blocks = -(-count // k_block)
    owner = block % split_k if order == "interleaved" else block // max(1, -(-blocks // split_k))
    found = [terms[owner == i] for i in range(split_k)]
    return [found[0], *(chosen for chosen in found[1:] if chosen.size)]


def _slice(
    x: Single, y: Single, chosen: npt.NDArray[np.int64], total: Array, unit: Unit, threads: int
) -> Array:
    """Chains over the chosen terms that start from `total`, which is overwritten."""
    if chosen.size != x.shape[1]:
        x, y = np.ascontiguousarray(x[:, chosen]), np.ascontiguousarray(y[chosen])
    x_places, y_places = _places(x, unit.format), _places(y, unit.format)
    half, unbounded = unit.output == BINARY16, np.empty((0, 0))

    def rows(first: int, last: int) -> None:
        kernels.outer(
            x, x_places, y, y_places, unit.terms, unit.fraction_bits, unit.lowest, half, first, last, total,
            unbounded,
        )  # fmt: skip

    if threads == 1:
        rows(0, x.shape[0])
    else:
        ends = np.linspace(0, x.shape[0], threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(rows, ends[:-1], ends[1:]))
    return total


def _added(slices: list[Array], order: str, unit: Unit) -> Array:
    while len(slices) > 1:
        if order == "pairwise":
            pairs = [slices[i : i + 2] for i in range(0, len(slices), 2)]
            slices = [_nearest(p[0] + p[1], unit) if len(p) == 2 else p[0] for p in pairs]
        else:
            slices = [_nearest(slices[0] + slices[1], unit), *slices[2:]]
    return slices[0]


def _nearest(x: Array, unit: Unit) -> Array:
    """A float64 sum of two numbers of the output's format, as if it had been rounded to it once.

    Double rounding is innocuous: 53 >= 2 * 24 + 2 (Figueroa 1995, "When is double rounding innocuous?").
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(np.float16 if unit.output == BINARY16 else np.float32).astype(np.float64)


def _places(values: Single, fmt: Format) -> npt.NDArray[np.int32]:
    out = np.empty(values.shape, np.int32)
    kernels.exponents(values.reshape(-1), fmt.emin, out.reshape(-1))
    return out


def _stored(total: Array, unit: Unit) -> npt.NDArray[Any]:
    if unit.output == BINARY16:
        half = total.astype(np.float16)
        half.view(np.uint16)[np.isnan(total)] = 0x7FFF
        return half
    out = np.empty(total.size, np.float32)
    kernels.to_float32(total, out.view(np.uint32))
    return out


def checked_operand(x: Like, name: str, fmt: Format) -> Single:
    """`x` as float32; ValueError if it holds what is not a number of `fmt` (NaN and infinities may be)."""
    single = operand(x, name)
    if fmt == BINARY32:
        return single
    if fmt == BINARY16:
        with np.errstate(over="ignore", invalid="ignore"):
            kept = single.astype(np.float16).astype(np.float32)
        strange = ~((kept == single) | np.isnan(single))
    else:
        rounded = round_operand(single, fmt, "RZ")
        strange = ~((rounded == single) | np.isnan(single))
    if strange.any():
        raise ValueError(
            f"{name} must hold numbers of {fmt.name}, got {float(single[strange][0])!r} among them: round it "
            "with round_operand, or name an operand_rounding"
        )
    return single


def _probes(bits: int) -> tuple[float, ...]:
    """A tie next to 1 below an even and above an odd significand, and what is just above a tie."""
    half = 2.0**-bits
    return 1 + half, 1 + 3 * half, 1 + half + 2.0**-23


PROBES: tuple[float, ...] = (*_probes(11), *_probes(8), 2.0**20, 2.0**-30)
"""Numbers that, multiplied by 1, tell how operands are rounded: of 11 bits, of 8 bits, and by their range."""


def operand_rounding_of(
    responses: Sequence[float], probes: Sequence[float] = PROBES
) -> list[tuple[str, str]]:
    """What may have been done to the operands, (format, mode), if `probes` * 1 came back as `responses`.

    Candidates: ("binary32", "none") for numbers that were left as they are, which 3xTF32 and BF16x9 do too;
    "tf32", "bfloat16" and "binary16" by "RNE", "RNA", "RZ". The first three of `PROBES` alone tell the modes
    of TF32 apart, and the last two TF32 from binary16, whose significand is the same. An overflow may come
    back as infinity or as the largest number. An empty list: none of these.

    Raises ValueError if there are not as many responses as probes.
    """
    given, back = np.asarray(probes, np.float32), np.asarray(responses, np.float32)
    if given.shape != back.shape or given.ndim != 1:
        raise ValueError(
            f"each probe has one response, got {back.shape} for {given.shape}: give them in the same order"
        )
    found = [("binary32", "none")] if np.array_equal(given, back) else []
    for fmt in (TF32, BFLOAT16, BINARY16):
        for mode in OPERAND_MODES:
            expected = round_operand(given, fmt, mode)
            ends = np.minimum(expected, np.float32(fmt.largest)), expected
            if all(any(end[i] == back[i] for end in ends) for i in range(back.size)):
                found.append((fmt.name, mode))
    return found
