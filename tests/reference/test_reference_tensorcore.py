"""Tensor cores: recorded results of the hardware, a slow oracle in integers, stated special cases."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.formats import BINARY16, BINARY32, TF32, round_to
from reference.tensorcore import (
    UNITS,
    checked_operand,
    fused_dot,
    fused_error_bound,
    matmul,
    operand_rounding_of,
    round_operand,
    unit_of,
)

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
RECORDED = {
    "V100-fp16": ("volta", "fp16"),
    "A100-tf32": ("ampere", "tf32"),
    "A100-bf16": ("ampere", "bf16"),
    "A100-fp16": ("ampere", "fp16"),
    "H100-tf32": ("hopper", "tf32"),
    "H100-bf16": ("hopper", "bf16"),
    "H100-fp16": ("hopper", "fp16"),
}
HALVES = [replace(unit_of(a, "fp16", "float16")) for a in ("volta", "ampere", "blackwell")]
ALL = [*UNITS.values(), *HALVES]
SMALLEST = 2.0**-149


def mismatches(unit, a, b, c, d):
    """How many results differ from `d` in their bits."""
    return int(np.count_nonzero(fused_dot(a, b, c, unit).view(np.uint32) != d.view(np.uint32)))


@pytest.fixture(params=RECORDED)
def recording(request):
    path = VECTORS / f"{request.param}.npz"
    if not path.exists():
        pytest.skip(f"the hardware's results are not here: no {path}")
    with np.load(path) as arrays:
        return UNITS[RECORDED[request.param]], [arrays[name].view(np.float32) for name in "abcd"]


def test_every_recorded_result_is_returned_bit_for_bit(recording):
    unit, arrays = recording
    assert arrays[3].size == 5000
    assert mismatches(unit, *arrays) == 0
    assert unit.recorded


def test_the_recordings_reject_their_neighbours(recording):
    unit, (a, b, c, d) = recording
    for step in (-1, 1):
        assert mismatches(replace(unit, fraction_bits=unit.fraction_bits + step), a, b, c, d) > 100
    if unit.terms == a.shape[1] and unit.terms > 4:
        assert mismatches(replace(unit, terms=unit.terms // 2), a, b, c, d) > 100
    wrong = d.copy()
    wrong[7] = np.nextafter(wrong[7], np.float32(0))
    assert mismatches(unit, a, b, c, wrong) == 1


def split(value, emin):
    """(significand as a fraction below 2, exponent) of a nonzero number, subnormals not normalised."""
    exact = Fraction(float(value))
    exponent = max(int(np.floor(np.log2(abs(float(value))))), emin)
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exponent > emin and abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    return exact / Fraction(2) ** exponent, exponent


def oracle(a, b, c, unit):
    """One chain in fractions; finite operands. The value is a Python float, signed zeros included."""
    total = float(c)
    half = unit.output == BINARY16
    for k in range(0, len(a), unit.terms):
        terms = []
        for x, y in zip(a[k : k + unit.terms], b[k : k + unit.terms], strict=True):
            if x and y:
                (sx, ex), (sy, ey) = split(x, unit.format.emin), split(y, unit.format.emin)
                terms.append((sx * sy, ex + ey))
        if np.isinf(total):
            continue
        if total:
            terms.append(split(total, unit.output.emin))
        top = max([e for _, e in terms] + [unit.lowest])
        grid = Fraction(2) ** (top - unit.fraction_bits)
        exact = sum((int(s * Fraction(2) ** e / grid) * grid for s, e in terms), Fraction(0))
        if not exact:
            total = 0.0
            continue
        spacing = Fraction(2) ** (split_exponent(exact, unit.output.emin) - unit.output.precision + 1)
        count = round(exact / spacing) if half else int(exact / spacing)
        size = abs(count) * spacing
        limit = Fraction(unit.output.largest)
        total = float("inf") if size > limit else float(size)
        total = total if exact > 0 else -total
    return total


def split_exponent(exact, emin):
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    return max(exponent, emin)


def operands(kind, unit, rng, count, terms):
    """Adversarial operands of a unit, as float32: a, b (count, terms), c (count,)."""
    fmt, shape = unit.format, (count, terms)
    spread = 12 if fmt == BINARY16 else 60
    if kind == "normal":
        arrays = rng.standard_normal(shape), rng.standard_normal(shape), rng.standard_normal(count)
    elif kind == "wide":
        scales = [np.exp2(rng.integers(-spread, spread // 2, s)) for s in (shape, shape, count)]
        arrays = tuple(rng.standard_normal(s.shape) * s for s in scales)
    elif kind == "subnormal":  # products around the smallest result, subnormal operands
        low = 2.0 ** (fmt.emin - fmt.precision + 1)
        a = rng.integers(-(2**fmt.precision), 2**fmt.precision, shape) * low
        b = rng.standard_normal(shape) * np.exp2(rng.integers(-20, 4, shape))
        arrays = a, b, rng.integers(-99, 99, count) * max(low, SMALLEST)
    elif kind == "cancelling":  # pairs that cancel but for a small rest, and everything cancels now and then
        a, b = rng.standard_normal(shape), rng.standard_normal(shape)
        a, b = round_to(a, fmt), round_to(b, fmt)
        a[:, 1::2], b[:, 1::2] = -a[:, : terms // 2 * 2 : 2], b[:, : terms // 2 * 2 : 2]
        a[::2, -1] = 0.0
        a[::2, 0] += 2.0**-9 * (rng.random(len(a[::2])) < 0.5)
        arrays = a, b, rng.integers(-1, 2, count) * 2.0**-12
    elif kind == "ties":  # few bits, so that halves of a last place occur
        a = rng.integers(-8, 9, shape) * np.exp2(rng.integers(-7, 7, shape))
        b = rng.integers(-8, 9, shape) * 2.0 ** rng.integers(-6, 7, shape)
        arrays = a, b, rng.integers(-9, 9, count) * np.exp2(rng.integers(-14, 8, count))
    else:
        raise ValueError(kind)
    a, b = (round_to(m, fmt).astype(np.float32) for m in arrays[:2])
    return a, b, round_to(arrays[2], unit.output).astype(np.float32)


KINDS = ("normal", "wide", "subnormal", "cancelling", "ties")


def bits(x):
    return np.ascontiguousarray(x).view(np.uint16 if x.dtype == np.float16 else np.uint32)


@pytest.mark.parametrize("unit", ALL, ids=lambda u: f"{u.name} to {u.output.name}")
def test_the_oracle_in_integers_agrees(unit):
    rng = np.random.default_rng(unit.terms * unit.fraction_bits)
    for kind in KINDS:
        a, b, c = operands(kind, unit, rng, 30, 2 * unit.terms + 1)
        found = fused_dot(a, b, c, unit)
        wanted = np.array([oracle(*row, unit) for row in zip(a, b, c, strict=True)])
        assert found.dtype == (np.float16 if unit.output == BINARY16 else np.float32)
        np.testing.assert_array_equal(bits(found), bits(wanted.astype(found.dtype)), err_msg=kind)


def test_the_oracle_rejects_another_rounding():
    """Truncation of the terms, the output's rounding and the number of terms all show on such data."""
    unit = UNITS["ampere", "tf32"]
    a, b, c = operands("normal", unit, np.random.default_rng(1), 200, 12)
    found = fused_dot(a, b, c, unit)
    for other in (replace(unit, terms=8), replace(unit, fraction_bits=23), replace(unit, output=BINARY16)):
        wanted = np.array([oracle(*row, other) for row in zip(a, b, c, strict=True)])
        assert np.count_nonzero(found != wanted) >= 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ALL), st.integers(1, 40), st.sampled_from(KINDS))
