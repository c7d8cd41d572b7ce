"""bfloat16 dot pairs of x86 processors, to the bit: VDPBF16PS of AVX512_BF16 and TDPBF16PS of AMX.

Both multiply bfloat16 numbers and accumulate in float32 by FMA, to nearest with ties to even whatever the
control register says, with subnormal operands taken as zeros of their sign (DAZ) and results that are below
2**-126 after rounding to 24 bits flushed to zeros of their sign (FTZ):

    VDPBF16PS  c = fma(a[2i], b[2i], fma(a[2i+1], b[2i+1], c))       the odd element of a pair first
    TDPBF16PS  even = fma(a[2i], b[2i], even), odd = fma(a[2i+1], b[2i+1], odd) over up to 16 pairs, both
               from zero; then c = c + (even + odd)

Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, VDPBF16PS, TDPBF16PS and
VCVTNEPS2BF16 (operation and special cases). VDPBF16PS and VCVTNEPS2BF16 are compared with recorded results
of an AMD EPYC, family 26. TDPBF16PS was not compared with hardware here: it is the manual's.

What oneDNN, as in torch 2.13, makes of VDPBF16PS for bfloat16 tensors, found by replaying it on sums that
cancel: a matrix product runs over blocks of 512 terms, each a chain from zero, and adds the blocks one by one
(with two threads and few outputs, two halves of the blocks first). A convolution is one chain, of
channels-first images over (blocks of 16 channels, kh, kw, channels), of channels-last images over (kh, kw,
channels); 1x1 over channels-first images has blocks of 160 or, for few pixels, 512 channels. Two neighbouring
channels are a pair; the bias is added last, before the rounding to bfloat16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import BFLOAT16
from reference.jit import compiled_nogil
from reference.operands import Like, Single, operand
from reference.replay_kernels import fma
from reference.tensorcore import checked_operand, round_operand

INSTRUCTIONS = ("vdpbf16ps", "tdpbf16ps")
CONVERSIONS = ("RNE", "vcvtneps2bf16")
TILE_PAIRS = 16  # of one TDPBF16PS at most

_SMALLEST = np.float32(2.0**-126)
_TINY = 2.0**-126 - 2.0**-151  # the least number that 24 bits and an unbounded exponent round to 2**-126


def to_bfloat16(x: Like, conversion: str = "vcvtneps2bf16") -> Single:
    """`x` (float32) rounded to bfloat16, to nearest with ties to even, as float32.

    conversion: "vcvtneps2bf16" as the instruction does it, subnormal numbers to zeros of their sign; "RNE" as
    software does it, subnormals kept. Infinities stay, NaN stays NaN.

    Raises ValueError for another conversion.
    """
    if conversion not in CONVERSIONS:
        raise ValueError(f"a conversion is one of {CONVERSIONS}, got {conversion!r}: name one of them")
    single = operand(x, "operand")
    if conversion != "RNE":
        single = np.where(abs(single) < _SMALLEST, np.copysign(np.float32(0.0), single), single)
    return round_operand(single, BFLOAT16, "RNE")


def dot(a: Like, b: Like, c: Like, instruction: str = "vdpbf16ps", *, tile_pairs: int = TILE_PAIRS) -> Single:
    """c + sum over k of a[..., k] * b[..., k] by a chain of `instruction`: float32 (...).

    a, b (..., K) hold bfloat16 numbers; elements 2i and 2i + 1 are a pair, and an odd K is padded with a
    zero. c (...) is float32. All three broadcast. "tdpbf16ps" takes 2 * tile_pairs terms an instruction.

    Raises ValueError for shapes and values that do not fit, and for another instruction.
    """
    x, y, z = _pairs(a, "a"), _pairs(b, "b"), operand(c, "c")
    code = _code(instruction, tile_pairs)
    if np.shape(a)[-1] != np.shape(b)[-1]:
        raise ValueError(f"a and b need the same last axis, got {np.shape(a)} and {np.shape(b)}: pad one")
    try:
        shape = np.broadcast_shapes(x.shape[:-1], y.shape[:-1], z.shape)
    except ValueError:
        raise ValueError(
            f"a (..., K), b (..., K) and c (...) must broadcast, got {np.shape(a)}, {np.shape(b)} and "
            f"{z.shape}: align their leading axes"
        ) from None
    x, y = (np.array(np.broadcast_to(m, (*shape, m.shape[-1]))).reshape(-1, m.shape[-1]) for m in (x, y))
    total = np.array(np.broadcast_to(z, shape), np.float32).reshape(-1)
    _rows(x, y[:, :, None], code, tile_pairs, total[:, None])
    return total.reshape(shape)


def matmul(
    left: Like,
    right: Like,
    *,
    instruction: str = "vdpbf16ps",
    conversion: str | None = None,
    c: Like | None = None,
    k_block: int | None = None,
    split_k: int = 1,
    tile_pairs: int = TILE_PAIRS,
) -> Single:
    """left (M, K) @ right (K, N) by chains of `instruction`: float32 (M, N).

    conversion: how float32 operands become bfloat16, see `to_bfloat16`; None: they are bfloat16 numbers.
    k_block: terms of a block (an even number; None: all K); every block is a chain from zero, the first one
    from c, if given, which broadcasts to (M, N). The blocks are dealt to split_k contiguous groups as evenly
    as can be, each group's blocks are added in order, then the groups, in float32. "tdpbf16ps" takes
    2 * tile_pairs terms an instruction.

    Raises ValueError for shapes, values and parameters that do not fit.
    """
    x, y = (
        m if conversion is None else to_bfloat16(m, conversion) for m in (np.asarray(left), np.asarray(right))
    )
    code = _code(instruction, tile_pairs)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(
            f"a product takes left (M, K) and right (K, N), got {x.shape} and {y.shape}: transpose one"
        )
    x, y = _pairs(x, "left"), np.ascontiguousarray(_pairs(y.T, "right").T)
    block = x.shape[1] if k_block is None else k_block
    if k_block is not None and (isinstance(block, bool) or block < 2 or block % 2):
        raise ValueError(f"k_block is an even number of terms, got {k_block!r}: give e.g. 512")
    if isinstance(split_k, bool) or split_k < 1:
        raise ValueError(f"split_k is a positive integer, got {split_k!r}: give 1 or 2")
    shape = (x.shape[0], y.shape[1])
    blocks = []
    for k in range(0, max(x.shape[1], 1), max(block, 2)):
        total = np.zeros(shape, np.float32)
        if k == 0 and c is not None:
            total[...] = _start(c, shape)
        _chains(np.ascontiguousarray(x[:, k : k + block]), y[k : k + block], code, tile_pairs, total)
        blocks.append(total)
    groups = [_sum(list(group)) for group in np.array_split(np.stack(blocks), split_k) if len(group)]
    return _sum(groups)


def _start(c: Like, shape: tuple[int, int]) -> Single:
    z = operand(c, "c")
    try:
        return np.broadcast_to(z, shape)
    except ValueError:
        raise ValueError(f"c must broadcast to the result {shape}, got {z.shape}: reshape it") from None


def _sum(parts: list[Single]) -> Single:
    total = parts[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for part in parts[1:]:
            total = total + part
    return total


def _code(instruction: str, tile_pairs: int) -> int:
    if isinstance(tile_pairs, bool) or not 1 <= tile_pairs <= TILE_PAIRS:
        raise ValueError(f"a tile has 1 to {TILE_PAIRS} pairs, got tile_pairs={tile_pairs!r}: give e.g. 8")
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"an instruction is one of {INSTRUCTIONS}, got {instruction!r}: name one of them")
    return INSTRUCTIONS.index(instruction)


def _pairs(x: Like, name: str) -> npt.NDArray[np.float32]:
    """Checked, and padded to an even number of terms."""
    single = checked_operand(x, name, BFLOAT16)
    if single.ndim < 1:
        raise ValueError(f"{name} needs an axis of terms, got a scalar: give an array")
    odd = single.shape[-1] % 2
    return np.pad(single, [(0, 0)] * (single.ndim - 1) + [(0, odd)]) if odd else single


@compiled_nogil
def _flushed(x: Any) -> Any:
    return np.copysign(np.float32(0.0), x) if abs(x) < _SMALLEST else x


@compiled_nogil
def _fma(x: Any, y: Any, z: Any) -> Any:
    """One flushing FMA of float32 numbers, x and y bfloat16 ones; x, y and z flushed already."""
    rounded = fma(x, y, z)
    if abs(rounded) > _SMALLEST:
        return rounded
    # Whether the exact sum is tiny: its product is exact in float64, and what the addition lost has a sign.
    product, start = np.float64(x) * np.float64(y), np.float64(z)
    total = product + start
    partner = total - product
    lost = (product - (total - partner)) + (start - partner)
    tiny = abs(total) < _TINY or (abs(total) == _TINY and lost != 0.0 and (lost > 0.0) != (total > 0.0))
    # A sum that is exactly zero keeps the sign that IEEE 754 gives it, as FMA did.
    return np.copysign(np.float32(0.0), rounded) if tiny else rounded


@compiled_nogil
def _chains(left: Any, right: Any, code: int, pairs: int, total: Any) -> None:
    """total (M, N) continues over the terms of left (M, K) and right (K, N), K even."""
    width = right.shape[1]
    even, odd = np.empty(width, np.float32), np.empty(width, np.float32)
    for m in range(left.shape[0]):
        for n in range(width):
            total[m, n] = _flushed(total[m, n]) if left.shape[1] else total[m, n]
        if code == 0:
            for k in range(0, left.shape[1], 2):
                a0, a1 = _flushed(left[m, k]), _flushed(left[m, k + 1])
                for n in range(width):
                    inner = _fma(a1, _flushed(right[k + 1, n]), total[m, n])
                    total[m, n] = _fma(a0, _flushed(right[k, n]), inner)
            continue
        for first in range(0, left.shape[1], 2 * pairs):
            even[:], odd[:] = np.float32(0.0), np.float32(0.0)
            for k in range(first, min(first + 2 * pairs, left.shape[1]), 2):
                a0, a1 = _flushed(left[m, k]), _flushed(left[m, k + 1])
                for n in range(width):
                    even[n] = _fma(a0, _flushed(right[k, n]), even[n])
                    odd[n] = _fma(a1, _flushed(right[k + 1, n]), odd[n])
            for n in range(width):
                both = _flushed(even[n] + odd[n])
                total[m, n] = _flushed(total[m, n] + both)


@compiled_nogil
def _rows(left: Any, right: Any, code: int, pairs: int, total: Any) -> None:
    """total (B, 1) continues over the terms of each row of left (B, K) and right (B, K, 1)."""
    for i in range(total.shape[0]):
        _chains(left[i : i + 1], right[i], code, pairs, total[i : i + 1])
