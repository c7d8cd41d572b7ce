"""Gradients of what stands between layers: broadcast operands, parameters, moved and joined arrays."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.backward.pullback import pullbacks
from precision.tracing.declared import Declared
from precision.tracing.glue import ARITHMETIC, glue_truth

Float32 = NDArray[np.float32]
SHAPES = [
    ((3, 4, 5), (3, 4, 5)),
    ((3, 4, 5), (1, 4, 1)),
    ((4, 5), (3, 4, 5)),
    ((3, 1, 5), (1, 4, 1)),
    ((2,), ()),
]


def operate(op: str, a: Any, b: Any) -> Any:
    return {"add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "div": lambda: a / b}[op]()


def fractions(op: str, a: Float32, b: Float32, g: Float32) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both gradients by the rules of calculus, in fractions, added where an operand was broadcast."""
    sums = np.full(a.shape, Fraction(0), object), np.full(b.shape, Fraction(0), object)
    places = [np.broadcast_to(np.arange(each.size).reshape(each.shape), g.shape) for each in (a, b)]
    for at in np.ndindex(*g.shape):
        i, j = (int(each[at]) for each in places)
        p, q, r = Fraction(float(a.flat[i])), Fraction(float(b.flat[j])), Fraction(float(g[at]))
        by = {"add": (r, r), "sub": (r, -r), "mul": (r * q, r * p)}.get(op) or (r / q, -r * p / q / q)
        for total, place, term in zip(sums, (i, j), by, strict=True):
            total.reshape(-1)[place] += term
    return sums


@pytest.mark.parametrize("op", ARITHMETIC)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1), shapes=st.sampled_from(SHAPES), spread=st.sampled_from([0.0, 3.0, 18.0])
)
def test_arithmetic(op: str, seed: int, shapes: Any, spread: float) -> None:
    rng = np.random.default_rng(seed)
    whole = np.broadcast_shapes(*shapes)
    a, b, g = (
        np.asarray(rng.standard_normal(shape) * 10.0 ** rng.uniform(-spread, spread, shape)).astype(
            np.float32
        )
        for shape in (*shapes, whole)
    )
    b = np.where(b == 0, np.float32(1), b)
    found = pullbacks(Declared(op, {}, {}, (a, b)), g)
    for key, array, exact in zip(("in0", "in1"), (a, b), fractions(op, a, b, g), strict=True):
        truth = found[key].truth
        assert truth.value.shape == array.shape
        for value, residual, bound, wanted in zip(
            truth.value.flat, truth.residual.flat, truth.bound.flat, exact.flat, strict=True
        ):
            assert abs(Fraction(float(value)) + Fraction(float(residual)) - wanted) <= Fraction(float(bound))
        assert np.array_equal(truth.round(np.float64), exact.astype(np.float64)) or op == "div"
    leaves = [torch.tensor(each, requires_grad=True) for each in (a, b)]
    operate(op, *leaves).backward(torch.tensor(g))
    for key, leaf in zip(("in0", "in1"), leaves, strict=True):
        output = leaf.grad.numpy()
        assert found[key].explains(output)
        assert found[key].explained("torch", output).verdict in ("exact", "rounding")
        if spread == 0.0:
            assert not found[key].explains(output * np.float32(1.001) + np.float32(1e-3))


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("side", ["left", "right"])
def test_numbers_among_the_operands(op: str, side: str) -> None:
    rng = np.random.default_rng(1)
    x, g = (rng.standard_normal((5, 6)).astype(np.float32) for _ in range(2))
    found = pullbacks(Declared(op, {"scalar": 0.3, "side": side}, {}, (x,)), g)
    assert list(found) == ["in0"]
    leaf = torch.tensor(x, requires_grad=True)
    operate(op, *((leaf, 0.3) if side == "right" else (0.3, leaf))).backward(torch.tensor(g))
    assert found["in0"].explains(leaf.grad.numpy())
    wrong = torch.tensor(x, requires_grad=True)
    operate(op, *((wrong, -0.31) if side == "right" else (-0.31, wrong))).backward(torch.tensor(g))
    if op not in ("add", "sub"):
        assert not found["in0"].explains(wrong.grad.numpy())
    elif op == "sub":
        assert not found["in0"].explains(-leaf.grad.numpy())


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("op", [*ARITHMETIC, "concat"])
def test_a_parameter_stands_where_the_call_has_it(op: str, at: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(1, 2, (3, 4, 5)).astype(np.float32)
    w = rng.uniform(1, 2, (3, 1, 5) if op == "concat" else (1, 4, 1)).astype(np.float32)
    params = {"at": at} | ({"dim": 1} if op == "concat" else {})
    declared = Declared(op, params, {"weight": w}, (x,))
    leaves = [torch.tensor(each, requires_grad=True) for each in (x, w)]
    order = leaves[::-1] if at == 0 else leaves
    y = torch.cat(order, 1) if op == "concat" else operate(op, *order)
    g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(g))
    found = pullbacks(declared, g)
    assert set(found) == {"in0", "weight"}
    for key, leaf in zip(("in0", "weight"), leaves, strict=True):
        assert found[key].explains(leaf.grad.numpy())
        assert not found[key].explains(leaf.grad.numpy() * np.float32(1.001))
    glue_truth(op, declared.operands, params)  # the same operands as the forward side


