"""Functions, softmax, losses, statistics, steps, resizing of TensorFlow and Keras are within their bounds."""

from __future__ import annotations

import numpy as np
import pytest

import reference

pytestmark = pytest.mark.slow
F = np.float32


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def share(op, arrays, params, output, **options):
    """The largest share of its bound that an output uses, over finite truths."""
    truth = reference.evaluate(op, arrays, params)
    bound = reference.error_bound(op, arrays, params, truth, **options)
    known = np.isfinite(truth.value) & np.isfinite(bound)
    assert known.mean() > 0.9
    error = abs(truth.error(np.asarray(output)))
    assert not np.isnan(error[known]).any()
    error, bound = error[known], bound[known]
    return float((error[error > 0] / bound[error > 0]).max(initial=0.0))


def numbers(seed, count=3000):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(count) * scale for scale in (1e-3, 1, 5, 20)]
    parts += [
        rng.standard_normal(count) * np.exp2(rng.integers(-140, 6, count)),
        rng.random(count) * 170 - 85,
    ]
    return np.concatenate(parts).astype(F)


@pytest.mark.parametrize("seed", range(3))
def test_functions(tf, seed):
    x = numbers(seed)
    cases = {
        "exp": (tf.exp, x, {}, 4),
        "expm1": (tf.math.expm1, x, {}, 4),
        "log": (tf.math.log, abs(x), {}, 4),
        "log1p": (tf.math.log1p, np.maximum(x, F(-0.99)), {}, 4),
        "erf": (tf.math.erf, x, {}, 4),
        "erfc": (tf.math.erfc, x, {}, 40),
        "tanh": (tf.tanh, x, {}, 4),
        "sigmoid": (tf.sigmoid, x, {}, 4),
        "silu": (tf.nn.silu, x, {}, 4),
        "relu": (tf.nn.relu, x, {}, 4),
        "leaky_relu": (tf.nn.leaky_relu, x, {"negative_slope": 0.2}, 4),
        "elu": (tf.nn.elu, x, {}, 4),
        "selu": (tf.nn.selu, x, {}, 4),
        "softplus": (tf.nn.softplus, x, {"threshold": float("inf")}, 4),
        "gelu": (lambda v: tf.nn.gelu(v, approximate=False), x, {}, 4),
        "gelu, tanh": (lambda v: tf.nn.gelu(v, approximate=True), x, {"approximate": "tanh"}, 4),
    }
    for name, (function, argument, params, ulps) in cases.items():
        op = name.split(",")[0]
        found = share(op, {"input": argument}, params, function(argument), function_ulp=ulps)
        assert 0.01 < found <= 1, name
    wrong = tf.nn.gelu(x, approximate=True)
    assert share("gelu", {"input": x}, {}, wrong) > 100


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (30, 0), (1, 1000)])
def test_softmax_and_losses(tf, scale, offset):
    rng = np.random.default_rng(scale)
    x = (rng.standard_normal((200, 50)) * scale + offset).astype(F)
    arrays = {"input": x}
    assert share("softmax", arrays, {}, tf.nn.softmax(x)) <= 1
    assert share("log_softmax", arrays, {}, tf.nn.log_softmax(x)) <= 1
    assert share("logsumexp", arrays, {}, tf.reduce_logsumexp(x, -1)) <= 1
    target = rng.integers(0, 50, 200)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(target, x)
    arrays = {"input": x, "target": target}
    assert share("cross_entropy", arrays, {"reduction": "none"}, loss) <= 1
    assert share("cross_entropy", arrays, {}, tf.reduce_mean(loss)) <= 1
    y = rng.random(x.shape).astype(F)
    arrays, params = {"input": x, "target": y, "pos_weight": F([1.7])}, {"reduction": "none"}
    loss = tf.nn.weighted_cross_entropy_with_logits(y, x, F(1.7))
    assert share("binary_cross_entropy_with_logits", arrays, params, loss) <= 1
    loss = tf.nn.sigmoid_cross_entropy_with_logits(y, x)
    assert share("binary_cross_entropy_with_logits", {"input": x, "target": y}, params, loss) <= 1
    if offset == 0:  # else the positive weight has no effect
        assert share("binary_cross_entropy_with_logits", arrays, params, loss) > 1


