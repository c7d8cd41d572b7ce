"""Winograd convolutions of 3x3 kernels in float32, and recognising them by the errors they make.

F(m x m, 3 x 3), m = 2, 4, 6: tiles of n = m + 2 pixels a side, which overlap by 2, give m x m outputs,

    Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A

with the elementwise product of the transformed kernel g and tile d: Lavin & Gray 2015, "Fast algorithms for
convolutional neural networks", arXiv 1509.09308, sections 4.1 to 4.3. The matrices are those of Cook and Toom
for the points 0, 1, -1, 2, -2, 1/2, -1/2 (the first n - 1 of them) and infinity, scaled as in Lavin's wincnn:
B^T and A^T are exact in float32, G is rounded to it.

Two arithmetics: "matrix" follows the rows of the matrices, element after element; "nnpack", for m = 6, has
the shared subexpressions of the AVX2 kernels of Dukhan's NNPACK (github.com/Maratyszcza/NNPACK,
src/x86_64-fma/winograd): down the columns, then along the rows, the output the other way round, and one
factor for each element of the transformed kernel. torch calls it for 3x3 kernels and at least 16 images if
oneDNN is off; `NNPACK` returns its results bit for bit, where `nnpack_takes_winograd`.

What a tile costs in accuracy: Barabasz, Anderson, Soodhalter & Gregg 2020, "Error analysis and improving the
accuracy of Winograd convolution for deep neural networks", ACM TOMS 46(4), arXiv 1803.10986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from reference import winograd_kernels as kernels
from reference.formats import TF32
from reference.operands import Like, Single, operand
from reference.padding import pad_amounts
from reference.tensorcore import OPERAND_MODES, round_operand

POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2), Fraction(1, 2), Fraction(-1, 2))
TILES = (2, 4, 6)
ARITHMETICS = ("matrix", "nnpack")
NNPACK_BLOCK = 218  # channels of a block for 48 KiB of level 1 cache: 1536 vectors of 8, shared by 3 + 4
_IMAGES = 1 << 24  # elements of the transformed tiles at a time: 64 MiB


@dataclass(frozen=True)
class Transforms:
    """The matrices of F(tile, 3), as fractions."""

    tile: int
    input: tuple[tuple[Fraction, ...], ...]  # B^T (n, n)
    weight: tuple[tuple[Fraction, ...], ...]  # G (n, 3)
    output: tuple[tuple[Fraction, ...], ...]  # A^T (m, n)

    def rounded(self, name: str) -> Single:
        """One of the matrices in float32."""
        rows = getattr(self, name)
        return np.array([[float(v) for v in row] for row in rows], np.float32)


def transforms(tile: int) -> Transforms:
    """The matrices for the first tile + 1 of `POINTS` and infinity; ValueError for a tile not in `TILES`.

    With points p_i and N_i = product over j != i of (p_i - p_j): A^T[k, i] = p_i**k, G[i, k] = p_i**k / N_i,
    B^T[i, k] the coefficient of x**k in product over j != i of (x - p_j); the last rows, of infinity, are the
    product over all points and (0, 0, 1). A row of G and of B^T may change their signs together: the first
    ones do where B^T would start negative.
    """
    if tile not in TILES:
        raise ValueError(f"a tile is one of {TILES} outputs a side, got {tile!r}: give one of them")
    points = POINTS[: tile + 1]
    everything = _product(points)
    width = tile + 2
    rows_in, rows_weight = [], []
    for i, point in enumerate(points):
        others = [other for j, other in enumerate(points) if j != i]
        norm = Fraction(1)
        for other in others:
            norm *= point - other
        sign = -1 if i == 0 and norm < 0 else 1
        rows_in.append(tuple(sign * v for v in _padded(_product(others), width)))
        rows_weight.append(tuple(sign * point**k / norm for k in range(3)))
    rows_in.append(tuple(_padded(everything, width)))
    rows_weight.append((Fraction(0), Fraction(0), Fraction(1)))
    rows_out = [(*(point**k for point in points), Fraction(int(k == tile - 1))) for k in range(tile)]
    return Transforms(tile, tuple(rows_in), tuple(rows_weight), tuple(rows_out))


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), the constant first."""
    found = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *found]
        found = [a - root * b for a, b in zip(shifted, [*found, Fraction(0)], strict=True)]
    return found


def _padded(row: list[Fraction], width: int) -> list[Fraction]:
    return row + [Fraction(0)] * (width - len(row))


