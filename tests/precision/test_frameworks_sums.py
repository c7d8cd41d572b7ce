"""PyTorch's driver of sums of products: the declared function, by the kernels that users get.

On small integers every order of a sum is exact, so an output must be the reference's to the bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from precision.errors import CannotRun
from precision.frameworks import torch_backend
from precision.frameworks.padding import explicit_padding
from reference import evaluate

sys.path.insert(0, str(Path(__file__).parent))  # the declarations are a plain module beside the tests

from sum_configurations import AVERAGES, SUMS, drawn, integers, right

MODES = {
    "default": {},
    "channels_last": {"memory_format": "channels_last"},
    "no_mkldnn": {"mkldnn.enabled": False},
    "deterministic": {"deterministic_algorithms": True},
    "bf16": {"mkldnn.conv.fp32_precision": "bf16", "mkldnn.matmul.fp32_precision": "bf16"},
}


@pytest.fixture(params=MODES)
def mode(request):
    """A mode of PyTorch; the switches are put back."""
    before = torch_backend.configure("cpu", {"memory_format": "contiguous"})
    torch_backend.configure("cpu", MODES[request.param])
    yield request.param
    torch_backend.configure("cpu", {name: before[name] for name in MODES[request.param]})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.sampled_from(SUMS), seed=st.integers(0, 2**32))
def test_torch_computes_the_declared_function(mode, op, seed):
    params, arrays, truth = drawn(op, np.random.default_rng(seed))
    try:
        output = torch_backend.run(op, params, arrays)
    except CannotRun:
        assert op.startswith("avg_pool")
        return
    assert right(op, truth, output)


def test_torch_runs_most_poolings():
    rng = np.random.default_rng(0)
    for op in AVERAGES:
        ran = 0
        for _ in range(40):
            params, arrays, truth = drawn(op, rng)
            try:
                output = torch_backend.run(op, params, arrays)
            except CannotRun:
                continue
            ran += right(op, truth, output)
        assert ran >= 24


WRONG = [
    ("conv2d", {"padding": [1, 0, 1, 0]}, {"padding": [0, 1, 0, 1]}),
    ("conv2d", {"padding": "same"}, {"padding": "same_lower"}),
    ("conv2d", {"dilation": 2}, {"dilation": 1, "padding": 0, "stride": 1}),
    ("conv2d", {"groups": 2}, {"groups": 1}),
    ("conv2d", {"padding": 1, "padding_mode": "reflect"}, {"padding": 1, "padding_mode": "replicate"}),
    ("conv_transpose2d", {"padding": "same"}, {"padding": "same_lower"}),
    ("conv_transpose2d", {"padding": [0, 2, 1, 1]}, {"padding": [2, 0, 1, 1]}),
    ("conv_transpose2d", {"output_padding": 1, "stride": 2}, {"stride": 2, "padding": [1, 0, 1, 0]}),
    ("conv2d_input_grad", {"padding": [1, 0, 1, 0]}, {"padding": [0, 1, 0, 1]}),
    ("conv2d_weight_grad", {"padding": [1, 0, 1, 0]}, {"padding": [0, 1, 0, 1]}),
    ("conv_transpose2d_input_grad", {"padding": "same"}, {"padding": "same_lower"}),
    ("conv_transpose2d_weight_grad", {"padding": "same"}, {"padding": "same_lower"}),
    ("avg_pool2d", {"padding": 1, "count_include_pad": False}, {"padding": 1}),
    ("avg_pool2d", {"stride": 1}, {"stride": 2}),
    ("sum", {"dim": 1}, {"dim": 2}),
    ("mean", {"dim": [0, 1]}, {"dim": [0, 2]}),
]


def operands(op, params, rng):
    """Arrays for a declaration over a 6x6 image of 4 channels, 2x2 taps (conv), 2x2 windows (pooling)."""
    x, groups = integers(rng, 2, 4, 6, 6), params.get("groups", 1)
    if not op.startswith("conv"):
        return {}, {"input": x}
    name = op.split("_input_")[0].split("_weight_")[0]
    w = integers(rng, 4, 4 // groups, 2, 2)
    g = integers(rng, *evaluate(name, {"input": x, "weight": w}, params).value.shape)
    if op.endswith("_input_grad"):
        return {"input_size": list(x.shape)}, {"grad_output": g, "weight": w}
    if op.endswith("_weight_grad"):
        return {"weight_size": list(w.shape)}, {"grad_output": g, "input": x}
    return {}, {"input": x, "weight": w}


@pytest.mark.parametrize(("op", "declared", "called"), WRONG)
def test_a_wrong_parameter_is_seen(op, declared, called):
    fixed = {"kernel_size": 2} if "pool" in op else {}
    sizes, arrays = operands(op, declared, np.random.default_rng(1))
    truth = evaluate(op, arrays, {**fixed, **sizes, **declared})
    assert right(op, truth, torch_backend.run(op, {**fixed, **sizes, **declared}, arrays))
    if "groups" in called:
        arrays["weight"] = arrays["weight"].repeat(2, axis=1)
    assert not right(op, truth, torch_backend.run(op, {**fixed, **sizes, **called}, arrays))


def test_a_wrong_element_is_seen():
    for op in ("conv2d", "mean"):
        _, arrays = operands(op, {}, np.random.default_rng(2))
        truth = evaluate(op, arrays, {})
        output = torch_backend.run(op, {}, arrays)
        assert right(op, truth, output)
        assert output.shape == truth.value.shape
        assert not right(op, truth, output + np.float32(2.0**-10))
        assert not right(op, truth, output.astype(np.float64))
        assert not right(op, truth, output[None])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_gradients_have_the_bits_of_autograd(axes, turned, layout, padding):
    """Also where autograd wants all three at once, on data whose sums round."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 6, *(6,) * axes)).astype(np.float32)
    w = rng.standard_normal((6, 6, *(3,) * axes)).astype(np.float32)
    params = {"stride": 2, "padding": padding}
    name = f"conv{'_transpose' * turned}{axes}d"
    torch_backend.configure("cpu", {"memory_format": layout})
    try:
        form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(axes + 2)
        form = form if layout == "channels_last" and form else torch.contiguous_format
        tx, tw = (torch.tensor(array).to(memory_format=form).requires_grad_() for array in (x, w))
        tb = torch.zeros(6, requires_grad=True)
        if turned:
            y = getattr(F, name)(tx, tw, tb, stride=2, padding=1 if padding == 1 else 0)
            y = y if padding == 1 else y[(..., *(slice(0, 12),) * axes)]  # SAME: 12 of 13, the last cut off
        else:
            wide = tx if padding == 1 else F.pad(tx, [0, 1] * axes)
            y = getattr(F, name)(wide, tw, tb, stride=2, padding=1 if padding == 1 else 0)
        g = rng.standard_normal(tuple(y.shape)).astype(np.float32)
        y.backward(torch.tensor(g).to(memory_format=form))
        arrays = {"grad_output": g, "weight": w}
        found = torch_backend.run(f"{name}_input_grad", {**params, "input_size": x.shape}, arrays)
        assert np.array_equal(found, tx.grad.numpy())
        arrays = {"grad_output": g, "input": x}
        found = torch_backend.run(f"{name}_weight_grad", {**params, "weight_size": w.shape}, arrays)
        assert np.array_equal(found, tw.grad.numpy())
    finally:
        torch_backend.configure("cpu", {"memory_format": "contiguous"})


