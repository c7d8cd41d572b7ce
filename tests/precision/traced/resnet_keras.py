"""Keras's own ResNet50 with random weights."""

import keras


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.applications.ResNet50(weights=None, classifier_activation=None)
