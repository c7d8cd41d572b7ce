"""Gradients through a small model, in both autograds, against the exact ones.

The model is linear, leaky ReLU with a slope of 1/4, linear, mean squared error: piecewise rational, so that
the gradient of every parameter and of the input is a fraction. Beside it goes the same chain on absolute
values, which bounds what rounding may do: each term passes at most DEPTH roundings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Rows = list[list[Fraction]]
SLOPE = 0.25
BATCH, INPUTS, HIDDEN, OUTPUTS = 3, 5, 4, 2
DEPTH = 4 * (BATCH + INPUTS + HIDDEN + OUTPUTS)
NAMES = ("x", "w1", "b1", "w2", "b2")


def arrays(seed: int) -> dict[str, Float32]:
    rng = np.random.default_rng(seed)
    shapes = {
        "x": (BATCH, INPUTS), "w1": (HIDDEN, INPUTS), "b1": (HIDDEN,), "w2": (OUTPUTS, HIDDEN),
        "b2": (OUTPUTS,), "target": (BATCH, OUTPUTS),
    }  # fmt: skip
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def fractions(array: Float32) -> Rows:
    return [[Fraction(float(v)) for v in row] for row in np.atleast_2d(array)]


def product(a: Rows, b: Rows) -> Rows:
    return [
        [sum((x * y for x, y in zip(r, c, strict=True)), Fraction(0)) for c in zip(*b, strict=True)]
        for r in a
    ]


def turned(a: Rows) -> Rows:
    return [list(column) for column in zip(*a, strict=True)]


def added(a: Rows, b: Sequence[Fraction]) -> Rows:
    return [[x + y for x, y in zip(row, b, strict=True)] for row in a]


def exact(given: Mapping[str, Float32], slope: float, absolute: bool = False) -> dict[str, NDArray[Any]]:
    """The gradients of mean((w2 leaky(w1 x + b1) + b2 - target)^2); absolute: of all terms' sizes."""
    read = {name: fractions(array) for name, array in given.items()}
    slopes_at = _slopes(given, slope)
    sizes = {name: [[abs(v) for v in row] for row in rows] for name, rows in read.items()}
    use = sizes if absolute else read
    z = added(product(use["x"], turned(use["w1"])), use["b1"][0])
    slopes = [[abs(s) for s in row] for row in slopes_at] if absolute else slopes_at
    h = [[v * s for v, s in zip(row, rest, strict=True)] for row, rest in zip(z, slopes, strict=True)]
    y = added(product(h, turned(use["w2"])), use["b2"][0])
    sign = 1 if absolute else -1
    share = Fraction(2, BATCH * OUTPUTS)
    back = [
        [share * (v + sign * t) for v, t in zip(row, wanted, strict=True)]
        for row, wanted in zip(y, use["target"], strict=True)
    ]
    into = product(back, use["w2"])
    dz = [[v * s for v, s in zip(row, rest, strict=True)] for row, rest in zip(into, slopes, strict=True)]
    ones = [[Fraction(1)] * BATCH]
    found = {
        "x": product(dz, use["w1"]), "w1": product(turned(dz), use["x"]), "b1": product(ones, dz),
        "w2": product(turned(back), h), "b2": product(ones, back),
    }  # fmt: skip
    return {name: np.array(rows, object).reshape(given[name].shape) for name, rows in found.items()}


def _slopes(given: Mapping[str, Float32], slope: float) -> Rows:
    read = {name: fractions(array) for name, array in given.items()}
    z = added(product(read["x"], turned(read["w1"])), read["b1"][0])
    return [[Fraction(1) if v > 0 else Fraction(slope) for v in row] for row in z]


def within(found: Mapping[str, Any], given: Mapping[str, Float32], slope: float = SLOPE) -> dict[str, bool]:
    """Of every gradient, whether it is the exact one but for float32 rounding."""
    truth, sizes = exact(given, slope), exact(given, slope, absolute=True)
    told = {}
    for name in NAMES:
        errors = [
            abs(Fraction(float(f)) - t) <= DEPTH * s / 2**24
            for f, t, s in zip(
                np.asarray(found[name]).ravel(), truth[name].ravel(), sizes[name].ravel(), strict=True
            )
        ]
        told[name] = all(errors)
    return told


def in_torch(given: Mapping[str, Float32], slope: float = SLOPE, dtype: str = "float32") -> dict[str, Any]:
    import torch
    import torch.nn.functional as F

    t = {
        name: torch.tensor(array, dtype=getattr(torch, dtype)).requires_grad_()
        for name, array in given.items()
    }
    y = F.linear(F.leaky_relu(F.linear(t["x"], t["w1"], t["b1"]), slope), t["w2"], t["b2"])
    F.mse_loss(y, t["target"].detach()).backward()
    return {name: t[name].grad.numpy() for name in NAMES}


def in_tensorflow(given: Mapping[str, Float32], slope: float = SLOPE) -> dict[str, Any]:
    import tensorflow as tf

    t = {name: tf.constant(array) for name, array in given.items()}
    with tf.GradientTape() as tape:
        tape.watch([t[name] for name in NAMES])
        hidden = tf.nn.leaky_relu(tf.matmul(t["x"], t["w1"], transpose_b=True) + t["b1"], slope)
        y = tf.matmul(hidden, t["w2"], transpose_b=True) + t["b2"]
        loss = tf.reduce_mean(tf.square(y - t["target"]))
    found = tape.gradient(loss, [t[name] for name in NAMES])
    return {name: each.numpy() for name, each in zip(NAMES, found, strict=True)}


@pytest.mark.parametrize("seed", range(4))
def test_torch_gradients_are_exact_but_for_rounding(seed: int) -> None:
    given = arrays(seed)
    assert all(within(in_torch(given), given).values())


def test_exact_gradients_are_those_of_float64_autograd() -> None:
    given = arrays(7)
    wide, truth = in_torch(given, dtype="float64"), exact(given, SLOPE)
    for name in NAMES:
        np.testing.assert_allclose(wide[name], truth[name].astype(np.float64), rtol=1e-12, atol=1e-14)


def test_another_slope_and_a_loss_that_is_summed_are_no_rounding() -> None:
    given = arrays(1)
    told = within(in_torch(given, 0.2), given)
    assert not told["w1"]
    assert not told["x"]
    summed = {name: BATCH * OUTPUTS * each for name, each in in_torch(given).items()}
    assert not any(within(summed, given).values())
    nudged = in_torch(given)
    nudged["w2"] = nudged["w2"] * np.float32(1 + 1e-4)
    assert within(nudged, given) == {"x": True, "w1": True, "b1": True, "w2": False, "b2": True}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_tensorflow_gradients_are_exact_but_for_rounding(seed: int) -> None:
    given = arrays(seed)
    assert all(within(in_tensorflow(given), given).values())
    assert not within(in_tensorflow(given, 0.2), given)["w1"]
