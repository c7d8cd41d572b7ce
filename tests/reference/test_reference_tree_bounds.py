"""Roundings on the way of a term, and bounds that no replay may exceed."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reference.orders import blocked, pairwise, sequential
from reference.replay import operands_of, replay
from reference.running_bound import running_bound
from reference.tree import Fused, Run, SummationTree, chain
from reference.tree_bounds import additions, depth_statistics, depths, order_bound

sys.path.insert(0, str(Path(__file__).parent))  # the oracle is a plain module beside the tests
from tree_oracle import data, trees


def test_depths_by_hand():
    assert depths(sequential(4)).tolist() == [4, 3, 2, 1]
    assert depths(sequential(4, fused=False)).tolist() == [4, 4, 3, 2]
    assert depths(sequential(3, bias="last")).tolist() == [4, 3, 2, 1]
    assert depths(sequential(3, bias="first")).tolist() == [3, 2, 1, 3]
    assert depths(blocked(4, 2, "after_first")).tolist() == [4, 3, 3, 2, 2]
    assert depths(pairwise(4, fused=False)).tolist() == [3, 3, 3, 3]
    assert depths(SummationTree(chain([2, 0]), 3)).tolist() == [1, -1, 2]
    assert depths(SummationTree(Fused((Fused((Run((0, 1)),)), Run((2,)))), 3)).tolist() == [2, 2, 1]
    assert depths(replace(sequential(3), accumulator="binary64")).tolist() == [3, 3, 2]
    assert additions(sequential(4, bias="last")) == 4
    assert additions(SummationTree(Fused((Fused((Run((0, 1)),)), Run((2,)))), 3)) == 2
    found = depth_statistics(blocked(6400, 400, "after_first"))
    assert (found.smallest, found.largest) == (2, 416)
    assert found.mean == pytest.approx(depths(blocked(6400, 400, "after_first")).mean())


def exact_sums(tree: SummationTree, left, right, bias) -> np.ndarray:
    """Object array of the exact sums of the products of the operands as the tree takes them."""
    a, b = operands_of(tree, left), operands_of(tree, right)
    used = np.flatnonzero(depths(tree)[: tree.leaves] >= 0)
    with_bias = tree.bias and depths(tree)[tree.leaves] >= 0
    out = np.empty((a.shape[0], b.shape[1]), object)
    for p, c in np.ndindex(*out.shape):
        total = sum((Fraction(float(a[p, k])) * Fraction(float(b[k, c])) for k in used), Fraction(0))
        out[p, c] = total + (Fraction(float(bias[c])) if with_bias else 0)
    return out


def excess(tree: SummationTree, left, right, bias, scale: float = 1.0, of=order_bound) -> float:
    """Largest error over the bound."""
    found, bound = replay(tree, left, right, bias), scale * of(tree, left, right, bias)
    exact = exact_sums(tree, left, right, bias)
    worst = 0.0
    for place in np.ndindex(*found.shape):
        error = abs(Fraction(float(found[place])) - exact[place])
        if error:
            worst = max(worst, float(error / Fraction(float(bound[place]))))
    return worst


@settings(max_examples=250, deadline=None)
@given(trees(), st.sampled_from(["normal", "wide", "tiny", "cancelling"]), st.integers(0, 2**32 - 1))
def test_no_error_exceeds_the_bound(tree, kind, seed):
    rng = np.random.default_rng(seed)
    if tree.operands == "binary16" and kind == "wide":
        kind = "normal"  # it overflows
    left, right = data(rng, kind, (2, tree.leaves)), data(rng, kind, (tree.leaves, 3))
    bias = data(rng, kind, (3,))
    if np.isfinite(replay(tree, left, right, bias)).all():
        assert excess(tree, left, right, bias) <= 1.0


@pytest.mark.parametrize("tree", [sequential(30), pairwise(32, fused=False), blocked(30, 7, None)])
def test_the_bound_is_not_far_from_the_errors(tree):
    rng = np.random.default_rng(0)
    shapes = (1, tree.leaves), (tree.leaves, 1)
    worst = max(
        excess(tree, *(data(rng, "normal", shape) for shape in shapes), np.zeros(1)) for _ in range(200)
    )
    assert 0.01 < worst <= 1.0


def test_the_check_sees_a_bound_that_is_too_small():
    """Every product falls just short of half a unit of 1, so a chain loses them all: half of the bound."""
    left = np.ones((1, 1000), np.float32)
    right = np.full((1000, 1), 2.0**-24 * (1 - 2.0**-20), np.float32)
    right[0] = 1.0
    assert 0.45 < excess(sequential(1000), left, right, np.zeros(1)) <= 1.0
    assert excess(sequential(1000), left, right, np.zeros(1), 0.4) > 1.0


def test_truncation_is_in_the_bound():
    item = Fused((Run(tuple(range(8))),), 24, "RZ")
    for k in range(8, 64, 8):
        item = Fused((item, Run(tuple(range(k, k + 8)))), 24, "RZ")
    tree = SummationTree(item, 64, operands="tf32")
    rng = np.random.default_rng(4)
    left, right = (np.abs(data(rng, "normal", shape)) for shape in ((8, 64), (64, 8)))
    assert 0.01 < excess(tree, left, right, np.zeros(8)) <= 1.0
    exact = replace(tree, root=Fused((Run(tuple(range(64))),)))
    assert excess(exact, left, right, np.zeros(8)) <= 1.0
    assert order_bound(exact, left, right).max() < order_bound(tree, left, right).min() / 4


def test_a_tree_of_little_depth_has_the_smaller_bound():
    rng = np.random.default_rng(0)
    left, right = data(rng, "normal", (3, 256)), data(rng, "normal", (256, 4))
    bounds = [
        order_bound(tree, left, right) for tree in (pairwise(256), blocked(256, 16, None), sequential(256))
    ]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()
    sizes = np.abs(left).astype(float) @ np.abs(right).astype(float)
    assert (bounds[2] <= 256 * 2.0**-24 / (1 - 256 * 2.0**-24) * sizes * 1.0001).all()


@settings(max_examples=150, deadline=None)
@given(trees(), st.sampled_from(["normal", "wide", "tiny", "cancelling"]), st.integers(0, 2**32 - 1))
def test_no_error_exceeds_the_running_bound(tree, kind, seed):
    assume("Fused(" not in repr(tree.root))
    tree = replace(tree, accumulator="binary32", flush=False)
    rng = np.random.default_rng(seed)
    left, right = data(rng, kind, (2, tree.leaves)), data(rng, kind, (tree.leaves, 3))
    bias = data(rng, kind, (3,))
    if np.isfinite(replay(tree, left, right, bias)).all():
        assert excess(tree, left, right, bias, of=running_bound) <= 1.0


def test_the_running_bound_knows_of_cancellation():
    rng = np.random.default_rng(0)
    left, right = data(rng, "normal", (4, 500)), data(rng, "normal", (500, 4))
    for tree in (sequential(500), blocked(500, 20, None), sequential(500, fused=False)):
        running, order = running_bound(tree, left, right), order_bound(tree, left, right)
        assert (running < order / 3).all()
        assert 0.005 < excess(tree, left, right, np.zeros(4), of=running_bound) <= 1.0
    ones, short = np.ones((1, 1000), np.float32), np.full((1000, 1), 2.0**-24 * (1 - 2.0**-20), np.float32)
    short[0] = 1.0
    assert excess(sequential(1000), ones, short, np.zeros(1), 0.9, of=running_bound) > 1.0
    tiny = left[:, :5] * np.float32(2.0**-70)
    for tree, a, b in (
        (replace(sequential(5), accumulator="binary64"), left[:, :5], right[:5]),
        (SummationTree(Fused((Run((0, 1)),)), 2), left[:, :2], right[:2]),
        (replace(sequential(5), flush=True), tiny, tiny[:, :5].T),
    ):
        with pytest.raises(ValueError, match="use order_bound"):
            running_bound(tree, a, b)
    flushing = replace(sequential(500), flush=True)
    assert np.array_equal(running_bound(flushing, left, right), running_bound(sequential(500), left, right))