@dataclass(frozen=True)
class Variant:
    """A way to compute it; each of the fields changes bits."""

    tile: int
    arithmetic: str = "matrix"
    fused: bool = True  # FMA, or products rounded before they are added
    channel_block: int | None = None  # channels of a chain; None: all
    rounding: str | None = None  # of the transformed operands to TF32: "RNE", "RNA", "RZ"; None: none

    @property
    def name(self) -> str:
        blocks = "" if self.channel_block is None else f", blocks of {self.channel_block}"
        rounded = "" if self.rounding is None else f", TF32 {self.rounding}"
        plain = "" if self.fused else ", no FMA"
        return f"F({self.tile}x{self.tile}, 3x3), {self.arithmetic}{plain}{blocks}{rounded}"

    def checked(self) -> Variant:
        """Itself; ValueError for a tile, an arithmetic or a block that does not exist."""
        transforms(self.tile)
        if self.arithmetic not in ARITHMETICS or (self.arithmetic == "nnpack" and self.tile != 6):
            raise ValueError(
                f"the arithmetic is one of {ARITHMETICS}, the second for tile 6 alone, got "
                f"{self.arithmetic!r} for tile {self.tile}: use 'matrix'"
            )
        if self.arithmetic == "nnpack" and not self.fused:
            raise ValueError("the arithmetic 'nnpack' has FMA, got fused=False: use 'matrix'")
        block = self.channel_block
        if block is not None and (isinstance(block, bool) or block < 1):
            raise ValueError(f"channel_block is a positive integer or None, got {block!r}: give e.g. 64")
        if self.rounding not in (None, *OPERAND_MODES):
            raise ValueError(f"rounding is one of {OPERAND_MODES} or None, got {self.rounding!r}: name one")
        return self


NNPACK = Variant(6, "nnpack", channel_block=NNPACK_BLOCK)
"""What NNPACK does on x86."""


def winograd_conv2d(
    input: Like, weight: Like, bias: Like | None = None, *, variant: Variant, padding: Any = 0
) -> Single:
    """The float32 result of `variant` for input (N, C, H, W), weight (O, C, 3, 3), bias (O,): (N, O, oh, ow).

    Stride 1, no dilation, one group; padding as in `reference.conv2d`, with zeros. Tiles start at the first
    output and the last ones reach over the border, into more zeros. "matrix" adds the bias last; "nnpack"
    adds it to element (1, 1) of the transformed tile, whose column of A^T is all ones (and +0 to the others).

    Raises ValueError for shapes and parameters that do not fit.
    """
    x, w = operand(input, "input"), operand(weight, "weight")
    return convolved(x, w, bias, variant.checked(), padding)


