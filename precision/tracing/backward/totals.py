"""The gradients of a whole model, from one pass of its framework's autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.errors import UserError
from precision.tracing.errors import Split, inherited_error, split_of
from precision.tracing.fitting import fitted
from precision.tracing.run import Side
from precision.tracing.store import Store
from reference.escalate import exact

Float32 = NDArray[np.float32]
Arrays = Mapping[str, Float32]


@dataclass
class Totals:
    """Keys of the gradients of a whole model: at the outputs of units, and of units' weights and inputs."""

    outputs: dict[int, str] = field(default_factory=dict)
    parts: dict[int, dict[str, str]] = field(default_factory=dict)
    shared: dict[int, set[str]] = field(default_factory=dict)
    stopped: dict[int, set[str]] = field(default_factory=dict)
    """Operands of units that nothing flows back through: detached, or computed without a gradient."""


def asked(side: Side, what: str) -> dict[str, Any]:
    """The request of one gradient pass."""
    return {**side.asked("ordinary"), "do": what}


class TotalPass:
    """The gradients of a model as it is, from autograd over all of it.

    cotangents: of A's outputs, in A's shapes; drawn from the seed where they are not given.
    """

    def __init__(self, side: Side, store: Store, seed: int, cotangents: Sequence[Float32] = ()) -> None:
        self.side, self.store, self.seed = side, store, seed
        self.given = list(cotangents)
        self.cotangents: list[Float32] = []
        self.outputs: list[str] = []
        self.found = Totals()
        self._refused = ""

    def run(self) -> TotalPass:
        """Raises UserError where the model gives no float32 output, or others than A."""
        self.side.process.run(asked(self.side, "total_gradients"), self.side.arrays, self._answer)
        if self._refused:
            raise UserError(self._refused)
        return self

    def _answer(self, head: Mapping[str, Any], arrays: dict[str, Float32]) -> tuple[dict[str, Any], Arrays]:
        if head["event"] == "outputs":
            return {}, self._drawn(arrays)
        number, store = int(head["unit"]), self.store
        if "output" in arrays:
            self.found.outputs[number] = store.put(arrays["output"])
        self.found.parts[number] = {
            name.removeprefix("weight."): store.put(a) for name, a in arrays.items() if name != "output"
        }
        self.found.shared[number] = set(head.get("shared", ()))
        self.found.stopped[number] = set(head.get("stopped", ()))
        return {}, {}

    def _drawn(self, arrays: Arrays) -> dict[str, Float32]:
        outputs = [arrays[f"out{k}"] for k in range(len(arrays))]
        side, file = self.side.process.side, self.side.process.file
        # Said when the pass is over: the other process waits for an answer now.
        if not outputs:
            self._refused = f"gradients start at float32 outputs; model {side}, {file}, gives none"
            return {}
        self.outputs = [self.store.put(each) for each in outputs]
        if not self.given:
            rngs = [np.random.default_rng([self.seed, k]) for k in range(len(outputs))]
            drawn = [rng.standard_normal(each.shape) for rng, each in zip(rngs, outputs, strict=True)]
            self.cotangents = [np.asarray(each, np.float32) for each in drawn]
        else:
            shaped = [fitted(c, each.shape) for c, each in zip(self.given, outputs, strict=False)]
            self.cotangents = [each for each in shaped if each is not None]
            if len(self.cotangents) != len(outputs) or len(self.given) != len(outputs):
                shapes = [[list(each.shape) for each in group] for group in (self.given, outputs)]
                self._refused = f"both models give the same outputs; A's are {shapes[0]}, B's {shapes[1]}"
                return {}
        return {f"out{k}": each for k, each in enumerate(self.cotangents)}


def input_split(totals: Totals, name: str, chain: Float32, store: Store) -> Split:
    """The total error of the gradient at an input of the model, against what the chain brings there."""
    key = totals.parts.get(-1, {}).get(name)
    total = None if key is None else fitted(store.get(key), chain.shape)
    found = split_of(exact(chain), chain, total)
    size = np.linalg.norm(chain.astype(np.float64))
    if total is None or not size:
        return found
    return replace(found, inherited_relative=float(np.linalg.norm(inherited_error(chain, total)) / size))


def input_keys(totals: Totals, name: str, word: str) -> dict[str, str]:
    """The key of the total gradient at an input of the model, under a word; empty where there is none."""
    key = totals.parts.get(-1, {}).get(name)
    return {} if key is None else {word: key}
