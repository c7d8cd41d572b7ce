"""Gradients of softmax and log_softmax: the exact ones, PyTorch's and TensorFlow's, and wrong ones."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.backward.pullback import Pullback, pullbacks
from precision.tracing.declared import Declared, declare
from precision.tracing.units import build_units, read_calls

Float32 = NDArray[np.float32]
MP = mpmath.MPContext()
MP.dps = 60
OPS = ("softmax", "log_softmax")


def pulled(op: str, x: Float32, g: Float32, dim: int) -> Pullback:
    return pullbacks(Declared(op, {"dim": dim}, {"input": x}, (x,)), g)["in0"]


def autograd(op: str, x: Float32, g: Float32, dim: int, dtype: Any = np.float32) -> NDArray[Any]:
    leaf = torch.tensor(x.astype(dtype), requires_grad=True)
    getattr(torch, op)(leaf, dim).backward(torch.tensor(g.astype(dtype)))
    found: NDArray[Any] = leaf.grad.numpy()
    return found


def arrays(seed: int, spread: float, shape: tuple[int, ...] = (3, 7, 2)) -> tuple[Float32, Float32]:
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    x = (spread * x).astype(np.float32)
    kind = rng.integers(4)
    if kind == 0:  # as cross entropy hands it over
        g = -(np.arange(shape[1])[None, :, None] == rng.integers(shape[1])).astype(np.float32) * np.ones_like(
            g
        )
    if kind == 1 and shape[1] > 1:
        x[:, 1] = x[:, 0]
    if kind == 2:
        g[:] = g[:, :1]
    return x, g


def exactly(op: str, x: Float32, g: Float32) -> list[Any]:
    """One row at 60 digits, each derivative written out."""
    powers = [MP.exp(MP.mpf(float(v))) for v in x]
    total = MP.fsum(powers)
    y = [p / total for p in powers]
    if op == "softmax":
        return [
            MP.fsum(float(g[j]) * y[j] * ((1 if i == j else 0) - y[i]) for j in range(len(y)))
            for i in range(len(y))
        ]
    return [
        MP.fsum(float(g[j]) * ((1 if i == j else 0) - y[i]) for j in range(len(y))) for i in range(len(y))
    ]


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 0.01, 1.0, 8.0, 60.0]))
def test_truth_is_that_of_mpmath(op: str, seed: int, spread: float) -> None:
    x, g = arrays(seed, spread)
    found = pulled(op, x, g, 1).truth
    for n in range(3):
        for k in range(2):
            wanted = exactly(op, x[n, :, k], g[n, :, k])
            scale = MP.mpf(float(np.abs(g[n, :, k]).sum()))
            for i, exact in enumerate(wanted):
                value, residual, bound = (
                    MP.mpf(float(part[n, i, k])) for part in (found.value, found.residual, found.bound)
                )
                assert abs(value + residual - exact) <= bound + scale * MP.mpf(10) ** -50


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 0.01, 1.0, 8.0, 60.0, 300.0]),
    large=st.sampled_from([1e-38, 1.0, 1e30]),
)
def test_torch_is_never_outside(op: str, seed: int, spread: float, large: float) -> None:
    for shape, dim in (((3, 7, 2), 1), ((2, 5, 33), 2), ((4, 60), -1), ((5, 1, 3), 1)):
        x, g = arrays(seed, spread, (*shape, 1)[:3]) if len(shape) == 3 else arrays(seed, spread, (4, 60, 1))
        x, g = x.reshape(shape), (large * g.reshape(shape).astype(np.float64)).astype(np.float32)
        found = pulled(op, x, g, dim)
        output = autograd(op, x, g, dim)
        assert found.explains(output)
        assert found.explained("torch", output).verdict in ("exact", "rounding")
        double = autograd(op, x, g, dim, np.float64)
        scale = np.abs(g).astype(np.float64).sum(dim, keepdims=True)
        assert (np.abs(double - found.truth.value) <= 1e-11 * scale * (1 + spread)).all()


@pytest.mark.parametrize("op", OPS)
def test_what_is_wrong_is_outside(op: str) -> None:
    x, g = (np.random.default_rng(k).standard_normal((6, 9, 9)).astype(np.float32) for k in (1, 2))
    found = pulled(op, x, g, 1)
    assert float(found.limit.max()) < 1e-4
    wrong = [
        autograd(op, x, g, 2),  # another axis
        autograd(OPS[1 - OPS.index(op)], x, g, 1),
        g * autograd(op, x, np.ones_like(g), 1),
        np.float32(1.001) * autograd(op, x, g, 1),
        g,
    ]
    for output in wrong:
        assert not found.explains(output)
        assert found.explained("torch", output).verdict == "unexplained"
    one = autograd(op, x, g, 1)
    one[2, 3, 4] += np.float32(3.0) * np.float32(found.limit[2, 3, 4])
    assert not found.explains(one)


def test_zeros_are_exact_ones() -> None:
    x = np.float32([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5], [-40.0, 0.0, 40.0]])
    g = np.float32([[2.5, 2.5, 2.5], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    found = pulled("softmax", x, g, 1).truth
    assert not found.value[[0, 2]].any()
    assert not found.bound[[0, 2]].any()
    assert found.value[1, 1] == 0.0
    assert found.bound[1, 1] == 0.0
    assert found.refine is not None
    centre, radius = found.refine(3, 100)
    assert (centre, radius) == (Fraction(-1, 3), 0)
    logs = pulled("log_softmax", x, g, 1).truth
    assert logs.value[1, 1] == 0.0
    assert logs.bound[1, 1] == 0.0
    still = pulled("log_softmax", x, np.float32([[1, -1, 0]] * 3), 1).truth
    assert np.array_equal(still.value, np.float64([[1, -1, 0]] * 3))


def test_scores_of_minus_infinity_have_no_gradient() -> None:
    call = {
        "name": "softmax", "op": "softmax", "detail": "softmax", "params": {"dim": 1}, "weights": {},
        "sources": [[-1]], "shapes": [[2, 3]], "shape": [2, 3],
    }  # fmt: skip
    (unit,) = build_units(read_calls([call]), [[0]])
    x = np.float32([[0.5, -np.inf, 1.0], [2.0, 1.0, -np.inf]])
    g = np.float32([[1.0, 5.0, -1.0], [0.3, 0.2, 7.0]])
    found = pullbacks(declare(unit, [x], {}), g)["in0"]
    assert found.rounded[0, 1] == 0.0
    assert found.rounded[1, 2] == 0.0
    assert found.explains(autograd("softmax", x, g, 1))


def test_peaked_rows_are_refined_in_few_elements(asked: list[int]) -> None:
    rng = np.random.default_rng(0)
    g = rng.standard_normal((400, 250)).astype(np.float32)
    for spread in (1.0, 30.0, 1000.0):
        x = (spread * rng.standard_normal((400, 250))).astype(np.float32)
        for op in OPS:
            asked.clear()
            pulled(op, x, g, 1)
            assert len(asked) < 40, (op, spread)


@pytest.mark.slow
def test_tensorflow_is_never_outside() -> None:
    import tensorflow as tf

    for seed in range(3):
        for spread in (0.01, 1.0, 30.0):
            x, g = arrays(seed, spread, (8, 50, 1))
            x, g = x[..., 0], g[..., 0]
            for op in OPS:
                for compiled in (False, True):

                    def run(at: Any, by: Any, op: str = op) -> Any:
                        with tf.GradientTape() as tape:
                            tape.watch(at)
                            y = getattr(tf.nn, op)(at)
                        return tape.gradient(y, at, by)

                    call = tf.function(run, jit_compile=True) if compiled else run
                    output = call(tf.constant(x), tf.constant(g)).numpy()
                    assert pulled(op, x, g, 1).explains(output)