def test_the_bound_holds_and_the_chain_agrees(seed, unit, terms, kind):
    a, b, c = operands(kind, unit, np.random.default_rng(seed), 4, terms)
    found, bound = fused_dot(a, b, c, unit), fused_error_bound(a, b, c, unit)
    for x, y, z, d, most in zip(a, b, c, found, bound, strict=True):
        assert bits(np.array([oracle(x, y, z, unit)], d.dtype)) == bits(d[None])
        exact = Fraction(float(z)) + sum(
            Fraction(float(p)) * Fraction(float(q)) for p, q in zip(x, y, strict=True)
        )
        if np.isfinite(d):
            assert abs(Fraction(float(d)) - exact) <= Fraction(float(most))
        else:
            assert np.isinf(most)


def test_the_bound_is_not_idle():
    """Errors come near it: a bound of a fifth would be violated."""
    unit = UNITS["ampere", "tf32"]
    rng = np.random.default_rng(3)
    a, b = (round_operand(rng.random((2000, 4)).astype(np.float32), TF32, "RZ") for _ in range(2))
    c = rng.random(2000).astype(np.float32)
    error = abs(fused_dot(a, b, c, unit) - (np.einsum("ij,ij->i", a.astype(float), b.astype(float)) + c))
    share = error / fused_error_bound(a, b, c, unit)
    assert 0.2 < share.max() <= 1.0


