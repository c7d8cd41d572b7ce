"""bfloat16 dot pairs: recorded results of the instructions, a slow oracle, and what torch makes of them."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.dot_pairs import dot, matmul, to_bfloat16
from reference.formats import BFLOAT16, round_to
from reference.tensorcore import round_operand

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
SMALLEST = Fraction(2) ** -126


def recorded():
    manifest = json.loads((CAPTURES / "avx512_bf16.json").read_text())
    path = CAPTURES / manifest["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"]
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def as_float(bits):
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def differing(found, wanted):
    """Where bit patterns differ, any NaN being as good as another."""
    nan = np.isnan(found) & np.isnan(wanted)
    return int(np.count_nonzero((found.view(np.uint32) != wanted.view(np.uint32)) & ~nan))


def test_the_instruction_is_returned_bit_for_bit():
    rows = recorded()
    a, b = as_float(rows["a"]), as_float(rows["b"])
    c, d = (rows[name].view(np.float32) for name in "cd")
    assert d.size == 5120
    found = dot(a, b, c)
    assert differing(found, d) == 0
    swapped = dot(a[:, ::-1], b[:, ::-1], c)
    assert differing(swapped, d) > 300, "the even element first is another instruction"
    assert differing(dot(a, b, c, "tdpbf16ps"), d) > 300
    with np.errstate(all="ignore"):
        plain = (c.astype(float) + (a.astype(float) * b.astype(float)).sum(axis=1)).astype(np.float32)
    assert differing(plain, d) > 300, "nor is it one exact sum"
    wrong = d.copy()
    wrong[5] = np.nextafter(wrong[5], np.float32(1e30))
    assert differing(found, wrong) == 1


def test_the_conversion_is_returned_bit_for_bit():
    rows = recorded()
    x, rounded = rows["x"].view(np.float32), as_float(rows["rounded"])
    assert differing(to_bfloat16(x), rounded) == 0
    assert differing(to_bfloat16(x, "RNE"), rounded) > 30, "subnormal numbers are kept by software"


def flushed(exact, zero):
    """A fraction as a float32 that FTZ leaves; `zero` is what an exact zero is."""
    if not exact:
        return zero
    sign = -1.0 if exact < 0 else 1.0
    exponent = abs(exact).numerator.bit_length() - abs(exact).denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    rounded = round(exact / Fraction(2) ** (exponent - 23)) * Fraction(2) ** (exponent - 23)
    if abs(rounded) < SMALLEST:
        return sign * 0.0
    return float(rounded) if abs(rounded) < Fraction(2) ** 128 else sign * float("inf")


def daz(x):
    return x * 0.0 if abs(x) < 2.0**-126 else x


def fma(x, y, z):
    x, y, z = (daz(float(v)) for v in (x, y, z))
    if not np.isfinite(z):
        return z
    return flushed(Fraction(x) * Fraction(y) + Fraction(z), x * y + z)


def by_pairs(a, b, c):
    for k in range(0, len(a), 2):
        c = fma(a[k], b[k], fma(a[k + 1], b[k + 1], c))
    return c


def by_tiles(a, b, c, terms=32):
    for first in range(0, len(a), terms):
        even = odd = 0.0
        for k in range(first, min(first + terms, len(a)), 2):
            even, odd = fma(a[k], b[k], even), fma(a[k + 1], b[k + 1], odd)
        c = fma(1.0, c, fma(1.0, even, odd)) if np.isfinite(even) and np.isfinite(odd) else c + (even + odd)
    return c


def operands(kind, seed, count):
    rng = np.random.default_rng(seed)
    a, b, c = rng.standard_normal(count), rng.standard_normal(count), rng.standard_normal()
    if kind == "cancelling":
        b[1::2], a[1::2] = -b[: count // 2 * 2 : 2], a[: count // 2 * 2 : 2]
    if kind == "tiny":
        a, b = a * 2.0 ** rng.integers(-70, -55, count), b * 2.0 ** rng.integers(-75, -60, count)
        c *= 2.0**-126
    if kind == "wide":
        a, b = a * 2.0 ** rng.integers(-40, 40, count), b * 2.0 ** rng.integers(-40, 40, count)
    a, b = (round_to(m, BFLOAT16).astype(np.float32) for m in (a, b))
    return a, b, np.float32(c)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["normal", "cancelling", "tiny", "wide"]), st.integers(0, 2**32 - 1), st.integers(1, 20)
)
def test_the_oracles_in_fractions_agree(kind, seed, pairs):
    a, b, c = operands(kind, seed, 2 * pairs)
    for instruction, oracle in (("vdpbf16ps", by_pairs), ("tdpbf16ps", by_tiles)):
        found, wanted = dot(a, b, c, instruction)[()], np.float32(oracle(a, b, c))
        assert found.view(np.uint32) == wanted.view(np.uint32), instruction
    short, wanted = dot(a, b, c, "tdpbf16ps", tile_pairs=4)[()], np.float32(by_tiles(a, b, c, 8))
    assert short.view(np.uint32) == wanted.view(np.uint32)


def test_the_two_instructions_differ_and_so_do_their_oracles():
    rows = [operands("cancelling", seed, 64) for seed in range(40)]
    a, b, c = (np.stack([row[i] for row in rows]) for i in range(3))
    pairs, tiles = dot(a, b, c), dot(a, b, c, "tdpbf16ps")
    assert np.count_nonzero(pairs != tiles) > 20
    assert np.count_nonzero(pairs != [np.float32(by_tiles(*row)) for row in rows]) > 20


def test_tiny_results_are_flushed_after_rounding_to_24_bits():
    one, tiny = np.float32(1.0), 2.0**-75
    for part, kept in ((0.25, True), (0.5, True), (0.50390625, False), (1.0, False)):
        for pair in ([[tiny * part, 0.0], [-tiny, 0.0]], [[0.0, tiny * part], [0.0, -tiny]]):
            found = dot(*np.array(pair, np.float32), np.float32(2.0**-126))
            assert found == (np.float32(2.0**-126) if kept else 0.0)
    below = np.float32(2.0**-127)
    assert dot([one, 0], [0.0, 0.0], below) == 0.0, "a subnormal accumulator is a zero"
    assert dot([below, 0], [2.0**100, 0.0], 0.0) == 0.0, "and so is a subnormal operand"
    assert np.signbit(dot([-below, -0.0], [2.0**100, 1.0], -0.0))
    assert np.isnan(dot([below, 0], [np.inf, 0.0], 0.0)), "which makes 0 * Inf"


def test_a_tile_flushes_what_its_two_chains_leave():
    a, b = np.array([1.5 * 2.0**-60, 2.0**-60], np.float32), np.array([2.0**-66, -(2.0**-66)], np.float32)
    smallest = np.float32(2.0**-126)  # the chains leave 2**-127
    assert dot(a, b, smallest, "tdpbf16ps") == smallest
    assert dot(a, b, smallest, "vdpbf16ps") == np.float32(1.5) * smallest


def split(x, w, block):
    return [matmul(x[:, k : k + block], w[k : k + block]) for k in range(0, x.shape[1], block)]


def test_products_in_blocks_and_groups():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 90)).astype(np.float32), rng.standard_normal((90, 70)).astype(np.float32)
    p, q = to_bfloat16(x), to_bfloat16(w)
    whole = matmul(x, w, conversion="RNE")
    np.testing.assert_array_equal(whole, dot(p[:, None], q.T[None], 0.0))
    np.testing.assert_array_equal(
        matmul(p, q, instruction="tdpbf16ps"), dot(p[:, None], q.T[None], 0.0, "tdpbf16ps")
    )
    s = split(p, q, 16)
    chain = s[0]
    for part in s[1:]:
        chain = chain + part
    np.testing.assert_array_equal(matmul(p, q, k_block=16), chain)
    halves = ((s[0] + s[1]) + s[2]) + ((s[3] + s[4]) + s[5])
    np.testing.assert_array_equal(matmul(p, q, k_block=16, split_k=2), halves)
    assert np.count_nonzero(halves != chain) > 50
    c = rng.standard_normal(70).astype(np.float32)
    np.testing.assert_array_equal(matmul(p, q, c=c), dot(p[:, None], q.T[None], c))
    odd = matmul(p[:, :33], q[:33])
    np.testing.assert_array_equal(odd, dot(p[:, None, :33], q.T[None, :, :33], 0.0))
    np.testing.assert_array_equal(matmul(p[:, :0], q[:0], c=c), np.broadcast_to(c, (5, 70)))


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: dot([1 + 2.0**-12, 0.0], [1.0, 0.0], 0.0), "a must hold numbers of bfloat16"),
        (lambda: dot([1.0, 0.0], [1.0], 0.0), "same last axis"),
        (lambda: dot(np.ones((2, 2)), np.ones((3, 2)), 0.0), "must broadcast"),
        (lambda: dot(1.0, [1.0], 0.0), "axis of terms"),
        (lambda: dot([1.0], [1.0], 0.0, "fma"), "an instruction is one of"),
        (lambda: dot([1.0], [1.0], 0.0, tile_pairs=17), "a tile has 1 to 16 pairs"),
        (lambda: to_bfloat16([1.0], "RZ"), "a conversion is one of"),
        (lambda: matmul(np.ones((2, 2)), np.ones((3, 2))), "left .M, K. and right"),
        (lambda: matmul(np.ones((2, 4)), np.ones((4, 2)), k_block=3), "k_block is an even number"),
        (lambda: matmul(np.ones((2, 4)), np.ones((4, 2)), split_k=0), "split_k is a positive integer"),
        (lambda: matmul(np.ones((2, 4)), np.ones((4, 2)), c=np.ones(3)), "c must broadcast"),
    ],
)
def test_errors_name_the_rule(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


def cancelling(rng, rows, columns, terms):
    """Operands whose products cancel in pairs at random places, but for a small rest: rounding shows."""
    half = terms // 2
    x, w = rng.standard_normal((rows, half)), rng.standard_normal((columns, half))
    rest = terms - 2 * half
    x = np.concatenate([x, x, np.zeros((rows, rest))], 1)
    w = np.concatenate([w, -w, np.ones((columns, rest))], 1)
    place = rng.permutation(terms)
    return x[:, place], w[:, place]


def columns_of(x, kernel, stride, last, block):
    """Patches (positions, terms) of (N, C, H, W), terms in the order (channel block, kh, kw, channel)."""
    channels = x.shape[1]
    block = channels + channels % 2 if last else block
    x = np.pad(x, ((0, 0), (0, -channels % block), (0, 0), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    n, c, h, w = view.shape[:4]
    parts = view.reshape(n, c // block, block, h, w, kernel, kernel).transpose(0, 3, 4, 1, 5, 6, 2)
    return np.ascontiguousarray(parts).reshape(n * h * w, -1), (n, h, w)


@pytest.fixture
def torch_here():
    """torch where it runs bfloat16 by VDPBF16PS."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    if "avx512_bf16" not in flags or "amx_bf16" in flags:
        pytest.skip("this processor has no AVX512_BF16, or AMX, which torch prefers")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def half_width(x):
    return round_operand(x, BFLOAT16, "RNE")


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(8, 64, 16), (16, 256, 32), (7, 130, 33), (32, 1024, 64), (5, 2048, 40), (16, 4096, 16)]
)
def test_torch_linear_layers_are_equal_everywhere(torch_here, shape):
    torch, rng = torch_here, np.random.default_rng(sum(shape))
    rows, terms, columns = shape
    for x, w in (
        cancelling(rng, rows, columns, terms),
        (rng.random((rows, terms)), rng.random((columns, terms))),
    ):
        tx, tw = (torch.tensor(m, dtype=torch.bfloat16) for m in (x, w))
        found = torch.nn.functional.linear(tx, tw).float().numpy()
        p, q = tx.float().numpy(), tw.float().numpy()
        np.testing.assert_array_equal(half_width(matmul(p, q.T, k_block=512)), found)
    if terms > 512:
        x, w = (half_width(m.astype(np.float32)) for m in cancelling(rng, rows, columns, terms))
        assert (half_width(matmul(x, w.T)) != half_width(matmul(x, w.T, k_block=512))).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize(
    "shape", [(32, 16, 3, 1), (64, 32, 3, 1), (256, 32, 3, 1), (64, 64, 5, 2), (3, 16, 3, 1), (24, 16, 3, 1)]
)
def test_torch_convolutions_are_equal_everywhere(torch_here, shape, last):
    torch, rng = torch_here, np.random.default_rng(sum(shape))
    channels, filters, kernel, stride = shape
    terms = channels * kernel**2
    constant = np.full((2, channels, 9, 9), 1.2890625)
    _, w = cancelling(rng, 1, filters, terms)
    scale = 2.0 ** rng.integers(-6, 7, terms)
    for image, flat in (
        (constant, w),
        (rng.standard_normal(constant.shape), w * scale),
        (rng.random(constant.shape), rng.random(w.shape)),
    ):
        weight = flat.reshape(filters, channels, kernel, kernel)
        tx, tw = (torch.tensor(m, dtype=torch.bfloat16) for m in (image, weight))
        if last:
            tx, tw = (m.to(memory_format=torch.channels_last) for m in (tx, tw))
        found = torch.nn.functional.conv2d(tx, tw, stride=stride).float().numpy()
        rows, (n, oh, ow) = columns_of(tx.float().numpy(), kernel, stride, last, 16)
        kernels, _ = columns_of(tw.float().numpy(), kernel, 1, last, 16)
        whole = half_width(matmul(rows, kernels.T)).reshape(n, oh, ow, filters).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(whole, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "side", "last", "block"),
    [(600, 9, False, 512), (600, 11, False, 160), (1024, 14, False, 160), (600, 9, True, None)],
)
def test_torch_pointwise_convolutions_are_equal_everywhere(torch_here, channels, side, last, block):
    torch, rng = torch_here, np.random.default_rng(channels + side)
    constant = np.full((2, channels, side, side), 1.2890625)
    _, w = cancelling(rng, 1, 32, channels)
    for image in (constant, rng.standard_normal(constant.shape)):
        tx, tw = (torch.tensor(m, dtype=torch.bfloat16) for m in (image, w[:, :, None, None]))
        bias = torch.tensor(rng.standard_normal(32) * 2.0**-19, dtype=torch.bfloat16)
        if last:
            tx, tw = (m.to(memory_format=torch.channels_last) for m in (tx, tw))
        found = torch.nn.functional.conv2d(tx, tw, bias).float().numpy()
        rows = tx.permute(0, 2, 3, 1).reshape(-1, channels).float().numpy()
        sums = matmul(rows, tw[:, :, 0, 0].T.float().numpy(), k_block=block) + bias.float().numpy()
        whole = half_width(sums).reshape(2, side, side, 32).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(whole, found)
