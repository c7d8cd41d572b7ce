"""The improved WGAN in Keras: the same layers, names and weights as in `torch_model`, channels last."""

import keras
import tensorflow as tf
from keras import layers
from weights import images, kernel, noise


class Maker:
    """Makes layers with their weights; `changes` replaces parameters of single layers by name."""

    def __init__(self, norm, weights="constant", changes=None):
        self.kind, self.weights, self.changes = norm, weights, changes or {}

    def conv(self, name, inputs, outputs, size, bias=True):
        value = kernel(name, (outputs, inputs, size, size), self.weights).transpose(2, 3, 1, 0)
        given = {"padding": "same", "use_bias": bias, **self.changes.get(name, {})}
        return layers.Conv2D(outputs, size, kernel_initializer=_fixed(value), name=_leaf(name), **given)

    def linear(self, name, inputs, outputs):
        value = kernel(name, (outputs, inputs), self.weights).T
        return layers.Dense(outputs, kernel_initializer=_fixed(value), name=_leaf(name))

    def norm(self, name, channels):
        given = {"kind": self.kind, "epsilon": 1e-5, **self.changes.get(name, {})}
        kind, leaf = given.pop("kind"), _leaf(name)
        if kind == "batch":
            return layers.BatchNormalization(momentum=0.9, name=leaf, **given)
        if kind == "layer":
            return layers.GroupNormalization(given.pop("groups", 1), name=leaf, **given)
        raise ValueError(f"a norm is batch or layer; got {kind!r}; choose one of the two")

    def relu(self, name):
        slope = self.changes.get(name, {}).get("negative_slope", 0.0)
        return layers.LeakyReLU(slope, name=_leaf(name)) if slope else layers.ReLU(name=_leaf(name))

    def upsample(self, name):
        given = {"interpolation": "nearest", **self.changes.get(name, {})}
        return layers.UpSampling2D(2, name=_leaf(name), **given)

    def pool(self, name):
        if self.changes.get(name, {}).get("kind") == "max":
            return layers.MaxPooling2D(2, name=_leaf(name))
        return layers.AveragePooling2D(2, name=_leaf(name))


def _leaf(name):
    return name.rpartition(".")[2]


def _fixed(value):
    return lambda shape, dtype=None: tf.constant(value.reshape(shape), dtype)


class Block(keras.Model):
    """A residual block that goes "up" or "down" by two; normalizations see the batch (training)."""

    def __init__(self, make, name, inputs, outputs, resample):
        super().__init__(name=name)
        middle = inputs if resample == "down" else outputs
        self.up = resample == "up"
        self.norm1, self.norm2 = make.norm(f"{name}.norm1", inputs), make.norm(f"{name}.norm2", middle)
        self.relu1, self.relu2 = make.relu(f"{name}.relu1"), make.relu(f"{name}.relu2")
        self.conv1 = make.conv(f"{name}.conv1", inputs, middle, 3, bias=False)
        self.conv2 = make.conv(f"{name}.conv2", middle, outputs, 3)
        self.shortcut = make.conv(f"{name}.shortcut", inputs, outputs, 1)
        resampled = make.upsample if self.up else make.pool
        self.resample, self.resample_shortcut = resampled(f"{name}.resample"), resampled(f"{name}.aside")

    def call(self, x):
        aside = self.shortcut(self.resample_shortcut(x))
        y = self.relu1(normalized(self.norm1, x))
        y = self.conv1(self.resample(y)) if self.up else self.conv1(y)
        y = self.conv2(self.relu2(normalized(self.norm2, y)))
        return aside + (y if self.up else self.resample(y))


def normalized(norm, x):
    """Statistics of the batch, where the layer has others."""
    return norm(x, training=True) if isinstance(norm, layers.BatchNormalization) else norm(x)


