"""Gradients of functions of one number, held against mpmath's derivatives and PyTorch's; faults are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.backward.functions import elementwise
from precision.tracing.backward.pullback import Pullback, pullbacks
from precision.tracing.declared import Declared
from reference.activations import SELU_ALPHA, SELU_SCALE

Float32 = NDArray[np.float32]
Real = Callable[[Any, Any], Any]
MP = mpmath.MPContext()
MP.dps = 60

CASES: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("relu", {}, F.relu),
    ("leaky_relu", {"negative_slope": 0.01}, F.leaky_relu),
    ("leaky_relu", {"negative_slope": 0.3}, lambda x: F.leaky_relu(x, 0.3)),
    ("elu", {"alpha": 1.0}, F.elu),
    ("elu", {"alpha": 1.7}, lambda x: F.elu(x, 1.7)),
    ("selu", {}, F.selu),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("silu", {}, F.silu),
    ("gelu", {"approximate": "none"}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    ("softplus", {}, F.softplus),
    ("softplus", {"beta": 2.5, "threshold": 3.0}, lambda x: F.softplus(x, 2.5, 3.0)),
    ("clamp", {"low": -0.5, "high": 2.0}, lambda x: torch.clamp(x, -0.5, 2.0)),
    ("clamp", {"low": 0.0, "high": 6.0}, F.relu6),
]
NAMES = [f"{op}{sorted(params.values(), key=str)}" for op, params, _ in CASES]


def wide(rng: np.random.Generator, count: int) -> Float32:
    """Usual numbers, and those of every exponent; zeros of both signs, ends of ranges."""
    usual = rng.standard_normal(count) * 10.0 ** rng.uniform(-1.0, 1.5, count)
    rare = rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(-149.0, 127.9, count)
    numbers = np.where(rng.random(count) < 0.3, rare, usual).astype(np.float32)
    numbers[:4] = [0.0, -0.0, 1.0, -1.0]
    return numbers


def pulled(op: str, params: Mapping[str, Any], x: Float32, g: Float32) -> Pullback:
    if op == "clamp":
        return pullbacks(Declared(op, params, {}, (x,)), g)["in0"]
    return pullbacks(Declared(op, params, {"input": x}, (x,)), g)["in0"]


def autograd(function: Callable[[Any], Any], x: Float32, g: Float32, dtype: Any = np.float32) -> NDArray[Any]:
    leaf = torch.tensor(x.astype(dtype), requires_grad=True)
    function(leaf).backward(torch.tensor(g.astype(dtype)))
    found: NDArray[Any] = leaf.grad.numpy()
    return found


def forward(op: str, params: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The function itself at 60 digits, by its definition; its derivative is left to mpmath."""
    mp = MP
    slope = params.get("negative_slope", 0.0)
    alpha, scale = (SELU_ALPHA, SELU_SCALE) if op == "selu" else (params.get("alpha", 1.0), 1.0)
    beta = params.get("beta", 1.0)

    def gelu_tanh(x: Any) -> Any:
        return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(44715) / 1000000 * x**3)))

    functions: dict[str, Callable[[Any], Any]] = {
        "relu": lambda x: max(x, mp.mpf(0)),
        "leaky_relu": lambda x: x if x > 0 else mp.mpf(slope) * x,
        "elu": lambda x: mp.mpf(scale) * (x if x > 0 else mp.mpf(alpha) * mp.expm1(x)),
        "selu": lambda x: mp.mpf(scale) * (x if x > 0 else mp.mpf(alpha) * mp.expm1(x)),
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "tanh": mp.tanh,
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "gelu": gelu_tanh if params.get("approximate") == "tanh" else lambda x: x * mp.ncdf(x),
        "softplus": lambda x: (
            x if beta * x > params.get("threshold", 20.0) else mp.log1p(mp.exp(beta * x)) / beta
        ),
        "clamp": lambda x: min(max(x, mp.mpf(params.get("low", 0))), mp.mpf(params.get("high", 1e9))),
    }
    return functions[op]


