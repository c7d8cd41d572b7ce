"""What a declaration is, and what a change of it is: the words of the search for a meaning, as data.

A `Declaration` names a function: an op of `reference.OPS` with its arrays and parameters, an optional `form`
(what the op's parameters cannot say, see `precision.meaning.norms`) and steps that come `after` it. A
hypothesis is a declaration that was changed, together with the `Change`s that led to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]
Shape = tuple[int, ...]

IDENTITY = "identity"
"""The form of an op that returns its input: what comes after it is all that is computed."""

SUM = "sum"
"""Name, in a form, of the sum that is rounded before the bias joins it."""

SEMANTICS, OPERANDS, RESULT, DATA = "semantics", "operand rounding", "output rounding", "data"


@dataclass(frozen=True)
class Change:
    """One difference from what was declared.

    parameter: what differs (`padding`, `kernel flip`, `eps`); declared, found: its values, plain data;
    detail: one sentence; solved: the value was computed from the output, not taken from a list.
    """

    parameter: str
    declared: Any
    found: Any
    detail: str
    cause: str = SEMANTICS
    solved: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.parameter, repr(self.found)


@dataclass(frozen=True)
class Known:
    """Values of a function with what a float32 evaluation of it may be off: |output - function| <= limit.

    The function is value + rest; the limit holds what is not known of it, too.
    """

    value: Float64
    rest: Float64
    limit: Float64

    def error(self, output: Float64) -> Float64:
        """output - function; 0 for equal infinities or NaN, NaN where only one is NaN."""
        with np.errstate(invalid="ignore"):
            difference = (output - self.value) - self.rest
        same = (output == self.value) & ~np.isfinite(output) | np.isnan(output) & np.isnan(self.value)
        return np.where(same, 0.0, difference)

    def violated(self, output: Float64) -> NDArray[np.bool_]:
        """Where the output is farther away than rounding allows; NaN is farther than everything."""
        error = self.error(output)
        return np.asarray(~(np.abs(error) <= self.limit) & (error != 0.0))

    def mapped(self, change: Callable[[Float64], Float64]) -> Known:
        """The same, moved to other places."""
        return Known(change(self.value), change(self.rest), change(self.limit))


@dataclass(frozen=True)
class After:
    """A step on the result of an op: a function of each number, or a rearrangement of all of them.

    A function f has the Lipschitz constant `slope`; its float32 evaluation at t is off by at most
    u (own |t| + flat + |f(t)|), and by 2**-126 where that is flushed to zero. A `staircase` is monotone and
    rounds nothing of its own: its limits are its values at both ends of the argument's. An arrangement gives
    zero where it takes no element.
    """

    name: str
    function: Callable[[Float64], Float64] | None = None
    slope: float = 1.0
    own: float = 0.0
    flat: float = 0.0
    arrange: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    staircase: bool = False

    def apply(self, known: Known, unit: float) -> Known:
        """The step on whole arrays, or, for a function, on any of their elements."""
        if self.arrange is not None:
            return known.mapped(self.arrange)
        if self.function is None:
            return known
        at = known.value + known.rest
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            value = self.function(at)
            if self.staircase:
                low, high = self.function(at - known.limit), self.function(at + known.limit)
                # An overflow that is certain is as certain as any other value.
                ends = np.maximum(_gap(high, value), _gap(value, low))
                return Known(value, np.zeros_like(value), np.where(np.isnan(ends), np.inf, ends))
            reach = np.abs(at) + known.limit
            limit = self.slope * known.limit + unit * (self.own * reach + self.flat * (reach > 0))
            # What falls below the normal numbers may be flushed to zero.
            rounded = unit * np.abs(value) + 2.0**-126 * (reach > 0) if self.own or self.flat else 0.0
        return Known(value, np.zeros_like(value), limit + rounded)


def _gap(high: Float64, low: Float64) -> Float64:
    """high - low; 0 between equal infinities."""
    with np.errstate(invalid="ignore"):
        return np.where(high == low, 0.0, high - low)


@dataclass(frozen=True)
class Declaration:
    """A function on arrays, and the changes that made it from the declared one."""

    op: str
    arrays: Mapping[str, Any]
    params: Mapping[str, Any]
    form: Any = None
    after: tuple[After, ...] = ()
    changes: tuple[Change, ...] = field(default=())
    before: Declaration | None = field(default=None, repr=False, compare=False)
    """What the last change was made to."""

    def changed(self, change: Change, **parts: Any) -> Declaration:
        """The declaration with `parts` replaced and the change noted."""
        return replace(self, changes=(*self.changes, change), before=self, **parts)

    def with_params(self, change: Change, **params: Any) -> Declaration:
        return self.changed(change, params={**self.params, **params})

    def with_arrays(self, change: Change, **arrays: Any) -> Declaration:
        return self.changed(change, arrays={**self.arrays, **arrays})

    def then(self, change: Change, step: After, **parts: Any) -> Declaration:
        return self.changed(change, after=(*self.after, step), **parts)

    @property
    def core(self) -> tuple[tuple[str, str], ...]:
        """What identifies the function before the steps after it: all come from one declaration."""
        names = {step.name for step in self.after}
        own = sorted(change.key for change in self.changes if step_name(change) not in names)
        return (*own, ("form", self.form)) if isinstance(self.form, str) else tuple(own)

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(change.key for change in self.changes))


def step_name(change: Change) -> str:
    """The name of the step that a change added, if it added one."""
    return f"{change.parameter}: {change.found!r}"


def step(change: Change, **parts: Any) -> After:
    """A step named after its change."""
    return After(step_name(change), **parts)


def unravelled(flat: Indices, shape: Shape) -> tuple[Indices, ...]:
    """Flat indices as one array an axis; none for a single number."""
    return tuple(np.unravel_index(flat, shape)) if shape else ()


@dataclass(frozen=True)
class Sample:
    """Some elements of the output: their places (flat, and one array of indices an axis), their values."""

    shape: Shape
    flat: Indices
    output: Float64

    @property
    def at(self) -> tuple[Indices, ...]:
        return unravelled(self.flat, self.shape)

    def first(self, count: int) -> Sample:
        return Sample(self.shape, self.flat[:count], self.output[:count])


class Memory:
    """Changed arrays, made once: views and copies that many hypotheses share."""

    def __init__(self, most_bytes: int = 1 << 29) -> None:
        self._held: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._room = most_bytes

    def array(self, source: Any, name: str, change: Callable[[Any], Any]) -> Any:
        """`change(source)`, remembered under the name until too much is."""
        key = (id(source), name)
        if key not in self._held:
            made = change(source)
            self._held[key] = (source, made)  # the source is held so that its id stays its own
            self._room -= made.nbytes if made.base is None else 0
            while self._room < 0 and len(self._held) > 1:
                _, dropped = self._held.pop(next(iter(self._held)))
                self._room += dropped.nbytes if dropped.base is None else 0
        return self._held[key][1]


def nice_numbers(value: float, tolerance: float) -> Iterator[float]:
    """Numbers near `value`, simplest first: zero, one to six digits, inverses of integers, itself."""
    seen: set[float] = set()
    listed = [0.0] if abs(value) <= tolerance else []
    if value:
        listed += [float(f"{value:.{digits}e}") for digits in range(2)]
        inverse = round(1.0 / value)
        listed += [1.0 / inverse] if inverse else []
        listed += [float(f"{value:.{digits}e}") for digits in range(2, 6)]
    for number in [*listed, value]:
        if number not in seen and abs(number - value) <= tolerance:
            seen.add(number)
            yield number
