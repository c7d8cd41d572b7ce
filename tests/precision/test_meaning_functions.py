"""Planted differences in activations, pooling, resizing, rearranging, softmax and losses are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.search import search


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def find(op, arrays, params, output):
    return search(op, arrays, params, np.asarray(output))


X = 3 * drawn(1, 2, 8, 9, 8)
Y = drawn(2, 2, 8, 9, 8)
CLASSES, LABELS = drawn(3, 20, 5), np.random.default_rng(4).integers(0, 5, 20)
WEIGHTS = np.abs(drawn(5, 5)) + np.float32(0.5)
POOL = {"kernel_size": 3, "stride": 2, "padding": 1}
LOGITS = {"input": X, "target": (Y > 0).astype(np.float32)}

PLANTED = {
    "gelu tanh": ("gelu", {}, lambda x: F.gelu(x, approximate="tanh"), "approximate", "tanh"),
    "gelu erf": ("gelu", {"approximate": "tanh"}, F.gelu, "approximate", "none"),
    "leaky 0.2": ("leaky_relu", {}, lambda x: F.leaky_relu(x, 0.2), "negative_slope", 0.2),
    "leaky 0.123": ("leaky_relu", {}, lambda x: F.leaky_relu(x, 0.123), "negative_slope", 0.123),
    "leaky 0.3": (
        "leaky_relu",
        {"negative_slope": 0.2},
        lambda x: F.leaky_relu(x, 0.3),
        "negative_slope",
        0.3,
    ),
    "elu": ("elu", {}, lambda x: F.elu(x, 0.7), "alpha", 0.7),
    "relu6": ("relu", {}, F.relu6, "activation", "relu6"),
    "hard swish": ("silu", {}, F.hardswish, "activation", "hard_swish"),
    "hard sigmoid": ("sigmoid", {}, F.hardsigmoid, "activation", "hard_sigmoid"),
    "mish": ("silu", {}, F.mish, "activation", "mish"),
    "missing": ("gelu", {}, lambda x: x, "activation", "none"),
    "count_include_pad": (
        "avg_pool2d",
        POOL,
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "count_include_pad",
        False,
    ),
    "max for average": ("avg_pool2d", POOL, lambda x: F.max_pool2d(x, 3, 2, 1), "function", "max_pool2d"),
    "sum for average": ("avg_pool2d", POOL, lambda x: 9 * F.avg_pool2d(x, 3, 2, 1), "scale", 9.0),
    "pool padding": (
        "max_pool2d",
        {"kernel_size": 2, "stride": 2, "padding": [1, 0, 0, 0]},
        lambda x: F.max_pool2d(F.pad(x, (0, 0, 0, 1), value=-1e9), 2),
        "padding",
        [0, 1, 0, 0],
    ),
    "align_corners": (
        "interpolate",
        {"size": [18, 15], "mode": "bilinear"},
        lambda x: F.interpolate(x, size=(18, 15), mode="bilinear", align_corners=True),
        "coordinates",
        "align_corners",
    ),
    "half_pixel": (
        "interpolate",
        {"size": [18, 15], "mode": "bilinear", "align_corners": True},
        lambda x: F.interpolate(x, size=(18, 15), mode="bilinear"),
        "coordinates",
        "half_pixel",
    ),
    "cubic corners": (
        "interpolate",
        {"size": [18, 15], "mode": "bicubic"},
        lambda x: F.interpolate(x, size=(18, 15), mode="bicubic", align_corners=True),
        "coordinates",
        "align_corners",
    ),
    "nearest": (
        "interpolate",
        {"size": [13, 11], "mode": "bilinear"},
        lambda x: F.interpolate(x, size=(13, 11)),
        "mode",
        "nearest",
    ),
    "nearest exact": (
        "interpolate",
        {"size": [13, 11], "mode": "nearest"},
        lambda x: F.interpolate(x, size=(13, 11), mode="nearest-exact"),
        "mode",
        "nearest-exact",
    ),
    "scale factor": (
        "interpolate",
        {"scale_factor": 1.7, "mode": "bilinear"},
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
        "scale factor",
        "sizes",
    ),
    "softmax axis": ("softmax", {"dim": 1}, lambda x: F.softmax(x, -1), "axis", 3),
    "log softmax": ("softmax", {"dim": 1}, lambda x: F.log_softmax(x, 1), "function", "log_softmax"),
    "logsumexp": ("logsumexp", {"dim": 1}, lambda x: -torch.logsumexp(x, 1), "sign", "-"),
    "crd": ("depth_to_space", {"block_size": 2}, lambda x: F.pixel_shuffle(x, 2), "mode", "CRD"),
    "dcr": (
        "pixel_shuffle",
        {"upscale_factor": 2},
        lambda x: x.reshape(2, 2, 2, 2, 9, 8).permute(0, 3, 4, 1, 5, 2).reshape(2, 2, 18, 16),
        "mode",
        "DCR",
    ),
    "biased": ("var", {"dim": [0, 2, 3]}, lambda x: x.var((0, 2, 3), unbiased=False), "variance", 0),
    "unit axis": ("normalize", {"dim": 1}, lambda x: F.normalize(x, dim=2), "axis", 2),
}


@pytest.mark.parametrize("name", PLANTED)
def test_functions_of_one_array(name):
    op, params, make, parameter, value = PLANTED[name]
    meaning = find(op, {"input": X}, params, make(t(X)))
    assert [(f.parameter, f.found, f.evidence) for f in meaning.findings] == [(parameter, value, "proved")]
    assert meaning.verdict == "semantics"


LOSSES = {
    "mse sum": ("mse_loss", {"input": X, "target": Y}, {}, {"reduction": "sum"}, "reduction", "sum"),
    "mse mean": ("mse_loss", {"input": X, "target": Y}, {"reduction": "sum"}, {}, "reduction", "mean"),
    "mse none": ("mse_loss", {"input": X, "target": Y}, {}, {"reduction": "none"}, "reduction", "none"),
    "bce": ("binary_cross_entropy_with_logits", LOGITS, {}, {"reduction": "sum"}, "reduction", "sum"),
    "ce": (
        "cross_entropy",
        {"input": CLASSES, "target": LABELS},
        {},
        {"reduction": "sum"},
        "reduction",
        "sum",
    ),
    "smoothing": (
        "cross_entropy",
        {"input": CLASSES, "target": LABELS},
        {"label_smoothing": 0.1},
        {},
        "label_smoothing",
        0.0,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    op, arrays, params, called, parameter, value = LOSSES[name]
    output = getattr(F, op)(*map(t, arrays.values()), **called)
    meaning = find(op, arrays, params, output)
    assert [(f.parameter, f.found) for f in meaning.findings] == [(parameter, value)]


def test_weights_of_classes_that_are_not_applied():
    arrays = {"input": CLASSES, "target": LABELS, "weight": WEIGHTS}
    meaning = find("cross_entropy", arrays, {}, F.cross_entropy(t(CLASSES), t(LABELS)))
    assert [(f.parameter, f.found) for f in meaning.findings] == [("weight", "missing")]


def adam(amsgrad=False, eps=1e-8, weight_decay=0.0):
    """One step from zero moments: the arrays, the parameters and PyTorch's result."""
    param, grad = drawn(1, 40), drawn(2, 40) * np.float32(1e-3)
    held = torch.nn.Parameter(t(param.copy()))
    held.grad = t(grad)
    torch.optim.Adam([held], lr=0.1, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad).step()
    zeros = np.zeros(40, np.float32)
    return {"param": param, "grad": grad, "exp_avg": zeros, "exp_avg_sq": zeros}, held.detach()