@pytest.mark.parametrize(("op", "params", "_"), CASES, ids=NAMES)
def test_truth_is_the_derivative_that_mpmath_finds(op: str, params: dict[str, Any], _: Any) -> None:
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.uniform(-9, 9, 40), rng.uniform(-1e-3, 1e-3, 10)]).astype(np.float32)
    g = rng.standard_normal(x.size).astype(np.float32)
    found, function = pulled(op, params, x, g), forward(op, params)
    for i in range(x.size):
        wanted = MP.mpf(float(g[i])) * MP.diff(function, MP.mpf(float(x[i])))
        value, residual, bound = (
            MP.mpf(float(part[i])) for part in (found.truth.value, found.truth.residual, found.truth.bound)
        )
        assert abs(value + residual - wanted) <= bound + abs(wanted) * MP.mpf(10) ** -25
        assert np.float32(float(wanted)) == found.rounded[i]
        assert bound <= abs(wanted) * 2**-34


@pytest.mark.parametrize(("op", "params", "_"), CASES, ids=NAMES)
def test_refined_elements_have_the_bits_that_were_asked_for(op: str, params: dict[str, Any], _: Any) -> None:
    x = np.float32([-200.0, -9.5, -1.25, -1e-20, 0.75, 1.5, 30.0, 3e38])
    g = np.linspace(0.5, 2.0, x.size, dtype=np.float32)
    found, function = pulled(op, params, x, g), forward(op, params)
    refine = found.truth.refine
    assert refine is not None
    for i in range(x.size):
        centre, radius = refine(i, 150)
        deep = 0 < abs(centre) < Fraction(1, 2**9000)  # an exponential that is not written out: its sign
        assert (radius < abs(centre)) if deep else (radius <= abs(centre) * Fraction(1, 2**150))
        if 1e-3 < abs(x[i]) < 12:
            wanted = MP.mpf(float(g[i])) * MP.diff(function, MP.mpf(float(x[i])))
            given_ = MP.mpf(centre.numerator) / centre.denominator
            assert abs(given_ - wanted) <= abs(wanted) * MP.mpf(10) ** -25


@pytest.mark.parametrize(("op", "params", "function"), CASES, ids=NAMES)
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), flat=st.booleans())
def test_torch_is_never_outside(
    op: str, params: dict[str, Any], function: Callable[[Any], Any], seed: int, flat: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = wide(rng, 3000)
    g = rng.standard_normal(3000).astype(np.float32) if flat else rng.permutation(wide(rng, 3000))
    found = pulled(op, params, x, g)
    assert found.truth.value.shape == x.shape
    output = autograd(function, x, g)
    assert found.explains(output), np.flatnonzero(found.beyond(output))
    assert found.explained("torch", output).verdict in ("exact", "rounding")
    # In float64 it is near the truth, wherever nothing cancels.
    double = autograd(function, x, g, np.float64)
    usual = np.isfinite(double) & (np.abs(x) < 1e6)
    apart = np.abs(double - found.truth.value)[usual]
    sizes = np.abs(g[usual].astype(np.float64)) * (1.0 + np.abs(x[usual]))
    assert (apart <= 1e-13 * sizes + 1e-280).all()


@pytest.mark.parametrize(("op", "params", "_"), CASES, ids=NAMES)
def test_limit_is_no_wider_than_it_must_be(op: str, params: dict[str, Any], _: Any) -> None:
    x = np.linspace(-4, 4, 400, dtype=np.float32)
    g = np.ones_like(x)
    assert float(np.max(pulled(op, params, x, g).limit)) < 3e-5


FAULTS: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("leaky_relu", {"negative_slope": 0.01}, lambda x: F.leaky_relu(x, 0.0101)),
    ("relu", {}, lambda x: F.leaky_relu(x, 1e-3)),
    ("elu", {"alpha": 1.0}, lambda x: F.elu(x, 1.001)),
    ("selu", {}, lambda x: 1.05 * F.elu(x, 1.67326)),
    ("sigmoid", {}, lambda x: torch.sigmoid(1.001 * x)),
    ("tanh", {}, lambda x: torch.tanh(1.001 * x)),
    ("silu", {}, lambda x: x * torch.sigmoid(1.702 * x)),
    ("gelu", {"approximate": "none"}, lambda x: F.gelu(x, approximate="tanh")),
    ("gelu", {"approximate": "tanh"}, F.gelu),
    ("gelu", {"approximate": "none"}, lambda x: x * torch.sigmoid(1.702 * x)),
    ("softplus", {}, lambda x: F.softplus(x, 1.001)),
    ("softplus", {}, lambda x: F.softplus(x, 1.0, 2.0)),
    ("clamp", {"low": -0.5, "high": 2.0}, lambda x: torch.clamp(x, -0.5, 2.01)),
]


