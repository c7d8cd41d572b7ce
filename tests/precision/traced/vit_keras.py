"""The vision transformer of `vit_torch` in Keras."""

import keras
from keras import layers, ops

WIDTH, HEADS, PATCHES = 16, 4, 16


class Tokens(layers.Layer):
    """A token before those of the patches, and the places of all of them."""

    def build(self, shape):
        self.first = self.add_weight(shape=(1, 1, WIDTH), initializer="random_normal", name="first")
        self.place = self.add_weight(shape=(1, PATCHES + 1, WIDTH), initializer="random_normal", name="place")

    def call(self, x):
        first = ops.broadcast_to(self.first, (ops.shape(x)[0], 1, WIDTH))
        return ops.concatenate([first, x], axis=1) + self.place


def block(x, name, plants=()):
    y = layers.LayerNormalization(epsilon=1e-5 if "eps" in plants else 1e-6, name=f"{name}_norm1")(x)
    heads = 2 if "heads" in plants else HEADS
    attend = layers.MultiHeadAttention(heads, WIDTH // heads, name=f"{name}_attend")
    x = layers.Add()([x, attend(y, y, use_causal_mask="mask" in plants)])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    activation = "relu" if "activation" in plants else "gelu"
    y = layers.Dense(WIDTH, name=f"{name}_fc2")(layers.Dense(32, activation, name=f"{name}_fc1")(y))
    return x + y


def model(*plants):
    keras.utils.set_random_seed(0)
    given = keras.Input((16, 16, 3))
    x = layers.Conv2D(WIDTH, 4, 4, name="patch")(given)
    x = Tokens(name="tokens")(layers.Reshape((PATCHES, WIDTH))(x))
    x = block(block(x, "block", plants), "layer")
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    return keras.Model(given, layers.Dense(10, name="head")(x[:, 0]))
