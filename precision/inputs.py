"""Seeded input arrays that are the same to the bit on every machine.

NumPy promises stable *bit generators*, not stable *distributions* (NEP 19), and the sine or
logarithm inside a distribution may differ between processors.  So every array is made from the raw
64-bit words of a Philox generator by integer arithmetic and exact scaling alone.

Each recipe is a function (words, shape) -> float32 array, where `words(n)` returns n raw words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import UserError

Float32 = NDArray[np.float32]
Words = Callable[[int], NDArray[np.uint64]]


@dataclass(frozen=True)
class Array:
    """A declared array: its shape and the recipe (with arguments) that fills it."""

    shape: tuple[int, ...]
    recipe: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self, key: str) -> Float32:
        """Return the array whose stream is named by `key`; the same key gives the same bits."""
        words = stream(key)
        array = RECIPES[self.recipe](words, self.shape, **self.arguments)
        return np.ascontiguousarray(array, dtype=np.float32)


def stream(key: str) -> Words:
    """Return the generator of raw 64-bit words that is named by `key`."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    generator = np.random.Philox(key=seed)

    def words(count: int) -> NDArray[np.uint64]:
        raw: NDArray[np.uint64] = generator.random_raw(count)
        return raw

    return words


def _uniform(words: Words, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Float32:
    """Uniform on [low, high), a multiple of 2^-24 (high - low) before the one rounding to float32."""
    unit = (words(_size(shape)) >> np.uint64(40)).astype(np.float64) * 2.0**-24
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def _normal(words: Words, shape: tuple[int, ...], mean: float = 0.0, scale: float = 1.0) -> Float32:
    """Nearly normal: the sum of 12 uniforms minus 6 (Irwin-Hall), mean 0 and variance 1.

    The sum is of 32-bit integers and so exact; only the last step rounds to float32.
    """
    count = _size(shape)
    total = np.zeros(count, dtype=np.int64)
    for _ in range(6):
        word = words(count)
        total += (word >> np.uint64(32)).astype(np.int64) + (word & np.uint64(0xFFFFFFFF)).astype(np.int64)
    centred = total.astype(np.float64) * 2.0**-32 - 6.0
    return (mean + scale * centred).astype(np.float32).reshape(shape)


def _constant(words: Words, shape: tuple[int, ...], value: float) -> Float32:
    return np.full(shape, value, dtype=np.float32)


def _integers(words: Words, shape: tuple[int, ...], low: int, high: int) -> Float32:
    """Integers from low to high, both included."""
    span = np.uint64(high - low + 1)
    return ((words(_size(shape)) >> np.uint64(32)) % span).astype(np.float32).reshape(shape) + np.float32(low)


def _wide(words: Words, shape: tuple[int, ...], exponent: int) -> Float32:
    """Signed values whose exponents are uniform on -exponent .. exponent."""
    word = words(_size(shape))
    significand = 1.0 + (word >> np.uint64(41)).astype(np.float64) * 2.0**-23
    power = (word % np.uint64(2 * exponent + 1)).astype(np.int64) - exponent
    sign = np.where((word >> np.uint64(40)) & np.uint64(1), -1.0, 1.0)
    return (sign * np.ldexp(significand, power)).astype(np.float32).reshape(shape)


def _mirrored(words: Words, shape: tuple[int, ...]) -> Float32:
    """Uniform [0, 1); along axis 1 the second half repeats the first.  Goes with `_cancelling`."""
    first = _uniform(words, (shape[0], shape[1] // 2, *shape[2:]))
    return np.concatenate([first, first], axis=1)


def _cancelling(words: Words, shape: tuple[int, ...]) -> Float32:
    """Weights in [0.5, 1); along axis 1 the second half is minus the first, moved by up to 3 * 2^-18.

    Against `_mirrored` inputs the sum of products keeps only the small moves: its condition,
    sum|ab| / |sum ab|, is about 2^18 * sqrt(K).  All values are multiples of 2^-20, so exact.
    """
    half = (shape[0], shape[1] // 2, *shape[2:])
    first = 0.5 + (words(_size(half)) >> np.uint64(45)).astype(np.float64).reshape(half) * 2.0**-20
    move = _integers(words, half, -3, 3).astype(np.float64) * 2.0**-18
    return np.concatenate([first, -(first + move)], axis=1).astype(np.float32)


def _selector(words: Words, shape: tuple[int, ...]) -> Float32:
    """Zeros, but for one power of two from 1/4 to 4 in each slice of axis 0."""
    rows = words(2 * shape[0]).reshape(2, shape[0])
    flat = np.zeros((shape[0], _size(shape[1:])), dtype=np.float32)
    place = (rows[0] % np.uint64(flat.shape[1])).astype(np.int64)
    flat[np.arange(shape[0]), place] = np.ldexp(1.0, (rows[1] % np.uint64(5)).astype(np.int64) - 2)
    return flat.reshape(shape)


def _picked(words: Words, shape: tuple[int, ...], grouped: tuple[int, ...], keep: tuple[int, ...]) -> Float32:
    """Zeros, but for one power of two from 1/4 to 4 at every index of the axes `keep` of shape `grouped`."""
    grouped, keep = tuple(grouped), tuple(keep)
    rest = tuple(axis for axis in range(len(grouped)) if axis not in keep)
    rows, columns = (_size(tuple(grouped[axis] for axis in axes)) for axes in (keep, rest))
    flat = _selector(words, (rows, columns)).reshape([grouped[axis] for axis in (*keep, *rest)])
    return np.ascontiguousarray(np.transpose(flat, np.argsort((*keep, *rest)))).reshape(shape)


def _balanced(
    words: Words, shape: tuple[int, ...], axes: tuple[int, ...], mean: int = 0, scale: float = 1.0
) -> Float32:
    """Integers m - 1, m, m + 1 with exact mean m and variance 3/4 over `axes`; m is 0 and `mean` in turn.

    Each group over `axes` holds the same values, 3/8 of each sign and 1/4 zeros, shuffled.
    The group size must be a multiple of 8.  All is multiplied by `scale`, a power of two.
    """
    axes = tuple(sorted(axis % len(shape) for axis in axes))
    rest = tuple(axis for axis in range(len(shape)) if axis not in axes)
    group = _size(tuple(shape[axis] for axis in axes))
    if group % 8:
        raise ValueError(f"a balanced group has a multiple of 8 elements; got {group}; change the shape")
    rows = _size(shape) // group
    pattern = np.tile(np.array([1, 1, 1, 0, 0, -1, -1, -1], dtype=np.float32), group // 8)
    order = np.argsort(words(rows * group).reshape(rows, group), axis=1, kind="stable")
    means = np.float32(mean) * (np.arange(rows, dtype=np.float32) % 2)
    values = (np.float32(scale) * (pattern[order] + means[:, None])).reshape(
        [shape[axis] for axis in (*rest, *axes)]
    )
    return np.transpose(values, np.argsort((*rest, *axes)))


def _balanced_groups(
    words: Words, shape: tuple[int, ...], grouped: tuple[int, ...], mean: int = 0, scale: float = 1.0
) -> Float32:
    """As `_balanced` over the groups of channels of shape (N, groups, C / groups, H, W)."""
    return _balanced(words, tuple(grouped), (2, 3, 4), mean, scale).reshape(shape)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


RECIPES: Mapping[str, Callable[..., Float32]] = {
    "uniform": _uniform,
    "normal": _normal,
    "constant": _constant,
    "integers": _integers,
    "wide": _wide,
    "mirrored": _mirrored,
    "cancelling": _cancelling,
    "selector": _selector,
    "picked": _picked,
    "balanced": _balanced,
    "balanced_groups": _balanced_groups,
}


def make_arrays(case_id: str, variant: str, arrays: Mapping[str, Array]) -> dict[str, Float32]:
    """Return the arrays of one variant (`data` or `probe`) of a case, made from its id alone."""
    return {name: array.make(f"{case_id}/{variant}/{name}") for name, array in arrays.items()}


def checksum(arrays: Mapping[str, Float32]) -> str:
    """SHA-256 over names, shapes and bytes (little-endian) of the arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        digest.update(f"{name}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_arrays(case_id: str, declared: Mapping[str, Array], given: Mapping[str, Float32]) -> None:
    """Raise `UserError` unless `given` has exactly the declared names, shapes and float32."""
    if set(given) != set(declared):
        raise UserError(
            f"case {case_id} takes the arrays {', '.join(sorted(declared))}; "
            f"got {', '.join(sorted(given)) or 'none'}; hand over exactly these"
        )
    for name, array in given.items():
        if array.shape != declared[name].shape or array.dtype != np.float32:
            raise UserError(
                f"case {case_id} declares {name} as float32 {list(declared[name].shape)}; "
                f"got {array.dtype} {list(array.shape)}; hand over an array of that shape and type"
            )
