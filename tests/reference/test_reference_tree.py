"""Trees of additions: their JSON form, their errors, and the canonical form, which must be the bits' own."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.orders import pairwise, sequential
from reference.replay import replay
from reference.tree import Fused, Run, Series, SummationTree, chain, fold, leaves_of, relabelled, series

sys.path.insert(0, str(Path(__file__).parent))  # the oracle is a plain module beside the tests
from tree_oracle import KINDS, data, trees


@settings(max_examples=200, deadline=None)
@given(trees())
def test_json_round_trip(tree):
    tree = replace(tree, axes=(("channel <&>", tree.leaves),))
    text = json.dumps(tree.to_json())
    assert SummationTree.from_json(json.loads(text)) == tree
    canonical = tree.canonical()
    assert SummationTree.from_json(json.loads(json.dumps(canonical.to_json()))) == canonical


def test_json_folds_runs_and_chains_of_fused_additions():
    assert fold((0, 2, 4, 9, 7, 5, 6)) == [[0, 3, 2], [9, 3, -2], [6, 1, 0]]
    assert len(json.dumps(sequential(6400, bias="last").to_json())) < 250
    item = Fused((Run((0, 1)),), 25, "RZ")
    for k in range(2, 6000, 2):
        item = Fused((item, Run((k, k + 1))), 25, "RZ")
    tree = SummationTree(item, 6000)
    again = SummationTree.from_json(json.loads(json.dumps(tree.to_json())))
    assert again == tree
    assert hash(again) == hash(tree)
    assert again.canonical() == tree.canonical()
    assert list(leaves_of(again.root)) == list(range(6000))
    assert tree != replace(tree, root=chain(range(6000)))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"schema": 2}, "schema is 1"), ({"root": {"run": [[0, 3, 1]]}}, "fused"), ({"axes": None}, "tree has")],
)
def test_json_that_is_no_tree_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        SummationTree.from_json(sequential(3).to_json() | change)


@pytest.mark.parametrize(
    ("root", "leaves", "bias", "words"),
    [
        (chain([0, 1, 1]), 2, False, "each leaf once"),
        (chain([0, 2]), 2, False, "0 to 1"),
        (chain([0, 3]), 2, True, "0 to 2"),
        (chain([-1, 0]), 2, False, "0 to 1"),
        (Series(()), 2, False, "0 to 1"),
        (Series((Run((0,)), Series(()))), 2, False, "an empty one"),
    ],
)
def test_what_is_no_tree_is_refused(root, leaves, bias, words):
    with pytest.raises(ValueError, match=words):
        SummationTree(root, leaves, bias)


def test_series_unfolds_its_start_and_joins_runs():
    inner = series(Run((0,)), Run((1, 2), False))
    assert inner == Series((Run((0, 1, 2), False),))
    assert series(inner, Run((3,), False), inner_two := chain([4, 5])) == Series(
        (Run((0, 1, 2, 3), False), inner_two)
    )
    assert relabelled(chain(range(3)), {0: 7, 1: 5, 2: 6}) == chain([7, 5, 6])
    assert relabelled(chain(range(2)), {0: 4, 1: inner_two}) == Series((Run((4,)), inner_two))


def partitions(leaves: list[int]):
    if not leaves:
        yield []
        return
    for size in range(len(leaves)):
        for others in itertools.combinations(leaves[1:], size):
            rest = [leaf for leaf in leaves[1:] if leaf not in others]
            for more in partitions(rest):
                yield [[leaves[0], *others], *more]


def every_series(leaves: list[int]):
    """All series over these leaves: every nesting, order and kind, series of single leaves too."""
    single = [Run(tuple(leaves), True), Run(tuple(leaves), False)]
    if len(leaves) == 1:
        yield from (Series((run,)) for run in single)
        return
    for parts in partitions(leaves):
        if len(parts) == 1:
            continue
        for order in itertools.permutations(parts):
            choices = [
                [Run(tuple(part), True), Run(tuple(part), False)] * (len(part) == 1)
                + list(every_series(part))
                for part in order
            ]
            yield from (Series(choice) for choice in itertools.product(*choices))


def telling_data(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Operands (and biases) on which orders of a few terms differ."""
    rng = np.random.default_rng(0)
    found = [
        (data(rng, kind, (32, count)), data(rng, kind, (count, 32)), data(rng, kind, (32,))) for kind in KINDS
    ]
    ordinary = [1, -1, 1 + 2.0**-23, -1 - 2.0**-23, 1 - 2.0**-24, 3, 2.0**12 + 2.0**-11, 1 / 3]
    apart = [3e38, -3e38, 1, 2, -2]  # farther than binary64 reaches
    for values in (ordinary, apart):
        found.append(tuple(rng.choice(values, shape) for shape in ((32, count), (count, 32), (32,))))
    # Every pattern of products that vanish, are zeros of either sign, or are not.
    small = [-(2.0**-75), 2.0**-75, -1.5 * 2.0**-75, -0.0, 0.0, 2.0**75, -(2.0**-51)]
    patterns = np.array(list(itertools.product(small, repeat=count)))
    biases = np.array([0, -0.0, 1, -1, 2.0**-149, -(2.0**-126)])
    found.append((patterns, np.full((count, 6), 2.0**-75), biases))
    return [tuple(np.asarray(part, np.float32) for part in each) for each in found]


