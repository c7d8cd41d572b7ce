"""The block that goes down, as TensorFlow's code builds it outside of a critic: normalized over the batch."""

import keras
from keras_model import Block, Maker


def model(norm: str = "batch", changes: dict | None = None) -> keras.Model:
    return Block(Maker(norm, "constant", changes), "block", 12, 4, "down")