def test_what_is_divided_by_nothing_is_left_out() -> None:
    x = np.float32([1.0, 0.0])
    assert pullbacks(Declared("div", {}, {}, (x, x)), x) == {}
    assert set(pullbacks(Declared("mul", {}, {}, (x, x)), x)) == {"in0", "in1"}


def test_a_mask_of_minus_infinity_is_only_added() -> None:
    x, g = np.float32([[1.0, 2.0], [3.0, 4.0]]), np.float32([[0.1, 0.2], [0.3, 0.4]])
    mask = np.float32([[0.0, -np.inf], [0.0, 0.0]])
    assert np.array_equal(pullbacks(Declared("add", {}, {}, (x, mask)), g)["in0"].rounded, g)
    assert pullbacks(Declared("mul", {}, {}, (x, mask)), g) == {}
    assert pullbacks(Declared("add", {}, {}, (x, -mask)), g) == {}


MOVES: list[tuple[str, dict[str, Any], Any]] = [
    ("identity", {}, lambda x: x),
    ("permute", {"dims": [2, 0, 3, 1]}, lambda x: x.permute(2, 0, 3, 1)),
    ("reshape", {"order": "NCHW", "shape": [2, 60]}, lambda x: x.reshape(2, 60)),
    ("reshape", {"order": "NHWC", "shape": [2, 60]}, lambda x: x.permute(0, 2, 3, 1).reshape(2, 60)),
    (
        "reshape",
        {"order": "NHWC", "shape": [2, 6, 10], "out_last": True},
        lambda x: x.permute(0, 2, 3, 1).reshape(2, 10, 6).permute(0, 2, 1),
    ),
    (
        "pad",
        {"sides": [0, 0, 0, 0, 1, 2, 0, 1], "mode": "constant", "value": 3.0},
        lambda x: F.pad(x, (0, 1, 1, 2), value=3.0),
    ),
    ("pad", {"sides": [0, 0, 0, 0, 1, 2, 0, 1], "mode": "reflect", "value": 0.0},
     lambda x: F.pad(x, (0, 1, 1, 2), mode="reflect")),
    ("pad", {"sides": [0, 0, 0, 0, 3, 2, 4, 1], "mode": "replicate", "value": 0.0},
     lambda x: F.pad(x, (4, 1, 3, 2), mode="replicate")),
    ("pad", {"sides": [0, 0, 0, 0, 3, 2, 4, 1], "mode": "circular", "value": 0.0},
     lambda x: F.pad(x, (4, 1, 3, 2), mode="circular")),
]  # fmt: skip


@pytest.mark.parametrize(("op", "params", "function"), MOVES)
def test_what_is_moved_is_moved_back(op: str, params: dict[str, Any], function: Any) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    leaf = torch.tensor(x, requires_grad=True)
    y = function(leaf)
    assert np.array_equal(y.detach().numpy(), glue_truth(op, [x], params).round(np.float32))
    g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(g))
    found = pullbacks(Declared(op, params, {}, (x,)), g)["in0"]
    copies = params.get("mode") not in (None, "constant")
    verdict = found.explained("torch", leaf.grad.numpy()).verdict
    assert verdict in (("exact", "rounding") if copies else ("exact",))
    assert not found.explains(leaf.grad.numpy() * np.float32(1.0001))
    swapped = leaf.grad.numpy()[:, :, ::-1].copy()
    assert found.explained("torch", swapped).verdict == "unexplained"
    with pytest.raises(ValueError, match=r"gradient|reshape|axes"):
        pullbacks(Declared(op, params, {}, (x,)), np.ones((2, 3, 4, 6), np.float32))


