"""The whole output of a normalization of which a sample was kept: the known recipe with its checksum.

Recipes are screened on the kept elements of a few rows; only what gives all of those is evaluated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from precision.inputs import Float32
from precision.orders.norm_probes import normalized_rows
from precision.orders.norm_reveal import PARTS, replay_norm
from precision.orders.norm_search import with_parts
from precision.sampling import Sampled
from reference.norm_recipes import CATALOGUE, Recipe
from reference.recipe_evaluation import evaluate_problem
from reference.recipe_statistics import Problem

ROWS = 6


def recipe_candidates(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], sampled: Sampled
) -> Iterator[Callable[[], Float32]]:
    """Yield functions that give the whole output by known recipes that give the kept elements of a few rows.

    Raises ValueError for what is no normalization.  Which of them is the output, its checksum tells.
    """
    rows, eps = normalized_rows(op, arrays, params)
    if sampled.index is None or sampled.shape != tuple(arrays["input"].shape):
        return
    kept = np.zeros(sampled.shape, np.float32)
    kept.reshape(-1)[sampled.index] = 1.0
    wanted = np.zeros(sampled.shape, np.float32)
    wanted.reshape(-1)[sampled.index] = sampled.values
    where, values = rows.flatten(kept) > 0, rows.flatten(wanted).view(np.uint32)
    chosen = np.sort(np.argsort(-where.sum(axis=1), kind="stable")[:ROWS])
    problem = Problem(rows, eps, chosen)
    here = where[chosen]
    for recipe in (each for known in CATALOGUE for each in with_parts(known, PARTS)):
        try:
            output = evaluate_problem(recipe, problem)["output"]
        except ValueError:  # not a recipe for these rows
            continue
        bits = np.ascontiguousarray(output, np.float32).view(np.uint32)
        nan = np.isnan(output) & np.isnan(values.view(np.float32)[chosen])
        if (((bits == values[chosen]) | nan) | ~here).all():
            yield _whole(recipe, op, arrays, params, sampled.values)


def _whole(
    recipe: Recipe, op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], values: Float32
) -> Callable[[], Float32]:
    def output() -> Float32:
        found = replay_norm(recipe, op, arrays, params)
        wild = np.isnan(values)
        if wild.any():
            # Which NaN it is no formula says: the one that was kept stands for all.
            found[np.isnan(found)] = values[wild][0]
        return found

    return output
