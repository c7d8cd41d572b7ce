"""Recipes of live kernels: synthetic ones are found again, faults get none, frameworks are replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from precision.cases import load_suite
from precision.orders.norm_probes import FRESH, fresh_arrays, normalized_rows, probes
from precision.orders.norm_reveal import RevealedNorm, replay_norm, reveal_norm
from precision.orders.norm_search import same_bits
from reference.norm_recipes import CATALOGUE, Recipe, evaluate_recipe
from reference.recipe_orders import Order
from reference.recipe_statistics import Statistics, Welford
from reference.root_estimate import HAS_ESTIMATE

pytestmark = pytest.mark.skipif(not HAS_ESTIMATE, reason="the processor has no rsqrtps")

CPU_MODES = (
    "torch.cpu",
    "torch.cpu.threads1",
    "torch.cpu.channels_last",
    "torch.cpu.no_mkldnn",
    "torch.cpu.deterministic",
    "torch.cpu.bf16",
    "torch.cpu.avx2",
    "tensorflow.cpu",
    "tensorflow.cpu.threads1",
    "tensorflow.cpu.no_onednn",
    "tensorflow.cpu.deterministic",
    "tensorflow.cpu.bf16",
    "tensorflow.cpu.avx2",
)


def kernel_of(recipe: Recipe, op: str, params: dict[str, Any], shown: tuple[str, ...] = ()) -> Any:
    """A kernel that computes by a recipe."""

    def kernel(arrays: Any) -> dict[str, Any]:
        rows, eps = normalized_rows(op, arrays, params)
        found = evaluate_recipe(recipe, rows, eps)
        return {name: found[name] for name in ("output", *shown)}

    return kernel


def problem_of(recipe: Recipe) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An op, its parameters and arrays for which a recipe is one; the arrays' values are never read."""
    how = recipe.statistics
    weight = np.zeros(20, np.float32)
    arrays = {"input": np.zeros((5, 20, 9, 11), np.float32), "weight": weight, "bias": weight}
    if how.method == "given":
        return "batch_norm", {"training": False}, {**arrays, "running_mean": weight, "running_var": weight}
    if how.method == "mean square":
        wide = {"input": np.zeros((30, 150), np.float32), "weight": np.zeros(150, np.float32)}
        return "rms_norm", {"normalized_shape": [150]}, wide
    if "alone" in recipe.name or "layer" in recipe.name or "row" in recipe.name:
        wide = {"input": np.zeros((30, 150), np.float32)}
        missing = {"layer norm, weight alone": "bias", "layer norm, bias alone": "weight"}
        named = missing.get(recipe.name.removesuffix(", no FMA"), "")
        wide |= {name: np.zeros(150, np.float32) for name in ("weight", "bias") if name != named}
        return "layer_norm", {"normalized_shape": [150]}, wide
    if how.elements == "pixels" or "group" in recipe.name:
        if "not affine" in recipe.name:
            del arrays["weight"], arrays["bias"]
        return "group_norm", {"num_groups": 5}, arrays
    return "batch_norm", {"training": True}, arrays


PLANTED = [recipe for recipe in CATALOGUE if not recipe.name.endswith("not affine, no FMA")]


@pytest.mark.parametrize("shown", [(), ("mean", "rstd")], ids=["output", "statistics"])
@pytest.mark.parametrize("recipe", PLANTED, ids=lambda recipe: recipe.name)
def test_a_kernel_made_from_a_recipe_is_revealed_as_itself(recipe, shown):
    op, params, arrays = problem_of(recipe)
    planted = recipe.with_parts(3)
    shown = () if recipe.statistics.method in ("given", "mean square") else shown
    found = reveal_norm(kernel_of(planted, op, params, shown), op, arrays, params)
    assert found.recipe == planted, found.words()
    assert found.alternatives == ()
    assert found.evidence == "proved"
    assert set(found.shares) == set(FRESH)
    assert set(found.shares.values()) == {1.0}
    assert [stage.name for stage in found.stages] == ["statistics", "inverse root", "last formula"]


ONE_PASS = "maximum(q / n - m * m, 0)"
OP, PARAMS = "batch_norm", {"training": True}
ARRAYS = {
    "input": np.zeros((4, 20, 9, 11), np.float32),
    "weight": np.zeros(20, np.float32),
    "bias": np.zeros(20, np.float32),
}
BASE = CATALOGUE[0]


def reveal(kernel: Any) -> RevealedNorm:
    found = reveal_norm(kernel, OP, ARRAYS, PARAMS)
    assert json.loads(json.dumps(found.to_json()))["schema"] == 1
    return found