def convolved(
    x: Single, w: Single, bias: Like | None, chosen: Variant, padding: Any, *, absolute: bool = False
) -> Single:
    """`winograd_conv2d`, with the absolute values of the matrices if `absolute`."""
    if x.ndim != 4 or w.ndim != 4 or w.shape[2:] != (3, 3) or x.shape[1] != w.shape[1]:
        raise ValueError(
            f"Winograd takes input (N, C, H, W) and weight (O, C, 3, 3), got {x.shape} and {w.shape}: "
            "one group, NCHW"
        )
    b = np.zeros(w.shape[0], np.float32) if bias is None else operand(bias, "bias")
    if b.shape != w.shape[:1]:
        raise ValueError(f"bias must be (O,) = {w.shape[:1]}, got {b.shape}: reshape it")
    pads = pad_amounts(padding, x.shape[2:], (3, 3), (1, 1))
    out = tuple(size + sum(pad) - 2 for size, pad in zip(x.shape[2:], pads, strict=True))
    if min(out) < 1:
        raise ValueError(f"the kernel 3x3 does not fit into {x.shape[2:]} with padding {pads}: pad more")
    found = np.empty((x.shape[0], w.shape[0], *out), np.float32)
    kernel = _rounded(_weights(w, chosen, absolute), chosen)
    counts = [-(-size // chosen.tile) for size in out]
    each = (chosen.tile + 2) ** 2 * counts[0] * counts[1] * (x.shape[1] + w.shape[0])
    step = max(1, _IMAGES // max(1, each))
    for n in range(0, x.shape[0], step):
        part = _tiles(x[n : n + step], pads, counts, chosen.tile)
        sums = _sums(kernel, _rounded(_both(part, "input", chosen, absolute), chosen), chosen)
        if chosen.arithmetic == "nnpack":
            sums += np.float32(0.0)
            sums[1, 1] += b[:, None]
        y = _outputs(sums, chosen, absolute).reshape(chosen.tile, chosen.tile, w.shape[0], -1, *counts)
        y = y.transpose(3, 2, 4, 0, 5, 1).reshape(-1, w.shape[0], *(c * chosen.tile for c in counts))
        found[n : n + step] = y[:, :, : out[0], : out[1]]
    if bias is not None and chosen.arithmetic != "nnpack":
        found += b[:, None, None]
    return found


def nnpack_takes_winograd(height: int, width: int) -> bool:
    """Whether NNPACK chooses F(6x6, 3x3) for a 3x3 kernel and such an output; else FFT in tiles of 16.

    ceil(h/6) * ceil(w/6) <= 4 * ceil(h/14) * ceil(w/14): src/convolution-output.c there.
    """
    small, large = (-(-height // t) * -(-width // t) for t in (6, 14))
    return small <= 4 * large


def _tiles(x: Single, pads: Any, counts: list[int], tile: int) -> Single:
    """(n, n, C, N * tiles): the overlapping tiles of padded images."""
    (top, _), (left, _) = pads
    sides = [count * tile + 2 for count in counts]
    filled = np.zeros((*x.shape[:2], *sides), np.float32)
    rows, columns = min(x.shape[2], sides[0] - top), min(x.shape[3], sides[1] - left)
    filled[:, :, top : top + rows, left : left + columns] = x[:, :, :rows, :columns]
    view = np.lib.stride_tricks.sliding_window_view(filled, (tile + 2, tile + 2), (2, 3))
    some = view[:, :, ::tile, ::tile]  # (N, C, rows, columns, n, n)
    return np.ascontiguousarray(some.transpose(4, 5, 1, 0, 2, 3)).reshape(tile + 2, tile + 2, x.shape[1], -1)


def _apply(x: Single, which: str, variant: Variant, absolute: bool) -> Single:
    """One transform along the first axis of x (q, ...)."""
    flat = np.ascontiguousarray(x).reshape(x.shape[0], -1)
    rows = variant.tile if which == "output" else variant.tile + 2
    out = np.empty((rows, flat.shape[1]), np.float32)
    if variant.arithmetic == "nnpack":
        _FACTORED[which](flat, out)
    else:
        matrix = transforms(variant.tile).rounded(which)
        kernels.by_matrix(abs(matrix) if absolute else matrix, flat, variant.fused, out)
    return out.reshape(rows, *x.shape[1:])


_FACTORED = {
    "input": kernels.factored_input,
    "weight": kernels.factored_weight,
    "output": kernels.factored_output,
}


def _both(x: Single, which: str, variant: Variant, absolute: bool) -> Single:
    """Down the columns, axis 0, then along the rows, axis 1."""
    once = _apply(x, which, variant, absolute).swapaxes(0, 1)
    return _apply(once, which, variant, absolute).swapaxes(0, 1)


def _weights(w: Single, variant: Variant, absolute: bool) -> Single:
    """(n, n, C, O)."""
    found = _both(np.ascontiguousarray(w.transpose(2, 3, 1, 0)), "weight", variant, absolute)
    if variant.arithmetic != "nnpack":
        return found
    return found * _scales()[:, :, None, None]


def _rounded(x: Single, variant: Variant) -> Single:
    return x if variant.rounding is None else round_operand(x, TF32, variant.rounding)


def _scales() -> Single:
    """Products of the factors 1, -2/9, 1/90, 1/180 of the rows of G, from reciprocals in float32."""

    def single(denominator: int) -> np.float32:
        return np.float32(1) / np.float32(denominator)

    factors = (1, -9, -9, 90, 90, 180, 180, 1)
    out = np.ones((8, 8), np.float32)
    for i, first in enumerate(factors):
        for j, second in enumerate(factors):
            scale = (-2 if first == -9 else 1) * (-2 if second == -9 else 1)
            out[i, j] = np.float32(scale) * single(abs(first) * abs(second))
    return out


def _sums(weights: Single, inputs: Single, variant: Variant) -> Single:
    """(n, n, O, tiles): the elementwise products, summed over the channels."""
    n, channels = weights.shape[0], weights.shape[2]
    out = np.zeros((n * n, weights.shape[3], inputs.shape[3]), np.float32)
    kernels.channel_sums(
        np.ascontiguousarray(weights).reshape(n * n, channels, -1),
        np.ascontiguousarray(inputs).reshape(n * n, channels, -1),
        variant.channel_block or max(1, channels),
        variant.fused,
        out,
    )
    return out.reshape(n, n, *out.shape[1:])


def _outputs(sums: Single, variant: Variant, absolute: bool) -> Single:
    """(m, m, O, tiles)."""
    if variant.arithmetic == "nnpack":  # rows first
        return _both(sums.swapaxes(0, 1), "output", variant, absolute).swapaxes(0, 1)
    return _both(sums, "output", variant, absolute)