@pytest.mark.parametrize(("op", "params", "wrong"), FAULTS)
def test_another_function_is_outside(op: str, params: dict[str, Any], wrong: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(3)
    x, g = (rng.standard_normal(4000).astype(np.float32) * 2 for _ in range(2))
    found = pulled(op, params, x, g)
    output = autograd(wrong, x, g)
    assert not found.explains(output)
    verdict = found.explained("torch", output)
    assert verdict.verdict == "unexplained"
    assert [cause.cause for cause in verdict.causes] == ["unexplained"]


def test_one_wrong_element_is_outside() -> None:
    rng = np.random.default_rng(4)
    x, g = (rng.standard_normal(500).astype(np.float32) for _ in range(2))
    for op, params, function in CASES:
        found = pulled(op, params, x, g)
        output = autograd(function, x, g)
        output[77] += np.float32(3.0) * np.float32(found.limit[77]) + np.float32(1e-6) * abs(g[77])
        assert not found.explains(output)
        assert found.explained("torch", output).verdict == "unexplained"
        assert not found.explains(output[:-1])
        assert found.explained("torch", output[:-1]).verdict == "unexplained"


@pytest.mark.parametrize(
    ("op", "params", "at", "slopes"),
    [
        ("relu", {}, 0.0, (0.0, 1.0)),
        ("relu", {}, 0.0, (0.0, 0.5)),
        ("leaky_relu", {"negative_slope": 0.25}, 0.0, (0.25, 1.0)),
        ("elu", {"alpha": 2.0}, 0.0, (2.0, 1.0)),
        ("selu", {}, 0.0, (SELU_SCALE * SELU_ALPHA, SELU_SCALE)),
        ("clamp", {"low": -1.0, "high": 1.0}, 1.0, (1.0, 0.0)),
        ("clamp", {"low": -1.0, "high": 1.0}, -1.0, (1.0, 0.0)),
        ("clamp", {"low": 0.0, "high": 6.0}, 6.0, (0.0, 1.0)),
        ("clamp", {"low": 0.0, "high": 6.0}, 0.0, (0.0, 1.0)),
    ],
)
def test_another_slope_at_a_kink_is_a_choice(
    op: str, params: dict[str, Any], at: float, slopes: tuple[float, float]
) -> None:
    x = np.float32([0.5, at, -0.25, at, 0.3])
    g = np.float32([1.0, 3.0, -2.0, -0.7, 0.1])
    found = pulled(op, params, x, g)
    output = found.rounded
    kink = x == np.float32(at)
    assert np.allclose(output[kink], g[kink] * np.float32(slopes[0]), rtol=1e-6)
    output[kink] = g[kink] * np.float32(slopes[1])
    assert not found.explains(output)
    verdict = found.explained("tensorflow", output)
    assert verdict.verdict == "semantics"
    (cause,) = verdict.causes
    assert (cause.parameter, cause.evidence) == ("gradient at the kink", "proved")
    assert cause.declared == pytest.approx(slopes[0], abs=1e-5)
    assert cause.found == pytest.approx(slopes[1], abs=1e-5)
    # What is no limit of its slopes is not.
    output[1] = g[1] * np.float32(-1.5)
    assert found.explained("tensorflow", output).verdict == "unexplained"
    idle = pulled(op, params, x, np.where(kink, np.float32(0), g))
    assert (
        idle.explained("tensorflow", np.where(kink, np.float32(0.5), idle.rounded)).verdict == "unexplained"
    )
    # Nor is a wrong element off the kink.
    output = found.rounded
    output[kink] = g[kink] * np.float32(slopes[1])
    output[0] = 7.0
    assert found.explained("tensorflow", output).verdict == "unexplained"


def test_a_flushed_argument_may_be_at_the_kink() -> None:
    x, g = np.float32([1e-39, -1e-39, 1.0]), np.float32([1.0, 1.0, 1.0])
    found = pulled("relu", {}, x, g)
    assert found.explains(np.float32([0.0, 0.0, 1.0]))
    assert not found.explains(np.float32([1.0, 0.0, 0.0]))


def test_prelu_has_both_gradients() -> None:
    rng = np.random.default_rng(5)
    for shape, count in (((4, 3, 5), 3), ((6, 3), 3), ((4, 3, 5), 1), ((7,), 1)):
        x, g = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        x.reshape(-1)[3] = 0.0
        w = rng.uniform(-1, 1, count).astype(np.float32)
        found = pullbacks(Declared("prelu", {}, {"input": x, "weight": w}, (x,)), g)
        for dtype in (np.float32, np.float64):
            leaves = [torch.tensor(each.astype(dtype), requires_grad=True) for each in (x, w)]
            F.prelu(*leaves).backward(torch.tensor(g.astype(dtype)))
            for key, leaf in zip(("in0", "weight"), leaves, strict=True):
                if dtype is np.float32:
                    assert found[key].explains(leaf.grad.numpy())
                    assert not found[key].explains(leaf.grad.numpy() * np.float32(1.0001))
                else:
                    assert np.allclose(leaf.grad.numpy(), found[key].truth.value, rtol=1e-12, atol=1e-13)
        exact = sum(
            (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x.flat, g.flat, strict=True) if a < 0),
            Fraction(0),
        )
        total = sum((Fraction(float(v)) for v in found["weight"].truth.value), Fraction(0))
        if count == 1:
            slack = Fraction(float(found["weight"].truth.bound[0]))
            assert abs(total + Fraction(float(found["weight"].truth.residual[0])) - exact) <= slack
        other = found["in0"].rounded
        other.reshape(-1)[3] = 0.0  # Keras: relu(x) - w relu(-x)
        assert found["in0"].explained("tensorflow", other).verdict == "semantics"


