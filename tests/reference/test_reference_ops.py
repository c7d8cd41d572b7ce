"""The registry, and the one-line errors of every bad input."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from reference import OPS, norm_ops, sum_ops

X = np.ones((2, 4, 5, 5), np.float32)
W = np.ones((6, 4, 3, 3), np.float32)
CONV = {"input": X, "weight": W}
ARRAYS = {
    "conv2d": (CONV, {"stride": 2}, 36),
    "linear": ({"input": np.ones((2, 7), np.float32), "weight": np.ones((3, 7), np.float32)}, {}, 7),
    "batch_norm": ({"input": X}, {"training": True, "momentum": 0.3}, 50),
    "layer_norm": ({"input": X}, {"normalized_shape": [5, 5]}, 25),
    "group_norm": ({"input": X}, {"num_groups": 2}, 50),
    "instance_norm": ({"input": X}, {"eps": 1e-3}, 25),
    "rms_norm": ({"input": X}, {"normalized_shape": 5}, 5),
}


IMAGE = {1: (2, 4, 5), 2: (2, 4, 5, 5), 3: (2, 4, 5, 5, 5)}
G = np.ones((2, 3, 7), np.float32)
for axes, shape in IMAGE.items():
    image, taps = np.ones(shape, np.float32), (3,) * axes
    weight, up = np.ones((6, 4, *taps), np.float32), np.ones((2, 6, *taps), np.float32)
    turned, wide = np.ones((4, 6, *taps), np.float32), np.ones((2, 6, *(7,) * axes), np.float32)
    count, name = 3**axes, f"conv{axes}d"
    sized, weighed = {"input_size": shape}, {"weight_size": weight.shape}
    ARRAYS[name] = {"input": image, "weight": weight}, {}, 4 * count
    ARRAYS[f"{name}_input_grad"] = {"grad_output": up, "weight": weight}, sized, 6 * count
    ARRAYS[f"{name}_weight_grad"] = {"grad_output": up, "input": image}, weighed, 2 * count
    ARRAYS[f"{name}_bias_grad"] = {"grad_output": up}, {}, 2 * count
    name = f"conv_transpose{axes}d"
    ARRAYS[name] = {"input": image, "weight": turned}, {}, 4 * count
    ARRAYS[f"{name}_input_grad"] = {"grad_output": wide, "weight": turned}, sized, 6 * count
    arrays = {"grad_output": wide, "input": image}
    ARRAYS[f"{name}_weight_grad"] = arrays, {"weight_size": turned.shape}, 2 * 5**axes
    ARRAYS[f"{name}_bias_grad"] = {"grad_output": wide}, {}, 2 * 7**axes
    ARRAYS[f"avg_pool{axes}d"] = {"input": image}, {"kernel_size": 2}, 2**axes
    ARRAYS[f"max_pool{axes}d"] = {"input": image}, {"kernel_size": 2}, 1
ARRAYS |= {
    "linear_input_grad": ({"grad_output": G, "weight": np.ones((7, 5), np.float32)}, {}, 7),
    "linear_weight_grad": ({"grad_output": G, "input": G}, {}, 6),
    "linear_bias_grad": ({"grad_output": G}, {}, 6),
    "matmul": ({"input": G, "other": np.ones((2, 7, 4), np.float32)}, {}, 7),
    "matmul_input_grad": ({"grad_output": G, "other": np.ones((2, 5, 7), np.float32)}, {}, 7),
    "matmul_other_grad": ({"grad_output": G, "input": np.ones((2, 3, 4), np.float32)}, {}, 3),
}


def test_every_sum_and_normalization_is_exercised():
    """The other families have files of their own, with the same questions."""
    assert set(ARRAYS) == {op.name for op in (*sum_ops.OPS, *norm_ops.OPS)}
    assert set(ARRAYS) <= set(OPS)


@pytest.mark.parametrize("op", sorted(ARRAYS))
def test_an_op_answers_all_four_questions(op):
    arrays, params, count = ARRAYS[op]
    before = {name: array.copy() for name, array in arrays.items()}
    truth = reference.evaluate(op, arrays, params)
    plain = reference.plain_float32(op, arrays, params)
    assert reference.terms(op, arrays, params) == count
    assert truth.value.shape == plain.shape == reference.error_bound(op, arrays, params, truth).shape
    assert plain.dtype == np.float32
    for array in (truth.value, truth.residual, truth.bound, truth.magnitude):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
    assert all(np.array_equal(before[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("op", sorted(ARRAYS))
def test_read_only_and_strided_arrays_are_taken(op):
    arrays, params, _ = ARRAYS[op]
    frozen = {name: np.asfortranarray(array) for name, array in arrays.items()}
    for array in frozen.values():
        array.setflags(write=False)
    assert np.array_equal(
        reference.evaluate(op, frozen, params).value, reference.evaluate(op, arrays, params).value
    )


BAD_CONV = [
    ({"stride": 0}, "stride"),
    ({"stride": [1, 2, 3]}, "stride"),
    ({"stride": 1.5}, "stride"),
    ({"dilation": -1}, "dilation"),
    ({"padding": -1}, "padding"),
    ({"padding": [1, 2, 3]}, "padding"),
    ({"padding": "full"}, "padding"),
    ({"padding": None}, "padding"),
    ({"groups": 3}, "groups"),
    ({"groups": 2}, "channels"),
    ({"layout": "CHWN"}, "layout"),
    ({"layout": "NHWC"}, "channels"),
    ({"dilation": 9}, "extent"),
    ({"strides": 2}, "strides"),
]


@pytest.mark.parametrize(("params", "word"), BAD_CONV)
def test_bad_parameters_of_conv2d(params, word):
    for function in (reference.evaluate, reference.plain_float32, reference.terms):
        with pytest.raises(ValueError, match=word) as caught:
            function("conv2d", CONV, params)
        assert "\n" not in str(caught.value)


BAD = [
    ("conv4d", CONV, {}, "conv4d.*known"),
    ("conv3d", CONV, {}, "5-dim"),
    ("conv2d", {"input": X}, {}, "weight"),
    ("conv2d", CONV | {"scale": X}, {}, "scale"),
    ("conv2d", CONV | {"bias": np.ones(5, np.float32)}, {}, "bias"),
    ("conv2d", CONV | {"input": X[0]}, {}, "4-dim"),
    ("conv2d", CONV | {"weight": W[:, :, :0]}, {}, "empty"),
    ("conv2d", CONV | {"input": X.astype(np.int32)}, {}, "int32"),
    ("conv2d", CONV | {"input": X.astype(np.complex64)}, {}, "complex64"),
    ("conv2d", CONV | {"input": X.astype(np.float64) / 3}, {}, "float64"),
    ("conv2d", CONV | {"input": X.astype(np.float64) * 1e300}, {}, "float64"),
    ("linear", {"input": np.ones((2, 7)), "weight": np.ones((7, 3))}, {}, "transpose"),
    ("linear", {"input": np.ones((2, 7)), "weight": np.ones((3, 7)), "bias": np.ones(2)}, {}, "bias"),
    ("batch_norm", {"input": X}, {}, "running_mean"),
    ("batch_norm", {"input": X, "weight": np.ones(5)}, {"training": True}, "weight"),
    ("batch_norm", {"input": X[:0]}, {"training": True}, "elements"),
    ("batch_norm", {"input": X[0, 0, 0]}, {"training": True}, "channel"),
    ("batch_norm", {"input": X}, {"training": True, "layout": "NC"}, "layout"),
    ("layer_norm", {"input": X}, {"normalized_shape": [4]}, "normalized_shape"),
    ("layer_norm", {"input": X}, {"normalized_shape": []}, "normalized_shape"),
    ("layer_norm", {"input": X}, {"normalized_shape": 5.5}, "normalized_shape"),
    ("layer_norm", {"input": X}, {"normalized_shape": "5"}, "normalized_shape"),
    ("layer_norm", {"input": X}, {"normalized_shape": 5, "eps": -1.0}, "eps"),
    ("layer_norm", {"input": X}, {"normalized_shape": 5, "eps": float("nan")}, "eps"),
    ("layer_norm", {"input": X}, {"normalized_shape": 5, "eps": "small"}, "eps"),
    ("group_norm", {"input": X}, {"num_groups": 3}, "num_groups"),
    ("group_norm", {"input": X}, {"num_groups": 2.0}, "num_groups"),
    ("rms_norm", {"input": X, "bias": np.ones(5)}, {"normalized_shape": 5}, "bias"),
]


@pytest.mark.parametrize(("op", "arrays", "params", "word"), BAD)
def test_bad_input_is_refused_in_one_line(op, arrays, params, word):
    for function in (reference.evaluate, reference.plain_float32):
        with pytest.raises(ValueError, match=word) as caught:
            function(op, arrays, params)
        assert "\n" not in str(caught.value)


def test_missing_parameters_are_named():
    for op, name in (("layer_norm", "normalized_shape"), ("group_norm", "num_groups")):
        with pytest.raises(ValueError, match=name):
            reference.evaluate(op, {"input": X}, {})


def test_the_package_knows_no_framework():
    import subprocess
    import sys

    names = ("torch", "tensorflow", "pandas", "precision", "reports")
    code = f"import reference, sys; print([name for name in {names} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