def test_what_is_joined_is_taken_apart() -> None:
    rng = np.random.default_rng(4)
    parts = tuple(rng.standard_normal((2, n, 3)).astype(np.float32) for n in (1, 4, 2))
    g = rng.standard_normal((2, 7, 3)).astype(np.float32)
    found = pullbacks(Declared("concat", {"dim": 1}, {}, parts), g)
    assert [found[f"in{k}"].truth.value.shape for k in range(3)] == [part.shape for part in parts]
    assert np.array_equal(np.concatenate([found[f"in{k}"].rounded for k in range(3)], 1), g)
    with pytest.raises(ValueError, match="shape of the output of concat"):
        pullbacks(Declared("concat", {"dim": 1}, {}, parts), g[:, 1:])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), count=st.sampled_from([1, 7, 40]))
def test_rows_of_a_table_add_up(seed: int, rows: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((rows, 5)).astype(np.float32)
    indices = rng.integers(0, rows, (2, count))
    g = (rng.standard_normal((2, count, 5)) * 10.0 ** rng.uniform(-3, 3, (2, count, 1))).astype(np.float32)
    arrays = {"indices": indices.astype(np.float32), "weight": table}
    found = pullbacks(Declared("embedding", {}, arrays), g)["weight"]
    leaf = torch.tensor(table, requires_grad=True)
    F.embedding(torch.tensor(indices), leaf).backward(torch.tensor(g))
    assert found.explains(leaf.grad.numpy())
    for row in range(rows):
        for column in range(5):
            exact = sum((Fraction(float(v)) for v in g[indices == row][:, column]), Fraction(0))
            parts = (found.truth.value, found.truth.residual, found.truth.bound)
            value, residual, bound = (Fraction(float(part[row, column])) for part in parts)
            assert abs(value + residual - exact) <= bound
    wrong = leaf.grad.numpy().copy()
    wrong[indices[0, 0]] *= np.float32(0.5)
    assert found.explained("torch", wrong).verdict == "unexplained"
    wrong[indices[0, 0]] = 0
    verdict = found.explained("torch", wrong)
    assert [cause.parameter for cause in verdict.causes] == ["padding_idx"]
    assert verdict.causes[0].found == indices[0, 0]


def test_sums_of_many_terms_are_added_without_error() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((200_000, 2)).astype(np.float32)
    w, g = np.ones((1, 2), np.float32), rng.standard_normal((200_000, 2)).astype(np.float32)
    found = pullbacks(Declared("mul", {}, {"weight": w}, (x,)), g)["weight"]
    exact = sum(
        (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x[:, 0], g[:, 0], strict=True)), Fraction(0)
    )
    value, residual, bound = (
        Fraction(float(part[0, 0])) for part in (found.truth.value, found.truth.residual, found.truth.bound)
    )
    assert abs(value + residual - exact) <= bound <= abs(exact) / 2**60
    leaf = torch.ones((1, 2), requires_grad=True)
    (torch.tensor(x) * leaf).backward(torch.tensor(g))
    assert found.explains(leaf.grad.numpy())


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dims", [[1], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("op", ["sum", "mean"])
def test_sums_and_means_are_spread(op: str, dims: list[int], keepdim: bool) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((3, 7, 5)).astype(np.float32)
    leaf = torch.tensor(x, requires_grad=True)
    y = getattr(torch, op)(leaf, dims, keepdim=keepdim)
    g = np.asarray(rng.standard_normal(tuple(y.shape))).astype(np.float32)
    y.backward(torch.tensor(g))
    declared = Declared(op, {"dim": dims, "keepdim": keepdim}, {"input": x}, (x,))
    found = pullbacks(declared, g)["in0"]
    assert found.truth.value.shape == x.shape
    assert found.explains(leaf.grad.numpy())
    count = np.prod([x.shape[a] for a in dims]) if op == "mean" else 1
    full = np.broadcast_to(g.reshape([1 if a in dims else n for a, n in enumerate(x.shape)]), x.shape)
    assert np.allclose(found.truth.value, full.astype(np.float64) / count, rtol=1e-15, atol=0)
    assert not found.explains(np.float32(7) * leaf.grad.numpy())
