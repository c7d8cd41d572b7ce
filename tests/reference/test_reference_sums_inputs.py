"""Bad input of convolutions and their gradients is refused in one line; good input of any kind is rounded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from reference import compensated, formats

F = np.float32
X, W = np.ones((2, 4, 5), F), np.ones((6, 4, 3), F)
CONV, DEEP = (
    {"input": X, "weight": W},
    {"input": np.ones((1, 2, 4, 4, 4), F), "weight": np.ones((2, 2, 3, 3, 3), F)},
)
TURNED = {"input": X, "weight": np.ones((4, 6, 3), F)}
GRAD, BACK = np.ones((2, 6, 3), F), np.ones((2, 6, 7), F)
OF_INPUT, OF_WEIGHT = {"grad_output": GRAD, "weight": W}, {"grad_output": GRAD, "input": X}
T_INPUT, T_WEIGHT = {"grad_output": BACK, "weight": TURNED["weight"]}, {"grad_output": BACK, "input": X}

BAD = [
    ("conv1d", CONV, {"padding": [1, 2, 3]}, "padding"),
    ("conv1d", CONV, {"padding": "full"}, "same_torch"),
    ("conv1d", CONV, {"padding": "same_torch", "stride": 2}, "stride 1"),
    ("conv1d", CONV, {"padding": 5, "padding_mode": "reflect"}, "at most 4"),
    ("conv1d", CONV, {"padding": 6, "padding_mode": "circular"}, "at most 5"),
    ("conv1d", CONV, {"padding_mode": "symmetric"}, "padding_mode"),
    ("conv1d", CONV, {"stride": [1, 1]}, "stride"),
    ("conv1d", CONV, {"stride": True}, "stride"),
    ("conv1d", CONV, {"dilation": 3}, "extent"),
    ("conv1d", CONV, {"layout": "NLC"}, "channels"),
    ("conv1d", CONV, {"layout": None}, "layout"),
    ("conv2d", {"input": X[None], "weight": W[None]}, {"layout": "NCL"}, "layout"),
    ("conv1d", CONV, {"groups": 2.0}, "groups"),
    ("conv1d", CONV | {"bias": np.ones(4, F)}, {}, "bias"),
    ("conv1d", CONV | {"input": X[0]}, {}, "3-dim"),
    ("conv3d", DEEP, {"padding": [1, 1]}, "padding"),
    ("conv3d", DEEP, {"padding": [1, 1, 1, 1]}, "6 integers"),
    ("conv3d", DEEP, {"groups": 2}, "channels"),
    ("conv_transpose1d", CONV, {}, "channels"),
    ("conv_transpose1d", TURNED, {"groups": 3}, "groups"),
    ("conv_transpose1d", TURNED, {"output_padding": 1}, "output_padding"),
    ("conv_transpose1d", TURNED, {"output_padding": -1}, "output_padding"),
    ("conv_transpose1d", TURNED, {"padding": 4}, "padding"),
    ("conv_transpose1d", TURNED, {"padding": "same_torch"}, "same_torch"),
    ("conv_transpose1d", TURNED, {"padding": "same", "output_padding": 1, "stride": 2}, "output_padding"),
    ("conv_transpose1d", TURNED, {"padding": "same", "stride": 2, "output_shape": [2, 6, 11]}, "ceil"),
    ("conv_transpose1d", TURNED, {"stride": 2, "output_shape": [2, 6, 13]}, "output_padding"),
    ("conv_transpose1d", TURNED, {"stride": 2, "output_shape": [2, 5, 11]}, "output_shape"),
    ("conv_transpose1d", TURNED, {"stride": 2, "output_shape": [2, 6, 11], "output_padding": 1}, "leave one"),
    ("conv_transpose1d", TURNED, {"output_shape": 7}, "output_shape"),
    ("conv_transpose1d", TURNED | {"input": X[..., :0]}, {}, "empty"),
    ("conv_transpose1d", TURNED | {"weight": W[0]}, {}, "3-dim"),
    ("conv_transpose1d", TURNED | {"bias": np.ones(4, F)}, {}, "6 outputs"),
    ("conv1d_input_grad", OF_INPUT, {}, "input_size"),
    ("conv1d_input_grad", OF_INPUT, {"input_size": [2, 4, 6]}, "grad_output"),
    ("conv1d_input_grad", OF_INPUT, {"input_size": [2, 5, 5]}, "channels"),
    ("conv1d_input_grad", OF_INPUT, {"input_size": 5}, "input_size"),
    ("conv1d_input_grad", OF_INPUT, {"input_size": [2, 4, 5], "padding_mode": "mirror"}, "padding_mode"),
    (
        "conv1d_input_grad",
        OF_INPUT,
        {"input_size": [2, 4, 5], "padding": 5, "padding_mode": "reflect"},
        "at most 4",
    ),
    (
        "conv1d_weight_grad",
        OF_WEIGHT,
        {"weight_size": [6, 4, 3], "padding": 6, "padding_mode": "circular"},
        "at most 5",
    ),
    ("conv_transpose1d_input_grad", T_INPUT, {"input_size": [2, 4, 5], "padding_mode": "zeros"}, "padding"),
    ("conv1d_weight_grad", OF_WEIGHT, {"weight_size": [6, 4, 2]}, "grad_output"),
    ("conv1d_weight_grad", OF_WEIGHT, {"weight_size": [6, 4, 0]}, "empty"),
    ("conv1d_bias_grad", {"grad_output": GRAD[0]}, {}, "3 axes"),
    ("conv1d_bias_grad", {"grad_output": GRAD}, {"layout": "NHCW"}, "layout"),
    ("conv_transpose1d_input_grad", T_INPUT, {"input_size": [2, 4, 6]}, "grad_output"),
    ("conv_transpose1d_weight_grad", T_WEIGHT, {"weight_size": [4, 5, 3]}, "grad_output"),
]


@pytest.mark.parametrize(("op", "arrays", "params", "word"), BAD)
def test_bad_input_is_refused(op, arrays, params, word):
    for function in (reference.evaluate, reference.plain_float32):
        with pytest.raises(ValueError, match=word) as caught:
            function(op, arrays, params)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_as_much_as_there_is_to_copy_is_copied(mode):
    padding = {"reflect": 4, "circular": 5, "replicate": 9}[mode]
    truth = reference.evaluate("conv1d", CONV, {"padding": padding, "padding_mode": mode})
    assert (truth.value == 12).all()
    empty = {"input": X[..., :0], "weight": W[..., :1]}
    with pytest.raises(ValueError, match=mode):
        reference.evaluate("conv1d", empty, {"padding": 1, "padding_mode": mode})


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_empty_batches_have_empty_truths_and_gradients_of_zero(axes):
    x, w = np.ones((0, 2, *(4,) * axes), F), np.ones((2, 2, *(3,) * axes), F)
    assert reference.evaluate(f"conv{axes}d", {"input": x, "weight": w}, {}).value.shape == (
        0,
        2,
        *(2,) * axes,
    )
    truth = reference.evaluate(f"conv_transpose{axes}d", {"input": x, "weight": w}, {"stride": 2})
    assert truth.value.shape == (0, 2, *(9,) * axes)
    g = np.ones((0, 2, *(2,) * axes), F)
    truth = reference.evaluate(
        f"conv{axes}d_weight_grad", {"grad_output": g, "input": x}, {"weight_size": w.shape}
    )
    assert (truth.value == 0).all()
    assert (truth.bound == 0).all()
    assert (reference.evaluate(f"conv{axes}d_bias_grad", {"grad_output": g}, {}).value == 0).all()


KINDS = ("uniform", "normal", "wide", "cancelling", "subnormal", "integers")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_every_format_is_rounded_exactly(data, round_exactly, left, right, seed):
    """float64 too, whose ties the bound alone cannot decide."""
    rng = np.random.default_rng(seed)
    arrays = {"input": data(left, (1, 3, 6), rng), "weight": data(right, (3, 2, 2), rng)}
    truth = reference.evaluate("conv_transpose1d", arrays, {"stride": 2, "padding": 1})
    exact = [truth.refine(i, 1)[0] for i in range(truth.value.size)]
    assert all(isinstance(number, Fraction) for number in exact)
    for dtype in (np.float64, np.float32, np.float16, "tf32", "bfloat16"):
        fmt = formats.format_of(dtype)
        wanted = [round_exactly(number, fmt.precision, fmt.emin, fmt.emax) for number in exact]
        found = truth.round(dtype).astype(float).ravel().tolist()
        assert found == [v if v or n >= 0 else -0.0 for v, n in zip(wanted, exact, strict=True)]


def test_ties_of_a_transposed_convolution_and_of_a_gradient_go_to_even():
    w = F([[[1.0, 3.0]]])
    x = F([[[2.0**24, 1.0]]])
    truth = reference.evaluate("conv_transpose1d", {"input": x, "weight": w}, {})
    assert truth.value.ravel().tolist() == [2.0**24, 3 * 2.0**24 + 1, 3.0]
    assert truth.round().ravel().tolist() == [2.0**24, 3 * 2.0**24, 3.0]
    g, x = F([[[1.0, 1.0, 2.0**-30]]]), F([[[2.0**24, 1.0, 1.0]]])
    truth = reference.evaluate(
        "conv1d_weight_grad", {"grad_output": g, "input": x}, {"weight_size": [1, 1, 1]}
    )
    assert truth.round().ravel().tolist() == [2.0**24 + 2]
    truth = reference.evaluate("conv1d_bias_grad", {"grad_output": F([[[2.0**24, 1.0], [1, 2]]])}, {})
    assert truth.round().tolist() == [2.0**24, 3.0]
    assert truth.round(np.float64).tolist() == [2.0**24 + 1, 3.0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**53) + 1, 2**53 - 1), st.integers(-298, 200)), max_size=30))
def test_terms_are_summed_in_fractions(parts):
    terms = np.array([np.ldexp(float(digits), place) for digits, place in parts])
    exact = sum((digits * Fraction(2) ** place for digits, place in parts), Fraction(0))
    assert compensated.exact_fraction(terms) == exact
    value, residual, bound = compensated.split_fraction(exact)
    assert value == float(exact)
    assert abs(exact - Fraction(value) - Fraction(residual)) <= Fraction(bound)
    assert abs(residual) <= np.spacing(abs(value)) / 2
    assert bound <= 2.0**-52 * abs(residual)
