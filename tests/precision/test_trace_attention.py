"""Attention as a layer: its truth, its bound, other meanings of it; tables, parameters, moved weights."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.attention import ATTENTION, Attention, masked_in_words, sees_nothing
from precision.tracing.declared import declare, differences
from precision.tracing.glue import glue_explained, glue_truth
from precision.tracing.judge import UnitJudge, other_finding
from precision.tracing.turned import turned
from precision.tracing.units import Unit, build_units, read_calls
from reference import Truth

Float32 = NDArray[np.float32]
HEADS, QUERIES, KEYS, WIDTH = 2, 3, 5, 4


def arrays(seed: int, spread: float = 1.0, queries: int = QUERIES, keys: int = KEYS) -> list[Float32]:
    rng = np.random.default_rng(seed)
    shapes = [(1, HEADS, queries, WIDTH), (1, HEADS, keys, WIDTH), (1, HEADS, keys, WIDTH)]
    scales = (spread, spread, 1.0)
    return [
        (s * rng.standard_normal(shape)).astype(np.float32) for s, shape in zip(scales, shapes, strict=True)
    ]


def in_mpmath(q: Float32, k: Float32, v: Float32, mask: Float32 | None, scale: float) -> NDArray[Any]:
    """The formula, element by element, at 60 digits."""
    context = mpmath.MPContext()
    context.dps = 60
    out = np.empty((*q.shape[:-1], v.shape[-1]), object)
    added = np.zeros((*q.shape[:-1], k.shape[-2]), np.float32) if mask is None else mask
    added = np.broadcast_to(added, (*q.shape[:-1], k.shape[-2]))
    for n, h, t in np.ndindex(q.shape[:-1]):
        seen = [s for s in range(k.shape[-2]) if np.isfinite(added[n, h, t, s])]
        scores = [
            context.mpf(scale) * context.fdot(map(float, q[n, h, t]), map(float, k[n, h, s]))
            + float(added[n, h, t, s])
            for s in seen
        ]
        raised = [context.exp(score - max(scores)) for score in scores]
        for c in range(v.shape[-1]):
            over = sum((e * float(v[n, h, s, c]) for e, s in zip(raised, seen, strict=True)), context.mpf(0))
            out[n, h, t, c] = over / sum(raised)
    return out


def outside(truth: Truth, wanted: NDArray[Any]) -> list[tuple[int, ...]]:
    """Where the truth is farther than its bound from what has 60 digits; the sums are of Fractions."""
    found = []
    for index in np.ndindex(truth.value.shape):
        value, residual, bound = (
            Fraction(float(a[index])) for a in (truth.value, truth.residual, truth.bound)
        )
        exact = Fraction(*mpmath.libmp.to_rational(wanted[index]._mpf_))
        if abs(value + residual - exact) > bound + abs(exact) / 10**55:
            found.append(index)
    return found


def causal(queries: int, keys: int) -> Float32:
    return np.where(np.tri(queries, keys) > 0, np.float32(0), np.float32(-np.inf))


def in_float32(given: Attention, block: int | None = None) -> Float32:
    """Two ways that frameworks have: everything at once, or block by block with a running maximum."""
    q, k, v = given.query, given.key, given.value
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * np.float32(given.scale)
    if given.mask is not None:
        scores = scores + given.mask
    if block is None:
        raised = np.exp(scores - scores.max(-1, keepdims=True))
        return np.matmul(raised / raised.sum(-1, keepdims=True), v)
    top = np.full((*scores.shape[:-1], 1), -np.inf, np.float32)
    under, over = np.zeros_like(top), np.zeros((*scores.shape[:-1], v.shape[-1]), np.float32)
    for start in range(0, scores.shape[-1], block):
        part = scores[..., start : start + block]
        new = np.maximum(top, part.max(-1, keepdims=True))
        with np.errstate(invalid="ignore"):
            kept = np.where(np.isneginf(top), np.float32(0), np.exp(top - new))
            raised = np.where(np.isneginf(part), np.float32(0), np.exp(part - new))
        under = under * kept + raised.sum(-1, keepdims=True, dtype=np.float32)
        over, top = over * kept + np.matmul(raised, v[..., start : start + block, :]), new
    return over / under


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 6.0]), st.booleans())
@example(21499, 0.1, True)  # one element is refined: its residual is not zero, its bound far below an ulp
def test_truth_is_that_of_mpmath(seed: int, spread: float, masked: bool) -> None:
    q, k, v = arrays(seed, spread)
    mask = causal(QUERIES, KEYS) if masked else None
    given_ = Attention(q, k, v, mask, 0.5)
    truth, wanted = given_.truth, in_mpmath(q, k, v, mask, 0.5)
    assert outside(truth, wanted) == []
    beyond = 3.0 * truth.bound + np.spacing(np.abs(truth.value))
    moved = dataclasses.replace(truth, value=truth.value + beyond)
    assert len(outside(moved, wanted)) == wanted.size
    assert np.array_equal(truth.round(np.float32), wanted.astype(np.float64).astype(np.float32))


def test_an_element_that_float64_leaves_open_is_refined() -> None:
    q, k, v = arrays(0)
    given_ = Attention(q, k, v, None, 0.5)
    centre, radius = given_._refine(7, 300)
    wanted = in_mpmath(q, k, v, None, 0.5).reshape(-1)[7]
    exact = Fraction(*mpmath.libmp.to_rational(wanted._mpf_))
    assert abs(centre - exact) <= radius + abs(exact) / 10**55
    assert radius <= abs(centre) * 2**-299
    # Two values that cancel but for the last bits: the truth is near zero, and known all the same.
    v[:] = 0
    v[0, 0, 0], v[0, 0, 1], k[0, 0, 1] = 1.0, -1.0, k[0, 0, 0]
    assert not Attention(q, k, v, None, 0.5).truth.round(np.float32)[0, 0].any()
    k[:], v[:] = 0, 0
    v[0, 1, 2] = 1.0
    thirds = Attention(q[:, :, :, :], k[:, :, :3], v[:, :, :3], None, 0.5)
    assert np.array_equal(thirds.truth.round(np.float32)[0, 1], np.full((QUERIES, WIDTH), 1 / 3, np.float32))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 2.0, 9.0]), st.sampled_from([None, 2, 3]))
def test_float32_stays_within_the_limit(seed: int, spread: float, block: int | None) -> None:
    q, k, v = arrays(seed, spread, 6, 12)
    given_ = Attention(q, k, v, causal(6, 12), WIDTH**-0.5)
    output = in_float32(given_, block)
    assert given_.explains(output)
    assert given_.explained("torch", output).verdict in ("exact", "rounding")


def test_limit_is_no_wider_than_it_must_be() -> None:
    given_ = Attention(*arrays(1, 1.0, 6, 12), None, WIDTH**-0.5)
    assert float(np.max(given_.limit)) < 2e-5
    wrong = given_.truth.round(np.float32)
    wrong[0, 1, 2, 3] += np.float32(3) * np.float32(given_.limit[0, 1, 2, 3])
    assert not given_.explains(wrong)
    assert given_.explained("torch", wrong).verdict == "unexplained"


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("scale", {"scale": 1.0}),
        ("scale", {"scale": 1.0 / WIDTH}),
        ("mask", {"mask": causal(4, 4)}),
        ("operand order", {"query": "key", "key": "query"}),
        ("operand order", {"key": "value", "value": "key"}),
    ],
)
def test_another_meaning_is_named(parameter: str, changed: dict[str, Any]) -> None:
    q, k, v = arrays(2, 1.0, 4, 4)
    given_ = Attention(q, k, v, None, 0.5)
    named = {"query": q, "key": k, "value": v}
    other = given_._with(**{n: named[x] if isinstance(x, str) else x for n, x in changed.items()})
    found = given_.explained("torch", in_float32(other))
    assert (found.verdict, found.causes[0].parameter) == ("semantics", parameter)
    assert found.causes[0].evidence == "proved"
    assert found.causes[0].fix


def test_narrow_operands_are_not_taken_for_rounding() -> None:
    q, k, v = arrays(4, 1.0, 6, 12)
    given_ = Attention(q, k, v, None, 0.5)
    narrow = [
        ((each.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32) for each in (q, k)
    ]
    found = given_.explained("torch", in_float32(Attention(*narrow, v, None, 0.5)))
    assert found.verdict == "unexplained"
    assert "could do it, which is not shown" in found.reason
    assert "trace again" in found.causes[0].fix


def test_masks_in_words() -> None:
    assert masked_in_words(None) == "none"
    assert masked_in_words(np.zeros((4, 4), np.float32)) == "none"
    assert masked_in_words(causal(4, 4)) == "causal"
    shut = np.zeros((1, 1, 1, 4), np.float32)
    shut[..., 3] = -np.inf
    assert masked_in_words(shut) == "25% shut out"
    assert masked_in_words(shut + 1) == "added numbers"
    assert not sees_nothing(shut)
    assert sees_nothing(np.full((2, 2), -np.inf, np.float32))


def test_shapes_and_queries_without_keys_are_refused() -> None:
    q, k, v = arrays(3)
    with pytest.raises(ValueError, match="fit each other"):
        Attention.of([q, k, v[..., :2, :]], {"scale": 1.0})
    with pytest.raises(ValueError, match="masked from all"):
        Attention.of([q, k, v, np.full((QUERIES, KEYS), -np.inf, np.float32)], {"scale": 1.0})
    with pytest.raises(ValueError, match="got 2 arrays"):
        Attention.of([q, k], {"scale": 1.0})


def call(name: str, op: str, sources: list[list[int]], shape: list[int], **more: Any) -> dict[str, Any]:
    found = {"name": name, "op": op, "detail": op, "params": {}, "weights": {}, "sources": sources}
    return {**found, "shapes": [shape] * len(sources), "shape": shape, **more}


def attend(**params: Any) -> Unit:
    shape = [1, HEADS, QUERIES, WIDTH]
    described = call("attend", ATTENTION, [[-1], [-2], [-3]], shape, params=params)
    return build_units(read_calls([described]), [[0]])[0]


def test_a_mask_that_differs_is_proved_from_both_declarations() -> None:
    q, k, v = arrays(5, 1.0, 4, 4)
    shut = np.zeros((1, 1, 1, 4), np.float32)
    shut[..., 1] = -np.inf
    one, other = attend(scale=0.5), attend(scale=0.5)
    ours, theirs = declare(one, [q, k, v], {}), declare(other, [q, k, v], {"mask": shut})
    found = differences(one, other, ours, theirs)
    assert [(each.parameter, each.declared, each.found) for each in found] == [
        ("mask", "none", "25% shut out")
    ]
    output = in_float32(Attention(q, k, v, shut, 0.5))
    told = other_finding(UnitJudge(ours), theirs, found, "torch", output)
    assert (told.verdict, told.parameter, told.evidence) == ("semantics", "mask", "proved")
    nothing = declare(other, [q, k, v], {"mask": np.zeros((1, 1, 1, 4), np.float32)})
    assert not differences(one, other, ours, nothing)
    unseen = declare(other, [q, k, v], {"mask": np.full((4, 4), -np.inf, np.float32)})
    assert not unseen.known


def test_rows_of_a_table_are_exact_and_other_indices_are_named() -> None:
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    described = call(
        "words", "embedding", [[-1]], [2, 2], weights={"weight": [6, 2], "indices": [2]}, shapes=[]
    )
    unit = build_units(read_calls([described]), [[0]])[0]
    assert dict(unit.weights) == {"weight": (6, 2)}
    one, two = np.float32([4, 0]), np.float32([5, 0])
    ours = declare(unit, [], {"weight": table, "indices": one})
    theirs = declare(unit, [], {"weight": table, "indices": two})
    judge = UnitJudge(ours)
    assert judge.explained("torch", table[[4, 0]]).verdict == "exact"
    found = differences(unit, unit, ours, theirs)
    told = other_finding(judge, theirs, found, "torch", table[[5, 0]])
    assert (told.verdict, told.parameter, told.evidence) == ("semantics", "indices", "proved")
    with pytest.raises(ValueError, match="indices are 0 … 5"):
        UnitJudge(declare(unit, [], {"weight": table, "indices": np.float32([6])}))


def test_a_parameter_among_the_operands_is_a_weight() -> None:
    rng = np.random.default_rng(1)
    x, place = rng.standard_normal((2, 3, 4), np.float32), rng.standard_normal((1, 3, 4), np.float32)
    described = call("add", "sub", [[-1]], [2, 3, 4], params={"at": 0}, weights={"weight": [1, 3, 4]})
    unit = build_units(read_calls([described]), [[0]])[0]
    judge = UnitJudge(declare(unit, [x], {"weight": place}))
    assert judge.explained("torch", place - x).verdict == "exact"
    assert judge.explained("torch", x - place).causes[0].parameter == "operand order"
    joined = glue_truth("concat", [place.repeat(2, 0), x], {"dim": 1})
    assert (
        glue_explained(
            "concat",
            [place.repeat(2, 0), x],
            {"dim": 1},
            joined,
            "torch",
            np.concatenate([place.repeat(2, 0), x], 1),
        ).verdict
        == "exact"
    )


@pytest.mark.parametrize("first", ["reshape", "permute"])
def test_an_image_taken_apart_is_one_unit(first: str) -> None:
    image, tokens = [2, 8, 4, 4], [2, 16, 8]
    middle = [2, 8, 16] if first == "reshape" else [2, 4, 4, 8]
    turn = {"dims": [0, 2, 1] if first == "reshape" else [0, 2, 3, 1]}
    params = [{"order": "NCHW"}, turn] if first == "reshape" else [turn, {"order": "NCHW"}]
    second = "permute" if first == "reshape" else "reshape"
    built = build_units(
        read_calls(
            [
                call("a", first, [[-1]], middle, params=params[0], shapes=[image]),
                call("b", second, [[0]], tokens, params=params[1], shapes=[middle]),
            ]
        ),
        [[1]],
    )
    assert [(unit.op, unit.shape, unit.params) for unit in built] == [
        ("reshape", (2, 16, 8), {"order": "NHWC"})
    ]
    x = np.random.default_rng(0).standard_normal(image, np.float32)
    truth = UnitJudge(declare(built[0], [x], {})).rounded
    assert np.array_equal(truth, x.reshape(2, 8, 16).transpose(0, 2, 1))


def test_weights_that_are_the_other_ones_moved_are_named() -> None:
    rng = np.random.default_rng(2)
    a = rng.standard_normal((4, 4, 3, 3), np.float32)
    for parameter, b in (
        ("kernel flip", a[:, :, ::-1, ::-1]),
        ("kernel flip", a[:, :, ::-1]),
        ("kernel transpose", a.swapaxes(2, 3)),
        ("weight transpose", a.swapaxes(0, 1)),
        ("channel order", a[:, [2, 0, 1, 3]]),
        ("channel order", a[::-1]),
    ):
        found = turned(a, np.ascontiguousarray(b))
        assert found is not None
        assert found[0] == parameter
    assert turned(a, a + np.float32(1)) is None
    square = rng.standard_normal((5, 5), np.float32)
    assert turned(square, square.T) == ("weight transpose", "with inputs and outputs swapped")
    order = turned(a, a[:, [2, 0, 1, 3]])
    assert order is not None
    assert order[1].endswith("2, 0, 1, 3")
    assert turned(np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)) is None


def test_scores_that_are_masked_by_minus_infinity_have_no_weight() -> None:
    x = np.random.default_rng(3).standard_normal((2, 6), np.float32)
    x[0, 2:4], x[1, 5] = -np.inf, -np.inf
    described = call("shares", "softmax", [[-1]], [2, 6], params={"dim": 1})
    unit = build_units(read_calls([described]), [[0]])[0]
    judge = UnitJudge(declare(unit, [x], {}))
    raised = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    wanted = (raised / raised.sum(1, keepdims=True)).astype(np.float32)
    assert np.array_equal(judge.rounded, wanted)
    assert not judge.rounded[np.isneginf(x)].any()
    assert judge.explained("torch", wanted).verdict in ("exact", "rounding")
    spilt = wanted.copy()
    spilt[0, 2] = np.float32(1e-3)
    assert not judge.explains(spilt)
