"""DetNet and IKNet in Keras, channels last (see `detnet_weights`)."""

from __future__ import annotations

import detnet_weights as shared
import keras
import numpy as np
from keras import layers


def conv_norm(x, name: str, outputs: int, kernel: int, stride: int = 1, rate: int = 1):
    """A convolution and a batch normalization."""
    x = layers.Conv2D(
        outputs, kernel, stride, "same", dilation_rate=rate, use_bias=False, name=f"{name}.conv"
    )(x)
    return layers.BatchNormalization(epsilon=shared.EPS, name=f"{name}.norm")(x)


def bottleneck(x, name: str, outputs: int, stride: int, rate: int):
    """1 x 1, 3 x 3 (strided or dilated), 1 x 1, and the shortcut."""
    kept = x
    if x.shape[-1] != outputs:
        kept = conv_norm(x, f"{name}.shortcut", outputs, 1)
    elif stride > 1:
        kept = layers.MaxPooling2D(stride, stride, name=f"{name}.shortcut")(x)
    y = layers.ReLU(name=f"{name}.relu1")(conv_norm(x, f"{name}.conv1", outputs // 4, 1))
    y = conv_norm(y, f"{name}.conv2", outputs // 4, 3, stride, rate)
    y = conv_norm(layers.ReLU(name=f"{name}.relu2")(y), f"{name}.conv3", outputs, 1)
    return layers.ReLU(name=f"{name}.relu")(layers.Add(name=f"{name}.add")([kept, y]))


def head(x, name: str, outputs: int):
    """3 x 3 with normalization, then 1 x 1 with bias."""
    x = layers.ReLU(name=f"{name}.relu")(conv_norm(x, f"{name}.project", 256, 3))
    return layers.Conv2D(outputs, 1, name=f"{name}.predict")(x)


def detnet() -> keras.Model:
    """DetNet with the shared weights: (1, 128, 128, 3) to the heat, delta and location maps."""
    image = keras.Input((shared.SIZE, shared.SIZE, 3))
    x = layers.ReLU(name="relu1")(conv_norm(image, "conv1", 64, 7, 2))
    for name, _, outputs, stride, rate in shared.UNITS:
        x = bottleneck(x, name, outputs, stride, rate)
    features = layers.ReLU(name="relu2")(conv_norm(x, "squeeze", 256, 3))
    maps = []
    for name, _, outputs in shared.HEADS:
        found = head(features, name, outputs)
        if name == "hmap":
            found = layers.Activation("sigmoid", name="heat")(found)
        features = layers.Concatenate(name=f"{name}.concat")([features, found])
        maps.append(found)
    return filled(keras.Model(image, maps), shared.detnet_weights())


def iknet() -> keras.Model:
    """IKNet with the shared weights: (1, 252) to 21 rotations, (1, 84), not yet of unit length."""
    given = keras.Input((shared.IK_INPUT,))
    x = given
    for k in range(shared.IK_DEPTH):
        x = layers.Dense(shared.IK_WIDTH, name=f"dense{k}.dense")(x)
        x = layers.BatchNormalization(epsilon=shared.EPS, name=f"dense{k}.norm")(x)
        x = layers.Activation("sigmoid", name=f"dense{k}.act")(x)
    x = layers.Dense(4 * shared.JOINTS, name="rotations")(x)
    return filled(keras.Model(given, x), shared.iknet_weights())


def filled(net: keras.Model, weights: dict[str, np.ndarray]) -> keras.Model:
    """Put every array where its name says, kernels turned to (kh, kw, I, O) and (I, O)."""
    for layer in net.layers:
        if not layer.weights:
            continue
        name = layer.name.removesuffix(".conv").removesuffix(".norm").removesuffix(".dense")
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([weights[f"{name}.{part}"] for part in ("gamma", "beta", "mean", "var")])
            continue
        kernel = weights[f"{name}.weight"]
        kernel = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        bias = [weights[f"{name}.bias"]] if layer.use_bias else []
        layer.set_weights([kernel, *bias])
    return net


def model() -> keras.Model:
    return detnet()


def inputs() -> np.ndarray:
    return np.moveaxis(shared.picture(), 1, -1)
