"""What hypotheses are judged by: sampled values against the certified truth, limits against errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from precision.meaning.functions import ACTIVATIONS
from precision.meaning.gather import gathered, output_shape
from precision.meaning.hypotheses import Change, Declaration, Known, nice_numbers, unravelled
from precision.meaning.limits import direct
from precision.meaning.norm_form import Statistics, form_of, rough, values, whole
from reference import evaluate

U = 2.0**-24


@st.composite
def convolutions(draw):
    """(op, arrays, params) of a small (transposed) convolution over one to three axes."""
    axes, last = draw(st.integers(1, 3)), draw(st.booleans())
    transposed, groups = draw(st.booleans()), draw(st.sampled_from([1, 2]))
    seed = draw(st.integers(0, 1000))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    size = [draw(st.integers(4, 6)) for _ in range(axes)]
    pads = [draw(st.integers(0, k - 1)) for k in kernel for _ in range(2)]
    rng = np.random.default_rng(seed)
    inner, outer, batch = 2 * groups, 3 * groups, 2
    first, second = (inner, outer // groups) if transposed else (outer, inner // groups)
    weight = (*kernel, second, first) if last else (first, second, *kernel)
    shape = (batch, *size, inner) if last else (batch, inner, *size)
    arrays = {
        "input": rng.standard_normal(shape).astype(np.float32),
        "weight": rng.standard_normal(weight).astype(np.float32),
        "bias": rng.standard_normal(outer).astype(np.float32),
    }
    params = {
        "stride": draw(st.integers(1, 2)),
        "dilation": draw(st.integers(1, 2)) if min(size) > 5 else 1,
        "padding": pads,
        "groups": groups,
        "layout": "NHWC" if last else "NCHW",
    }
    if not transposed:
        params["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    return f"conv{'_transpose' if transposed else ''}{axes}d", arrays, params


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_gathered_outputs_are_those_of_the_truth(case):
    op, arrays, params = case
    declared = Declaration(op, arrays, params)
    try:
        truth = evaluate(op, arrays, params)
    except ValueError:  # a reflection of more than there is, a dilated kernel that is too large
        assume(False)
    assert output_shape(declared) == truth.value.shape
    flat = np.arange(truth.value.size)
    found = gathered(declared, unravelled(flat, truth.value.shape), U)
    whole_truth = truth.value.reshape(-1)
    np.testing.assert_allclose(found.value, whole_truth, rtol=1e-12, atol=1e-12)
    certified = direct(op, arrays, params, U, truth)
    # The limit of the sample may be wider, never much narrower: it only turns hypotheses down.
    assert (found.limit >= 0.99 * certified.limit.reshape(-1) - 1e-12).all()


NORMS = [
    ("batch_norm", {"training": True}),
    ("batch_norm", {"training": False, "eps": 1e-3}),
    ("group_norm", {"num_groups": 2}),
    ("group_norm", {"num_groups": 2, "layout": "NHWC"}),
    ("instance_norm", {"eps": 0.1}),
    ("layer_norm", {"axes": [1, 3]}),
    ("layer_norm", {"normalized_shape": [4]}),
    ("rms_norm", {"axes": [-1]}),
]


@pytest.mark.parametrize(("op", "params"), NORMS)
@pytest.mark.parametrize("offset", [0, 100])
def test_forms_are_the_declared_normalizations(op, params, offset):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((3, 4, 5, 4)) + offset).astype(np.float32)
    shape = {"layer_norm": [4, 4] if "axes" in params else [4], "rms_norm": [4]}.get(op, [4])
    arrays = {"input": x, "weight": rng.standard_normal(shape).astype(np.float32)}
    if op != "rms_norm":
        arrays["bias"] = rng.standard_normal(shape).astype(np.float32)
    if op == "batch_norm":
        arrays["running_mean"] = rng.standard_normal(4).astype(np.float32)
        arrays["running_var"] = rng.uniform(0.5, 1, 4).astype(np.float32)
    form, stats = form_of(op, arrays, params), Statistics(x)
    truth = evaluate(op, arrays, params)
    certified = direct(op, arrays, params, U, truth)
    found = whole(form, stats, U)
    assert (np.abs(found.value - truth.value) <= 1e-6 * found.limit + 1e-13).all()
    assert (found.limit >= certified.limit * (1 - 1e-6) - 1e-30).all()
    assert (found.limit <= certified.limit * 1.2 + 8 * U * truth.magnitude + 1e-30).all()
    at = unravelled(np.arange(x.size), x.shape)
    sampled = rough(form, stats, U, at)
    np.testing.assert_array_equal(sampled.value, values(form, stats).reshape(-1))
    assert (sampled.limit >= 0.99 * certified.limit.reshape(-1)).all()


TORCH = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu(0.2)": lambda x: F.leaky_relu(x, 0.2),
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu(tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "mish": F.mish,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "softsign": F.softsign,
}
POINTS = np.concatenate(
    [np.linspace(-12, 12, 4001), np.geomspace(1e-30, 50, 400), -np.geomspace(1e-30, 50, 400)]
)


@pytest.mark.parametrize("name", TORCH)
def test_activations_are_those_of_a_framework_within_their_own_limit(name):
    x = POINTS.astype(np.float32)
    exact = Known(x.astype(np.float64), np.zeros(x.size), np.zeros(x.size))
    step = ACTIVATIONS[name].after(Change("activation", "none", name, ""))
    known = step.apply(exact, U)
    output = TORCH[name](torch.from_numpy(x)).numpy().astype(np.float64)
    # Subnormal results may be flushed, and softplus takes a short cut near zero.
    error = np.abs(known.error(output))
    assert (error <= known.limit + 1e-37).all()
    assert known.limit.max() < 1e-3  # a limit that holds everything would prove nothing


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "exp"])
def test_the_slopes_bound_every_difference(name):
    activation, x = ACTIVATIONS[name], np.sort(POINTS)
    rise = np.abs(np.diff(activation.function(x)))
    assert (rise <= activation.slope * np.diff(x) * (1 + 1e-9) + 1e-14).all()
    assert rise.max() > 0


def test_an_error_counts_beyond_the_limit_and_nan_always():
    known = Known(np.array([1.0, np.nan, np.inf, 0.0]), np.zeros(4), np.array([0.5, np.inf, np.nan, 0.0]))
    assert known.violated(np.array([1.5, np.nan, np.inf, 0.0])).tolist() == [False] * 4
    assert known.violated(np.array([1.51, 1.0, -np.inf, 1e-300])).tolist() == [True, True, True, True]


def test_nice_numbers_come_simplest_first():
    assert next(nice_numbers(0.30000001, 1e-4)) == 0.3
    assert next(nice_numbers(1 / 7 + 1e-9, 1e-6)) == pytest.approx(1 / 7, abs=1e-15)
    assert 0.0 in list(nice_numbers(1e-9, 1e-8))
    assert list(nice_numbers(0.12345678, 1e-4))[-1] == 0.12345678
