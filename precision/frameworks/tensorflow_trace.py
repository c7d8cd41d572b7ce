"""Records the layers that a Keras model calls, and the raw TensorFlow operations between them.

Known layers are one call each (their activation is a second one). What runs outside of them, `x + y` in a
subclassed model, is seen through TensorFlow's own operation callbacks, which see every eager operation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import op_callbacks

from precision.frameworks import tensorflow_trace_attention as attention
from precision.frameworks import tensorflow_trace_functions as functions
from precision.frameworks import tensorflow_trace_layers as layers
from precision.frameworks import tensorflow_trace_operations as operations
from precision.frameworks.tensorflow_tensors import state
from precision.frameworks.tensorflow_trace_gradients import TensorFlowGraphs, entered, executed
from precision.tracing.autograd import Swap
from precision.tracing.tape import (
    RANDOM,
    UNKNOWN,
    Call,
    Frame,
    Tape,
    TraceError,
    Weight,
    channels_first,
    channels_last,
)

Float32 = NDArray[np.float32]
FRAMEWORK = "tensorflow"
_MODULES = (tf.nn, keras.activations, keras.ops, keras.ops.nn)


class TensorFlowFrame(Frame):
    """Eager tensors; channels last where the layer says so."""

    def to_array(self, tensor: Any, last: bool) -> Float32:
        return channels_first(tensor.numpy(), last)

    def to_tensor(self, array: Float32, like: Any, last: bool) -> Any:
        return tf.constant(channels_last(array, last))

    def is_number(self, tensor: Any) -> bool:
        return isinstance(tensor, tf.Tensor) and tensor.dtype == tf.float32

    def kind(self, tensor: Any) -> str:
        return str(tensor.dtype.name)


class Recorder:
    """Stands in for `Layer.__call__` and listens to the operations, for one pass."""

    def __init__(self, tape: Tape, model: Any) -> None:
        self.tape, self.model = tape, model
        self.path: list[str] = []
        self.quiet = False
        self._variables = {id(each.value.handle): each for each in model.variables}

    @contextmanager
    def listening(self) -> Iterator[None]:
        original = keras.layers.Layer.__call__

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._called(original, layer, args, kwargs)

        replaced = [
            (module, name, getattr(module, name))
            for module in _MODULES
            for name in functions.COMPOSED
            if hasattr(module, name)
        ]
        keras.layers.Layer.__call__ = call
        for module, name, function in replaced:
            setattr(module, name, self._function(name, function))
        attend = getattr(attention.HEADS, attention.METHOD)
        setattr(attention.HEADS, attention.METHOD, attention.attention(self, attend))
        op_callbacks.add_op_callback(self._operation)
        try:
            yield
        finally:
            setattr(attention.HEADS, attention.METHOD, attend)
            op_callbacks.remove_op_callback(self._operation)
            for module, name, function in replaced:
                setattr(module, name, function)
            keras.layers.Layer.__call__ = original

    @contextmanager
    def silence(self) -> Iterator[None]:
        before, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = before

    def _called(self, original: Callable[..., Any], layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self.quiet:
            return original(layer, *args, **kwargs)
        if not layers.is_leaf(layer):
            return self._composite(original, layer, args, kwargs)
        inputs = args[0] if args else kwargs.get("inputs")
        operands = tuple(tf.nest.flatten(inputs)) if inputs is not None else ()
        with self.silence():
            operands = tuple(
                each if isinstance(each, tf.Tensor) else tf.convert_to_tensor(each) for each in operands
            )
            if type(layer) is attention.EINSUM:
                return self._flat_dense(original, layer, operands[0], kwargs)
            training, looked_up = self._training(layer, kwargs), attention.embedding_call(layer, operands)
            found = layers.call_of(layer, operands, training, self.tape.last(operands))
            call, last_in, last_out = found if looked_up is None else (looked_up, False, False)
            numbers = looked_up is not None or all(each.dtype.is_floating for each in operands)
            if call.op == UNKNOWN or not numbers:
                call = Call(UNKNOWN if call.op != RANDOM else call.op, operands, call.params, {}, call.detail)
            activation = layers.activation_of(layer) if call.op != UNKNOWN else None
            structure = inputs

            def compute(given: tuple[Any, ...]) -> Any:
                packed = tf.nest.pack_sequence_as(structure, list(given))
                rest = args[1:] if args else ()
                return self._computed(original, layer, (packed, *rest), kwargs, activation is not None)

            name = ".".join([*self.path, layer.name])
            output = self.tape.record(call, name, compute, last_in, last_out)
        if activation is not None:
            output = self._activated(activation, output, name, last_out)
        return output

    def _flat_dense(self, original: Callable[..., Any], layer: Any, x: Any, kwargs: dict[str, Any]) -> Any:
        """An `EinsumDense`, as a linear layer where its equation is one."""
        dense = attention.FlatDense(layer, x)
        activation = layers.activation_of(layer) if dense.known else None
        name = ".".join([*self.path, layer.name])

        def compute(given: tuple[Any, ...]) -> Any:
            fed = dense.native(given[0]) if dense.known else given[0]
            output = self._computed(original, layer, (fed,), kwargs, activation is not None)
            return dense.flat_output(output) if dense.known else output

        if not dense.known or not self.tape.frame.is_number(x):
            return self.tape.record(Call(UNKNOWN, (x,), detail="EinsumDense"), name, compute, False, False)
        operand = dense.flat(x)
        self.tape.mark(operand, self.tape.producers([x]), False)
        found = self.tape.record(dense.call(operand), name, compute, False, False)
        output = dense.native_output(found)
        self.tape.mark(output, self.tape.producers([found]), False)
        return output if activation is None else self._activated(activation, output, name, False)

    def _training(self, layer: Any, kwargs: Mapping[str, Any]) -> bool:
        given = kwargs.get("training")
        if given is None:
            found = layer._get_call_context()
            given = getattr(found, "training", None)
        return bool(given)

    def _computed(
        self, original: Callable[..., Any], layer: Any, args: Any, kwargs: Any, without_activation: bool
    ) -> Any:
        kwargs = {key: value for key, value in kwargs.items() if key != "inputs"}
        own = layer.__dict__.get("activation")
        if without_activation:
            layer.__dict__["activation"] = None
        try:
            if state["jit_compile"]:
                return tf.function(lambda *given: original(layer, *given, **kwargs), jit_compile=True)(*args)
            return original(layer, *args, **kwargs)
        finally:
            if without_activation:
                layer.__dict__["activation"] = own

    def _activated(self, activation: Any, output: Any, name: str, last: bool) -> Any:
        if isinstance(activation, keras.layers.Layer):
            return activation(output)
        call = functions.activation_call(activation, output, last)
        with self.silence():
            return self.tape.record(call, f"{name}.{call.op}", lambda given: activation(given[0]), last, last)

    def _function(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of many operations, recorded as one call."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(function).bind(*args, **kwargs)
            given.apply_defaults()
            x, *_ = given.arguments.values()
            known = self.tape.known(x) is not None and self.tape.frame.is_number(x)
            found = functions.composed_call(name, x, given.arguments) if known and not self.quiet else None
            if found is None:
                return function(*args, **kwargs)
            rest = dict(list(given.arguments.items())[1:])
            last = self.tape.last([x])
            with self.silence():
                word = ".".join([*self.path, found.op])
                return self.tape.record(found, word, lambda new: function(new[0], **rest), last, last)

        return call

    def _composite(self, original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
        named = layer is not self.model
        if named:
            self.path.append(layer.name)
        try:
            return original(layer, *args, **kwargs)
        finally:
            if named:
                self.path.pop()

    def _operation(
        self, kind: Any, inputs: Any, attributes: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> None:
        if self.quiet or graph is not None:
            return
        name = kind.decode() if isinstance(kind, bytes) else str(kind)
        tensors = [each for each in inputs if isinstance(each, tf.Tensor)]
        tracked = any(self.tape.known(each) is not None for each in tensors)
        with self.silence():
            self._hold(name, inputs, tensors, outputs)
        viewed = list(inputs)
        if name in operations.RANDOM:
            call = Call(RANDOM, (), detail=name)
            last_in = last_out = False
        elif not tracked or not outputs:
            return
        elif name in operations.MOVES:
            producers, last = self.tape.producers(tensors), self.tape.last(tensors)
            for each in outputs:
                self.tape.mark(each, producers, last and len(each.shape) > 2)
            return
        else:
            with self.silence():
                viewed = self._untransposed(name, inputs, _pairs(attributes))
                found = operations.call_of(name, viewed, _pairs(attributes), outputs, self.tape)
            if found is None or not all(map(self.tape.frame.is_number, found[0].operands)):
                numbers = tuple(each for each in tensors if self.tape.known(each) is not None)
                last = self.tape.last(tensors)
                found = Call(UNKNOWN, numbers, detail=f"tf {name}"), last, last and len(outputs[0].shape) > 2
            call, last_in, last_out = found

        def compute(given: tuple[Any, ...]) -> Any:
            swap = Swap(call.operands, given)
            if not swap and not self.tape.recomputes(call):
                return list(outputs) if len(outputs) > 1 else outputs[0]
            fed = []
            for own, view in zip(inputs, viewed, strict=True):
                new = swap(view)
                if own is not view:
                    new = own if new is view else tf.linalg.matrix_transpose(new)
                fed.append(new)
            new = executed(self.tape, name, fed, attributes, len(outputs))
            return new if len(new) > 1 else new[0]

        word = name if call.op == UNKNOWN else call.op
        with self.silence():
            result = self.tape.record(call, ".".join([*self.path, word]), compute, last_in, last_out)
        # The list itself is what the operation returns.
        outputs[:] = result if isinstance(result, list) else [result]

    def _untransposed(self, name: str, inputs: Any, attributes: Mapping[str, Any]) -> list[Any]:
        """The operands of a product as they are multiplied: of each that is transposed for it the view.

        A product that transposes an operand by itself is two calls, as it is where it is written so.
        """
        given = list(inputs)
        for at, flags in enumerate(operations.TRANSPOSED.get(name, ())):
            x = given[at]
            if not any(attributes.get(flag) for flag in flags) or self.tape.held(x) is not None:
                continue
            rank = len(x.shape)
            call = Call("permute", (x,), {"dims": [*range(rank - 2), rank - 1, rank - 2]}, {}, "transpose")
            if self.tape.known(x) is None:
                view = tf.linalg.matrix_transpose(x)
            else:
                word = ".".join([*self.path, "permute"])
                view = self.tape.record(
                    call, word, lambda new: tf.linalg.matrix_transpose(new[0]), False, False
                )
            given[at] = view
        return given

    def _hold(self, name: str, inputs: Any, tensors: list[Any], outputs: Any) -> None:
        """Remember tensors that hold the numbers of one of the model's variables."""
        if name == "ReadVariableOp":
            variable = self._variables.get(id(inputs[0]))
            if variable is not None and outputs[0].dtype == tf.float32:
                weight = Weight(lambda: np.array(variable, np.float32), variable.assign)
                self.tape.hold(outputs[0], weight)
                if isinstance(self.tape.graphs, TensorFlowGraphs):
                    self.tape.graphs.read(variable)
        held = self.tape.held(tensors[0]) if name in operations.SPREADS and tensors else None
        spread = None if held is None else operations.spread(held, outputs[0])
        if spread is not None:
            self.tape.hold(outputs[0], spread)


