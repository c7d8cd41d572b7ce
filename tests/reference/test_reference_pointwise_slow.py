"""Long sweeps of the functions without products of arrays: against arb, and against TensorFlow in float64."""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np
import pytest

from reference import activations, losses, optimizers, rearrange, resize, softmax
from reference.ops import evaluate, plain_float32, terms
from reference.pointwise_ops import OPS

pytestmark = pytest.mark.slow

HALF = flint.arb(1) / 2
ARB = {
    "exp": flint.arb.exp,
    "expm1": flint.arb.expm1,
    "log": flint.arb.log,
    "log1p": flint.arb.log1p,
    "erf": flint.arb.erf,
    "erfc": flint.arb.erfc,
    "tanh": flint.arb.tanh,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "gelu": lambda x: x * (-x * HALF.sqrt()).erfc() / 2,
}


@pytest.fixture
def wide_arb():
    before = flint.ctx.prec
    flint.ctx.prec = 400
    yield
    flint.ctx.prec = before


@pytest.mark.parametrize("name", ARB)
def test_a_hundred_thousand_elements_are_within_their_bounds(name, wide_arb):
    """Half of them over all exponents, half where the functions bend."""
    rng = np.random.default_rng(4)
    count = 100_000
    x = rng.standard_normal(count) * 3
    x[: count // 2] = rng.standard_normal(count // 2) * np.exp2(rng.integers(-140, 7, count // 2))
    x = np.clip(x, -85, 85).astype(np.float32)
    x = abs(x) + np.float32(2.0**-149) if name in {"log", "log1p"} else x[x != 0]
    truth = getattr(activations, name)(x)
    single = truth.round()
    low = np.nextafter(single, np.float32(-np.inf)).astype(float)
    high = np.nextafter(single, np.float32(np.inf)).astype(float)
    function = ARB[name]
    rows = zip(x.tolist(), truth.value.tolist(), truth.residual.tolist(), truth.bound.tolist(),
               single.tolist(), low.tolist(), high.tolist(), strict=True)  # fmt: skip
    for v, value, residual, bound, mid, below, above in rows:
        exact = function(flint.arb(v))
        if abs(value) < 2.0**-1000:  # held as a number of that sign, within its bound: too close for arb
            assert abs(exact) < 2 * max(bound, abs(value)), (v, value)
            assert (exact > 0) == (value > 0), (v, value)
            continue
        assert abs(exact - value - residual) <= bound, (v, value, residual, bound)
        assert (flint.arb(below) + mid) / 2 <= exact <= (flint.arb(above) + mid) / 2, (v, mid)
        assert bound <= 2.0**-10 * float(np.spacing(np.float32(abs(mid))))


def test_a_hundred_thousand_shares_are_within_their_bounds(wide_arb):
    """softmax and log_softmax of rows of 100, at several widths of the data."""
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((1000, 100)) * np.exp2(rng.integers(-8, 6, (1000, 1)))).astype(np.float32)
    shares, logarithms, sums = softmax.softmax(x), softmax.log_softmax(x), softmax.logsumexp(x)
    parts = [[a.tolist() for a in (t.value, t.residual, t.bound)] for t in (shares, logarithms, sums)]
    for i, row in enumerate(x.tolist()):
        exponentials = [flint.arb(v).exp() for v in row]
        total = sum(exponentials, flint.arb(0))
        last = total.log()
        value, residual, bound = (part[i] for part in parts[2])
        assert abs(last - value - residual) <= bound
        for j, v in enumerate(row):
            for which, exact in ((0, exponentials[j] / total), (1, v - last)):
                value, residual, bound = (part[i][j] for part in parts[which])
                assert abs(exact - value - residual) <= bound, (i, j, which)


