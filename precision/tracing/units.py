"""The units of a model: its recorded calls, with padding and flattening joined to the layer they serve.

A unit is what is matched and judged: [pad, conv] is one convolution with that padding, [flatten, linear] one
linear layer that says in which order it takes the elements of an image. Calls that change nothing (a dropout
that drops nothing, a reshape that only drops axes of one) are passed through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

PADDED = ("conv1d", "conv2d", "conv3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
          "max_pool1d", "max_pool2d", "max_pool3d")  # fmt: skip
ORDERLESS = ("add", "mul", "concat")
"""Ops whose operands are brought into one order before two graphs are aligned."""
FLOAT32 = "float32"
CONSTANTS = ("mask", "indices")
"""Arrays of a call that are no weights: they come with the call."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One recorded call, as `precision.tracing.tape` describes it."""

    index: int
    name: str
    op: str
    detail: str
    params: Mapping[str, Any]
    weights: Mapping[str, Shape]
    sources: tuple[tuple[int, ...], ...]
    shapes: tuple[Shape, ...]
    shape: Shape
    kind: str = FLOAT32
    """The dtype of what it gives."""

    @property
    def transparent(self) -> bool:
        """Whether it changes neither the numbers nor their order, or gives none: a comparison, an index."""
        if self.op == "identity" or "float" not in self.kind:
            return True
        return self.op == "reshape" and bool(self.shapes) and _bare(self.shapes[0]) == _bare(self.shape)


