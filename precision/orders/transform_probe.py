"""A convolution that is no sum of its products may be one of transformed tiles: Winograd's algorithms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from precision.orders.sum_kernel import SumKernel
from precision.orders.trials import fresh
from reference import evaluate
from reference.winograd import Variant, winograd_conv2d
from reference.winograd_errors import CANDIDATES, recognise

PATTERN = 0.8
"""Correlation of error patterns above which a tile is named; others stay below 0.75, see the reference."""


def winograd_variant(
    kernel: SumKernel, kinds: Sequence[str], rng: np.random.Generator
) -> tuple[Variant, dict[str, float]] | None:
    """Return the variant that gives every output of fresh data bit for bit, and the shares; None for none."""
    if not _may_be(kernel):
        return None
    answers = [(arrays := fresh(kernel, kind, rng), kernel.call(arrays)) for kind in kinds]
    for variant in CANDIDATES:
        shares = {}
        for kind, (arrays, wanted) in zip(kinds, answers, strict=True):
            got = winograd_conv2d(**arrays, variant=variant, padding=kernel.params.get("padding", 0))
            shares[kind] = float(np.mean(got.view(np.uint32) == wanted.view(np.uint32)))
            if shares[kind] < 1.0:
                break
        else:
            return variant, shares
    return None


def recognised(kernel: SumKernel, rng: np.random.Generator) -> str:
    """Return in words which variant the field of errors is like; empty for none."""
    if not _may_be(kernel):
        return ""
    arrays = fresh(kernel, "normal", rng)
    output = kernel.call(arrays)
    truth = evaluate(kernel.op, arrays, kernel.params)
    best = recognise(
        output,
        arrays["input"],
        arrays["weight"],
        truth.value,
        bias=arrays.get("bias"),
        padding=kernel.params.get("padding", 0),
    )[0]
    if best.pattern < PATTERN:
        return ""
    tile = best.variant.tile
    return f"its errors are patterned as those of Winograd F({tile}x{tile}, 3x3) ({best.pattern:.2f})"


def _may_be(kernel: SumKernel) -> bool:
    params = kernel.params
    return (
        kernel.op == "conv2d"
        and kernel.shapes["weight"][2:] == (3, 3)
        and params.get("padding_mode", "zeros") == "zeros"
        and params.get("layout", "NCHW") == "NCHW"
        and all(np.all(np.asarray(params.get(name, 1)) == 1) for name in ("stride", "dilation", "groups"))
    )
