"""Bounds of functions, softmax, losses, statistics, resizing: torch and plain code keep to them.

Planted faults, another meaning or an error just beyond, are outside. Optimizers are in
test_reference_step_bounds.py, TensorFlow in test_reference_bounds_tensorflow.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from reference import bounds, evaluate, function_bounds
from reference.rows import rows
from reference.tracked import Rules, gamma, probabilistic_gamma

F = np.float32
functional = torch.nn.functional
tensor = torch.tensor
SEEDS = range(3)
U = 2.0**-24


def beyond(op, arrays, params, output, **options):
    """How many elements of an output are not within the bound; NaN and infinite truths apart."""
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth, **options)
    assert bound.shape == truth.value.shape
    assert (bound >= 0).all()
    known = np.isfinite(truth.value) & np.isfinite(bound)
    assert known.mean() > 0.9
    return int((~(abs(truth.error(np.asarray(output))) <= bound) & known).sum())


def used(op, arrays, params, output, **options):
    """The largest share of the bound that an output uses."""
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth, **options)
    known = np.isfinite(bound) & (bound > 0)
    return float((abs(truth.error(np.asarray(output))) / bound)[known].max())


def numbers(seed, count=3000):
    """Arguments of every size that the functions distinguish."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(count) * scale for scale in (1e-3, 1, 5, 20)]
    parts += [
        rng.standard_normal(count) * np.exp2(rng.integers(-120, 6, count)),
        rng.random(count) * 170 - 85,
    ]
    return np.concatenate(parts).astype(F)


