"""What is said of one gradient: its truth, the bound of rounding, other choices that frameworks make.

A gradient is exact, or off by rounding, or it is that of another choice: at a kink of a function, among
elements that tie for a maximum.  Anything else is unexplained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from precision.judging.case_folder import CaseError
from precision.judging.case_judge import Judge
from precision.judging.finding import Cause, OutputExplained
from precision.score import errors, scores
from reference import Truth

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Change = Callable[[NDArray[Any]], NDArray[Any]]

UNIT = 2.0**-24
FLUSH = 2.0**-126
LARGEST = float(np.finfo(np.float32).max)
LONG = 4096
"""Terms of a sum beyond which no order is looked for: with 65,536 that takes a minute for one layer."""
INFLATION = 1.0 + 2.0**-10
"""Turns the first order of a few dozen roundings and functions into a bound."""


class Other(Protocol):
    """Another choice than the declared one."""

    def cause(self, own: Pullback, output: Float32) -> Cause | None:
        """It as a cause, where it is what the output shows."""


@dataclass(frozen=True)
class Pullback:
    """The gradient with respect to one operand of a declared unit: its truth, and the bound of rounding.

    truth: of that operand's shape.  limit: rigorous bound on |output - truth| of a float32 evaluation, one
    number an element; infinite where an intermediate result may overflow.
    """

    truth: Truth
    limit: Float64
    others: tuple[Other, ...] = ()

    @property
    def rounded(self) -> Float32:
        """The truth, rounded to float32: what the units before it are handed."""
        found: Float32 = self.truth.round(np.float32)
        return found

    def beyond(self, output: Float32) -> Bools:
        """Where an output of the truth's shape is farther off than rounding takes it."""
        apart = np.abs(self.truth.error(output))
        return np.asarray(~((apart <= self.limit + self.truth.bound) | np.isposinf(self.limit)))

    def explains(self, output: Float32) -> bool:
        """Whether the shape fits, and every output is within the limit."""
        return output.shape == self.truth.value.shape and not bool(self.beyond(output).any())

    def explained(self, name: str, output: Float32) -> OutputExplained:
        """The full verdict; name is the framework's."""
        if output.shape != self.truth.value.shape:
            return self._misshapen(name, output)
        found = errors(self.truth, output)
        figures = scores(self.truth, found)
        if not found.nonfinite.any() and np.array_equal(found.output, found.rounded):
            reason = "every element is the truth, correctly rounded"
            return OutputExplained(name, "exact", reason, (), figures)
        beyond = self.beyond(output)
        if not beyond.any():
            close = not found.nonfinite.any() and bool((np.abs(found.ulp) <= 1.0).all())
            detail = (
                "at most 1 ulp" if close else "within the rigorous bound of the formula's steps in float32"
            )
            cause = Cause(
                "output rounding" if close else "accumulation", share=1.0, evidence="bounded", detail=detail
            )
            return OutputExplained(name, "rounding", f"every element is {detail}", (cause,), figures)
        for other in self.others:
            cause_of_it = other.cause(self, output)
            if cause_of_it is not None:
                return OutputExplained(name, "semantics", cause_of_it.detail, (cause_of_it,), figures)
        reason = f"{int(beyond.sum())} elements are beyond the bound of rounding in float32"
        fix = "look at how both models differentiate this layer"
        cause = Cause("unexplained", share=1.0, detail=reason, fix=fix)
        return OutputExplained(name, "unexplained", reason, (cause,), figures)

    def _misshapen(self, name: str, output: Float32) -> OutputExplained:
        reason = f"its shape is {list(output.shape)}, not {list(self.truth.value.shape)}"
        cause = Cause("unexplained", detail=reason, fix="look at this layer in both models")
        return OutputExplained(name, "unexplained", reason, (cause,))

    def arranged(self, change: Change) -> Pullback:
        """The same with its elements moved, or fewer of them; other choices are left behind."""
        return Pullback(self.truth.arranged(change), change(self.limit))


