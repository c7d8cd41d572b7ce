"""A convolution as TensorFlow's raw ops take it: between its large side, its small side and its filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port as build_info

from precision.errors import CannotRun
from precision.frameworks.padding import (
    Pairs,
    Sizes,
    check_layout,
    explicit_padding,
    per_axis,
    transposed_crop,
)
from precision.frameworks.tensorflow_tensors import state

_TF_PAD = {"zeros": "CONSTANT", "reflect": "REFLECT"}


@dataclass(frozen=True)
class Convolution:
    """A convolution of a large side to a small one, over two or three axes.

    The large side is a convolution's input, or a transposed one's output, with `added` around it: that much
    is padded by tf.pad before, or cut off after.
    """

    axes: int
    large_shape: tuple[int, ...]
    filter_shape: tuple[int, ...]
    options: Mapping[str, Any]
    added: Pairs = ()
    mode: str = "zeros"
    depthwise: bool = False

    def small(self, large: Any, weight: Any) -> Any:
        """The convolution."""
        if self.depthwise:
            return self._depthwise(large, tf.reshape(weight, self._taps()))
        call = tf.raw_ops.Conv2D if self.axes == 2 else tf.raw_ops.Conv3D
        return call(input=large, filter=weight, **self.options)

    def large(self, weight: Any, small: Any) -> Any:
        """Its gradient with respect to the large side, from one of the small side."""
        if self.depthwise:
            weight = tf.reshape(weight, self._taps())
            if self._dilated():
                return self._by_tape(0, tf.zeros(self.large_shape, state["operands"]), weight, small)
            call = tf.raw_ops.DepthwiseConv2dNativeBackpropInput
        else:
            two = self.axes == 2
            call = tf.raw_ops.Conv2DBackpropInput if two else tf.raw_ops.Conv3DBackpropInputV2
        return call(input_sizes=self.large_shape, filter=weight, out_backprop=small, **self.options)

    def filter(self, large: Any, small: Any) -> Any:
        """Its gradient with respect to the filter."""
        if not self.depthwise:
            two = self.axes == 2
            call = tf.raw_ops.Conv2DBackpropFilter if two else tf.raw_ops.Conv3DBackpropFilterV2
            return call(input=large, filter_sizes=self.filter_shape, out_backprop=small, **self.options)
        if self._dilated():
            found = self._by_tape(1, large, tf.zeros(self._taps(), state["operands"]), small)
        else:
            found = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=large, filter_sizes=self._taps(), out_backprop=small, **self.options
            )
        return tf.reshape(found, self.filter_shape)

    def widened(self, large: Any) -> Any:
        """The large side with what tf.pad adds to it."""
        if not self.added:
            return large
        return tf.pad(large, [[0, 0], *map(list, self.added), [0, 0]], _TF_PAD[self.mode])

    def narrowed(self, large: Any) -> Any:
        """The large side's gradient without what was added: the gradient of tf.pad."""
        if not self.added:
            return large
        sizes = [n - sum(pad) for n, pad in zip(self.large_shape[1:-1], self.added, strict=True)]
        if self.mode != "zeros":
            inner = tf.zeros([self.large_shape[0], *sizes, self.large_shape[-1]], state["operands"])
            with tf.GradientTape() as tape:
                tape.watch(inner)
                filled = self.widened(inner)
            return tape.gradient(filled, inner, output_gradients=large)
        begin = [0, *(before for before, _ in self.added), 0]
        return tf.slice(large, begin, [-1, *sizes, -1])

    def _taps(self) -> tuple[int, ...]:
        # The op for depthwise layers wants kh, kw, C, multiplier; conv2d's kernel is kh, kw, 1, O.
        *taps, _, outputs = self.filter_shape
        channels = self.large_shape[-1]
        return (*taps, channels, outputs // channels)

    def _dilated(self) -> bool:
        return bool(max(self.options["dilations"]) > 1)

    def _depthwise(self, large: Any, weight: Any) -> Any:
        options = self.options
        padding: Any = options["padding"]
        if padding == "EXPLICIT":
            flat = options["explicit_paddings"]
            padding = [flat[i : i + 2] for i in range(0, 8, 2)]
        dilations = options["dilations"][1:3]
        return tf.nn.depthwise_conv2d(large, weight, options["strides"], padding, dilations=dilations)

    def _by_tape(self, which: int, large: Any, weight: Any, small: Any) -> Any:
        """A gradient of the dilated op: it is made of several, which the tape knows."""
        operands = [large, weight]
        with tf.GradientTape() as tape:
            tape.watch(operands[which])
            y = self._depthwise(large, weight)
        return tape.gradient(y, operands[which], output_gradients=small)


def direct(
    axes: int, p: Mapping[str, Any], large: Sequence[int], weight: Sequence[int], backward: bool = False
) -> Convolution:
    """A convolution of an input of shape `large`; `backward`: for its gradients."""
    check_layout(p)
    strides, dilations = per_axis(p.get("stride", 1), axes), per_axis(p.get("dilation", 1), axes)
    declared, mode = p.get("padding", 0), p.get("padding_mode", "zeros")
    if mode not in _TF_PAD:
        raise CannotRun(f"tf.pad has no mode {mode!r}")
    groups = p.get("groups", 1)
    depthwise = groups == large[-1] and groups > 1 and axes < 3
    options = _options(strides, dilations, depthwise)
    _check(axes, options, groups, backward and not depthwise, depthwise)
    size, kernel = tuple(large[1:-1])[-axes:], tuple(weight[:-2])[-axes:]
    found = Convolution(max(axes, 2), tuple(large), tuple(weight), options, (), mode, depthwise)
    if str(declared).lower() in ("same", "valid") and mode == "zeros":
        return _with_padding(found, str(declared).upper())
    pads = explicit_padding(declared, size, kernel, strides, dilations)
    plain = depthwise or not backward or (max(dilations) == 1 and groups == 1)
    native = axes == 2 and mode == "zeros" and plain
    return _with_numbers(found, pads, native)


def transposed(axes: int, p: Mapping[str, Any], small: Sequence[int], weight: Sequence[int]) -> Convolution:
    """The convolution whose gradient a transposed one is, of an input of shape `small`."""
    check_layout(p)
    strides, dilations = per_axis(p.get("stride", 1), axes), per_axis(p.get("dilation", 1), axes)
    groups = p.get("groups", 1)
    options = _options(strides, dilations, False)
    _check(axes, options, groups, True, False)
    size, kernel = tuple(small[1:-1])[-axes:], tuple(weight[:-2])[-axes:]
    crop = transposed_crop(p, size, kernel)
    lifted = (1,) * (max(axes, 2) - axes)

    def shape(sizes: Sizes) -> tuple[int, ...]:
        return (small[0], *lifted, *sizes, weight[-2] * groups)

    found = Convolution(max(axes, 2), shape(crop.out), tuple(weight), options)
    if str(p.get("padding", 0)).lower() == "same":
        return _with_padding(found, "SAME")
    extras = [
        out - full + before + after
        for out, full, (before, after) in zip(crop.out, crop.full, crop.pads, strict=True)
    ]
    if any(extra >= s for extra, s in zip(extras, strides, strict=True)):
        raise CannotRun(f"TensorFlow's output_padding is below the stride {list(strides)}, got {extras}")
    if axes == 2 and max(dilations) == 1 and groups == 1:
        return _with_numbers(found, crop.pads, True)
    ends = [
        max(full, before + out) - before - out
        for out, full, (before, _) in zip(crop.out, crop.full, crop.pads, strict=True)
    ]
    added = tuple((before, end) for (before, _), end in zip(crop.pads, ends, strict=True))
    return _with_numbers(found, added, False)


def _options(strides: Sizes, dilations: Sizes, depthwise: bool) -> dict[str, Any]:
    # One axis gets a height of 1: with stride 1 in tf.nn.conv1d, while the ops for depthwise layers want both
    # strides equal, as Keras's DepthwiseConv1D gives them.
    height = () if len(strides) > 1 else (strides[0],) if depthwise else (1,)
    flat = () if len(strides) > 1 else (1,)
    return {"strides": [1, *height, *strides, 1], "dilations": [1, *flat, *dilations, 1]}


def _with_padding(at: Convolution, padding: str) -> Convolution:
    return replace(at, options={**at.options, "padding": padding})


def _with_numbers(at: Convolution, pads: Pairs, native: bool) -> Convolution:
    if not any(before or after for before, after in pads):
        return _with_padding(at, "VALID")
    if native:
        flat = [0, 0, *(amount for pad in pads for amount in pad), 0, 0]
        at = replace(at, options={**at.options, "explicit_paddings": flat})
        return _with_padding(at, "EXPLICIT")
    added = ((0, 0),) * (at.axes - len(pads)) + pads
    wide = [n + sum(pad) for n, pad in zip(at.large_shape[1:-1], added, strict=True)]
    shape = (at.large_shape[0], *wide, at.large_shape[-1])
    return _with_padding(replace(at, added=added, large_shape=shape), "VALID")


def _check(axes: int, options: Mapping[str, Any], groups: int, backward: bool, depthwise: bool) -> None:
    """Refuse what TensorFlow's kernels lack: those of the CPU, which XLA and GPUs have."""
    strides, dilations = options["strides"][1:-1], options["dilations"][1:-1]
    dilated = max(dilations) > 1
    if depthwise and dilated and max(strides) > 1:
        raise CannotRun("tf.nn.depthwise_conv2d dilates at stride 1 alone")
    if state["jit_compile"] and axes == 3 and len(set(dilations)) > 1:
        raise CannotRun("TensorFlow's tf.function takes one dilation of Conv3D for those of all axes")
    if state["jit_compile"] or state["device"] != "/CPU:0":
        return
    if axes == 3 and groups > 1:
        raise CannotRun("TensorFlow's Conv3D has no groups on the CPU (XLA has)")
    if depthwise and len(set(strides)) > 1:
        raise CannotRun("tf.nn.depthwise_conv2d wants equal strides on the CPU (XLA takes others)")
    if build_info.IsMklEnabled() or depthwise:
        return
    what = "gradients and transposed convolutions"
    if backward and groups > 1:
        raise CannotRun(f"TensorFlow without oneDNN has no grouped {what} on the CPU")
    if dilated and (backward or axes == 3):
        raise CannotRun(f"TensorFlow without oneDNN has no dilated {what}, nor Conv3D, on the CPU")
