"""One line for each difference of meaning: what to write so that a framework computes what was declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from precision.meaning.hypotheses import DATA, OPERANDS, RESULT, Change, Declaration

Words = Callable[[Change, Declaration], str]

FRAMEWORKS = ("torch", "tensorflow")


def mend(change: Change, declared: Declaration, framework: str | None) -> str:
    """The mend of a change in a framework's words; in plain ones where the framework is not named.

    Raises ValueError for a framework that is not known.
    """
    if framework is not None and framework not in FRAMEWORKS:
        raise ValueError(
            f"framework must be one of {FRAMEWORKS} or None, got {framework!r}: name one of them"
        )
    if change.cause == OPERANDS:
        return _operands(framework)
    if change.cause == RESULT:
        return "ask for float32 results: no automatic mixed precision, no narrower dtype of the layer"
    if change.cause == DATA:
        return _data(change)
    if change.parameter == "padding":
        return _padding(declared, framework)
    listed = _LISTED.get(change.parameter)
    if listed is not None and framework is not None:
        return listed[framework](change, declared)
    return (
        f"set {change.parameter} to {_shown(change.declared)}, which was computed as {_shown(change.found)}"
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _data(change: Change) -> str:
    if change.parameter == "channel order" and isinstance(change.found, Mapping):
        return "give the input, or the weights that meet it, in the declared order of channels"
    if isinstance(change.found, Mapping):
        return f"copy {change.parameter.removesuffix(' element')} again: one element differs"
    return "copy the weights in the declared order of channels"


def _operands(framework: str | None) -> str:
    if framework == "torch":
        return (
            'torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "ieee" '
            "(and torch.backends.mkldnn.conv.fp32_precision on a CPU)"
        )
    if framework == "tensorflow":
        return (
            "tf.config.experimental.enable_tensor_float_32_execution(False); "
            "ONEDNN_DEFAULT_FPMATH_MODE=STRICT on a CPU"
        )
    return "ask for full float32 products"


def _sides(declared: Declaration) -> list[tuple[int, int]] | None:
    """The declared padding (before, after) of each axis, where it is given in numbers."""
    padding: Any = declared.params.get("padding", 0)
    axes = int(declared.op[-2]) if declared.op[-1] == "d" and declared.op[-2].isdigit() else 0
    if isinstance(padding, str) or axes == 0:
        return None
    items = [padding] if isinstance(padding, int) else list(padding)
    if len(items) == 1:
        items *= axes
    if len(items) == axes:
        items = [side for side in items for _ in range(2)]
    return [(items[2 * a], items[2 * a + 1]) for a in range(axes)]


def _padding(declared: Declaration, framework: str | None) -> str:
    own, sides = declared.params.get("padding", 0), _sides(declared)
    if framework is None or (sides is None and framework == "tensorflow" and own in ("same", "valid")):
        return f"pad by {own!r}" if framework is None else f'padding="{str(own).upper()}"'
    if sides is None:
        return f"compute the amounts of {own!r} and pad by F.pad before the call, with padding=0"
    if declared.op.startswith("conv_transpose"):
        return f"crop the full result by {sides} before and after each axis, output_padding as declared"
    if framework == "torch":
        if all(before == after for before, after in sides):
            amounts = tuple(before for before, _ in sides)
            return f"padding={amounts if len(set(amounts)) > 1 else amounts[0]}"
        flat = tuple(side for pair in reversed(sides) for side in pair)
        return f"x = F.pad(x, {flat}), then padding=0"
    last = str(declared.params.get("layout", "NCHW")).endswith("C")
    pairs = [[0, 0], *map(list, sides), [0, 0]] if last else [[0, 0], [0, 0], *map(list, sides)]
    return f'x = tf.pad(x, {pairs}), then padding="VALID"'


def _both(torch: str, tensorflow: str) -> dict[str, Words]:
    """Texts with {declared} and {found} in them."""

    def words(text: str) -> Words:
        return lambda change, _: text.format(declared=_shown(change.declared), found=_shown(change.found))

    return {"torch": words(torch), "tensorflow": words(tensorflow)}


_AXIS_WORDS = _both("x = x.transpose(-1, -2) before the call", "x = tf.transpose(x, …) before the call")
_LISTED: Mapping[str, Mapping[str, Words]] = {
    "padding mode": _both(
        'F.pad(x, …, mode="{declared}") before the call ("constant" for zeros)',
        'tf.pad(x, …, mode="REFLECT"|"CONSTANT") by hand as {declared}, then padding="VALID"',
    ),
    "stride": _both("stride={declared}", "strides={declared}"),
    "dilation": _both("dilation={declared}", "dilations={declared}"),
    "kernel flip": _both(
        "weight = weight.flip(…) along the flipped axes: torch computes a correlation",
        "weight = tf.reverse(weight, …) along the flipped axes: TensorFlow computes a correlation",
    ),
    "kernel transpose": _both(
        "weight = weight.permute(3, 2, 0, 1) for a kernel (kh, kw, I, O)",
        "weight = tf.transpose(weight, (2, 3, 1, 0)) for a kernel (O, I, kh, kw)",
    ),
    "channel order": _both(
        "x = x[:, order] with the declared order of channels",
        "x = tf.gather(x, order, axis=-1) with the declared order of channels",
    ),
    "flatten order": _both(
        "x.permute(0, 2, 3, 1).flatten(1) for a weight that was made channels last",
        "tf.transpose(x, (0, 3, 1, 2)) before Flatten, for a weight that was made channels first",
    ),
    "layout": _both(
        "x = x.permute(0, 3, 1, 2) in place of a reshape", "x = tf.transpose(x, (0, 2, 3, 1)), not a reshape"
    ),
    "axis": _both("dim={declared}", "axis={declared}"),
    "shift": _both("check the padding: F.pad(x, …)", "check the padding: tf.pad(x, …)"),
    "bias": _both("bias=… once, in the layer", "tf.nn.bias_add(y, b) once"),
    "activation": _both(
        "apply the activation {declared} in place of {found}", 'activation="{declared}" in place of {found}'
    ),
    "approximate": _both(
        'F.gelu(x, approximate="{declared}")', "tf.nn.gelu(x, approximate=…) as declared: {declared}"
    ),
    "negative_slope": _both("F.leaky_relu(x, {declared})", "tf.nn.leaky_relu(x, alpha={declared})"),
    "alpha": _both("F.elu(x, alpha={declared})", "keras.activations.elu(x, alpha={declared})"),
    "eps": _both("eps={declared}", "epsilon={declared}"),
    "variance": _both(
        "normalize with the {declared} variance (unbiased=False)", "tf.nn.moments gives the biased variance"
    ),
    "training": _both("layer.train({declared})", "layer(x, training={declared})"),
    "momentum": _both(
        "momentum={declared}: torch's is 1 minus TensorFlow's",
        "momentum={declared} as declared: TensorFlow's is 1 minus torch's",
    ),
    "affine": _both("copy weight and bias: {found} was seen", "scale=True, center=True: {found} was seen"),
    "groups": _both("num_groups={declared}", "GroupNormalization(groups={declared})"),
    "centering": _both(
        "F.layer_norm, not F.rms_norm, subtracts the mean", "LayerNormalization(rms_scaling=False)"
    ),
    "coordinates": _both(
        "F.interpolate(…, align_corners=…) for {declared} coordinates",
        "tf.image.resize for half_pixel, tf.compat.v1.image.resize(align_corners=…) else: {declared}",
    ),
    "count_include_pad": _both(
        "count_include_pad={declared}", "pad by tf.pad first where the padding counts: {declared}"
    ),
    "reduction": _both('reduction="{declared}"', "reduce by tf.reduce_… as declared: {declared}"),
    "mode": _both('mode="{declared}"', 'method="{declared}"'),
}
