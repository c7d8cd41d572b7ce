"""Replays against fractions: every kind of step, on random trees and on data that tells orders apart."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.orders import pairwise, sequential
from reference.replay import operands_of, replay, replay_rows
from reference.tensorcore import UNITS
from reference.tensorcore import matmul as tensor_core_matmul
from reference.tree import Fused, Item, Run, SummationTree, chain

sys.path.insert(0, str(Path(__file__).parent))  # the oracle is a plain module beside the tests
from tree_oracle import KINDS, data, expected, same, trees


@settings(max_examples=200, deadline=None)
@given(trees(), st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_random_trees_equal_the_oracle(tree, kind, seed):
    rng = np.random.default_rng(seed)
    left, right = data(rng, kind, (2, tree.leaves)), data(rng, kind, (tree.leaves, 3))
    bias = data(rng, kind, (3,))
    found = replay(tree, left, right, bias, threads=1)
    wanted = expected(tree, left, right, bias)
    assert same(found, wanted).all(), (found, wanted)


@pytest.mark.slow
@settings(max_examples=6000, deadline=None)
@given(trees(25), st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_many_random_trees_equal_the_oracle(tree, kind, seed):
    rng = np.random.default_rng(seed)
    left, right = data(rng, kind, (2, tree.leaves)), data(rng, kind, (tree.leaves, 3))
    bias = data(rng, kind, (3,))
    assert same(replay(tree, left, right, bias, threads=1), expected(tree, left, right, bias)).all()


def row(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None]


U = 2.0**-24


@pytest.mark.parametrize(
    ("tree", "left", "right", "bits"),
    [
        # (1 + 2u)**2 - (1 + 4u) leaves 4u**2 to a fused product, and nothing to a rounded one.
        (sequential(2), (-(1 + 4 * U), 1 + 2 * U), (1, 1 + 2 * U), 0x28800000),
        (sequential(2, fused=False), (-(1 + 4 * U), 1 + 2 * U), (1, 1 + 2 * U), 0x00000000),
        # 1 + u is a tie, down to even; (1 + u) + u needs u + u first.
        (sequential(3), (1, U, U), (1, 1, 1), 0x3F800000),
        (sequential(3, reverse=True), (1, U, U), (1, 1, 1), 0x3F800001),
        (SummationTree(Fused((Run((0, 1, 2)),)), 3), (1, U, U), (1, 1, 1), 0x3F800001),
        # Through float64, 1 + u (1 - 2**-30) + ... would round to the tie 1 + u and from there up or down.
        (sequential(2), (1 + 2 * U, U), (1, 1 - U), 0x3F800001),
        (sequential(2), (1 + 2 * U, 1 + U * 2), (1, U * (1 - 2 * U)), 0x3F800001),
        # Cut to 3 bits below the largest, 1 + 7/8 u' keeps what lies on the grid alone.
        (SummationTree(Fused((Run((0, 1)),), 3, "RZ"), 2), (1, 0.24), (1, 1), 0x3F900000),
        (SummationTree(Fused((Run((0, 1)),), 2, "RZ"), 2), (1, 0.24), (1, 1), 0x3F800000),
        # In binary64 nothing is lost before the end.
        (replace(sequential(3), accumulator="binary64"), (1, U, U), (1, 1, 1), 0x3F800001),
        # -0 - 0 stays -0, unless the accumulator starts at +0.
        (sequential(2), (-0.0, 0.0), (1, -1), 0x80000000),
        (replace(sequential(2), zero_start=True), (-0.0, 0.0), (1, -1), 0x00000000),
        # A product that is rounded by itself is flushed, a fused one is not, a result is.
        (replace(sequential(2), flush=True), (2.0**-126, 2.0**-100), (1, 2.0**-40), 0x00800200),
        (replace(sequential(2, fused=False), flush=True), (2.0**-126, 2.0**-100), (1, 2.0**-40), 0x00800000),
        (replace(sequential(2), flush=True), (1.5 * 2.0**-126, 2.0**-63), (1, -(2.0**-63)), 0x00000000),
        (replace(sequential(1), flush=True), (2.0**-140,), (2.0**20,), 0x00000000),
        (sequential(1), (2.0**-140,), (2.0**20,), 0x03800000),
        # bfloat16 has 8 bits, TF32 and binary16 11: ties to even.
        (replace(sequential(1), operands="bfloat16"), (1 + 2.0**-8,), (1,), 0x3F800000),
        (replace(sequential(1), operands="tf32"), (1 + 3 * 2.0**-11,), (1,), 0x3F804000),
        (replace(sequential(1), operands="binary16"), (65520.0,), (1,), 0x7F800000),
    ],
)
def test_bits_by_hand(tree, left, right, bits):
    found = replay(tree, row(*left), column(*right))
    assert hex(found.view(np.uint32)[0, 0]) == hex(bits)


def test_fused_products_are_not_rounded_twice():
    """The product is 2**-54 short of half a unit of the accumulator: a tie in float64, which may go up."""
    rng = np.random.default_rng(7)
    left = np.ones((2000, 2), np.float32)
    left[:, 0] = 1 + rng.integers(0, 2**23, 2000) * 2.0**-23
    left[:, 1] = 1 + 2.0**-15
    right = np.array([[1, 1], [U * (1 - 2.0**-15), -U / 2 * (1 - 2.0**-15)]], np.float32)
    wanted = expected(sequential(2), left, right, np.zeros(2))
    assert same(replay(sequential(2), left, right), wanted).all()
    twice = (left[:, :1] + left[:, 1:].astype(np.float64) * right[1]).astype(np.float32)
    assert 500 < (~same(twice, wanted)).sum() < 1500


def test_the_comparison_sees_a_wrong_order():
    rng = np.random.default_rng(1)
    left, right = data(rng, "normal", (8, 9)), data(rng, "normal", (9, 8))
    wanted = expected(sequential(9), left, right, np.zeros(8))
    assert same(replay(sequential(9), left, right), wanted).all()
    for wrong in (sequential(9, fused=False), sequential(9, reverse=True), pairwise(9)):
        assert not same(replay(wrong, left, right), wanted).all()


@pytest.mark.parametrize("fused", [True, False])
def test_flushing_is_the_processors_own(fused):
    """The processor in its flushing mode, around the smallest normal number and just below it."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no flushing mode")
    torch.set_flush_denormal(False)
    rng = np.random.default_rng(3)
    tree = SummationTree(chain(range(4), fused), 4)
    naive = 0
    for _ in range(20):
        e = int(rng.integers(-66, -60))
        left = rng.choice([-1, 1], (16, 4)) * (1 + rng.integers(0, 4, (16, 4)) * 2.0**-23)
        right = rng.choice([-1, 1], (4, 256)) * (2 - rng.integers(1, 6, (4, 256)) * 2.0**-23)
        a = (left * 2.0 ** (e - rng.integers(0, 2, (16, 4)))).astype(np.float32)
        b = (right * 2.0 ** (-126 - e - rng.integers(0, 2, (4, 256)))).astype(np.float32)
        torch.set_flush_denormal(True)
        wanted = replay(tree, a, b, threads=1)
        torch.set_flush_denormal(False)
        assert same(replay(replace(tree, flush=True), a, b), wanted).all()
        first = SummationTree(chain([0], fused), 4)
        plain = replay(first, a, b)
        flushed = np.where(np.abs(plain) < 2.0**-126, np.copysign(np.float32(0.0), plain), plain)
        naive += int((~same(replay(replace(first, flush=True), a, b), flushed)).sum())
    assert naive > 0  # rounding to 24 bits before, not after, the comparison makes a difference


