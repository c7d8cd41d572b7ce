"""Convolutions, transposed ones and pooling mean what TensorFlow means: its float64 is within its bound."""

from __future__ import annotations

import numpy as np
import pytest

import reference

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


# Where SAME leaves input over (kernel below stride), TensorFlow's float64 kernel over three axes crops it on
# both sides, while its float32 one, and both over fewer axes, begin at the first element.
def crops(axes, padding, kernel, stride):
    return axes == 3 and padding == "SAME" and kernel < stride


def close(truth, tensor, terms):
    found = tensor.numpy()
    assert found.shape == truth.value.shape
    assert (abs(truth.error(found)) <= (terms + 2) * 2.0**-53 * truth.magnitude + truth.bound).all()


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("size", "kernel", "stride", "dilation"), [
    (7, 3, 2, 1), (8, 3, 2, 1), (9, 5, 3, 1), (9, 2, 1, 2), (6, 1, 3, 1),
])  # fmt: skip
def test_convolutions(tf, data, padding, axes, size, kernel, stride, dilation):
    if crops(axes, padding, kernel, stride):
        pytest.skip("TensorFlow's own dtypes disagree")
    rng = np.random.default_rng(size + axes)
    x = data("normal", (2, *(size,) * axes, 4), rng)
    w = data("normal", (*(kernel,) * axes, 4, 3), rng)
    y = tf.nn.convolution(x.astype(float), w.astype(float), stride, padding, dilations=dilation)
    params = {"stride": stride, "padding": padding, "dilation": dilation, "layout": "NHWC"}
    truth = reference.evaluate(f"conv{axes}d", {"input": x, "weight": w}, params)
    close(truth, y, 4 * kernel**axes)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("size", "kernel", "stride", "extra"), [
    (4, 3, 2, 0), (5, 2, 2, 0), (4, 5, 3, 0), (4, 4, 2, -1), (3, 1, 3, 0), (4, 3, 1, 0),
])  # fmt: skip
def test_transposed_convolutions(tf, data, padding, axes, size, kernel, stride, extra):
    """One pixel less than input * stride, where given, is an output_shape that TensorFlow takes too."""
    if crops(axes, padding, kernel, stride):
        pytest.skip("TensorFlow's own dtypes disagree")
    rng = np.random.default_rng(kernel + axes)
    x = data("normal", (2, *(size,) * axes, 4), rng)
    w = data("normal", (*(kernel,) * axes, 3, 4), rng)
    out = size * stride + extra if padding == "SAME" else (size - 1) * stride + kernel
    shape = (2, *(out,) * axes, 3)
    y = tf.nn.conv_transpose(x.astype(float), w.astype(float), shape, stride, padding)
    params = {"stride": stride, "padding": padding.lower(), "layout": "NHWC"}
    if extra:
        params["output_shape"] = shape
    truth = reference.evaluate(f"conv_transpose{axes}d", {"input": x, "weight": w}, params)
    close(truth, y, 4 * kernel**axes)
    # The gradients, by TensorFlow's own differentiation.
    tx, tw = tf.constant(x.astype(float)), tf.constant(w.astype(float))
    with tf.GradientTape() as tape:
        tape.watch([tx, tw])
        y = tf.nn.conv_transpose(tx, tw, shape, stride, padding)
        g = data("normal", shape, rng)
        loss = tf.reduce_sum(y * g.astype(float))
    dx, dw = tape.gradient(loss, [tx, tw])
    op = f"conv_transpose{axes}d"
    truth = reference.evaluate(
        f"{op}_input_grad", {"grad_output": g, "weight": w}, params | {"input_size": x.shape}
    )
    close(truth, dx, 3 * kernel**axes)
    truth = reference.evaluate(
        f"{op}_weight_grad", {"grad_output": g, "input": x}, params | {"weight_size": w.shape}
    )
    close(truth, dw, 2 * size**axes)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (6, 2, 2)])
def test_gradients_of_a_same_convolution(tf, data, size, kernel, stride):
    rng = np.random.default_rng(size)
    x, w = data("normal", (2, size, size, 4), rng), data("normal", (kernel, kernel, 2, 6), rng)
    tx, tw = tf.constant(x.astype(float)), tf.constant(w.astype(float))
    with tf.GradientTape() as tape:
        tape.watch([tx, tw])
        halves = [
            tf.nn.conv2d(tx[..., 2 * i : 2 * i + 2], tw[..., 3 * i : 3 * i + 3], stride, "SAME")
            for i in (0, 1)
        ]
        y = tf.concat(halves, -1)
        g = data("normal", tuple(y.shape), rng)
        loss = tf.reduce_sum(y * g.astype(float))
    dx, dw = tape.gradient(loss, [tx, tw])
    params = {"stride": stride, "padding": "same", "layout": "NHWC", "groups": 2}
    truth = reference.evaluate(
        "conv2d_input_grad", {"grad_output": g, "weight": w}, params | {"input_size": x.shape}
    )
    close(truth, dx, 3 * kernel**2)
    truth = reference.evaluate(
        "conv2d_weight_grad", {"grad_output": g, "input": x}, params | {"weight_size": w.shape}
    )
    close(truth, dw, g.size // 6)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (6, 2, 3), (5, 4, 1)])
def test_poolings(tf, data, padding, axes, size, kernel, stride):
    """TensorFlow's average does not count its padding. In float32: it has no float64 pooling over 3 axes."""
    x = data("normal", (2, *(size,) * axes, 3), np.random.default_rng(size))
    params = {"kernel_size": kernel, "stride": stride, "padding": padding, "layout": "NHWC"}
    largest = reference.evaluate(f"max_pool{axes}d", {"input": x}, params)
    assert np.array_equal(largest.round(), tf.nn.max_pool(x, kernel, stride, padding).numpy())
    mean = reference.evaluate(f"avg_pool{axes}d", {"input": x}, params)
    found = tf.nn.avg_pool(x, kernel, stride, padding).numpy()
    assert (
        abs(mean.error(found)) <= reference.error_bound(f"avg_pool{axes}d", {"input": x}, params, mean)
    ).all()
