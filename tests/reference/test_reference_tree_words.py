"""Words for orders: each family in its own words, and never words for a tree that is another."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from reference.leaf_loops import loops_of, words_of_loops
from reference.orders import (
    blocked,
    eigen_inner_sum,
    numpy_pairwise,
    pairwise,
    sequential,
    split_k,
    strided,
    torch_inner_sum,
)
from reference.tree import Fused, Run, Series, SummationTree, chain, leaves_of, relabelled, series
from reference.tree_words import describe

sys.path.insert(0, str(Path(__file__).parent))  # the oracle is a plain module beside the tests
from tree_oracle import trees

AXES = (("kernel row", 5), ("kernel column", 5), ("input channel", 256))
TAPS = [(row, column) for row in range(5) for column in range(5)]


def leaf(row: int, column: int, channel: int) -> int:
    return (row * 5 + column) * 256 + channel


def channel_blocks(size: int, bias: bool = True, channels_last: bool = False) -> SummationTree:
    """Blocks of input channels, all taps in each, the bias after the first block."""
    chains = []
    for start in range(0, 256, size):
        some = range(start, start + size)
        inner = [leaf(*tap, c) for c in some for tap in TAPS]
        outer = [leaf(*tap, c) for tap in TAPS for c in some]
        chains.append(Run(tuple(outer if channels_last else inner)))
    term = (Run((6400,)),) if bias else ()
    return SummationTree(
        series(chains[0], *term, *(Series((run,)) for run in chains[1:])), 6400, bias, axes=AXES
    )


def fused_chain(width: int, leaves: int, bits: int | None, rounding: str) -> Fused:
    item = Fused((Run(tuple(range(width))),), bits, rounding)
    for k in range(width, leaves, width):
        item = Fused((item, Run(tuple(range(k, min(k + width, leaves))))), bits, rounding)
    return item


def wrapped(block: int) -> SummationTree:
    """Blocks of terms in the order channel, row, column, which do not end where a loop does."""
    order = [leaf(*tap, c) for c in range(256) for tap in TAPS]
    runs = [Run(tuple(order[k : k + block])) for k in range(0, 6400, block)]
    return SummationTree(series(runs[0], *(Series((run,)) for run in runs[1:])), 6400, axes=AXES)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (
            channel_blocks(16),
            "16 blocks of 400 terms, an FMA chain over 16 input channels x 5 kernel rows x 5 kernel columns "
            "in each; blocks added in order; bias after the first block",
        ),
        (
            replace(sequential(6400, bias="last"), axes=AXES),
            "an FMA chain over 5 kernel rows x 5 kernel columns x 256 input channels; bias last",
        ),
        (
            SummationTree(
                chain([6400, *(leaf(*t, b * 8 + c) for b in range(32) for t in TAPS for c in range(8))]),
                6400,
                True,
                axes=AXES,
            ),
            "an FMA chain over 32 input channels (every 8th) x 5 kernel rows x 5 kernel columns x "
            "8 input channels; starting from the bias",
        ),
        (
            replace(blocked(6400, 256), axes=AXES),
            "25 blocks of 256 terms, an FMA chain over 256 input channels in each; blocks added in order; "
            "bias last",
        ),
        (
            wrapped(384),
            "17 blocks of 384 terms (the last of 256) along 256 input channels x 5 kernel rows x "
            "5 kernel columns, an FMA chain in each; blocks added in order",
        ),
        (
            SummationTree(
                series(Run((4, 5)), *(Series((Run((k, k + 1)),)) for k in (2, 0, 6)), Run((8,))), 8, True
            ),
            "4 blocks of 2 terms, an FMA chain in each; blocks added one after another, not in the order of "
            "their terms; bias last",
        ),
        (
            SummationTree(series(fused_chain(4, 8, None, "RNE"), Run((8, 9))), 10),
            "4 products and the sum so far added at once (exact, rounded to nearest even), over 8 terms; "
            "then 2 terms one by one",
        ),
        (sequential(20, fused=False, bias="last"), "a chain of rounded products over 20 terms; bias last"),
        (sequential(20, reverse=True), "an FMA chain over 20 terms in reverse"),
        (
            blocked(100, 16),
            "7 blocks of 16 terms (the last of 4), an FMA chain in each; blocks added in order; bias last",
        ),
        (
            blocked(80, 20, "first", fused=False),
            "4 blocks of 20 terms, a chain of rounded products in each; blocks added in order; the first "
            "block starting from the bias",
        ),
        (pairwise(64), "32 blocks of 2 terms, an FMA chain in each; blocks added pairwise"),
        (
            pairwise(100, 8, bias="last"),
            "13 blocks of 8 terms (the last of 4), an FMA chain in each; blocks added pairwise; bias last",
        ),
        (
            strided(40, 4, "pairwise", bias="last"),
            "4 lanes of 10 terms (k mod 4), an FMA chain in each; lanes added pairwise; bias last",
        ),
        (strided(43, 8), "8 lanes of 5 to 6 terms (k mod 8), an FMA chain in each; lanes added in order"),
        (
            strided(43, 8, "butterfly", tail="last"),
            "8 lanes of 5 terms (k mod 8), an FMA chain in each; lanes added each to the one half-way "
            "further on; then 3 terms one by one",
        ),
        (
            strided(43, 8, "butterfly", tail="first"),
            "8 lanes of 5 terms (k mod 8), an FMA chain in each; lanes added each to the one half-way "
            "further on; then the sum of the other 3 terms",
        ),
        (
            split_k(160, 2, lambda n: blocked(n, 10, bias=None)),
            "16 blocks of 10 terms, an FMA chain in each; blocks added in order in each of 2 slices, then "
            "the slices",
        ),
        (
            SummationTree(fused_chain(8, 64, 25, "RZ"), 64),
            "8 products and the sum so far added at once (cut to 25 bits below the largest, rounded toward "
            "zero), over 64 terms",
        ),
        (
            SummationTree(series(fused_chain(4, 62, None, "RNE"), Run((62,))), 62, True, operands="tf32"),
            "4 products and the sum so far added at once (exact, rounded to nearest even), over 62 terms; "
            "bias last; factors rounded to tf32",
        ),
        (
            replace(sequential(30), accumulator="binary64", flush=True),
            "a chain over 30 terms; in binary64, rounded to float32 at the end; subnormal numbers count as "
            "zeros",
        ),
        (
            SummationTree(chain(range(10, 30)), 64),
            "an FMA chain over 20 terms; 44 of the 64 terms are never added",
        ),
        (sequential(1), "a chain over 1 term"),
        (numpy_pairwise(1000), "64 chains of 15 to 16 terms, an FMA chain in each; chains added pairwise"),
        (torch_inner_sum(1000), "a tree of 999 additions, depth 4 to 28"),
    ],
)
def test_each_family_in_its_words(tree, words):
    assert describe(tree) == words
    assert describe(tree.canonical()) == words


def test_sums_of_numbers_have_no_products():
    assert describe(sequential(5), products=False) == "a chain over 5 terms"
    assert "FMA" not in describe(eigen_inner_sum(100), products=False)


def exchanged(tree: SummationTree, a: int, b: int) -> SummationTree:
    places = {k: {a: b, b: a}.get(k, k) for k in leaves_of(tree.root)}
    return replace(tree, root=relabelled(tree.root, places))


@pytest.mark.parametrize(
    "tree", [channel_blocks(16), blocked(100, 16), strided(40, 4), pairwise(64), sequential(50)]
)
def test_a_tree_with_two_terms_exchanged_gets_other_words(tree):
    for a, b in ((3, 17), (0, 5), (tree.leaves - 1, 2)):
        other = exchanged(tree, a, b)
        assert other.canonical() != tree.canonical()
        assert describe(other) != describe(tree)


@settings(max_examples=150, deadline=None)
@given(trees(12))
def test_equal_trees_have_equal_words_and_a_family_only_its_own(tree):
    words = describe(tree)
    assert words == describe(tree.canonical())
    plain = SummationTree(tree.root, tree.leaves, tree.bias)
    for place, ending in ((None, ""), ("last", "; bias last"), ("first", "; starting from the bias")):
        for fused, kind in ((True, "an FMA chain"), (False, "a chain of rounded products")):
            said = describe(plain) == f"{kind} over {tree.leaves} terms{ending}"
            if tree.leaves > 1 and plain.bias == (place is not None):
                known = sequential(tree.leaves, fused, place)
                assert said == (known.canonical() == plain.canonical())


def test_loops():
    assert loops_of([leaf(*tap, c) for c in range(16) for tap in TAPS]) == [(16, 1), (25, 256)]
    assert loops_of([3, 5, 7, 13, 15, 17]) == [(2, 10), (3, 2)]
    assert loops_of([0, 1, 3]) is None
    assert loops_of([0, 1, 5, 6, 11, 12]) is None
    assert loops_of([4]) == []
    assert words_of_loops(range(256, 512), AXES, 6400) == "256 input channels"
    assert words_of_loops(range(0, 512), AXES, 6400) == "2 kernel columns x 256 input channels"
    # A stretch that begins inside an axis and leaves it is no loop along it.
    assert words_of_loops(range(100, 400), AXES, 6400) is None
    assert words_of_loops(range(7, 2, -1), (), 8) == "5 terms in reverse"
    assert words_of_loops([0, 3, 6], (), 8) == "3 terms (every 3rd)"