def one(unit, pairs, c=0.0):
    a, b = np.array(pairs, np.float32).T
    return fused_dot(a, b, np.float32(c), unit)[()]


@pytest.mark.parametrize("name", ["ampere", "hopper", "turing", "volta"])
def test_special_values(name):
    unit = UNITS[name, "fp16"]
    inf, nan = float("inf"), float("nan")
    assert bits(one(unit, [(nan, 1)])[None])[0] == 0x7FFFFFFF
    for pairs, c in (([(inf, 0)], 0), ([(inf, 1), (-inf, 1)], 1), ([(inf, 1)], -inf), ([(1, 1)], nan)):
        assert bits(one(unit, pairs, c)[None])[0] == 0x7FFFFFFF
    assert one(unit, [(inf, 2), (65504, -65504)], 5) == inf
    assert one(unit, [(1, 1)], -inf) == -inf
    for pairs, c in (([(0.0, -1.0)], -0.0), ([(-0.0, 1.0)], -0.0), ([(3, 5), (-5, 3)], 0.0)):
        assert bits(one(unit, pairs, c)[None])[0] == 0, "a sum of zero is +0"


@pytest.mark.parametrize("unit", UNITS.values(), ids=lambda u: u.name)
def test_a_term_is_truncated_toward_zero(unit):
    """1 - 1 aligns the rest to 2**0 and leaves the sum of what is kept of it."""
    grid = 2.0**-unit.fraction_bits
    for sign in (1.0, -1.0):
        rest = (1.75 * 2.0**-12 * sign, grid * 2.0**12)
        assert one(unit, [(1, 1), (-1, 1), rest, rest]) == 2 * grid * sign
        rest = (0.875 * 2.0**-12 * sign, grid * 2.0**12)
        assert bits(one(unit, [(1, 1), (-1, 1), rest, rest])[None])[0] == 0, "both are lost, and 0 is +0"
    # significands are not normalised: 1.5 * 1.5 has exponent 0, and its grid is that of 1
    odd = (1.0, grid) if grid >= 2.0**-14 else (2.0**-12, grid * 2.0**12)
    assert one(unit, [(1.5, 1.5), (-1.5, 1.5), odd]) == grid


def test_products_may_leave_the_range_of_float32():
    for name in ("ampere", "hopper"):
        unit = UNITS[name, "bf16"]
        assert one(unit, [(2.0**100, 2.0**100), (2.0**100, -(2.0**100))], 1.0) == 0.0, "1 is below the grid"
        assert one(unit, [(2.0**100, 2.0**100)]) == float("inf")
        assert one(unit, [(2.0**100, -(2.0**100))]) == -float("inf")
        assert one(unit, [(2.0**127, 1.0)], np.finfo(np.float32).max) == float("inf"), (
            "though rounded to zero"
        )
        assert one(unit, [(2.0**-100, 2.0**-49)]) == SMALLEST
        small = one(unit, [(2.0**-100, -(2.0**-50))])
        assert small == 0.0
        assert np.signbit(small)
        assert one(unit, [(2.0**-75, 2.0**-75), (2.0**-75, 2.0**-75)]) == SMALLEST


def test_the_lowest_exponent_of_an_alignment():
    """From Hopper on terms are not aligned to less than 2**-133, so that what is below 2**-158 is lost."""
    hopper = UNITS["hopper", "bf16"]
    most = (127 / 64 * 2.0**-100, 2.0**-50)  # 2**-149 less 2**-156
    kept, lost = [(2.0**-80, 2.0**-78)] * 4, [(2.0**-80, 2.0**-79)] * 8
    assert one(hopper, [most, *kept]) == SMALLEST
    assert one(hopper, [most, *lost]) == 0.0
    assert one(replace(hopper, lowest=UNITS["ampere", "bf16"].lowest), [most, *lost]) == SMALLEST


