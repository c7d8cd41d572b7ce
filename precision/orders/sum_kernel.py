"""An op of a framework as sums of products that can be asked: where masks go, and where answers come out.

Each output is a sum of products left[k] * right[k].  One array of the op, the carrier, holds the right
factors: the weight of a convolution, the gradient in a weight's gradient, the input of a mean (whose left
factors are 1).  An output's right factors are found by giving the plan of `reference.sum_plans` the addresses
of elements as its elements: every op that has a plan can be asked, and no layout is written down twice.

A part of the plan is a matrix of channels (groups x filters) by positions.  Channels have right factors of
their own and positions left factors, unless the carrier is what moves (pooling): then every output is a
channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.errors import UserError
from reference import OPS
from reference.replay import replay
from reference.scheme import Indices, Part, Plan
from reference.sum_plans import PLANS, divisors
from reference.tree import SummationTree
from reference.tree_bounds import order_bound

Float32 = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Shapes = Mapping[str, Sequence[int]]
Run = Callable[[Mapping[str, Float32]], Float32]

SAMPLE = 100  # outputs among which the one with most terms is looked for
_DIGIT = 4096  # float32 holds 24 bits: addresses travel as two digits
TILE = 1 << 24  # numbers of a gathered matrix at a time: 64 MiB


@dataclass
class SumPart:
    """The outputs of one part of a plan: channels by positions, each a sum of `terms` products."""

    kernel: SumKernel
    number: int
    right: Indices
    """(channels, terms): addresses in the carrier, -1 for a factor that is no element of it."""
    left: Indices | None
    """Addresses in the other array, by place in the plan's x; -1 for padding.  None: left factors are 1."""
    part: Part
    channels: int
    positions: int

    @property
    def terms(self) -> int:
        """Products of one sum."""
        return self.part.scheme.terms

    def output(self, result: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(channels, positions) of a result in the op's shape; a copy."""
        scheme = self.part.scheme
        whole = result if self.part.view is None else self.part.view(result)
        groups, filters = self.part.weight.shape[:2]
        if scheme.last:
            found = whole.reshape(scheme.positions, groups * filters).T
        else:
            found = whole.reshape(groups * filters, scheme.positions)
        return np.ascontiguousarray(found).reshape(self.channels, self.positions)

    @cached_property
    def index(self) -> Indices:
        """(channels, positions): the place of each output in the flat result."""
        return self.output(np.arange(prod(self.kernel.shape)).reshape(self.kernel.shape))

    def live(self, channel: int, position: int) -> Indices:
        """The terms whose left factor exists at a position; the bias, if any, is the last."""
        found = np.arange(self.terms)
        if self.left is not None:
            found = found[self.left[self._places(channel, position)] >= 0]
        found = found[self.right[channel][found] >= 0]
        return np.append(found, self.terms) if self.kernel.bias else found

    def slots(self, channel: int, most: int) -> Indices:
        """Channels that share no carrier element, that one first: with masks of their own in one call."""
        everyone = np.arange(self.channels)
        order = np.concatenate([[channel], everyone[everyone != channel]])
        if self.left is not None:
            return order[:most]
        used = np.zeros(prod(self.kernel.shapes[self.kernel.carrier]), np.bool_)
        found = []
        # A sum along an axis shares nothing; overlapping windows are thinned out.
        present = self.right[channel] >= 0
        for each in order[: 4 * most]:
            address = self.right[each]
            if not np.array_equal(address >= 0, present):
                continue
            address = address[present]
            if not used[address].any():
                used[address] = True
                found.append(each)
        return np.array(found[:most])

    def fullest(self, open_: Booleans | None = None) -> tuple[int, int]:
        """Channel and position of the output with most terms, of some open ones, central ones first."""
        wanted = np.ones((self.channels, self.positions), np.bool_) if open_ is None else open_
        if self.left is None:
            pairs = [(int(channel), 0) for channel in _spread(np.flatnonzero(wanted[:, 0]))]
        else:
            positions = _spread(np.flatnonzero(wanted.any(axis=0)))
            middle = sorted(positions.tolist(), key=lambda p: abs(p - self.positions // 2))
            pairs = [(int(np.argmax(wanted[:, p])), p) for p in middle]
        return max(pairs, key=lambda pair: self.live(*pair).size)

    def _group(self, channel: int) -> int:
        return channel // int(self.part.weight.shape[1])

    def _places(self, channel: int, position: int) -> Indices:
        scheme = self.part.scheme
        start = scheme.starts[position // scheme.run] + position % scheme.run * scheme.step
        return np.asarray(start + scheme.groups[self._group(channel)] + scheme.offsets)

    def lefts(self, other: Float32 | None, group: int, positions: Indices) -> Float32:
        """(positions, terms): the left factors of one group."""
        if self.left is None or other is None:
            return np.ones((positions.size, self.terms), np.float32)
        scheme = self.part.scheme
        starts = scheme.starts[positions // scheme.run] + positions % scheme.run * scheme.step
        address = self.left[(starts + scheme.groups[group])[:, None] + scheme.offsets]
        found = other.reshape(-1)[np.maximum(address, 0)]
        found[address < 0] = 0.0
        return np.asarray(found)

    def rights(self, carrier: Float32, channels: slice) -> Float32:
        """(channels, terms): the right factors."""
        address = self.right[channels]
        found = carrier.reshape(-1)[np.maximum(address, 0)]
        found[address < 0] = 0.0
        return found

    def replay(
        self, tree: SummationTree, arrays: Mapping[str, Float32], positions: Indices | None = None
    ) -> Float32:
        """(channels, positions) as the tree gives it, of all or of some positions; not divided."""
        return self._by_tiles(lambda *operands: replay(tree, *operands), arrays, positions, np.float32)

    def bound(self, tree: SummationTree, arrays: Mapping[str, Float32]) -> npt.NDArray[np.float64]:
        """(channels, positions): the rigorous bound of the tree's error; see `reference.tree_bounds`."""
        return self._by_tiles(lambda *operands: order_bound(tree, *operands), arrays, None, np.float64)

    def _by_tiles(
        self,
        function: Callable[..., npt.NDArray[Any]],
        arrays: Mapping[str, Float32],
        positions: Indices | None,
        kind: Any,
    ) -> npt.NDArray[Any]:
        """function(left, right, bias) of all outputs at some positions, a tile at a time."""
        chosen = np.arange(self.positions) if positions is None else positions
        carrier, bias = arrays[self.kernel.carrier], arrays.get("bias")
        other = None if self.kernel.other is None else arrays[self.kernel.other]
        result = np.empty((self.channels, chosen.size), kind)
        filters = self.channels if self.left is None else int(self.part.weight.shape[1])
        step = max(1, TILE // max(1, self.terms))
        for first in range(0, self.channels, filters):
            for start in range(0, filters, step):
                rows = slice(first + start, first + min(start + step, filters))
                right = np.ascontiguousarray(self.rights(carrier, rows).T)
                shift = None if bias is None else np.ascontiguousarray(bias[rows])
                for at in range(0, chosen.size, step):
                    some = chosen[at : at + step]
                    left = self.lefts(other, self._group(first), some)
                    result[rows, at : at + step] = function(left, right, shift).T
        return result


@dataclass
class SumKernel:
    """One op with its parameters and shapes, and a function that runs it.

    Raises UserError for an op that is no sum, and ValueError for shapes and parameters that do not fit.
    """

    op: str
    params: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    run: Run
    parts: list[SumPart] = field(init=False)
    calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.op not in PLANS:
            raise UserError(
                f"an order is revealed of one of {', '.join(PLANS)}; got {self.op!r}; name one of them"
            )
        self.bias = "bias" in self.shapes
        self._factors = [name for name in OPS[self.op].required if name in self.shapes]
        found = {name: self._traced(name) for name in self._factors}
        blank = self._plan({name: np.zeros(self.shapes[name], np.float32) for name in self.shapes})
        self.shape = blank.shape
        # What stands in a part's weight is the carrier; a sum of plain numbers has it in x.
        carriers = [
            name
            for name, traced in found.items()
            if max((w.max(initial=-1) for _, w in traced), default=-1) >= 0
        ]
        self.carrier = carriers[0] if carriers else self._factors[0]
        others = [name for name in self._factors if name != self.carrier]
        self.other = others[0] if others else None
        self.parts = []
        for number, part in enumerate(blank.parts):
            if part.scheme.terms == 0:
                continue
            x, weight = found[self.carrier][number]
            self.parts.append(self._part(number, part, x, weight, found))
        arrays = {name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()}
        self.divisor = divisors(self.op, arrays, self.params)

    def _part(
        self, number: int, part: Part, x: Indices, weight: Indices, found: Mapping[str, Any]
    ) -> SumPart:
        scheme = part.scheme
        groups, filters, terms = part.weight.shape
        if self.other is not None:
            left = found[self.other][number][0]
            return SumPart(
                self, number, weight.reshape(-1, terms), left, part, groups * filters, scheme.positions
            )
        starts = (scheme.starts[:, None] + np.arange(scheme.run) * scheme.step).reshape(-1)
        outputs = (scheme.groups[:, None] + starts).reshape(-1)
        right = x[outputs[:, None] + scheme.offsets]
        return SumPart(self, number, right, None, part, outputs.size, 1)

    def _plan(self, arrays: Mapping[str, Float32]) -> Plan:
        return PLANS[self.op](**arrays, **self.params)

    def _traced(self, name: str) -> list[tuple[Indices, Indices]]:
        """Addresses of an array's elements in the x and the weight of each part; -1 where there are none."""
        size = prod(self.shapes[name])
        index = np.arange(1, size + 1).reshape(self.shapes[name])
        digits = []
        for digit in (index % _DIGIT, index // _DIGIT):
            arrays = {other: np.zeros(shape, np.float32) for other, shape in self.shapes.items()}
            arrays[name] = digit.astype(np.float32)
            digits.append(self._plan(arrays))
        found = []
        for low, high in zip(digits[0].parts, digits[1].parts, strict=True):
            pairs = ((low.x, high.x), (low.weight, high.weight))
            x, weight = (
                np.asarray(b).astype(np.int64) * _DIGIT + np.asarray(a).astype(np.int64) - 1 for a, b in pairs
            )
            found.append((x, weight))
        if self._unit(digits[0]):
            return [(x, np.full_like(weight, -1)) for x, weight in found]
        return found

    def _unit(self, plan: Plan) -> bool:
        """Whether the factors in the parts' weights are ones, of which nothing can be traced."""
        return len(self._factors) == 1 and all(bool(np.all(part.weight == 1)) for part in plan.parts)

    def call(self, arrays: Mapping[str, Float32]) -> Float32:
        """One call of the framework.  Raises UserError for an answer of another shape."""
        self.calls += 1
        result = self.run(arrays)
        if result.shape != self.shape:
            raise UserError(
                f"{self.op} has the shape {self.shape}; the framework gave {result.shape}; check it"
            )
        return result

    def blank(self, other: float = 1.0) -> dict[str, Float32]:
        """Arrays for masks: a carrier and a bias of zeros, and left factors that are all the same."""
        arrays = {name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()}
        if self.other is not None:
            arrays[self.other] += np.float32(other)
        return arrays


def _spread(found: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Some of many, at random: equal steps might always meet the same tap or border."""
    if found.size <= SAMPLE:
        return found
    return np.sort(np.random.default_rng(found.size).choice(found, SAMPLE, replace=False))
