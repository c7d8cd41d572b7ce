"""The critic of `torch_critic`, channels last."""

import keras
import keras_model
from weights import images


def model(weights: str = "seeded", changes: dict | None = None) -> keras.Model:
    return keras_model.Critic(keras_model.Maker("layer", weights, changes))


def inputs():
    return images(2).transpose(0, 2, 3, 1)
