"""What is said of one output: its verdict, its causes and their shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from precision.judging.budget import Budget
from precision.meaning.counterexample import Counterexample
from precision.meaning.search import Meaning

if TYPE_CHECKING:
    from precision.orders.match import OrderMatch

ERRORS = {
    "ulp_max": "error_ulp_max",
    "ulp_rms": "error_ulp_rms",
    "abs_max": "error_abs_max",
    "bias_ulp": "error_ulp_mean",
    "correctly_rounded": "share_correctly_rounded",
}
"""Figures of the JSON, by their names in `precision.score`."""


@dataclass(frozen=True)
class Cause:
    """One reason for the error of an output.

    cause: `semantics`, `data`, `operand rounding`, `algorithm`, `accumulation`, `output rounding` or
    `unexplained`.
    parameter, declared, found: what differs from the declaration; None where nothing does. share: of the
    error's energy, <part, error> / <error, error>; the shares of an output add up to 1. rms_ulp: of the
    part, in float32 ulp of the truth. Both are None where the shapes differ. evidence: `proved`, `bounded`,
    `consistent` or `none`.
    """

    cause: str
    parameter: str | None = None
    declared: Any = None
    found: Any = None
    share: float | None = None
    rms_ulp: float | None = None
    evidence: str = "none"
    detail: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class OutputExplained:
    """One output: its verdict and the sentence that says why, its causes, its figures, its worst element."""

    name: str
    verdict: str
    reason: str
    causes: tuple[Cause, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Those of `precision.score.scores`; empty where the shape is not the declared one."""
    meaning: Meaning | None = None
    parts: Budget | None = None
    """The error split over its causes, element by element; None where the shape is not the declared one."""
    order: OrderMatch | None = None
    """The order that was tried on it, of the declared function; None where none is known."""

    @property
    def error(self) -> dict[str, float | None]:
        return {name: plain(self.figures.get(figure)) for name, figure in ERRORS.items()}

    @cached_property
    def counterexample(self) -> Counterexample | None:
        """The smallest integers on which the declared and the found function differ by 1/2."""
        return None if self.meaning is None else self.meaning.counterexample()


def plain(value: Any) -> Any:
    """The value as JSON has it: no NumPy types; numbers that are not finite are None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
