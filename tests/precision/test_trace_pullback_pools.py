"""Gradients of poolings: windows that overlap, ceil_mode, dilation, padding, elements that tie."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.backward.pullback import Pullback, pullbacks
from precision.tracing.declared import Declared
from precision.tracing.glue import padded
from reference import evaluate

Float32 = NDArray[np.float32]


def pulled(op: str, x: Float32, g: Float32, params: dict[str, Any]) -> Pullback:
    return pullbacks(Declared(op, params, {"input": x}, (x,)), g)["in0"]


@st.composite
def poolings(draw: Any) -> tuple[str, Float32, dict[str, Any], Callable[[Any], Any]]:
    axes = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["avg", "max"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    stride = [draw(st.integers(1, 3)) for _ in range(axes)]
    half = [draw(st.integers(0, k // 2)) for k in kernel]
    dilation = [draw(st.integers(1, 2)) if kind == "max" else 1 for _ in range(axes)]
    sizes = [draw(st.integers((k - 1) * d + 1, 8)) for k, d in zip(kernel, dilation, strict=True)]
    ceil = draw(st.booleans())
    params: dict[str, Any] = {
        "kernel_size": kernel, "stride": stride, "padding": [p for p in half for _ in range(2)],
        "ceil_mode": ceil,
    }  # fmt: skip
    named: dict[str, Any] = {"stride": stride, "padding": half, "ceil_mode": ceil}
    if kind == "max":
        params["dilation"] = named["dilation"] = dilation
    else:
        params["count_include_pad"] = named["count_include_pad"] = draw(st.booleans())
        if axes > 1 and draw(st.booleans()):
            params["divisor_override"] = named["divisor_override"] = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((2, 3, *sizes)).astype(np.float32)
    if draw(st.booleans()):
        x = np.maximum(np.round(x), 0).astype(np.float32)  # ties everywhere
    function = getattr(F, f"{kind}_pool{axes}d")
    return f"{kind}_pool{axes}d", x, params, lambda at: function(at, kernel, **named)


@settings(max_examples=60)
@given(case=poolings(), seed=st.integers(0, 2**32 - 1), large=st.sampled_from([1e-40, 1.0, 1e37]))
def test_torch_agrees(case: Any, seed: int, large: float) -> None:
    op, x, params, function = case
    leaf = torch.tensor(x, requires_grad=True)
    y = function(leaf)
    rng = np.random.default_rng(seed)
    g = (large * rng.standard_normal(tuple(y.shape))).astype(np.float32)
    y.backward(torch.tensor(g))
    found = pulled(op, x, g, params)
    assert found.truth.value.shape == x.shape
    output = leaf.grad.numpy()
    assert found.explains(output)
    assert found.explained("torch", output).verdict in ("exact", "rounding")
    wide = torch.tensor(x.astype(np.float64), requires_grad=True)
    function(wide).backward(torch.tensor(g.astype(np.float64)))
    exact = wide.grad.numpy()
    assert np.allclose(exact, found.truth.value, rtol=1e-12, atol=1e-13 * large)
    # Linear in g: the sum over the outputs of g y is that over the inputs of dx x, in fractions.
    if op.startswith("max") or x.size < 200:
        refine = found.truth.refine
        assert refine is not None
        led = sum((refine(i, 60)[0] * Fraction(float(x.flat[i])) for i in range(x.size)), Fraction(0))
        truth = evaluate(op, {"input": x}, params)
        assert truth.refine is not None
        outs = sum((Fraction(float(g.flat[i])) * truth.refine(i, 60)[0] for i in range(g.size)), Fraction(0))
        assert led == outs
    # One element that is off by a little more than rounding.
    worst = np.unravel_index(int(np.argmax(np.abs(exact))), x.shape)
    if large == 1.0 and exact[worst] != 0:
        output = output.copy()
        output[worst] *= np.float32(1.0001)
        assert not found.explains(output)
        assert found.explained("torch", output).verdict == "unexplained"


def test_wrong_divisors_and_scales_are_outside() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 7, 7)).astype(np.float32)
    params = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1], "count_include_pad": True}
    leaf = torch.tensor(x, requires_grad=True)
    y = F.avg_pool2d(leaf, 3, 2, 1, count_include_pad=False)
    g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(g))
    found = pulled("avg_pool2d", x, g, params)
    assert not found.explains(leaf.grad.numpy())
    assert found.explained("torch", leaf.grad.numpy()).verdict == "unexplained"
    assert not found.explains(np.float32(9.0) * found.rounded)


@pytest.mark.parametrize("choice", ["the last of them", "equal shares", "all of them"])
def test_ties_are_told_from_faults(choice: str) -> None:
    rng = np.random.default_rng(1)
    x = np.maximum(np.round(2 * rng.standard_normal((2, 3, 6, 6))), 0).astype(np.float32)
    params = {"kernel_size": [2, 2], "stride": [2, 2], "padding": "valid"}
    g = rng.standard_normal((2, 3, 3, 3)).astype(np.float32)
    output = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*g.shape):
        block = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        tied = np.argwhere(block == block.max())
        chosen = tied[-1:] if choice.startswith("the last") else tied
        share = g[n, c, i, j] / np.float32(len(tied) if choice == "equal shares" else 1)
        for a, b in chosen:
            output[n, c, 2 * i + a, 2 * j + b] += share
    found = pulled("max_pool2d", x, g, params)
    assert not found.explains(output)
    verdict = found.explained("torch", output)
    (cause,) = verdict.causes
    assert (verdict.verdict, cause.parameter, cause.evidence) == ("semantics", "ties", "proved")
    assert (cause.declared, cause.found) == ("the first of them", choice)
    # The same with one window wrong is nothing that is known.
    output[0, 0, 0, 0] += 1
    assert found.explained("torch", output).verdict == "unexplained"


def test_without_ties_there_is_no_choice() -> None:
    rng = np.random.default_rng(2)
    x = rng.permutation(2 * 3 * 36).reshape(2, 3, 6, 6).astype(np.float32)
    g = rng.standard_normal((2, 3, 3, 3)).astype(np.float32)
    found = pulled("max_pool2d", x, g, {"kernel_size": [2, 2], "stride": [2, 2], "padding": "valid"})
    second = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*g.shape):
        block = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        a, b = np.argwhere(block == np.sort(block.reshape(-1))[-2])[0]
        second[n, c, 2 * i + a, 2 * j + b] = g[n, c, i, j]
    assert found.explained("torch", second).verdict == "unexplained"


@pytest.mark.parametrize("value", [0.0, -1e30])
def test_a_joined_padding_is_cut_off(value: float) -> None:
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((2, 3, 7, 7)) - 0.3).astype(np.float32)
    pad = {"sides": [0, 0, 0, 0, 1, 0, 0, 1], "mode": "constant", "value": value}
    params = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [0, 0, 0, 0]}
    declared = Declared("max_pool2d", params, {"input": padded(x, pad)}, (x,), pad=pad)
    leaf = torch.tensor(x, requires_grad=True)
    y = F.max_pool2d(F.pad(leaf, (0, 1, 1, 0), value=value), 3, 2)
    g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(g))
    found = pullbacks(declared, g)["in0"]
    assert found.truth.value.shape == x.shape
    assert found.explains(leaf.grad.numpy())
    assert not found.explains(np.float32(1.01) * leaf.grad.numpy())
    mirrored = Declared("max_pool2d", params, {"input": padded(x, {**pad, "mode": "reflect"})}, (x,),
                        pad={**pad, "mode": "reflect"})  # fmt: skip
    assert pullbacks(mirrored, g) == {}


def test_a_gradient_of_another_shape_is_refused() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="shape of the pooling's output"):
        pulled("max_pool2d", x, np.ones((1, 1, 3, 3), np.float32), {"kernel_size": [2, 2]})


def test_large_poolings_are_quick() -> None:
    rng = np.random.default_rng(4)
    x = np.maximum(rng.standard_normal((8, 32, 56, 56)), 0).astype(np.float32)
    params = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1]}
    g = rng.standard_normal((8, 32, 28, 28)).astype(np.float32)
    for op in ("max_pool2d", "avg_pool2d"):
        found = pulled(op, x, g, params)
        assert found.truth.tiers["exact"] < 0.02 * x.size  # ties of ninths, which fractions decide
        assert found.truth.value.shape == x.shape


@pytest.mark.slow
def test_tensorflow_agrees() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(5)
    for ties in (False, True):
        x = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
        x = np.maximum(np.round(x), 0).astype(np.float32) if ties else x
        for op, function in (("avg_pool2d", tf.nn.avg_pool2d), ("max_pool2d", tf.nn.max_pool2d)):
            for rule in ("same", "valid"):
                params = {"kernel_size": [3, 2], "stride": [2, 2], "padding": rule}
                at = tf.constant(np.ascontiguousarray(np.moveaxis(x, 1, -1)))
                with tf.GradientTape() as tape:
                    tape.watch(at)
                    y = function(at, [3, 2], [2, 2], rule.upper())
                g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
                output = np.moveaxis(tape.gradient(y, at, tf.constant(g)).numpy(), -1, 1)
                found = pulled(op, x, np.ascontiguousarray(np.moveaxis(g, -1, 1)), params)
                assert found.explains(np.ascontiguousarray(output)), (op, rule, ties)
