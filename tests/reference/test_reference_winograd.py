"""Winograd convolutions: exact algebra, a slow oracle, bounds, NNPACK bit for bit, and recognising them."""

from __future__ import annotations

import hashlib
import json
import warnings
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import reference
from reference.winograd import (
    NNPACK,
    TILES,
    Variant,
    nnpack_takes_winograd,
    transforms,
    winograd_conv2d,
)
from reference.winograd_errors import CANDIDATES, error_bound, neighbour_pattern, recognise

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
EVERY = [*CANDIDATES, Variant(4, channel_block=5), Variant(2, fused=False, channel_block=3)]
DIRECT = {"padding": 1}


def times(matrix, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize("tile", TILES)
def test_the_matrices_make_a_convolution(tile):
    """One dimension, in fractions, on every pair of unit vectors: the identity is bilinear."""
    m = transforms(tile)
    n = tile + 2
    for at, tap in product(range(n), range(3)):
        d, g = [Fraction(int(i == at)) for i in range(n)], [Fraction(int(i == tap)) for i in range(3)]
        transformed = [a * b for a, b in zip(times(m.weight, g), times(m.input, d), strict=True)]
        assert times(m.output, transformed) == [Fraction(int(k + tap == at)) for k in range(tile)]
    for name in ("input", "output"):
        rounded = m.rounded(name)
        assert [[Fraction(float(v)) for v in row] for row in rounded] == [list(r) for r in getattr(m, name)]


def test_the_matrices_are_the_published_ones():
    """Lavin & Gray 2015, sections 4.1 and 4.3: F(2, 3) and F(4, 3), but for the signs of whole rows."""
    half, sixth = Fraction(1, 2), Fraction(1, 6)
    two, four = transforms(2), transforms(4)
    assert two.weight == ((1, 0, 0), (half, half, half), (half, -half, half), (0, 0, 1))
    assert two.input == ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    assert four.weight[1] == (-sixth, -sixth, -sixth)
    assert four.weight[3] == (Fraction(1, 24), Fraction(1, 12), sixth)
    assert four.input[0] == (4, 0, -5, 0, 1, 0)
    assert four.output[3] == (0, 1, -1, 8, -8, 1)


def drawn(seed, shape=(2, 5, 13, 17), filters=4, uniform=False):
    rng = np.random.default_rng(seed)
    make = rng.random if uniform else rng.standard_normal
    return make(shape).astype(np.float32), make((filters, shape[1], 3, 3)).astype(np.float32)


def test_small_integers_are_exact():
    """Where G has no thirds: F(2x2, 3x3)."""
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (2, 6, 9, 8)).astype(np.float32)
    w = rng.integers(-9, 10, (3, 6, 3, 3)).astype(np.float32)
    for fused in (True, False):
        y = winograd_conv2d(x, w, variant=Variant(2, fused=fused), padding=1)
        np.testing.assert_array_equal(y, reference.conv2d(x, w, padding=1).value)


def rounded(exact, nearest):
    return Fraction(nearest(exact))


def by_matrix(matrix, rows, fused, nearest):
    """matrix (p, q) times rows (q, ...) in float32, as documented."""
    out = []
    for factors in matrix:
        total = None
        for factor, entry in zip(factors, rows, strict=True):
            if not factor:
                continue
            product = factor * entry
            if total is None:
                total = rounded(product, nearest)
            else:
                total = rounded(total + (product if fused else rounded(product, nearest)), nearest)
        out.append(total)
    return out


def columns_then_rows(matrix, block, fused, nearest):
    down = list(zip(*[by_matrix(matrix, c, fused, nearest) for c in zip(*block, strict=True)], strict=True))
    return [by_matrix(matrix, row, fused, nearest) for row in down]


