"""The error of an output split over its causes; the parts add up to it exactly, element by element.

    f          the declared function's truth
    g          the truth of the function that was computed                   g - f: semantics
    g(q)       the same of operands rounded to a lower precision             g(q) - g: operand rounding
    h          g(q) and what another formula adds to the error of g's own   h - g(q): algorithm
    round(h)   what even a perfect sum loses                                 round(h) - h: output rounding
    replay     the revealed order, in float32                                replay - round(h): accumulation
    output     what the framework gave                                       output - replay: unexplained

Each line is a level; a part is the difference of two neighbours.  A level that is not known is the one
before: its part is zero.  Where no order is known, `output` takes the place of `replay`: the accumulation is
then what is left, and its evidence says whether it is within a rigorous bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference import Truth
from reference.compensated import two_sum
from reference.doubleword import two_prod
from reference.jit import compiled

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

CAUSES = (
    "semantics",
    "operand rounding",
    "algorithm",
    "output rounding",
    "accumulation",
    "unexplained",
)
EVIDENCE = ("proved", "bounded", "consistent", "none")


@dataclass(frozen=True)
class Level:
    """Numbers value + residual, within `bound` of what they stand for."""

    value: Float64
    residual: Float64
    bound: Float64

    @staticmethod
    def of_truth(truth: Truth) -> Level:
        """A certified result."""
        return Level(truth.value, truth.residual, truth.bound)

    @staticmethod
    def of_output(output: Float32) -> Level:
        """Float32 numbers, which are exactly what they are."""
        zero = np.zeros(output.shape)
        return Level(output.astype(np.float64), zero, zero)

    def minus(self, other: Level) -> Float64:
        """The difference, in float64: (value - value) + (residual - residual)."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.value - other.value) + (self.residual - other.residual))


@dataclass(frozen=True)
class Budget:
    """Levels from the declared truth to the output, one more than there are causes, and the evidence of each.

    Raises ValueError for another number of levels or another evidence than `EVIDENCE`.
    """

    levels: tuple[Level, ...]
    evidence: Mapping[str, str]
    ulp: Float64
    """Spacing of float32 at the truth, the unit of the table."""

    def __post_init__(self) -> None:
        if len(self.levels) != len(CAUSES) + 1:
            raise ValueError(
                f"a budget has {len(CAUSES) + 1} levels, got {len(self.levels)}: give one for each"
            )
        wrong = {cause: word for cause, word in self.evidence.items() if word not in EVIDENCE}
        if wrong or set(self.evidence) - set(CAUSES):
            raise ValueError(f"evidence is one of {EVIDENCE} for one of {CAUSES}, got {dict(self.evidence)}")

    def part(self, cause: str) -> Float64:
        """The error by one cause, element by element."""
        number = CAUSES.index(cause)
        return self.levels[number + 1].minus(self.levels[number])

    def bound(self, cause: str) -> Float64:
        """How far a part may be from the exact one: its levels' bounds, and their difference's rounding."""
        number = CAUSES.index(cause)
        first, second = self.levels[number], self.levels[number + 1]
        small = np.abs(first.residual) + np.abs(second.residual) + np.abs(second.minus(first))
        return np.asarray(first.bound + second.bound + small * 2.0**-51)

    @property
    def error(self) -> Float64:
        """output - truth."""
        return self.levels[-1].minus(self.levels[0])

    def table(self) -> list[dict[str, Any]]:
        """A row for each cause: share of the error's energy <part, error>/<error, error>, figures in ulp.

        The shares add up to 1, but for roundings of the last digits; all are 0 where there is no error.
        Elements that are NaN or infinite are left out.
        """
        error = self.error
        finite = np.isfinite(error) & (self.ulp > 0)
        finite &= np.all([np.isfinite(level.value) for level in self.levels], axis=0)
        error, ulp = error[finite], self.ulp[finite]
        energy = _dot(error, error)
        rows = []
        for number, cause in enumerate(CAUSES):
            row = {"cause": cause, "evidence": self.evidence.get(cause, "none")}
            if self.levels[number] is self.levels[number + 1]:  # nothing happened there
                rows.append(row | {"share": 0.0, "rms_ulp": 0.0, "mean_ulp": 0.0, "abs_max": 0.0})
                continue
            part = self.part(cause)[finite]
            scaled = part / ulp
            rows.append(
                row
                | {
                    "share": _dot(part, error) / energy if energy else 0.0,
                    "rms_ulp": math.sqrt(_dot(scaled, scaled) / scaled.size) if scaled.size else 0.0,
                    "mean_ulp": float(np.mean(scaled, dtype=np.longdouble)) if scaled.size else 0.0,
                    "abs_max": float(np.max(np.abs(part), initial=0.0)),
                }
            )
        return rows