@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_through_other_paddings(axes, padding_mode):
    """Against autograd in float64, on integers."""
    rng = np.random.default_rng(6)
    x, w = integers(rng, 2, 3, *(5,) * axes), integers(rng, 4, 3, *(2,) * axes)
    params = {"stride": 2, "padding": [1, 2] * axes, "padding_mode": padding_mode}
    tx, tw = (torch.tensor(array).double().requires_grad_() for array in (x, w))
    y = getattr(F, f"conv{axes}d")(F.pad(tx, [1, 2] * axes, padding_mode), tw, stride=2)
    g = integers(rng, *y.shape)
    y.backward(torch.tensor(g).double())
    arrays = {"grad_output": g, "weight": w}
    found = torch_backend.run(f"conv{axes}d_input_grad", {**params, "input_size": x.shape}, arrays)
    assert np.array_equal(found, tx.grad.numpy())
    arrays = {"grad_output": g, "input": x}
    found = torch_backend.run(f"conv{axes}d_weight_grad", {**params, "weight_size": w.shape}, arrays)
    assert np.array_equal(found, tw.grad.numpy())


@pytest.mark.parametrize("op", ["conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d"])
def test_every_operand_of_a_gradient_is_in_the_memory_format(op, monkeypatch):
    seen = []
    real = torch.ops.aten.convolution_backward

    def spy(*operands):
        form = torch.channels_last if operands[0].ndim == 4 else torch.channels_last_3d
        seen.extend(
            operand.is_contiguous(memory_format=form) and not operand.is_contiguous()
            for operand in operands[:3]
        )
        return real(*operands)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", spy)
    rng, axes = np.random.default_rng(7), int(op[-2])
    x, w = integers(rng, 2, 3, *(4,) * axes), integers(rng, 3, 3, *(2,) * axes)
    for layout in ("channels_last", "contiguous"):
        seen.clear()
        torch_backend.configure("cpu", {"memory_format": layout})
        try:
            y = torch_backend.run(op, {"padding": "same"}, {"input": x, "weight": w})
            params, arrays = {"padding": "same", "input_size": x.shape}, {"grad_output": y, "weight": w}
            torch_backend.run(f"{op}_input_grad", params, arrays)
            params, arrays = {"padding": "same", "weight_size": w.shape}, {"grad_output": y, "input": x}
            torch_backend.run(f"{op}_weight_grad", params, arrays)
        finally:
            torch_backend.configure("cpu", {"memory_format": "contiguous"})
        assert seen == [layout == "channels_last"] * 6


