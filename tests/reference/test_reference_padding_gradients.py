"""Gradients of convolutions whose padding copies the input: torch's autograd, adjointness, one rounding.

The exact values over random shapes are in test_reference_sums.py.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import reference
from reference.padding import copies, padded

F = np.float32
MODES = ("reflect", "replicate", "circular")
FORWARD = {axes: getattr(torch.nn.functional, f"conv{axes}d") for axes in (1, 2, 3)}
LAYERS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
CASES = [  # size, kernel, stride, dilation, pads: (before, after) of each axis
    (6, 3, 1, 1, (1, 1)),
    (7, 3, 2, 1, (2, 1)),
    (5, 2, 3, 2, (0, 3)),
    (4, 3, 1, 2, (3, 3)),
    (5, 4, 2, 1, (4, 0)),
]


def close(truth, tensor, terms):
    """Within the rounding of a float64 sum of so many terms, in any order."""
    found = tensor.detach().numpy()
    assert found.shape == truth.value.shape
    assert (abs(truth.error(found)) <= (terms + 2) * 2.0**-53 * truth.magnitude + truth.bound).all()
    assert (truth.magnitude > 0).any()


def gradients(axes, arrays, params, last=False):
    """Both truths, channels first, of a gradient and an input and a weight that are channels first."""
    g, x, w = arrays
    if last:
        g, x, w = np.moveaxis(g, 1, -1), np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
        params = params | {"layout": "NHWC"}
    of_input = reference.evaluate(
        f"conv{axes}d_input_grad", {"grad_output": g, "weight": w}, params | {"input_size": x.shape}
    )
    of_weight = reference.evaluate(
        f"conv{axes}d_weight_grad", {"grad_output": g, "input": x}, params | {"weight_size": w.shape}
    )
    if last:
        of_input = of_input.arranged(lambda a: np.moveaxis(a, -1, 1))
        of_weight = of_weight.arranged(lambda a: np.moveaxis(a, (-1, -2), (0, 1)))
    return of_input, of_weight


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("size", "kernel", "stride", "dilation", "pad"), CASES)
def test_torch_differentiates_its_padding_to_the_same(
    data, mode, axes, size, kernel, stride, dilation, pad, last
):
    rng = np.random.default_rng(size)
    x, w = data("normal", (2, 4, *(size,) * axes), rng), data("normal", (6, 2, *(kernel,) * axes), rng)
    tx, tw = (torch.tensor(a).double().requires_grad_() for a in (x, w))
    wide = torch.nn.functional.pad(tx, pad * axes, mode=mode)
    y = FORWARD[axes](wide, tw, stride=stride, dilation=dilation, groups=2)
    g = data("normal", tuple(y.shape), rng)
    y.backward(torch.tensor(g).double())
    params = {"stride": stride, "dilation": dilation, "groups": 2}
    params |= {"padding": list(pad) * axes, "padding_mode": mode}
    of_input, of_weight = gradients(axes, (g, x, w), params, last)
    close(of_input, tx.grad, g[0].size * kernel**axes)
    close(of_weight, tw.grad, g.size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_layer_of_torch_has_the_same_gradients(data, mode, axes):
    rng = np.random.default_rng(7)
    layer = LAYERS[axes](4, 6, 3, stride=2, padding=1, padding_mode=mode, groups=2, bias=False).double()
    x, w = data("normal", (2, 4, *(5,) * axes), rng), data("normal", (6, 2, *(3,) * axes), rng)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(w))
    tx = torch.tensor(x).double().requires_grad_()
    y = layer(tx)
    g = data("normal", tuple(y.shape), rng)
    y.backward(torch.tensor(g).double())
    params = {"stride": 2, "padding": 1, "padding_mode": mode, "groups": 2}
    of_input, of_weight = gradients(axes, (g, x, w), params)
    close(of_input, tx.grad, g[0].size * 3**axes)
    close(of_weight, layer.weight.grad, g.size)


@pytest.mark.parametrize("mode", ["zeros", *MODES])
@pytest.mark.parametrize(("size", "pad"), [(1, (0, 0)), (5, (4, 4)), (5, (2, 0)), (4, (0, 3)), (6, (1, 2))])
def test_copies_are_the_adjoint_of_padding(mode, size, pad):
    x = np.arange(1, size + 1, dtype=F).reshape(1, 1, size)
    wide = padded(x, (pad,), False, mode).reshape(-1)
    found = np.zeros(size, int)
    reached = []
    for begin, end, shifts in copies(size, pad, mode):
        for i in range(begin, end):
            found[i] += 1
            assert [wide[i + shift] for shift in shifts] == [i + 1] * len(shifts)
            reached += [i + shift for shift in shifts]
    assert (found == 1).all()
    assert sorted(reached) == np.flatnonzero(wide).tolist()


@pytest.mark.parametrize("mode", MODES)
def test_the_copies_of_an_element_are_one_sum_rounded_once(mode):
    """1 and 2**-24 are at the two places of an element: their sum is a tie, and with 2**-36 more above it."""
    padding = {"reflect": [1, 0], "replicate": [1, 0], "circular": [0, 1]}[mode]
    place = {"reflect": 1, "replicate": 0, "circular": 0}[mode]
    g = np.zeros((1, 1, 4), F)
    copies_at = {"reflect": (0, 2), "replicate": (0, 1), "circular": (0, 3)}[mode]
    g[0, 0, copies_at[0]], g[0, 0, copies_at[1]] = 1.0, 2.0**-24
    params = {"input_size": (1, 1, 3), "padding": padding, "padding_mode": mode}
    truth = reference.evaluate(
        "conv1d_input_grad", {"grad_output": g, "weight": np.ones((1, 1, 1), F)}, params
    )
    assert truth.round()[0, 0, place] == 1.0
    assert truth.refine(place, 10) == (1 + Fraction(1, 2**24), 0)
    g, more = np.concatenate([g, g], axis=1), F([[[1.0]], [[2.0**-36]]])
    truth = reference.evaluate("conv1d_input_grad", {"grad_output": g, "weight": more}, params)
    assert truth.round()[0, 0, place] == np.nextafter(F(1), F(2))
    assert truth.round(np.float64)[0, 0, place] == 1 + 2.0**-24 + 2.0**-36


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_without_its_copies_is_noticed(data, contradictions, mode):
    rng = np.random.default_rng(2)
    g, w = data("normal", (1, 2, 6), rng), data("normal", (2, 1, 3), rng)
    params = {"input_size": (1, 1, 6), "padding": 1}
    arrays = {"grad_output": g, "weight": w}
    truth = reference.evaluate("conv1d_input_grad", arrays, params | {"padding_mode": mode})
    exact = [truth.refine(i, 1)[0] for i in range(6)]
    assert contradictions(truth, exact) == []
    plain = reference.evaluate("conv1d_input_grad", arrays, params)
    assert contradictions(plain, exact) != []


@pytest.mark.parametrize("mode", MODES)
def test_plain_float32_and_torch_stay_within_the_bound(data, mode):
    rng = np.random.default_rng(3)
    x, w = data("normal", (2, 3, 7, 6), rng), data("normal", (4, 3, 3, 3), rng)
    layer = torch.nn.Conv2d(3, 4, 3, padding=2, padding_mode=mode, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(w))
    tx = torch.tensor(x).requires_grad_()
    y = layer(tx)
    g = data("normal", tuple(y.shape), rng)
    y.backward(torch.tensor(g))
    params = {"padding": 2, "padding_mode": mode}
    for op, arrays, size, found in (
        ("conv2d_input_grad", {"grad_output": g, "weight": w}, {"input_size": x.shape}, tx.grad),
        ("conv2d_weight_grad", {"grad_output": g, "input": x}, {"weight_size": w.shape}, layer.weight.grad),
    ):
        truth = reference.evaluate(op, arrays, params | size)
        bound = reference.error_bound(op, arrays, params | size, truth)
        for output in (reference.plain_float32(op, arrays, params | size), found.numpy()):
            assert (abs(truth.error(output)) <= bound).all()
            assert (truth.error(output) != 0).any()


def test_infinite_weights_meet_no_terms_outside_the_output():
    """Element 0 is copied to the left of itself, where tap 1 would need an output that there is not."""
    g, w = np.ones((1, 1, 3), F), F([[[1.0, np.inf]]])
    params = {"input_size": (1, 1, 3), "padding": [1, 0], "padding_mode": "replicate"}
    truth = reference.evaluate("conv1d_input_grad", {"grad_output": g, "weight": w}, params)
    assert truth.value.ravel().tolist() == [np.inf, np.inf, np.inf]
    params |= {"padding": [0, 1]}
    truth = reference.evaluate("conv1d_input_grad", {"grad_output": g, "weight": w}, params)
    assert truth.value.ravel().tolist() == [1.0, np.inf, np.inf]