def test_optimizers():
    params = {"lr": 0.1, "step": 1}
    arrays, output = adam()
    assert find("adam_param", arrays, params, output).verdict == "rounding"
    arrays, output = adam(eps=1e-5)
    (finding,) = find("adam_param", arrays, params, output).findings
    assert (finding.parameter, finding.found) == ("eps", 1e-5)
    arrays, output = adam()
    (finding,) = find("adam_param", arrays, {**params, "weight_decay": 0.1}, output).findings
    assert (finding.parameter, finding.found) == ("weight_decay", 0.0)


def test_nesterov():
    param, grad, held = drawn(1, 40), drawn(2, 40), torch.nn.Parameter(t(drawn(1, 40)))
    optimizer = torch.optim.SGD([held], lr=0.1, momentum=0.9, nesterov=True)
    held.grad = t(grad)
    optimizer.step()
    before = held.detach().numpy().copy()
    held.grad = t(param)
    optimizer.step()
    arrays = {"param": before, "grad": param, "momentum_buffer": grad}
    params = {"lr": 0.1, "momentum": 0.9}
    assert find("sgd_param", arrays, {**params, "nesterov": True}, held.detach()).verdict == "rounding"
    (finding,) = find("sgd_param", arrays, params, held.detach()).findings
    assert (finding.parameter, finding.found) == ("nesterov", True)


def test_other_parameters():
    x = drawn(8, 2, 6, 5, 5)
    lrn = F.local_response_norm(t(x), 3)
    response = {"size": 3, "alpha": 1e-4, "beta": 0.75}
    assert find("local_response_norm", {"input": x}, response, lrn).verdict == "rounding"
    (finding,) = find("local_response_norm", {"input": x}, {**response, "k": 2.0}, lrn).findings
    assert (finding.parameter, finding.found) == ("k", 1.0)
    mask = (np.random.default_rng(0).random(x.shape) < 0.5).astype(np.float32)
    (finding,) = find("dropout", {"input": x, "mask": mask}, {"p": 0.5, "training": True}, t(x)).findings
    assert (finding.parameter, finding.found) == ("training", False)
    (finding,) = find("softplus", {"input": x}, {"beta": 2.0}, F.softplus(t(x))).findings
    assert (finding.parameter, finding.found) in (("beta", 1.0), ("activation", "softplus"))


def test_matrix_products():
    a, b = drawn(1, 8, 16), drawn(2, 16, 16)
    arrays = {"input": a, "other": b}
    (finding,) = find("matmul", arrays, {}, t(a) @ t(b).T).findings
    assert (finding.parameter, finding.found) == ("transpose", "other")
    (finding,) = find("matmul", arrays, {}, t(a) @ t(b) / 4).findings
    assert (finding.parameter, finding.found) == ("scale", 0.25)
