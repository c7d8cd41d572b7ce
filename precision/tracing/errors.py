"""A unit's own error and the one it inherits: from its output on the truth-side input, and as it is.

    own = fed - truth,   total = ordinary - truth,   inherited = total - own = ordinary - fed

so own + inherited = total exactly, element by element. Amplification = (|inherited| / |truth|) / (|input
error| / |input|) in Euclidean norms: how much more of the output an error is than it was of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference import Truth

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Figures of one model's unit: ulp are float32 ulp of the truth, over elements whose truth is not zero;
    relative is the Euclidean norm over that of the truth.  None where it cannot be said."""

    own_ulp_rms: float | None = None
    own_ulp_max: float | None = None
    own_relative: float | None = None
    total_ulp_rms: float | None = None
    total_relative: float | None = None
    total_abs_max: float | None = None
    inherited_ulp_rms: float | None = None
    inherited_relative: float | None = None
    amplification: float | None = None

    def named(self, side: str) -> dict[str, Any]:
        return {f"{name}_{side}": value for name, value in asdict(self).items()}


def split_of(
    truth: Truth,
    fed: Float32 | None,
    ordinary: Float32 | None,
    inputs: Sequence[Float32] = (),
    ordinary_inputs: Sequence[Float32] = (),
) -> Split:
    """The figures; fed or ordinary may be missing, or of another shape than the truth's."""
    shape = truth.value.shape
    size = _norm(truth.value)
    ulp = np.where((truth.value != 0) & np.isfinite(truth.value), truth.ulp(np.float32), np.nan)
    found: dict[str, float | None] = {}
    own = truth.error(fed) if fed is not None and fed.shape == shape else None
    total = truth.error(ordinary) if ordinary is not None and ordinary.shape == shape else None
    if own is not None:
        found |= {
            "own_ulp_rms": _rms(own / ulp),
            "own_ulp_max": _largest(own / ulp),
            "own_relative": _ratio(_norm(own), size),
        }
    if total is not None:
        found |= {
            "total_ulp_rms": _rms(total / ulp),
            "total_relative": _ratio(_norm(total), size),
            "total_abs_max": _largest(total),
        }
    if own is not None and total is not None and fed is not None and ordinary is not None:
        inherited = inherited_error(fed, ordinary)
        found |= {
            "inherited_ulp_rms": _rms(inherited / ulp),
            "inherited_relative": _ratio(_norm(inherited), size),
            "amplification": _amplification(_ratio(_norm(inherited), size), inputs, ordinary_inputs),
        }
    return Split(**found)


def inherited_error(fed: Float32, ordinary: Float32) -> Float64:
    """ordinary - fed in float64: zero where both are NaN or the same infinity."""
    with np.errstate(invalid="ignore"):
        difference = ordinary.astype(np.float64) - fed.astype(np.float64)
    same = (fed == ordinary) | np.isnan(fed) & np.isnan(ordinary)
    return np.where(same, 0.0, difference)


def _amplification(
    after: float | None, inputs: Sequence[Float32], ordinary: Sequence[Float32]
) -> float | None:
    if after is None or len(inputs) != len(ordinary):
        return None
    if any(a.shape != b.shape for a, b in zip(inputs, ordinary, strict=True)):
        return None
    errors = [_norm(inherited_error(a, b)) for a, b in zip(inputs, ordinary, strict=True)]
    sizes = [_norm(a.astype(np.float64)) for a in inputs]
    before = _ratio(math.hypot(*errors), math.hypot(*sizes)) if errors else None
    return _ratio(after, before) if before else None


def _finite(values: Float64) -> Float64:
    return values[np.isfinite(values)]


def _rms(values: Float64) -> float | None:
    good = _finite(values)
    return float(_norm(good) / math.sqrt(good.size)) if good.size else None


def _norm(values: Any) -> float:
    good = _finite(np.asarray(values, np.float64).reshape(-1))
    top = float(np.max(np.abs(good), initial=0.0))
    # A plain sum of squares: BLAS would wake its threads for it.
    return top * math.sqrt(float(np.sum(np.square(good / top)))) if top else 0.0


def _largest(values: Float64) -> float | None:
    good = _finite(values.reshape(-1))
    return float(np.max(np.abs(good))) if good.size else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
