"""The catalogue of recipes: how known libraries compute normalizations on the CPU.

Found by experiment on x86 processors with AVX2 or AVX-512, PyTorch 2.13, TensorFlow 2.21 and Keras 3.15;
another version, compiler or processor may differ.  `source` says where a recipe was met; nothing is selected
by it.
"""

from __future__ import annotations

from dataclasses import replace

from reference.recipe_evaluation import Recipe, evaluate_recipe
from reference.recipe_orders import Order
from reference.recipe_statistics import Statistics, Welford

__all__ = ["CATALOGUE", "Recipe", "evaluate_recipe"]

_WIDE = Order("wide")
_ONE = Order("sequential")
_CASCADE, _COLUMNS = Order("cascade"), Order("cascade columns")
_PACKS, _TURNS = Order("packs"), Order("interleaved")
_THREADS = Order("sequential", partials="binary64")
_IMAGES = Order("sequential", split="images")
_LANES, _PARTS = Order("channel lanes"), Order("channel parts")
_INVERSE_ONE_PASS = "k = 1 / n; maximum(fma(q, k, -(m * m)), 0)"

_FLOAT_ROOT, _NEWTON = "1 / sqrt(v + e)", "newton(v + e)"
_DOUBLE_ROOT = "single(1 / sqrt(wide(v) + eps))"
_PLAIN, _FUSED = "(x - m) * r * w + b", "fma((x - m) * r, w, b)"
_SCALE, _FUSED_SCALE = "(x - m) * (r * w) + b", "fma(x - m, r * w, b)"
_SHIFTED = "a = r * w; c = b - m * a; x * a + c"
_FOLDED = "a = r * w; c = fma(-m, a, b); fma(x, a, c)"
_QUOTIENT = "w / sqrt(v + e) * (x - m) + b"
_RUNNING = Statistics("given")
_WIDE_TWO_PASS = Statistics("two-pass", _WIDE, mean="single(s / n)", variance="single(q) / n")


def _two_pass(order: Order, squares: Order | None = None, **formulas: str) -> Statistics:
    return Statistics("two-pass", order, squares, **formulas)


_TORCH = (
    Recipe("layer norm", "torch layer_norm", Statistics("Welford", Welford()), _FLOAT_ROOT, _FUSED),
    Recipe(
        "layer norm, weight alone",
        "torch layer_norm without bias: it adds +0",
        Statistics("Welford", Welford()),
        _FLOAT_ROOT,
        "fma((x - m) * r, w, 0)",
    ),
    Recipe(
        "layer norm, bias alone",
        "torch layer_norm without weight",
        Statistics("Welford", Welford()),
        _FLOAT_ROOT,
        _FUSED_SCALE,
    ),
    Recipe(
        "batch norm, planes",
        "torch batch_norm in training, NCHW; instance_norm",
        _WIDE_TWO_PASS,
        _DOUBLE_ROOT,
        _FOLDED,
    ),
    Recipe(
        "batch norm, columns",
        "torch batch_norm in training, channels_last and (N, C)",
        _two_pass(_THREADS, replace(_THREADS, fused=True), mean="single(s / n)", variance="single(q) / n"),
        _DOUBLE_ROOT,
        _FOLDED,
    ),
    Recipe("batch norm, running statistics", "torch batch_norm, inference", _RUNNING, _FLOAT_ROOT, _FOLDED),
    Recipe(
        "group norm, planes",
        "torch group_norm",
        Statistics("Welford", Welford()),
        _DOUBLE_ROOT,
        _FOLDED,
    ),
    Recipe(
        "group norm, planes, not affine",
        "torch group_norm without weight and bias",
        Statistics("Welford", Welford()),
        _DOUBLE_ROOT,
        _PLAIN,
    ),
    Recipe(
        "group norm, channels in lanes",
        "torch group_norm, channels_last, less than 1024 pixels",
        Statistics("one-pass", _LANES, None, "pixels", "s * (1 / n)", _INVERSE_ONE_PASS),
        _DOUBLE_ROOT,
        _FOLDED,
    ),
    Recipe(
        "group norm, channel by channel",
        "torch group_norm, channels_last, 1024 pixels or more",
        Statistics(
            "one-pass", _PARTS, replace(_PARTS, fused=True), "pixels", "s * (1 / n)", _INVERSE_ONE_PASS
        ),
        _DOUBLE_ROOT,
        _FOLDED,
    ),
)

_TORCH_UNFUSED = (
    Recipe(
        "batch norm, strided pixels",
        "torch batch_norm in training, pixels not next to each other in memory",
        _two_pass(
            Order("cascade", lanes=1, split="images"),
            replace(_WIDE, terms="binary64"),
            variance="single(q / n)",
        ),
        "single(1 / sqrt(q / n + eps))",
        _PLAIN,
    ),
    Recipe(
        "RMS norm, cascade", "torch rms_norm", Statistics("mean square", _CASCADE), _FLOAT_ROOT, "x * r * w"
    ),
)

