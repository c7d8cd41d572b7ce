"""Weights that both frameworks draw alike: a kernel is a function of its layer's name and shape alone.

`constant` is the setting of a known comparison of two ports of this model: weights are 0.05, biases 0.
`seeded` draws them uniformly with the variance 2 / inputs (He et al. 2015), so that signals keep their size.
"""

import zlib

import numpy as np

CONSTANT = 5e-2


def kernel(name, shape, setting):
    """Return the weights of layer `name`, outputs first: (O, I, kh, kw) or (O, I)."""
    if setting == "constant":
        return np.full(shape, CONSTANT, np.float32)
    if setting != "seeded":
        raise ValueError(f"weights are constant or seeded; got {setting!r}; choose one of the two")
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    limit = (6.0 / np.prod(shape[1:])) ** 0.5
    return (limit * (2.0 * generator.random(shape) - 1.0)).astype(np.float32)


def noise(samples, width=128):
    """Return the generator's input, uniform on [0, 1)."""
    generator = np.random.Generator(np.random.Philox(key=samples))
    return generator.random((samples, width)).astype(np.float32)


def images(samples, channels=3, size=64):
    """Return images (N, C, H, W), uniform on [0, 1)."""
    generator = np.random.Generator(np.random.Philox(key=1000 + samples))
    return generator.random((samples, channels, size, size)).astype(np.float32)