def test_a_hundred_thousand_sgd_steps_are_within_their_bounds(data, contradictions):
    rng = np.random.default_rng(6)
    p, g, b = (data("wide", (100_000,), rng) for _ in range(3))
    found = optimizers.sgd(p, g, b, lr=0.1, momentum=0.9, dampening=0.3)
    lr, momentum, share = Fraction(0.1), Fraction(0.9), 1 - Fraction(0.3)
    buffers = [
        momentum * Fraction(c) + share * Fraction(d) for c, d in zip(b.tolist(), g.tolist(), strict=True)
    ]
    params = [Fraction(a) - lr * c for a, c in zip(p.tolist(), buffers, strict=True)]
    assert contradictions(found["momentum_buffer"], buffers, Fraction(0)) == []
    assert contradictions(found["param"], params, Fraction(0)) == []


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def test_tensorflow_functions(tf):
    x = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32) * 5
    wide = tf.constant(x.astype(np.float64))
    pairs = [
        (activations.gelu(x), tf.nn.gelu(wide)),
        (activations.gelu(x, approximate="tanh"), tf.nn.gelu(wide, approximate=True)),
        (activations.silu(x), tf.nn.silu(wide)),
        (activations.elu(x), tf.nn.elu(wide)),
        (activations.selu(x), tf.nn.selu(wide)),
        (activations.leaky_relu(x, negative_slope=0.2), tf.nn.leaky_relu(wide)),
        (activations.softplus(x, threshold=float("inf")), tf.nn.softplus(wide)),
        (activations.erf(x), tf.math.erf(wide)),
        (activations.sigmoid(x), tf.sigmoid(wide)),
        (softmax.softmax(x), tf.nn.softmax(wide)),
        (softmax.log_softmax(x), tf.nn.log_softmax(wide)),
        (softmax.logsumexp(x), tf.reduce_logsumexp(wide, -1)),
    ]
    for i, (truth, y) in enumerate(pairs):
        slack = 1e-7 if i in {0, 1, 5} else 1e-13  # gelu and leaky_relu have constants of float32
        assert (abs(truth.error(y.numpy())) <= slack * (1 + abs(truth.value))).all(), i


def test_tensorflow_losses(tf):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 7)).astype(np.float32), rng.random((9, 7)).astype(np.float32)
    target = rng.integers(0, 7, 9)
    wx, wy = tf.constant(x.astype(float)), tf.constant(y.astype(float))
    crossed = tf.nn.sparse_softmax_cross_entropy_with_logits(target, wx).numpy()
    assert abs(losses.cross_entropy(x, target, reduction="none").error(crossed)).max() < 1e-14
    binary = tf.nn.sigmoid_cross_entropy_with_logits(wy, wx).numpy()
    assert abs(losses.binary_cross_entropy_with_logits(x, y, reduction="none").error(binary)).max() < 1e-14
    weighted = tf.nn.weighted_cross_entropy_with_logits(wy, wx, 2.5).numpy()
    truth = losses.binary_cross_entropy_with_logits(x, y, None, np.float32([2.5]), reduction="none")
    assert abs(truth.error(weighted)).max() < 1e-14


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(7, 9), (12, 4), (3, 3)])
def test_tensorflow_resizing(tf, method, size):
    """tf.image.resize computes weights in float32; those of bicubic come from a table of 1,024 steps."""
    x = np.random.default_rng(0).standard_normal((1, 6, 8, 2)).astype(np.float32)
    y = tf.image.resize(x, size, method).numpy()
    options = {"cubic_coefficient": -0.5, "border": "exclude"} if method == "bicubic" else {}
    truth = resize.interpolate(x, list(size), mode=method, layout="NHWC", coordinates="half_pixel", **options)
    assert abs(truth.error(y)).max() < (4e-3 if method == "bicubic" else 1e-5)
    for align in (False, True):
        names = {
            "nearest": "resize_nearest_neighbor",
            "bilinear": "resize_bilinear",
            "bicubic": "resize_bicubic",
        }
        legacy = getattr(tf.compat.v1.image, names[method])(x, size, align_corners=align).numpy()
        coordinates = "align_corners" if align else "asymmetric"
        old = resize.interpolate(x, list(size), mode=method, layout="NHWC", coordinates=coordinates)
        assert abs(old.error(legacy)).max() < (4e-3 if method == "bicubic" else 1e-5)