@pytest.mark.parametrize(("outputs", "columns"), [(1, 1), (3, 700), (700, 3), (37, 290), (290, 37), (1, 900)])
@pytest.mark.parametrize("flush", [False, True])
def test_no_bit_depends_on_tiles_or_threads(outputs, columns, flush):
    rng = np.random.default_rng(outputs)
    tree = replace(pairwise(13, 3, bias="last"), flush=flush)
    left, right = data(rng, "tiny", (outputs, 13)), data(rng, "tiny", (13, columns))
    bias = data(rng, "tiny", (columns,)) * np.float32(2.0**-60)
    whole = replay(tree, left, right, bias)
    for threads in (1, 2, 5):
        assert same(replay(tree, left, right, bias, threads=threads), whole).all()
    p, c = rng.integers(0, outputs, 6), rng.integers(0, columns, 6)
    for i, j in zip(p, c, strict=True):
        alone = replay(tree, left[i : i + 1], right[:, j : j + 1], bias[j : j + 1])
        assert same(alone, whole[i : i + 1, j : j + 1]).all()
    turned = replay(replace(tree, bias=False, root=pairwise(13, 3).root), right.T, left.T)
    direct = replay(replace(tree, bias=False, root=pairwise(13, 3).root), left, right)
    assert same(turned, np.ascontiguousarray(direct.T)).all()


def test_rows_are_sums_of_numbers():
    rng = np.random.default_rng(5)
    values = data(rng, "wide", (5, 40))
    for fused in (True, False):
        tree = sequential(40, fused=fused, bias="last")
        wanted = values[:, 0]
        for k in range(1, 40):
            wanted = wanted + values[:, k]
        assert same(replay_rows(tree, values, 3.5), wanted + np.float32(3.5)).all()
    assert replay_rows(sequential(1), values[:, :1]).shape == (5,)


