"""Data that tell one recipe of a normalization from another.

Random data hide much: a wrong order or a wrong contraction agrees on many outputs.  Each probe makes one part
of a recipe decide many bits; a recipe is that of a kernel only if it predicts every bit on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.inputs import Array, Float32
from reference.grouped import Grouped
from reference.ops import checked

FRESH = ("uniform", "normal", "offset")
"""Kinds of fresh data on which a found recipe is validated; offset: 1000 + normal."""


@dataclass(frozen=True)
class NormProbe:
    """Arrays of one call, and what they tell."""

    name: str
    tells: str
    arrays: Mapping[str, Float32]


def normalized_rows(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any]
) -> tuple[Grouped, float]:
    """The rows of a normalization and its eps.  Raises ValueError for another op, or for arrays that do not
    fit.
    """
    found = checked(op, arrays, params)
    if found.rows is None:
        raise ValueError(
            f"a recipe is of a normalization, got {op}: name batch_norm, layer_norm or their like"
        )
    given = {name: value for name, value in params.items() if name not in ("eps", "momentum")}
    return found.rows(**arrays, **given), float(params.get("eps", found.eps))


def fresh_arrays(arrays: Mapping[str, Float32], kind: str, key: str) -> dict[str, Float32]:
    """Arrays of the same shapes with data of one of the kinds FRESH, the same for the same key on every
    machine.
    """
    mean = 1000.0 if kind == "offset" else 0.0
    values: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "input": ("uniform", {}) if kind == "uniform" else ("normal", {"mean": mean}),
        "weight": ("uniform", {"low": 0.5, "high": 1.5}),
        "bias": ("normal", {}),
        "running_mean": ("normal", {"mean": mean, "scale": 0.1}),
        "running_var": ("uniform", {"low": 0.5, "high": 1.5}),
    }
    return {name: Array(a.shape, *values[name]).make(f"{key}/{kind}/{name}") for name, a in arrays.items()}


def probes(
    op: str, arrays: Mapping[str, Float32], params: Mapping[str, Any], seed: int = 0
) -> tuple[NormProbe, ...]:
    """The probes for arrays of these shapes; only the shapes are read."""
    rows, eps = normalized_rows(op, arrays, params)
    maker = _Maker(rows, eps, arrays, np.random.default_rng(seed))
    wanted = _GIVEN if rows.given is not None else _SUMMED
    return tuple(NormProbe(name, tells, make(maker)) for name, tells, make in wanted)


@dataclass(frozen=True)
class _Maker:
    rows: Grouped
    eps: float
    arrays: Mapping[str, Float32]
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        rows, size = self.rows.x.shape
        return rows, size

    def call(self, x: NDArray[Any], **others: NDArray[Any]) -> dict[str, Float32]:
        """Arrays with these rows as input; weights near 1 of both signs and normal biases unless given."""
        made: dict[str, Float32] = {"input": self.rows.restore(x.astype(np.float32))}
        for name, array in self.arrays.items():
            if name != "input":
                value = others.get(name)
                made[name] = self.default(name, array.shape) if value is None else value.astype(np.float32)
        return made

    def default(self, name: str, shape: tuple[int, ...]) -> Float32:
        if name == "weight":
            sign = self.rng.choice([-1.0, 1.0], shape)
            return np.asarray(sign * self.rng.uniform(0.5, 1.5, shape), np.float32)
        if name == "running_var":
            return np.asarray(self.rng.uniform(0.5, 1.5, shape), np.float32)
        return np.asarray(self.rng.standard_normal(shape), np.float32)

    def bare(self, x: NDArray[Any]) -> dict[str, Float32]:
        """Weights of 1 and biases of 0: the output shows mean and root as they are."""
        others = {name: array for name, array in self.arrays.items() if name in ("weight", "bias")}
        return self.call(x, **{name: np.full(a.shape, float(name == "weight")) for name, a in others.items()})

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers and two different places in each row (the same one where rows have one element)."""
        rows, size = self.shape
        first = self.rng.integers(0, size, rows)
        return np.arange(rows), first, (first + self.rng.integers(1, max(2, size), rows)) % size


def _offset(m: _Maker) -> dict[str, Float32]:
    made = m.call(1000.0 + m.rng.standard_normal(m.shape))
    if "running_mean" in made:
        made["running_mean"] = (made["running_mean"] + 1000.0).astype(np.float32)
    return made


def _wide(m: _Maker) -> dict[str, Float32]:
    return m.call(m.rng.standard_normal(m.shape) * np.exp2(m.rng.integers(-12, 13, m.shape)))


