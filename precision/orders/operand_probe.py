"""To which format a kernel rounds its operands: one live product, the other factor 1."""

from __future__ import annotations

import numpy as np

from precision.orders.probe import Float32, NoTree
from precision.orders.sum_kernel import SumKernel
from reference.formats import BFLOAT16, BINARY16, TF32, round_to
from reference.tree import Run, SummationTree

FORMATS = {"bfloat16": BFLOAT16, "tf32": TF32, "binary16": BINARY16}


def operand_formats(kernel: SumKernel, rng: np.random.Generator) -> tuple[str, str]:
    """Return the formats of the left and the right factors, "binary32" for no rounding.

    Raises `NoTree` where the answers are neither the factors nor their roundings to nearest even: then the
    kernel is no sum of products of its operands (a transform, say).
    """
    if kernel.other is None:
        return "binary32", "binary32"
    part = max(kernel.parts, key=lambda each: each.terms)
    # A term that is live where most are, for every channel.
    live = part.live(*part.fullest())
    term = int(live[live < part.terms][0]) if (live < part.terms).any() else 0
    # Random over 20 binades, so that TF32 and binary16 part.
    values = kernel.blank()
    other = values[kernel.other]
    other[...] = _wide(other.shape, rng)
    values[kernel.carrier].reshape(-1)[part.right[:, term]] = 1.0
    left = _format(part.output(kernel.call(values)), part.replay(_single(term, part.terms), values), "left")
    values = kernel.blank()
    values[kernel.carrier].reshape(-1)[part.right[:, term]] = _wide((part.channels,), rng)
    right = _format(part.output(kernel.call(values)), part.replay(_single(term, part.terms), values), "right")
    return left, right


def _single(term: int, terms: int) -> SummationTree:
    return SummationTree(Run((term,)), terms)


def _wide(shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    scale = np.exp2(rng.integers(-20, 20, shape)).astype(np.float32)
    return np.asarray(rng.standard_normal(shape).astype(np.float32) * scale, np.float32)


def _format(answers: Float32, factors: Float32, side: str) -> str:
    if np.array_equal(answers, factors):
        return "binary32"
    for name, kind in FORMATS.items():
        if np.array_equal(answers, round_to(factors, kind)):
            return name
    wrong = int(np.argmax((answers != factors).reshape(-1)))
    raise NoTree(
        f"a {side} factor of {factors.reshape(-1)[wrong]:g} times 1 gave {answers.reshape(-1)[wrong]:g}, "
        "which is no rounding of it: this is no sum of products of the operands"
    )