def test_leaves_that_the_tree_lacks_do_not_count():
    left, right = np.full((2, 5), np.nan, np.float32), np.ones((5, 3), np.float32)
    left[:, 1:3] = 2.0
    assert (replay(SummationTree(chain([2, 1]), 5), left, right) == 4.0).all()


def test_nan_and_infinities_propagate():
    left = np.array([[1, np.nan], [np.inf, 1], [np.inf, -np.inf], [3e38, 3e38]], np.float32)
    for root in (
        chain(range(2)),
        chain(range(2), False),
        Fused((Run((0, 1)),)),
        Fused((Run((0, 1)),), 24, "RZ"),
    ):
        found = replay(SummationTree(root, 2), left, np.ones((2, 1), np.float32))[:, 0]
        assert np.isnan(found[[0, 2]]).all()
        assert (found[[1, 3]] == np.inf).all()
    # Toward zero an exact sum stops at the largest number; a tensor core's goes on to infinity.
    stopped = SummationTree(Fused((Run((0, 1)),), None, "RZ"), 2)
    assert replay(stopped, left[3:], np.ones((2, 1), np.float32))[0, 0] == np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("operands", "dtype"),
    [("bfloat16", ml_dtypes.bfloat16), ("binary16", np.float16), ("binary32", np.float32)],
)
def test_operands_are_rounded_as_the_formats_library_does(operands, dtype):
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    bits[:4] = [0x7F7FFFFF, 0x7F800001, 0xFFC00000, 0x00000001]
    x = bits.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = x.astype(dtype).astype(np.float32)
    found = operands_of(SummationTree(chain([0]), 1, operands=operands), x)
    assert same(found, wanted).all()


def test_a_chain_of_thousands_of_fused_additions_is_no_recursion():
    item = Fused((Run(tuple(range(4))),), 25, "RZ")
    for k in range(4, 8000, 4):
        item = Fused((item, Run(tuple(range(k, k + 4)))), 25, "RZ")
    ones = np.ones((1, 8000), np.float32)
    assert replay(SummationTree(item, 8000), ones, ones.T)[0, 0] == 8000


@pytest.mark.parametrize(
    ("tree", "left", "right", "bias", "words"),
    [
        (sequential(2), np.ones((1, 3), np.float32), np.ones((2, 1), np.float32), None, "K = 2"),
        (sequential(2), np.ones((1, 2)), column(1, 1), None, "float32"),
        (sequential(2, bias="last"), row(1, 1), column(1, 1), None, "a bias among its leaves"),
        (sequential(2, bias="last"), row(1, 1), column(1, 1), np.ones(2, np.float32), r"\(1,\)"),
        (replace(sequential(2), accumulator="binary80"), row(1, 1), column(1, 1), None, "binary80"),
        (replace(sequential(2), operands="e4m3"), row(1, 1), column(1, 1), None, "e4m3"),
        (SummationTree(Fused((Run((0, 1)),), None, "SR"), 2), row(1, 1), column(1, 1), None, "SR"),
        (SummationTree(Fused((Run((0, 1)),), 99), 2), row(1, 1), column(1, 1), None, "99"),
    ],
)
def test_errors_name_the_rule(tree, left, right, bias, words):
    with pytest.raises(ValueError, match=words) as caught:
        replay(tree, left, right, bias)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "operands"),
    [(("ampere", "tf32"), "tf32"), (("hopper", "tf32"), "tf32"), (("hopper", "bf16"), "bfloat16")],
)
def test_truncated_additions_are_the_tensor_cores(unit, operands):
    """Two pieces of code for one model: a chain of fused steps, the accumulator in the first."""
    core = UNITS[unit]
    count = 5 * core.terms - 1
    item: Item | None = None
    for k in range(0, count, core.terms):
        terms = Run(tuple(range(k, min(k + core.terms, count))))
        item = Fused((terms,) if item is None else (item, terms), core.fraction_bits, "RZ")
    tree = SummationTree(item, count, operands=operands)
    rng = np.random.default_rng(core.terms)
    other = replace(tree, root=sequential(count).root)
    for kind in KINDS:
        left, right = data(rng, kind, (20, count)), data(rng, kind, (count, 30))
        wanted = tensor_core_matmul(left, right, core, operand_rounding="RNE")
        assert same(replay(tree, left, right), wanted).all(), kind
        if kind in ("normal", "wide"):
            assert not same(replay(other, left, right), wanted).all()
