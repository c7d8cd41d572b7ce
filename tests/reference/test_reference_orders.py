"""Named orders: by loops that do the same, by the libraries that sum so, and what they would cost."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import reference
from reference.orders import (
    blocked,
    eigen_inner_sum,
    eigen_outer_sum,
    kahan_sum_products,
    numpy_pairwise,
    pairwise,
    sequential,
    split_k,
    strided,
    torch_full_sum,
    torch_inner_sum,
    torch_outer_sum,
    what_if,
)
from reference.replay import replay, replay_rows
from reference.tree import Run, Series, SummationTree, chain, leaves_of

F = np.float32
LENGTHS = (*range(1, 40), 63, 64, 65, 127, 128, 129, 136, 255, 257, 300, 1000, 1025, 4099, 10_000, 33_000)
ROWS = (1, 2, 3, 4, 5, 15, 16, 17, 31, 64, 67, 255, 300, 1030, 4099)
COLUMNS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 31, 32, 33, 40, 71)


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)).astype(F)


def terms(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return numbers(rng, 6, n), numbers(rng, n, 5), numbers(rng, 5)


def rounded_products(left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    return [left[:, k : k + 1] * right[k] for k in range(left.shape[1])]


def added(parts: list[np.ndarray]) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def halves(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    middle = (len(parts) + 1) // 2
    return halves(parts[:middle]) + halves(parts[middle:])


@pytest.mark.parametrize("n", [1, 2, 7, 16, 23])
def test_orders_are_what_their_loops_say(n):
    left, right, bias = terms(n)
    p = rounded_products(left, right)
    cut = [added(p[i : i + 5]) for i in range(0, n, 5)]
    fours = [added(p[lane::4]) for lane in range(min(4, n))]
    whole = n - n % 4
    vectors = [added(p[lane:whole:4]) for lane in range(4)] if whole else []
    wanted = {
        "in order": (sequential(n, fused=False), added(p)),
        "bias first": (
            sequential(n, fused=False, bias="first"),
            added([np.broadcast_to(bias, p[0].shape), *p]),
        ),
        "bias last": (sequential(n, fused=False, bias="last"), added(p) + bias),
        "reverse": (sequential(n, fused=False, reverse=True), added(p[::-1])),
        "blocks": (blocked(n, 5, bias=None, fused=False), added(cut)),
        "blocks, bias": (blocked(n, 5, fused=False), added(cut) + bias),
        "bias after first": (blocked(n, 5, "after_first", fused=False), added([cut[0], bias, *cut[1:]])),
        "bias before first": (
            blocked(n, 5, "first", fused=False),
            added([added([np.broadcast_to(bias, p[0].shape), *p[:5]]), *cut[1:]]),
        ),
        "pairwise": (pairwise(n, fused=False), halves(p)),
        "pairwise blocks": (pairwise(n, 5, fused=False, bias="last"), halves(cut) + bias),
        "lanes": (strided(n, 4, fused=False), added(fours)),
        "lanes, pairs": (strided(n, 4, "pairwise", fused=False), halves(fours)),
        "slices": (split_k(n, 3, lambda m: sequential(m, fused=False)), added_slices(p, 3)),
    }
    if whole:
        opposite = (vectors[0] + vectors[2]) + (vectors[1] + vectors[3])
        rest = p[whole:]
        wanted["butterfly"] = (strided(n, 4, "butterfly", False, "last"), added([opposite, *rest]))
        wanted["tail first"] = (
            strided(n, 4, "butterfly", False, "first", "last"),
            (added(rest) + opposite if rest else opposite) + bias,
        )
    for name, (tree, value) in wanted.items():
        found = replay(tree, left, right, bias if tree.bias else None)
        assert np.array_equal(found, value), name
        assert sorted(leaves_of(tree.root)) == list(range(n + tree.bias)), name


def added_slices(p: list[np.ndarray], parts: int) -> np.ndarray:
    length = -(-len(p) // parts)
    return added([added(p[i : i + length]) for i in range(0, len(p), length)])


def test_fused_orders_fuse():
    left, right, _ = terms(12)
    exact = [[Fraction(float(x)) for x in line] for line in left]
    total = Fraction(float(left[0, 0] * right[0, 0]))
    for k in range(1, 12):
        total = Fraction(float(F(float(total + exact[0][k] * Fraction(float(right[k, 0]))))))
    # One element by fractions through float64: the two roundings agree unless a tie is near, which is not.
    assert replay(sequential(12), left, right)[0, 0] == float(total)
    assert not np.array_equal(
        replay(sequential(12), left, right), replay(sequential(12, fused=False), left, right)
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sequential(0), "number of terms"),
        (lambda: sequential(3, bias="after_first"), "after_first"),
        (lambda: blocked(3, 0), "block"),
        (lambda: strided(4, 2, "sideways"), "sideways"),
        (lambda: strided(4, 2, tail="middle"), "middle"),
        (lambda: split_k(4, 0), "parts"),
        (lambda: torch_outer_sum(4, 3, 3), "0 to 2"),
        (lambda: numpy_pairwise(0), "at least one term"),
        (lambda: kahan_sum_products(np.ones((2, 3), F), np.ones((2, 3), F)), "share K"),
    ],
)
def test_errors_name_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_numpy_sums_in_this_order():
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        x = numbers(rng, 3, n)
        assert np.array_equal(replay_rows(numpy_pairwise(n), x), [np.sum(line) for line in x]), n


def test_torch_sums_a_contiguous_axis_in_this_order():
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        x = numbers(rng, 3, n)
        assert np.array_equal(replay_rows(torch_inner_sum(n), x), torch.from_numpy(x).sum(1).numpy()), n


def test_torch_sums_an_outer_axis_in_this_order():
    rng = np.random.default_rng(0)
    for n in ROWS:
        for columns in COLUMNS:
            x = numbers(rng, n, columns)
            found = torch.from_numpy(x).sum(0).numpy()
            for column in {0, columns // 2, columns - 1}:
                tree = torch_outer_sum(n, columns, column)
                assert replay_rows(tree, np.ascontiguousarray(x[:, column])[None])[0] == found[column]


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_sums_everything_in_this_order(threads):
    rng = np.random.default_rng(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for n in (100, 32_768, 32_769, 65_537, 100_003):
            x = numbers(rng, 1, n)
            assert replay_rows(torch_full_sum(n, threads), x)[0] == torch.from_numpy(x[0]).sum().item()
    finally:
        torch.set_num_threads(before)


def test_the_libraries_orders_differ_from_one_another():
    """The comparison with a library sees a wrong order."""
    x = numbers(np.random.default_rng(1), 20, 1000)
    orders = (numpy_pairwise(1000), torch_inner_sum(1000), eigen_inner_sum(1000), sequential(1000))
    found = {replay_rows(tree, x).tobytes() for tree in orders}
    assert len(found) == 4
    assert torch_outer_sum(300, 40, 39).canonical() != torch_outer_sum(300, 40, 0).canonical()


@pytest.mark.slow
def test_tensorflow_sums_in_these_orders():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for n in (*LENGTHS, 8192, 8193, 8200):
        x = numbers(rng, 3, n)
        found = tf.reduce_sum(tf.constant(x), 1).numpy()
        trees = [eigen_inner_sum(n, line * n) for line in range(3)]
        assert np.array_equal([replay_rows(t, x[i : i + 1])[0] for i, t in enumerate(trees)], found), n
    for n in ROWS:
        for columns in COLUMNS:
            x = numbers(rng, n, columns)
            found = tf.reduce_sum(tf.constant(x), 0).numpy()
            for column in {0, columns // 2, columns - 1}:
                tree = eigen_outer_sum(n, columns, column)
                assert replay_rows(tree, np.ascontiguousarray(x[:, column])[None])[0] == found[column]


def test_kahan_is_its_loop_and_better_than_a_chain():
    left, right, bias = terms(400)
    total, lost = np.zeros((6, 5), F), np.zeros((6, 5), F)
    for part in [*rounded_products(left, right), np.broadcast_to(bias, (6, 5))]:
        term = part - lost
        after = total + term
        lost = (after - total) - term
        total = after
    assert np.array_equal(kahan_sum_products(left, right, bias), total)
    exact = np.array([[math.fsum(left[p].astype(float) * right[:, c]) for c in range(5)] for p in range(6)])
    rows = what_if(left, right, exact, {"kahan": kahan_sum_products, "chain": sequential(400, fused=False)})
    assert rows[0]["error_ulp_max"] < rows[1]["error_ulp_max"]


def test_what_if_measures_each_order_against_the_truth():
    left, right, bias = terms(300)
    truth = reference.linear(left, np.ascontiguousarray(right.T))
    rows = what_if(left, right, truth, {"chain": sequential(300), "blocks": blocked(300, 20, bias=None)})
    assert [row["order"] for row in rows] == ["chain", "blocks"]
    exact = truth.value
    for row, tree in zip(rows, (sequential(300), blocked(300, 20, bias=None)), strict=True):
        error = replay(tree, left, right).astype(float) - exact
        assert row["error_abs_max"] == pytest.approx(np.abs(error).max(), rel=1e-6)
        unit = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 23)
        assert row["error_ulp_rms"] == pytest.approx(np.sqrt(np.mean((error / unit) ** 2)), rel=1e-6)
        assert row["error_ulp_max"] == pytest.approx(np.abs(error / unit).max(), rel=1e-6)
        assert 0 < row["correctly_rounded"] < 1
    whole = exact + bias
    assert what_if(left, right, whole, {"b": blocked(300, 20)}, bias)[0]["error_ulp_max"] < 100
    with pytest.raises(ValueError, match="sums' shape"):
        what_if(left, right, exact[1:], {})


def test_a_sum_of_one_term():
    left, right = np.full((1, 1), 3, F), np.full((1, 1), 5, F)
    orders = [
        sequential(1),
        blocked(1, 4, None),
        pairwise(1),
        strided(1, 4),
        split_k(1, 3),
        numpy_pairwise(1),
    ]
    assert {replay(tree, left, right)[0, 0] for tree in orders} == {15.0}
    assert SummationTree(Series((Run((0,)),)), 1).root == chain([0])