class Generator(keras.Model):
    """Noise (N, 128) to images (N, 64, 64, 3)."""

    def __init__(self, make, dim=4):
        super().__init__()
        self.dim, widths = dim, [8 * dim, 8 * dim, 4 * dim, 2 * dim, dim]
        self.first = make.linear("generator.input", 128, 4 * 4 * 8 * dim)
        self.blocks = [
            Block(make, f"block{k + 1}", widths[k], widths[k + 1], "up") for k in range(4)
        ]  # fmt: skip
        self.norm, self.relu = make.norm("norm", dim), make.relu("relu")
        self.last = make.conv("output", dim, 3, 3)

    def call(self, z):
        x = tf.transpose(tf.reshape(self.first(z), [-1, 8 * self.dim, 4, 4]), [0, 2, 3, 1])
        for block in self.blocks:
            x = block(x)
        return tf.tanh(self.last(self.relu(normalized(self.norm, x))))


class Critic(keras.Model):
    """Images (N, 64, 64, 3) to one score each."""

    def __init__(self, make, dim=4):
        super().__init__()
        widths = [dim, 2 * dim, 4 * dim, 8 * dim, 8 * dim]
        self.first = make.conv("critic.input", 3, dim, 3)
        self.blocks = [
            Block(make, f"block{k + 1}", widths[k], widths[k + 1], "down") for k in range(4)
        ]  # fmt: skip
        self.last = make.linear("critic.output", 4 * 4 * 8 * dim, 1)

    def call(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        x = tf.transpose(x, [0, 3, 1, 2])
        return self.last(tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]]))


def model(norm="batch", weights="seeded", changes=None):
    """The generator; `norm` is "batch" there, in the critic "layer"."""
    return Generator(Maker(norm, weights, changes))


def inputs():
    return noise(4)


def by_moments(x):
    """A layer normalization of a sample from tf.nn alone: eps inside the root, the variance over N."""
    mean, variance = tf.nn.moments(x, [1, 2, 3], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, 0.0, 1.0, 1e-5)


def fused(x):
    """The fused batch normalization of TensorFlow 1, channels last, without scale and shift."""
    ones, zeros = tf.ones(x.shape[-1:], x.dtype), tf.zeros(x.shape[-1:], x.dtype)
    return tf.compat.v1.nn.fused_batch_norm(x, ones, zeros, epsilon=1e-5)[0]


def network(what, make, channels, outputs):
    """The part of the model that is asked for, as a function of a channels-last tensor."""
    if what == "block":
        return Block(make, "block", channels, outputs, "down" if make.changes.get("down") else "up")
    if what in ("generator", "critic", "penalty"):
        return Generator(make) if what == "generator" else Critic(make)
    if what == "norm":
        return {"hand": by_moments, "batch": fused}[make.kind]
    conv = make.conv("conv", channels, outputs, 3)
    pool = layers.AveragePooling2D(2)
    return {
        "conv": conv,
        "conv_mean_pool": lambda x: pool(conv(x)),
        "mean_pool_conv": lambda x: conv(pool(x)),
        "upsample_conv": lambda x: conv(tf.nn.depth_to_space(tf.concat([x, x, x, x], -1), 2)),
    }[what]


def run(what, params, x):
    """Run one part of the model on an array (N, C, ...); as `torch_model.run`."""
    dtype = params.get("dtype", "float32")
    keras.config.set_dtype_policy(dtype)
    try:
        return _run(what, params, tf.constant(_last(x), dtype), x.shape[1])
    finally:
        keras.config.set_dtype_policy("float32")


def _run(what, params, given, channels):
    if what == "depth_to_space":
        return {"output": _first(tf.nn.depth_to_space(given, 2).numpy())}
    make = Maker(params.get("norm", "layer"), params.get("weights", "constant"), params.get("changes"))
    net = network(what, make, channels, params.get("outputs", channels))
    if what not in ("penalty", "norm"):
        return {"output": _first(net(given).numpy())}
    with tf.GradientTape() as tape:
        tape.watch(given)
        output = net(given)
        loss = tf.reduce_mean(tf.square(output)) if what == "norm" else tf.reduce_sum(output)
    gradient = tape.gradient(loss, given)
    if what == "norm":
        return {"output": _first(output.numpy()), "gradient": _first(gradient.numpy())}
    slopes = tf.sqrt(tf.reduce_sum(tf.square(gradient), [1, 2, 3]))
    penalty = 10.0 * tf.reduce_mean((slopes - 1.0) ** 2)
    return {"output": tf.reshape(penalty, [1]).numpy(), "slopes": slopes.numpy()}


def _last(x):
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def _first(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


__all__ = ["images", "inputs", "model", "run"]
