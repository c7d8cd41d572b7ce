"""The tape of one pass of a model, at the worker's end: which calls were made, on what, in which order.

A framework's recorder hands every call over as a `Call`; the tape numbers it, knows which calls its operands
come from, sends arrays to the parent where the pass asks for them, and takes replacements from it.

Passes: `describe` sends nothing; `ordinary` sends inputs and output of every unit; `truth` does too, and puts
the output that the parent answers in its place; `fed` asks before every unit for its inputs as well. Passes
with gradients are `gradients` and `total`, see `precision.tracing.autograd`. A unit is one call, or a chain
of them: [pad, convolution].
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from precision.tracing.autograd import CUT, Graphs

Float32 = NDArray[np.float32]
Exchange = Callable[[Mapping[str, Any], Mapping[str, Float32]], tuple[dict[str, Any], dict[str, Float32]]]

_REPLACING, _FED = ("truth", "fed"), ("fed", CUT)
UNKNOWN, RANDOM, IDENTITY = "unknown", "random", "identity"


class TraceError(Exception):
    """The model cannot be traced further; one line."""


@dataclass(frozen=True)
class Weight:
    """A parameter of a call in the canonical layout (channels first, O,I,*kernel); `put` is None where it
    is not a parameter of the model but was computed.

    native: the framework's tensor or variable as the call takes it, None where there is none to
    differentiate. turn: from its layout to the canonical one. rows: which part of it, where it is not all.
    """

    get: Callable[[], Float32]
    put: Callable[[Float32], None] | None = None
    native: Any = None
    turn: Callable[[Float32], Float32] | None = None
    rows: str = ""

    def canonical(self, array: Float32) -> Float32:
        """An array that lies as the native tensor does, its gradient say, in the canonical layout."""
        return np.array(array if self.turn is None else self.turn(array), np.float32, order="C", copy=True)


@dataclass(frozen=True)
class Call:
    """One call as a declaration, arrays channels first; `detail` is the framework's name of it.

    operands: native tensors. last: whether they lie channels last. tags: what the output's layout is.
    """

    op: str
    operands: tuple[Any, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    detail: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of a tensor: the calls it comes from (-1, -2, … are the model's inputs), its layout."""

    reference: Any
    producers: frozenset[int]
    last: bool


class Frame:
    """How a framework's tensors become canonical arrays and back; implemented by each recorder."""

    def to_array(self, tensor: Any, last: bool) -> Float32:
        raise NotImplementedError

    def to_tensor(self, array: Float32, like: Any, last: bool) -> Any:
        raise NotImplementedError

    def is_number(self, tensor: Any) -> bool:
        """Whether it is a float32 tensor."""
        raise NotImplementedError

    def kind(self, tensor: Any) -> str:
        """The name of its dtype."""
        raise NotImplementedError


