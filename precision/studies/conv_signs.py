"""Why every printed value of a convolution may lie below the truth: candidates emulated on the layer itself.

The layer: 16x32x256, kernel 5x5, stride 2, SAME, uniform [0, 1) numbers of float64, K = 6400 terms at most.
Each candidate says what became of the operands and how the products were added (`reference.tensorcore`):

    cast         operands rounded to float32, an exact sum, rounded to float32
    tf32 exact   operands rounded to TF32 (RNA, or RZ), an exact sum
    Ampere n     operands RNA, accumulated by Ampere's fused steps (4 terms, 24 bits, truncated), the sum cut
                 into n slices that are added in float32; Hopper n likewise (8 terms, 25 bits)

Of an output channel two figures are taken over the printed positions: the mean relative error (its sign and
size), and the standard deviation of the relative errors around it.  One channel is one sample of each: its
outputs share one filter, so their errors are not independent, and a standard error from the number of
printed values would be too small.  Many channels of many draws give both figures' distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precision.inputs import stream
from reference.formats import TF32
from reference.tensorcore import matmul, round_operand, unit_of

Float64 = NDArray[np.float64]

CHANNELS, DRAWS = 64, 6
CAST, EXACT = "float32 operands, exact sum", "TF32 operands ({}), exact sum"
SLICES = (1, 2, 4, 8, 16)
MOST = 3.0
"""A candidate fits where both figures are within so many standard deviations of its own distribution."""
_HEIGHT, _WIDTH, _DEPTH, _TAPS = 16, 32, 256, 5


@dataclass(frozen=True)
class Candidate:
    """One explanation: its mean relative error and spread, by channel (all draws together).

    mean, spread: (channels,).
    """

    name: str
    mean: Float64
    spread: Float64

    def distance(self, mean: float, spread: float) -> tuple[float, float]:
        """How far a channel's two figures lie from this candidate's, in its standard deviations."""
        return (
            float((mean - self.mean.mean()) / self.mean.std(ddof=1)),
            float((spread - self.spread.mean()) / self.spread.std(ddof=1)),
        )

    def fits(self, mean: float, spread: float) -> bool:
        """Whether both figures are within `MOST` standard deviations."""
        return all(abs(each) <= MOST for each in self.distance(mean, spread))


def summary(relative: Float64) -> tuple[Float64, Float64]:
    """(mean, standard deviation) over positions, axis 0, of relative errors (positions, channels)."""
    return relative.mean(axis=0), relative.std(axis=0, ddof=1)


def draws(positions: Sequence[int], count: int = DRAWS, channels: int = CHANNELS) -> dict[str, Float64]:
    """{"NAME.mean", "NAME.spread"} of every candidate over seeded draws; arrays of count x channels.

    positions: the printed outputs, as flat indices of the 8 x 16 output positions.
    """
    found: dict[str, list[tuple[Float64, Float64]]] = {}
    for draw in range(count):
        x, w, bias = _layer(draw, channels)
        x = x[np.asarray(positions)]
        truth = x @ w + bias
        for name, evaluate in _evaluations().items():
            y = evaluate(*(a.astype(np.float32) for a in (x, w, bias))).astype(np.float64)
            found.setdefault(name, []).append(summary((y - truth) / truth))
    arrays = {}
    for name, pairs in found.items():
        arrays[f"{name}.mean"] = np.concatenate([mean for mean, _ in pairs])
        arrays[f"{name}.spread"] = np.concatenate([spread for _, spread in pairs])
    return arrays


def candidates(arrays: Mapping[str, NDArray[np.float64]]) -> list[Candidate]:
    """The candidates of what `draws` returned, in their own order whatever that of the arrays."""
    return [
        Candidate(name, arrays[f"{name}.mean"], arrays[f"{name}.spread"])
        for name in _evaluations()
        if f"{name}.mean" in arrays
    ]


Single = NDArray[np.float32]
Evaluation = Callable[[Single, Single, Single], Single]


def _evaluations() -> dict[str, Evaluation]:
    found: dict[str, Evaluation] = {CAST: _exact}
    for mode in ("RNA", "RZ"):
        found[EXACT.format(mode)] = lambda x, w, b, mode=mode: _exact(  # type: ignore[misc]
            round_operand(x, TF32, mode), round_operand(w, TF32, mode), b
        )
    for architecture in ("ampere", "hopper"):
        unit = unit_of(architecture, "tf32")
        for slices in SLICES:
            name = f"TF32 operands (RNA), {architecture.capitalize()} tensor cores, {_words(slices)}"
            found[name] = lambda x, w, b, unit=unit, slices=slices: np.asarray(  # type: ignore[misc]
                matmul(x, w, unit, operand_rounding="RNA", c=b, split_k=slices)
            )
    return found


def _words(slices: int) -> str:
    return "one chain" if slices == 1 else f"{slices} slices"


def _exact(x: Single, w: Single, bias: Single) -> Single:
    """A sum in float64 of exact products: its error, below 1e-12, does not show at 1e-6."""
    total = x.astype(np.float64) @ w.astype(np.float64) + bias
    return np.asarray(total.astype(np.float32))


def _layer(draw: int, channels: int) -> tuple[Float64, Float64, Float64]:
    """The input as rows (128, 6400), weight (6400, channels) and bias (channels,), uniform in float64."""

    def uniform(name: str, *shape: int) -> Float64:
        words = stream(f"conv-signs/{draw}/{name}")(int(np.prod(shape)))
        return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    padded = np.zeros((_HEIGHT + 3, _WIDTH + 3, _DEPTH))
    padded[1:-2, 1:-2] = uniform("input", _HEIGHT, _WIDTH, _DEPTH)
    rows = [
        padded[top : top + _TAPS, left : left + _TAPS].reshape(-1)
        for top in range(0, _HEIGHT, 2)
        for left in range(0, _WIDTH, 2)
    ]
    weight = uniform("weight", _TAPS * _TAPS * _DEPTH, channels)
    return np.stack(rows), weight, uniform("bias", channels)