@dataclass(frozen=True)
class Judged(Pullback):
    """A gradient that is an op of the reference: the search for another meaning runs on it too.

    whole: makes of a gradient of the operand's shape an output of the op.
    """

    engine: Judge | None = None
    whole: Callable[[Float32], Float32] | None = field(default=None)

    def explained(self, name: str, output: Float32) -> OutputExplained:
        fits = output.shape == self.truth.value.shape
        if self.engine is None or (not fits and self.whole is not None):
            return super().explained(name, output)
        if fits and np.array_equal(output, self.rounded):
            return OutputExplained(name, "exact", "every element is the truth, correctly rounded", ())
        if fits and self._long(self.engine) and not self.beyond(output).any():
            return super().explained(name, output)
        try:
            return self.engine.explained(name, output if self.whole is None else self.whole(output))
        except CaseError:  # a shape that no meaning explains, or a search that has no bound to go by
            return super().explained(name, output)

    @staticmethod
    def _long(engine: Judge) -> bool:
        return "norm" not in engine.case.op and engine.most_terms > LONG


@dataclass(frozen=True)
class Kinks:
    """Elements where a function has no derivative: frameworks choose a number between the one-sided ones.

    where: those elements; gradient: what is multiplied.  declared: the slope that the truth has there; ends:
    the least and the largest slope of the others.
    """

    where: Bools
    gradient: Float64
    declared: Float64
    ends: tuple[Float64, Float64]

    def cause(self, own: Pullback, output: Float32) -> Cause | None:
        beyond = own.beyond(output)
        if not beyond.any() or (beyond & (~self.where | (self.gradient == 0.0))).any():
            return None
        given, size = output[beyond].astype(np.float64), np.abs(self.gradient[beyond])
        products = [self.gradient[beyond] * end[beyond] for end in self.ends]
        slack = 8.0 * UNIT * size * np.maximum(*(np.abs(end[beyond]) for end in self.ends)) + FLUSH
        low, high = np.minimum(*products) - slack, np.maximum(*products) + slack
        if not bool(((given >= low) & (given <= high)).all()):
            return None
        slopes, truths = given / self.gradient[beyond], self.declared[beyond]
        found, declared = _in_words(slopes), _in_words(truths)
        detail = (
            f"at {int(beyond.sum())} elements, where the function has a kink, the slope is {found}, "
            f"not {declared}; both are limits of its slopes, or between them"
        )
        fix = "keep arguments off the kink, or give both models one convention there"
        shown = (float(np.round(truths[0], 6)), float(np.round(slopes[0], 6)))
        return Cause("semantics", "gradient at the kink", *shown, 1.0, None, "proved", detail, fix)


def _in_words(slopes: Float64) -> str:
    low, high = float(slopes.min()), float(slopes.max())
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return f"{low:.6g}"
    return f"{low:.6g} to {high:.6g}"


@dataclass(frozen=True)
class Elsewhere:
    """Whole gradients under other choices of one parameter; `made` gives (found, pullback) one by one."""

    parameter: str
    declared: Any
    made: Callable[[], Iterator[tuple[Any, Pullback]]]
    fix: str

    def cause(self, own: Pullback, output: Float32) -> Cause | None:
        for found, other in self.made():
            if other.explains(output):
                detail = f"{self.parameter} is {found}, not {self.declared}: so every element is explained"
                return Cause(
                    "semantics", self.parameter, self.declared, found, 1.0, None, "proved", detail, self.fix
                )
        return None


def gamma(count: Any, u: float) -> Any:
    """n u / (1 - n u): the relative error of n roundings (Higham 2002, lemma 3.1); infinite from 1 on."""
    n = np.asarray(count, np.float64) * u
    return np.where(n < 1.0, n / np.where(n < 1.0, 1.0 - n, 1.0), np.inf)


def bounded(limit: Float64, size: Any) -> Float64:
    """The limit, infinite where what is added up to `size` may overflow, or where it is no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        known = (size + limit) * (1.0 + 2.0 * UNIT) < LARGEST
    return np.where(known, limit, np.inf)