def test_what_is_not_known_or_not_finite_is_left_out() -> None:
    x, g = np.float32([1.0, 2.0]), np.float32([1.0, np.inf])
    assert pullbacks(Declared("relu", {}, {"input": x}, (x,)), g) == {}
    assert pullbacks(Declared("relu", {}, {"input": g}, (g,)), x) == {}
    assert pullbacks(Declared("erf", {}, {"input": x}, (x,)), x) == {}
    assert pullbacks(Declared("unknown", {}, {}, (x,)), x) == {}
    with pytest.raises(ValueError, match="shape of the output of relu"):
        pullbacks(Declared("relu", {}, {"input": x}, (x,)), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="a function of one number is one of"):
        elementwise("conv2d", x, x, {})


def test_a_million_elements_are_not_taken_one_by_one(asked: list[int]) -> None:
    rng = np.random.default_rng(6)
    x, g = ((3.0 * rng.standard_normal(200_000)).astype(np.float32) for _ in range(2))
    x[:50_000] *= 300.0  # far out on both sides
    for op, params, _ in CASES:
        asked.clear()
        pulled(op, params, x, g)
        assert len(asked) < 20, op


@pytest.mark.slow
def test_tensorflow_is_never_outside() -> None:
    import tensorflow as tf

    functions: list[tuple[str, dict[str, Any], Any]] = [
        ("relu", {}, tf.nn.relu),
        ("leaky_relu", {"negative_slope": 0.2}, tf.nn.leaky_relu),
        ("elu", {"alpha": 1.0}, tf.nn.elu),
        ("selu", {}, tf.nn.selu),
        ("sigmoid", {}, tf.nn.sigmoid),
        ("tanh", {}, tf.nn.tanh),
        ("silu", {}, tf.nn.silu),
        ("gelu", {"approximate": "none"}, lambda x: tf.nn.gelu(x, approximate=False)),
        ("gelu", {"approximate": "tanh"}, lambda x: tf.nn.gelu(x, approximate=True)),
        ("softplus", {}, tf.nn.softplus),
        ("clamp", {"low": 0.0, "high": 6.0}, tf.nn.relu6),
        ("clamp", {"low": -0.5, "high": 2.0}, lambda x: tf.clip_by_value(x, -0.5, 2.0)),
    ]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = wide(rng, 20_000)
        g = rng.standard_normal(20_000).astype(np.float32) if seed % 2 else rng.permutation(wide(rng, 20_000))
        for op, params, function in functions:
            for compiled in (False, True):

                def run(at: Any, by: Any, function: Any = function) -> Any:
                    with tf.GradientTape() as tape:
                        tape.watch(at)
                        y = function(at)
                    return tape.gradient(y, at, by)

                call = tf.function(run, jit_compile=True) if compiled else run
                output = call(tf.constant(x), tf.constant(g)).numpy()
                found = pulled(op, params, x, g)
                beyond = found.beyond(output)
                if op == "selu":
                    assert found.explained("tensorflow", output).verdict in ("rounding", "semantics")
                    beyond &= x != 0
                assert not beyond.any(), (
                    op,
                    params,
                    compiled,
                    x[beyond][:5],
                    g[beyond][:5],
                    output[beyond][:5],
                )
