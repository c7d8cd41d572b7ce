"""Products of matrices on tensor cores: chains, slices of K, the rounding of operands and its probes."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from reference.formats import BFLOAT16, BINARY16, TF32, round_to
from reference.tensorcore import (
    PROBES,
    UNITS,
    fused_dot,
    matmul,
    operand_rounding_of,
    round_operand,
    unit_of,
)

HALF = unit_of("volta", "fp16", "float16")


def product(unit, m=7, k=50, n=70, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)


@pytest.mark.parametrize("unit", [UNITS["ampere", "tf32"], UNITS["hopper", "fp16"], HALF], ids=str)
@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
def test_a_product_is_its_dot_products(unit, mode):
    x, y = product(unit)
    p, q = (round_operand(m, unit.format, mode) for m in (x, y))
    c = round_to(np.random.default_rng(1).standard_normal(70), unit.output).astype(np.float32)
    found = matmul(x, y, unit, operand_rounding=mode, c=c, c_joins="first", threads=2)
    np.testing.assert_array_equal(found, fused_dot(p[:, None, :], q.T[None], c, unit))
    zero = matmul(p, q, unit)
    np.testing.assert_array_equal(zero, fused_dot(p[:, None, :], q.T[None], 0.0, unit))
    np.testing.assert_array_equal(matmul(p, q, unit, c=c), zero + c.astype(zero.dtype))


def test_slices_of_k():
    unit = UNITS["ampere", "tf32"]
    x, y = product(unit, k=100)
    x, y = (round_operand(m, TF32, "RNA") for m in (x, y))
    part = [matmul(x[:, i : i + 16], y[i : i + 16], unit) for i in range(0, 100, 16)]
    assert len(part) == 7
    found = {
        order: matmul(x, y, unit, split_k=7, k_block=8, order=order) for order in ("sequential", "pairwise")
    }
    chain = part[0]
    for piece in part[1:]:
        chain = chain + piece
    np.testing.assert_array_equal(found["sequential"], chain)
    pairs = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + part[6])
    np.testing.assert_array_equal(found["pairwise"], pairs)
    assert np.count_nonzero(found["pairwise"] != found["sequential"]) > 50
    blocks = np.arange(100) // 8 % 3
    turns = [matmul(x[:, blocks == i], y[blocks == i], unit) for i in range(3)]
    np.testing.assert_array_equal(
        matmul(x, y, unit, split_k=3, k_block=8, order="interleaved"), (turns[0] + turns[1]) + turns[2]
    )
    c = np.float32(0.1)
    first = matmul(x, y, unit, split_k=7, k_block=8, c=c, c_joins="first")
    chain = matmul(x[:, :16], y[:16], unit, c=c, c_joins="first")
    for piece in part[1:]:
        chain = chain + piece
    np.testing.assert_array_equal(first, chain)
    assert np.count_nonzero(first != found["sequential"] + c) > 50
    wide = [matmul(x[:, i : i + 32], y[i : i + 32], unit) for i in range(0, 100, 32)]
    whole = ((wide[0] + wide[1]) + wide[2]) + wide[3]
    np.testing.assert_array_equal(matmul(x, y, unit, split_k=90, k_block=32), whole)


def test_an_empty_sum_is_zero_or_c():
    unit = UNITS["hopper", "tf32"]
    x, y = np.zeros((3, 0), np.float32), np.zeros((0, 4), np.float32)
    np.testing.assert_array_equal(matmul(x, y, unit), np.zeros((3, 4)))
    np.testing.assert_array_equal(matmul(x, y, unit, c=2.0, c_joins="first"), np.full((3, 4), 2.0))
    assert matmul(np.zeros((0, 5), np.float32), np.zeros((5, 4), np.float32), unit).shape == (0, 4)


def drift(unit, mean, spread):
    """(error - nothing) over sum |ab|, in 2**-24, of 4096 sums of 1152 products of uniform numbers."""
    rng = np.random.default_rng(0)
    x, y = (round_operand(rng.random(s, np.float32), unit.format, "RNE") for s in ((64, 1152), (1152, 64)))
    exact = x.astype(float) @ y.astype(float)  # products and sums of 22-bit numbers: exact enough
    error = (matmul(x, y, unit) - exact) / exact * 2.0**24
    assert abs(error.mean() - mean) < 3
    assert abs(error.std() - spread) < 1.5


def test_truncation_has_a_sign():
    """Uniform numbers in [0, 1) rounded to TF32, 64 x 1152 by 1152 x 64: -248 and -132, not 0."""
    drift(UNITS["ampere", "tf32"], -248, 8)
    drift(UNITS["hopper", "tf32"], -132, 5)
    with pytest.raises(AssertionError):
        drift(UNITS["hopper", "tf32.wmma"], -132, 5)


def patterns():
    """Float32 patterns: every exponent, and the significands around every tie of 11 and 8 bits."""
    tails = [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x7FFFFF]
    grid = np.arange(512, dtype=np.uint32)[:, None] << np.uint32(23) | np.array(tails, np.uint32)
    rng = np.random.default_rng(0)
    return np.concatenate([grid.ravel(), rng.integers(0, 2**32, 20_000, dtype=np.uint32)]).view(np.float32)


@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
@pytest.mark.parametrize("fmt", [TF32, BFLOAT16, BINARY16], ids=lambda f: f.name)
def test_operands_are_rounded_as_their_format_says(fmt, mode):
    x = patterns()
    found = round_operand(x, fmt, mode)
    with np.errstate(invalid="ignore"):  # signalling NaN
        wanted = round_to(x, fmt, mode)
    if mode == "RZ":  # an infinity is none
        assert np.isfinite(found[np.isfinite(x)]).all()
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found[~np.isnan(x)]), np.signbit(x[~np.isnan(x)]))
    if fmt == BFLOAT16 and mode == "RNE":
        with np.errstate(invalid="ignore", over="ignore"):
            np.testing.assert_array_equal(found, x.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_the_three_probes():
    """The table of NVIDIA's cvt.rna and of a unit that is handed raw numbers."""
    one_up, two_up = 1 + 2.0**-10, 1 + 2.0**-9
    table = {"RZ": (1, one_up, 1), "RNE": (1, two_up, one_up), "RNA": (one_up, two_up, one_up)}
    for mode, responses in table.items():
        assert ("tf32", mode) in operand_rounding_of(responses, PROBES[:3])
        assert {m for f, m in operand_rounding_of(responses, PROBES[:3])} == {mode}
    assert operand_rounding_of(PROBES) == [("binary32", "none")]
    assert operand_rounding_of([2.0] * len(PROBES)) == []


@pytest.mark.parametrize("fmt", [TF32, BFLOAT16, BINARY16], ids=lambda f: f.name)
@pytest.mark.parametrize("mode", ["RNE", "RNA", "RZ"])
def test_all_probes_tell_everything_apart(fmt, mode):
    unit = next(u for u in (UNITS["hopper", n] for n in ("tf32", "bf16", "fp16")) if u.format == fmt)
    eye = np.ones((1, 1), np.float32)
    back = matmul(np.array(PROBES, np.float32)[:, None], eye, unit, operand_rounding=mode)[:, 0]
    assert operand_rounding_of(back) == [(fmt.name, mode)]


def test_the_benchmark_measures(monkeypatch):
    """As when it is run as a script: its folder is on the path."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    from bench_tensorcore import CHOSEN, measured

    assert set(CHOSEN) <= set(UNITS)
    row = measured(*CHOSEN[1], 2, 2, (8, 33, 70))
    assert 0 < row["seconds_least"] <= row["seconds_median"]
    assert row["macs_per_second"] == pytest.approx(8 * 33 * 70 / row["seconds_median"])