def bits(tree: SummationTree, operands) -> int:
    found = []
    for left, right, bias in operands:
        value = replay(tree, left, right, bias, threads=1)
        found.append(np.where(np.isnan(value), np.float32(np.nan), value).tobytes())
    return hash(tuple(found))


def groups(all_trees: list[SummationTree], form) -> tuple[dict, dict]:
    """Forms by bits, and bits by form."""
    operands = telling_data(all_trees[0].leaves)
    by_bits: dict[int, set] = {}
    by_form: dict[object, set] = {}
    for tree in all_trees:
        value, written = bits(tree, operands), form(tree)
        by_bits.setdefault(value, set()).add(written)
        by_form.setdefault(written, set()).add(value)
    return by_bits, by_form


@pytest.mark.parametrize(("leaves", "bias"), [(3, False), (2, True)])
@pytest.mark.parametrize("accumulator", ["binary32", "binary64"])
@pytest.mark.parametrize("flush", [False, True])
def test_equal_canonical_forms_and_equal_bits_are_the_same(leaves, bias, accumulator, flush):
    """Over all 1,152 trees of three leaves."""
    every = [
        SummationTree(item, leaves, bias, accumulator, flush=flush)
        for item in every_series(list(range(leaves + bias)))
    ]
    by_bits, by_form = groups(every, SummationTree.canonical)
    assert len(every) == 1152
    assert all(len(forms) == 1 for forms in by_bits.values())
    assert all(len(values) == 1 for values in by_form.values())
    assert len(by_form) == {"binary32": 11 if bias else 18, "binary64": 3}[accumulator]


@pytest.mark.parametrize(("leaves", "bias"), [(3, False), (2, True)])
@pytest.mark.parametrize("flush", [False, True])
def test_equal_canonical_forms_have_equal_bits_from_zero(leaves, bias, flush):
    every = [
        SummationTree(item, leaves, bias, zero_start=True, flush=flush)
        for item in every_series(list(range(leaves + bias)))
    ]
    by_bits, by_form = groups(every, SummationTree.canonical)
    assert all(len(values) == 1 for values in by_form.values())
    assert len(by_bits) <= len(by_form) < 1152 // 8


def test_the_check_rejects_a_form_that_goes_too_far():
    """Planted: leaves of a fused chain sorted; the head's kind ignored where the sign of zero shows it."""
    every = [SummationTree(item, 3) for item in every_series([0, 1, 2])]

    def sorted_leaves(tree: SummationTree) -> object:
        return tuple(sorted(leaves_of(tree.root))), isinstance(tree.canonical().root.items[-1], Run)

    _, by_form = groups(every, sorted_leaves)
    assert any(len(values) > 1 for values in by_form.values())
    from_zero = [replace(tree, zero_start=True) for tree in every]
    _, by_form = groups(from_zero, lambda tree: replace(tree, zero_start=False).canonical())
    assert any(len(values) > 1 for values in by_form.values())


@settings(max_examples=300, deadline=None)
@given(trees(9), st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_a_tree_and_its_canonical_form_give_the_same_bits(tree, kind, seed):
    canonical = tree.canonical()
    assert canonical.canonical() == canonical
    assert sorted(leaves_of(canonical.root)) == sorted(leaves_of(tree.root))
    rng = np.random.default_rng(seed)
    operands = [(data(rng, kind, (6, tree.leaves)), data(rng, kind, (tree.leaves, 7)), data(rng, kind, (7,)))]
    assert bits(tree, operands) == bits(canonical, operands)


def test_canonical_forms_of_known_pairs():
    def same(first, second, bias=False):
        return SummationTree(first, 4, bias).canonical() == SummationTree(second, 4, bias).canonical()

    assert same(Series((Run((1,)), Run((0,), False))), chain([0, 1], False))
    assert not same(Series((Run((1,)), Run((0,)))), chain([0, 1]))
    # A product that is rounded first may come before or after the sum it is added to.
    assert same(Series((Run((3,)), chain([0, 1]))), Series((*chain([0, 1]).items, Run((3,), False))))
    assert same(Series((chain([2, 3]), chain([0, 1]))), Series((chain([0, 1]), chain([2, 3]))))
    assert same(Fused((Run((2, 0)), chain([1, 3]))), Fused((chain([1, 3]), Run((0, 2), False))))
    assert not same(Fused((Run((0, 1, 2)),)), Fused((Run((0, 1, 2)),), 24))
    assert same(Series((Run((4,)), Run((0,), False))), Series((Run((0,)), Run((4,)))), bias=True)
    assert not same(Series((Run((4,)), Run((0,)))), Series((Run((0,)), Run((4,)))), bias=True)
    for tree in (sequential(50, bias="last"), pairwise(64), sequential(9, reverse=True)):
        assert tree.canonical().canonical() == tree.canonical()
    assert sequential(50, bias="last").canonical() == sequential(50, bias="last")
