"""The recipe of a live normalization, found by probing: which operations, in which order and format.

A kernel is asked about data that separate recipes (`precision.orders.norm_probes`), and recipes of the
catalogue are kept as long as they predict every bit of every answer: the output, and whatever statistics
the kernel returns.  If none is left, recipes are put together from statistics, inverse roots and last
formulas.  What is found is validated on fresh data.  No name of a library or of its kernel is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from precision.inputs import Float32
from precision.orders import norm_search as search
from precision.orders.norm_probes import FRESH, NormProbe, fresh_arrays, normalized_rows, probes
from precision.orders.norm_search import Answer, Kernel, Refused
from reference.norm_recipes import CATALOGUE, Recipe, evaluate_recipe
from reference.recipe_formulas import assigned

PARTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128)
"""Numbers of threads that are tried where they change an order."""

Run = Callable[[str, Mapping[str, Any], Mapping[str, Float32]], Float32]
Statistics = Callable[[str, Mapping[str, Any], Mapping[str, Float32]], Mapping[str, Float32]]


@dataclass(frozen=True)
class Stage:
    """What one part of a recipe was found to be, and what told it."""

    name: str
    found: str
    told_by: str


@dataclass(frozen=True)
class RevealedNorm:
    """The recipe of a kernel for arrays of one shape, or None and the reason.

    alternatives: other recipes that predict every bit of every answer, so that nothing tells them apart.
    shares: share of the outputs equal to the bit, by kind of fresh data.
    """

    recipe: Recipe | None
    stages: tuple[Stage, ...]
    alternatives: tuple[str, ...]
    shares: Mapping[str, float]
    calls: int
    reason: str

    @property
    def evidence(self) -> str:
        """`proved` where every bit was predicted, else `none`."""
        return "none" if self.recipe is None else "proved"

    def words(self) -> str:
        """One line for a table."""
        return self.reason if self.recipe is None else self.recipe.words()

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data; `Recipe.from_json` reads the recipe back."""
        return {
            "schema": 1,
            "recipe": None if self.recipe is None else self.recipe.to_json(),
            "words": self.words(),
            "evidence": self.evidence,
            "stages": [asdict(stage) for stage in self.stages],
            "alternatives": list(self.alternatives),
            "shares": dict(self.shares),
            "calls": self.calls,
            "reason": self.reason,
        }


def reveal_norm(
    kernel: Kernel,
    op: str,
    arrays: Mapping[str, Float32],
    params: Mapping[str, Any] | None = None,
    *,
    catalogue: Sequence[Recipe] = CATALOGUE,
    parts: Sequence[int] = PARTS,
    seed: int = 0,
) -> RevealedNorm:
    """Return the recipe of `kernel` for arrays of these shapes (their values are not read).

    kernel(arrays) returns float32 arrays by name: "output", and where it has them "mean", "variance" (divided
    by N) and "rstd", one number a row.  op, arrays and params are named and shaped as for
    `reference.evaluate`.

    Raises ValueError for an op that is no normalization, and for arrays or parameters that do not fit it.
    """
    params = dict(params or {})
    asked = search.Asked(kernel, op, params)
    key = f"recipe/{op}/{seed}"
    try:
        answers = [asked.ask(probe) for probe in probes(op, arrays, params, seed)]
        fresh = [asked.ask(NormProbe(kind, "fresh data", fresh_arrays(arrays, kind, key))) for kind in FRESH]
    except Refused as refusal:
        return RevealedNorm(None, (), (), {}, asked.calls, str(refusal))
    known = [one for recipe in catalogue for one in search.with_parts(recipe, parts)]
    found = search.matching(known, answers)
    if not found:
        found = search.matching(_combined(catalogue, answers), answers)
    valid = [recipe for recipe in found if all(search.predicts(recipe, one, one.problem) for one in fresh)]
    if not valid:
        return _unknown(known, found, answers, fresh, asked.calls)
    recipe, *others = valid
    shares = {answer.probe.name: search.share(recipe, answer, answer.problem) for answer in fresh}
    alternatives = tuple(dict.fromkeys(_title(other) for other in others))
    return RevealedNorm(recipe, _stages(recipe, answers), alternatives, shares, asked.calls, "")


def _combined(catalogue: Sequence[Recipe], answers: Sequence[Answer]) -> Iterable[Recipe]:
    statistics = search.statistics_matching(search.grid_of_statistics(catalogue), answers)
    return search.combinations(statistics, answers[0].problem.rows.centred)


def _title(recipe: Recipe) -> str:
    return f"{recipe.name}: {recipe.words()}"


def _unknown(
    known: Sequence[Recipe],
    found: Sequence[Recipe],
    answers: Sequence[Answer],
    fresh: Sequence[Answer],
    calls: int,
) -> RevealedNorm:
    """What can be said of a kernel that no recipe predicts: a part that is known, and the nearest recipe."""
    broken = search.not_finite([*answers, *fresh])
    if broken:
        return RevealedNorm(None, (), (), {}, calls, f"{broken}, and no recipe predicts these")
    stages: list[Stage] = []
    formulas = search.last_formulas_matching(answers)
    if formulas:
        stages.append(Stage("last formula", assigned("y", formulas[0]), "the kernel's own mean and rstd"))
    recipe, _ = search.best(found or known, fresh)
    reason = "a recipe fits the probes and not fresh data" if found else "no recipe predicts every bit"
    shares: dict[str, float] = {}
    if recipe is None:
        reason += "; none predicts one in some rows of fresh data"
    else:
        bare = [replace(answer, shown={}) for answer in fresh]
        shares = {answer.probe.name: search.share(recipe, answer, answer.problem) for answer in bare}
        listed = ", ".join(f"{share:.2%} on {kind} data" for kind, share in shares.items())
        reason += f"; the nearest, {recipe.name}, gives {listed}"
    if formulas:
        reason += "; the last formula is known, the statistics are not"
    return RevealedNorm(None, tuple(stages), (), shares, calls, reason)


def _stages(recipe: Recipe, answers: Sequence[Answer]) -> tuple[Stage, ...]:
    shown = answers[0].shown
    by = "bit for bit on " + ", ".join(answer.probe.name for answer in answers)
    seen = " and ".join(name for name in ("mean", "variance") if name in shown)
    root = "returned rstd" if "rstd" in shown else "output"
    return (
        Stage("statistics", recipe.statistics.words(), f"{'returned ' + seen if seen else root}, {by}"),
        Stage("inverse root", assigned("r", recipe.root), f"{root}, {by}"),
        Stage("last formula", assigned("y", recipe.output), f"output, {by}"),
    )


def replay_norm(
    recipe: Recipe, op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any] | None = None
) -> Float32:
    """The output that a kernel of this recipe gives for a case's arrays.  Raises ValueError as
    `evaluate_recipe`.
    """
    rows, eps = normalized_rows(op, arrays, dict(params or {}))
    return evaluate_recipe(recipe, rows, eps)["output"]
