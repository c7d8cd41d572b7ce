"""The net of `gradient_torch` in Keras, subclassed, plain operations and variables between its layers."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Net(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.pad1 = layers.ZeroPadding2D(((0, 0), (0, 1)))
        self.conv1 = layers.Conv2D(6, 3)
        self.bn1 = layers.BatchNormalization(epsilon=1e-5)
        self.conv2 = layers.Conv2D(6, 3, padding="same", activation="relu")
        self.conv2.trainable = False
        self.shift = self.add_weight(shape=(6,), name="shift")
        self.mix = self.add_weight(shape=(12, 12), name="mix")
        self.kernel = self.add_weight(shape=(1, 1, 6, 6), name="kernel")
        self.pool = layers.MaxPooling2D(2)
        self.flatten = layers.Flatten()
        self.fc = layers.Dense(10, activation="gelu")
        self.ln = layers.LayerNormalization(epsilon=1e-5)
        self.head = layers.Dense(10)

    def call(self, x):
        x = tf.nn.relu(self.bn1(self.conv1(self.pad1(x))))
        y = self.conv2(x)
        y = tf.nn.relu(y + x)
        y = tf.nn.conv2d(tf.pad(y, [[0, 0], [1, 0], [0, 1], [0, 0]]), self.kernel, 1, "VALID")
        y = self.pool(y)
        z = tf.concat([tf.sigmoid(y), y + self.shift], -1)
        z = tf.nn.softmax(tf.matmul(tf.reshape(z, [tf.shape(z)[0], -1, 12]), self.mix))
        z = tf.reshape(tf.transpose(z, [0, 2, 1]), [tf.shape(z)[0], 12, -1])
        z = tf.matmul(z, z, transpose_b=True) - 0.5
        z = self.ln(self.fc(self.flatten(z)) * 2.0)
        z = tf.tanh(self.head(z))
        # The same weights again.
        return tf.nn.softmax(self.head(z * z) + tf.reduce_mean(z, 1, keepdims=True))


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    net = Net()
    net(inputs())
    rng = np.random.default_rng(3)
    for variable in net.variables:
        if variable.path.rpartition("/")[2] != "moving_variance":
            variable.assign(0.4 * rng.standard_normal(variable.shape))
    return net


def inputs() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, 7, 7, 3)).astype(np.float32)