@pytest.mark.parametrize(
    "variant", [Variant(2), Variant(4, fused=False, channel_block=2), Variant(6)], ids=lambda v: v.name
)
def test_one_tile_in_fractions(variant, round_exactly):
    """A tile of 5 channels, every operation rounded by itself."""
    n, fused = variant.tile + 2, variant.fused
    x, w = drawn(1, (1, 5, n, n), 1)
    m = transforms(variant.tile)
    g = [[Fraction(float(v)) for v in row] for row in m.rounded("weight")]
    block, sums = variant.channel_block or 5, None
    for start in range(0, 5, block):
        part = [[Fraction(0)] * n for _ in range(n)]
        for c in range(start, min(start + block, 5)):
            tile, kernel = ([[Fraction(float(v)) for v in row] for row in a[0, c]] for a in (x, w))
            u = columns_then_rows(g, kernel, fused, round_exactly)
            v = columns_then_rows(m.input, tile, fused, round_exactly)
            for i, j in product(range(n), range(n)):
                term = u[i][j] * v[i][j]
                term = term if fused else rounded(term, round_exactly)
                part[i][j] = rounded(part[i][j] + term, round_exactly)
        if sums is None:
            sums = part
        else:
            sums = [
                [rounded(a + b, round_exactly) for a, b in zip(r, s, strict=True)]
                for r, s in zip(sums, part, strict=True)
            ]
    wanted = columns_then_rows(m.output, sums, fused, round_exactly)
    found = winograd_conv2d(x, w, variant=variant)[0, 0]
    np.testing.assert_array_equal(found, np.array(wanted, float))
    other = winograd_conv2d(x, w, variant=Variant(variant.tile, fused=not fused))[0, 0]
    assert (other != found).any()


@pytest.mark.parametrize("variant", EVERY, ids=lambda v: v.name)
@pytest.mark.parametrize("uniform", [False, True])
def test_errors_stay_within_the_bound(variant, uniform):
    x, w = drawn(2, uniform=uniform)
    b = np.random.default_rng(3).standard_normal(4).astype(np.float32)
    params = {"padding": [1, 0, 2, 1]}
    truth = reference.conv2d(x, w, b, **params)
    found = winograd_conv2d(x, w, b, variant=variant, **params)
    bound = error_bound(x, w, b, variant=variant, **params)
    assert (abs(truth.error(found)) <= bound + truth.bound).all()
    wrong = w.copy()
    wrong[1, 2, 0, 1] *= 1 + {2: 2.0**-9, 4: 2.0**-5, 6: 2.0**-3}[variant.tile]
    error = abs(truth.error(winograd_conv2d(x, wrong, b, variant=variant, **params)))[:, 1]
    assert (error > bound[:, 1]).any(), "a weight that is a little off would be missed"


@pytest.mark.parametrize("size", [(3, 3), (4, 9), (5, 20), (14, 3)])
@pytest.mark.parametrize("padding", [0, 2, "same", [0, 3, 1, 0]])
def test_every_size_and_padding(size, padding):
    x, w = drawn(4, (3, 2, *size), 3)
    truth = reference.conv2d(x, w, padding=padding)
    for variant in (Variant(2), Variant(4), NNPACK):
        found = winograd_conv2d(x, w, variant=variant, padding=padding)
        assert found.shape == truth.value.shape
        assert (abs(truth.error(found)) <= error_bound(x, w, variant=variant, padding=padding)).all()


def test_images_do_not_depend_on_their_company(monkeypatch):
    from reference import winograd

    x, w = drawn(5, (5, 3, 10, 9), 2)
    whole = winograd_conv2d(x, w, variant=NNPACK, padding=1)
    monkeypatch.setattr(winograd, "_IMAGES", 1)
    np.testing.assert_array_equal(winograd_conv2d(x, w, variant=NNPACK, padding=1), whole)
    np.testing.assert_array_equal(winograd_conv2d(x[2:3], w, variant=NNPACK, padding=1), whole[2:3])


def test_the_blocks_of_channels():
    x, w = drawn(6, (1, 40, 12, 12), 3)
    one, many = Variant(6, "nnpack"), Variant(6, "nnpack", channel_block=16)
    np.testing.assert_array_equal(
        winograd_conv2d(x[:, :16], w[:, :16], variant=one),
        winograd_conv2d(x[:, :16], w[:, :16], variant=many),
    )
    assert (winograd_conv2d(x, w, variant=one) != winograd_conv2d(x, w, variant=many)).mean() > 0.5


def rms(x, w, truth, found):
    return float(np.sqrt(np.mean(((found - truth.value) / truth.magnitude * 2.0**24) ** 2)))


def test_what_a_tile_costs():
    """In 2**-24 sum |ab|, 128 channels, standard normal: direct 0.5, tiles 0.3, 2 and 4, TF32 inside 3000."""
    x, w = drawn(7, (1, 128, 24, 24), 8)
    truth = reference.conv2d(x, w, **DIRECT)
    found = {
        variant: rms(x, w, truth, winograd_conv2d(x, w, variant=variant, **DIRECT))
        for variant in (Variant(2), Variant(4), Variant(6), NNPACK, Variant(4, rounding="RNA"))
    }
    wanted = (0.3, 2.0, 4.2, 4.3, 2900.0)
    for (variant, figure), about in zip(found.items(), wanted, strict=True):
        assert about / 1.5 < figure < about * 1.5, variant.name
    plain = reference.plain_float32("conv2d", {"input": x, "weight": w}, DIRECT)
    assert 0.3 < rms(x, w, truth, plain) < 0.7


