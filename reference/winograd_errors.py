"""The errors of Winograd convolutions: a bound on them, and what kernel they betray.

Whoever knows the truth sees the error of every output. A candidate that is the kernel makes the same one
everywhere. One with the same transforms but another order of its sums still shares the errors of the
transforms; and whatever the order, an error of a transformed tile spreads over its m x m outputs by A^T . A,
so that the errors within a tile are correlated in a pattern that depends on the tile alone. Direct and FFT
convolutions have neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.formats import Array
from reference.operands import Like, operand
from reference.winograd import NNPACK, TILES, Variant, convolved, transforms, winograd_conv2d

PERIOD, LAGS = 12, 5
CANDIDATES = (
    *(Variant(tile, fused=fused) for tile in TILES for fused in (True, False)),
    Variant(6, "nnpack"),
    NNPACK,
)


def error_bound(
    input: Like, weight: Like, bias: Like | None = None, *, variant: Variant, padding: Any = 0
) -> Array:
    """A bound on |winograd_conv2d(...) - the exact convolution|, elementwise, (N, O, oh, ow).

    gamma_k * (|A^T| [ sum over channels of (|G| |g| |G^T|) * (|B^T| |d| |B|) ] |A| + |bias|), k the roundings
    that any term meets: those of two passes of each transform, with the rounding of G or of the factors,
    of the product, of the chain over channels and of its blocks; gamma_k = k u / (1 - k u), u = 2**-24.
    After Barabasz et al. (see `reference.winograd`); no term may underflow. Operands rounded to TF32 add
    2 v + v**2 to gamma_k, v = 2**-11, or 2**-10 for RZ. Parameters and errors as `winograd_conv2d`.
    """
    chosen = variant.checked()
    sizes = [abs(operand(m, name)) for m, name in ((input, "input"), (weight, "weight"))]
    shift = None if bias is None else abs(operand(bias, "bias"))
    channels = sizes[1].shape[1]
    plain = Variant(chosen.tile, "matrix", False, chosen.channel_block)
    matrices = transforms(chosen.tile)
    longest = sum(
        max(sum(v != 0 for v in row) for row in getattr(matrices, name)) + (name == "weight")
        for name in ("input", "weight", "output")
    )
    block = min(channels, chosen.channel_block or channels)
    count = 2 * longest + 1 + block + -(-channels // max(1, block)) + 2
    size: Array = convolved(sizes[0], sizes[1], shift, plain, padding, absolute=True).astype(np.float64)
    unit = 2.0**-24
    gamma = count * unit / (1 - count * unit)
    step = {None: 0.0, "RZ": 2.0**-10}.get(chosen.rounding, 2.0**-11)
    gamma += (2 * step + step * step) * (1 + gamma)
    # The size itself is a float32 sum of positive terms.
    return np.asarray(size * (gamma * (1 + 2 * gamma)))


@dataclass(frozen=True)
class Match:
    """How far a kernel's output is that of a variant."""

    variant: Variant
    equal: float  # share of the outputs that are the same number
    correlation: float  # of the errors with those of the variant, -1 to 1
    pattern: float  # of the correlations between neighbouring errors with those of the variant, -1 to 1


def recognise(
    output: Like,
    input: Like,
    weight: Like,
    truth_value: Like,
    *,
    bias: Like | None = None,
    padding: Any = 0,
    candidates: Sequence[Variant] = CANDIDATES,
) -> list[Match]:
    """The candidates, the most likely first: by equality of all outputs, then by correlation + pattern.

    output, truth_value (N, O, oh, ow): what a kernel returned and the truth, as float64; a few images and
    filters are enough, some thousand outputs. correlation is the cosine between the fields output - truth
    and candidate - truth, pattern that between the `neighbour_pattern` of both. For kernels that are no
    Winograd convolutions both are noise around 0, of one over the root of the number of outputs, and about
    0.1. The pattern tells tiles of 4 and 6 from each other and from everything else, whatever the order of
    the sums; the errors of tiles of 2 have hardly any. An exact output has no error: 0.

    Raises ValueError for shapes that do not fit.
    """
    given, truth = np.asarray(output, np.float64), np.asarray(truth_value, np.float64)
    found = []
    for variant in candidates:
        y = winograd_conv2d(input, weight, bias, variant=variant, padding=padding)
        if y.shape != given.shape or y.shape != truth.shape:
            raise ValueError(
                f"output and truth_value must be {y.shape}, got {given.shape} and {truth.shape}: pass the "
                "same images and filters"
            )
        error, other = given - truth, y - truth
        pattern = _cosine(neighbour_pattern(error), neighbour_pattern(other))
        found.append(Match(variant, float(np.mean(y == given)), _cosine(error, other), pattern))
    return sorted(found, key=lambda m: (m.equal == 1.0, m.correlation + m.pattern), reverse=True)


def neighbour_pattern(error: Array) -> Array:
    """Correlations between errors and those `lag` = 1 ... 5 places further, by place modulo 12: (2, 5, 12).

    error (N, O, oh, ow); the first axis of the result is the one along which they are neighbours, rows or
    columns. 12 is a multiple of every tile: two errors of one tile are correlated, those across a border of
    tiles are not. 0 where there are no such pairs.
    """
    found = np.zeros((2, LAGS, PERIOD))
    for axis, turned in enumerate((error.swapaxes(2, 3), error)):
        for lag in range(1, LAGS + 1):
            for place in range(PERIOD):
                first = turned[..., place::PERIOD]
                second = turned[..., place + lag :: PERIOD]
                first = first[..., : second.shape[-1]]
                found[axis, lag - 1, place] = _cosine(first, second)
    return found


def _cosine(x: Array, y: Array) -> float:
    norm = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return float(np.sum(x * y)) / norm if norm > 0.0 else 0.0
