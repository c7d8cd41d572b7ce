"""What PyTorch returns for the declared function is rounding: nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.search import search
from reference import plain_float32


def drawn(seed, *shape, kind="normal"):
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.uniform(0, 1, shape).astype(np.float32)
    return (rng.standard_normal(shape) + (100 if kind == "offset" else 0)).astype(np.float32)


def cases(seed, kind):
    """(op, arrays, params, PyTorch's output) for every family of ops."""
    x, w, b = drawn(seed, 2, 8, 10, 9, kind=kind), drawn(seed + 1, 6, 8, 3, 3), drawn(seed + 2, 6)
    scale, shift = drawn(seed + 3, 8), drawn(seed + 4, 8)
    rows, matrix = drawn(seed + 5, 24, 64, kind=kind), drawn(seed + 6, 16, 64)
    mean, var = drawn(seed + 7, 8), np.abs(drawn(seed + 8, 8)) + np.float32(0.1)
    xt, affine = t(x), {"weight": t(scale), "bias": t(shift)}
    image, normed = {"input": x}, {"input": x, "weight": scale, "bias": shift}
    layer = {"input": x, "weight": w, "bias": b}
    yield "conv2d", layer, {"padding": 1}, F.conv2d(xt, t(w), t(b), padding=1)
    yield "conv2d", layer, {"stride": 2, "dilation": 2}, F.conv2d(xt, t(w), t(b), stride=2, dilation=2)
    back = drawn(seed + 9, 8, 3, 3, 3)
    yield (
        "conv_transpose2d",
        {"input": x, "weight": back},
        {"stride": 2},
        F.conv_transpose2d(xt, t(back), stride=2),
    )
    yield "linear", {"input": rows, "weight": matrix}, {}, F.linear(t(rows), t(matrix))
    yield "matmul", {"input": rows, "other": matrix.T.copy()}, {}, t(rows) @ t(matrix).T
    running = {**normed, "running_mean": mean, "running_var": var}
    yield "batch_norm", normed, {"training": True}, F.batch_norm(xt, None, None, training=True, **affine)
    yield "batch_norm", running, {}, F.batch_norm(xt, t(mean), t(var), **affine)
    yield "group_norm", normed, {"num_groups": 2}, F.group_norm(xt, 2, **affine)
    yield "instance_norm", normed, {}, F.instance_norm(xt, **affine)
    yield "layer_norm", {"input": rows}, {"normalized_shape": [64]}, F.layer_norm(t(rows), [64])
    yield (
        "rms_norm",
        {"input": rows},
        {"normalized_shape": [64], "eps": 1e-6},
        F.rms_norm(t(rows), [64], eps=1e-6),
    )
    for op in ("relu", "silu", "gelu", "elu", "selu", "softplus", "leaky_relu"):
        yield op, image, {}, getattr(F, op)(xt)
    for op in ("sigmoid", "tanh", "exp", "erf"):
        yield op, image, {}, getattr(torch, op)(xt)
    yield "gelu", image, {"approximate": "tanh"}, F.gelu(xt, approximate="tanh")
    pool = {"kernel_size": 3, "stride": 2, "padding": 1}
    yield "avg_pool2d", image, pool, F.avg_pool2d(xt, 3, 2, 1)
    yield "max_pool2d", image, pool, F.max_pool2d(xt, 3, 2, 1)
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        for size in ((20, 18), (13, 7)):
            output = F.interpolate(xt, size=size, mode=mode)
            yield "interpolate", image, {"size": list(size), "mode": mode}, output
    yield "softmax", image, {"dim": 1}, F.softmax(xt, 1)
    yield "log_softmax", image, {"dim": 1}, F.log_softmax(xt, 1)
    yield "logsumexp", image, {"dim": 1}, torch.logsumexp(xt, 1)
    yield "pixel_shuffle", image, {"upscale_factor": 2}, F.pixel_shuffle(xt, 2)
    target = drawn(seed + 10, 2, 8, 10, 9)
    for reduction in ("none", "mean", "sum"):
        output = F.mse_loss(xt, t(target), reduction=reduction)
        yield "mse_loss", {"input": x, "target": target}, {"reduction": reduction}, output
    labels = np.random.default_rng(seed).integers(0, 64, 24)
    yield "cross_entropy", {"input": rows, "target": labels}, {}, F.cross_entropy(t(rows), t(labels))
    yield "var", image, {"dim": [0, 2, 3]}, xt.var((0, 2, 3))
    yield "normalize", {"input": rows}, {"dim": 1}, F.normalize(t(rows), dim=1)


@pytest.mark.parametrize("kind", ["normal", "uniform", "offset"])
def test_nothing_is_claimed_of_rounding(kind):
    for op, arrays, params, output in cases(10, kind):
        meaning = search(op, arrays, params, np.asarray(output))
        assert (op, params, meaning.verdict, meaning.findings) == (op, params, "rounding", ())


def test_nothing_is_claimed_of_another_algorithm():
    # A one-pass variance on data with an offset is far beyond the bound of two passes.
    x = drawn(0, 6, 64, kind="offset")
    one_pass = (x * x).mean(1, dtype=np.float32) - x.mean(1, dtype=np.float32) ** 2
    root = 1 / np.sqrt(np.maximum(one_pass, 0) + np.float32(1e-5))
    output = (x - x.mean(1, keepdims=True, dtype=np.float32)) * root[:, None]
    meaning = search("layer_norm", {"input": x}, {"normalized_shape": [64]}, output)
    assert meaning.verdict in ("rounding", "unexplained")
    assert meaning.findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "batch_norm", "linear", "conv2d"])
def test_nothing_is_claimed_of_long_sums_that_stagnate(op):
    # Numbers of one sign, added one after another: the errors are large and have a sign.
    x = drawn(0, 16, 50000, kind="uniform") + np.float32(1)
    arrays, params = {
        "batch_norm": ({"input": x.reshape(1, 16, -1)}, {"training": True}),
        "linear": ({"input": x, "weight": drawn(1, 8, 50000, kind="uniform")}, {}),
        "conv2d": (
            {
                "input": drawn(1, 1, 256, 16, 16, kind="uniform"),
                "weight": drawn(2, 8, 256, 5, 5, kind="uniform"),
            },
            {"padding": 2},
        ),
    }.get(op, ({"input": x}, {"normalized_shape": [50000]}))
    meaning = search(op, arrays, params, plain_float32(op, arrays, params))
    assert (meaning.verdict, meaning.findings) == ("rounding", ())


@pytest.mark.slow
def test_nothing_is_claimed_of_rounding_in_a_sweep():
    claims, count = [], 0
    for seed in range(100, 115):
        for kind in ("normal", "uniform", "offset"):
            for op, arrays, params, output in cases(seed, kind):
                count += 1
                meaning = search(op, arrays, params, np.asarray(output))
                if meaning.verdict != "rounding" or meaning.findings:
                    claims.append((seed, kind, op, params, meaning.verdict))
    print(f"{count} outputs of PyTorch, {len(claims)} claims")
    assert claims == []


@pytest.mark.parametrize("terms", [2, 5, 40])
def test_a_limit_as_large_as_the_output_proves_nothing(terms):
    """Products near the largest number: nearly any values lie within what a function of such sums may be."""
    rng = np.random.default_rng(0)
    shape = (8, terms)
    arrays = {name: (rng.standard_normal(shape) * 3e18).astype(np.float32) for name in ("input", "weight")}
    for output in (rng.random((8, 8)), rng.standard_normal((8, 8))):
        found = search("linear", arrays, {}, output.astype(np.float32))
        assert found.verdict == "unexplained", found.findings