def test_full_steps_chain_and_open_steps_are_padded_with_zeros():
    rng = np.random.default_rng(5)
    for unit in (UNITS["ampere", "tf32"], UNITS["hopper", "bf16"]):
        a, b, c = operands("normal", unit, rng, 50, 3 * unit.terms - 1)
        step, chain = unit.terms, c
        for k in range(0, a.shape[1], step):
            chain = fused_dot(a[:, k : k + step], b[:, k : k + step], chain, unit)
        np.testing.assert_array_equal(fused_dot(a, b, c, unit), chain)
        pad = np.zeros((50, 1), np.float32)
        np.testing.assert_array_equal(
            fused_dot(np.hstack([a, pad]), np.hstack([b, pad]), c, unit), fused_dot(a, b, c, unit)
        )


def test_the_table_of_units():
    assert UNITS["volta", "fp16"].terms == 4
    assert ("volta", "tf32") not in UNITS
    assert ("turing", "bf16") not in UNITS
    assert [UNITS[a, "tf32"].terms for a in ("ampere", "ada", "hopper", "blackwell")] == [4, 4, 8, 8]
    assert UNITS["hopper", "tf32.wmma"].terms == 4
    assert {u.fraction_bits for u in UNITS.values()} == {23, 24, 25}
    assert unit_of("volta", "fp16", "float16").output == BINARY16
    assert unit_of("volta", "fp16").output == BINARY32
    assert {a for (a, f), u in UNITS.items() if u.recorded} == {"volta", "ampere", "hopper"}


def test_half_results_are_rounded_to_nearest_even_and_overflow():
    unit = unit_of("ampere", "fp16", "float16")
    assert one(unit, [(1, 1), (2.0**-11, 1)]) == 1.0
    assert one(unit, [(1, 1), (3 * 2.0**-11, 1)]) == 1 + 2.0**-9
    assert one(unit, [(65504, 1), (15, 1)]) == 65504
    assert one(unit, [(65504, 1), (16, 1)]) == float("inf")
    assert one(unit, [(2.0**-14, 2.0**-11)]) == 0.0
    assert one(unit, [(2.0**-14, 1.5 * 2.0**-10)]) == 2.0**-23
    assert bits(one(unit, [(float("nan"), 1)])[None])[0] == 0x7FFF


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda u, x: fused_dot([1 + 2.0**-12], [1.0], 0.0, u), "a must hold numbers of tf32"),
        (lambda u, x: fused_dot([1.0, 2.0], [1.0], 0.0, u), "same last axis"),
        (lambda u, x: fused_dot(np.ones((2, 3)), np.ones((4, 3)), 0.0, u), "must broadcast"),
        (lambda u, x: fused_dot(1.0, 1.0, 0.0, u), "same last axis"),
        (lambda u, x: matmul(x, x, u), "left must hold numbers of tf32"),
        (lambda u, x: matmul(x, x, u, operand_rounding="RU"), "operands are rounded by one of"),
        (lambda u, x: matmul(x, x[:1], u, operand_rounding="RZ"), "left .M, K. and right"),
        (lambda u, x: matmul(x, x, u, operand_rounding="RZ", split_k=0), "split_k is a positive integer"),
        (lambda u, x: matmul(x, x, u, operand_rounding="RZ", threads=True), "threads is a positive"),
        (lambda u, x: matmul(x, x, u, operand_rounding="RZ", order="none"), "order is one of"),
        (lambda u, x: matmul(x, x, u, operand_rounding="RZ", c=np.ones(3)), "c must broadcast"),
        (lambda u, x: round_operand(x, BINARY32, "RNE"), "operands are of tf32"),
        (lambda u, x: checked_operand([1e9], "a", BINARY16), "numbers of binary16"),
        (lambda u, x: unit_of("maxwell", "fp16"), "a unit is one of"),
        (lambda u, x: unit_of("ampere", "bf16", "float16"), "float16 for fp16 operands"),
        (lambda u, x: operand_rounding_of([1.0]), "each probe has one response"),
    ],
)
def test_errors_name_the_rule(call, rule):
    x = np.full((2, 2), 1 + 2.0**-12, np.float32)
    with pytest.raises(ValueError, match=rule):
        call(UNITS["ampere", "tf32"], x)