def test_tensorflow_rearranging(tf):
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 8)).astype(np.float32)
    deep = rearrange.depth_to_space(x, 2, layout="NHWC")
    assert np.array_equal(deep.value, tf.nn.depth_to_space(x, 2).numpy())
    flat = rearrange.space_to_depth(x, 2, layout="NHWC")
    assert np.array_equal(flat.value, tf.nn.space_to_depth(x, 2).numpy())


@pytest.mark.parametrize("nesterov", [False, True])
def test_keras_sgd(tf, nesterov):
    rng = np.random.default_rng(0)
    p, b, g = (rng.standard_normal(20).astype(np.float32) for _ in range(3))
    variable = tf.keras.Variable(p.astype(np.float64), dtype="float64")
    optimizer = tf.keras.optimizers.SGD(learning_rate=0.25, momentum=0.5, nesterov=nesterov)
    optimizer.build([variable])
    optimizer.momentums[0].assign(b.astype(np.float64))
    optimizer.apply([tf.constant(g.astype(np.float64))])
    truth = optimizers.sgd(p, g, b, lr=0.25, momentum=0.5, nesterov=nesterov, convention="keras")
    assert abs(truth["param"].error(variable.numpy())).max() < 1e-14
    assert abs(truth["momentum_buffer"].error(optimizer.momentums[0].numpy())).max() < 1e-14


def test_keras_adam(tf):
    rng = np.random.default_rng(0)
    p, g = (rng.standard_normal(20).astype(np.float32) for _ in range(2))
    variable = tf.keras.Variable(p.astype(np.float64), dtype="float64")
    optimizer = tf.keras.optimizers.Adam(learning_rate=0.25, beta_1=0.5, beta_2=0.75, epsilon=2.0**-10)
    optimizer.build([variable])
    optimizer.apply([tf.constant(g.astype(np.float64))])
    zero = np.zeros_like(p)
    rule = {"step": 1, "lr": 0.25, "beta1": 0.5, "beta2": 0.75, "eps": 2.0**-10}
    ours = optimizers.adam(p, g, zero, zero, **rule, convention="keras")["param"]
    torchs = optimizers.adam(p, g, zero, zero, **rule)["param"]
    assert abs(ours.error(variable.numpy())).max() < 1e-7  # Keras computes its corrections in float32
    assert abs(torchs.error(variable.numpy())).max() > 1e-5  # another place for eps


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_works_by_name(op):
    rng = np.random.default_rng(0)
    x = rng.random((2, 4, 4, 6)).astype(np.float32) + np.float32(0.5)
    arrays: dict = dict.fromkeys(op.required, x)
    if op.name == "prelu":
        arrays["weight"] = x[0, :, 0, 0]
    if op.name == "cross_entropy":
        arrays["target"] = rng.integers(0, 4, (2, 4, 6))
    if op.name == "dropout":
        arrays["mask"] = rng.random(x.shape) < 0.5
    params = {name: 1 if name == "step" else 2 for name in op.needed}
    if op.name == "interpolate":
        params = {"size": [3, 5], "mode": "bilinear"}
    truth = evaluate(op.name, arrays, params)
    assert truth.refine is not None
    centre, radius = truth.refine(0, 100)
    value, residual, bound = (
        Fraction(float(a.ravel()[0])) for a in (truth.value, truth.residual, truth.bound)
    )
    assert abs(centre - value - residual) <= bound + radius
    assert (truth.magnitude.ravel() >= abs(truth.value.ravel())).all()
    assert terms(op.name, arrays, params) >= 1
    if op.plain is not None:
        plain = plain_float32(op.name, arrays, params)
        assert plain.shape == truth.value.shape
        assert (abs(truth.error(plain)) <= 1e-5 * truth.magnitude).all()