def _pairs(attributes: Any) -> dict[str, Any]:
    found = list(attributes or ())
    return dict(zip(found[::2], found[1::2], strict=True))


def _given(tensors: list[Any], names: Sequence[str]) -> Any:
    """What the model is called with."""
    if names:
        return dict(zip(names, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else tensors


class Model:
    """A loaded Keras model, ready for passes."""

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, keras.Model | keras.layers.Layer):
            raise TraceError(
                f"in a TensorFlow mode model() returns a keras.Model; {where} returned a "
                f"{type(found).__name__}; return the model, or give the mode of its framework"
            )
        self.model = found
        self._built = False

    def default_shape(self) -> list[int] | None:
        """The input's shape, where the model knows it, for one sample."""
        shape = getattr(self.model, "input_shape", None)
        if not isinstance(shape, tuple) or any(not isinstance(n, int) for n in shape[1:]):
            return None
        return [1 if shape[0] is None else int(shape[0]), *shape[1:]]

    def input_last(self, rank: int) -> bool:
        """Whether inputs lie channels last: as the first layer wants them that has a data_format."""
        if rank < 3:
            return False
        for layer in self._layers():
            if rank == 3 and isinstance(layer, layers.SEQUENTIAL):
                return False
            if hasattr(layer, "data_format"):
                return bool(layer.data_format == "channels_last")
        return False

    def notes(self) -> list[str]:
        return []

    def run(self, tape: Tape, inputs: list[NDArray[Any]], seed: int, names: Sequence[str] = ()) -> list[Any]:
        """One pass; all variables, those of seeds included, are put back.  names: keys of the inputs."""
        tensors = [tf.constant(array) for array in inputs]
        lasts = [self.input_last(len(tensor.shape)) for tensor in tensors]
        if not self._built:
            # Layers without weights yet would be built in the middle of the pass, on symbolic tensors.
            self.model(_given(tensors, names))
            self._built = True
        variables = list(self.model.variables)
        before = [np.array(variable) for variable in variables]
        keras.utils.set_random_seed(seed)
        recorder = Recorder(tape, self.model)
        try:
            with (
                tf.device(state["device"]),
                nullcontext() if tape.graphs is None else tape.graphs.running(self.model),
            ):
                tensors = entered(tape, tensors, lasts)
                for k, (tensor, last) in enumerate(zip(tensors, lasts, strict=True)):
                    tape.mark(tensor, frozenset([-1 - k]), last)
                with recorder.listening():
                    output = self.model(_given(tensors, names))
                found = [each for each in tf.nest.flatten(output) if isinstance(each, tf.Tensor)]
                if tape.finish is not None:
                    tape.finish(found)
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
        return found

    def _layers(self) -> Iterator[Any]:
        return iter(self.model._flatten_layers(include_self=False, recursive=True))


def seeded(seed: int) -> None:
    """Set every generator that a model file may draw weights from."""
    keras.utils.set_random_seed(seed)


def frame() -> Frame:
    return TensorFlowFrame()


def graphs(whole: bool) -> TensorFlowGraphs:
    return TensorFlowGraphs(whole)