IMAGE, FILTER = np.ones((1, 2, 5, 5)), np.ones((2, 2, 2, 2))
LINE = np.ones((1, 2, 5))
OF_IMAGE = {"input": IMAGE, "weight": FILTER}
REFUSED_BY_TORCH = [
    ("conv2d", {"layout": "NHWC"}, OF_IMAGE, "channels first"),
    ("avg_pool1d", {"kernel_size": 2, "divisor_override": 3}, {"input": LINE}, "no divisor_override"),
    ("avg_pool2d", {"kernel_size": 2, "padding": "same"}, {"input": IMAGE}, "does not count"),
    (
        "avg_pool2d",
        {"kernel_size": 2, "padding": [0, 1, 0, 1], "ceil_mode": True},
        {"input": IMAGE},
        "ceil_mode",
    ),
    ("sum", {"dim": []}, {"input": IMAGE}, "empty dim"),
]


@pytest.mark.parametrize(("op", "params", "arrays", "reason"), REFUSED_BY_TORCH)
def test_torch_refuses_what_it_cannot_do(op, params, arrays, reason):
    with pytest.raises(CannotRun, match=reason):
        torch_backend.run(op, params, {name: array.astype(np.float32) for name, array in arrays.items()})


def test_padding_by_rule():
    assert explicit_padding("same", [6, 7], [3, 3], 2, 1) == ((0, 1), (1, 1))
    assert explicit_padding("SAME_LOWER", [6], [3], 2, 1) == ((1, 0),)
    assert explicit_padding("same_torch", [6], [2], 1, 3) == ((1, 2),)
    assert explicit_padding([1, 2, 3, 4], [6, 6], [2, 2], 1, 1) == ((1, 2), (3, 4))
    assert explicit_padding([1, 2, 3], [6, 6, 6], [2, 2, 2], 1, 1) == ((1, 1), (2, 2), (3, 3))
    with pytest.raises(ValueError, match="'full'"):
        explicit_padding("full", [6], [2], 1, 1)
