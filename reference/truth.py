"""The certified result of an operation: a number, what is left of it, and a proof of how much is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import Array, Format, format_of, round_sum, ulp

CERTAINTY = 2.0**-10  # a certified element is known to this fraction of a float32 ulp, or better


Refine = Callable[[int, int], tuple[Fraction, Fraction]]


class UncertainError(ArithmeticError):
    """The bound does not prove which number of the format is nearest."""


@dataclass(frozen=True)
class Truth:
    """The exact result of a declared function, element by element: |exact - (value + residual)| <= bound.

    Meaning of the special cases, the same for every op:

    - NaN and infinity follow IEEE 754 independently of any order: Inf - Inf, 0 * Inf and any NaN give NaN.
      The zeros of a padding are terms too, so an infinite weight over padding gives NaN. Such an element
      holds the NaN or infinity in `value`, with residual 0, bound 0 and an infinite magnitude.
    - The exact value of finite operands is always finite: partial sums do not overflow, `round` does, to
      infinity from the largest number plus half an ulp on.
    - A sum that is exactly zero is +0; a non-zero truth that rounds to zero keeps its sign.
    - Subnormal operands and results are kept, never flushed.
    """

    value: Array
    """float64 nearest to the truth, or next to it."""
    residual: Array
    """What is left: |residual| <= ulp64(value) / 2. Zero where float64 was enough."""
    bound: Array
    """Rigorous bound on |exact - (value + residual)|; 0 means exact."""
    magnitude: Array
    """Sum of the absolute terms of the formula's last sum: an upper bound, within 0.1 % of it."""
    tiers: Mapping[str, int] = field(default_factory=dict)
    """How many elements each tier of arithmetic settled: "float64", "double-double", "exact"."""
    refine: Refine | None = None
    """Any element to any precision: (flat index, bits) -> (centre, radius), |exact - centre| <= radius with
    radius <= 2**-bits * |centre|, or radius 0 where the centre is exact. For finite elements only."""

    def arranged(self, change: Callable[[Array], Array]) -> Truth:
        """The same truth with `change` (a reshape, a transpose) applied to each array."""
        arrays = (self.value, self.residual, self.bound, self.magnitude)
        value, residual, bound, magnitude = (change(array) for array in arrays)
        refine = self.refine
        if refine is None:
            return Truth(value, residual, bound, magnitude, self.tiers)
        before = change(np.arange(self.value.size, dtype=np.float64).reshape(self.value.shape)).reshape(-1)
        return Truth(
            value, residual, bound, magnitude, self.tiers, lambda i, bits: refine(int(before[i]), bits)
        )

    def round(self, dtype: Any = np.float32) -> npt.NDArray[Any]:
        """The truth rounded to nearest, ties to even, proved right for every element.

        Raises `UncertainError`, which names the first such element, if the bound admits two results; for
        float32 that never happens. The array has the given dtype; for a format without one (TF32) it is
        float32.
        """
        fmt = format_of(dtype)
        low, high = self._rounded_ends(fmt)
        unsure = ~((low == high) & (np.signbit(low) == np.signbit(high)) | np.isnan(self.value))
        if unsure.any():
            index = tuple(int(i) for i in np.argwhere(unsure)[0])
            raise UncertainError(
                f"the rounding to {fmt.name} of element {index} is not certain: value {self.value[index]!r}, "
                f"residual {self.residual[index]!r}, bound {self.bound[index]!r}"
            )
        with np.errstate(over="ignore", under="ignore"):
            return low.astype(_storage(dtype, fmt))

    def _rounded_ends(self, fmt: Format) -> tuple[Array, Array]:
        margin = np.where(self.bound > 0.0, self.bound + (np.abs(self.residual) + self.bound) * 2.0**-51, 0.0)
        value = self.value + 0.0  # an exact zero is +0
        low = round_sum(value, self.residual - margin, fmt)
        high = round_sum(value, self.residual + margin, fmt)
        if fmt.precision > 51:
            # Nothing wider to round from: an inexact remainder must stay clear of half a spacing.
            half = ulp(np.nextafter(np.abs(self.value), 0.0), fmt) / 2
            settled = (margin == 0.0) | (np.abs(self.residual) + margin < half)
            return low, np.where(settled, low, np.nan)
        return low, high

    def error(self, output: npt.ArrayLike) -> Array:
        """output - truth, in float64: (output - value) - residual, so that nothing cancels.

        Zero where both are NaN or the same infinity; NaN where only one of them is NaN.
        """
        given = np.asarray(output)
        if given.shape != self.value.shape:
            raise ValueError(
                f"an output has the truth's shape {self.value.shape}, got {given.shape}: reshape it"
            )
        out = given.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = (out - self.value) - self.residual
        same = (out == self.value) & ~np.isfinite(out) | (np.isnan(out) & np.isnan(self.value))
        return np.where(same, 0.0, difference)

    def ulp(self, dtype: Any = np.float32) -> Array:
        """Spacing of the format at the truth (just below a power of two: the spacing below it)."""
        value = np.abs(self.value)
        below = (self.residual != 0.0) & ((self.residual < 0.0) == (self.value > 0.0))
        return ulp(np.where(below, np.nextafter(value, 0.0), value), format_of(dtype))

    def error_ulp(self, output: npt.ArrayLike, dtype: Any = np.float32) -> Array:
        """Signed error in ulp of the format at the truth."""
        return self.error(output) / self.ulp(dtype)

    def uncertainty_ulp(self, dtype: Any = np.float32) -> Array:
        """The bound in ulp of the format at the truth: how much of `error_ulp` may be the truth's own."""
        return self.bound / self.ulp(dtype)


def _storage(dtype: Any, fmt: Format) -> Any:
    if isinstance(dtype, Format | str):
        return {"binary16": np.float16, "binary64": np.float64}.get(fmt.name, np.float32)
    return dtype
