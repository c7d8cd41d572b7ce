"""Another eps under a variance in one pass: told by its bits where no bound tells it, and never made up."""

from __future__ import annotations

import numpy as np
import pytest

import precision
from precision.orders.norm_probes import normalized_rows
from reference.norm_recipes import CATALOGUE, evaluate_recipe

ONE_PASS = next(recipe for recipe in CATALOGUE if recipe.name == "batch norm, one-pass, estimated root")


def arrays(seed, mean=30.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 6, 12, 12)) + mean
    return {
        "input": x.astype(np.float32),
        "weight": rng.uniform(0.5, 1.5, 6).astype(np.float32),
        "bias": rng.standard_normal(6).astype(np.float32),
    }


def by_recipe(given, eps):
    try:
        rows, _ = normalized_rows("batch_norm", given, {"training": True, "eps": eps})
        return evaluate_recipe(ONE_PASS, rows, eps)["output"]
    except ValueError as reason:  # a root that this processor does not estimate
        pytest.skip(str(reason))


def unknown(given, eps, rng):
    """A variance in one pass by orders that no recipe has: shuffled, in blocks of chance."""
    rows = np.moveaxis(given["input"], 1, 0).reshape(6, -1)
    one = np.float32(1)
    outputs = []
    for row, w, b in zip(rows, given["weight"], given["bias"], strict=True):
        mixed = rng.permutation(row)
        cuts = np.sort(rng.choice(np.arange(1, mixed.size), 9, replace=False))
        sums = [np.add.accumulate(part)[-1] for part in np.split(mixed, cuts)]
        squares = [np.add.accumulate(part * part)[-1] for part in np.split(mixed, cuts)]
        count = np.float32(row.size)
        mean = np.add.accumulate(np.float32(sums))[-1] / count
        variance = np.add.accumulate(np.float32(squares))[-1] / count - mean * mean
        outputs.append((row - mean) * (one / np.sqrt(variance + np.float32(eps))) * w + b)
    shape = (6, *np.delete(given["input"].shape, 1))
    return np.ascontiguousarray(np.moveaxis(np.reshape(outputs, shape), 0, 1))


def explained(given, output):
    case = {"op": "batch_norm", "params": {"training": True, "eps": 1e-5}, "arrays": given}
    return precision.explain(case, {"output": output}).outputs["output"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eps", [1e-3, 1e-4])
def test_another_eps_is_proved_by_its_bits(seed, eps):
    given = arrays(seed)
    found = explained(given, by_recipe(given, eps))
    named = {each.parameter: each for each in found.causes if each.parameter is not None}
    assert found.verdict == "semantics", found.reason
    assert (named["eps"].found, named["eps"].evidence) == (eps, "proved")


@pytest.mark.parametrize("seed", range(4))
def test_the_declared_eps_is_rounding(seed):
    given = arrays(seed)
    found = explained(given, by_recipe(given, 1e-5))
    assert found.verdict == "rounding", found.reason
    assert all(each.parameter is None for each in found.causes)


def false_alarms(seeds):
    wrong = []
    for seed in seeds:
        given = arrays(seed)
        found = explained(given, unknown(given, 1e-5, np.random.default_rng(seed)))
        if found.verdict != "rounding" or any(each.parameter is not None for each in found.causes):
            wrong.append((seed, found.verdict, found.reason))
    return wrong


def test_no_eps_is_made_up_for_an_order_that_is_not_known():
    assert false_alarms(range(5)) == []


@pytest.mark.slow
def test_no_eps_is_made_up_in_hundreds_of_layers():
    assert false_alarms(range(100, 400)) == []
