"""Elements of transposed convolutions, orders of input channels, and elements that the bound would allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.hypotheses import Declaration
from precision.meaning.norm_form import Statistics, form_of
from precision.meaning.norm_rows import is_right_but_for_statistics
from precision.meaning.search import search

U = 2.0**-24


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def transposed(arrays, **params):
    return F.conv_transpose2d(*(t(arrays[n]) for n in ("input", "weight", "bias")), **params).numpy()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("weight", (3, 1, 2, 0)),
        ("weight", (0, 0, 1, 1)),
        ("input", (1, 2, 5, 4)),
        ("input", (0, 3, 0, 0)),
        ("bias", (2,)),
    ],
)
def test_one_element_of_a_transposed_convolution(name, index, stride, groups):
    arrays = {"input": drawn(1, 2, 4, 6, 5), "weight": drawn(2, 4, 6 // groups, 3, 3), "bias": drawn(3, 6)}
    other = {**arrays, name: arrays[name].copy()}
    other[name][index] += np.float32(0.05)
    params = {"stride": stride, "padding": 1, "groups": groups}
    meaning = search("conv_transpose2d", arrays, params, transposed(other, **params))
    (finding,) = meaning.findings
    assert (meaning.verdict, finding.parameter) == ("data", f"{name} element")
    assert finding.found["index"] == list(index)
    assert finding.found["value"] == pytest.approx(float(other[name][index]), rel=1e-3)


LAYERS = {
    "conv2d": (F.conv2d, (2, 7, 12, 11), (5, 7, 3, 3), {"padding": 1}),
    "conv_transpose2d": (F.conv_transpose2d, (2, 7, 12, 11), (7, 5, 3, 3), {"stride": 2}),
    "linear": (F.linear, (40, 30), (5, 30), {}),
    "linear wide": (F.linear, (6, 30), (50, 30), {}),
    "linear large": (F.linear, (200, 1300), (400, 1300), {}),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_input_channels_in_another_order(kind):
    call, size, taps, params = LAYERS[kind]
    x, w = drawn(1, *size), drawn(2, *taps)
    order = np.random.default_rng(3).permutation(size[1])
    output = call(t(x[:, order].copy()), t(w), **params).numpy()
    meaning = search(kind.split()[0], {"input": x, "weight": w}, params, output)
    (finding,) = meaning.findings
    assert (meaning.verdict, finding.parameter) == ("data", "channel order")
    assert finding.found == {"input": order.tolist()}
    assert "order of channels" in finding.fix


def test_no_order_is_found_in_another_checkpoint():
    x, w = drawn(1, 2, 7, 12, 11), drawn(2, 5, 7, 3, 3)
    output = F.conv2d(t(x), t(w * (1 + 0.02 * drawn(3, *w.shape))), padding=1).numpy()
    meaning = search("conv2d", {"input": x, "weight": w}, {"padding": 1}, output)
    assert (meaning.verdict, meaning.findings) == ("unexplained", ())


def test_one_weight_that_the_worst_case_would_allow():
    """5000 products of one sign: a change of one weight is far below the bound, and far above rounding."""
    x, w = np.abs(drawn(1, 60, 5000)), np.abs(drawn(2, 8, 5000))
    other = w.copy()
    other[3, 700] += np.float32(0.05)
    meaning = search("linear", {"input": x, "weight": w}, {}, F.linear(t(x), t(other)).numpy())
    (finding,) = meaning.findings
    assert (finding.parameter, finding.found["index"]) == ("weight element", [3, 700])
    assert finding.evidence == "consistent"
    plain = search("linear", {"input": x, "weight": w}, {}, F.linear(t(x), t(w)).numpy())
    assert (plain.verdict, plain.findings) == ("rounding", ())


def one_pass(x, eps=1e-5):
    mean = x.mean((0, 2), keepdims=True, dtype=np.float32)
    v = np.maximum((x * x).mean((0, 2), keepdims=True, dtype=np.float32) - mean * mean, 0)
    return (x - mean) * (1 / np.sqrt(v + np.float32(eps)))


@pytest.mark.parametrize("mean", [30.0, 1e3, 1e5, 1e7])
def test_statistics_of_one_pass_are_rounding_and_noise_is_not(mean):
    x = (np.random.default_rng(0).standard_normal((4, 6, 50)) * max(1.0, mean * 1e-5) + mean).astype(
        np.float32
    )
    params = {"training": True, "eps": 1e-5}
    form, stats = form_of("batch_norm", {"input": x}, params), Statistics(x)
    output = one_pass(x)
    assert is_right_but_for_statistics(form, stats, output.astype(np.float64), U)
    assert search("batch_norm", {"input": x}, params, output).verdict == "rounding"
    noise = drawn(1, *x.shape) * np.float32(100 * U * mean * np.abs(output).max() / max(1.0, mean * 1e-5))
    noisy = output + noise
    assert not is_right_but_for_statistics(form, stats, noisy.astype(np.float64), U)
    assert search("batch_norm", {"input": x}, params, noisy).verdict == "unexplained"


def test_a_wrong_formula_is_not_right_but_for_statistics():
    x = (drawn(0, 4, 6, 50) + 30).astype(np.float32)
    form, stats = form_of("batch_norm", {"input": x}, {"training": True}), Statistics(x)
    output = one_pass(x).astype(np.float64)
    for wrong in (
        output + 0.5,
        np.maximum(output, 0),
        output**3,
        1.5 * output,
        output.mean(0, keepdims=True) + 0 * output,
    ):
        assert not is_right_but_for_statistics(form, stats, wrong, U)


def test_the_declaration_is_kept_with_the_function_that_was_found():
    x, w = drawn(1, 2, 4, 8, 8), drawn(2, 6, 4, 3, 3)
    meaning = search(
        "conv2d", {"input": x, "weight": w}, {}, F.conv2d(t(x), t(w[:, :, ::-1, ::-1].copy())).numpy()
    )
    assert isinstance(meaning.found, Declaration)
    assert meaning.known.value.shape == (2, 6, 6, 6)