def _dot(a: Float64, b: Float64) -> float:
    """A dot product whose own rounding does not show: squares of subnormal errors must not vanish."""
    sizes = [float(np.max(np.abs(each), initial=0.0)) for each in (a, b)]
    if not all(sizes):
        return 0.0
    first, second = (math.ldexp(1.0, min(1000, -math.frexp(size)[1])) for size in sizes)
    total = _compensated(np.ascontiguousarray(a), np.ascontiguousarray(b), first, second)
    return float(total / first / second)


@compiled
def _compensated(a: Any, b: Any, first: float, second: float) -> float:
    """sum a first b second, as if in twice the precision (Ogita, Rump & Oishi 2005, algorithm 5.3)."""
    total, error = 0.0, 0.0
    for i in range(a.size):
        product, rest = two_prod(a[i] * first, b[i] * second)
        total, more = two_sum(total, product)
        error += rest + more
    return total + error


def budget(
    declared: Truth,
    output: Float32,
    *,
    meant: Truth | None = None,
    rounded: Truth | None = None,
    formula: Truth | None = None,
    replay: Float32 | None = None,
    worst: Float64 | None = None,
    perfect: Float32 | None = None,
    meaning_evidence: str = "proved",
    rounding_evidence: str = "proved",
) -> Budget:
    """Split the error of `output`; each argument that is left out says that nothing happened there.

    declared: the truth of the declared function; meant: of the function that was computed; rounded: of that
    on rounded operands; formula: of that and what another formula for it adds.  replay: the output by the
    revealed order, NaN where no order is known.  worst: a rigorous bound of what adding may do (of that
    order, or of any).  perfect: `declared` rounded to float32, where it is known already.

    The accumulation is proved where the replay gives every bit, else bounded where all of it lies within
    `worst`, else without evidence: then it is counted as unexplained.  Raises ValueError for shapes that
    differ.
    """
    levels = [Level.of_truth(declared)]
    for truth in (meant, rounded, formula):
        levels.append(levels[-1] if truth is None else Level.of_truth(truth))
    last = next(truth for truth in (formula, rounded, meant, declared) if truth is not None)
    shapes = {output.shape, last.value.shape} | ({replay.shape} if replay is not None else set())
    if len(shapes) > 1:
        raise ValueError(
            f"truths, replay and output have one shape, got {sorted(shapes)}: check the declaration"
        )
    if perfect is None or last is not declared:
        perfect = last.round(np.float32)
    levels.append(Level.of_output(perfect))
    evidence = {"output rounding": "proved"}
    if meant is not None:
        evidence["semantics"] = meaning_evidence
    if rounded is not None:
        evidence["operand rounding"] = rounding_evidence
    if formula is not None:
        evidence["algorithm"] = "proved"
    known = np.zeros(output.shape, np.bool_) if replay is None else ~np.isnan(replay) | np.isnan(output)
    if replay is not None and known.all():
        levels.append(Level.of_output(replay))
        same = bool(np.all((replay == output) | np.isnan(replay) & np.isnan(output)))
        evidence["accumulation"] = "proved" if same else "bounded"
        evidence["unexplained"] = "proved" if same else "none"
    else:
        reached = np.abs(last.error(output))
        within = worst is not None and bool(np.all(~(reached > worst) | ~np.isfinite(last.value)))
        levels.append(Level.of_output(output if within else perfect))
        evidence["accumulation"] = "bounded" if within else "none"
        evidence["unexplained"] = "bounded" if within else "none"
    levels.append(Level.of_output(output))
    return Budget(tuple(levels), evidence, declared.ulp())
