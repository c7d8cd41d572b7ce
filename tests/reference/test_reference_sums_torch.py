"""Convolutions, transposed ones and gradients mean what torch means: its float64 is within its own bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reference

FORWARD = {axes: getattr(torch.nn.functional, f"conv{axes}d") for axes in (1, 2, 3)}
TRANSPOSED = {axes: getattr(torch.nn.functional, f"conv_transpose{axes}d") for axes in (1, 2, 3)}
LAYERS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
CASES = [(axes, seed) for axes in (1, 2, 3) for seed in range(12)]


def close(truth, tensor, terms):
    """Within the rounding of a float64 sum of so many terms, in any order."""
    found = tensor.detach().numpy()
    assert found.shape == truth.value.shape
    assert (abs(truth.error(found)) <= (terms + 2) * 2.0**-53 * truth.magnitude + truth.bound).all()
    assert (truth.magnitude > 0).any()


def drawn(rng, axes, least=1):
    """Parameters and shapes (input, weight) of a convolution whose padding is the same on both sides."""
    groups = int(rng.integers(1, 4))
    kernel, stride, dilation, padding = (
        rng.integers(*ends, axes) for ends in ((1, 4), (1, 4), (1, 3), (0, 3))
    )
    size = np.maximum(dilation * (kernel - 1) + 1 - 2 * padding, least) + rng.integers(3, 7, axes)
    params = {"stride": stride, "dilation": dilation, "padding": padding}
    params = {name: [int(v) for v in values] for name, values in params.items()} | {"groups": groups}
    shapes = (2, groups * int(rng.integers(1, 3)), *map(int, size)), tuple(map(int, kernel))
    return params, shapes, int(rng.integers(1, 3))


def tensors(*arrays):
    return [torch.tensor(array).double() for array in arrays]


@pytest.mark.parametrize(("axes", "seed"), CASES)
def test_convolutions_and_their_gradients(data, axes, seed):
    rng = np.random.default_rng(seed)
    params, (x_shape, kernel), each = drawn(rng, axes)
    w_shape = (params["groups"] * each, x_shape[1] // params["groups"], *kernel)
    x, w, b = (data("normal", shape, rng) for shape in (x_shape, w_shape, w_shape[:1]))
    terms = int(np.prod(w_shape[1:]))
    name = f"conv{axes}d"
    tx, tw, tb = (t.requires_grad_() for t in tensors(x, w, b))
    ty = FORWARD[axes](tx, tw, tb, **params)
    close(reference.evaluate(name, {"input": x, "weight": w, "bias": b}, params), ty, terms + 1)
    g = data("normal", tuple(ty.shape), rng)
    ty.backward(torch.tensor(g).double())
    truth = reference.evaluate(
        f"{name}_input_grad", {"grad_output": g, "weight": w}, params | {"input_size": x.shape}
    )
    close(truth, tx.grad, each * int(np.prod(kernel)))
    truth = reference.evaluate(
        f"{name}_weight_grad", {"grad_output": g, "input": x}, params | {"weight_size": w.shape}
    )
    close(truth, tw.grad, g.size // g.shape[1])
    close(reference.evaluate(f"{name}_bias_grad", {"grad_output": g}, {}), tb.grad, g.size // g.shape[1])


@pytest.mark.parametrize(("axes", "seed"), CASES)
def test_transposed_convolutions_and_their_gradients(data, axes, seed):
    rng = np.random.default_rng(seed + 100)
    params, (x_shape, kernel), each = drawn(rng, axes, least=4)
    stride, dilation = params["stride"], params["dilation"]
    extra = [int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)]
    params = params | {"output_padding": extra}
    w_shape = (x_shape[1], each, *kernel)
    x, w = data("normal", x_shape, rng), data("normal", w_shape, rng)
    b = data("normal", (params["groups"] * each,), rng)
    name = f"conv_transpose{axes}d"
    tx, tw, tb = (t.requires_grad_() for t in tensors(x, w, b))
    ty = TRANSPOSED[axes](tx, tw, tb, **params)
    truth = reference.evaluate(name, {"input": x, "weight": w, "bias": b}, params)
    close(truth, ty, x_shape[1] // params["groups"] * int(np.prod(kernel)) + 1)
    asked = {key: value for key, value in params.items() if key != "output_padding"}
    if all(e < s for e, s in zip(extra, stride, strict=True)):
        asked["output_shape"] = tuple(ty.shape)
        same = reference.evaluate(name, {"input": x, "weight": w, "bias": b}, asked)
        assert np.array_equal(same.value, truth.value)
    g = data("normal", tuple(ty.shape), rng)
    ty.backward(torch.tensor(g).double())
    truth = reference.evaluate(
        f"{name}_input_grad", {"grad_output": g, "weight": w}, params | {"input_size": x.shape}
    )
    close(truth, tx.grad, int(np.prod(w_shape[1:])))
    truth = reference.evaluate(
        f"{name}_weight_grad", {"grad_output": g, "input": x}, params | {"weight_size": w.shape}
    )
    close(truth, tw.grad, x.size // x.shape[1])
    close(reference.evaluate(f"{name}_bias_grad", {"grad_output": g}, {}), tb.grad, g.size // g.shape[1])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (4, 1), (3, 2), (2, 3)])
def test_padding_modes_and_same(data, mode, axes, kernel, dilation):
    """torch pads the larger half after, whatever the mode."""
    rng = np.random.default_rng(9)
    layer = LAYERS[axes](4, 2, kernel, padding="same", padding_mode=mode, dilation=dilation, groups=2)
    layer = layer.double()
    x, w = data("normal", (2, 4, *(7,) * axes), rng), data("normal", (2, 2, *(kernel,) * axes), rng)
    b = data("normal", (2,), rng)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(w))
        layer.bias.copy_(torch.tensor(b))
        y = layer(torch.tensor(x).double())
    params = {"padding": "same_torch", "padding_mode": mode, "dilation": dilation, "groups": 2}
    truth = reference.evaluate(f"conv{axes}d", {"input": x, "weight": w, "bias": b}, params)
    close(truth, y, 2 * kernel**axes + 1)


@pytest.mark.parametrize("seed", range(6))
def test_products(data, seed):
    rng = np.random.default_rng(seed)
    a, b = data("normal", (4, 1, 5, 30), rng), data("normal", (3, 30, 6), rng)
    ta, tb = (t.requires_grad_() for t in tensors(a, b))
    y = torch.matmul(ta, tb)
    close(reference.evaluate("matmul", {"input": a, "other": b}, {}), y, 30)
    g = data("normal", tuple(y.shape), rng)
    y.backward(torch.tensor(g).double())
    truth = reference.evaluate("matmul_input_grad", {"grad_output": g, "other": b}, {"input_size": a.shape})
    close(truth, ta.grad, 6 * 3)
    truth = reference.evaluate("matmul_other_grad", {"grad_output": g, "input": a}, {"other_size": b.shape})
    close(truth, tb.grad, 5 * 4)


def test_the_bound_of_a_float64_sum_is_not_idle(data):
    """A shifted output, an error of 2**-45 of its terms and a wrong shape are all noticed."""
    rng = np.random.default_rng(3)
    x, w = data("normal", (1, 2, 9), rng), data("normal", (2, 3, 3), rng)
    truth = reference.evaluate("conv_transpose1d", {"input": x, "weight": w}, {"stride": 2})
    y = TRANSPOSED[1](*tensors(x, w), stride=2)
    close(truth, y, 6)
    for wrong in (y.roll(1, -1), y + 2.0**-45 * torch.tensor(truth.magnitude), y[..., :-1]):
        with pytest.raises(AssertionError):
            close(truth, wrong, 6)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_plain_float32_stays_within_the_bound_and_rounds_every_step(data, axes):
    rng = np.random.default_rng(4)
    x, w = data("normal", (2, 6, *(5,) * axes), rng), data("normal", (6, 4, *(3,) * axes), rng)
    arrays, params = {"input": x, "weight": w}, {"stride": 2, "padding": 1}
    op = f"conv_transpose{axes}d"
    truth, plain = reference.evaluate(op, arrays, params), reference.plain_float32(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth)
    assert (abs(truth.error(plain)) <= bound).all()
    assert (truth.error(plain) != 0).any()
    arrays = {"input": x}
    for kind in ("avg", "max"):
        op, params = f"{kind}_pool{axes}d", {"kernel_size": 3, "padding": 1}
        truth, plain = reference.evaluate(op, arrays, params), reference.plain_float32(op, arrays, params)
        assert (abs(truth.error(plain)) <= reference.error_bound(op, arrays, params, truth)).all()
        assert (truth.error(plain) != 0).any() == (kind == "avg")
