"""The certified result of an operation: a number, what is left of it, and a proof of how much is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import BINARY32, Array, Format, bounded, format_of, ulp
from reference.refined import Refine, UncertainError, decide, enclose, number, private_context
from reference.rounding import Seed, draws, nearest_single, round_pairs

__all__ = ["CERTAINTY", "Refine", "Truth", "UncertainError"]

HAIR = 2.0**-940
"""Below this a residual as large as its bound only tells on which side of `value` the truth lies."""
CERTAINTY = 2.0**-10  # a certified element is known to this fraction of a float32 ulp, or better


@dataclass(frozen=True)
class Truth:
    """The exact result of a declared function, element by element: |exact - (value + residual)| <= bound.

    Meaning of the special cases, the same for every op:

    - NaN and infinity follow IEEE 754 independently of any order: Inf - Inf, 0 * Inf and any NaN give NaN.
      The zeros of a padding are terms too, so an infinite weight over padding gives NaN. Such an element
      holds the NaN or infinity in `value`, with residual 0, bound 0 and an infinite magnitude.
    - The exact value of finite operands is always finite: partial sums do not overflow, `round` does, by the
      rules of its mode and format. Only what is beyond float64 too (exp of 800) is held, and rounds, as the
      infinity that it overflows to.
    - A sum that is exactly zero is +0; a non-zero truth that rounds to zero keeps its sign.
    - Subnormal operands and results are kept, never flushed.
    """

    value: Array
    """float64 nearest to the truth, or next to it."""
    residual: Array
    """What is left: |residual| <= ulp64(value) / 2. Zero where float64 was enough."""
    bound: Array
    """Rigorous bound on |exact - (value + residual)|; 0 means exact. Where it is |residual| and below `HAIR`,
    the truth lies on that side of `value`, by less than can be said: no rounding tells how much. A value
    below `HAIR` has the sign of the truth, likewise."""
    magnitude: Array
    """Sum of the absolute terms of the formula's last sum: an upper bound, within 0.1 % of it."""
    tiers: Mapping[str, int] = field(default_factory=dict)
    """How many elements each tier of arithmetic settled: "float64", "double-double", "exact"."""
    refine: Refine | None = None
    """Any element to any precision: (flat index, bits) -> (centre, radius), |exact - centre| <= radius with
    radius <= 2**-bits * |centre|, or radius 0 where the centre is exact. For finite elements only."""
    finer: Callable[[], Truth] | None = None
    """The same truth with every element in two words; None where none was settled in one."""

    def arranged(self, change: Callable[[Array], Array]) -> Truth:
        """The same truth with `change` (a reshape, a transpose) applied to each array."""
        arrays = (self.value, self.residual, self.bound, self.magnitude)
        value, residual, bound, magnitude = (change(array) for array in arrays)
        refine = self.refine
        finer = None if self.finer is None else lambda: self.sharpened().arranged(change)
        if refine is None:
            return Truth(value, residual, bound, magnitude, self.tiers, finer=finer)
        places: list[Array] = []  # made when it is first asked for: hardly any element is ever refined
        shape = self.value.shape

        def moved(index: int, bits: int) -> tuple[Fraction, Fraction]:
            if not places:
                places.append(change(np.arange(prod(shape), dtype=np.float64).reshape(shape)).reshape(-1))
            return refine(int(places[0][index]), bits)

        return Truth(value, residual, bound, magnitude, self.tiers, moved, finer)

    def sharpened(self) -> Truth:
        """The finest truth at hand: for outputs of float64, which one word cannot judge."""
        return self if self.finer is None else self.finer().sharpened()

    def round(
        self, dtype: Any = np.float32, mode: str = "RNE", *, saturate: bool = False, seed: Seed = None
    ) -> npt.NDArray[Any]:
        """The truth rounded once, proved right for every element.

        dtype: a NumPy dtype, or the name of a format: "binary16", "binary32", "binary64", "bfloat16", "tf32",
        "e4m3", "e5m2". mode, saturate, seed: as in `formats.round_to` ("RNE", "RNA", "RZ", "RU", "RD", "SR").
        Elements that the bound leaves open are decided by `refine`, at a precision that is raised until there
        is one answer. An exact zero is +0 in every mode. The array has the given dtype; for the name of a
        format that NumPy lacks it is float32.

        Raises ValueError for an unknown format or mode, "SR" without a seed; UncertainError, which names the
        first such element, if the bound admits two results and there is no `refine`: for float32 to nearest
        that never happens.
        """
        fmt = format_of(dtype)
        drawn = draws(mode, seed, self.value.shape)
        if fmt.precision > BINARY32.precision and self.finer is not None:
            return self.sharpened().round(dtype, mode, saturate=saturate, seed=seed)
        if mode == "RNE" and fmt is BINARY32:
            return self._nearest().astype(_storage(dtype, fmt))
        return self._rounded(dtype, fmt, mode, drawn, saturate)

    def _nearest(self) -> npt.NDArray[np.float32]:
        """Every element to the nearest float32: nearly all are far from the middle of two."""
        value, bound = (np.ascontiguousarray(a).reshape(-1) for a in (self.value, self.bound))
        out, left = np.empty(value.size, np.float32), np.empty(value.size, np.bool_)
        if nearest_single(value, bound, out, left):
            index = np.flatnonzero(left)
            refine = self.refine
            some = Truth(
                value[index],
                self.residual.reshape(-1)[index],
                bound[index],
                self.magnitude.reshape(-1)[index],
                refine=None if refine is None else lambda i, bits: refine(int(index[i]), bits),
            )
            try:
                out[index] = some._rounded(np.float32, BINARY32, "RNE", np.empty(0), False)
            except UncertainError:
                self._rounded(np.float32, BINARY32, "RNE", np.empty(0), False)  # names the place in the whole
                raise
        return out.reshape(self.value.shape)

    def _rounded(self, dtype: Any, fmt: Format, mode: str, drawn: Array, saturate: bool) -> npt.NDArray[Any]:
        margin = np.where(self.bound > 0.0, self.bound + (np.abs(self.residual) + self.bound) * 2.0**-51, 0.0)
        hair = (self.bound == np.abs(self.residual)) & (self.bound < HAIR) & (self.bound > 0.0)
        margin = np.where(hair, 0.5 * self.bound, margin)  # of the residual's sign, however small
        small = (np.abs(self.value) < HAIR) & (self.value != 0.0)  # of the value's sign, however small
        margin = np.where(small, np.minimum(margin, 0.5 * np.abs(self.value)), margin)
        value = self.value + 0.0  # an exact zero is +0
        low, high = (
            round_pairs(value, self.residual + step, fmt.precision, fmt.emin, mode, drawn)
            for step in (-margin, margin)
        )
        same = (low == high) | (np.abs(low) > fmt.largest) & (np.abs(high) > fmt.largest)
        same &= np.signbit(low) == np.signbit(high)
        unsure = np.flatnonzero(~(same | (margin == 0.0) | np.isnan(value)))
        if unsure.size:
            self._decide(unsure, low.reshape(-1), fmt, mode, drawn)
        rounded = bounded(low, np.isfinite(value), fmt, mode, saturate=saturate)
        with np.errstate(over="ignore", under="ignore"):
            return rounded.astype(_storage(dtype, fmt))

    def _decide(
        self, unsure: npt.NDArray[np.int64], out: Array, fmt: Format, mode: str, drawn: Array
    ) -> None:
        """Put the rounding of the elements at the flat indices `unsure` into `out`."""
        refine = self.refine
        if refine is None:
            index = tuple(int(i) for i in np.unravel_index(unsure[0], self.value.shape))
            raise UncertainError(
                f"the rounding to {fmt.name} of element {index} is not certain: value {self.value[index]!r}, "
                f"residual {self.residual[index]!r}, bound {self.bound[index]!r}"
            )
        for i in unsure.tolist():
            out[i] = decide(refine, i, fmt, mode, float(drawn[i]) if drawn.size else 0.0)

    def at_precision(self, bits: int) -> npt.NDArray[np.object_]:
        """The truth as mpmath numbers, each within 2**-bits of the exact one, relatively; exact zeros are 0.

        The numbers belong to a private context of bits + 8 bits. NaN and infinities stay what they are.
        Raises ValueError for bits that are not a positive integer, UncertainError where the bound is too
        wide and there is no `refine`.
        """
        if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or bits < 1:
            raise ValueError(f"a precision is a positive number of bits, got {bits!r}: give e.g. 200")
        context = private_context(int(bits) + 8)
        out = np.empty(self.value.size, object)
        flat = (a.reshape(-1).tolist() for a in (self.value, self.residual, self.bound))
        for i, known in enumerate(zip(*flat, strict=True)):
            if math.isfinite(known[0]):
                out[i] = number(enclose(self.refine, i, known, int(bits) + 1), context)
            else:
                out[i] = context.mpf(known[0])
        return out.reshape(self.value.shape)

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