_TENSORFLOW = (
    Recipe(
        "fused batch norm, Eigen",
        "TensorFlow FusedBatchNormV3 in training, oneDNN off",
        _two_pass(_TURNS, mean="s * (1 / n)", variance="q * (1 / n)"),
        _NEWTON,
        _SCALE,
    ),
    Recipe(
        "fused batch norm, Eigen, running statistics",
        "TensorFlow FusedBatchNormV3, inference, oneDNN off",
        _RUNNING,
        _NEWTON,
        _SCALE,
    ),
    Recipe(
        "batch norm, oneDNN, fused",
        "TensorFlow FusedBatchNormV3 in training, NHWC, channels a multiple of 4",
        _two_pass(_IMAGES, replace(_IMAGES, fused=True)),
        _FLOAT_ROOT,
        _FUSED,
    ),
    Recipe(
        "batch norm, oneDNN, fused, running statistics",
        "TensorFlow FusedBatchNormV3, inference, NHWC, channels a multiple of 4",
        _RUNNING,
        _FLOAT_ROOT,
        _FUSED,
    ),
    Recipe(
        "batch norm, oneDNN",
        "TensorFlow FusedBatchNormV3 in training, NCHW, or channels no multiple of 4",
        _two_pass(_IMAGES),
        _FLOAT_ROOT,
        _QUOTIENT,
    ),
    Recipe(
        "batch norm, oneDNN, running statistics",
        "TensorFlow FusedBatchNormV3, inference, NCHW, or channels no multiple of 4",
        _RUNNING,
        _FLOAT_ROOT,
        _QUOTIENT,
    ),
    Recipe(
        "moments by columns, folded",
        "Keras BatchNormalization in training, instance norm by GroupNormalization; tf.nn.moments, "
        "tf.nn.batch_normalization",
        _two_pass(_TURNS),
        _NEWTON,
        _SHIFTED,
    ),
    Recipe(
        "running statistics, folded",
        "Keras BatchNormalization, inference; tf.nn.batch_normalization",
        _RUNNING,
        _NEWTON,
        _SHIFTED,
    ),
    Recipe(
        "moments by planes, folded",
        "tf.nn.moments over NCHW, tf.nn.batch_normalization",
        _two_pass(_ONE, elements="images"),
        _NEWTON,
        _SHIFTED,
    ),
    Recipe(
        "moments of a row, folded",
        "Keras LayerNormalization, eager",
        _two_pass(_PACKS),
        _NEWTON,
        _SHIFTED,
    ),
    Recipe(
        "moments of a row, folded, shift last",
        "Keras LayerNormalization in a tf.function",
        _two_pass(_PACKS),
        _NEWTON,
        "a = r * w; (x * a - m * a) + b",
    ),
    Recipe(
        "moments of a group, folded",
        "Keras GroupNormalization, channels last",
        _two_pass(_PACKS, elements="pixels"),
        _NEWTON,
        _SHIFTED,
    ),
    Recipe(
        "RMS norm, packs",
        "Keras RMSNormalization",
        Statistics("mean square", _PACKS),
        _NEWTON,
        "x * r * w",
    ),
)

_XLA_LANES, _XLA_WINDOWS = Order("lanes", lanes=16), Order("windows", lanes=32)
_XLA_ROOT, _XLA_SUM_ROOT = (
    f"u = {u}; z = estimate(u); fma(-(z / 2), fma(u * z, z, -1), z)" for u in ("v + e", "fma(q, 1 / n, e)")
)

_XLA = (
    Recipe("running statistics, estimated root", "XLA, batch norm, inference", _RUNNING, _XLA_ROOT, _FOLDED),
    Recipe(
        "batch norm, one-pass, estimated root",
        "XLA, batch norm in training: NaN where the variance comes out negative",
        Statistics(
            "one-pass",
            Order("sequential", lanes=4, split="blocks"),
            replace(_ONE, fused=True),
            mean="s * (1 / n)",
            variance="k = 1 / n; fma(q, k, -(m * m))",
        ),
        _XLA_ROOT,
        _FUSED,
    ),
    Recipe(
        "moments in lanes and windows, folded",
        "XLA, Keras LayerNormalization",
        _two_pass(_XLA_LANES, _XLA_WINDOWS, mean="s * (1 / n)", variance="q * (1 / n)"),
        _XLA_SUM_ROOT,
        _FOLDED,
    ),
    Recipe(
        "moments in blocks and lines, folded",
        "XLA, instance norm by Keras GroupNormalization",
        _two_pass(
            Order("sequential", lanes=4, split="blocks"),
            Order("line lanes", fused=True),
            mean="s * (1 / n)",
            variance="q * (1 / n)",
        ),
        _XLA_SUM_ROOT,
        _FOLDED,
    ),
    Recipe(
        "RMS norm, windows",
        "XLA, Keras RMSNormalization",
        Statistics("mean square", _XLA_WINDOWS, variance="q * (1 / n)"),
        _XLA_SUM_ROOT,
        "x * r * w",
    ),
)

CATALOGUE: tuple[Recipe, ...] = (
    *_TORCH,
    *(recipe.without_fma() for recipe in _TORCH if "bias alone" not in recipe.name),
    *_TORCH_UNFUSED,
    *_TENSORFLOW,
    *_XLA,
)
"""Every recipe that is known, the one with fused multiply-adds before the one without."""
