"""Seeded arrays: the same bits everywhere, and the statistics that the recipes promise."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precision.errors import UserError
from precision.inputs import Array, check_arrays, checksum

# SHA-256 (first 16 digits) of each recipe's bytes for the key "golden": they may never change, because
# captures on other machines were made from them.
GOLDEN = {
    ("uniform", ()): "ac653cb1f74e5888",
    ("uniform", (("low", -2.0), ("high", 3.0))): "8ec4774171738c97",
    ("normal", ()): "1b9b459d814ea919",
    ("normal", (("mean", 1000.0),)): "69fe12fa3c184862",
    ("integers", (("low", -2), ("high", 2))): "77332f2fb17edbd7",
    ("wide", (("exponent", 20),)): "a530f47f41e14c90",
    ("mirrored", ()): "208148266209a009",
    ("cancelling", ()): "c127ae4bfb473bb9",
    ("balanced", (("axes", (0, 2)), ("mean", 2))): "dfd06594faf13cf2",
}


@pytest.mark.parametrize("recipe", GOLDEN)
def test_bits_never_change(recipe):
    array = Array((4, 6, 8), recipe[0], dict(recipe[1])).make("golden")
    assert array.dtype == np.float32
    assert hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()[:16] == GOLDEN[recipe]


@given(st.text(min_size=1), st.sampled_from(sorted({name for name, _ in GOLDEN} - {"balanced"})))
def test_key_alone_decides(key, recipe):
    arguments = next(dict(rest) for name, rest in GOLDEN if name == recipe)
    array = Array((2, 4, 3), recipe, arguments)
    assert np.array_equal(array.make(key), array.make(key))
    assert not np.array_equal(array.make(key), array.make(key + "'"))


def test_normal_is_the_rounded_sum_of_twelve_uniforms():
    # The oracle sums the same 32-bit words as exact fractions.
    key = int.from_bytes(hashlib.sha256(b"oracle").digest()[:16], "little")
    words = [int(word) for word in np.random.Philox(key=key).random_raw(6 * 10)]
    made = Array((10,), "normal").make("oracle")
    for i in range(10):
        parts = [word for j in range(6) for w in [words[10 * j + i]] for word in (w >> 32, w & 0xFFFFFFFF)]
        exact = Fraction(sum(parts), 2**32) - 6
        assert made[i] == np.float32(float(exact))  # exact has at most 36 bits: float() is exact


def test_normal_has_mean_0_and_variance_1():
    sample = Array((200_000,), "normal").make("moments").astype(np.float64)
    assert abs(sample.mean()) < 5 / np.sqrt(sample.size)
    assert abs(sample.var() - 1) < 5 * np.sqrt(2 / sample.size)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(-3, 3))
def test_balanced_groups_have_exact_statistics(rows, eights, mean):
    array = Array((rows, 8 * eights), "balanced", {"axes": (1,), "mean": mean}).make("balanced")
    for number, row in enumerate(array):
        values = [Fraction(float(x)) for x in row]
        average = sum(values) / len(values)
        assert average == (mean if number % 2 else 0)
        assert sum((x - average) ** 2 for x in values) / len(values) == Fraction(3, 4)


def test_balanced_refuses_a_group_that_cannot_be():
    with pytest.raises(ValueError, match="multiple of 8"):
        Array((2, 12), "balanced", {"axes": (1,)}).make("x")


def test_cancelling_pairs_almost_cancel():
    weight = Array((3, 8, 2), "cancelling").make("w").astype(np.float64)
    rest = np.abs(weight[:, :4] + weight[:, 4:])
    assert rest.max() <= 3 * 2.0**-18
    assert rest.max() > 0
    data = Array((1, 8, 2), "mirrored").make("x")
    assert np.array_equal(data[:, :4], data[:, 4:])


def test_checksum_sees_every_change():
    array = Array((2, 3), "normal").make("a")
    base = checksum({"a": array})
    flipped = array.copy()
    flipped.view(np.uint32)[0, 0] ^= 1
    assert len({base, checksum({"b": array}), checksum({"a": array.T}), checksum({"a": flipped})}) == 4


@pytest.mark.parametrize(
    "given_arrays",
    [
        {},
        {"a": np.zeros((2, 2), np.float32), "b": np.zeros(1, np.float32)},
        {"a": np.zeros((2, 3), np.float32)},
        {"a": np.zeros((2, 2), np.float64)},
    ],
)
def test_wrong_arrays_are_refused(given_arrays):
    declared = {"a": Array((2, 2), "normal")}
    check_arrays("case", declared, {"a": declared["a"].make("k")})
    with pytest.raises(UserError, match="case"):
        check_arrays("case", declared, given_arrays)