@pytest.mark.parametrize("shown", [(), ("mean", "rstd")], ids=["output", "statistics"])
@pytest.mark.parametrize(
    "recipe",
    [
        replace(BASE, output="(x - m) * (r * w) + b", root="newton(v + e)"),
        replace(BASE, statistics=Statistics("two-pass", Order("packs", lanes=16))),
        replace(BASE, statistics=Statistics("one-pass", Order("sequential"), variance=ONE_PASS)),
        replace(BASE, statistics=Statistics("Welford", Welford(16))),
    ],
    ids=["formula", "order", "one-pass", "lanes"],
)  # fmt: skip
def test_a_kernel_outside_the_catalogue_is_put_together_from_parts(recipe, shown):
    found = reveal(kernel_of(recipe, OP, PARAMS, shown))
    assert found.recipe is not None, found.reason
    assert found.recipe.name == "combination"
    assert found.recipe.statistics == recipe.statistics
    assert (found.recipe.root, found.recipe.output) == (recipe.root, recipe.output)
    assert found.alternatives == ()


def changed(change: Any, shown: tuple[str, ...] = ()) -> Any:
    """A kernel whose answer, or whose recipe, is changed by the arrays that it gets."""

    def kernel(arrays: Any) -> dict[str, Any]:
        return dict(change(arrays, kernel_of(BASE, OP, PARAMS, shown)(arrays)))

    return kernel


def other_eps(arrays: Any, found: Any) -> Any:
    return kernel_of(BASE, OP, {**PARAMS, "eps": 1.001e-5})(arrays)


def drops_a_term(arrays: Any, found: Any) -> Any:
    x = arrays["input"].copy()
    x[0, :, 0, 0] = x[0, :, 0, 1]
    rows, eps = normalized_rows(OP, {**arrays, "input": x}, PARAMS)
    statistics = evaluate_recipe(BASE, rows, eps)
    mean, rstd = (statistics[name][:, None, None] for name in ("mean", "rstd"))
    weight, bias = (arrays[name][:, None, None] for name in ("weight", "bias"))
    return {"output": (arrays["input"] - mean) * rstd * weight + bias}


def order_by_the_data(arrays: Any, found: Any) -> Any:
    recipe = CATALOGUE[1] if arrays["input"].sum() > 0 else BASE
    other = replace(BASE, statistics=Statistics("two-pass", Order("packs")))
    chosen = other if arrays["input"].reshape(-1)[0] > 0 else recipe
    return kernel_of(chosen, OP, PARAMS)(arrays)


def one_bit(arrays: Any, found: Any) -> Any:
    output = found["output"]
    output.reshape(-1)[-1] = np.nextafter(output.reshape(-1)[-1], np.float32(np.inf))
    return {**found, "output": output}


def unbiased(arrays: Any, found: Any) -> Any:
    how = replace(BASE.statistics, variance="q / (n - 1)")
    return kernel_of(replace(BASE, statistics=how), OP, PARAMS)(arrays)


def wrong_order_of_axes(arrays: Any, found: Any) -> Any:
    turned = np.ascontiguousarray(arrays["input"].transpose(0, 1, 3, 2))
    output = kernel_of(BASE, OP, PARAMS)({**arrays, "input": turned})["output"]
    return {"output": np.ascontiguousarray(output.transpose(0, 1, 3, 2))}


@pytest.mark.parametrize(
    "change", [other_eps, drops_a_term, order_by_the_data, one_bit, unbiased, wrong_order_of_axes]
)
def test_a_planted_fault_gets_no_recipe_but_a_reason(change):
    found = reveal(changed(change))
    assert found.recipe is None
    assert found.evidence == "none"
    assert "no recipe predicts every bit" in found.reason
    assert "\n" not in found.reason
    assert found.shares == {} or min(found.shares.values()) < 1.0


def test_a_wrong_statistic_is_no_match_although_the_output_is():
    def wrong_mean(arrays: Any, found: Any) -> Any:
        return {**found, "mean": np.nextafter(found["mean"], np.float32(np.inf))}

    assert reveal(changed(wrong_mean, ("mean", "rstd"))).recipe is None


def test_known_last_formula_with_unknown_statistics_is_said():
    def shifted(arrays: Any, found: Any) -> Any:
        rows, eps = normalized_rows(OP, arrays, PARAMS)
        x = rows.x.astype(np.float64)
        mean = np.float32(x.mean(axis=1) + 1e-3)
        rstd = np.float32(1.0 / np.sqrt(x.var(axis=1) + eps))
        y = (rows.x - mean[:, None]) * rstd[:, None] * rows.weight[:, None] + rows.bias[:, None]
        return {"output": rows.restore(y), "mean": mean, "rstd": rstd}

    found = reveal(changed(shifted))
    assert found.recipe is None
    assert found.stages[0].found == "y = (x - m) * r * w + b"
    assert "statistics are not" in found.reason


