"""The order of synthetic kernels must come out exactly; kernels that are no fixed sum must get no tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precision.orders.join_probe import assemble
from precision.orders.probe import NoTree, reveal_order
from reference.orders import blocked, pairwise, sequential, split_k, strided
from reference.replay import replay
from reference.tree import Fused, Item, Run, Series, SummationTree, chain, series


def asker(tree):
    """A kernel that adds in the order of a tree."""

    def ask(values, alpha):
        count = tree.leaves
        left = np.full((1, count), alpha, np.float32)
        bias = np.ascontiguousarray(values[:, count]) if tree.bias else None
        return replay(tree, left, np.ascontiguousarray(values[:, :count].T), bias)[0]

    return ask


def revealed(tree):
    ask = asker(tree)
    columns = tree.leaves + tree.bias
    return assemble(ask, reveal_order(ask, range(columns), columns), tree.leaves, tree.bias, exact=False)


def named_orders():
    yield "chain", sequential(100)
    yield "unfused chain", sequential(100, fused=False)
    yield "bias first", sequential(50, bias="first")
    yield "bias last", sequential(50, bias="last")
    yield "reversed", sequential(60, reverse=True)
    yield "blocks", blocked(90, 16, bias="after_first")
    yield "unfused blocks", blocked(64, 16, bias="last", fused=False)
    yield "pairwise", pairwise(33)
    yield "lanes", strided(70, 8, combine="pairwise")
    yield "split-K", split_k(64, 4)
    for width in (4, 8, 16):
        for bits, rounding in ((None, "RNE"), (24, "RZ"), (25, "RZ")):
            kind = "exact" if bits is None else f"{bits} bits"
            yield f"{width}-way, {kind}", several(64, width, bits, rounding)


def several(count: int, width: int, bits: int | None, rounding: str) -> SummationTree:
    """A chain of additions of `width` products and the accumulator at once."""
    item: Item = Fused((Run(tuple(range(width))),), bits, rounding)
    for first in range(width, count, width):
        item = Fused((item, Run(tuple(range(first, first + width)))), bits, rounding)
    return SummationTree(item, count)


@pytest.mark.parametrize(("name", "tree"), [pytest.param(*pair, id=pair[0]) for pair in named_orders()])
def test_a_named_order_is_revealed_exactly(name, tree):
    assert revealed(tree).canonical() == tree.canonical()


@st.composite
def trees(draw):
    count = draw(st.integers(2, 24))
    bias = draw(st.booleans())
    leaves = draw(st.permutations(range(count + bias)))
    kinds = draw(st.sampled_from([("series",), ("series", "exact"), ("series", "truncated")]))

    def item(some) -> Item:
        if len(some) == 1:
            return Run((some[0],), draw(st.booleans()))
        kind = draw(st.sampled_from(("chain", *kinds)))
        if kind == "chain" or (kind != "series" and len(some) < 3):
            return Series((Run(tuple(some), draw(st.booleans())),))
        parts = draw(st.integers(2 if kind == "series" else 3, min(len(some), 5)))
        cuts = sorted(draw(st.sets(st.integers(1, len(some) - 1), min_size=parts - 1, max_size=parts - 1)))
        items = tuple(item(some[a:b]) for a, b in zip([0, *cuts], [*cuts, len(some)], strict=True))
        if kind == "series":
            return Series(items)
        return Fused(items) if kind == "exact" else Fused(items, 24, "RZ")

    return SummationTree(item(list(leaves)), count, bias)


@settings(max_examples=150, deadline=None)
@given(trees())
def test_random_trees_are_revealed_exactly(tree):
    assert revealed(tree).canonical() == tree.canonical()


def test_a_chain_costs_about_two_probes_a_term_also_backwards():
    for tree in (sequential(500), sequential(500, reverse=True)):
        rows = 0
        ask = asker(tree)

        def counted(values, alpha, ask=ask):
            nonlocal rows
            rows += len(values)
            return ask(values, alpha)

        assemble(counted, reveal_order(counted, range(500), 500), 500, False, exact=False)
        assert rows <= 4 * 500


def wrong_term(values, alpha):
    return (values * np.float32(alpha)).sum(axis=1, dtype=np.float32) + np.float32(0.5)


def missing_term(values, alpha):
    return (values[:, :-1] * np.float32(alpha)).sum(axis=1, dtype=np.float32)


def maximum(values, alpha):
    return values.max(axis=1) * np.float32(alpha)


def not_a_number(values, alpha):
    return np.full(len(values), np.nan, np.float32)


@pytest.mark.parametrize("kernel", [wrong_term, missing_term, maximum, not_a_number])
def test_what_is_no_sum_gets_no_tree(kernel):
    with pytest.raises(NoTree):
        assemble(kernel, reveal_order(kernel, range(20), 20), 20, False, exact=False)


def test_an_answer_that_is_no_rounding_of_two_products_is_refused():
    def disturbed(values, alpha):
        return asker(sequential(20))(values, alpha) + np.float32(0.0 if alpha == 1.0 else 1e-6)

    with pytest.raises(NoTree, match="no float32 sum"):
        assemble(disturbed, reveal_order(disturbed, range(20), 20), 20, False, exact=False)


def test_products_in_a_lower_precision_are_no_float32_sum():
    def rounded(values, alpha):
        return asker(sequential(20))((values * np.float32(alpha)).astype(np.float16).astype(np.float32), 1.0)

    with np.errstate(over="ignore"), pytest.raises(NoTree):
        assemble(rounded, reveal_order(rounded, range(20), 20), 20, False, exact=False)


def test_more_terms_than_float32_counts_are_refused():
    with pytest.raises(ValueError, match="fewer than 16777216 terms"):
        reveal_order(wrong_term, range(2**24), 2**24)


def test_one_term_and_none():
    assert reveal_order(wrong_term, [3], 5).top == 3
    with pytest.raises(NoTree, match="no term"):
        reveal_order(wrong_term, [], 5)


def test_the_comparison_tells_orders_apart():
    """The tester's test: what differs in any way must not compare equal."""
    count = 12
    some = [
        sequential(count),
        sequential(count, fused=False),
        sequential(count, reverse=True),
        blocked(count, 4, bias=None),
        pairwise(count),
        SummationTree(series(chain([1, 0]), chain(range(2, count))), count),
        several(count, 4, None, "RNE"),
        several(count, 4, 24, "RZ"),
        several(count, 4, 25, "RZ"),
    ]
    forms = [tree.canonical() for tree in some]
    assert all(a != b for i, a in enumerate(forms) for b in forms[:i])
