"""Recipes: formulas against exact arithmetic, orders against trees, whole recipes against the truth."""

from __future__ import annotations

import json
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import grouped
from reference.norm_recipes import CATALOGUE, Recipe, evaluate_recipe
from reference.ops import evaluate as truth_of
from reference.recipe_evaluation import OUTPUTS, ROOTS, SCALINGS, running_statistics
from reference.recipe_formulas import estimated_root, evaluate, fused, names_in, newton_root, unfused
from reference.recipe_statistics import Problem, Statistics, Welford
from reference.root_estimate import HAS_ESTIMATE

needs_estimate = pytest.mark.skipif(not HAS_ESTIMATE, reason="the processor has no rsqrtps")

DIGITS = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}


class Exact:
    """A number of a format; every operation is exact and then rounded once, with integers alone."""

    def __init__(self, value: Fraction, digits: int) -> None:
        self.value, self.digits = rounded(value, digits), digits

    def _with(self, other: Any, value: Fraction) -> Exact:
        return Exact(value, max(self.digits, other.digits if isinstance(other, Exact) else 0))

    def __add__(self, other: Any) -> Exact:
        return self._with(other, self.value + number(other))

    def __sub__(self, other: Any) -> Exact:
        return self._with(other, self.value - number(other))

    def __mul__(self, other: Any) -> Exact:
        return self._with(other, self.value * number(other))

    def __truediv__(self, other: Any) -> Exact:
        return self._with(other, self.value / number(other))

    def __rtruediv__(self, other: Any) -> Exact:
        return self._with(other, number(other) / self.value)

    def __neg__(self) -> Exact:
        return Exact(-self.value, self.digits)


def number(x: Any) -> Fraction:
    return x.value if isinstance(x, Exact) else Fraction(x)


def rounded(value: Fraction, digits: int) -> Fraction:
    """To nearest even, no limits of the exponent."""
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - digits + 1)
    return round(value / unit) * unit


