"""TensorFlow's driver of sums of products: the declared function or a refusal, by the kernels that users get.

On small integers every order of a sum is exact, so an output must be the reference's to the bit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the declarations are a plain module beside the tests

from sum_configurations import SUMS

HERE = Path(__file__).parent

IMAGE, FILTER, TURNED = np.ones((1, 2, 5, 5)), np.ones((2, 2, 2, 2)), np.ones((2, 1, 2, 2))
DEEP = np.ones((1, 2, 4, 4, 4))
OF_IMAGE = {"input": IMAGE, "weight": FILTER}
REFUSED_BY_TENSORFLOW = [
    ("conv2d", {"layout": "NHWC"}, OF_IMAGE, "channels first"),
    ("conv2d", {"padding": 1, "padding_mode": "circular"}, OF_IMAGE, "no mode 'circular'"),
    ("conv2d", {"groups": 2, "stride": [1, 2]}, {"input": IMAGE, "weight": TURNED}, "equal strides"),
    ("conv2d", {"groups": 2, "stride": 2, "dilation": 2}, {"input": IMAGE, "weight": TURNED}, "at stride 1"),
    ("conv3d", {"groups": 2}, {"input": DEEP, "weight": np.ones((2, 1, 2, 2, 2))}, "no groups"),
    ("conv_transpose2d", {"dilation": 2, "output_padding": 1}, OF_IMAGE, "below the stride"),
    ("avg_pool2d", {"kernel_size": 2, "ceil_mode": True}, {"input": IMAGE}, "no ceil_mode"),
    ("avg_pool2d", {"kernel_size": 2, "divisor_override": 3}, {"input": IMAGE}, "no divisor_override"),
    (
        "avg_pool2d",
        {"kernel_size": 3, "padding": 1, "stride": 2, "count_include_pad": False},
        {"input": np.ones((1, 2, 6, 6))},
        "SAME alone",
    ),
]


def in_tensorflow(job, **environment):
    """The worker's answer to a job."""
    done = subprocess.run(
        [sys.executable, str(HERE / "tensorflow_sums_worker.py")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_tensorflow_computes_or_refuses():
    refused = [
        [op, params, {name: array.tolist() for name, array in arrays.items()}]
        for op, params, arrays, _ in REFUSED_BY_TENSORFLOW
    ]
    answer = in_tensorflow({"given": refused, "seeds": [0, 3], "kept": True})
    for (op, params, _, reason), found in zip(REFUSED_BY_TENSORFLOW, answer["given"], strict=True):
        assert reason in found.get("refused", ""), (op, params, found)
        assert "\n" not in found["refused"]
    assert answer["random"]["wrong"] == []
    assert sum(answer["random"]["ran"].values()) >= 2 * len(SUMS)
    assert answer["kept"] == {"most": 256, "last": [256, 256], "traces": None}


NO_GRADIENTS = ["no grouped gradients", "no dilated gradients"]
ALWAYS = ["dilates at stride 1", "equal strides", "tf.pad has no mode", "below the stride", "tf.nn.avg_pool"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "environment", "reasons", "share"),
    [
        ({"seeds": [0, 60]}, {}, ["no groups"], 1.0),
        (
            {"seeds": [0, 60], "eigen": True},
            {"TF_ENABLE_ONEDNN_OPTS": "0"},
            ["no groups", *NO_GRADIENTS],
            0.2,
        ),
        ({"seeds": [0, 8], "switches": {"jit_compile": True}, "kept": True}, {}, ["takes one dilation"], 1.0),
    ],
    ids=["oneDNN", "Eigen", "XLA"],
)
def test_tensorflow_in_its_modes(job, environment, reasons, share):
    answer = in_tensorflow(job, **environment)
    found = answer["random"]
    assert found["wrong"] == []
    for op, given_reasons in found["refused"].items():
        for text in given_reasons:
            assert any(reason in text for reason in (*ALWAYS, *reasons)), (op, text)
    for op in SUMS:
        least = share * (0.2 if "3d" in op or op.startswith("avg") else 0.5)
        assert found["ran"].get(op, 0) >= least * job["seeds"][1], op
    if "kept" in job:
        assert answer["kept"] == {"most": 256, "last": [256, 256], "traces": 1}


def taped(call, operands, grad):
    """A tape's gradients of a call, all at once."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = call(*operands)
    return y, tape.gradient(y, operands, output_gradients=grad(y))


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("axes", "padding"), [(1, "SAME"), (2, "SAME"), (2, [[0, 0], [1, 0], [1, 1], [0, 0]]), (3, "SAME")]
)
def test_tensorflow_has_the_bits_of_its_public_calls_and_of_a_tape(axes, padding, turned):
    import tensorflow as tf

    from precision.frameworks import tensorflow_backend

    rng = np.random.default_rng(8)
    x = rng.standard_normal((2, 6, *(6,) * axes)).astype(np.float32)
    w = rng.standard_normal((6, 6, *(3,) * axes)).astype(np.float32)
    last, first = (0, *range(2, axes + 2), 1), (0, axes + 1, *range(1, axes + 1))
    taps = (*range(2, axes + 2), 1, 0)
    sizes = (12, 11) if isinstance(padding, list) else (12,) * axes
    if turned:
        call = (tf.nn.conv1d_transpose, tf.nn.conv2d_transpose, tf.nn.conv3d_transpose)[axes - 1]
        options = {"output_shape": (2, *sizes, 6), "strides": 2, "padding": padding}
    else:
        call = (tf.nn.conv1d, tf.nn.conv2d, tf.nn.conv3d)[axes - 1]
        options = {
            "stride" if axes == 1 else "strides": [1, 2, 2, 2, 1] if axes == 3 else 2,
            "padding": padding,
        }
    if turned and axes == 3:
        options["strides"] = [1, 2, 2, 2, 1]

    def grad(y):
        return tf.constant(rng.standard_normal(y.shape).astype(np.float32))

    made = []
    y, (dx, dw) = taped(
        lambda a, b: call(a, b, **options),
        [tf.constant(x.transpose(last)), tf.constant(w.transpose(taps))],
        lambda y: made.append(grad(y)) or made[0],
    )
    g = made[0].numpy().transpose(first)
    params = {"stride": 2, "padding": "same" if padding == "SAME" else [1, 0, 1, 1]}
    if turned:
        params["output_shape"] = (2, 6, *sizes)
    name = f"conv{'_transpose' * turned}{axes}d"
    run = tensorflow_backend.run
    assert np.array_equal(run(name, params, {"input": x, "weight": w}), y.numpy().transpose(first))
    found = run(f"{name}_input_grad", {**params, "input_size": x.shape}, {"grad_output": g, "weight": w})
    assert np.array_equal(found, dx.numpy().transpose(first))
    found = run(f"{name}_weight_grad", {**params, "weight_size": w.shape}, {"grad_output": g, "input": x})
    assert np.array_equal(found, dw.numpy().transpose(axes + 1, axes, *range(axes)))


@pytest.mark.slow
def test_tensorflows_products_have_the_bits_of_a_tape():
    import tensorflow as tf

    from precision.frameworks import tensorflow_backend

    rng, run = np.random.default_rng(9), tensorflow_backend.run
    for left, right_ in [((), ()), ((3,), (3,)), ((2, 3), (1, 3)), ((3,), ())]:
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((*left, 5, 70), (*right_, 70, 9)))
        g = rng.standard_normal((*np.broadcast_shapes(left, right_), 5, 9)).astype(np.float32)
        y, (da, db) = taped(tf.linalg.matmul, [tf.constant(a), tf.constant(b)], lambda _, g=g: tf.constant(g))
        assert np.array_equal(run("matmul", {}, {"input": a, "other": b}), y)
        found = run("matmul_input_grad", {"input_size": a.shape}, {"grad_output": g, "other": b})
        assert np.array_equal(found, da)
        found = run("matmul_other_grad", {"other_size": b.shape}, {"grad_output": g, "input": a})
        assert np.array_equal(found, db)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 5, 70), (9, 70), (9,)))
    g = rng.standard_normal((4, 5, 9)).astype(np.float32)
    layer = tf.keras.layers.Dense(9)
    layer.build(x.shape)
    layer.set_weights([w.T, b])
    with tf.GradientTape() as tape:
        given_x = tf.constant(x)
        tape.watch(given_x)
        y = layer(given_x)
    operands = [given_x, *layer.trainable_variables]
    dx, dw, db = tape.gradient(
        y, [operands[0], *(v.value for v in operands[1:])], output_gradients=tf.constant(g)
    )
    assert np.array_equal(run("linear", {}, {"input": x, "weight": w, "bias": b}), y)
    assert np.array_equal(run("linear_input_grad", {}, {"grad_output": g, "weight": w}), dx)
    assert np.array_equal(run("linear_weight_grad", {}, {"grad_output": g, "input": x}), dw.numpy().T)
    assert np.array_equal(run("linear_bias_grad", {}, {"grad_output": g}), db)
