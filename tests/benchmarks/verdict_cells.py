"""Cells of the verdict benchmark: a declared layer, and the call that a framework is given in its place.

In a rounding cell the call is the declared one. In every other cell it is a changed one: another parameter,
another array, a step more. What is planted is made by the framework itself, never written into its output.

Whether a plant can be seen at all is decided here, before any judge is asked: D is the planted function less
the declared one in float64, B the worst case of float32 for the declared function, e the framework's own
rounding error against the planted function.

    clear    D > 2 B for some output: no correct float32 implementation of the declaration gives that
    subtle   otherwise, rms D > 4 rms e: the difference stands out of the real rounding errors
    invalid  neither: no cell
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

DATA = ("uniform", "normal", "offset", "offset1000", "wide", "tiny", "cancelling")
ROUNDING, SEMANTICS, PERMUTED, OPERANDS, UNKNOWN = (
    "rounding",
    "semantics",
    "data",
    "operand rounding",
    "unexplained",
)

Arrays = Mapping[str, np.ndarray]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """A declared op with its arrays."""

    op: str
    arrays: Arrays
    params: Params
    data: str


@dataclass(frozen=True)
class Planted:
    """What is called in place of the declared op, and what the judge should name: (parameter, found or None).

    A found value of None stands for any; `kind` is one of the words above.
    """

    name: str
    op: str
    arrays: Arrays
    params: Params
    wanted: tuple[tuple[str, Any], ...] = ()
    kind: str = SEMANTICS
    alone: tuple[Planted, ...] = ()
    """Of two differences, each by itself: it must be seen that the other one is there, too."""


@dataclass(frozen=True)
class Cell:
    """One layer, one call of it, in one mode."""

    seed: int
    family: str
    layer: Layer
    planted: Planted
    mode: str = "torch.cpu"
    large: bool = False
    note: str = ""

    @property
    def words(self) -> str:
        shapes = {name: list(array.shape) for name, array in self.layer.arrays.items()}
        what = f"{self.family} {self.planted.name}, {self.layer.data} data"
        return f"{what}, {shapes}, {dict(self.layer.params)}"


Plant = Callable[[np.random.Generator, Layer], Planted | None]


@dataclass(frozen=True)
class Family:
    """A kind of layer: how one is drawn, and what can be planted into it."""

    name: str
    draw: Callable[[np.random.Generator, str], Layer]
    plants: Mapping[str, Plant]
    data: tuple[str, ...] = DATA
    weight: int = 1
    """How often the family comes."""
    frameworks: tuple[str, ...] = ("torch", "tensorflow")


def drawn(rng: np.random.Generator, data: str, *shape: int) -> np.ndarray:
    """Activations of a kind of data."""
    normal = rng.standard_normal(shape)
    if data == "uniform":
        normal = rng.uniform(0, 1, shape)
    elif data == "offset":
        normal += 30.0
    elif data == "offset1000":
        normal += 1000.0
    elif data == "wide":
        normal *= 2.0 ** rng.integers(-18, 19, shape)
    elif data == "tiny":
        normal *= 2.0**-120
    return normal.astype(np.float32)


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A layer's weights, scaled as at their initialization."""
    fan = max(1, int(np.prod(shape[1:])))
    return (rng.standard_normal(shape) * (2.0 / fan) ** 0.5).astype(np.float32)


def cancelling(rng: np.random.Generator, x: np.ndarray, w: np.ndarray, of: tuple[int, int]) -> Arrays:
    """Input and weight whose products nearly cancel in pairs of neighbours along axes `of` of the two."""
    x, w = x.copy(), w.copy()
    moved, other = np.moveaxis(x, of[0], 0), np.moveaxis(w, of[1], 0)
    if len(moved) == len(other):
        half = len(moved) // 2 * 2
        near = 1.0 + 2.0**-10 * rng.standard_normal(moved[0:half:2].shape)
        moved[1:half:2] = -moved[0:half:2] * near.astype(np.float32)
        other[1:half:2] = other[0:half:2]
    return {"input": x, "weight": w}


def called(layer: Layer, name: str, wanted: Any, *, kind: str = SEMANTICS, **parts: Any) -> Planted:
    """A call like the declared one with parts replaced: op, params and arrays (None leaves one out)."""
    merged = {
        part: {k: v for k, v in {**getattr(layer, part), **parts.get(part, {})}.items() if v is not None}
        for part in ("arrays", "params")
    }
    listed = tuple(wanted.items()) if isinstance(wanted, Mapping) else tuple(wanted)
    return Planted(name, parts.get("op", layer.op), merged["arrays"], merged["params"], listed, kind)


def both(first: Planted, second: Plant, rng: np.random.Generator, layer: Layer) -> Planted | None:
    """A second plant on top of the first."""
    other = second(rng, replace(layer, op=first.op, arrays=first.arrays, params=first.params))
    if other is None:
        return None
    kinds = (first.kind, other.kind)
    kind = SEMANTICS if SEMANTICS in kinds else PERMUTED if PERMUTED in kinds else other.kind
    apart = second(rng, layer)
    if apart is None:
        return None
    return replace(
        other,
        alone=(first, apart),
        name=f"{first.name} and {other.name}",
        wanted=(*first.wanted, *other.wanted),
        kind=kind,
    )


def pair(one: Plant, two: Plant) -> Plant:
    """The plant of two differences."""

    def planted(rng: np.random.Generator, layer: Layer) -> Planted | None:
        first = one(rng, layer)
        return None if first is None else both(first, two, rng, layer)

    return planted


def unchanged(layer: Layer) -> Planted:
    """The declared call itself."""
    return Planted("as declared", layer.op, layer.arrays, layer.params, (), ROUNDING)


def step(name: str, found: Any, parameter: str = "activation") -> Plant:
    """A step on the result: an activation by name, or a factor."""

    def planted(rng: np.random.Generator, layer: Layer) -> Planted:
        after = [*layer.params.get("after", ()), found]
        wanted = {parameter: "-" if parameter == "sign" else found}
        return called(layer, name, wanted, params={"after": after})

    return planted


def is_clear(apart: np.ndarray, bound: np.ndarray) -> bool:
    """Whether the planted function is beyond twice the worst case somewhere."""
    with np.errstate(invalid="ignore"):
        return bool(np.any(np.abs(apart) > 2.0 * bound))


def is_subtle(apart: np.ndarray, rounding: np.ndarray) -> bool:
    """Whether the difference stands out of the real rounding errors, though within the worst case."""
    return bool(_rms(apart) > 4.0 * _rms(rounding) > 0.0)


def _rms(values: np.ndarray) -> float:
    top = float(np.max(np.abs(values), initial=0.0))
    return top * float(np.sqrt(np.mean((values / top) ** 2))) if 0 < top < np.inf else top