def root(x: Exact) -> Exact:
    """The root cut off after 200 bits, with a last bit that says that there is more."""
    scaled = x.value * 4**200
    found = isqrt(scaled.numerator // scaled.denominator)
    return Exact(Fraction(2 * found + (found**2 != scaled), 2**201), x.digits)


def exactly(text: str, names: dict[str, Exact]) -> Exact:
    """A formula by Python's own grammar on exact numbers."""
    scope: dict[str, Any] = {
        **names,
        "fma": lambda a, b, c: Exact(number(a) * number(b) + number(c), 24),
        "sqrt": root,
        "estimate": lambda a: Exact(Fraction(float(estimated_root(np.float32([a.value]))[0])), 24),
        "wide": lambda a: Exact(a.value, 53),
        "single": lambda a: Exact(a.value, 24),
    }
    *steps, last = text.split("; ")
    for step in steps:
        exec(step, scope)
    found: Exact = eval(last, scope)
    return found


FORMULAS = [*OUTPUTS, *SCALINGS, *(r for r in ROOTS if "newton" not in r)]


@needs_estimate
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_is_its_operations_rounded_one_by_one(formula):
    rng = np.random.default_rng(11)
    size = 40
    values = {name: (rng.standard_normal(size) + 3.0).astype(np.float32) for name in "xmwb"}
    values["q"] = rng.uniform(3.5, 14.0, size).astype(np.float32)
    values["v"] = rng.uniform(0.5, 2.0, size).astype(np.float32)
    values["r"] = rng.uniform(0.5, 2.0, size).astype(np.float32)
    values["x"][:20] = values["m"][:20] * np.float32(1 + 2.0**-20)  # the difference cancels
    constants = {"n": np.float32(7), "e": np.float32(1e-5), "eps": np.float64(1e-5)}
    got = evaluate(formula, {**values, **constants})
    exact = {name: Exact(Fraction(float(c)), DIGITS[c.dtype]) for name, c in constants.items()}
    for i in range(size):
        names = {name: Exact(Fraction(float(a[i])), 24) for name, a in values.items()}
        assert Fraction(float(got[i])) == exactly(formula, {**names, **exact}).value, (formula, i)


@given(st.lists(st.floats(width=32, min_value=0.5, max_value=2.0), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_fma_rounds_once(values):
    a, b, c = (np.array([v], np.float32) for v in values)
    sign = np.float32(-1.0)
    exact = Fraction(float(a[0])) * Fraction(float(b[0])) - Fraction(float(c[0]))
    assert Fraction(float(fused(a, b, sign * c)[0])) == rounded(exact, 24)


def test_fma_differs_from_float64_where_that_rounds_twice():
    a, c = np.float32(1 + 2.0**-12), np.float32(2.0**-40)
    b = np.float32(1 + 2.0**-12)
    # a b = 1 + 2^-11 + 2^-24 is a tie of float32, which 2^-40 breaks; 53 bits hold that, 2^-60 they do not
    tiny = np.float32(2.0**-60)
    twice = np.float32(np.float64(a) * np.float64(b) + np.float64(tiny))
    assert fused(a, b, c) == fused(a, b, tiny) == np.float32(1 + 2.0**-11 + 2.0**-23) != twice


def test_formulas_are_read_and_refused():
    assert names_in("a = r * w; c = b - m * a; x * a + c") == {"r", "w", "b", "m", "x"}
    assert unfused("c = fma(-m, a, b); fma(x, a, c)") == "c = -m * a + b; x * a + c"
    assert evaluate("maximum(a - 1, 0)", {"a": np.zeros(2, np.float32)}).tolist() == [0.0, 0.0]
    for text in ("a +", "a ** 2", "import os", "unknown + 1", "a.real", "a[0]", "open(a)", ""):
        with pytest.raises(ValueError, match="formula") as error:
            evaluate(text, {"a": np.float32(1)})
        assert "\n" not in str(error.value)


@needs_estimate
def test_newton_root_is_its_formula_from_an_estimate_and_exact_in_the_tail():
    a = np.random.default_rng(3).uniform(0.25, 4.0, 1000).astype(np.float32)
    exact = 1.0 / np.sqrt(a.astype(np.float64))
    packed = np.arange(a.size) < 992
    found = newton_root(a, packed)
    error = np.abs(found / exact - 1.0)
    assert error.max() < 2.0**-21.5
    assert error[:992].max() > 2.0**-24  # it is no correctly rounded root
    tail = (np.float32(1.0) / np.sqrt(a[992:])).view(np.uint32)
    assert found[992:].view(np.uint32).tolist() == tail.tolist()
    # One Newton step squares the error of the estimate: 2^-11 at most becomes 2^-22.4.
    assert np.all(newton_root(np.array([4.0**k for k in range(-8, 9)], np.float32), np.array(True)) > 0)


# --- Welford, statistics and whole recipes


@pytest.mark.parametrize("size", [1, 5, 8, 15, 127, 128, 129, 1000, 2500])
def test_welford_is_that_of_a_framework(size):
    import torch

    x = (1000.0 + np.random.default_rng(size).standard_normal((20, size))).astype(np.float32)
    rows = grouped.layer_norm_rows(x, [size])
    mean, variance = Problem(rows, 1e-5).statistics(Statistics("Welford", Welford()))
    _, wanted, rstd = torch.native_layer_norm(torch.from_numpy(x), (size,), None, None, 1e-5)
    assert np.array_equal(mean, wanted.numpy())
    assert np.array_equal(np.float32(1.0) / np.sqrt(variance + np.float32(1e-5)), rstd.numpy())
    if size > 8:
        other, _ = Problem(rows, 1e-5).statistics(Statistics("Welford", Welford(lanes=4)))
        assert not np.array_equal(other, mean)  # the lanes show


def problem_of(recipe: Recipe) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An op, its parameters and arrays for which a recipe is one."""
    rng = np.random.default_rng(7)
    shape = (3, 16, 6, 7)
    weight, bias = (rng.standard_normal(16).astype(np.float32) for _ in range(2))
    arrays = {"input": (3.0 + rng.standard_normal(shape)).astype(np.float32), "weight": weight, "bias": bias}
    how = recipe.statistics
    if how.method == "given":
        arrays |= {"running_mean": bias, "running_var": np.abs(weight) + np.float32(0.5)}
        return "batch_norm", {"training": False}, arrays
    if how.method == "mean square":
        del arrays["bias"]
        arrays["input"] = arrays["input"].transpose(0, 2, 3, 1).copy()
        return "rms_norm", {"normalized_shape": [16]}, arrays
    if "alone" in recipe.name:
        del arrays["weight" if "bias alone" in recipe.name else "bias"]
    if how.elements == "pixels" or "group" in recipe.name:
        if "not affine" in recipe.name:
            del arrays["weight"], arrays["bias"]
        return "group_norm", {"num_groups": 4}, arrays
    if "layer" in recipe.name or "row" in recipe.name:
        arrays["input"] = arrays["input"].transpose(0, 2, 3, 1).copy()
        return "layer_norm", {"normalized_shape": [16]}, arrays
    return "batch_norm", {"training": True}, arrays


@needs_estimate
@pytest.mark.parametrize("recipe", CATALOGUE, ids=lambda recipe: recipe.name)
def test_every_recipe_computes_the_declared_function(recipe):
    op, params, arrays = problem_of(recipe)
    rows = getattr(grouped, f"{op}_rows")(**arrays, **params)
    truth = truth_of(op, arrays, {**params, "eps": 1e-5}).value
    for parts in (1, 3):
        found = evaluate_recipe(recipe.with_parts(parts), rows, 1e-5)
        assert found["output"].shape == arrays["input"].shape
        assert found["output"].dtype == np.float32
        assert np.abs(found["output"] - truth).max() < 2e-5
        assert np.allclose(found["rstd"], 1.0 / np.sqrt(found["variance"] + 1e-5), rtol=1e-6)
    assert recipe.words()
    back = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert back == recipe


@pytest.mark.parametrize(("memory", "name"), [("contiguous", "planes"), ("channels_last", "columns")])
def test_running_statistics_are_those_of_a_framework(memory, name):
    import torch

    rng = np.random.default_rng(23)
    x = (3.0 + rng.standard_normal((4, 300, 6, 7))).astype(np.float32)
    old = rng.standard_normal(300).astype(np.float32), rng.uniform(0.5, 1.5, 300).astype(np.float32)
    kept = [torch.from_numpy(array.copy()) for array in old]
    tensor = torch.from_numpy(x)
    if memory == "channels_last":
        tensor = tensor.to(memory_format=torch.channels_last)
    torch.nn.functional.batch_norm(tensor, *kept, None, None, training=True, momentum=0.3)
    recipe = next(r for r in CATALOGUE if r.name == f"batch norm, {name}")
    rows = grouped.batch_norm_rows(x, training=True)
    found = running_statistics(recipe.with_parts(torch.get_num_threads()), rows, *old, 0.3)
    assert [np.array_equal(mine, its.numpy()) for mine, its in zip(found, kept, strict=True)] == [True, True]
    again = running_statistics(recipe.with_parts(torch.get_num_threads()), rows, *old, 0.25)
    assert not np.array_equal(again[0], found[0])


def test_names_are_unique_and_sources_given():
    assert len({recipe.name for recipe in CATALOGUE}) == len(CATALOGUE)
    assert len(set(CATALOGUE)) == len(CATALOGUE)
    assert all(recipe.source for recipe in CATALOGUE)


def test_the_grid_has_the_formulas_of_the_catalogue():
    rare = {"fma((x - m) * r, w, 0)", "(x - m) * r * w + 0", "single(1 / sqrt(q / n + eps))"}
    rare |= {"a = r * w; c = -m * a + b; x * a + c"}  # the bits of b - m * a
    formulas = {formula for r in CATALOGUE for formula in (r.root, r.output)}
    assert formulas - rare <= {*ROOTS, *OUTPUTS, *SCALINGS}


def test_chosen_rows_are_those_of_the_whole():
    from reference.recipe_evaluation import evaluate_problem

    chosen = np.array([0, 3, 11])
    for recipe in CATALOGUE:
        if "newton" in recipe.root and not HAS_ESTIMATE:
            continue
        op, params, arrays = problem_of(recipe)
        rows = getattr(grouped, f"{op}_rows")(**arrays, **params)
        whole = evaluate_problem(recipe, Problem(rows, 1e-5))
        some = evaluate_problem(recipe, Problem(rows, 1e-5, chosen))
        for name, values in some.items():
            assert np.array_equal(values, whole[name][chosen]), (recipe.name, name)


def test_what_does_not_fit_is_refused():
    x = np.ones((4, 8), np.float32)
    rows = grouped.layer_norm_rows(x, [8])
    given_recipe = next(r for r in CATALOGUE if r.statistics.method == "given")
    with pytest.raises(ValueError, match="do not fit"):
        evaluate_recipe(given_recipe, rows, 1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        evaluate_recipe(CATALOGUE[0], grouped.rms_norm_rows(x, [8]), 1e-5)
    data = CATALOGUE[0].to_json()
    for wrong in ({**data, "schema": 2}, {k: v for k, v in data.items() if k != "root"}, {"schema": 1}):
        with pytest.raises(ValueError, match="recipe"):
            Recipe.from_json(wrong)
