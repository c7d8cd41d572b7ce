"""What is known of the order in which a kernel adds: trees, where they hold, how well they were tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.tree import SummationTree

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

    @property
    def proved(self) -> bool:
        """Whether every output of fresh data came back bit for bit."""
        return bool(self.equal) and all(share == 1.0 for share in self.equal.values())

    @property
    def words(self) -> str:
        """The orders in words, the commonest first; the reason where there is none."""
        from reference.tree_words import describe

        if not self.classes:
            return self.reason
        ranked = sorted(self.classes, key=lambda each: -each.outputs)
        texts: dict[str, list[str]] = {}
        for each in ranked:
            text = describe(each.tree) + (f"; {each.final}" if each.final else "")
            texts.setdefault(text, []).append(each.where)
        if len(texts) == 1:
            return next(iter(texts))
        return "; ".join(f"{' and '.join(dict.fromkeys(where))}: {text}" for text, where in texts.items())

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
                    "tree": each.tree.to_json(),
                }
                for each in self.classes
            ],
        }
