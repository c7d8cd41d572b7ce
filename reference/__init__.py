"""The certified truth of operations on float32 numbers, and bounds on what float32 arithmetic makes of it."""

from reference import formats
from reference.bounds import error_bound
from reference.conv import conv2d, linear
from reference.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from reference.op import Op
from reference.ops import OPS, evaluate, plain_float32, terms
from reference.truth import Truth, UncertainError

__all__ = [
    "OPS",
    "Op",
    "Truth",
    "UncertainError",
    "batch_norm",
    "conv2d",
    "error_bound",
    "evaluate",
    "formats",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "plain_float32",
    "rms_norm",
    "terms",
]
