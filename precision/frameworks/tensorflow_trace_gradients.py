"""TensorFlow's autograd in a trace: a tape of each unit, or one tape of the whole model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import context, execute, record

from precision.tracing.autograd import Graphs
from precision.tracing.tape import Tape

_MASK = "_keras_mask"


class TensorFlowGraphs(Graphs):
    """A unit's tape runs from its start to its end, and watches its operands and weights alone; -1 is the
    tape of the whole model."""

    def __init__(self, whole: bool) -> None:
        super().__init__(whole)
        self._tapes: dict[int, Any] = {}
        self._running: set[int] = set()
        self.made: Any = None
        """The first output of the operation that was executed last in place of another."""
        self._reads: Counter[int] = Counter()
        """How often variables were read outside of layers."""

    @contextmanager
    def running(self, model: Any) -> Iterator[None]:
        """In a whole pass every float32 variable of the model is watched, a frozen one too."""
        if self.whole:
            tape = self._tape(-1)
            for variable in model.variables:
                if variable.value.dtype == tf.float32:
                    tape.watch(variable.value)
        original = execute.record_gradient

        def recorded(name: Any, inputs: Any, attributes: Any, outputs: Any) -> None:
            # What was put in an operation's place is on the tape with its own operands.
            if self.made is None or not outputs or outputs[0] is not self.made:
                original(name, inputs, attributes, outputs)

        execute.record_gradient = recorded
        try:
            yield
        finally:
            execute.record_gradient = original
            for unit in list(self._running):
                self._leave(unit)

    def _tape(self, unit: int) -> Any:
        unit = -1 if self.whole else unit
        if unit not in self._tapes:
            self._tapes[unit] = tf.GradientTape(watch_accessed_variables=False)
            self._tapes[unit].__enter__()
            self._running.add(unit)
        return self._tapes[unit]

    def _leave(self, unit: int) -> None:
        if unit in self._running:
            self._running.remove(unit)
            self._tapes[unit].__exit__(None, None, None)

    def entering(self, tensor: Any) -> tuple[Any, Any]:
        if tensor.dtype != tf.float32:
            return tensor, None
        self._tape(-1).watch(tensor)
        return tensor, tensor

    def taken(self, unit: int, tensor: Any) -> tuple[Any, Any]:
        tape, alias = self._tape(unit), _copy(tensor)
        if not self.whole:
            tape.watch(alias)
        return alias, alias

    def flows(self, tensor: Any) -> bool:
        self._tape(-1)
        return bool(record.should_record_backprop([tensor]))

    def watch(self, unit: int, weight: Any) -> None:
        native, tape = _native(weight), self._tape(unit)
        if not self.whole and native.dtype == tf.float32:
            tape.watch(native)

    def handle(self, unit: int, output: Any) -> Any:
        if not self.whole:
            self._leave(unit)
        return output

    def cut(self, tensor: Any) -> Any:
        return _copy(tensor)

    def drop(self, unit: int) -> None:
        self._tapes.pop(unit, None)

    def identity(self, weight: Any) -> int:
        return id(_native(weight))

    def read(self, variable: Any) -> None:
        """A variable is read by an operation of its own."""
        self._reads[self.identity(variable)] += 1

    def uses(self, weight: Any) -> int:
        reads = self._reads[self.identity(weight)]
        return 1 + reads if reads else 0

    def gradients(
        self, unit: int, outputs: Sequence[Any], cotangents: Sequence[Any], sources: Sequence[Any]
    ) -> list[Any]:
        self._leave(unit)
        natives = [_native(each) for each in sources]
        at = [k for k, each in enumerate(natives) if each is not None]
        found: list[Any] = [None] * len(natives)
        tape = self._tapes.pop(unit)
        if not outputs:
            return found
        results = tape.gradient(list(outputs), [natives[k] for k in at], output_gradients=list(cotangents))
        for k, result in zip(at, results, strict=True):
            # The gradient of a table is one of its rows alone.
            found[k] = None if result is None else tf.cast(tf.convert_to_tensor(result), tf.float32)
        return found


def _native(weight: Any) -> Any:
    return weight.value if isinstance(weight, keras.Variable) else weight


def _copy(tensor: Any) -> Any:
    """The same numbers in another tensor; Keras's mask goes with it."""
    copy = tf.identity(tensor)
    if hasattr(tensor, _MASK):
        setattr(copy, _MASK, getattr(tensor, _MASK))
    return copy


def entered(tape: Tape, tensors: list[Any], lasts: Sequence[bool]) -> list[Any]:
    """The inputs as the model is given them."""
    if tape.graphs is None:
        return tensors
    pairs = enumerate(zip(tensors, lasts, strict=True))
    return [tape.graphs.enter(f"in{k}", each, last) for k, (each, last) in pairs]


def executed(tape: Tape, name: str, inputs: Sequence[Any], attributes: Any, outputs: int) -> list[Any]:
    """An operation in the place of another, executed as the tapes see it."""
    found = execute.quick_execute(name, outputs, list(inputs), attributes, context.context())
    if isinstance(tape.graphs, TensorFlowGraphs):
        execute.record_gradient(name, list(inputs), attributes, found)
        tape.graphs.made = found[0]
    return list(found)
