"""Which recipes predict every bit of a kernel's answers: those of a catalogue, or parts put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Float32
from precision.orders.norm_probes import NormProbe, normalized_rows
from reference.recipe_evaluation import (
    OUTPUTS,
    ROOTS,
    SCALINGS,
    Recipe,
    evaluate_problem,
    last_formulas,
)
from reference.recipe_formulas import names_in
from reference.recipe_orders import Order
from reference.recipe_statistics import Problem, Statistics, Welford

Kernel = Callable[[Mapping[str, Float32]], Mapping[str, Float32]]

SHOWN = ("mean", "variance", "rstd")
"""Statistics that a kernel may return beside its output, one number a row."""

_FEW, _LEAST = 12, 3  # rows on which a recipe is tried first
_GRID_PARTS = (1, 2, 4, 8, 16)


class Refused(Exception):
    """The kernel's answers cannot be explained by any recipe; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What a kernel returned on one probe, as rows, beside the problem that it solved."""

    probe: NormProbe
    problem: Problem
    few: Problem
    least: Problem
    output: Float32
    shown: Mapping[str, Float32]

    def of(self, problem: Problem) -> tuple[Float32, dict[str, Float32]]:
        """The answer for the rows of `problem`."""
        chosen = problem.layout.chosen
        return self.output[chosen], {name: values[chosen] for name, values in self.shown.items()}


class Asked:
    """A kernel of one op, asked and checked; counts the calls."""

    def __init__(self, kernel: Kernel, op: str, params: Mapping[str, Any]) -> None:
        self.kernel, self.op, self.params = kernel, op, params
        self.calls = 0

    def ask(self, probe: NormProbe) -> Answer:
        """The kernel's answer, the same twice.  Raises `Refused` where it is not, or fits no rows."""
        rows, eps = normalized_rows(self.op, probe.arrays, self.params)
        first, second = self._call(probe, rows.shape), self._call(probe, rows.shape)
        for name, values in first.items():
            differ = int(np.count_nonzero(~same_bits(values, second[name])))
            if differ:
                raise Refused(
                    f"two calls on equal arrays ({probe.name}) differ in {differ} of {values.size} values of "
                    f"{name}: a kernel without a fixed order has no recipe"
                )
        count = rows.x.shape[0]
        shown = {name: first[name].reshape(-1) for name in SHOWN if name in first}
        for name, values in shown.items():
            if values.size != count:
                raise Refused(
                    f"{name} has one number a row, {count} in all; the kernel returned {values.size}"
                )
        some = [np.unique(np.linspace(0, count - 1, size).astype(np.int64)) for size in (_FEW, _LEAST)]
        few, least = (Problem(rows, eps, chosen) for chosen in some)
        return Answer(probe, Problem(rows, eps), few, least, rows.flatten(first["output"]), shown)

    def _call(self, probe: NormProbe, shape: tuple[int, ...]) -> dict[str, Float32]:
        self.calls += 1
        given = {name: array.copy() for name, array in probe.arrays.items()}
        found = {name: np.asarray(array) for name, array in self.kernel(given).items() if array is not None}
        if "output" not in found or found["output"].shape != shape:
            got = found["output"].shape if "output" in found else sorted(found)
            raise Refused(f"the kernel returns an output of shape {shape}, got {got}")
        for name, values in found.items():
            if values.dtype != np.float32:
                raise Refused(f"the kernel returns float32, got {values.dtype} for {name}")
        return found


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two float32 arrays are equal to the bit; one NaN is as good as another."""
    return np.asarray((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b)))


def not_finite(answers: Iterable[Answer]) -> str:
    """Where a kernel first returned NaN or infinity, in words; empty where it never did."""
    for answer in answers:
        for name, values in {"output": answer.output, **answer.shown}.items():
            wrong = int(np.count_nonzero(~np.isfinite(values)))
            if wrong:
                return f"{wrong} of {values.size} values of {name} are NaN or infinite ({answer.probe.name})"
    return ""


def with_parts(recipe: Recipe, parts: Iterable[int]) -> list[Recipe]:
    """A recipe for each number of threads, or itself where threads change no order."""
    if not recipe.statistics.divisible:
        return [recipe]
    return [recipe.with_parts(count) for count in parts]


def predicts(recipe: Recipe, answer: Answer, problem: Problem) -> bool:
    """Whether a recipe gives every bit of an answer, for the rows of `problem`."""
    return share(recipe, answer, problem) == 1.0


def share(recipe: Recipe, answer: Answer, problem: Problem) -> float:
    """Share of outputs that a recipe gives to the bit; 0 where it does not apply or a statistic differs."""
    try:
        found = evaluate_problem(recipe, problem)
    except ValueError:
        return 0.0
    output, shown = answer.of(problem)
    if any(not same_bits(found[name], shown[name]).all() for name in shown if name in found):
        return 0.0
    return float(same_bits(found["output"], output).mean())


def matching(recipes: Iterable[Recipe], answers: Sequence[Answer]) -> list[Recipe]:
    """The recipes that predict every bit of every answer."""
    # Most are refuted by three rows of one probe, and there may be thousands.
    left = [recipe for recipe in recipes if predicts(recipe, answers[0], answers[0].least)]
    for answer in answers:
        left = [recipe for recipe in left if predicts(recipe, answer, answer.few)]
    for answer in answers:
        left = [recipe for recipe in left if predicts(recipe, answer, answer.problem)]
    return left


def best(recipes: Iterable[Recipe], answers: Sequence[Answer]) -> tuple[Recipe | None, float]:
    """The recipe with the largest mean share of equal outputs on some rows, whatever statistics are shown."""
    top: tuple[Recipe | None, float] = (None, 0.0)
    for recipe in recipes:
        bare = [replace(answer, shown={}) for answer in answers]
        mean = float(np.mean([share(recipe, answer, answer.few) for answer in bare]))
        if mean > top[1]:
            top = recipe, mean
    return top


def statistics_matching(how: Iterable[Statistics], answers: Sequence[Answer]) -> list[Statistics]:
    """The statistics that give every mean and variance that the kernel returned."""
    left = list(how)
    for answer in answers:
        left = [one for one in left if _statistics_agree(one, answer)]
    return left


def _statistics_agree(how: Statistics, answer: Answer) -> bool:
    problem = answer.few
    try:
        mean, variance = problem.statistics(how)
    except ValueError:
        return False
    _, shown = answer.of(problem)
    found = {"mean": mean[:, 0], "variance": variance[:, 0]}
    return all(same_bits(found[name], shown[name]).all() for name in found if name in shown)


def combinations(how: Sequence[Statistics], centred: bool) -> Iterator[Recipe]:
    """Every root and last formula with each of the statistics."""
    for statistics in how:
        for root in ROOTS:
            for output in OUTPUTS if centred else SCALINGS:
                if "r" in names_in(output) or root == ROOTS[0]:
                    yield Recipe("combination", "", statistics, root, output)


def last_formulas_matching(answers: Sequence[Answer]) -> list[str]:
    """The last formulas that give every output from the kernel's own mean and rstd, where it returns both."""
    if not all({"mean", "rstd"} <= set(answer.shown) for answer in answers):
        return []
    left = [formula for formula in OUTPUTS if "v" not in names_in(formula)]
    for answer in answers:
        output, shown = answer.of(answer.few)
        mean, root = (np.ascontiguousarray(shown[name][:, None]) for name in ("mean", "rstd"))
        left = [
            formula
            for formula in left
            if same_bits(
                last_formulas("", formula, answer.few, {"m": mean, "v": root}, root)[1], output
            ).all()
        ]
    return left


