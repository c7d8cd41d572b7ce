"""IKNet on the coordinates of one hand, in Keras."""

import detnet_weights as shared
import keras
import keras_model
import numpy as np


def model() -> keras.Model:
    return keras_model.iknet()


def inputs() -> np.ndarray:
    joints = np.random.default_rng(4).uniform(-1.0, 1.0, (shared.JOINTS, 3)).astype(np.float32)
    return shared.ik_input(joints, shared.rest())
