"""Accumulation is proved by the order that gives the output's bits, and by no other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import from_numpy as t

from precision.judging.case_folder import Case
from precision.judging.case_judge import Judge
from precision.orders.known import BIAS, Order, more_cuts, other_trees, plain_cuts, walks
from precision.orders.match_boxes import box_of
from precision.orders.match_kernels import chain_sums
from precision.orders.norm_reveal import replay_norm
from precision.orders.search import reveal_run
from precision.orders.sum_kernel import SumKernel
from reference import evaluate
from reference.norm_recipes import CATALOGUE
from reference.orders import blocked, sequential
from reference.replay import replay
from reference.tensorcore import matmul, unit_of
from reference.tree import Run, Series, SummationTree

K, ROWS, FILTERS = 96, 24, 40


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(seed=0, rows=ROWS, terms=K):
    return {
        "input": drawn(seed, rows, terms),
        "weight": drawn(seed + 1, FILTERS, terms),
        "bias": drawn(2, FILTERS),
    }


def added(tree, arrays):
    return replay(tree, arrays["input"], np.ascontiguousarray(arrays["weight"].T), arrays["bias"])


def explained(op, arrays, output, order=None, **params):
    return Judge(Case(op, params, arrays, {})).explained("output", output, order)


def accumulation(found):
    (cause,) = [each for each in found.causes if each.cause == "accumulation"]
    return cause


def shuffled(seed, terms=K, bias=True):
    """A tree that no library has: random leaves in chains of random length."""
    rng = np.random.default_rng(seed)
    leaves = rng.permutation(terms).tolist()
    cuts = sorted(rng.choice(np.arange(1, terms), 3, replace=False).tolist())
    parts = [Series((Run(tuple(part)),)) for part in np.split(np.array(leaves), cuts)]
    parts = [Series((Run(tuple(int(k) for k in part.items[0].leaves)),)) for part in parts]
    return SummationTree(Series((parts[0].items[0], *parts[1:], Run((terms,)))), terms, bias)


def ulp_up(output, index):
    changed = output.copy()
    changed[index] = np.nextafter(changed[index], np.float32(np.inf))
    return changed


KNOWN = {
    "a chain": (sequential(K, bias="last"), "an FMA chain over 96 terms; bias last"),
    "rounded products": (
        sequential(K, False, "first"),
        "a chain of rounded products over 96 terms; starting",
    ),
    "blocks": (blocked(K, 40, "after_first"), "3 blocks of 40 terms (the last of 16)"),
    "backwards": (blocked(K, 24, "last"), "4 blocks of 24 terms"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_order_is_proved_and_named(name):
    tree, words = KNOWN[name]
    found = explained("linear", layer(), added(tree, layer()))
    cause = accumulation(found)
    assert (found.verdict, cause.evidence) == ("rounding", "proved")
    assert words in cause.detail
    assert "all 960 outputs, bit for bit" in cause.detail
    assert found.parts.evidence["accumulation"] == "proved"
    assert not found.parts.part("unexplained").any()
    assert math.fsum(each.share for each in found.causes) == pytest.approx(1.0, abs=1e-9)


def test_one_ulp_is_not_explained_by_the_order():
    output = added(KNOWN["blocks"][0], layer())
    for index in ((0, 0), (5, 7), (ROWS - 1, FILTERS - 1)):
        found = explained("linear", layer(), ulp_up(output, index))
        assert accumulation(found).evidence == "bounded"
        assert "959 of 960 outputs" in accumulation(found).detail
        rest = found.parts.part("unexplained")
        assert np.argwhere(rest).tolist() == [list(index)]
        (left,) = [each for each in found.causes if each.cause == "unexplained"]
        assert left.evidence == "none"
        assert f"the first at {list(index)}" in left.detail


@pytest.mark.parametrize("seed", range(6))
def test_an_order_that_is_not_known_is_never_proved(seed):
    found = explained("linear", layer(seed), added(shuffled(seed), layer(seed)))
    assert found.verdict == "rounding"
    assert accumulation(found).evidence == "bounded"
    assert found.parts.evidence["accumulation"] == "bounded"


def test_a_few_outputs_prove_nothing():
    arrays = {**layer(rows=1), "weight": drawn(1, 2, K), "bias": drawn(2, 2)}
    found = explained("linear", arrays, added(sequential(K, bias="last"), arrays))
    assert found.verdict in ("rounding", "exact")
    assert all(each.evidence != "proved" for each in found.causes if each.cause == "accumulation")


def test_rows_may_follow_another_order():
    arrays = layer()
    output = added(blocked(K, 48, "last"), arrays)
    output[20:] = added(sequential(K, False, "last"), arrays)[20:]
    found = explained("linear", arrays, output)
    assert accumulation(found).evidence == "proved"
    assert "rows 0 to 19: 2 blocks of 48 terms" in accumulation(found).detail
    assert "rows 20 to 23: a chain of rounded products" in accumulation(found).detail
    # Outputs here and there are no rows: nothing is chosen for each output.
    mixed = np.where(
        np.random.default_rng(0).random(output.shape) < 0.5, output, added(KNOWN["blocks"][0], arrays)
    )
    assert accumulation(explained("linear", arrays, mixed)).evidence == "bounded"


@pytest.mark.parametrize("index", [(4, 7), (22, 30), (23, 39)])
def test_one_ulp_keeps_its_place_where_orders_hold_on_boxes(index):
    arrays = layer()
    output = added(blocked(K, 48, "last"), arrays)
    output[20:] = added(sequential(K, False, "last"), arrays)[20:]
    found = explained("linear", arrays, ulp_up(output, index))
    assert accumulation(found).evidence == "bounded"
    assert np.argwhere(found.parts.part("unexplained")).tolist() == [list(index)]
    (left,) = [each for each in found.causes if each.cause == "unexplained"]
    assert f"the first at {list(index)}" in left.detail


def test_an_order_that_was_revealed_comes_first():
    tree, arrays = shuffled(3, 12), layer(terms=12)
    shapes = {name: array.shape for name, array in arrays.items()}
    order = reveal_run(lambda given: added(tree, given), "linear", shapes, {})
    assert order.proved
    output = added(tree, arrays)
    found = explained("linear", arrays, output, order)
    assert accumulation(found).evidence == "proved"
    assert "the revealed order gives all 960 outputs" in accumulation(found).detail
    changed = explained("linear", arrays, ulp_up(output, (3, 4)), order)
    assert accumulation(changed).evidence == "bounded"
    assert "in this order" in accumulation(changed).detail
    assert np.argwhere(changed.parts.part("unexplained")).tolist() == [[3, 4]]
    # The known ones are tried where the revealed one fails.
    known = explained("linear", arrays, added(sequential(12, bias="last"), arrays), order)
    assert accumulation(known).evidence == "proved"
    left, right = drawn(0, 4, 50), drawn(1, 50, 6)
    with pytest.raises(ValueError, match="the op that it was revealed for"):
        explained("matmul", {"input": left, "other": right}, left @ right, order)


def test_integers_fit_every_order():
    arrays = {name: np.round(array) for name, array in layer().items()}
    arrays["bias"] += np.float32(2.0**-20)  # the sum is exact in any order, its last rounding apart
    output = added(sequential(K, bias="last"), arrays)
    assert explained("linear", arrays, output).verdict == "exact"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_of_a_framework(layout, groups):
    arrays = {
        "input": drawn(1, 2, 32, 10, 9),
        "weight": drawn(2, 24, 32 // groups, 3, 3),
        "bias": drawn(3, 24),
    }
    output = F.conv2d(*(t(a) for a in arrays.values()), padding=1, groups=groups).numpy()
    params = {"padding": 1, "groups": groups, "layout": layout}
    if layout == "NHWC":
        arrays["input"] = np.ascontiguousarray(np.moveaxis(arrays["input"], 1, -1))
        arrays["weight"] = np.ascontiguousarray(arrays["weight"].transpose(2, 3, 1, 0))
        output = np.ascontiguousarray(np.moveaxis(output, 1, -1))
    found = explained("conv2d", arrays, output, **params)
    assert accumulation(found).evidence == "proved", accumulation(found).detail
    assert "kernel row" in accumulation(found).detail


def test_a_planted_difference_and_its_order_are_both_proved():
    arrays = {"input": drawn(1, 2, 8, 10, 9), "weight": drawn(2, 24, 8, 3, 3)}
    output = F.conv2d(*(t(a) for a in arrays.values()), padding=0).numpy()
    padded = np.pad(output, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert explained("conv2d", arrays, padded, padding=1).verdict != "rounding"
    shifted = F.conv2d(F.pad(t(arrays["input"]), (0, 2, 0, 2)), t(arrays["weight"])).numpy()
    found = explained("conv2d", arrays, shifted, padding=1)
    assert (found.verdict, found.causes[0].parameter) == ("semantics", "padding")
    assert accumulation(found).evidence == "proved"
    parts = found.parts
    assert parts.part("semantics").any()
    assert np.array_equal(parts.error, parts.levels[-1].minus(parts.levels[0]))


@pytest.mark.parametrize(("architecture", "kind"), [("hopper", "tf32"), ("ampere", "bf16")])
def test_tensor_cores(architecture, kind):
    arrays = layer()
    right = np.ascontiguousarray(arrays["weight"].T)
    unit = unit_of(architecture, kind)
    output = matmul(arrays["input"], right, unit, operand_rounding="RNE", c=arrays["bias"])
    found = explained("linear", arrays, output)
    assert found.causes[0].cause == "operand rounding"
    assert accumulation(found).evidence == "proved"
    assert f"cut to {unit.fraction_bits} bits" in accumulation(found).detail
    assert found.parts.part("operand rounding").any()
    assert not found.parts.part("semantics").any()


NORMS = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, [96], w, b), {"normalized_shape": [96]}),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), {"training": True}),
}


@pytest.mark.parametrize("op", NORMS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_recipes_of_normalizations(op, offset):
    call, params = NORMS[op]
    x = drawn(1, 64, 96) + np.float32(offset)
    arrays = {"input": x, "weight": drawn(2, 96), "bias": drawn(3, 96)}
    output = call(*(t(a) for a in arrays.values())).numpy()
    found = explained(op, arrays, output, **params)
    assert (found.verdict, accumulation(found).evidence) == ("rounding", "proved")
    changed = explained(op, arrays, ulp_up(output, (9, 9)), **params)
    assert accumulation(changed).evidence != "proved"
    assert np.argwhere(changed.parts.part("unexplained")).tolist() == [[9, 9]]


def named(name, **changes):
    return replace(next(recipe for recipe in CATALOGUE if recipe.name == name), **changes)


@pytest.mark.parametrize("op", ["layer_norm", "batch_norm"])
def test_a_recipe_that_leaves_the_bias_out_is_not_of_the_declared_function(op, monkeypatch):
    arrays = {"input": drawn(1, 16, 64), "weight": drawn(2, 64), "bias": drawn(3, 64) * np.float32(2.0)}
    params = {"normalized_shape": [64]} if op == "layer_norm" else {"training": True}
    bare = {name: array for name, array in arrays.items() if name != "bias"}
    recipe = named("layer norm, weight alone") if op == "layer_norm" else None
    output = evaluate(op, bare, params).round(np.float32)
    if recipe is not None:
        output = replay_norm(recipe, op, bare, params)
        assert explained(op, bare, output, **params).verdict == "rounding"
    for _ in range(2):
        found = explained(op, arrays, output, **params)
        assert (found.verdict, found.causes[0].parameter) == ("semantics", "affine")
        # Also where such a recipe is tried all the same: the bound of the declared function refuses it.
        monkeypatch.setattr("precision.orders.match_norms._declared", lambda *_: True)


def test_a_bias_too_small_for_the_bound_is_not_left_out_of_a_proof():
    arrays = {"input": drawn(1, 64, 64), "weight": drawn(2, 64), "bias": drawn(3, 64) * np.float32(1e-8)}
    bare = {name: array for name, array in arrays.items() if name != "bias"}
    params = {"normalized_shape": [64]}
    output = replay_norm(named("layer norm, weight alone"), "layer_norm", bare, params)
    found = explained("layer_norm", arrays, output, **params)
    assert accumulation(found).evidence != "proved"


def test_a_variance_in_one_pass_is_an_algorithm():
    recipe = named("group norm, channels in lanes")
    arrays, params = {"input": drawn(1, 8, 12, 5, 5) + np.float32(3)}, {"num_groups": 3}
    found = explained(
        "group_norm", arrays, replay_norm(recipe, "group_norm", arrays, params), recipe, **params
    )
    assert (found.verdict, accumulation(found).evidence) == ("rounding", "proved")
    (cause,) = [each for each in found.causes if each.cause == "algorithm"]
    assert cause.evidence == "proved"
    assert cause.share > 0.5
    assert found.parts.part("algorithm").any()


def test_a_variance_in_one_pass_that_comes_out_negative_is_semantics():
    recipe = named("batch norm, one-pass, estimated root", root="1 / sqrt(v + e)")
    arrays = {"input": drawn(1, 8, 12, 5, 5) * np.float32(0.05) + np.float32(1000)}
    output = replay_norm(recipe, "batch_norm", arrays, {"training": True})
    wild = int(np.isnan(output).sum())
    assert 0 < wild < output.size
    found = explained("batch_norm", arrays, output, recipe, training=True)
    first = found.causes[0]
    assert (found.verdict, first.parameter, first.evidence) == ("semantics", "variance", "proved")
    assert first.found == f"one pass in float32: NaN or Inf in {wild:,} of {output.size:,} outputs"
    (cause,) = [each for each in found.causes if each.cause == "algorithm"]
    assert cause.share > 0.9
    # A NaN more is no NaN of that recipe.
    output[tuple(np.argwhere(np.isfinite(output))[0])] = np.nan
    other = explained("batch_norm", arrays, output, recipe, training=True)
    assert all(each.parameter != "variance" or each.evidence != "proved" for each in other.causes)
    assert all(each.evidence != "proved" for each in other.causes if each.cause == "accumulation")


def test_a_variance_in_one_pass_that_is_swamped_is_no_rounding():
    recipe = named("group norm, channels in lanes")
    arrays = {"input": drawn(1, 8, 12, 5, 5) + np.float32(5000)}
    output = replay_norm(recipe, "group_norm", arrays, {"num_groups": 3})
    assert np.isfinite(output).all()
    found = explained("group_norm", arrays, output, recipe, num_groups=3)
    first = found.causes[0]
    assert (found.verdict, first.parameter, first.evidence) == ("semantics", "variance", "proved")
    assert first.found.startswith("one pass in float32: off by up to ")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_candidates_are_the_trees_that_they_are_called(data):
    axes = data.draw(
        st.sampled_from([(("term", 37),), (("input channel", 6), ("kernel row", 3), ("kernel column", 2))])
    )
    sizes = [size for _, size in axes]
    terms = math.prod(sizes)
    walk = data.draw(st.sampled_from(walks(axes)))
    cuts = data.draw(st.sampled_from([*plain_cuts(terms, sizes), *more_cuts(terms, sizes)]))
    left, right, bias = drawn(1, terms, 4), drawn(2, terms, 4), drawn(3, 4)
    out, room = np.empty((3, 4), np.float32), np.empty((cuts.lanes + 3, 4), np.float32)
    chain_sums(
        left, right, walk, bias, cuts.starts, cuts.opens, cuts.lanes, cuts.halves, cuts.fused, room, out
    )
    for place, name in enumerate(BIAS[: 2 if cuts.lanes > 1 else 3]):
        tree = Order(walk, cuts, name).tree(axes)
        wanted = np.diag(replay(tree, np.ascontiguousarray(left.T), right, bias))
        assert np.array_equal(out[place], wanted), (name, cuts)


def test_every_walk_and_tree_has_each_term_once():
    axes = (("input channel", 12), ("kernel row", 3), ("kernel column", 3))
    for walk in walks(axes):
        assert sorted(walk.tolist()) == list(range(108))
    trees = list(other_trees(axes, True))
    assert len(trees) > 100
    assert all(tree.count == 109 for tree in trees)


def test_boxes():
    kernel = SumKernel("linear", {}, {"input": (20, 3), "weight": (10, 3)}, lambda arrays: arrays["input"])
    (part,) = kernel.parts
    everything = np.ones((part.channels, part.positions), np.bool_)
    equal = everything.copy()
    equal[:, 17:] = False
    assert box_of(part, equal, everything).sum() == 170
    equal[3, 4] = False
    assert box_of(part, equal, everything) is None or not box_of(part, equal, everything)[3, 4]
    checkered = (np.indices(equal.shape).sum(axis=0) % 2).astype(np.bool_)
    assert box_of(part, checkered, everything) is None
