"""The registry, and the one-line errors of every bad input."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from reference import OPS

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


def test_every_op_is_exercised():
    assert set(ARRAYS) == set(OPS)


@pytest.mark.parametrize("op", sorted(OPS))
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


@pytest.mark.parametrize("op", sorted(OPS))
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
    ("conv3d", CONV, {}, "conv3d.*known"),
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
