"""Kinds of layers and operations that the Keras recorder knows, one after another."""

import keras
import tensorflow as tf
from keras import layers


class Operations(keras.Model):
    """What is written with TensorFlow's own functions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = self.add_weight(shape=(3, 3, 6, 4), initializer="glorot_uniform", name="kernel")

    def call(self, x):
        x = tf.nn.conv2d(x, self.kernel, strides=2, padding=[[0, 0], [1, 0], [1, 0], [0, 0]])
        x = tf.nn.max_pool2d(tf.nn.elu(x), 2, 1, "SAME")
        x = 2.0 * tf.tanh(x) - tf.sigmoid(x) / 3.0
        x = tf.transpose(tf.nn.silu(x), [0, 3, 1, 2])
        x = tf.reshape(x, [2, 4, -1])
        x = tf.matmul(x, tf.transpose(x, [0, 2, 1]))
        return tf.nn.relu6(tf.reduce_sum(x, -1) * 4.0)


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    given = keras.Input((6, 6, 4))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="gelu")(given)
    x = layers.Conv2D(6, 3, padding="same", groups=2, use_bias=False)(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="glorot_uniform")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = layers.GroupNormalization(2)(x)
    x = layers.AveragePooling2D(3, 2, padding="same")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.ReLU(max_value=1.0)(x)
    x = layers.Concatenate()([x, layers.LeakyReLU(0.3)(x)])
    x = layers.SeparableConv2D(6, 3)(x)
    x = layers.Subtract()([x * 2.0, layers.ELU(0.5)(x)])
    rows = layers.Reshape((-1, 6))(x)
    rows = layers.RMSNormalization()(layers.Dense(6, activation="silu")(rows))
    rows = layers.Conv1D(4, 3, padding="same", activation="tanh")(rows)
    first = layers.GlobalAveragePooling1D()(rows)
    first = layers.Dropout(0.5)(layers.Activation("softplus")(first))
    return keras.Model(given, [layers.Softmax()(first), Operations()(x)])


def inputs():
    return keras.random.normal((2, 6, 6, 4), seed=1)