def _cancelling(m: _Maker) -> dict[str, Float32]:
    rows, size = m.shape
    half = 1000.0 * m.rng.standard_normal((rows, size // 2))
    x = np.concatenate([half, -half, np.zeros((rows, size % 2))], axis=1) + m.rng.standard_normal(m.shape)
    return m.call(m.rng.permuted(x, axis=1))


def _masks(mask: float) -> Callable[[_Maker], dict[str, Float32]]:
    def make(m: _Maker) -> dict[str, Float32]:
        row, first, second = m.places()
        x = np.ones(m.shape)
        x[row, second], x[row, first] = -mask, mask
        return m.bare(x)

    return make


def _one_hot(m: _Maker) -> dict[str, Float32]:
    row, first, _ = m.places()
    x = np.zeros(m.shape)
    x[row, first] = 4096.0
    return m.bare(x)


def _absorbed(m: _Maker) -> dict[str, Float32]:
    row, first, second = m.places()
    x = m.rng.permuted(np.broadcast_to(1.0 - 2.0 * (np.arange(m.shape[1]) % 2), m.shape), axis=1)
    x[row, second], x[row, first] = -8192.0, 8192.0
    return m.bare(x)


def _near_eps(m: _Maker) -> dict[str, Float32]:
    rows = m.shape[0]
    variance = max(m.eps, 1e-10) * np.exp2(m.rng.uniform(-3.0, 3.0, rows))
    x = m.rng.standard_normal(m.shape) * np.sqrt(variance)[:, None]
    if m.rows.given is None:
        return m.call(x)
    return m.call(x, running_mean=m.rng.standard_normal(rows) * np.sqrt(variance), running_var=variance)


def _cancelled_bias(m: _Maker) -> dict[str, Float32]:
    """Elements of one affine entry have equal size and the bias is minus one of their results.

    Without a bias: elements of exactly the mean, because the sign of a zero shows what is added to it.  Every
    other row is constant, unless its variance of 0 would be divided by.
    """
    if m.rows.bias is None:
        x = m.rng.permuted(np.broadcast_to(_balanced(m.shape[1]), m.shape), axis=1)
        if m.eps > 0:
            x[1::2] = m.rng.integers(-4, 5, (m.shape[0], 1))[1::2]
        return m.call(x)
    count = m.rows.bias.size
    index = m.rows.entries(np.arange(count))
    x = m.rng.uniform(0.5, 2.0, count)[index]
    rows = m.shape[0]
    if m.rows.inner > 1:
        x *= m.rng.choice([-1.0, 1.0], m.shape)
    x = x * np.exp2(m.rng.integers(-2, 3, rows))[:, None] + m.rng.standard_normal(rows)[:, None]
    made = m.call(x)
    if m.rows.given is None:
        mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    else:
        mean, variance = (made[name].astype(np.float64)[:, None] for name in ("running_mean", "running_var"))
    y = (x - mean) / np.sqrt(variance + m.eps)
    if "weight" in made:
        y = y * made["weight"].reshape(-1).astype(np.float64)[index]
    _, first = np.unique(index, return_index=True)
    made["bias"] = -y.reshape(-1)[first].reshape(made["bias"].shape).astype(np.float32)
    return made


def _balanced(size: int) -> NDArray[np.float64]:
    """A row of 1, -1 and 0 in turn, with as many ones as minus ones: any order of its sum is exact."""
    row = np.array([1.0, -1.0, 0.0])[np.arange(size) % 3]
    return np.where(np.arange(size) < size // 3 * 3, row, 0.0)


_Probe = tuple[str, str, Callable[[_Maker], dict[str, Float32]]]

_LAST: tuple[_Probe, ...] = (
    ("offset", "the last formula, and a one-pass variance: the mean cancels", _offset),
    ("near eps", "where eps is added, and in which format", _near_eps),
    ("cancelled bias", "fused multiply-adds of the last formula", _cancelled_bias),
)
_GIVEN: tuple[_Probe, ...] = (*_LAST, ("wide", "all exponents", _wide))
_SUMMED: tuple[_Probe, ...] = (
    *_LAST,
    ("wide", "the order of both sums", _wide),
    ("cancelling", "the order of the mean", _cancelling),
    ("masks of 2^60", "leaves below the join of two places", _masks(2.0**60)),
    ("masks of 2^30", "the width of the accumulator", _masks(2.0**30)),
    ("one hot", "running means, which are no sum", _one_hot),
    ("absorbed squares", "the order of the variance", _absorbed),
)
