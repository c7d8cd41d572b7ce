"""What is known of the order in which a kernel adds: trees, where they hold, how well they were tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.orders.sum_kernel import SumKernel, SumPart
from reference.scheme import Indices
from reference.tree import SummationTree
from reference.tree_bounds import depth_statistics
from reference.tree_words import describe

Float32 = npt.NDArray[np.float32]
PLAIN, DIVIDED, MULTIPLIED = "", "divided by the number of terms", "multiplied by the rounded reciprocal"


@dataclass(frozen=True)
class TreeClass:
    """Outputs that are added in one order."""

    tree: SummationTree
    part: int
    outputs: int
    where: str
    """In words: all outputs, channels 480 to 511, …"""
    final: str = PLAIN
    """What follows the sum: nothing, or how a mean divides it."""


def evaluated(
    part: SumPart,
    tree: SummationTree,
    final: str,
    arrays: Mapping[str, Float32],
    positions: Indices | None = None,
) -> Float32:
    """(channels, positions): the outputs as a tree and what follows it give them."""
    sums = part.replay(tree, arrays, positions)
    if final == PLAIN or part.kernel.divisor is None:
        return sums
    divisor = part.output(part.kernel.divisor)
    divisor = divisor if positions is None else divisor[:, positions]
    if final == DIVIDED:
        return np.asarray(sums / divisor.astype(np.float32), np.float32)
    return np.asarray(sums * (np.float32(1.0) / divisor.astype(np.float32)), np.float32)


@dataclass(frozen=True)
class Revealed:
    """The order of a kernel's sums, or the reason why there is none.

    equal: share of outputs equal bit for bit on fresh data with the classes frozen, by kind of data.
    owner: for each output, in the op's shape, the number of its class; -1 where no order is known.
    left_format, right_format: to what the factors are rounded first ("binary32": not at all).
    """

    op: str
    params: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    classes: tuple[TreeClass, ...] = ()
    owner: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    equal: Mapping[str, float] = field(default_factory=dict)
    left_format: str = "binary32"
    right_format: str = "binary32"
    flags: Mapping[str, bool] = field(default_factory=dict)
    calls: int = 0
    probes: int = 0
    seconds: float = 0.0
    reason: str = ""
    mode: str = ""
    algorithm: str = ""
    """In words, where the kernel is no sum of its products, and yet an emulation gives its bits."""

    @property
    def proved(self) -> bool:
        """Whether every output of fresh data came back bit for bit."""
        return bool(self.equal) and all(share == 1.0 for share in self.equal.values())

    @property
    def of_numbers(self) -> bool:
        """Whether the op adds numbers, not products."""
        return self.op in ("sum", "mean") or self.op.startswith("avg_pool") or self.op.endswith("_bias_grad")

    @property
    def words(self) -> str:
        """The orders in words, the commonest first; the reason where there is none."""
        if not self.classes:
            return self.algorithm or self.reason
        ranked = sorted(self.classes, key=lambda each: -each.outputs)
        texts: dict[str, list[str]] = {}
        for each in ranked:
            text = describe(each.tree, products=not self.of_numbers) + (
                f"; {each.final}" if each.final else ""
            )
            texts.setdefault(text, []).append(each.where)
        if len(texts) == 1:
            return next(iter(texts))
        return "; ".join(f"{' and '.join(dict.fromkeys(where))}: {text}" for text, where in texts.items())

    def replay(self, arrays: Mapping[str, Float32]) -> Float32:
        """Every output as its own order gives it, in float32; NaN where no order is known.

        arrays: the op's.  Raises ValueError for arrays of other shapes than the order was revealed for.
        """
        return self._by_class(
            arrays, np.float32(np.nan), lambda part, each: evaluated(part, each.tree, each.final, arrays)
        )

    def bound(self, arrays: Mapping[str, Float32]) -> npt.NDArray[np.float64]:
        """A rigorous bound of every output's error, from its own order; infinite where no order is known.

        arrays: the op's.  The error is that of the sum of products of the factors as the kernel rounds them;
        a mean's division adds an ulp of the result.  Raises ValueError as `replay`.
        """

        def bounded(part: SumPart, each: TreeClass) -> npt.NDArray[np.float64]:
            bound = part.bound(each.tree, arrays)
            if part.kernel.divisor is None:
                return bound
            bound = bound / part.output(part.kernel.divisor)
            result = np.abs(evaluated(part, each.tree, each.final, arrays).astype(np.float64))
            return np.asarray(bound * (1.0 + 2.0**-22) + result * 2.0**-23 + 2.0**-149)

        return self._by_class(arrays, np.float64(np.inf), bounded)

    def _by_class(
        self,
        arrays: Mapping[str, Float32],
        unknown: np.floating[Any],
        function: Callable[[SumPart, TreeClass], npt.NDArray[Any]],
    ) -> npt.NDArray[Any]:
        wrong = {name: np.shape(a) for name, a in arrays.items() if np.shape(a) != self.shapes.get(name)}
        if wrong or set(arrays) != set(self.shapes):
            raise ValueError(
                f"an order holds for arrays of shapes {dict(self.shapes)}, got {wrong or sorted(arrays)}: "
                "reveal it again for these"
            )
        kernel = SumKernel(self.op, self.params, self.shapes, _never)
        found = np.full(kernel.shape, unknown)
        for part in kernel.parts:
            owner = part.output(self.owner)
            values = np.full(owner.shape, unknown)
            for number in np.unique(owner[owner >= 0]):
                here = owner == number
                values[here] = function(part, self.classes[number])[here]
            found.reshape(-1)[part.index] = values
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON data, with every tree; `owner` only as the number of outputs of each class."""
        return {
            "schema": 1,
            "op": self.op,
            "mode": self.mode,
            "params": dict(self.params),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "proved": self.proved,
            "reason": self.reason,
            "algorithm": self.algorithm,
            "equal": dict(self.equal),
            "operand_formats": [self.left_format, self.right_format],
            "flags": dict(self.flags),
            "calls": self.calls,
            "probes": self.probes,
            "seconds": self.seconds,
            "words": self.words,
            "classes": [
                {
                    "outputs": each.outputs,
                    "where": each.where,
                    "final": each.final,
                    "roundings_of_a_term": depth_statistics(each.tree)._asdict(),
                    "tree": each.tree.to_json(),
                }
                for each in self.classes
            ],
        }


def _never(arrays: Mapping[str, Float32]) -> Float32:
    raise NotImplementedError("a kernel is not run to replay it")