FUNCTIONS = {
    "exp": (torch.exp, {}),
    "expm1": (torch.expm1, {}),
    "log": (lambda x: torch.log(abs(x)), {}),
    "log1p": (torch.log1p, {}),
    "erf": (torch.erf, {}),
    "erfc": (torch.erfc, {}),
    "tanh": (torch.tanh, {}),
    "sigmoid": (torch.sigmoid, {}),
    "silu": (functional.silu, {}),
    "relu": (functional.relu, {}),
    "leaky_relu": (functional.leaky_relu, {}),
    "elu": (lambda x: functional.elu(x, 1.3), {"alpha": 1.3}),
    "selu": (functional.selu, {}),
    "softplus": (functional.softplus, {}),
    "softplus, beta": (lambda x: functional.softplus(x, 1.7, 5.0), {"beta": 1.7, "threshold": 5.0}),
    "gelu": (functional.gelu, {}),
    "gelu, tanh": (lambda x: functional.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch(name, seed):
    function, params = FUNCTIONS[name]
    op = name.split(",")[0]
    x = numbers(seed)
    x = {"log": abs(x), "log1p": np.maximum(x, F(-0.99))}.get(op, x)
    # The polynomial that oneDNN's gelu takes for erf is less exact than a library's function.
    options = {"function_ulp": 8.0} if name == "gelu" else {}
    y = function(tensor(x)).numpy()
    assert beyond(op, {"input": x}, params, y, **options) == 0
    if op != "relu":
        assert used(op, {"input": x}, params, y, **options) > 0.02
        assert beyond(op, {"input": x}, params, np.nextafter(y * F(1 + 2.0**-18), F(np.inf))) > x.size // 3


PLAIN = {
    "relu": ({"input": (60,)}, {}),
    "leaky_relu": ({"input": (60,)}, {"negative_slope": 0.3}),
    "prelu": ({"input": (4, 6, 5), "weight": (6,)}, {}),
    "mse_loss": ({"input": (7, 9), "target": (7, 9)}, {"reduction": "none"}),
    "mse_loss, mean": ({"input": (7, 9), "target": (7, 9)}, {}),
    "sum": ({"input": (7, 90)}, {"dim": 1}),
    "mean": ({"input": (7, 90)}, {"dim": [0], "keepdim": True}),
    "var": ({"input": (7, 90)}, {"dim": 1, "keepdim": True}),
    "var, biased": ({"input": (7, 90)}, {"correction": 0}),
    "std": ({"input": (7, 9, 8)}, {"dim": [0, 2]}),
    "batch_norm_mean": ({"input": (4, 3, 5, 6)}, {}),
    "batch_norm_var": ({"input": (4, 5, 6, 3)}, {"layout": "NHWC"}),
    "batch_norm_invstd": ({"input": (4, 3, 5, 6)}, {"eps": 1e-3}),
    "batch_norm_running_mean": ({"input": (4, 3, 5), "running_mean": (3,)}, {"momentum": 0.3}),
    "batch_norm_running_var": ({"input": (4, 3, 5), "running_var": (3,)}, {"momentum": 0.3}),
    "batch_norm_running_var, keras": (
        {"input": (4, 3, 5), "running_var": (3,)},
        {"momentum": 0.99, "convention": "keras"},
    ),
    "normalize": ({"input": (4, 30, 5)}, {}),
    "normalize, below eps": ({"input": (4, 30, 5)}, {"eps": 40.0, "dim": 2}),
    "normalize, squared": ({"input": (4, 30, 5)}, {"squared_eps": True, "eps": 1e-6}),
    "weight_standardization": ({"weight": (5, 4, 3, 3)}, {}),
    "local_response_norm": ({"input": (2, 9, 5)}, {"size": 5, "alpha": 0.9}),
    "local_response_norm, beta": ({"input": (2, 9, 5)}, {"size": 4, "alpha": 0.9, "beta": 1.6, "k": 0.3}),
    "layer_norm_bias_grad": ({"grad_output": (30, 4, 3)}, {"axes": 1}),
    "group_norm_bias_grad": ({"grad_output": (30, 4, 3)}, {}),
    "depth_to_space": ({"input": (2, 8, 3, 3)}, {"block_size": 2}),
    "space_to_depth": ({"input": (2, 2, 4, 6)}, {"block_size": 2}),
}
MOVED = ("relu", "depth_to_space", "space_to_depth")


@pytest.mark.parametrize("kind", ["normal", "uniform", "cancelling"])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_float32(data, name, kind):
    shapes, params = PLAIN[name]
    op = name.split(",")[0]
    largest = 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        arrays = {n: data(kind, shape, rng) for n, shape in shapes.items()}
        arrays = {n: abs(a) if n == "running_var" else a for n, a in arrays.items()}
        if op == "normalize":
            arrays["input"] *= F(3)
        y = reference.plain_float32(op, arrays, params)
        assert beyond(op, arrays, params, y) == 0
        if op in MOVED:
            assert beyond(op, arrays, params, y + F(2.0**-20)) > y.size * 0.9
        else:
            largest = max(largest, used(op, arrays, params, y))
            truth = reference.evaluate(op, arrays, params)
            out = truth.value + 1.01 * reference.error_bound(op, arrays, params, truth)
            assert beyond(op, arrays, params, out) > 0.9 * y.size
    no_slope = kind == "uniform" and op in ("leaky_relu", "prelu")  # nothing is negative
    assert op in MOVED or no_slope or largest > (2e-4 if kind == "cancelling" else 2e-3)


def logits(seed, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((40, 30)) * scale + offset).astype(F)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (20, 0), (1, 1000), (30, -50)])
def test_softmax_of_torch(seed, scale, offset):
    x = logits(seed, scale, offset)
    x[3, 4], x[5] = -np.inf, F(offset)
    for dim in (0, 1):
        params = {"dim": dim}
        arrays, given_x = {"input": x}, tensor(x)
        for op, output in (
            ("softmax", functional.softmax(given_x, dim)),
            ("log_softmax", functional.log_softmax(given_x, dim)),
            ("logsumexp", torch.logsumexp(given_x, dim)),
        ):
            assert beyond(op, arrays, params, output) == 0
            assert used(op, arrays, params, output) > 0.01
    wrong = functional.softmax(tensor(x), 0)
    assert beyond("softmax", {"input": x}, {"dim": 1}, wrong) > x.size / 3


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1.0, 10.0, 40.0]), st.floats(0.5, 64.0), st.integers(0, 2**32))
def test_functions_of_a_library_as_bad_as_allowed(scale, ulps, seed):
    """float32 arithmetic with an exp, log and tanh that are off by up to `ulps` ulp, in random directions."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((6, 17)) * scale).astype(F)

    def library(function):
        def worse(argument):
            exact = function(argument.astype(np.float64))
            wrong = rng.choice([-1.0, 1.0], exact.shape) * (ulps - 0.5) * 2 * U
            return (exact * (1 + wrong)).astype(F)

        return worse

    exp, log, tanh = library(np.exp), library(np.log), library(np.tanh)
    shifted = x - x.max(axis=1, keepdims=True)
    powers = exp(shifted)
    whole = np.cumsum(powers[:, rng.permutation(17)], axis=1, dtype=F)[:, -1:]
    with np.errstate(over="ignore"):
        logistic = F(1) / (F(1) + exp(-x))
        wave = tanh(F(0.7978845608) * (x + F(0.044715) * x * x * x))
        outputs = {
            "softmax": powers / whole,
            "log_softmax": shifted - log(whole),
            "logsumexp": (x.max(axis=1, keepdims=True) + log(whole))[:, 0],
            "sigmoid": logistic,
            "silu": x * logistic,
            "gelu": F(0.5) * x * (F(1) + wave),
            "softplus": np.where(x > 20, x, library(np.log1p)(exp(x))),
            "elu": np.where(x > 0, x, exp(np.minimum(x, F(0))) - F(1)),
            "tanh": tanh(x),
        }
    for op, output in outputs.items():
        params = {"approximate": "tanh"} if op == "gelu" else {}
        assert beyond(op, {"input": x}, params, output, function_ulp=ulps) == 0, op
    if ulps > 32:  # and such a library is noticed
        for op in ("softmax", "sigmoid", "silu", "tanh"):
            assert beyond(op, {"input": x}, {}, outputs[op], function_ulp=1.0) > 0, op


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("seed", SEEDS)
def test_losses_of_torch(seed, reduction):
    x, rng = logits(seed, 4.0), np.random.default_rng(seed)
    target, weight = rng.integers(0, 30, 40), rng.random(30).astype(F)
    target[5] = -100
    for smoothing in (0.0, 0.1):
        for w in (None, weight):
            params = {"reduction": reduction, "label_smoothing": smoothing}
            y = functional.cross_entropy(
                tensor(x),
                tensor(target),
                None if w is None else tensor(w),
                reduction=reduction,
                label_smoothing=smoothing,
            )
            arrays = {"input": x, "target": target, "weight": w}
            assert beyond("cross_entropy", arrays, params, y) == 0
            other = params | {"label_smoothing": smoothing + 1e-3}
            assert beyond("cross_entropy", arrays, other, y) > 0
    y, p = rng.random(x.shape).astype(F), F([1.7])
    arrays = {"input": x, "target": y, "weight": abs(x), "pos_weight": p}
    output = functional.binary_cross_entropy_with_logits(
        tensor(x), tensor(y), tensor(abs(x)), reduction=reduction, pos_weight=tensor(p)
    )
    name, params = "binary_cross_entropy_with_logits", {"reduction": reduction}
    assert beyond(name, arrays, params, output) == 0
    assert beyond(name, arrays | {"pos_weight": F([1.701])}, params, output) > 0
    output = functional.mse_loss(tensor(x), tensor(y), reduction=reduction)
    assert beyond("mse_loss", {"input": x, "target": y}, params, output) == 0
    assert beyond("mse_loss", {"input": x, "target": y * F(1.1)}, params, output) > 0


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
def test_statistics_of_torch(data, offset):
    rng = np.random.default_rng(9)
    x = data("normal", (6, 200), rng) + F(offset)
    for correction in (0, 1):
        params = {"dim": 1, "correction": correction}
        for op, found in (("var", tensor(x).var(1, correction=correction)),
                          ("std", tensor(x).std(1, correction=correction))):  # fmt: skip
            for algorithm in ("two_pass", "one_pass", "welford"):
                truth = reference.evaluate(op, {"input": x}, params)
                bound = reference.error_bound(op, {"input": x}, params, truth, algorithm=algorithm)
                assert (abs(truth.error(found.numpy())) <= bound).all()
            other = params | {"correction": 1 - correction}
            assert beyond(op, {"input": x}, other, found) > 0
    weights, mean, spread = (data("uniform", (3,), rng) for _ in range(3))
    batch = data("normal", (4, 3, 5, 5), rng) + F(offset)
    running = tensor(mean.copy()), tensor(spread.copy())
    functional.batch_norm(tensor(batch), *running, tensor(weights), training=True, momentum=0.1)
    arrays = {"input": batch, "running_mean": mean}
    assert beyond("batch_norm_running_mean", arrays, {}, running[0].numpy(), algorithm="welford") == 0
    arrays = {"input": batch, "running_var": spread}
    assert beyond("batch_norm_running_var", arrays, {}, running[1].numpy(), algorithm="welford") == 0
    assert beyond("batch_norm_running_var", arrays, {"convention": "keras", "momentum": 0.9}, running[1]) > 0
    unit = functional.normalize(tensor(batch), dim=1)
    assert beyond("normalize", {"input": batch}, {}, unit) == 0
    assert beyond("normalize", {"input": batch}, {"eps": 1e4}, unit) == batch.size
    response = functional.local_response_norm(tensor(batch), 3, 0.5, 0.75, 2.0)
    params = {"size": 3, "alpha": 0.5, "k": 2.0}
    assert beyond("local_response_norm", {"input": batch}, params, response) == 0
    assert beyond("local_response_norm", {"input": batch}, params | {"average": False}, response) > 200


@pytest.mark.parametrize(("mode", "shape"), [
    ("linear", (2, 3, 37)), ("bilinear", (2, 3, 17, 23)), ("trilinear", (1, 2, 5, 7, 9)),
])  # fmt: skip
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("factor", [3, 1.7, 0.6])
def test_interpolations_of_torch(data, mode, shape, align, factor):
    x = data("normal", shape, np.random.default_rng(2))
    params = {"mode": mode, "align_corners": align, "scale_factor": factor}
    y = functional.interpolate(tensor(x), scale_factor=factor, mode=mode, align_corners=align)
    assert beyond("interpolate", {"input": x}, params, y) == 0
    if not align or factor > 1:  # both begin and end at the corners of so small an output
        other = functional.interpolate(tensor(x), scale_factor=factor, mode=mode, align_corners=not align)
        assert beyond("interpolate", {"input": x}, params, other) > y.numel() / 3
    with pytest.raises(ValueError, match="has a bound for"):
        beyond("interpolate", {"input": np.ones((1, 1, 4, 4), F)}, {"mode": "bicubic", "size": 5}, y)


@pytest.mark.parametrize("shape", [(2, 3, 37), (2, 3, 17, 23), (1, 2, 5, 7, 9)])
@pytest.mark.parametrize("factor", [2, 3, 1.7, 0.6, 0.5])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_neighbours_of_torch(data, shape, factor, mode):
    x = data("normal", shape, np.random.default_rng(2))
    arrays, params = {"input": x}, {"mode": mode, "scale_factor": factor}
    y = functional.interpolate(tensor(x), scale_factor=factor, mode=mode)
    truth = reference.evaluate("interpolate", arrays, params)
    bound = reference.error_bound("interpolate", arrays, params, truth)
    assert (abs(truth.error(y.numpy())) <= bound).all()
    if factor in (2, 0.5):  # coordinates that float32 holds
        assert (bound < 1e-6).all()
    last = np.moveaxis(x, 1, -1)
    turned = reference.evaluate("interpolate", {"input": last}, params | {"layout": "NHWC"})
    of_last = reference.error_bound("interpolate", {"input": last}, params | {"layout": "NHWC"}, turned)
    assert np.array_equal(np.moveaxis(of_last, -1, 1), bound)
    sharp = bound < 1e-6
    assert sharp.any()
    assert (abs(truth.error(y.numpy()[..., ::-1]))[sharp] > bound[sharp]).mean() > 0.2


def test_a_neighbour_that_rounding_decides_is_either():
    """A step of 1/3 that float32 rounds up or down: output 3 k lies at k, or just before it."""
    x = np.arange(1, 41, dtype=F).reshape(1, 1, 40)
    params = {"mode": "nearest", "size": 120}
    truth = reference.evaluate("interpolate", {"input": x}, params)
    bound = reference.error_bound("interpolate", {"input": x}, params, truth)
    down = x[..., np.floor(np.arange(120) * np.nextafter(F(1 / 3), F(0))).astype(int)]
    assert (down != truth.value).sum() > 30
    assert (abs(truth.error(down)) <= bound).all()
    assert (bound[..., 1::3] < 1e-4).all()


def test_every_op_has_a_bound_and_what_does_not_fit_is_refused(monkeypatch):
    assert bounds.bounded_ops() == set(reference.OPS)
    x = np.ones((2, 3), F)
    truth = reference.evaluate("tanh", {"input": x}, {})
    for bad in ({"function_ulp": 0.0}, {"function_ulp": float("nan")}, {"operand_roundoff": 2.0**-11}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            reference.error_bound("tanh", {"input": x}, {}, truth, **bad)
    monkeypatch.delitem(bounds.OTHERS, "tanh")
    with pytest.raises(ValueError, match="no bound of its own"):
        reference.error_bound("tanh", {"input": x}, {}, truth)


def test_infinite_and_flushed_arguments():
    x = F([np.inf, -np.inf, np.nan, 2.0**-140, 0.0, 1.0])
    for op in ("sigmoid", "tanh", "erf", "silu", "gelu", "softplus", "elu", "relu"):
        truth = reference.evaluate(op, {"input": x}, {})
        bound = reference.error_bound(op, {"input": x}, {}, truth)
        assert (bound >= 0).all()
        assert not np.isnan(bound).any()
        assert np.isfinite(bound[3:]).all()
        flushed = reference.evaluate(op, {"input": np.where(abs(x) < 2.0**-126, F(0), x)}, {}).round()
        assert abs(truth.error(flushed))[3] <= bound[3]
    truth = reference.evaluate("log", {"input": x[3:]}, {})
    assert np.isinf(reference.error_bound("log", {"input": x[3:]}, {}, truth)[:2]).all()


def tracked_softmax(op, x, dim, truth, rules):
    """The bound by tracked numbers, step by step: what the compiled one must come to."""
    found = rows(x, dim)
    _, shifted, powers = function_bounds.shifted_powers(found.x, rules)
    column = powers.total().arranged(lambda a: a[:, None])
    if op == "softmax":
        result = powers / column
        result = result.spread(gamma(2, rules.u) * np.abs(result.value))
    else:
        result = shifted - column.log()
    return function_bounds.missed(result.arranged(found.restore), truth)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("kind", ["normal", "wide", "huge", "subnormal", "infinite"])
@pytest.mark.parametrize(("shape", "dim"), [((7, 50), -1), ((5, 9, 6), 1), ((3, 1), -1)])
def test_the_compiled_bound_is_that_of_tracked_numbers(op, kind, shape, dim):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    x = x * {"wide": np.exp2(rng.integers(-60, 60, shape)), "huge": 1e38, "subnormal": 1e-40}.get(kind, 1.0)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if kind == "infinite":
        x[0, 0], x[1, 0], x[2, 0] = -np.inf, np.inf, np.nan
    truth = evaluate(op, {"input": x}, {"dim": dim})
    u = 2.0**-24
    for of_kind in (gamma, probabilistic_gamma):
        rules = Rules(u, lambda n, of_kind=of_kind: of_kind(n, u), 32.0 * u, "two_pass")
        with np.errstate(all="ignore"):
            wanted = tracked_softmax(op, x, dim, truth, rules)
            got = function_bounds.softmax(op, {"input": x}, {"dim": dim}, truth, rules)
        wanted, got = (np.where(np.isnan(a), np.inf, a) for a in (wanted, got))
        assert np.array_equal(np.isfinite(wanted), np.isfinite(got))
        assert np.array_equal(wanted == 0, got == 0)
        some = np.isfinite(wanted) & (wanted > 0)
        np.testing.assert_allclose(got[some], wanted[some], rtol=1e-4)
