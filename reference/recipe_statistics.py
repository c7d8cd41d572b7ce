"""How a normalization computes mean and variance, as data, and its evaluation on rows.

| method | mean and variance |
|---|---|
| given | the running ones |
| two-pass | m = mean(s), s the sum of x; v = variance(q), q the sum of (x - m)**2 |
| one-pass | s the sum of x, q that of x**2; m = mean(s); v = variance(q, m) |
| mean square | no mean; v = variance(q), q the sum of x**2 |
| Welford | running mean and sum of squares (`reference.welford`); v = variance(q) |

`mean` and `variance` are formulas (`reference.recipe_formulas`) over s, q, m and n, the number of terms.
`elements` is the order in which the elements of a row are visited: "rows" as `reference.grouped` has them,
"pixels" with the channels of a group innermost, as they lie in channels-last memory, "images" with the
samples innermost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.grouped import Grouped
from reference.recipe_formulas import assigned, evaluate, unfused
from reference.recipe_orders import Layout, Order
from reference.welford import welford_rows

Single = npt.NDArray[np.float32]

METHODS = ("given", "two-pass", "one-pass", "mean square", "Welford")
ELEMENTS = ("rows", "pixels", "images")


@dataclass(frozen=True)
class Welford:
    """Lanes, vectors a chunk, and whether the updates contract to fused multiply-adds."""

    lanes: int = 8
    chunk: int = 16
    fused: bool = True


@dataclass(frozen=True)
class Statistics:
    """One way to compute mean and variance; see the table of the module."""

    method: str
    sums: Order | Welford | None = None
    squares: Order | None = None
    elements: str = "rows"
    mean: str = "s / n"
    variance: str = "q / n"

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.elements not in ELEMENTS:
            raise ValueError(
                f"statistics are one of {', '.join(METHODS)}, elements one of {', '.join(ELEMENTS)}; got "
                f"{self.method!r}, {self.elements!r}: choose from these"
            )
        wanted = {"given": type(None), "Welford": Welford}.get(self.method, Order)
        if not isinstance(self.sums, wanted) or (self.squares is not None and wanted is not Order):
            raise ValueError(
                f"{self.method} statistics have sums of another kind than {self.sums!r}: correct it"
            )
        if self.squares == self.sums:
            object.__setattr__(self, "squares", None)  # one form for what is the same

    @property
    def divisible(self) -> bool:
        """Whether the order depends on the number of parts (threads)."""
        return isinstance(self.sums, Order) and self.sums.divisible

    def with_parts(self, parts: int) -> Statistics:
        """The same among another number of threads; itself where there are none."""
        if not isinstance(self.sums, Order) or not self.sums.divisible:
            return self
        squares = None if self.squares is None else self.squares.with_parts(parts)
        return replace(self, sums=self.sums.with_parts(parts), squares=squares)

    def without_fma(self) -> Statistics:
        """The same with every fused multiply-add as a product and a sum."""
        sums = self.sums if self.sums is None else replace(self.sums, fused=False)
        squares = None if self.squares is None else replace(self.squares, fused=False)
        return replace(
            self, sums=sums, squares=squares, mean=unfused(self.mean), variance=unfused(self.variance)
        )

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Statistics:
        """The inverse of `dataclasses.asdict`."""
        sums, squares = data["sums"], data["squares"]
        kind = Welford if data["method"] == "Welford" else Order
        return Statistics(
            **{
                **data,
                "sums": None if sums is None else kind(**sums),
                "squares": None if squares is None else Order(**squares),
            }
        )

    def words(self) -> str:
        """Mean and variance as a phrase."""
        if self.method == "given":
            return "running statistics"
        first = {"rows": "", "pixels": ", channels innermost", "images": ", samples innermost"}[self.elements]
        if isinstance(self.sums, Welford):
            fused = "" if self.sums.fused else ", no FMA"
            return (
                f"Welford in {self.sums.lanes} lanes over chunks of {self.sums.chunk} vectors{first}{fused}; "
                f"{assigned('v', self.variance)}"
            )
        assert self.sums is not None
        variance = assigned("v", self.variance)
        squares = self.squares or self.sums
        fused = ", squares fused" if squares.fused else ""
        other = (
            f"; squares {squares.words()}"
            if replace(squares, fused=False) != replace(self.sums, fused=False)
            else ""
        )
        if self.method == "mean square":
            return f"squares {self.sums.words()}{first}{fused}; {variance}"
        sums = f"{self.method}, sums {self.sums.words()}{first}{other}{fused}"
        return f"{sums}; {assigned('m', self.mean)}; {variance}"


class Problem:
    """Rows to normalize, some or all of them, prepared for many recipes: what they share is computed once."""

    def __init__(self, rows: Grouped, eps: float, chosen: npt.NDArray[np.int64] | None = None) -> None:
        """Raises ValueError for rows without elements."""
        total, size = rows.x.shape
        if size == 0:
            raise ValueError(
                f"a recipe needs elements in each row, got rows of shape {rows.x.shape}: give some"
            )
        chosen = np.arange(total) if chosen is None else np.asarray(chosen, np.int64)
        self.rows, self.eps = rows, float(eps)
        self.x: Single = np.ascontiguousarray(rows.x[chosen])
        self.layout = _layout(rows, chosen)
        # A product with 1 and a sum with -0 change no bit: a formula need not know what is missing.
        weight, bias = rows.weight, rows.bias
        self.weight = np.float32(1.0) if weight is None else self._entries(weight, chosen)
        self.bias = np.float32(-0.0) if bias is None else self._entries(bias, chosen)
        self._visited: dict[str, Single] = {"rows": self.x}
        self._moments: dict[Statistics, dict[str, Single]] = {}

    def _entries(self, array: Single, chosen: npt.NDArray[np.int64]) -> Single:
        rows, flat = self.rows, array.reshape(-1)
        if rows.row_step == 0 and rows.inner == 1:
            return np.ascontiguousarray(flat[None, :])
        if rows.inner >= rows.x.shape[1]:
            return np.ascontiguousarray(flat[chosen * rows.row_step % flat.size, None])
        index = chosen[:, None] * rows.row_step + np.arange(rows.x.shape[1]) // rows.inner
        return np.asarray(flat[index % flat.size])

    @cached_property
    def packed(self) -> npt.NDArray[np.bool_]:
        """Rows whose statistics fill vectors of 8, as a column: those computed in vector code."""
        return (self.layout.chosen < self.layout.rows // 8 * 8)[:, None]

    def constants(self) -> dict[str, Any]:
        """n; e, eps rounded to float32; eps itself in double."""
        return {"n": np.float32(self.x.shape[1]), "e": np.float32(self.eps), "eps": np.float64(self.eps)}

    def visited(self, elements: str) -> Single:
        """The rows with their elements in the order in which a kernel visits them."""
        if elements not in self._visited:
            layout = self.layout
            outer = layout.depth if elements == "pixels" else layout.samples
            moved = self.x.reshape(self.x.shape[0], outer, -1).transpose(0, 2, 1)
            self._visited[elements] = np.ascontiguousarray(moved).reshape(self.x.shape)
        return self._visited[elements]

    def statistics(self, how: Statistics) -> tuple[Single, Single]:
        """Mean (zeros where there is none) and variance, as columns.  Raises ValueError where `how` does not
        apply.
        """
        found = self.moments(how)
        return found["m"], found["v"]

    def moments(self, how: Statistics) -> dict[str, Single]:
        """m and v as `statistics` returns them; q, the sum of squares, not rounded, where there is one."""
        if how not in self._moments:
            self._moments[how] = self._compute(how)
        return self._moments[how]

    def _compute(self, how: Statistics) -> dict[str, Single]:
        rows, count = self.rows, self.x.shape[0]
        if not applies(how, rows, self.layout):
            raise ValueError(
                f"{how.method} statistics, elements by {how.elements}, do not fit these rows: "
                "choose a recipe of this normalization"
            )
        if how.method == "given":
            assert rows.given is not None
            mean, variance = (array[self.layout.chosen, None] for array in rows.given)
            return {"m": mean, "v": variance}
        x, names = self.visited(how.elements), self.constants()
        zeros = np.zeros(count, np.float32)
        if isinstance(how.sums, Welford):
            mean, square = zeros.copy(), zeros.copy()
            welford_rows(x, how.sums.lanes, how.sums.chunk, how.sums.fused, mean, square)
            variance = self._single(how.variance, {**names, "q": square})
            return {"m": mean[:, None], "v": variance, "q": square[:, None]}
        assert how.sums is not None
        squares = how.squares or how.sums
        centre: npt.NDArray[Any] = zeros
        if how.method != "mean square":
            names["s"] = how.sums.sums(x, zeros, False, self.layout)
            names["m"] = evaluate(how.mean, names)
            centre = names["m"] if how.method == "two-pass" else zeros
        names["q"] = squares.sums(x, centre, True, self.layout)
        mean = np.asarray(names.get("m", zeros), np.float32)
        return {"m": mean[:, None], "v": self._single(how.variance, names), "q": names["q"][:, None]}

    def _single(self, formula: str, names: dict[str, Any]) -> Single:
        return np.asarray(evaluate(formula, names), np.float32)[:, None]


def applies(how: Statistics, rows: Grouped, layout: Layout) -> bool:
    """Whether these statistics can be those of the rows: running or not, a mean or not, columns, channels."""
    if (how.method == "given") != (rows.given is not None):
        return False
    if rows.given is None and (how.method == "mean square") == rows.centred:
        return False
    if how.elements == "images":
        return layout.columns == layout.rows and layout.samples > 1
    kind = how.sums.kind if isinstance(how.sums, Order) else ""
    if kind in ("interleaved", "cascade columns", "line lanes") and layout.columns == 1 < layout.rows:
        return False  # the terms of a row are neighbours: there are no columns
    channels = kind.startswith("channel")
    return layout.depth > 1 if how.elements == "pixels" or channels else True


def _layout(rows: Grouped, chosen: npt.NDArray[np.int64]) -> Layout:
    total, size = rows.x.shape
    width = rows.shape[rows.axes[-1]] if len(rows.axes) > 2 else 1
    if rows.axes and rows.axes[0] != 0:  # rows are channels, through all samples
        return Layout(total, total, rows.shape[0], 1, size // rows.shape[0], chosen, width)
    if rows.row_step == 0:  # affine entries by position in the row: no channels
        return Layout(total, 1, total, 1, size, chosen)
    samples = rows.shape[0]
    return Layout(total, total // samples, samples, size // rows.inner, rows.inner, chosen, width)
