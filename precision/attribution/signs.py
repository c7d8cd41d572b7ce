"""Statistics of captured outputs: which rounding of the operands they follow, and to which side they lean.

Rounding.  Let D be the exact change of the results when one rounding of the operands takes another's place,
and e what is left of the output after the first.  b = <e, D> / <D, D> is near 0 where the first was applied
and near 1 where the other was; accumulation scatters it by its standard error, found from the elements.  How
far an unknown accumulation pulls every sum to one side must not pass for a rounding of the operands: what
follows the sums, or the sums of sizes with their signs, is taken out of e and D first.

Side.  Truncation pulls sums toward zero: the mean of -sign(truth) e, in 2**-24 of the sum of sizes, is
positive, and grows like the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

SIGMAS = 6.0
_U = 2.0**-24
_SLACK = 1.25
"""Times the model's largest lean that is still taken for it: kernels split sums in ways that no list has."""


@dataclass(frozen=True)
class Projection:
    """b and its standard error; NaN where the two roundings give the same results (nothing parts them)."""

    value: float
    error: float

    @property
    def parted(self) -> bool:
        """Whether the data part the two roundings."""
        return math.isfinite(self.value) and self.error * SIGMAS < 0.5

    @property
    def refutes(self) -> bool:
        """Whether the output follows the other rounding: nearer to 1, and not by chance."""
        return math.isfinite(self.value) and self.value > 0.5 and self.value > SIGMAS * self.error


def projection(left_over: Float64, change: Float64, value: Float64, size: Float64) -> Projection:
    """b of what is left of the output against the change that another rounding makes; elements are flat.

    value, size: the sums and the sums of sizes.  Elements that are not finite are left out.  The standard
    error is the heteroscedastic one (White 1980, Econometrica 48(4)).
    """
    fine = np.isfinite(left_over) & np.isfinite(change) & np.isfinite(value) & np.isfinite(size)
    e, d = left_over[fine], change[fine]
    scale = float(np.max(np.abs(d), initial=0.0))
    if scale == 0.0:
        return Projection(math.nan, math.nan)
    sides = _orthonormal(np.stack([value[fine], np.sign(value[fine]) * size[fine]]))
    e, d = (x / scale - sides.T @ (sides @ (x / scale)) for x in (e, d))
    energy = float(d @ d)
    if energy <= 1e-20 * d.size:
        return Projection(math.nan, math.nan)
    b = float(e @ d) / energy
    return Projection(b, math.sqrt(float(((e - b * d) ** 2) @ (d**2))) / energy)


def _orthonormal(rows: Float64) -> Float64:
    """Orthonormal rows that span the same; fewer where the given ones depend on each other."""
    top = np.max(np.abs(rows), axis=1, initial=0.0)
    rows = rows[top > 0] / top[top > 0, None]
    _, weights, found = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(found[weights > 1e-12 * weights.max(initial=0.0)])


@dataclass(frozen=True)
class Lean:
    """Mean of -sign(truth) e in 2**-24 of the sum of sizes, positive toward zero, and its standard error."""

    mean: float
    error: float

    @property
    def words(self) -> str:
        """The lean in words."""
        side = "toward zero" if self.mean > 0 else "away from zero"
        if abs(self.mean) <= 3 * self.error:
            return f"no lean ({self.mean:+.2g} ± {self.error:.2g})"
        return f"{abs(self.mean):.3g} ± {self.error:.2g} {side}"


def lean(left_over: Float64, value: Float64, size: Float64) -> Lean:
    """The lean of what is left of the output; elements are flat."""
    fine = np.isfinite(left_over) & (size > 0.0) & (value != 0.0) & np.isfinite(size)
    x = -np.sign(value[fine]) * left_over[fine] / (_U * size[fine])
    if x.size < 2:
        return Lean(math.nan, math.nan)
    return Lean(float(np.mean(x)), float(np.std(x, ddof=1)) / math.sqrt(x.size))


def leans_alike(found: Lean, models: Sequence[Lean]) -> bool | None:
    """Whether the lean is one that the model's orders give; None where neither leans beyond chance.

    Sums that are split into more slices than in any of the model's orders lean less, so only the side and the
    most are asked for: to the same side as a model that leans beyond chance, at most `_SLACK` times its most.
    """
    known = [each for each in models if math.isfinite(each.mean)]
    if not known or not math.isfinite(found.mean):
        return None
    most = max(known, key=lambda each: abs(each.mean))
    least = min(known, key=lambda each: abs(each.mean))
    room = SIGMAS * math.hypot(found.error, most.error)
    if abs(found.mean) > _SLACK * abs(most.mean) + room:
        return False
    side = math.copysign(1.0, most.mean)
    if abs(most.mean) <= room:
        return None
    if side * found.mean < -room:
        return False
    if abs(least.mean) > 4.0 * room and side * found.mean <= room:
        return False
    return True if side * found.mean > room else None
