"""Counterexamples are small integers, tell the functions apart by a half, and are the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.counterexample import smallest
from precision.meaning.search import search


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer():
    return {"input": drawn(1, 2, 4, 8, 8), "weight": drawn(2, 6, 4, 3, 3), "bias": drawn(3, 6)}


PARAMS = {
    "padding": ({"stride": 2, "padding": 1}, {"stride": 2, "padding": [0, 1, 0, 1]}),
    "dilation": ({"dilation": 1, "padding": 1}, {"dilation": 2, "padding": 2}),
    "mode": ({"padding": 1}, {"padding": 1, "padding_mode": "circular"}),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_of_a_convolution(name):
    declared, found = PARAMS[name]
    example = smallest("conv2d", declared, found, layer())
    again = smallest("conv2d", declared, found, layer())
    assert all(np.array_equal(array, again.arrays[key]) for key, array in example.arrays.items())
    arrays = [t(example.arrays[key]) for key in ("input", "weight", "bias")]
    assert example.arrays["input"].size <= 16
    assert all((array == np.round(array)).all() for array in example.arrays.values())

    def torch_conv(params):
        x, pads = arrays[0], params["padding"]
        mode = params.get("padding_mode", "constant")
        top, bottom, left, right = [pads] * 4 if isinstance(pads, int) else pads
        x = F.pad(x, (left, right, top, bottom), mode=mode)
        return F.conv2d(
            x, *arrays[1:], stride=params.get("stride", 1), dilation=params.get("dilation", 1)
        ).numpy()

    assert np.array_equal(torch_conv(declared), example.declared)
    assert np.array_equal(torch_conv(found), example.found)
    assert np.abs(example.declared - example.found).max() >= 0.5


def test_the_example_of_a_finding_repeats_its_changes():
    arrays = layer()
    kernel = t(arrays["weight"]).flip(2, 3)
    output = F.relu(F.conv2d(t(arrays["input"]), kernel, t(arrays["bias"]), padding=1))
    meaning = search("conv2d", arrays, {"padding": 1}, output.numpy())
    example = meaning.counterexample()
    x, w, b = (t(example.arrays[name]) for name in ("input", "weight", "bias"))
    assert sum(array.size for array in example.arrays.values()) < 20
    assert np.array_equal(F.conv2d(x, w, b, padding=1), example.declared)
    assert np.array_equal(F.relu(F.conv2d(x, w.flip(2, 3), b, padding=1)), example.found)
    assert np.abs(example.declared - example.found).max() >= 0.5


def test_normalizations():
    x = drawn(1, 3, 6, 32)
    example = smallest("layer_norm", {"normalized_shape": [32]}, {"axes": [1, 2]}, {"input": x})
    given = t(example.arrays["input"])
    np.testing.assert_allclose(F.layer_norm(given, given.shape[-1:]), example.declared, atol=1e-5)
    np.testing.assert_allclose(F.layer_norm(given, given.shape[-2:]), example.found, atol=1e-5)
    assert given.numel() <= 6
    images, groups = drawn(2, 2, 8, 4, 4), {"num_groups": 4}
    meaning = search("group_norm", {"input": images}, groups, F.group_norm(t(images), 2).numpy())
    example = meaning.counterexample()
    given = t(example.arrays["input"])
    np.testing.assert_allclose(F.group_norm(given, 4), example.declared, atol=1e-5)
    np.testing.assert_allclose(F.group_norm(given, 2), example.found, atol=1e-5)


def test_functions_and_what_no_integer_tells():
    x = drawn(1, 5, 7)
    example = smallest("leaky_relu", {"negative_slope": 0.01}, {"negative_slope": 0.3}, {"input": x})
    assert example.arrays["input"].shape == (1, 1)
    assert example.declared - example.found == pytest.approx(0.29 * -example.arrays["input"])
    same = {"negative_slope": 0.01}
    assert smallest("leaky_relu", same, same, {"input": x}) is None
    # The two formulas of GELU differ by less than 5e-4 everywhere.
    assert smallest("gelu", {}, {"approximate": "tanh"}, {"input": x}) is None


def test_a_declaration_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="kernel_size"):
        smallest("avg_pool2d", {}, {"kernel_size": 2}, {"input": drawn(1, 1, 1, 4, 4)})