@dataclass(frozen=True)
class Unit:
    """A chain of calls, first to last; sources: for each operand the units (-1, … inputs) it comes from."""

    number: int
    calls: tuple[Call, ...]
    sources: tuple[tuple[int, ...], ...] = field(default=())

    @property
    def main(self) -> Call:
        return self.calls[-1]

    @property
    def name(self) -> str:
        """That of its layer; of both calls where one layer makes them."""
        first, last = self.calls[0].name, self.main.name
        return first if last.partition("#")[0] == first else last

    @property
    def op(self) -> str:
        return "reshape" if self.tokens else self.main.op

    @property
    def tokens(self) -> bool:
        """Whether two calls take an image apart into its pixels: (N, C, *space) to (N, pixels, C)."""
        return len(self.calls) > 1 and {each.op for each in self.calls} == {"reshape", "permute"}

    @property
    def shape(self) -> Shape:
        return self.main.shape

    @property
    def weights(self) -> Mapping[str, Shape]:
        return {name: shape for name, shape in self.main.weights.items() if name not in CONSTANTS}

    @property
    def chain(self) -> list[int]:
        return [call.index for call in self.calls]

    @cached_property
    def before(self) -> Call | None:
        """The padding or flattening that was joined to it."""
        return self.calls[0] if len(self.calls) > 1 else None

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the main call, a padding before it taken in where they can say it."""
        if self.tokens:
            return {"order": "NHWC"}
        params = dict(self.main.params)
        if self.before is not None and self.before.op == "pad" and self.folds:
            own = explicit(self.main)
            params["padding"] = [a + b for a, b in zip(own, self.before.params["sides"][4:], strict=True)]
            if self.before.params["mode"] != "constant":
                params["padding_mode"] = _MODES[self.before.params["mode"]]
        return params

    @property
    def folds(self) -> bool:
        """Whether the padding before it becomes a parameter; else the padded array is its input."""
        before = self.before
        if before is None or before.op != "pad" or self.op.startswith("max_pool"):
            return False
        zeros = before.params["mode"] == "constant" and before.params["value"] == 0.0
        if self.op.startswith("avg_pool"):
            return zeros and not any(explicit(self.main)) and self.main.params.get("padding") != "same"
        # Only zeros and what is taken from the array itself can be a convolution's own padding.
        return zeros or (before.params["mode"] != "constant" and not any(explicit(self.main)))


_MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def explicit(call: Call) -> list[int]:
    """The padding of a convolution or pooling in numbers, before and after each axis."""
    padding, size = call.params.get("padding", 0), call.shapes[0][2:]
    axes = len(size)
    if isinstance(padding, list):
        return [int(side) for side in padding]
    if padding in (0, "valid"):
        return [0] * (2 * axes)
    kernel = call.weights["weight"][2:] if "weight" in call.weights else call.params["kernel_size"]
    dilation = call.params.get("dilation", [1] * axes)
    stride = call.params.get("stride", [1] * axes)
    sides: list[int] = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        span = (k - 1) * d + 1
        total = span - 1 if padding == "same_torch" else max((-(-n // s) - 1) * s + span - n, 0)
        sides += [total // 2, total - total // 2]
    return sides


def read_calls(described: Sequence[Mapping[str, Any]]) -> list[Call]:
    """The calls of a description."""
    return [
        Call(
            index,
            str(found["name"]),
            str(found["op"]),
            str(found["detail"]),
            found["params"],
            {name: tuple(shape) for name, shape in found["weights"].items()},
            tuple(tuple(group) for group in found["sources"]),
            tuple(tuple(shape) for shape in found["shapes"]),
            tuple(found["shape"]),
            str(found.get("kind", FLOAT32)),
        )
        for index, found in enumerate(described)
    ]


def build_units(calls: Sequence[Call], outputs: Sequence[Sequence[int]] = ()) -> list[Unit]:
    """The units, in the order in which they end."""
    through = {call.index: call for call in calls if call.transparent}

    def resolved(groups: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        found = []
        for group in groups:
            members: set[int] = set()
            for source in group:
                at = source
                seen = [at]
                while at in through and through[at].sources and through[at].sources[0]:
                    at = through[at].sources[0][0]
                    seen.append(at)
                members.add(at)
            found.append(tuple(sorted(members)))
        return tuple(found)

    sources = {call.index: resolved(call.sources) for call in calls}
    users: dict[int, int] = {}
    for call in calls:
        if call.index not in through:
            for group in sources[call.index]:
                for source in group:
                    users[source] = users.get(source, 0) + 1
    for group in resolved(outputs):
        for source in group:
            users[source] = users.get(source, 0) + 1
    by_index = {call.index: call for call in calls}
    joined: dict[int, Call] = {}
    for call in calls:
        first = sources[call.index][0] if sources[call.index] else ()
        before = by_index.get(first[0]) if len(first) == 1 else None
        if before is not None and users.get(before.index) == 1 and _joins(before, call):
            joined[before.index] = call
    units: list[Unit] = []
    number_of: dict[int, int] = {}
    heads = {after.index: by_index[index] for index, after in joined.items()}
    for call in calls:
        if call.index in through or call.index in joined:
            continue
        head = heads.get(call.index)
        chain = (head, call) if head is not None else (call,)
        groups = tuple(
            tuple(
                source if source < 0 else number_of[source]
                for source in group
                if source < 0 or source in number_of
            )
            for group in sources[chain[0].index]
        )
        number_of[call.index] = len(units)
        units.append(Unit(len(units), chain, groups))
    return units


def _joins(before: Call, call: Call) -> bool:
    if before.op == "pad" and call.op in PADDED:
        spatial = not any(before.params["sides"][:4])
        return spatial and before.params["mode"] in ("constant", *_MODES)
    if {before.op, call.op} == {"reshape", "permute"}:
        return _takes_apart(before, call)
    flat = before.op == "reshape" and len(before.shape) == 2 and len(before.shapes[0]) > 2
    return flat and call.op == "linear" and before.shape[0] == before.shapes[0][0]


def _takes_apart(before: Call, call: Call) -> bool:
    """[reshape to (N, C, pixels), permute] or [permute to (N, *space, C), reshape], as `Unit.tokens` says."""
    image = before.shapes[0] if before.shapes else ()
    if len(image) < 4 or len(call.shape) != 3:
        return False
    pixels = prod(image[2:])
    if call.shape != (image[0], pixels, image[1]) or any(
        each.params.get("out_last") for each in (before, call)
    ):
        return False
    if before.op == "permute":
        return list(before.params["dims"]) == [0, *range(2, len(image)), 1]
    return before.shape == (image[0], image[1], pixels) and list(call.params["dims"]) == [0, 2, 1]


def _bare(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def squeezed(shape: Shape) -> Shape:
    """A shape without its axes of one: (1, 64, 1, 1) and (1, 64) hold the same numbers in the same order."""
    return _bare(shape)


def linearized(units: Sequence[Unit]) -> list[int]:
    """The units in an order that depends on the graph alone: along each branch to its end, the longest first.

    Two frameworks run the branches of a block in different orders; this one is the same for both.
    """
    depth: dict[int, int] = {}
    for unit in units:
        known = [depth[s] for group in unit.sources for s in group if s >= 0]
        depth[unit.number] = 1 + max(known, default=0)
    order: list[int] = []
    seen: set[int] = set()
    used = {s for unit in units for group in unit.sources for s in group}
    ends = [unit.number for unit in units if unit.number not in used]
    for end in ends:
        stack: list[tuple[int, bool]] = [(end, False)]
        while stack:
            number, done = stack.pop()
            if number in seen:
                continue
            if done:
                seen.add(number)
                order.append(number)
                continue
            unit = units[number]
            groups = [[s for s in group if s >= 0] for group in unit.sources]
            flat = [s for group in groups for s in group]
            if unit.op in ORDERLESS:
                flat.sort(key=lambda s: (-depth[s], units[s].op))
            stack.append((number, True))
            stack += [(s, False) for s in reversed(flat)]
    return order
