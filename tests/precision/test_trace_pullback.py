"""Gradients of layers that are ops of the reference: every operand, joined paddings, flattenings, faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precision.tracing.backward.pullback import pullbacks
from precision.tracing.declared import Declared, declare
from precision.tracing.glue import padded
from precision.tracing.units import Unit, build_units, read_calls

Float32 = NDArray[np.float32]
Arrays = dict[str, Float32]
Layer = Callable[..., Any]


def random(rng: np.random.Generator, *shape: int) -> Float32:
    return rng.standard_normal(shape).astype(np.float32)


def gradients(layer: Layer, arrays: Arrays, g: Float32, dtype: Any = np.float32) -> dict[str, NDArray[Any]]:
    """PyTorch's own, of every array that the layer takes."""
    leaves = {name: torch.tensor(array.astype(dtype), requires_grad=True) for name, array in arrays.items()}
    layer(**leaves).backward(torch.tensor(g.astype(dtype)))
    return {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def holds(declared: Declared, layer: Layer, arrays: Arrays, seed: int, keys: dict[str, str]) -> None:
    """The truth is PyTorch's gradient in float64, and its float32 is rounding; what is off is neither."""
    with torch.no_grad():
        shape = tuple(layer(**{name: torch.tensor(array) for name, array in arrays.items()}).shape)
    g = random(np.random.default_rng(seed), *shape)
    found = pullbacks(declared, g)
    assert set(found) == set(keys.values())
    single, double = gradients(layer, arrays, g), gradients(layer, arrays, g, np.float64)
    for name, key in keys.items():
        one = found[key]
        assert one.truth.value.shape == arrays[name].shape
        size = np.abs(double[name]).max() + 1e-30
        assert np.abs(double[name] - one.truth.value).max() <= 1e-10 * size
        assert one.explains(single[name])
        assert np.array_equal(one.rounded, one.truth.round(np.float32))
        wrong = single[name].copy()
        wrong.reshape(-1)[-1] += np.float32(0.01) * np.float32(size)
        assert not one.explains(wrong)
        assert not one.explains(wrong[..., :-1])


@st.composite
def convolutions(draw: Any) -> tuple[Declared, Layer, Arrays]:
    axes, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    stride = [draw(st.integers(1, 2)) for _ in range(axes)]
    dilation = [draw(st.integers(1, 2)) for _ in range(axes)]
    half = [draw(st.integers(0, k - 1)) for k in kernel]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = random(rng, 2, 4, *(draw(st.integers(5, 7)) for _ in range(axes)))
    transposed, biased = draw(st.booleans()), draw(st.booleans())
    weight = random(rng, *((4, 3) if transposed else (6, 4 // groups)), *kernel)
    arrays = {"input": x, "weight": weight}
    if biased:
        arrays["bias"] = random(rng, 3 * groups if transposed else 6)
    if not transposed and draw(st.booleans()):
        params: dict[str, Any] = {"stride": [1] * axes, "padding": "same_torch", "dilation": dilation}
        named: dict[str, Any] = {"stride": 1, "padding": "same", "dilation": dilation}
    else:
        params = {"stride": stride, "padding": [p for p in half for _ in range(2)], "dilation": dilation}
        named = {"stride": stride, "padding": half, "dilation": dilation}
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    if transposed:
        added = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
        params["output_padding"] = named["output_padding"] = added
    params["groups"] = named["groups"] = groups
    declared = Declared(name, params, arrays, (x,))
    return declared, lambda **given_: getattr(F, name)(**given_, **named), arrays


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=20)
@given(case=convolutions(), seed=st.integers(0, 2**32 - 1))
def test_convolutions(case: Any, seed: int) -> None:
    declared, layer, arrays = case
    keys = {"input": "in0", "weight": "weight", "bias": "bias"}
    holds(declared, layer, arrays, seed, {name: keys[name] for name in arrays})


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_batch_norm(training: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    arrays = {"input": random(rng, *shape), "weight": random(rng, 3), "bias": random(rng, 3)}
    running = {"running_mean": random(rng, 3), "running_var": np.abs(random(rng, 3)) + np.float32(0.5)}
    params = {"training": training, "eps": 1e-3}
    declared = Declared("batch_norm", params, arrays | ({} if training else running), (arrays["input"],))

    def layer(**given_: Any) -> Any:
        stats = {name: torch.tensor(array).to(given_["input"].dtype) for name, array in running.items()}
        return F.batch_norm(**given_, **stats, training=training, eps=1e-3)

    holds(declared, layer, arrays, 2, {"input": "in0", "weight": "weight", "bias": "bias"})


NORMS: list[tuple[str, dict[str, Any], Layer, tuple[int, ...]]] = [
    ("layer_norm", {"normalized_shape": [5], "eps": 1e-5},
     lambda **a: F.layer_norm(normalized_shape=[5], **a), (5,)),
    ("layer_norm", {"normalized_shape": [4, 5], "eps": 1e-5},
     lambda **a: F.layer_norm(normalized_shape=[4, 5], **a), (4, 5)),
    ("group_norm", {"num_groups": 2, "eps": 1e-5}, lambda **a: F.group_norm(num_groups=2, **a), (6,)),
    ("instance_norm", {"eps": 1e-5}, F.instance_norm, (6,)),
    ("rms_norm", {"normalized_shape": [5], "eps": 1e-6},
     lambda **a: F.rms_norm(normalized_shape=[5], eps=1e-6, **a), (5,)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "params", "layer", "size"), NORMS)
@pytest.mark.parametrize("affine", [False, True])
def test_other_norms(op: str, params: dict[str, Any], layer: Layer, size: Any, affine: bool) -> None:
    rng = np.random.default_rng(3)
    arrays = {"input": random(rng, 2, 6, 4, 5)}
    if affine:
        arrays["weight"] = random(rng, *size)
        if op != "rms_norm":
            arrays["bias"] = random(rng, *size)
    keys = {"input": "in0", "weight": "weight", "bias": "bias"}
    holds(Declared(op, params, arrays, (arrays["input"],)), layer, arrays, 4, {n: keys[n] for n in arrays})


@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5))]
)
def test_products(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(5)
    arrays = {"input": random(rng, *shapes[0]), "other": random(rng, *shapes[1])}
    declared = Declared("matmul", {}, arrays, (arrays["input"], arrays["other"]))
    holds(declared, torch.matmul, arrays, 6, {"input": "in0", "other": "in1"})
    arrays = {"input": random(rng, 2, 3, 4), "weight": random(rng, 5, 4), "bias": random(rng, 5)}
    keys = {"input": "in0", "weight": "weight", "bias": "bias"}
    holds(Declared("linear", {}, arrays, (arrays["input"],)), F.linear, arrays, 7, keys)


def unit(*calls: dict[str, Any]) -> Unit:
    described = [
        {"name": f"c{k}", "detail": call["op"], "sources": [[k - 1]], "weights": {}, "params": {}} | call
        for k, call in enumerate(calls)
    ]
    (found,) = build_units(read_calls(described), [[len(calls) - 1]])
    return found


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_a_flattened_image_is_put_together(order: str) -> None:
    rng = np.random.default_rng(8)
    x, w, b = random(rng, 2, 3, 4, 5), random(rng, 7, 60), random(rng, 7)
    joined = unit(
        {"op": "reshape", "params": {"order": order}, "shapes": [[2, 3, 4, 5]], "shape": [2, 60]},
        {"op": "linear", "shapes": [[2, 60]], "shape": [2, 7], "weights": {"weight": [7, 60], "bias": [7]}},
    )
    declared = declare(joined, [x], {"weight": w, "bias": b})
    assert declared.flatten == order

    def layer(input: Any, weight: Any, bias: Any) -> Any:
        turned = input if order == "NCHW" else input.permute(0, 2, 3, 1)
        return F.linear(turned.reshape(2, 60), weight, bias)

    arrays = {"input": x, "weight": w, "bias": b}
    holds(declared, layer, arrays, 9, {"input": "in0", "weight": "weight", "bias": "bias"})
    g = random(rng, 2, 7)
    verdict = pullbacks(declared, g)["in0"].explained("torch", gradients(layer, arrays, g)["input"])
    assert verdict.verdict in ("exact", "rounding")


@pytest.mark.parametrize(
    ("mode", "value"), [("constant", 0.0), ("constant", 2.0), ("reflect", 0.0), ("circular", 0.0)]
)
def test_a_joined_padding_is_taken_into_account(mode: str, value: float) -> None:
    rng = np.random.default_rng(10)
    x, w = random(rng, 2, 3, 6, 6), random(rng, 4, 3, 3, 3)
    sides = [0, 0, 0, 0, 1, 0, 2, 1]
    joined = unit(
        {"op": "pad", "params": {"sides": sides, "mode": mode, "value": value}, "shapes": [[2, 3, 6, 6]],
         "shape": [2, 3, 7, 9]},
        {"op": "conv2d", "shapes": [[2, 3, 7, 9]], "shape": [2, 4, 5, 7], "weights": {"weight": [4, 3, 3, 3]},
         "params": {"stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}},
    )  # fmt: skip
    declared = declare(joined, [x], {"weight": w})
    if value:  # no parameter of a convolution: the padded array is its input
        pad = {"sides": sides, "mode": mode, "value": value}
        params = {**joined.main.params}
        declared = Declared("conv2d", params, {"input": padded(x, pad), "weight": w}, (x,), pad=pad)

    def layer(input: Any, weight: Any) -> Any:
        options = {"value": value} if mode == "constant" else {}
        return F.conv2d(F.pad(input, (2, 1, 1, 0), mode=mode, **options), weight)

    holds(declared, layer, {"input": x, "weight": w}, 11, {"input": "in0", "weight": "weight"})
    g = random(rng, 2, 4, 5, 7)
    output = gradients(layer, {"input": x, "weight": w}, g)["input"]
    assert pullbacks(declared, g)["in0"].explained("torch", output).verdict in ("exact", "rounding")
    assert pullbacks(declared, g)["in0"].explained("torch", -output).verdict not in ("exact", "rounding")


def test_dropout_scales_what_it_keeps() -> None:
    rng = np.random.default_rng(12)
    x, g = random(rng, 20, 30), random(rng, 20, 30)
    mask = (rng.random((20, 30)) < 0.7).astype(np.float32)
    declared = Declared("dropout", {"p": 0.3, "training": True}, {"input": x, "mask": mask})
    found = pullbacks(declared, g)["in0"]
    kept = g * mask
    assert found.explains(kept * np.float32(1 / 0.7))
    assert found.explained("torch", kept * np.float32(1 / 0.7)).verdict in ("exact", "rounding")
    for wrong in (kept, g, g * np.float32(1 / 0.7), kept * np.float32(1 / 0.3)):
        assert not found.explains(wrong)
        assert found.explained("torch", wrong).verdict not in ("exact", "rounding")


def test_another_meaning_is_searched_for() -> None:
    rng = np.random.default_rng(13)
    x, w = random(rng, 2, 3, 8, 8), random(rng, 4, 3, 3, 3)
    arrays = {"input": x, "weight": w}
    params = {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": 1}
    g = random(rng, 2, 4, 8, 8)
    found = pullbacks(Declared("conv2d", params, arrays, (x,)), g)
    turned = gradients(lambda input, weight: F.conv2d(input, weight.flip(2, 3), padding=1), arrays, g)
    verdict = found["in0"].explained("torch", turned["input"])
    assert verdict.verdict == "semantics"
    assert verdict.causes[0].parameter is not None
    assert found["weight"].explained("torch", random(rng, 4, 3, 3, 3)).verdict == "unexplained"
    short = found["in0"].explained("torch", random(rng, 2, 3, 8, 7))
    assert short.verdict == "unexplained"


def test_large_layers_are_quick() -> None:
    rng = np.random.default_rng(14)
    x = random(rng, 8, 16, 64, 64)
    g = random(rng, 8, 16, 64, 64)
    one = random(rng, 16)
    cases = [
        Declared("relu", {}, {"input": x}, (x,)),
        Declared("batch_norm", {"training": True}, {"input": x, "weight": one, "bias": one}, (x,)),
        Declared("conv2d", {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": 1},
                 {"input": x, "weight": random(rng, 16, 16, 3, 3), "bias": one}, (x,)),
        Declared("add", {}, {}, (x, x)),
        Declared("mul", {}, {"weight": random(rng, 1, 16, 1, 1)}, (x,)),
    ]  # fmt: skip
    for declared in cases:
        started = time.perf_counter()
        found = pullbacks(declared, g)
        for one_ in found.values():
            assert one_.rounded.size
        assert time.perf_counter() - started < 20.0, declared.op


def test_what_is_not_known_is_left_out() -> None:
    rng = np.random.default_rng(15)
    x = random(rng, 1, 2, 4, 4)
    given_ = Declared("interpolate", {"scale_factor": [2.0, 2.0], "mode": "nearest"}, {"input": x}, (x,))
    assert pullbacks(given_, random(rng, 1, 2, 8, 8)) == {}
    heads = tuple(random(rng, 1, 2, 3, 4) for _ in range(3))
    assert pullbacks(Declared("attention", {"scale": 0.5}, {}, heads), random(rng, 1, 2, 3, 4)) == {}
    linear = Declared("linear", {}, {"input": x, "weight": np.full((3, 4), np.nan, np.float32)}, (x,))
    assert pullbacks(linear, random(rng, 1, 2, 4, 3)) == {}
