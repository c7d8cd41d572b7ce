"""Keras's attention, einsum layers and embeddings as declarations.

`MultiHeadAttention` is five layers, as in other frameworks: the projections of query, key and value, the
attention itself, the projection of its output. The projections are `EinsumDense`: linear layers whose
inputs or outputs are shaped (…, heads, width); they are recorded flat.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from precision.frameworks.tensorflow_tensors import state
from precision.tracing.attention import ATTENTION
from precision.tracing.tape import RANDOM, UNKNOWN, Call, Weight

if TYPE_CHECKING:
    from precision.frameworks.tensorflow_trace import Recorder

Float32 = NDArray[np.float32]
HEADS = keras.layers.MultiHeadAttention
EINSUM = keras.layers.EinsumDense
METHOD = "_compute_attention"
_TURN = (0, 2, 1, 3)


def embedding_call(layer: Any, operands: tuple[Any, ...]) -> Call | None:
    """Rows of a table, by indices; None for another layer."""
    if type(layer) is not keras.layers.Embedding or len(operands) != 1:
        return None
    table, indices = layer.embeddings, operands[0]
    if not hasattr(table, "assign"):
        return None  # a low-rank change is added to it
    weight = Weight(lambda: np.array(table, np.float32), table.assign, native=table)
    found = np.array(indices)
    held = {"weight": weight, "indices": Weight(lambda: np.array(found, np.float32))}
    return Call("embedding", operands, {}, held, "Embedding")


class FlatDense:
    """An `EinsumDense` as a linear layer; `flat` is None where its equation is something else."""

    def __init__(self, layer: Any, x: Any) -> None:
        self.layer, self.shape = layer, [int(n) for n in x.shape]
        self.width = _contracted(layer.equation)
        self.known = self.width > 0 and hasattr(layer, "_kernel")
        if self.known:
            self.lead = self.shape[: -self.width]
            self.inputs = int(np.prod(self.shape[-self.width :]))
            kernel = [int(n) for n in layer._kernel.shape]
            self.outputs = int(np.prod(kernel[self.width :]))
            self.after = [*self.lead, *kernel[self.width :]]
            bias = layer.bias
            self.known = bias is None or int(np.prod(bias.shape)) == self.outputs

    def flat(self, x: Any) -> Any:
        return tf.reshape(x, [*self.lead, self.inputs])

    def native(self, x: Any) -> Any:
        return tf.reshape(x, self.shape)

    def flat_output(self, y: Any) -> Any:
        return tf.reshape(y, [*self.lead, self.outputs])

    def native_output(self, y: Any) -> Any:
        return tf.reshape(y, self.after)

    def call(self, operand: Any) -> Call:
        kernel, bias = self.layer._kernel, self.layer.bias

        def turn(array: Float32) -> Float32:
            return array.reshape(self.inputs, self.outputs).T

        def get() -> Float32:
            return np.ascontiguousarray(turn(np.array(kernel, np.float32)))

        def put(array: Float32) -> None:
            kernel.assign(array.T.reshape(kernel.shape))

        held = {"weight": Weight(get, put, native=kernel, turn=turn)}
        if bias is not None:
            held["bias"] = Weight(
                lambda: np.array(bias, np.float32).reshape(-1),
                lambda array: bias.assign(array.reshape(bias.shape)),
                native=bias,
                turn=lambda array: array.reshape(-1),
            )
        return Call("linear", (operand,), {}, held, "EinsumDense")


def _contracted(equation: str) -> int:
    """How many last axes of the input an equation contracts, as a linear layer does; 0 if it is none."""
    taken, _, out = equation.replace(" ", "").partition("->")
    left, _, kernel = taken.partition(",")
    if "." in equation or not kernel:
        return 0
    summed = "".join(letter for letter in kernel if letter not in out)
    made = kernel[len(summed) :]
    fits = bool(summed) and kernel.startswith(summed) and left.endswith(summed)
    return len(summed) if fits and out == left[: -len(summed)] + made else 0


def attention(recorder: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in for `MultiHeadAttention._compute_attention`: recorded as one layer."""

    def compute_attention(
        layer: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: Any = None,
        return_attention_scores: bool = False,
        **rest: Any,
    ) -> Any:
        given = {"training": training, "return_attention_scores": return_attention_scores, **rest}
        operands = (query, key, value)
        if recorder.quiet:
            return original(layer, *operands, attention_mask, **given)
        fits = all(isinstance(each, tf.Tensor) and len(each.shape) == 4 for each in operands)
        random = bool(training) and layer._dropout > 0.0
        with recorder.silence():
            turned = [_turned(each) if fits else each for each in operands]
            for each, own in zip(turned, operands, strict=True):
                recorder.tape.mark(each, recorder.tape.producers([own]), False)
            held = {}
            mask = _added(attention_mask, bool(rest.get("use_causal_mask")), query, key)
            if mask is not None:
                held["mask"] = Weight(lambda: mask)
            params = {"scale": float(layer._inverse_sqrt_key_dim), "heads": int(layer._num_heads)}
            call = Call(ATTENTION, tuple(turned), params, held, "MultiHeadAttention")
            if random or not fits or not all(map(recorder.tape.frame.is_number, operands)):
                call = Call(RANDOM if random else UNKNOWN, tuple(turned), detail="MultiHeadAttention")

            def compute(new: tuple[Any, ...]) -> Any:
                own = [_turned(each) if fits else each for each in new]
                run = functools.partial(original, layer, attention_mask=attention_mask, **given)
                if state["jit_compile"]:
                    run = tf.function(run, jit_compile=True)
                output, scores = run(*own)
                return (_turned(output) if fits else output), scores

            name = ".".join([*recorder.path, ATTENTION])
            output, scores = recorder.tape.record(call, name, compute, False, False)
            back = _turned(output) if fits else output
            recorder.tape.mark(back, recorder.tape.producers([output]), False)
        return back, scores

    return compute_attention


def _turned(x: Any) -> Any:
    """(N, T, heads, width) as (N, heads, T, width), and back."""
    return tf.transpose(x, _TURN)


def _added(mask: Any, causal: bool, query: Any, key: Any) -> Float32 | None:
    """A boolean mask as numbers that are added to the scores, (N, 1 or heads, T, S)."""
    if mask is None and not causal:
        return None
    seen = (
        np.tri(int(query.shape[1]), int(key.shape[1]), dtype=bool) if mask is None else np.array(mask, bool)
    )
    seen = seen[:, None] if seen.ndim == 3 else seen
    return np.where(seen, np.float32(0), np.float32(-np.inf))