def test_answers_that_no_recipe_can_give_are_refused_with_a_line():
    calls: list[int] = []

    def restless(arrays: Any, found: Any) -> Any:
        calls.append(1)
        return {"output": found["output"] + np.float32(len(calls) % 2)}

    def with_nan(arrays: Any, found: Any) -> Any:
        found["output"].reshape(-1)[3] = np.nan
        return found

    cases = {
        "differ": restless,
        "NaN": with_nan,
        "float32": lambda arrays, found: {"output": found["output"].astype(np.float64)},
        "shape": lambda arrays, found: {"output": found["output"][:1]},
        "one number a row": lambda arrays, found: {**found, "mean": np.zeros(3, np.float32)},
    }
    for words, change in cases.items():
        found = reveal(changed(change))
        assert found.recipe is None
        assert words in found.reason
        assert "\n" not in found.reason


def test_other_ops_and_arrays_that_do_not_fit_raise():
    with pytest.raises(ValueError, match="normalization"):
        reveal_norm(lambda arrays: {}, "conv2d", {"input": ARRAYS["input"], "weight": ARRAYS["input"]}, {})
    with pytest.raises(ValueError, match="normalized_shape"):
        reveal_norm(lambda arrays: {}, "layer_norm", {"input": ARRAYS["input"]}, {})


def test_probes_are_finite_and_of_the_given_shapes_and_reach_what_they_tell():
    found = {probe.name: probe.arrays for probe in probes(OP, ARRAYS, {**PARAMS, "eps": 1e-5})}
    for arrays in found.values():
        assert {name: a.shape for name, a in arrays.items()} == {name: a.shape for name, a in ARRAYS.items()}
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in arrays.values())
    rows, _ = normalized_rows(OP, found["masks of 2^60"], PARAMS)
    assert np.all((rows.x == 2.0**60).sum(axis=1) == 1)
    assert np.all((rows.x == -(2.0**60)).sum(axis=1) == 1)
    output = replay_norm(BASE, OP, found["cancelled bias"], PARAMS)
    assert np.mean(np.abs(output) < 1e-5) > 0.2  # the bias cancels what it is added to
    again = fresh_arrays(ARRAYS, "offset", "key")
    assert abs(again["input"].mean() - 1000.0) < 1.0
    assert np.array_equal(again["input"], fresh_arrays(ARRAYS, "offset", "key")["input"])


# --- frameworks


def torch_kernel(op: str, params: dict[str, Any], channels_last: bool = False, shown: bool = True) -> Any:
    import torch

    from precision.frameworks import torch_backend, torch_norms

    def kernel(arrays: Any) -> dict[str, Any]:
        memory = "channels_last" if channels_last else "contiguous"
        torch_backend.configure("cpu", {"memory_format": memory})
        try:
            found = torch_norms.statistics(op, params, arrays) if shown else {}
            return {**found, "output": torch_backend.run(op, params, arrays)}
        finally:
            torch_backend.configure("cpu", {"memory_format": "contiguous"})

    assert torch.__version__
    return kernel


def shaped(shape: tuple[int, ...], count: int) -> dict[str, Any]:
    return {
        "input": np.zeros(shape, np.float32),
        **{n: np.zeros(count, np.float32) for n in ("weight", "bias")},
    }


TORCH = [
    ("batch_norm", {"training": True}, (4, 16, 12, 13), 16, False, "batch norm, planes"),
    ("batch_norm", {"training": True}, (4, 16, 12, 13), 16, True, "batch norm, columns"),
    ("batch_norm", {"training": True}, (64, 20), 20, False, "batch norm, columns"),
    ("instance_norm", {}, (3, 10, 12, 13), 10, False, "batch norm, planes"),
    ("group_norm", {"num_groups": 4}, (3, 20, 12, 13), 20, False, "group norm, planes"),
    ("group_norm", {"num_groups": 4}, (3, 20, 12, 13), 20, True, "group norm, channels in lanes"),
    ("group_norm", {"num_groups": 4}, (3, 20, 35, 33), 20, True, "group norm, channel by channel"),
    ("layer_norm", {"normalized_shape": [300]}, (40, 300), 300, False, "layer norm"),
]


