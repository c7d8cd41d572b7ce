"""Whole layers in bfloat16 and float16, as under mixed precision: named, split, and no cover for a bug."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import precision

FORMATS = {"bfloat16": torch.bfloat16, "binary16": torch.float16}
PRECISION = {"bfloat16": 8, "binary16": 11}


def drawn(seed, *shape, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def layer(bias=True):
    arrays = {"input": drawn(0, 24, 96), "weight": drawn(1, 32, 96, scale=0.1)}
    return arrays | ({"bias": drawn(2, 32)} if bias else {})


def narrow(kind, arrays):
    return {name: torch.from_numpy(array).to(FORMATS[kind]) for name, array in arrays.items()}


def explained(op, arrays, output, **params):
    if isinstance(output, torch.Tensor):
        output = output.float().numpy()
    return precision.explain({"op": op, "params": params, "arrays": arrays}, {"torch": output}).outputs[
        "torch"
    ]


def named(found):
    return {each.parameter: each.found for each in found.causes if each.parameter is not None}


def parts_add_up(found, truth, output):
    """Every part, added exactly, is the error: an oracle in fractions."""
    for index in [(0, 0), (5, 3), (23, 31)]:
        levels = found.parts.levels
        ends = [Fraction(float(e.value[index])) + Fraction(float(e.residual[index])) for e in levels]
        steps = sum(b - a for a, b in itertools.pairwise(ends))
        assert steps == Fraction(float(output[index])) - ends[0]
    total = sum(each.share for each in found.causes if each.share is not None)
    assert abs(total - 1.0) < 1e-6


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_under_autocast_is_named_and_split(kind, bias):
    arrays = layer(bias)
    with torch.autocast("cpu", dtype=FORMATS[kind]):
        output = F.linear(*(torch.from_numpy(array) for array in arrays.values()))
    assert output.dtype == FORMATS[kind]
    found = explained("linear", arrays, output)
    assert found.verdict == "rounding", found.reason
    which = "input, weight and bias" if bias else "input and weight"
    assert named(found) == {"operands": f"{which}: {kind} RNE", "output": f"{kind} RNE"}
    causes = {each.cause: each for each in found.causes}
    assert set(causes) == {"operand rounding", "output rounding", "accumulation"}
    assert causes["operand rounding"].share > 0.2
    assert causes["output rounding"].share > 0.1
    assert causes["accumulation"].evidence in ("proved", "bounded")
    parts_add_up(found, arrays, output.float().numpy())
    # The part of the results is that of one rounding: at most half a spacing of the format.
    part = np.abs(found.parts.part("output rounding"))
    assert (part <= 2.0 ** -PRECISION[kind] * np.abs(found.parts.levels[4].value) * 1.0001).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_bias_that_joins_the_rounded_sum(kind):
    """As mixed precision in Keras: the product is rounded, then the sum with the bias."""
    arrays = layer()
    t = narrow(kind, arrays)
    found = explained("linear", arrays, F.linear(t["input"], t["weight"]) + t["bias"])
    assert found.verdict == "rounding", found.reason
    assert named(found) == {
        "operands": f"input, weight and bias: {kind} RNE", "sum": f"{kind} RNE", "output": f"{kind} RNE",
    }  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("fault", "parameter", "value"), [("missing", "bias", "missing"), ("twice", "bias", "doubled")]
)
def test_a_fault_in_a_narrow_layer_is_no_rounding(kind, fault, parameter, value):
    arrays = layer()
    t = narrow(kind, {**arrays, "bias": arrays["bias"] * np.float32(0 if fault == "missing" else 2)})
    found = explained("linear", arrays, F.linear(t["input"], t["weight"], t["bias"]))
    assert found.verdict == "semantics", found.reason
    assert named(found)[parameter] == value
    assert named(found)["output"] == f"{kind} RNE"


@pytest.mark.parametrize("kind", FORMATS)
def test_one_wrong_element_of_a_narrow_layer_is_not_covered(kind):
    arrays = layer()
    t = narrow(kind, arrays)
    output = F.linear(t["input"], t["weight"], t["bias"]).float().numpy()
    output[3, 4] *= 1.5
    output = torch.from_numpy(output).to(FORMATS[kind])
    found = explained("linear", arrays, output)
    assert found.verdict == "unexplained"
    assert (
        "but for 1 of 768 outputs it is the declared one with input, weight and bias rounded" in found.reason
    )
    assert "[3, 4]" in found.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_convolutions_and_their_faults(kind):
    arrays = {
        "input": drawn(3, 2, 8, 10, 10),
        "weight": drawn(4, 16, 8, 3, 3, scale=0.1),
        "bias": drawn(5, 16),
    }
    t = narrow(kind, arrays)
    right = F.conv2d(t["input"], t["weight"], t["bias"], padding=1)
    found = explained("conv2d", arrays, right, padding=1)
    assert found.verdict == "rounding", found.reason
    assert named(found)["output"] == f"{kind} RNE", found.reason
    wrong = F.conv2d(t["input"], t["weight"].flip(2, 3), t["bias"], padding=1)
    found = explained("conv2d", arrays, wrong, padding=1)
    assert found.verdict == "semantics", found.reason
    assert "kernel flip" in named(found), found.reason


def test_what_overflows_in_float16_is_infinite():
    arrays = {"input": drawn(6, 24, 96, scale=3000.0), "weight": drawn(7, 32, 96, scale=1.5)}
    t = narrow("binary16", arrays)
    output = F.linear(t["input"], t["weight"]).float().numpy()
    assert 10 < np.isinf(output).sum() < output.size // 2
    found = explained("linear", arrays, output)
    assert found.verdict == "rounding", found.reason
    assert named(found)["output"] == "binary16 RNE", found.reason
    # A finite number where the format has none but infinity is another function.
    output[np.isinf(output)] = 65504.0
    assert explained("linear", arrays, output).verdict == "unexplained"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("op", ["gelu", "sigmoid", "tanh", "softmax", "layer_norm"])
def test_functions_and_normalizations(kind, op):
    arrays, params = {"input": drawn(8, 24, 96)}, {}
    if op == "layer_norm":
        arrays |= {"weight": drawn(9, 96), "bias": drawn(10, 96)}
        params = {"normalized_shape": [96]}
    if op == "softmax":
        params = {"dim": -1}
    t = narrow(kind, arrays)
    call = getattr(F, op, None) or getattr(torch, op)
    output = call(t.pop("input"), *params.values(), **t)
    found = explained(op, arrays, output, **params)
    assert found.verdict == "rounding", found.reason
    assert named(found)["output"] == f"{kind} RNE"
    assert kind in named(found)["operands"]
    wrong = output.float().numpy()
    wrong[7] = wrong[8]
    assert explained(op, arrays, wrong, **params).verdict in ("unexplained", "data", "semantics")


def test_another_eps_in_a_narrow_normalization():
    arrays = {"input": drawn(11, 24, 96, scale=0.02)}
    output = F.layer_norm(torch.from_numpy(arrays["input"]).bfloat16(), [96], eps=1e-3)
    found = explained("layer_norm", arrays, output, normalized_shape=[96])
    assert found.verdict == "semantics", found.reason
    assert named(found)["eps"] == 1e-3, found.reason


def test_float32_results_that_happen_to_be_short_are_no_narrow_layer():
    integers = np.random.default_rng(0).integers(-3, 4, (2, 16, 8)).astype(np.float32)
    arrays = {"input": integers[0], "weight": integers[1]}
    found = explained("linear", arrays, F.linear(*(torch.from_numpy(a) for a in arrays.values())))
    assert found.verdict == "exact"
    assert not named(found)