def test_statistics_and_resizing(tf, data):
    rng = np.random.default_rng(3)
    x = data("normal", (20, 300), rng) + F(3)
    for op, output in (("var", tf.math.reduce_variance(x, 1)), ("std", tf.math.reduce_std(x, 1))):
        assert share(op, {"input": x}, {"dim": 1, "correction": 0}, output) <= 1
        assert share(op, {"input": x}, {"dim": 1, "correction": 1}, output) > 1
    assert share("mean", {"input": x}, {"dim": 0}, tf.reduce_mean(x, 0)) <= 1
    x = data("normal", (4, 6, 5, 8), rng) * F(10)
    assert share("normalize", {"input": x}, {"squared_eps": True}, tf.math.l2_normalize(x, 1)) <= 1
    for beta in (0.75, 0.5, 1.0, 2.0):
        params = {"size": 5, "alpha": 0.5, "beta": beta, "average": False, "layout": "NHWC"}
        output = tf.nn.local_response_normalization(x, 2, 1.0, 0.5, beta)
        assert share("local_response_norm", {"input": x}, params, output) <= 1
    for size in ((9, 13), (3, 4), (50, 60)):
        params = {"mode": "bilinear", "size": size, "layout": "NHWC"}
        assert share("interpolate", {"input": x}, params, tf.image.resize(x, size)) <= 1
        old = tf.compat.v1.image.resize_bilinear(x, size)
        assert share("interpolate", {"input": x}, params, old) > 100


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optimizers_of_keras(tf, step, decay):
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(step)
    p, g, m = (rng.standard_normal(2000).astype(F) for _ in range(3))
    v = (rng.random(2000) * np.exp2(rng.integers(-40, 3, 2000))).astype(F)
    variable, optimizer = keras.Variable(p.copy()), keras.optimizers.Adam(0.01, weight_decay=decay or None)
    optimizer.build([variable])
    optimizer._momentums[0].assign(m)
    optimizer._velocities[0].assign(v)
    optimizer.iterations.assign(step - 1)
    optimizer.apply([tf.constant(g)])
    arrays = {"param": p, "grad": g, "exp_avg": m, "exp_avg_sq": v}
    params = {"lr": 0.01, "step": step, "eps": 1e-7, "convention": "keras", "weight_decay": decay}
    for op, output in (
        ("adam_param", variable),
        ("adam_exp_avg", optimizer._momentums[0]),
        ("adam_exp_avg_sq", optimizer._velocities[0]),
    ):
        assert 0.05 < share(op, arrays, params, output) <= 1
    assert share("adam_param", arrays, params | {"eps": 1e-5}, variable) > 1
    for nesterov in (False, True):
        variable = keras.Variable(p.copy())
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
        optimizer.build([variable])
        optimizer.momentums[0].assign(m)
        optimizer.apply([tf.constant(g)])
        arrays = {"param": p, "grad": g, "momentum_buffer": m}
        params = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "convention": "keras"}
        assert 0.05 < share("sgd_param", arrays, params, variable) <= 1
        assert 0.05 < share("sgd_momentum_buffer", arrays, params, optimizer.momentums[0]) <= 1
        assert share("sgd_param", arrays, params | {"nesterov": not nesterov}, variable) > 1


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_gradients_of_normalizations(tf, offset):
    rng = np.random.default_rng(4)
    x, dy = ((rng.standard_normal((6, 5, 4, 8)) + far).astype(F) for far in (offset, 0))
    w, zero = rng.standard_normal(8).astype(F), np.zeros(8, F)

    def differentiated(forward):
        tx, tw = tf.Variable(x), tf.Variable(w)
        with tf.GradientTape() as tape:
            y = forward(tx, tw)
        return tape.gradient(y, (tx, tw), dy)

    def stepwise(axes):
        def forward(tx, tw):
            mean, variance = tf.nn.moments(tx, axes, keepdims=True)
            return tf.nn.batch_normalization(tx, mean, variance, zero, tw, 1e-3)

        return forward

    arrays = {"grad_output": dy, "input": x}
    fused = differentiated(lambda tx, tw: tf.compat.v1.nn.fused_batch_norm(tx, tw, zero, epsilon=1e-3)[0])
    params = {"training": True, "layout": "NHWC", "eps": 1e-3}
    for of_input, of_weight in (fused, differentiated(stepwise([0, 1, 2]))):
        assert share("batch_norm_input_grad", arrays | {"weight": w}, params, of_input) <= 1
        assert share("batch_norm_weight_grad", arrays, params, of_weight) <= 1
        if offset == 0.0:
            assert share("batch_norm_input_grad", arrays | {"weight": w}, params | {"eps": 0.1}, of_input) > 1
    of_input, of_weight = differentiated(stepwise([3]))
    params = {"axes": [3], "eps": 1e-3}
    assert share("layer_norm_input_grad", arrays | {"weight": w}, params, of_input) <= 1
    assert share("layer_norm_weight_grad", arrays, params, of_weight) <= 1
    assert share("layer_norm_weight_grad", arrays, params | {"eps": 0.1}, of_weight) > 1