def test_rounding_of_the_transformed_operands_is_within_its_bound():
    x, w = drawn(8)
    truth = reference.conv2d(x, w, **DIRECT)
    for tile, mode in product(TILES, ("RNE", "RNA", "RZ")):
        variant = Variant(tile, rounding=mode)
        error = abs(truth.error(winograd_conv2d(x, w, variant=variant, **DIRECT)))
        assert (error <= error_bound(x, w, variant=variant, **DIRECT)).all()
        assert (error > error_bound(x, w, variant=Variant(tile), **DIRECT)).any()


@pytest.mark.parametrize("variant", CANDIDATES[:-1], ids=lambda v: v.name)
def test_a_kernel_is_recognised(variant):
    x, w = drawn(9, (2, 24, 24, 24), 8)
    truth = reference.conv2d(x, w, **DIRECT).value
    found = recognise(winograd_conv2d(x, w, variant=variant, **DIRECT), x, w, truth, **DIRECT)
    assert found[0].equal == 1.0
    assert found[0].variant.tile == variant.tile
    assert found[0].correlation == pytest.approx(1.0)
    assert all(match.equal < 0.2 for match in found if match.variant.tile != variant.tile)


@pytest.mark.parametrize("tile", [4, 6])
@pytest.mark.parametrize("rounding", [None, "RNE"])
def test_a_tile_is_recognised_whatever_the_order_and_the_operands(tile, rounding):
    """A kernel that is none of the candidates: blocks of 7 channels, TF32 or not."""
    x, w = drawn(10, (2, 64, 24, 24), 8)
    truth = reference.conv2d(x, w, **DIRECT).value
    output = winograd_conv2d(x, w, variant=Variant(tile, channel_block=7, rounding=rounding), **DIRECT)
    found = recognise(output, x, w, truth, **DIRECT)
    assert found[0].variant.tile == tile
    assert found[0].pattern > 0.85
    assert all(match.equal < 0.1 for match in found)
    assert max(match.pattern for match in found if match.variant.tile != tile) < 0.75


def test_direct_convolutions_are_none_of_them():
    for uniform in (False, True):
        x, w = drawn(11, (2, 32, 24, 24), 8, uniform=uniform)
        truth = reference.conv2d(x, w, **DIRECT)
        plain = reference.plain_float32("conv2d", {"input": x, "weight": w}, DIRECT)
        for output in (plain, truth.round(np.float32)):
            for match in recognise(output, x, w, truth.value, **DIRECT):
                assert match.equal < 0.5
                assert abs(match.correlation) < 0.1
                assert abs(match.pattern) < 0.4
    match = recognise(truth.value, x, w, truth.value, candidates=[Variant(4)], **DIRECT)[0]
    assert (match.correlation, match.pattern) == (0.0, 0.0)


def test_the_pattern_of_neighbours():
    rng = np.random.default_rng(0)
    error = rng.standard_normal((4, 8, 24, 24))
    assert abs(neighbour_pattern(error)).max() < 0.2
    error[..., 1::4] = error[..., 0::4]
    pattern = neighbour_pattern(error)
    np.testing.assert_allclose(pattern[1, 0, ::4], 1.0)
    assert abs(np.delete(pattern[1, 0], [0, 4, 8])).max() < 0.2
    assert abs(pattern[0]).max() < 0.2
    assert not neighbour_pattern(np.ones((1, 1, 1, 1))).any()


def images(case):
    rng = np.random.default_rng(case["seed"])
    side, channels, filters = case["side"], case["channels"], case["filters"]
    shapes = (16, channels, side, side), (filters, channels, 3, 3), (filters,)
    return [(rng.integers(-(2**20), 2**20, shape) * 2.0**-20).astype(np.float32) for shape in shapes]


