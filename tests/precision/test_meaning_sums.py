"""Planted differences in convolutions and linear layers, computed by PyTorch, are named with their values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.search import search


def drawn(seed, *shape, kind="normal"):
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.uniform(0, 1, shape).astype(np.float32)
    return (rng.standard_normal(shape) + (50 if kind == "offset" else 0)).astype(np.float32)


def layer(kind="normal", size=(8, 8), kernel=(3, 3), inputs=4, outputs=6, groups=1, batch=2):
    x = drawn(1, batch, inputs, *size, kind=kind)
    w = drawn(2, outputs, inputs // groups, *kernel)
    return {"input": x, "weight": w, "bias": drawn(3, outputs)}


def conv(arrays, bias=True, x=None, w=None, **params):
    x = t(arrays["input"]) if x is None else x
    w = t(arrays["weight"]) if w is None else w
    return F.conv2d(x, w, t(arrays["bias"]) if bias else None, **params)


def found(meaning):
    return {finding.parameter: finding.found for finding in meaning.findings}


def find(arrays, params, output, op="conv2d"):
    return search(op, arrays, params, np.asarray(output))


PLANTED = {
    "kernel flip": (lambda a: conv(a, w=t(a["weight"]).flip(2, 3), padding=1), "all axes"),
    "kernel flip h": (lambda a: conv(a, w=t(a["weight"]).flip(2), padding=1), [0]),
    "kernel transpose": (lambda a: conv(a, w=t(a["weight"]).transpose(2, 3), padding=1), [0, 1]),
    "bias": (lambda a: conv(a, bias=False, padding=1), "missing"),
    "bias doubled": (lambda a: conv(a, padding=1) + t(a["bias"])[:, None, None], "doubled"),
    "channel order in": (lambda a: conv(a, x=t(a["input"]).flip(1), padding=1), "input reversed"),
    "channel order out": (lambda a: conv(a, padding=1).flip(1), "output reversed"),
    "layout": (
        lambda a: conv(a, x=t(a["input"]).reshape(2, 8, 8, 4).permute(0, 3, 1, 2), padding=1),
        "input channels last",
    ),
    "axis": (lambda a: conv(a, x=t(a["input"]).transpose(2, 3), padding=1), [0, 1]),
    "shift": (lambda a: conv(a, x=F.pad(t(a["input"]), (1, -1, 0, 0)), padding=1), [0, 1]),
    "shift out": (lambda a: F.pad(conv(a, padding=1), (0, 0, -1, 1)), ["output", -1, 0]),
    "padding mode": (
        lambda a: conv(a, x=F.pad(t(a["input"]), (1, 1, 1, 1), mode="reflect")),
        "reflect",
    ),
    "padding mode r": (
        lambda a: conv(a, x=F.pad(t(a["input"]), (1, 1, 1, 1), mode="replicate")),
        "replicate",
    ),
    "padding mode c": (lambda a: conv(a, x=F.pad(t(a["input"]), (1, 1, 1, 1), mode="circular")), "circular"),
    "padding": (lambda a: conv(a, x=F.pad(t(a["input"]), (0, 2, 2, 0))), [2, 0, 0, 2]),
    "activation": (lambda a: F.relu(conv(a, padding=1)), "relu"),
    "activation r6": (lambda a: F.relu6(conv(a, padding=1)), "relu6"),
    "activation silu": (lambda a: F.silu(conv(a, padding=1)), "silu"),
    "activation gelu": (lambda a: F.gelu(conv(a, padding=1)), "gelu"),
    "activation gelu tanh": (lambda a: F.gelu(conv(a, padding=1), approximate="tanh"), "gelu(tanh)"),
    "activation leaky": (lambda a: F.leaky_relu(conv(a, padding=1), 0.2), "leaky_relu(0.2)"),
    "activation leaky solved": (lambda a: F.leaky_relu(conv(a, padding=1), 0.17), "leaky_relu(0.17)"),
    "channel order i": (
        lambda a: conv(a, padding=1).reshape(2, 2, 3, 8, 8).transpose(1, 2).reshape(2, 6, 8, 8),
        "output interleaved by 2",
    ),
    "layout out": (
        lambda a: conv(a, padding=1).permute(0, 2, 3, 1).reshape(2, 6, 8, 8),
        "output channels last",
    ),
    "axis out": (lambda a: conv(a, padding=1).transpose(2, 3), ["output", 0, 1]),
    "shift circular": (lambda a: conv(a, padding=1).roll(1, 3), ["output", 0, 1, "circular"]),
    "sign": (lambda a: -conv(a, padding=1), "-"),
    "scale": (lambda a: conv(a, padding=1) * 0.5, 0.5),
    "stride": (lambda a: conv(a, padding=1, stride=2), 2),
}


@pytest.mark.parametrize("kind", ["normal", "uniform", "offset"])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_named_with_its_value(name, kind):
    arrays = layer(kind)
    make, value = PLANTED[name]
    meaning = find(arrays, {"stride": 1, "padding": 1}, make(arrays))
    assert meaning.verdict == "semantics"
    assert [(f.parameter, f.found) for f in meaning.findings] == [
        (next(p for p in sorted({f.parameter for f in meaning.findings}) if name.startswith(p)), value)
    ]
    assert meaning.findings[0].evidence == "proved"
    assert json.loads(json.dumps(meaning.findings[0].found)) == value
    if meaning.findings[0].share is not None:
        assert meaning.findings[0].share == pytest.approx(1.0, abs=1e-3)


def test_the_padding_of_tensorflow_at_stride_two():
    arrays = layer()
    meaning = find(
        arrays,
        {"stride": 2, "padding": [1, 1, 1, 1]},
        conv(arrays, x=F.pad(t(arrays["input"]), (0, 1, 0, 1)), stride=2),
    )
    assert found(meaning) == {"padding": [0, 1, 0, 1]}
    assert meaning.findings[0].declared == [1, 1, 1, 1]
    assert "'same'" in meaning.findings[0].detail


def test_a_dilation_comes_with_the_padding_that_it_needs():
    arrays = layer(size=(12, 12))
    meaning = find(arrays, {"padding": 1}, conv(arrays, dilation=2, padding=2))
    assert found(meaning) == {"dilation": 2, "padding": [2, 2, 2, 2]}


PAIRS = {
    "padding, bias": (
        {"stride": 2, "padding": 1},
        lambda a: conv(a, bias=False, x=F.pad(t(a["input"]), (0, 1, 0, 1)), stride=2),
        {"padding": [0, 1, 0, 1], "bias": "missing"},
    ),
    "flip, relu": (
        {"padding": 1},
        lambda a: F.relu(conv(a, w=t(a["weight"]).flip(2, 3), padding=1)),
        {"kernel flip": "all axes", "activation": "relu"},
    ),
    "order, mode": (
        {"padding": 1},
        lambda a: conv(a, x=F.pad(t(a["input"]).flip(1), (1, 1, 1, 1), mode="circular")),
        {"channel order": "input reversed", "padding mode": "circular"},
    ),
    "bias, silu": (
        {"padding": 1},
        lambda a: F.silu(conv(a, bias=False, padding=1)),
        {"bias": "missing", "activation": "silu"},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name):
    arrays = layer()
    params, make, wanted = PAIRS[name]
    meaning = find(arrays, params, make(arrays))
    assert found(meaning) == wanted
    if all(finding.share is not None for finding in meaning.findings):
        assert sum(finding.share for finding in meaning.findings) == pytest.approx(1.0, abs=1e-3)


def test_a_second_change_that_the_bound_would_hide_is_consistent():
    # On so large numbers a missing bias is within the bound, but not what rounding makes of 1,500 outputs.
    arrays = layer("offset", size=(16, 16))
    arrays["input"] = (arrays["input"] - 50) / 16 + 15000
    arrays["weight"] = np.abs(arrays["weight"]) + np.float32(1)
    arrays["bias"] = np.full(6, 0.7, np.float32)
    meaning = find(arrays, {"padding": 1}, -conv(arrays, bias=False, padding=1))
    assert found(meaning) == {"sign": "-", "bias": "missing"}
    assert {f.parameter: f.evidence for f in meaning.findings} == {"sign": "proved", "bias": "consistent"}


def test_groups_whose_channels_are_interleaved():
    arrays = layer(inputs=8, outputs=8, groups=4)
    x = t(arrays["input"]).reshape(2, 4, 2, 8, 8).transpose(1, 2).reshape(2, 8, 8, 8)
    meaning = find(arrays, {"padding": 1, "groups": 4}, conv(arrays, x=x, padding=1, groups=4))
    assert found(meaning) == {"channel order": "input interleaved by 4"}


def test_input_and_output_channels_of_a_square_kernel():
    arrays = layer(inputs=6, outputs=6)
    meaning = find(arrays, {"padding": 1}, conv(arrays, w=t(arrays["weight"]).transpose(0, 1), padding=1))
    assert found(meaning) == {"kernel transpose": "I,O"}


def test_channels_last_arrays():
    x, w, b = drawn(1, 2, 6, 7, 4), drawn(2, 3, 3, 4, 5), drawn(3, 5)
    arrays = {"input": x, "weight": w, "bias": b}
    kernel = t(w).permute(3, 2, 0, 1)
    output = F.conv2d(t(x).reshape(2, 4, 6, 7), kernel, t(b), padding=1).permute(0, 2, 3, 1)
    meaning = find(arrays, {"padding": 1, "layout": "NHWC"}, output)
    assert found(meaning) == {"layout": "input channels first"}
    output = F.conv2d(t(x).permute(0, 3, 1, 2), kernel.flip(2, 3), t(b), padding=1).permute(0, 2, 3, 1)
    assert found(find(arrays, {"padding": 1, "layout": "NHWC"}, output)) == {"kernel flip": "all axes"}


def test_one_and_three_axes():
    x, w = drawn(1, 2, 4, 20), drawn(2, 6, 4, 5)
    output = F.conv1d(F.pad(t(x), (1, 2)), t(w), stride=2)
    meaning = find({"input": x, "weight": w}, {"stride": 2, "padding": 2}, output, "conv1d")
    assert found(meaning) == {"padding": [1, 2]}
    x, w = drawn(1, 1, 2, 6, 6, 6), drawn(2, 3, 2, 3, 3, 3)
    output = F.conv3d(t(x), t(w).flip(2, 3, 4), padding=1)
    assert found(find({"input": x, "weight": w}, {"padding": 1}, output, "conv3d")) == {
        "kernel flip": "all axes"
    }


def test_transposed_convolutions():
    x, w = drawn(1, 2, 4, 6, 7), drawn(2, 4, 5, 3, 3)
    arrays, params = {"input": x, "weight": w}, {"stride": 2, "padding": 1, "output_padding": 1}
    whole = F.conv_transpose2d(t(x), t(w), stride=2)
    meaning = find(arrays, params, whole[:, :, :12, :14], "conv_transpose2d")
    assert found(meaning) == {"padding": [0, 1, 0, 1]}
    output = F.conv_transpose2d(t(x), t(w).flip(2, 3), stride=2, padding=1, output_padding=1)
    assert found(find(arrays, params, output, "conv_transpose2d")) == {"kernel flip": "all axes"}


LINEAR = {
    "kernel transpose": (lambda x, w, b: F.linear(x, w.T, b), "I,O"),
    "bias": (lambda x, w, b: F.linear(x, w), "missing"),
    "flatten order": (
        lambda x, w, b: F.linear(x.reshape(-1, 16, 4).transpose(1, 2).reshape(-1, 64), w, b),
        "(4, 16)",
    ),
    "channel order": (lambda x, w, b: F.linear(x.flip(1), w, b), "input reversed"),
    "activation": (lambda x, w, b: torch.tanh(F.linear(x, w, b)), "tanh"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers(name):
    arrays = {"input": drawn(1, 16, 64), "weight": drawn(2, 64, 64), "bias": drawn(3, 64)}
    make, value = LINEAR[name]
    meaning = find(arrays, {}, make(*map(t, arrays.values())), "linear")
    assert found(meaning) == {name: value}


def test_float64_outputs_are_held_to_their_own_rounding():
    arrays = layer()
    wide = {name: t(array).double() for name, array in arrays.items()}
    exact = F.conv2d(wide["input"], wide["weight"], wide["bias"], padding=1)
    assert find(arrays, {"padding": 1}, exact).verdict == "rounding"
    assert find(arrays, {"padding": 1}, exact + 1e-9).verdict == "unexplained"
    assert found(find(arrays, {"padding": 1}, F.gelu(exact))) == {"activation": "gelu"}


ROUNDINGS = {
    "bfloat16": (lambda x: x.bfloat16().float(), "bfloat16 RNE"),
    "float16": (lambda x: x.half().float(), "binary16 RNE"),
    "tf32 RNA": (lambda x: t(((x.numpy().view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)), "tf32 RNA"),
    "tf32 RZ": (lambda x: t((x.numpy().view(np.int32) & ~0x1FFF).view(np.float32)), "tf32 RZ"),
    "e5m2": (lambda x: x.to(torch.float8_e5m2).float(), "e5m2 RNE"),
    "e4m3": (lambda x: x.to(torch.float8_e4m3fn).float(), "e4m3 RNE"),
}


@pytest.mark.parametrize("name", ROUNDINGS)
@pytest.mark.parametrize("which", ["input and weight", "input", "weight"])
def test_rounded_operands_are_a_cause_and_no_semantics(name, which):
    arrays = layer(size=(12, 12))
    q, words = ROUNDINGS[name]
    x, w = t(arrays["input"]), t(arrays["weight"])
    output = conv(arrays, x=q(x) if "input" in which else x, w=q(w) if "weight" in which else w, padding=1)
    meaning = find(arrays, {"padding": 1}, output)
    (finding,) = meaning.findings
    assert (meaning.verdict, finding.cause) == ("rounding", "operand rounding")
    named = [finding.found, *(value for other in finding.alternatives for _, value in other.changes)]
    assert f"{which}: {words}" in named
    assert finding.found.startswith(f"{which}: ")


def test_rounded_results():
    arrays = layer(size=(12, 12))
    narrow = {name: t(array).bfloat16() for name, array in arrays.items()}
    plain = conv(arrays, padding=1)
    meaning = find(arrays, {"padding": 1}, plain.half().float())
    assert [(f.cause, f.found) for f in meaning.findings] == [("output rounding", "binary16 RNE")]
    assert meaning.verdict == "rounding"
    mixed = conv(arrays, x=narrow["input"].float(), w=narrow["weight"].float(), padding=1).bfloat16().float()
    meaning = find(arrays, {"padding": 1}, mixed)
    assert found(meaning) == {"operands": "input and weight: bfloat16 RNE", "output": "bfloat16 RNE"}
    meaning = find(arrays, {"padding": 1}, F.gelu(plain).bfloat16().float())
    assert found(meaning) == {"activation": "gelu", "output": "bfloat16 RNE"}
    assert meaning.verdict == "semantics"


def test_infinities_and_nan_do_not_hide_a_difference():
    arrays = layer()
    arrays["input"][0, 1, 2, 3], arrays["input"][1, 1, 1, 1] = np.inf, np.nan
    assert find(arrays, {"padding": 1}, conv(arrays, padding=1)).verdict == "rounding"
    output = conv(arrays, w=t(arrays["weight"]).flip(2, 3), padding=1)
    assert found(find(arrays, {"padding": 1}, output)) == {"kernel flip": "all axes"}


def test_mends_name_the_framework():
    arrays = layer()
    output = np.asarray(conv(arrays, x=F.pad(t(arrays["input"]), (0, 1, 0, 1)), stride=2))
    params = {"stride": 2, "padding": 1}
    fixes = [
        search("conv2d", arrays, params, output, framework=f).findings[0].fix for f in ("torch", "tensorflow")
    ]
    assert fixes == ["padding=1", 'x = tf.pad(x, [[0, 0], [0, 0], [1, 1], [1, 1]]), then padding="VALID"']
    uneven = np.asarray(conv(arrays, stride=2, padding=1))
    meaning = search("conv2d", arrays, {"stride": 2, "padding": [0, 1, 0, 1]}, uneven, framework="torch")
    assert meaning.findings[0].fix == "x = F.pad(x, (0, 1, 0, 1)), then padding=0"
    with pytest.raises(ValueError, match="framework must be one of"):
        search("conv2d", arrays, params, output, framework="jax")


def test_outputs_are_floats():
    arrays = layer()
    with pytest.raises(ValueError, match="float32 or float64, got int64"):
        search("conv2d", arrays, {}, np.zeros((2, 6, 6, 6), np.int64))