@pytest.mark.parametrize("shown", [True, False], ids=["statistics", "output"])
@pytest.mark.parametrize(("op", "params", "shape", "count", "channels_last", "name"), TORCH)
def test_torch_is_revealed_in_process(op, params, shape, count, channels_last, name, shown):
    params = {**params, "eps": 1e-5}
    kernel = torch_kernel(op, params, channels_last, shown)
    found = reveal_norm(kernel, op, shaped(shape, count), params)
    assert found.recipe is not None, found.reason
    # A build or processor without FMA takes the same kernels.
    assert found.recipe.name.removesuffix(", no FMA") == name
    assert set(found.shares.values()) == {1.0}


def test_torch_without_statistics_and_without_affine():
    wide = {"input": np.zeros((40, 300), np.float32)}
    weight = {"weight": np.zeros(300, np.float32)}
    params = {"normalized_shape": [300], "eps": 1e-5}
    found = reveal_norm(torch_kernel("rms_norm", params, shown=False), "rms_norm", {**wide, **weight}, params)
    assert found.recipe is not None
    assert found.recipe.name == "RMS norm, cascade"
    for arrays in (wide, {**wide, **weight}, {**wide, "bias": weight["weight"]}):
        found = reveal_norm(torch_kernel("layer_norm", params, shown=False), "layer_norm", arrays, params)
        assert found.recipe is not None, (sorted(arrays), found.reason)
    planes = {"input": np.zeros((3, 20, 12, 13), np.float32)}
    params = {"num_groups": 4, "eps": 1e-5}
    found = reveal_norm(torch_kernel("group_norm", params, shown=False), "group_norm", planes, params)
    assert found.recipe is not None, found.reason


def test_a_driver_says_where_it_returns_no_statistics():
    from precision.errors import CannotRun
    from precision.frameworks import torch_norms

    x = np.ones((4, 8), np.float32)
    with pytest.raises(CannotRun, match="rms_norm"):
        torch_norms.statistics("rms_norm", {"normalized_shape": [8], "eps": 1e-5}, {"input": x})


def replayed(run, framework):
    """For each normalization of the default suite: its recipe, and the share of its data replayed."""
    found: dict[str, tuple[RevealedNorm, float]] = {}
    kernels: dict[str, RevealedNorm] = {}
    for case in load_suite("default"):
        if case.family == "normalization":
            params, arrays = case.call(framework, "data"), case.make("data")

            def kernel(given, op=case.op, params=params):
                return {"output": run(op, params, given)}

            shapes = {name: array.shape for name, array in arrays.items()}
            key = f"{case.op} {params} {shapes}"
            if key not in kernels:
                kernels[key] = reveal_norm(kernel, case.op, arrays, params)
            share = 0.0
            if (recipe := kernels[key].recipe) is not None:
                replay = replay_norm(recipe, case.op, arrays, params)
                share = float(same_bits(run(case.op, params, arrays), replay).mean())
            found[case.id] = kernels[key], share
    return found


def test_nan_that_a_recipe_predicts_is_explained():
    one_pass = next(r for r in CATALOGUE if r.name == "batch norm, one-pass, estimated root")
    arrays = shaped((8, 12, 28, 28), 12)
    found = reveal_norm(kernel_of(one_pass, OP, PARAMS), OP, arrays, PARAMS)
    assert found.recipe == one_pass
    outputs = [replay_norm(one_pass, OP, probe.arrays, PARAMS) for probe in probes(OP, arrays, PARAMS)]
    assert any(np.isnan(output).any() for output in outputs)


@pytest.mark.slow
def test_what_is_known_of_xla_is_replayed_and_the_rest_gets_no_recipe():
    from precision.live import Live

    with Live("tensorflow.cpu.xla") as live:
        found = replayed(live.run, "tensorflow")
    unknown = {case for case, (revealed, _) in found.items() if revealed.recipe is None}
    assert unknown <= {"group-norm", "group-norm-offset"}
    assert {share for case, (_, share) in found.items() if case not in unknown} == {1.0}


@pytest.mark.slow
@pytest.mark.parametrize("mode", CPU_MODES)
def test_every_normalization_of_the_default_suite_is_replayed_in_every_eager_cpu_mode(mode):
    from precision.errors import CannotRun
    from precision.live import Live

    try:
        live = Live(mode)
    except CannotRun as reason:
        pytest.skip(str(reason))
    with live:
        found = replayed(live.run, mode.split(".")[0])
    assert len(found) == 14
    assert {case: revealed.reason for case, (revealed, share) in found.items() if share != 1.0} == {}