class Tape:
    """One pass; `units` are lists of call numbers, first to last."""

    def __init__(
        self,
        frame: Frame,
        kind: str,
        exchange: Exchange,
        units: Sequence[Sequence[int]] = (),
        expected: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.frame, self.kind, self.exchange = frame, kind, exchange
        self.starts = {unit[0]: number for number, unit in enumerate(units)}
        self.ends = {unit[-1]: number for number, unit in enumerate(units)}
        self.expected = expected
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[Mapping[str, Weight]] = []
        """Of every call of a `describe` pass."""
        self._known: dict[int, Known] = {}
        self._held: dict[int, tuple[Any, Weight]] = {}
        self._open: dict[int, list[Float32]] = {}
        self._names: dict[str, int] = {}
        self.graphs: Graphs | None = None
        """Of a pass with gradients."""
        self.finish: Callable[[Sequence[Any]], None] | None = None
        """What such a pass does with the model's outputs, before the model's state is put back."""

    # tensors

    def mark(self, tensor: Any, producers: frozenset[int], last: bool) -> None:
        """Remember where a tensor comes from, for as long as it lives."""
        key = id(tensor)
        reference = weakref.ref(tensor, lambda gone: self._forget(key, gone))
        self._known[key] = Known(reference, producers, last)

    def _forget(self, key: int, gone: Any) -> None:
        known = self._known.get(key)
        if known is not None and known.reference is gone:
            del self._known[key]

    def known(self, tensor: Any) -> Known | None:
        found = self._known.get(id(tensor))
        return found if found is not None and found.reference() is tensor else None

    def hold(self, tensor: Any, weight: Weight) -> None:
        """Remember that a tensor is what a parameter of the model holds."""
        self._held[id(tensor)] = (tensor, weight)

    def held(self, tensor: Any) -> Weight | None:
        """The parameter whose numbers a tensor has."""
        found = self._held.get(id(tensor))
        return found[1] if found is not None and found[0] is tensor else None

    def producers(self, tensors: Sequence[Any]) -> frozenset[int]:
        """The calls that any of the tensors comes from."""
        found = [self.known(tensor) for tensor in tensors]
        return frozenset().union(*(each.producers for each in found if each is not None))

    def last(self, tensors: Sequence[Any]) -> bool:
        """Whether any of the tensors lies channels last."""
        return any(each.last for tensor in tensors if (each := self.known(tensor)) is not None)

    # calls

    def record(
        self,
        call: Call,
        name: str,
        compute: Callable[[tuple[Any, ...]], Any],
        last_in: bool,
        last_out: bool,
        into: Callable[[Any, Any], Any] | None = None,
        fixed: Sequence[Any] = (),
    ) -> Any:
        """Make one call, and return its output or what stands in its place.

        compute: takes the operands, which may be replaced. into: puts the replacement into the output itself
        (an operation in place); without it the replacement is the result. fixed: operands of which
        `compute` does not do the same with another tensor of the same numbers.
        """
        index = len(self.nodes)
        sources = [sorted(self.producers([operand])) for operand in call.operands]
        operands = call.operands
        unit = self.starts.get(index) if self.kind != "describe" else None
        if unit is not None:
            given = [self.frame.to_array(each, last_in) for each in operands if self.frame.is_number(each)]
            if self.kind in _FED:
                operands, given = self._fed(unit, operands, given, last_in)
            if self.graphs is None:
                self._open[unit] = given
            else:
                tracked = [bool(group) for group in sources]
                operands = self.graphs.start(unit, operands, last_in, self.frame.is_number, fixed, tracked)
        # Numbered before the call, so that calls within it would come after.
        node: dict[str, Any] = {"name": self._unique(name), "op": call.op, "detail": call.detail}
        self.nodes.append(node)
        self._check(index)
        unit = self.ends.get(index) if self.kind != "describe" else None
        if unit is not None and self.graphs is not None:
            self.graphs.weigh(unit, call.weights)
        output = compute(operands)
        main = output[0] if isinstance(output, tuple | list) else output
        node |= {
            "params": dict(call.params),
            "weights": self._weights(call) if self.kind == "describe" else {},
            "sources": sources,
            "last": last_in,
            "shapes": [
                _canonical_shape(each, last_in) for each in call.operands if self.frame.is_number(each)
            ],
            "shape": _canonical_shape(main, last_out),
            "kind": self.frame.kind(main) if _has_shape(main) else "",
            "notes": list(call.notes),
        }
        if unit is not None and self.graphs is not None:
            output = self._held_back(self.graphs, unit, call, output, last_out, into)
        elif unit is not None and self.frame.is_number(main):
            replaced = self._sent(unit, call, main, last_out)
            if replaced is not None:
                tensor = self.frame.to_tensor(replaced, main, last_out)
                new = into(main, tensor) if into is not None else tensor
                output = new if main is output else type(output)([new, *output[1:]])
        for each in output if isinstance(output, tuple | list) else (output,):
            if _has_shape(each):
                self.mark(each, frozenset([index]), last_out)
        return output

    def recomputes(self, call: Call) -> bool:
        """Whether a call that was made already is made again within a unit that is cut off: only what is made
        between its start and its end is sure to be in its graph."""
        if self.kind != CUT or self.graphs is None or call.op == RANDOM:
            return False
        return any(part.output is None for part in self.graphs.parts.values())

    def _held_back(
        self,
        graphs: Graphs,
        unit: int,
        call: Call,
        output: Any,
        last: bool,
        into: Callable[[Any, Any], Any] | None,
    ) -> Any:
        """The output of a unit in a pass with gradients: its graph is held, and its numbers go on alone."""
        several = isinstance(output, tuple | list)
        main, *rest = output if several else [output]
        number = self.frame.is_number(main)
        if number:
            graphs.end(unit, main, last)
        if graphs.whole or not _has_shape(main):
            return output
        replaced = self._sent(unit, call, main, last) if number else None
        new = graphs.cut(main) if replaced is None else self.frame.to_tensor(replaced, main, last)
        new = new if into is None else into(main, new)
        return (
            type(output)([new, *(graphs.cut(each) if _has_shape(each) else each for each in rest)])
            if several
            else new
        )

    def _weights(self, call: Call) -> dict[str, list[int]]:
        """The shapes of a call's weights, which are kept for `weights` of this tape."""
        self.weights.append(call.weights)
        return {key: list(weight.get().shape) for key, weight in call.weights.items()}

    def _fed(
        self, unit: int, operands: tuple[Any, ...], given: list[Float32], last: bool
    ) -> tuple[tuple[Any, ...], list[Float32]]:
        """The operands that the parent wants the unit to have: its own, or the other model's."""
        own = {f"in{k}": array for k, array in enumerate(given)}
        head, arrays = self.exchange({"event": "start", "unit": unit}, own)
        if not head.get("feed"):
            return operands, given
        fed, kept, k = [], [], 0
        for operand in operands:
            if not self.frame.is_number(operand):
                fed.append(operand)
                continue
            name = f"in{k}"
            value = arrays.get(name) if self.producers([operand]) else None
            fed.append(operand if value is None else self.frame.to_tensor(value, operand, last))
            kept.append(given[k] if value is None else value)
            k += 1
        return tuple(fed), kept

    def _sent(self, unit: int, call: Call, output: Any, last: bool) -> Float32 | None:
        arrays = {f"in{k}": array for k, array in enumerate(self._open.pop(unit, []))}
        arrays["output"] = self.frame.to_array(output, last)
        if self.kind in _REPLACING:
            arrays |= {f"weight.{key}": weight.get() for key, weight in call.weights.items()}
        head = {"event": "end", "unit": unit, "last": last, "params": dict(call.params)}
        _, answer = self.exchange(head, arrays)
        return answer.get("output") if self.kind in (*_REPLACING, CUT) else None

    def _check(self, index: int) -> None:
        if not self.expected:
            return
        now = self.nodes[index]
        before = self.expected[index] if index < len(self.expected) else {"name": "nothing", "op": "no call"}
        if (now["name"], now["op"]) != (before["name"], before["op"]):
            raise TraceError(
                f"a model makes the same calls on every pass; call {index} was {before['op']} "
                f"({before['name']}) and is now {now['op']} ({now['name']}); remove what depends on the data"
            )

    def _unique(self, name: str) -> str:
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}#{self._names[name]}"


def _has_shape(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _canonical_shape(tensor: Any, last: bool) -> list[int]:
    shape = [int(n) for n in getattr(tensor, "shape", ())]
    return [shape[0], shape[-1], *shape[1:-1]] if last and len(shape) > 2 else shape


def channels_first(array: NDArray[Any], last: bool) -> Float32:
    """A copy with the channels on axis 1, from one with the channels last."""
    moved = np.moveaxis(array, -1, 1) if last and array.ndim > 2 else array
    return np.array(moved, np.float32, order="C", copy=True)


def channels_last(array: Float32, last: bool) -> Float32:
    """The way back."""
    moved = np.moveaxis(array, 1, -1) if last and array.ndim > 2 else array
    return np.ascontiguousarray(moved, np.float32).reshape(moved.shape)
