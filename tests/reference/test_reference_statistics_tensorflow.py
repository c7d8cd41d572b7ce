"""Statistics, gradients and responses against TensorFlow in float64; its conventions are not torch's."""

from __future__ import annotations

import numpy as np
import pytest

from reference import batch_statistics as batch
from reference import local_response as lrn
from reference import norm_gradients as grads
from reference import reductions
from reference import vector_norm as vectors


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_float64_agrees(data):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, dy = data("normal", (4, 5, 3, 6), rng), data("normal", (4, 5, 3, 6), rng)
    gamma, mean, variance = (data("uniform", (6,), rng) for _ in range(3))
    wide, wide_dy = tf.constant(x, tf.float64), tf.constant(dy, tf.float64)

    def near(truth, tensor):
        assert (abs(truth.error(tensor.numpy())) <= 256 * 2.0**-53 * truth.magnitude).all()

    near(reductions.sum_(x, dim=[0, 3]), tf.reduce_sum(wide, [0, 3]))
    near(reductions.mean(x, dim=1, keepdim=True), tf.reduce_mean(wide, 1, True))
    near(reductions.var(x, dim=-1, correction=0), tf.math.reduce_variance(wide, -1))
    near(reductions.std(x, correction=0), tf.math.reduce_std(wide))
    near(batch.batch_norm_mean(x, layout="NHWC"), tf.nn.moments(wide, [0, 1, 2])[0])

    layer = tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, dtype="float64")
    layer.build(x.shape)
    layer.set_weights([gamma, np.zeros(6), mean, variance])
    with tf.GradientTape() as tape:
        tape.watch(wide)
        y = layer(wide, training=True)
    found = tape.gradient(y, [wide, *layer.trainable_variables], output_gradients=wide_dy)
    params = {"training": True, "eps": 1e-3, "layout": "NHWC"}
    near(grads.batch_norm_input_grad(dy, x, None, None, gamma, **params), found[0])
    near(grads.batch_norm_weight_grad(dy, x, **params), found[1])
    near(grads.batch_norm_bias_grad(dy, layout="NHWC"), found[2])
    keras = {"momentum": 0.9, "convention": "keras", "layout": "NHWC"}
    moving = [tf.constant(np.asarray(v)) for v in layer.non_trainable_variables[:2]]
    near(batch.batch_norm_running_mean(x, mean, **keras), moving[0])
    near(batch.batch_norm_running_var(x, variance, **keras), moving[1])

    _, _, fused, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=np.zeros(6, np.float32), mean=mean, variance=variance,
        epsilon=1e-3, exponential_avg_factor=0.25, is_training=True,
    )  # fmt: skip
    unbiased = batch.batch_norm_running_var(
        x, variance, momentum=0.75, convention="tensorflow_fused", layout="NHWC"
    )
    assert (abs(unbiased.error(fused.numpy())) <= 64 * 2.0**-24 * unbiased.magnitude).all()
    biased = batch.batch_norm_running_var(x, variance, **(keras | {"momentum": 0.75}))
    assert (abs(biased.error(fused.numpy())) > 64 * 2.0**-24 * biased.magnitude).any()

    with tf.GradientTape() as tape:
        tape.watch(wide)
        y = tf.math.l2_normalize(wide, 3, 1.5)
    near(vectors.normalize(x, dim=3, eps=1.5, squared_eps=True), y)
    slope = tape.gradient(y, wide, output_gradients=wide_dy)
    near(vectors.normalize_input_grad(dy, x, dim=3, eps=1.5, squared_eps=True), slope)

    # TensorFlow's responses are float32 only: within float32's own error.
    y = tf.nn.local_response_normalization(x, depth_radius=2, bias=1.5, alpha=0.3, beta=0.75)
    params = {"size": 5, "alpha": float(np.float32(0.3)), "beta": 0.75, "k": 1.5, "average": False}
    truth = lrn.local_response_norm(x, layout="NHWC", **params)
    assert (abs(truth.error(y.numpy())) <= 64 * 2.0**-24 * truth.magnitude).all()
    slope = tf.raw_ops.LRNGrad(
        input_grads=dy, input_image=x, output_image=y, depth_radius=2, bias=1.5, alpha=0.3, beta=0.75
    )
    truth = lrn.local_response_norm_input_grad(dy, x, layout="NHWC", **params)
    assert (abs(truth.error(slope.numpy())) <= 256 * 2.0**-24 * truth.magnitude).all()