def grid_of_statistics(catalogue: Sequence[Recipe]) -> list[Statistics]:
    """The statistics of a catalogue, and more made of the same parts, each once."""
    known = [one.statistics for r in catalogue for one in with_parts(r, _GRID_PARTS)]
    return list(dict.fromkeys([*known, *_generated()]))


def _one_pass(mean_square: str) -> list[str]:
    plain = [f"{mean_square} - m * m", f"fma(-m, m, {mean_square})"]
    return [*plain, *(f"maximum({formula}, 0)" for formula in plain)]


def _generated() -> Iterator[Statistics]:
    narrow = [
        *(Order(kind) for kind in ("sequential", "cascade", "cascade columns", "packs", "interleaved")),
        Order("packs", streams=1),
        Order("packs", lanes=16),
        Order("interleaved", streams=2),
        Order("interleaved", streams=8),
        *(Order("sequential", parts=count) for count in _GRID_PARTS[1:]),
    ]
    for elements in ("rows", "pixels", "images"):
        for order in narrow:
            fused = [order, replace(order, fused=True)] if order.kind == "sequential" else [order]
            for squares in fused:
                for over in ("/ n", "* (1 / n)"):
                    yield Statistics("two-pass", order, squares, elements, f"s {over}", f"q {over}")
                    yield Statistics("mean square", order, squares, elements, variance=f"q {over}")
                    for variance in _one_pass(f"q {over}"):
                        yield Statistics("one-pass", order, squares, elements, f"s {over}", variance)
        for terms in ("binary32", "binary64"):
            wide = Order("wide", terms=terms)
            for mean in ("s / n", "single(s / n)"):
                for variance in ("single(q) / n", "single(q / n)", "q / n"):
                    yield Statistics("two-pass", wide, None, elements, mean, variance)
            yield Statistics("mean square", wide, None, elements, variance="single(q / n)")
        for lanes in (1, 4, 8, 16):
            for fma in (True, False):
                yield Statistics("Welford", Welford(lanes, fused=fma), elements=elements)
