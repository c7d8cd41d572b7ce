"""Changed data is located; noise, ties and pure rounding are told apart from differences of meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.search import search


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer():
    return {"input": drawn(1, 2, 4, 9, 8), "weight": drawn(2, 6, 4, 3, 3), "bias": drawn(3, 6)}


def conv(arrays, **params):
    return F.conv2d(*(t(arrays[name]) for name in ("input", "weight", "bias")), **params)


def find(op, arrays, params, output):
    return search(op, arrays, params, np.asarray(output))


ELEMENTS = [
    ("weight", (3, 2, 1, 0)),
    ("weight", (0, 0, 0, 0)),
    ("input", (1, 2, 4, 3)),
    ("input", (0, 3, 0, 7)),
    ("bias", (4,)),
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "index"), ELEMENTS)
def test_one_element_is_found_with_its_value(name, index, stride):
    arrays = layer()
    other = {**arrays, name: arrays[name].copy()}
    other[name][index] += np.float32(1e-2)
    params = {"stride": stride, "padding": 1}
    meaning = find("conv2d", arrays, params, conv(other, **params))
    (finding,) = meaning.findings
    assert (meaning.verdict, finding.cause, finding.parameter) == ("data", "data", f"{name} element")
    assert finding.declared == {"index": list(index), "value": float(arrays[name][index])}
    assert finding.found["index"] == list(index)
    assert finding.found["value"] == pytest.approx(float(other[name][index]), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "wanted"), [(lambda w: 0, 0.0), (lambda w: -w, -1.0), (lambda w: 2 * w, 2.0)]
)
def test_plain_values_are_preferred(change, wanted):
    arrays = layer()
    other = {**arrays, "weight": arrays["weight"].copy()}
    own = other["weight"][2, 1, 0, 2]
    other["weight"][2, 1, 0, 2] = change(own)
    meaning = find("conv2d", arrays, {}, conv(other))
    assert meaning.findings[0].found["value"] == float(np.float32(own * np.float32(wanted)))


def test_elements_in_channels_last_arrays_and_groups():
    x, w = drawn(1, 2, 6, 7, 8), drawn(2, 3, 3, 2, 8)
    other = w.copy()
    other[2, 0, 1, 5] += np.float32(0.1)
    output = F.conv2d(t(x).permute(0, 3, 1, 2), t(other).permute(3, 2, 0, 1), groups=4).permute(0, 2, 3, 1)
    meaning = find("conv2d", {"input": x, "weight": w}, {"groups": 4, "layout": "NHWC"}, output)
    assert meaning.findings[0].found["index"] == [2, 0, 1, 5]
    other = x.copy()
    other[1, 2, 3, 6] += np.float32(0.1)
    output = F.conv2d(t(other).permute(0, 3, 1, 2), t(w).permute(3, 2, 0, 1), groups=4).permute(0, 2, 3, 1)
    meaning = find("conv2d", {"input": x, "weight": w}, {"groups": 4, "layout": "NHWC"}, output)
    assert meaning.findings[0].found["index"] == [1, 2, 3, 6]


@pytest.mark.parametrize(("name", "index"), [("weight", (5, 7)), ("bias", (3,)), ("input", (2, 1, 9))])
def test_elements_of_a_linear_layer(name, index):
    arrays = {"input": drawn(1, 3, 4, 16), "weight": drawn(2, 8, 16), "bias": drawn(3, 8)}
    other = {**arrays, name: arrays[name].copy()}
    other[name][index] += np.float32(0.1)
    meaning = find("linear", arrays, {}, F.linear(*(t(a) for a in other.values())))
    assert (meaning.verdict, meaning.findings[0].found["index"]) == ("data", list(index))


def test_filters_in_another_order():
    arrays, order = layer(), [1, 0, 2, 3, 5, 4]
    meaning = find("conv2d", arrays, {"padding": 1}, conv(arrays, padding=1)[:, order])
    assert (meaning.verdict, meaning.findings[0].found) == ("data", order)


def test_two_changed_elements_are_not_explained_by_one():
    arrays = layer()
    other = {**arrays, "weight": arrays["weight"].copy()}
    other["weight"][3, 2, 1, 0] += np.float32(0.1)
    other["weight"][3, 0, 1, 0] += np.float32(0.1)
    meaning = find("conv2d", arrays, {}, conv(other))
    assert (meaning.verdict, meaning.where.kind, meaning.where.indices) == ("unexplained", "channels", (3,))


NOISE = {
    "everywhere": lambda y: y + 1e-3 * t(drawn(7, *y.shape)),
    "a power": lambda y: y.abs() ** 1.001 * y.sign(),
    "clipped to the data": lambda y: y.clamp(max=float(y.max()) * 0.9),
    "dropped": lambda y: F.dropout(y, 0.5),
}


@pytest.mark.parametrize("name", NOISE)
@pytest.mark.parametrize("op", ["conv2d", "layer_norm", "gelu", "linear", "softmax"])
def test_what_is_not_on_a_list_is_unexplained(name, op):
    torch.manual_seed(0)
    x, w = drawn(1, 2, 6, 9, 8), drawn(2, 8, 8)
    arrays, params, output = {
        "conv2d": (layer(), {"padding": 1}, conv(layer(), padding=1)),
        "layer_norm": ({"input": x}, {"normalized_shape": [8]}, F.layer_norm(t(x), [8])),
        "gelu": ({"input": x}, {}, F.gelu(t(x))),
        "linear": ({"input": x, "weight": w}, {}, F.linear(t(x), t(w))),
        "softmax": ({"input": x}, {"dim": -1}, F.softmax(t(x), -1)),
    }[op]
    meaning = find(op, arrays, params, NOISE[name](output))
    assert (meaning.verdict, meaning.findings) == ("unexplained", ())
    assert meaning.where.count > 0


def test_places():
    arrays = layer()
    output = conv(arrays, padding=1)
    border = output.clone()
    border[:, :, 0] += t(drawn(9, 2, 6, 8))
    assert find("conv2d", arrays, {"padding": 1}, border).where.kind == "borders"
    sample = output.clone()
    sample[1] += t(drawn(9, 6, 9, 8))
    assert find("conv2d", arrays, {"padding": 1}, sample).where.indices == (1,)
    one = output.clone()
    one[1, 2, 3, 4] += 1
    meaning = find("conv2d", arrays, {"padding": 1}, one)
    assert (meaning.where.kind, meaning.where.worst) == ("one position", (1, 2, 3, 4))
    missing = output.clone()
    missing[0, 0, 0, 0] = torch.nan
    assert find("conv2d", arrays, {"padding": 1}, missing).verdict == "unexplained"
    assert find("conv2d", arrays, {"padding": 1}, output[:, :, :4]).where is None


def test_a_difference_that_the_data_hides_is_no_finding():
    arrays = layer()
    even = arrays["weight"] + arrays["weight"][..., ::-1, ::-1]
    symmetric = {**arrays, "weight": even}
    flipped = {**arrays, "weight": even[..., ::-1, ::-1].copy()}
    assert find("conv2d", symmetric, {"padding": 1}, conv(flipped, padding=1)).verdict == "rounding"
    zeros = {**arrays, "weight": 0 * arrays["weight"]}
    assert find("conv2d", zeros, {"padding": 1}, conv(zeros, padding=1)).verdict == "rounding"
    positive = {name: np.abs(array) for name, array in arrays.items()}
    assert find("conv2d", positive, {}, F.relu(conv(positive))).verdict == "rounding"


def test_what_the_data_cannot_tell_apart_is_named_together():
    arrays = layer()
    # Symmetric along the height: a flip along the width is a flip along both.
    arrays["weight"] = arrays["weight"] + arrays["weight"][..., ::-1, :]
    output = conv({**arrays, "weight": arrays["weight"][..., ::-1].copy()}, padding=1)
    (finding,) = find("conv2d", arrays, {"padding": 1}, output).findings
    fitting = [finding.found, *(other.changes[0][1] for other in finding.alternatives)]
    assert (finding.parameter, sorted(map(str, fitting))) == ("kernel flip", ["[1]", "all axes"])
    constant = {**layer(), "input": np.ones((2, 4, 9, 8), np.float32)}
    output = conv({**constant, "weight": constant["weight"][..., ::-1, ::-1].copy()})
    assert find("conv2d", constant, {}, output).verdict == "rounding"


def test_one_altered_output_proves_no_changed_element():
    """The bound of a long sum hides what a changed weight would do to the other outputs."""
    arrays = {"input": drawn(5, 6, 300), "weight": drawn(6, 8, 300)}
    output = F.linear(t(arrays["input"]), t(arrays["weight"])).numpy().copy()
    output[2, 3] += np.float32(5e-3)
    found = find("linear", arrays, {}, output)
    assert found.verdict != "rounding"
    assert all(finding.evidence != "proved" for finding in found.findings)
