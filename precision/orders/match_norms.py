"""Which known recipe gives every bit of a normalization's output, on the very arrays that it was made from.

A recipe of `reference.norm_recipes` is tried on three rows, on twelve and on all.  Where the variance was
computed in one pass, its formula is a cause of its own: what it loses though both sums were perfect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.orders.match_sums import LUCK
from precision.orders.norm_probes import NormProbe, normalized_rows
from precision.orders.norm_reveal import PARTS
from precision.orders.norm_search import Answer, share, with_parts
from reference.norm_recipes import CATALOGUE, Recipe, evaluate_recipe
from reference.recipe_formulas import names_in
from reference.recipe_statistics import Problem, Statistics

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_FEW, _LEAST = 12, 3
ONE_PASS = "one-pass"


@dataclass(frozen=True)
class RecipeMatch:
    """Recipes that give every output, or else all but one, and how many were tried."""

    recipes: tuple[Recipe, ...]
    exact: bool
    tried: int
    nearest: float
    """Largest share of the outputs of a few rows that another recipe gives."""
    telling: bool
    """Whether the nearest other recipe would hardly give all outputs."""


def matched_recipes(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], output: Float32
) -> RecipeMatch:
    """The recipes of the catalogue that give `output`.  Raises ValueError for what is no normalization."""
    rows, eps = normalized_rows(op, arrays, params)
    count = rows.x.shape[0]
    some = [np.unique(np.linspace(0, count - 1, size).astype(np.int64)) for size in (_FEW, _LEAST)]
    few, least = (Problem(rows, eps, chosen) for chosen in some)
    probe = NormProbe("data", "the arrays themselves", arrays)
    answer = Answer(probe, Problem(rows, eps), few, least, rows.flatten(output), {})
    known = [recipe for recipe in CATALOGUE if _declared(recipe, arrays, rows.centred)]
    tried = [one for recipe in known for one in with_parts(recipe, PARTS)]
    left = [one for one in tried if _wrong(one, answer, answer.least) <= 1]
    left = [one for one in left if _wrong(one, answer, answer.few) <= 1]
    wrong = [(_wrong(one, answer, answer.problem), one) for one in left]
    fits = [one for count, one in wrong if count == 0]
    close = [one for count, one in wrong if count == 1]
    # One form of each: threads may change no bit.
    distinct = {one.words(): one for one in reversed(fits or close)}
    named = {one.name for one in fits or close}
    shares = [share(one, answer, answer.few) for one in known if one.name not in named]
    away = [1.0 - count / output.size for count, one in wrong if one.name not in named]
    nearest = max([each for each in shares if each < 1.0] + away, default=0.0)
    telling = (1.0 - nearest) * output.size >= -math.log(LUCK)
    return RecipeMatch(tuple(reversed(distinct.values())), bool(fits), len(tried), nearest, telling)


def _declared(recipe: Recipe, arrays: Mapping[str, Float32], centred: bool) -> bool:
    """Whether a recipe reads all that was declared: one that leaves the bias out is another function."""
    read = names_in(recipe.output)
    given = {name for name, array in (("w", "weight"), ("b", "bias")) if arrays.get(array) is not None}
    return given | ({"m"} if centred else set()) <= read


def _wrong(recipe: Recipe, answer: Answer, problem: Problem) -> int:
    """Outputs of some rows that a recipe does not give."""
    return round((1.0 - share(recipe, answer, problem)) * problem.x.size)


def cost_of_one_pass(
    recipe: Recipe, op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any]
) -> Float64 | None:
    """What computing the variance in one pass adds to the error: the output by the recipe minus that by the
    same orders, roots and last formula with the variance in two passes.

    In exact arithmetic the two formulas are one, so the difference is what their roundings come to; NaN where
    one pass gives NaN.  None for a recipe that is not in one pass.
    """
    how = recipe.statistics
    if how.method != ONE_PASS:
        return None
    rows, eps = normalized_rows(op, arrays, params)
    twice = Statistics("two-pass", how.sums, how.squares, how.elements, how.mean, "q * (1 / n)")
    both = [
        evaluate_recipe(each, rows, eps)["output"].astype(np.float64)
        for each in (recipe, replace(recipe, statistics=twice))
    ]
    with np.errstate(invalid="ignore"):
        return np.asarray(both[0] - both[1])