def test_the_recorded_results_of_nnpack():
    manifest = json.loads((CAPTURES / "nnpack.json").read_text())
    path = CAPTURES / manifest["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"]
    with np.load(path) as arrays:
        for case in manifest["cases"]:
            x, w, b = images(case)
            recorded, padding = arrays[f"y{case['seed']}"], case["padding"]
            found = winograd_conv2d(x[:1], w, b, variant=NNPACK, padding=padding)[0]
            np.testing.assert_array_equal(found, recorded)
            other = winograd_conv2d(x[:1], w, b, variant=Variant(6), padding=padding)[0]
            assert (other != recorded).mean() > 0.5
            if case["channels"] > NNPACK.channel_block:
                whole = winograd_conv2d(x[:1], w, b, variant=Variant(6, "nnpack"), padding=padding)[0]
                assert (whole != recorded).mean() > 0.3


@pytest.fixture
def native():
    """torch's convolution with oneDNN off, which is NNPACK for 16 images and 3x3."""
    import torch

    if not (torch.backends.nnpack.is_available() and torch._nnpack_available()):
        pytest.skip("this torch has no NNPACK for this processor")

    def conv2d(x, w, b, padding):
        with warnings.catch_warnings():  # setting the flags warns of another device's TF32
            warnings.simplefilter("ignore", UserWarning)
            with torch.backends.mkldnn.flags(enabled=False):
                bias = None if b is None else torch.tensor(b)
                return torch.nn.functional.conv2d(
                    torch.tensor(x), torch.tensor(w), bias, padding=padding
                ).numpy()

    return conv2d


@pytest.mark.slow
@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(
    ("channels", "filters", "size", "padding", "biased"),
    [
        (8, 8, (12, 12), 1, False),
        (64, 32, (24, 24), 1, True),
        (3, 8, (10, 11), 0, True),
        (256, 16, (12, 18), 1, True),
        (500, 8, (8, 8), 1, False),
        (1, 1, (6, 6), 1, True),
    ],
)
def test_nnpack_is_equal_everywhere(native, channels, filters, size, padding, biased, uniform):
    x, w = drawn(channels, (16, channels, *size), filters, uniform=uniform)
    b = np.random.default_rng(1).standard_normal(filters).astype(np.float32) if biased else None
    found = native(x, w, b, padding)
    assert nnpack_takes_winograd(*found.shape[2:])
    np.testing.assert_array_equal(winograd_conv2d(x, w, b, variant=NNPACK, padding=padding), found)


@pytest.mark.slow
def test_which_sizes_nnpack_transforms_how(native):
    taken = {}
    for height, width in product((5, 7, 12, 13, 14, 18, 24, 28), repeat=2):
        x, w = drawn(12, (16, 4, height, width), 2)
        found = native(x, w, None, 1)
        equal = float(np.mean(winograd_conv2d(x, w, variant=NNPACK, padding=1) == found))
        assert (equal == 1.0) == nnpack_takes_winograd(height, width), (height, width, equal)
        taken[height, width] = equal == 1.0
    assert {taken[n, n] for n in (12, 24)} == {True}
    assert {taken[n, n] for n in (14, 28)} == {False}
    x, w = drawn(13, (16, 16, 28, 28), 4)
    truth = reference.conv2d(x, w, padding=1).value
    for match in recognise(native(x, w, None, 1), x, w, truth, padding=1):
        assert match.equal < 0.2
        assert abs(match.correlation) < 0.1


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"variant": Variant(3)}, "a tile is one of"),
        ({"variant": Variant(4, "nnpack")}, "the arithmetic is one of"),
        ({"variant": Variant(6, "nnpack", fused=False)}, "'nnpack' has FMA"),
        ({"variant": Variant(2, channel_block=0)}, "channel_block is a positive"),
        ({"variant": Variant(2, rounding="RU")}, "rounding is one of"),
        ({"weight": np.ones((4, 5, 5, 5))}, "Winograd takes input"),
        ({"weight": np.ones((4, 3, 3, 3))}, "Winograd takes input"),
        ({"bias": np.ones(3)}, "bias must be"),
        ({"input": np.ones((1, 5, 2, 2))}, "does not fit into"),
        ({"padding": -1}, "padding must be"),
    ],
)
def test_errors_name_the_rule(change, rule):
    x, w = drawn(0)
    with pytest.raises(ValueError, match=rule):
        winograd_conv2d(**({"input": x, "weight": w, "variant": Variant(2)} | change))


def test_recognising_needs_the_same_shapes():
    x, w = drawn(0)
    with pytest.raises(ValueError, match="output and truth_value must be"):
        recognise(np.zeros((2, 4, 11, 15)), x, w, np.zeros((2, 4, 11, 14)))
