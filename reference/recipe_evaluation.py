"""Recipes of normalizations: each operation of a kernel, as data, and its evaluation.

A recipe is statistics (`reference.recipe_statistics`), an inverse root and a last formula
(`reference.recipe_formulas`).  Evaluated, it gives a kernel's output bit for bit, or it is not that kernel's
recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.grouped import Grouped
from reference.recipe_formulas import assigned, evaluate, names_in, unfused
from reference.recipe_statistics import Problem, Statistics

Single = npt.NDArray[np.float32]

ROOTS = (
    "1 / sqrt(v + e)",
    "single(1 / sqrt(wide(v) + eps))",
    "newton(v + e)",
    "u = v + e; z = estimate(u); fma(-(z / 2), fma(u * z, z, -1), z)",
    "u = fma(q, 1 / n, e); z = estimate(u); fma(-(z / 2), fma(u * z, z, -1), z)",
    "single(1 / sqrt(wide(v + e)))",
    "1 / single(sqrt(wide(v) + eps))",
)
"""r, from v, or q and n, e = eps in float32 and eps itself."""

OUTPUTS = (
    "(x - m) * r * w + b",
    "fma((x - m) * r, w, b)",
    "(x - m) * (r * w) + b",
    "fma(x - m, r * w, b)",
    "a = r * w; c = b - m * a; x * a + c",
    "a = r * w; c = b - m * a; fma(x, a, c)",
    "a = r * w; c = fma(-m, a, b); x * a + c",
    "a = r * w; c = fma(-m, a, b); fma(x, a, c)",
    "a = r * w; (x * a - m * a) + b",
    "(x * r - m * r) * w + b",
    "fma(x * r - m * r, w, b)",
    "fma(x, r, -(m * r)) * w + b",
    "fma(fma(x, r, -(m * r)), w, b)",
    "(x - m) / sqrt(v + e) * w + b",
    "fma((x - m) / sqrt(v + e), w, b)",
    "w / sqrt(v + e) * (x - m) + b",
    "fma(w / sqrt(v + e), x - m, b)",
)
"""y of a centred normalization, from x, m, v, r, w and b."""

SCALINGS = (
    "x * r * w",
    "x * (r * w)",
    "x / sqrt(v + e) * w",
)
"""y of a normalization without mean."""


@dataclass(frozen=True)
class Recipe:
    """One kernel, operation by operation."""

    name: str
    source: str
    statistics: Statistics
    root: str
    output: str

    def without_fma(self) -> Recipe:
        """The same kernel from a compiler, or for a processor, without fused multiply-adds."""
        return Recipe(
            f"{self.name}, no FMA",
            self.source,
            self.statistics.without_fma(),
            unfused(self.root),
            unfused(self.output),
        )

    def with_parts(self, parts: int) -> Recipe:
        """The same kernel on another number of threads; itself where threads change no order."""
        return replace(self, statistics=self.statistics.with_parts(parts))

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON data."""
        return {"schema": 1, **asdict(self)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_json`.  Raises ValueError for data that is no recipe."""
        try:
            if data["schema"] != 1:
                raise ValueError(
                    f"a recipe's schema is 1, got {data['schema']!r}: read it with its own version"
                )
            fields = {name: str(data[name]) for name in ("name", "source", "root", "output")}
            return Recipe(statistics=Statistics.from_json(data["statistics"]), **fields)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"a recipe has name, source, statistics, root and output; {error!r}: write it with to_json"
            ) from None

    def words(self) -> str:
        """The recipe in one line."""
        root = [assigned("r", self.root)] if "r" in names_in(self.output) else []
        return "; ".join([self.statistics.words(), *root, assigned("y", self.output)])


def evaluate_recipe(recipe: Recipe, rows: Grouped, eps: float) -> dict[str, Single]:
    """What a kernel of this recipe returns: "output" in the shape of the input; "mean", "variance", "rstd",
    one a row.

    Raises ValueError where the recipe is not one for these rows (running statistics or not, a mean or not),
    and for a Newton step from `rsqrtps` on a processor that has none.
    """
    found = evaluate_problem(recipe, Problem(rows, eps))
    return {**found, "output": np.asarray(rows.restore(found["output"]), np.float32)}


def evaluate_problem(recipe: Recipe, problem: Problem) -> dict[str, Single]:
    """As `evaluate_recipe` for the chosen rows alone, the output as rows."""
    moments = problem.moments(recipe.statistics)
    root, output = last_formulas(recipe.root, recipe.output, problem, moments)
    mean, variance = moments["m"], moments["v"]
    found = {"output": output, "variance": variance[:, 0], "rstd": root[:, 0]}
    return found if recipe.statistics.method == "mean square" else {**found, "mean": mean[:, 0]}


def last_formulas(
    root: str, output: str, problem: Problem, moments: Mapping[str, Single], inverse: Single | None = None
) -> tuple[Single, Single]:
    """The inverse root (`inverse`, where it is given) and the output, from `Problem.moments`."""
    names = {**problem.constants(), **moments}
    if inverse is None:
        inverse = np.asarray(evaluate(root, names, problem.packed), np.float32)
    names |= {"x": problem.x, "r": inverse, "w": problem.weight, "b": problem.bias}
    found = np.broadcast_to(evaluate(output, names, problem.packed), problem.x.shape)
    return inverse, np.ascontiguousarray(found, np.float32)


RUNNING_MEAN, RUNNING_VARIANCE = "f * m + (1 - f) * old", "fma(f, single(q) / (n - 1), (1 - f) * old)"
"""How PyTorch's batch_norm in training updates its running statistics; f is the momentum in float32."""


def running_statistics(
    recipe: Recipe, rows: Grouped, running_mean: Single, running_var: Single, momentum: float
) -> tuple[Single, Single]:
    """The running mean and variance after a step of training by this recipe, one number a channel.

    Raises ValueError where the recipe is not one for these rows.
    """
    problem = Problem(rows, 0.0)
    moments = {name: column[:, 0] for name, column in problem.moments(recipe.statistics).items()}
    names = {**problem.constants(), **moments, "f": np.float32(momentum)}
    mean = evaluate(RUNNING_MEAN, {**names, "old": np.asarray(running_mean, np.float32)})
    variance = evaluate(RUNNING_VARIANCE, {**names, "old": np.asarray(running_var, np.float32)})
    return np.asarray(mean, np.float32), np.asarray(variance, np.float32)
