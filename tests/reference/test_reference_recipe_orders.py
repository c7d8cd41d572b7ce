"""Orders of statistics: against the libraries' trees, exact arithmetic and plain loops."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from reference import library_orders
from reference.recipe_orders import KINDS, Layout, Order
from reference.recipe_statistics import Statistics
from reference.replay import replay_rows


def rounded(value: Fraction, digits: int) -> Fraction:
    """To nearest even, no limits of the exponent."""
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - digits + 1)
    return round(value / unit) * unit


def layout(
    rows: int, columns: int | None = None, samples: int = 1, depth: int = 1, pixels: int = 1
) -> Layout:
    return Layout(rows, columns or rows, samples, depth, pixels, np.arange(rows))


def hard_rows(rows: int, size: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, size)) * np.exp2(rng.integers(-12, 13, (rows, size)))
    return x.astype(np.float32)


SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 129, 768, 1000, 2049)


@pytest.mark.parametrize("size", SIZES)
def test_sums_of_orders_are_those_of_the_libraries_trees(size):
    rows = 40
    x, zeros = hard_rows(rows, size), np.zeros(rows, np.float32)
    place = layout(rows)
    cases = [
        (Order("cascade"), lambda r: library_orders.torch_inner_sum(size)),
        (Order("cascade columns"), lambda r: library_orders.torch_outer_sum(size, rows, r)),
        (Order("packs"), lambda r: library_orders.eigen_inner_sum(size, r * size)),
        (Order("interleaved"), lambda r: library_orders.eigen_outer_sum(size, rows, r)),
    ]
    for order, tree in cases:
        got = order.sums(x, zeros, False, place)
        wanted = [replay_rows(tree(r), x[r : r + 1])[0] for r in range(rows)]
        assert np.array_equal(got, np.array(wanted, np.float32)), order.kind


@pytest.mark.parametrize("size", [9000, 20011])
def test_long_rows_are_halved_where_a_vector_of_the_array_begins(size):
    x = hard_rows(3, size)
    got = Order("packs").sums(x, np.zeros(3, np.float32), False, layout(3))
    trees = [library_orders.eigen_inner_sum(size, r * size) for r in range(3)]
    assert got.tolist() == [float(replay_rows(t, x[r : r + 1])[0]) for r, t in enumerate(trees)]
    shifted = replay_rows(library_orders.eigen_inner_sum(size, 3), x)  # a wrong place shows
    assert size != 20011 or not np.array_equal(got, shifted)


def slowly(x: Any, mean: Any, squares: bool, fma: bool, wide: bool = False) -> Any:
    """Sequential sum of one part by exact arithmetic."""
    digits = 53 if wide else 24
    total = Fraction(0)
    for value in x:
        term = rounded(Fraction(float(value)) - Fraction(float(mean)), 24)
        if squares:
            term = term * term if fma else rounded(term * term, 24)
        total = rounded(total + term, digits)
    return total


@pytest.mark.parametrize("fma", [False, True])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_parts_are_neighbouring_terms_added_in_order(fma, parts):
    rows, size = 6, 61
    x = np.random.default_rng(5).standard_normal((rows, size)).astype(np.float32)
    mean = x.mean(axis=1, dtype=np.float32)
    chunk = -(-size // parts)
    for squares in (False, True):
        for partials, digits in (("binary32", 24), ("binary64", 53)):
            order = Order("sequential", parts=parts, fused=fma, partials=partials)
            centre = mean if squares else np.zeros(rows, np.float32)
            got = order.sums(x, centre, squares, layout(rows))
            for r in range(rows):
                total = Fraction(0)
                for start in range(0, size, chunk):
                    part = slowly(x[r, start : start + chunk], centre[r], squares, fma)
                    total = rounded(total + part, digits)
                assert Fraction(float(got[r])) == total


def test_wide_sums_keep_a_double_accumulator():
    x = hard_rows(4, 50)
    zeros = np.zeros(4, np.float32)
    order = Order("wide")
    for squares in (False, True):
        got = order.sums(x, zeros, squares, layout(4))
        assert got.dtype == np.float64
        assert [Fraction(v) for v in got.tolist()] == [slowly(row, 0, squares, False, True) for row in x]
    in_double = replace(order, terms="binary64").sums(x, zeros, True, layout(4))
    assert not np.array_equal(in_double, order.sums(x, zeros, True, layout(4)))


def test_channel_orders_against_plain_loops():
    samples, groups, depth, pixels = 3, 2, 10, 21
    rows, size = samples * groups, depth * pixels
    x = hard_rows(rows, size)  # (pixels, depth) in each row
    place = layout(rows, groups, samples, depth, pixels)
    zeros = np.zeros(rows, np.float32)
    grid = x.reshape(rows, pixels, depth)
    lanes = np.zeros((rows, 8), np.float32)
    for p in range(pixels):
        lanes += grid[:, p, :8]
        lanes[:, :2] += grid[:, p, 8:]
    for width in (4, 2, 1):
        lanes = lanes[:, :width] + lanes[:, width:]
    assert np.array_equal(Order("channel lanes").sums(x, zeros, False, place), lanes[:, 0])
    for parts in (1, 2, 5):
        chunk = -(-samples * pixels // parts)
        wanted = np.zeros(rows, np.float32)
        for r in range(rows):
            for d in range(depth):
                partial: dict[int, np.float32] = {}
                for p in range(pixels):
                    part = (r // groups * pixels + p) // chunk
                    partial[part] = np.float32(partial.get(part, np.float32(0)) + grid[r, p, d])
                for part in sorted(partial):
                    wanted[r] = wanted[r] + partial[part]
        assert np.array_equal(Order("channel parts", parts=parts).sums(x, zeros, False, place), wanted)


def test_windows_and_blocks_against_plain_loops():
    def nested(terms: list[Any], window: int) -> Any:
        count = -(-len(terms) // window)
        missing = count * window - len(terms)
        zero = np.float32(0)
        padded = [zero] * (missing // 2) + terms + [zero] * (missing - missing // 2)
        sums = [sequential(padded[i * window : (i + 1) * window]) for i in range(count)]
        return sequential(sums) if count <= window else nested(sums, window)

    def sequential(terms: list[Any]) -> Any:
        total = np.float32(0)
        for term in terms:
            total = np.float32(total + term)
        return total

    for size in (1, 31, 32, 33, 768, 1000, 1025, 3000):
        x = hard_rows(2, size, seed=size)
        zeros = np.zeros(2, np.float32)
        got = Order("windows", lanes=32).sums(x, zeros, False, layout(2))
        assert got.tolist() == [nested(list(row), 32) for row in x], size
        blocks = Order("sequential", lanes=4, split="blocks").sums(x, zeros, False, layout(2))
        wanted = [sequential([sequential(list(row[i : i + 4])) for i in range(0, size, 4)]) for row in x]
        assert blocks.tolist() == wanted, size


def test_line_lanes_against_plain_loops():
    height, width = 13, 5
    x = hard_rows(4, height * width)
    lines = x.reshape(4, height, width)
    acc = np.zeros((4, 4), np.float32)
    for first in (0, 4, 8):
        for j in range(width):
            acc += lines[:, first : first + 4, j]
    wanted = (acc[:, 0] + acc[:, 2]) + (acc[:, 1] + acc[:, 3])
    for j in range(width):
        wanted = wanted + lines[:, 12, j]
    place = replace(layout(4), width=width)
    got = Order("line lanes", lanes=4).sums(x, np.zeros(4, np.float32), False, place)
    assert np.array_equal(got, wanted)


def test_lanes_against_plain_loops():
    x = hard_rows(5, 71)
    acc = np.zeros((5, 16), np.float32)
    for j in range(71):
        acc[:, j % 16] += x[:, j]
    groups = [acc[:, 4 * g : 4 * g + 4] for g in range(4)]
    four = (groups[0] + groups[1]) + (groups[2] + groups[3])
    wanted = (four[:, 0] + four[:, 1]) + (four[:, 2] + four[:, 3])
    got = Order("lanes", lanes=16, streams=4).sums(x, np.zeros(5, np.float32), False, layout(5))
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize(
    ("samples", "parts", "edges"),
    [
        (4, 1, [0, 40]),
        (4, 2, [0, 20, 40]),
        (5, 2, [0, 30, 50]),
        (2, 4, [0, 5, 10, 15, 20]),
        (3, 4, [0, 10, 20, 30]),
    ],
)
def test_images_are_split_before_their_pixels(samples, parts, edges):
    order = Order("sequential", parts=parts, split="images")
    assert order.bounds(layout(1, 1, samples, 1, 10), samples * 10).tolist() == edges


def test_every_kind_of_order_has_words_and_a_wrong_one_is_refused():
    assert len({Order(kind).words() for kind in KINDS}) == len(KINDS)
    for wrong in ({"kind": "tree"}, {"kind": "packs", "lanes": 3}, {"kind": "packs", "streams": 0}):
        with pytest.raises(ValueError, match=r"correct them|choose from"):
            Order(**wrong)
    with pytest.raises(ValueError, match="statistics"):
        Statistics("Welford", Order("packs"))
    with pytest.raises(ValueError, match="choose"):
        Statistics("three-pass")
