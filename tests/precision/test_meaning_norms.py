"""Planted differences in normalizations, computed by PyTorch or in float64, are named with their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F
from torch import from_numpy as t

from precision.meaning.search import search

KINDS = ("normal", "uniform", "offset")


def drawn(seed, *shape, kind="normal"):
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.uniform(0, 1, shape).astype(np.float32)
    return (rng.standard_normal(shape) + (100 if kind == "offset" else 0)).astype(np.float32)


def images(kind="normal", scale=1.0, shape=(3, 8, 5, 6)):
    channels = shape[1]
    return {
        "input": drawn(1, *shape, kind=kind) * np.float32(scale),
        "weight": drawn(2, channels, kind="uniform") + np.float32(0.5),
        "bias": drawn(3, channels),
    }


def running(arrays):
    channels = len(arrays["weight"])
    mean = drawn(4, channels) * np.float32(0.1)
    return {
        **arrays,
        "running_mean": mean,
        "running_var": drawn(5, channels, kind="uniform") + np.float32(0.5),
    }


def formula(arrays, axes=(0, 2, 3), eps=1e-5, ddof=0, outside=False, centred=True, squared=False):
    """The formula in float64, rounded once."""
    x = arrays["input"].astype(np.float64)
    mean = x.mean(axes, keepdims=True)
    v = x.var(axes, keepdims=True, ddof=ddof) if centred else (x * x).mean(axes, keepdims=True)
    root = 1 / (np.sqrt(v) + eps) if outside else 1 / np.sqrt(v + eps)
    w, b = (arrays[name].astype(np.float64).reshape(1, -1, 1, 1) for name in ("weight", "bias"))
    return ((x - (mean if centred else 0)) * root * w + b).astype(np.float32)


def batch(a, weight=True, bias=True, training=True, eps=1e-5):
    given = [t(a[n]).clone() if n in a else None for n in ("running_mean", "running_var")]
    w, b = (t(a[n]) if use else None for n, use in (("weight", weight), ("bias", bias)))
    return F.batch_norm(t(a["input"]), *given, w, b, training, 0.1, eps)


def find(op, arrays, params, output):
    return search(op, arrays, params, np.asarray(output))


def found(meaning):
    return {finding.parameter: finding.found for finding in meaning.findings}


BATCH = {
    "affine b": (lambda a: batch(a, bias=False), {"affine": "bias missing"}),
    "affine w": (lambda a: batch(a, weight=False), {"affine": "weight missing"}),
    "affine": (lambda a: batch(a, weight=False, bias=False), {"affine": "missing"}),
    "training": (lambda a: batch(a, training=False), {"training": False}),
    "variance": (lambda a: formula(a, ddof=1), {"variance": "unbiased"}),
    "centering": (lambda a: formula(a, centred=False), {"centering": "none"}),
    "eps": (lambda a: batch(a, eps=0.1), {"eps": 0.1}),
    "axis": (lambda a: formula(a, axes=(2, 3)), {"axis": [2, 3]}),
    "axis l": (lambda a: formula(a, axes=(1, 2, 3)), {"axis": [1, 2, 3]}),
    "eps, affine": (lambda a: batch(a, bias=False, eps=0.1), {"affine": "bias missing", "eps": 0.1}),
    "eps, variance": (lambda a: formula(a, ddof=1, eps=1e-2), {"variance": "unbiased", "eps": 1e-2}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BATCH)
def test_batch_normalization_in_training(name, kind):
    arrays = running(images(kind))
    make, wanted = BATCH[name]
    meaning = find("batch_norm", arrays, {"training": True}, make(arrays))
    assert (meaning.verdict, found(meaning)) == ("semantics", wanted)
    assert sum(finding.share for finding in meaning.findings) == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-6, 1e-3, 1e-4, 0.00123])
def test_eps_in_inference_is_solved_for(eps):
    arrays = running(images())
    meaning = find("batch_norm", arrays, {"training": False}, batch(arrays, training=False, eps=eps))
    (finding,) = meaning.findings
    fitting = [finding.found, *(other.changes[0][1] for other in finding.alternatives)]
    assert (finding.parameter, finding.declared, finding.evidence) == ("eps", 1e-5, "proved")
    assert any(value == pytest.approx(eps, rel=1e-2, abs=0) for value in fitting)
    if eps >= 1e-6:
        assert finding.found == pytest.approx(eps, rel=1e-2)


@pytest.mark.parametrize(
    ("shape", "eps"), [((3, 8, 5, 6), 1e-3), ((8, 16, 32, 32), 1e-3), ((8, 16, 32, 32), 1e-6)]
)
def test_an_eps_within_the_worst_case_bound_is_consistent(shape, eps):
    arrays = images(shape=shape)
    meaning = find("batch_norm", arrays, {"training": True}, batch(arrays, eps=eps))
    (finding,) = meaning.findings
    assert (meaning.verdict, finding.parameter, finding.found) == ("semantics", "eps", eps)
    assert finding.evidence == "consistent"


def test_inference():
    arrays = running(images())
    params = {"training": False}
    assert found(find("batch_norm", arrays, params, batch(arrays))) == {"training": True}
    deviation = {**arrays, "running_var": arrays["running_var"] ** 2}
    meaning = find("batch_norm", arrays, params, batch(deviation, training=False))
    assert found(meaning) == {"variance": "standard deviation"}
    zero = {**arrays, "running_mean": 0 * arrays["running_mean"]}
    assert found(find("batch_norm", arrays, params, batch(zero, training=False))) == {"centering": "none"}


def test_eps_outside_of_the_root():
    arrays = images(scale=0.25)
    output = formula(arrays, eps=1e-3, outside=True)
    meaning = find("batch_norm", arrays, {"training": True, "eps": 1e-3}, output)
    assert found(meaning) == {"eps place": "outside the root"}


def layers(kind="normal", scale=1.0):
    return {
        "input": drawn(1, 4, 7, 32, kind=kind) * np.float32(scale),
        "weight": drawn(2, 32, kind="uniform") + np.float32(0.5),
        "bias": drawn(3, 32),
    }


def layer_norm(a, weight=True, bias=True, eps=1e-5):
    w, b = (t(a[n]) if use else None for n, use in (("weight", weight), ("bias", bias)))
    return F.layer_norm(t(a["input"]), [32], w, b, eps)


LAYER = {
    "centering": (lambda a: F.rms_norm(t(a["input"]), [32], t(a["weight"]), 1e-5) + t(a["bias"]), "none"),
    "affine": (lambda a: layer_norm(a, weight=False, bias=False), "missing"),
    "axis": (
        lambda a: F.layer_norm(t(a["input"]), [7, 32]) * t(a["weight"]) + t(a["bias"]),
        [1, 2],
    ),
    "affine 1 +": (lambda a: layer_norm({**a, "weight": 1 + a["weight"]}), "1 + weight"),
    "activation": (lambda a: F.gelu(layer_norm(a)), "gelu"),
    "eps": (lambda a: layer_norm(a, eps=0.2), 0.2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYER)
def test_layer_normalization(name, kind):
    arrays = layers(kind)
    make, value = LAYER[name]
    meaning = find("layer_norm", arrays, {"normalized_shape": [32]}, make(arrays))
    assert meaning.verdict == "semantics"
    assert list(found(meaning).values()) == [value]
    assert name.startswith(meaning.findings[0].parameter)


@pytest.mark.parametrize("eps", [1e-12, 1e-6, 1e-3])
def test_small_data_tells_eps(eps):
    arrays = layers(scale=0.01)
    meaning = find("layer_norm", arrays, {"normalized_shape": [32]}, layer_norm(arrays, eps=eps))
    (finding,) = meaning.findings
    named = [finding.found, *(other.changes[0][1] for other in finding.alternatives)]
    assert (finding.parameter, eps in named) == ("eps", True)


def test_root_mean_square():
    x, w = drawn(1, 4, 7, 32, kind="offset"), drawn(2, 32)
    params = {"normalized_shape": [32], "eps": 1e-6}
    output = F.layer_norm(t(x), [32], t(w), None, 1e-6)
    assert found(find("rms_norm", {"input": x, "weight": w}, params, output)) == {"centering": "mean"}
    output = F.rms_norm(t(x), [32], t(w) + 1, 1e-6)
    assert found(find("rms_norm", {"input": x, "weight": w}, params, output)) == {"affine": "1 + weight"}


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_groups(groups, kind):
    arrays = images(kind)
    output = F.group_norm(*(t(arrays[n]) if n else groups for n in ("input", "", "weight", "bias")))
    assert found(find("group_norm", arrays, {"num_groups": 4}, output)) == {"groups": groups}


def test_instance_normalization():
    arrays = images()
    meaning = find("instance_norm", arrays, {}, batch(arrays))
    assert found(meaning) == {"axis": [0, 2, 3]}


def test_running_statistics():
    arrays = running(images())
    held = {n: arrays[n] for n in ("input", "running_mean")}
    mean, var = t(arrays["running_mean"]).clone(), t(arrays["running_var"]).clone()
    F.batch_norm(t(arrays["input"]), mean, var, training=True, momentum=0.9)
    params = {"momentum": 0.1, "convention": "torch"}
    assert found(find("batch_norm_running_mean", held, params, mean)) == {"momentum": 0.9}
    held = {n: arrays[n] for n in ("input", "running_var")}
    assert found(find("batch_norm_running_var", held, params, var)) == {"momentum": 0.9}
    biased = (0.9 * arrays["running_var"] + 0.1 * arrays["input"].var((0, 2, 3))).astype(np.float32)
    assert found(find("batch_norm_running_var", held, params, biased)) == {"variance": "biased"}


def test_one_entry_of_the_affine_map_is_data():
    arrays = running(images())
    for name, index in (("weight", 3), ("bias", 5)):
        other = {**arrays, name: arrays[name].copy()}
        other[name][index] += np.float32(1e-2)
        meaning = find("batch_norm", arrays, {"training": True}, batch(other))
        (finding,) = meaning.findings
        assert (meaning.verdict, finding.parameter) == ("data", f"{name} element")
        assert finding.found["index"] == [index]
        assert finding.found["value"] == pytest.approx(float(other[name][index]), rel=1e-4)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_one_entry_of_the_running_statistics_is_data(name):
    arrays = running(images())
    other = {**arrays, name: arrays[name].copy()}
    other[name][2] *= np.float32(1.5)
    meaning = find("batch_norm", arrays, {"training": False}, batch(other, training=False))
    named = [meaning.findings[0].parameter]
    named += [other.changes[0][0] for other in meaning.findings[0].alternatives]
    assert meaning.verdict == "data"
    assert f"{name} element" in named


def test_a_constant_input_hides_eps():
    arrays = {**images(), "input": np.full((3, 8, 5, 6), 3, np.float32)}
    assert find("batch_norm", arrays, {"training": True}, batch(arrays, eps=1e-3)).verdict == "rounding"
