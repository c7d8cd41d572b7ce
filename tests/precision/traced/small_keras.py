"""The model of `small_torch` in Keras, subclassed, with plain operations between its layers."""

import keras
import tensorflow as tf
from keras import layers


class Net(keras.Model):
    def __init__(self, plants: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.plants = plants
        same = "padding" in plants
        self.pad1 = None if same else layers.ZeroPadding2D(1)
        self.conv1 = layers.Conv2D(8, 3, strides=2, padding="same" if same else "valid")
        self.bn1 = layers.BatchNormalization(epsilon=1e-3 if "eps" in plants else 1e-5)
        self.conv2 = layers.Conv2D(8, 3, padding="same", dilation_rate=2)
        self.bn2 = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
        self.gn = layers.GroupNormalization(4 if "groups" in plants else 2, epsilon=1e-5)
        self.conv3 = layers.Conv2D(8, 1, activation="relu" if "activation" in plants else None)
        self.maxpool = layers.MaxPooling2D(2)
        self.flatten = layers.Flatten()
        self.fc = layers.Dense(10)
        self.ln = layers.LayerNormalization(epsilon=1e-5)
        self.head = layers.Dense(6)

    def call(self, x, training=False):
        x = self.conv1(x if self.pad1 is None else self.pad1(x))
        x = tf.nn.leaky_relu(self.bn1(x), alpha=0.2 if "slope" in self.plants else 0.01)
        y = tf.nn.relu(self.bn2(self.conv2(x), training="training" in self.plants))
        y = y + x
        padded = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
        pooled = tf.nn.avg_pool2d(padded, 3, 1, "VALID")
        z = tf.concat([pooled, keras.activations.gelu(y, approximate="gelu" in self.plants)], -1)
        z = self.maxpool(self.conv3(self.gn(z)))
        return tf.nn.softmax(self.head(self.ln(self.fc(self.flatten(z)))))


def model(*plants: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return Net(plants)
