"""Keras layers as declarations: which op of the reference each is, its weights channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from precision.frameworks.tensorflow_trace_functions import Found, activation_call, axis_of, reshaped
from precision.tracing.tape import IDENTITY, RANDOM, UNKNOWN, Call, Weight

Float32 = NDArray[np.float32]
Turn = Callable[[Float32], Float32]

_CONTAINERS = (keras.Model, keras.Sequential, keras.layers.MultiHeadAttention)


def is_leaf(layer: Any) -> bool:
    """Whether a layer is recorded as one call: every layer of Keras that holds no model of its own."""
    if isinstance(layer, _CONTAINERS):
        return False
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.layers.Wrapper)


def call_of(layer: Any, operands: tuple[Any, ...], training: bool, last: bool) -> Found:
    """The declaration of one call of a layer; op `unknown` for a type that the reference does not have."""
    for kind, build in _BUILDERS.items():
        if type(layer) is kind:
            found = build(layer, operands, training, last)
            if found is not None:
                return found
    if training and type(layer) in _NOISE:
        return Call(RANDOM, operands, detail=type(layer).__name__), last, last
    if not training and type(layer) in _NOISE:
        return Call(IDENTITY, operands, detail=type(layer).__name__), last, last
    return Call(UNKNOWN, operands, detail=type(layer).__name__), last, last


def activation_of(layer: Any) -> Any:
    """The activation that a layer applies to its result, where it is more than nothing."""
    if type(layer) not in _ACTIVATED:
        return None
    found = getattr(layer, "activation", None)
    return None if found is None or found is keras.activations.linear else found


def _weight(variable: Any, to: Turn | None = None, back: Turn | None = None) -> Weight:
    def get() -> Float32:
        array = np.array(variable, np.float32)
        return np.ascontiguousarray(array if to is None else to(array))

    def put(array: Float32) -> None:
        variable.assign(np.ascontiguousarray(array if back is None else back(array)))

    return Weight(get, put, native=variable, turn=to)


def _weights(**variables: Any) -> dict[str, Weight]:
    return {name: _weight(value) for name, value in variables.items() if value is not None}


def _is_last(layer: Any, operands: tuple[Any, ...]) -> bool:
    return bool(layer.data_format == "channels_last") and len(operands[0].shape) > 2


def _kernel(array: Float32) -> Float32:
    """(*kernel, I, O) as (O, I, *kernel)."""
    axes = array.ndim
    return array.transpose(axes - 1, axes - 2, *range(axes - 2))


def _kernel_back(array: Float32) -> Float32:
    return array.transpose(*range(2, array.ndim), 1, 0)


def _conv(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    if layer.padding not in ("same", "valid"):
        return None
    params = {
        "stride": [int(n) for n in layer.strides],
        "padding": layer.padding,
        "dilation": [int(n) for n in layer.dilation_rate],
        "groups": int(layer.groups),
    }
    weights = {"weight": _weight(layer.kernel, _kernel, _kernel_back)}
    if layer.use_bias:
        weights |= _weights(bias=layer.bias)
    last = _is_last(layer, operands)
    return Call(f"conv{layer.rank}d", operands, params, weights, type(layer).__name__), last, last


def _depthwise(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    if layer.padding not in ("same", "valid"):
        return None
    last = _is_last(layer, operands)
    channels = int(operands[0].shape[-1 if last else 1])

    def to(array: Float32) -> Float32:  # (*kernel, C, m) as (C m, 1, *kernel)
        return np.moveaxis(array.reshape(*array.shape[:-2], -1), -1, 0)[:, None]

    def back(array: Float32) -> Float32:
        return np.moveaxis(array[:, 0], 0, -1).reshape(layer.kernel.shape)

    params = {
        "stride": [int(n) for n in layer.strides],
        "padding": layer.padding,
        "dilation": [int(n) for n in layer.dilation_rate],
        "groups": channels,
    }
    weights = {"weight": _weight(layer.kernel, to, back)}
    if layer.use_bias:
        weights |= _weights(bias=layer.bias)
    return Call(f"conv{layer.rank}d", operands, params, weights, type(layer).__name__), last, last


def _conv_transpose(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    if layer.output_padding is not None or layer.padding not in ("same", "valid"):
        return None
    if any(int(n) != 1 for n in layer.dilation_rate):
        return None
    if layer.padding == "valid" and any(s > k for s, k in zip(layer.strides, layer.kernel_size, strict=True)):
        return None  # Keras then makes the result larger than the sums reach
    params = {"stride": [int(n) for n in layer.strides], "padding": layer.padding}
    weights = {"weight": _weight(layer.kernel, _kernel, _kernel_back)}  # (*kernel, O, I) as (I, O, *kernel)
    if layer.use_bias:
        weights |= _weights(bias=layer.bias)
    last = _is_last(layer, operands)
    return Call(f"conv_transpose{layer.rank}d", operands, params, weights, type(layer).__name__), last, last


def _dense(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    weights = {"weight": _weight(layer._kernel, np.transpose, np.transpose)}
    weights |= _weights(bias=layer.bias)
    return Call("linear", operands, {}, weights, "Dense"), False, False


def _batch_norm(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    rank = len(operands[0].shape)
    axis = int(layer.axis) % rank
    if axis not in (1, rank - 1) or layer.renorm:
        return None
    params = {
        "training": bool(training and layer.trainable),
        "eps": float(layer.epsilon),
        "momentum": round(1.0 - float(layer.momentum), 12),
    }
    weights = _weights(
        running_mean=layer.moving_mean,
        running_var=layer.moving_variance,
        weight=layer.gamma if layer.scale else None,
        bias=layer.beta if layer.center else None,
    )
    last = rank > 2 and axis == rank - 1
    return Call("batch_norm", operands, params, weights, "BatchNormalization"), last, last


def _layer_norm(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    shape = [int(n) for n in operands[0].shape]
    given = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    axes = sorted(int(a) % len(shape) for a in given)
    if axes != list(range(axes[0], len(shape))):
        return None
    params = {"normalized_shape": [shape[a] for a in axes], "eps": float(layer.epsilon)}
    weights = _weights(weight=layer.gamma, bias=layer.beta)
    return Call("layer_norm", operands, params, weights, "LayerNormalization"), False, False


def _rms_norm(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    shape = [int(n) for n in operands[0].shape]
    given = list(layer.axis) if isinstance(layer.axis, list | tuple) else [layer.axis]
    if given not in ([-1], [len(shape) - 1]):
        return None
    params = {"normalized_shape": [shape[-1]], "eps": float(layer.epsilon)}
    return Call("rms_norm", operands, params, _weights(weight=layer.scale), "RMSNormalization"), False, False


def _group_norm(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    shape = [int(n) for n in operands[0].shape]
    axis = int(layer.axis) % len(shape)
    if axis not in (1, len(shape) - 1):
        return None
    last = len(shape) > 2 and axis == len(shape) - 1
    groups = shape[axis] if layer.groups == -1 else int(layer.groups)
    params = {"num_groups": groups, "eps": float(layer.epsilon)}
    weights = _weights(weight=layer.gamma if layer.scale else None, bias=layer.beta if layer.center else None)
    return Call("group_norm", operands, params, weights, "GroupNormalization"), last, last


def _pool(kind: str) -> Any:
    def build(layer: Any, operands: Any, training: bool, last: bool) -> Found:
        axes = len(layer.pool_size)
        params: dict[str, Any] = {
            "kernel_size": [int(n) for n in layer.pool_size],
            "stride": [int(n) for n in layer.strides],
            "padding": layer.padding,
        }
        last = _is_last(layer, operands)
        return Call(f"{kind}_pool{axes}d", operands, params, {}, type(layer).__name__), last, last

    return build


def _global_average(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    rank = len(operands[0].shape)
    if layer.data_format == "channels_last" and not last:  # a sequence, (N, T, C), as it is
        params = {"dim": list(range(1, rank - 1)), "keepdim": bool(layer.keepdims)}
        return Call("mean", operands, params, {}, type(layer).__name__), False, False
    last = _is_last(layer, operands)
    params = {"dim": list(range(2, rank)), "keepdim": bool(layer.keepdims)}
    return Call("mean", operands, params, {}, type(layer).__name__), last, last and bool(layer.keepdims)


def _zero_padding(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    given = layer.padding
    pairs = [given] if isinstance(given[0], int) else list(given)
    data_format = getattr(layer, "data_format", "channels_last")
    last = data_format == "channels_last" and len(operands[0].shape) > 2
    sides = [0, 0, 0, 0] + [int(n) for pair in pairs for n in pair]
    params = {"sides": sides, "mode": "constant", "value": 0.0}
    return Call("pad", operands, params, {}, type(layer).__name__), last, last


def _flatten(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    # Keras brings channels-first data into channels-last order before it flattens.
    rank = len(operands[0].shape)
    turned = rank > 2 and (last or layer.data_format == "channels_first")
    return Call("reshape", operands, {"order": "NHWC" if turned else "NCHW"}, {}, "Flatten"), last, False


def _reshape(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    rank = len(operands[0].shape)
    params, out = reshaped(rank, len(layer.target_shape) + 1, last)
    return Call("reshape", operands, params, {}, "Reshape"), last, out


def _merge(op: str) -> Any:
    def build(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
        if len(operands) != 2 or operands[0].shape != operands[1].shape:
            return None
        return Call(op, operands, {}, {}, type(layer).__name__), last, last

    return build


def _concatenate(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    params = {"dim": axis_of(layer.axis, len(operands[0].shape), last)}
    return Call("concat", operands, params, {}, "Concatenate"), last, last


def _relu(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    name = type(layer).__name__
    if layer.threshold:
        return None
    if layer.max_value is not None:
        if layer.negative_slope:
            return None
        return Call("clamp", operands, {"low": 0.0, "high": float(layer.max_value)}, {}, name), last, last
    if layer.negative_slope:
        params = {"negative_slope": float(layer.negative_slope)}
        return Call("leaky_relu", operands, params, {}, name), last, last
    return Call("relu", operands, {}, {}, name), last, last


def _leaky_relu(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    params = {"negative_slope": float(layer.negative_slope)}
    return Call("leaky_relu", operands, params, {}, "LeakyReLU"), last, last


def _elu(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    return Call("elu", operands, {"alpha": float(layer.alpha)}, {}, "ELU"), last, last


def _prelu(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    size = prod(int(n) for n in layer.alpha.shape)
    channels = int(operands[0].shape[-1 if last else 1])
    if size not in (1, channels) or (size > 1 and int(layer.alpha.shape[-1 if last else 0]) != channels):
        return None
    shape = tuple(layer.alpha.shape)
    slopes = _weight(layer.alpha, lambda a: a.reshape(-1), lambda a: a.reshape(shape))
    return Call("prelu", operands, {}, {"weight": slopes}, "PReLU"), last, last


def _softmax(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    if not isinstance(layer.axis, int):
        return None
    params = {"dim": axis_of(layer.axis, len(operands[0].shape), last)}
    return Call("softmax", operands, params, {}, "Softmax"), last, last


def _activation(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    return activation_call(layer.activation, operands[0], last), last, last


def _identity(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    return Call(IDENTITY, operands, {}, {}, type(layer).__name__), last, last


def _dropout(layer: Any, operands: Any, training: bool, last: bool) -> Found:
    if training and layer.rate > 0:
        params = {"p": float(layer.rate)} if layer.noise_shape is None else {}
        return Call(RANDOM, operands, params, {}, "dropout" if params else "Dropout"), last, last
    return _identity(layer, operands, training, last)


def _up_sampling(layer: Any, operands: Any, training: bool, last: bool) -> Found | None:
    if layer.interpolation not in ("nearest", "bilinear"):
        return None
    last = _is_last(layer, operands)
    params: dict[str, Any] = {"mode": layer.interpolation, "scale_factor": [float(n) for n in layer.size]}
    return Call("interpolate", operands, params, {}, "UpSampling2D"), last, last


_L = keras.layers
SEQUENTIAL = (_L.RNN, _L.Bidirectional, _L.TimeDistributed, _L.MultiHeadAttention, _L.Embedding, _L.Dense,
              _L.EinsumDense, _L.LayerNormalization)  # fmt: skip
"""Layers that take a tensor of rank 3 as a sequence, (N, T, C), in every framework."""
_BUILDERS: Mapping[Any, Callable[[Any, Any, bool, bool], Found | None]] = {
    **dict.fromkeys((_L.Conv1D, _L.Conv2D, _L.Conv3D), _conv),
    **dict.fromkeys((_L.DepthwiseConv1D, _L.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((_L.Conv1DTranspose, _L.Conv2DTranspose, _L.Conv3DTranspose), _conv_transpose),
    _L.Dense: _dense,
    _L.BatchNormalization: _batch_norm,
    _L.LayerNormalization: _layer_norm,
    _L.RMSNormalization: _rms_norm,
    _L.GroupNormalization: _group_norm,
    **dict.fromkeys((_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D), _pool("max")),
    **dict.fromkeys((_L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D), _pool("avg")),
    **dict.fromkeys(
        (_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D, _L.GlobalAveragePooling3D), _global_average
    ),
    **dict.fromkeys((_L.ZeroPadding1D, _L.ZeroPadding2D, _L.ZeroPadding3D), _zero_padding),
    _L.Flatten: _flatten,
    _L.Reshape: _reshape,
    _L.Add: _merge("add"),
    _L.Subtract: _merge("sub"),
    _L.Multiply: _merge("mul"),
    _L.Concatenate: _concatenate,
    _L.ReLU: _relu,
    _L.LeakyReLU: _leaky_relu,
    _L.ELU: _elu,
    _L.PReLU: _prelu,
    _L.Softmax: _softmax,
    _L.Activation: _activation,
    _L.Identity: _identity,
    _L.Dropout: _dropout,
    _L.UpSampling2D: _up_sampling,
}
_NOISE = (_L.SpatialDropout1D, _L.SpatialDropout2D, _L.SpatialDropout3D, _L.GaussianDropout, _L.GaussianNoise,
          _L.AlphaDropout)  # fmt: skip
_ACTIVATED = {
    kind for kind, build in _BUILDERS.items() if build in (_conv, _depthwise, _conv_transpose, _dense)
} | {_L.EinsumDense}
