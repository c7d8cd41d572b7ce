"""The certified truth of operations on float32 numbers, and bounds on what float32 arithmetic makes of it.

The ops of every family are functions here; their gradients, poolings and statistics are reached by name,
`evaluate("conv2d_weight_grad", arrays, params)`; `OPS` lists all of them. So are `matmul`, `softmax` and
`dropout`, which are the names of their modules here.
"""

from reference import formats
from reference.activations import elu, gelu, leaky_relu, prelu, relu, selu, sigmoid, silu, softplus, tanh
from reference.bounds import error_bound
from reference.conv import conv1d, conv2d, conv3d, linear
from reference.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from reference.local_response import local_response_norm
from reference.losses import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from reference.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from reference.op import Op
from reference.ops import OPS, evaluate, plain_float32, terms
from reference.optimizers import adam, sgd
from reference.rearrange import depth_to_space, pixel_shuffle, pixel_unshuffle, space_to_depth
from reference.reductions import mean, std, var
from reference.resize import interpolate
from reference.softmax import log_softmax, logsumexp
from reference.trajectories import adam_path, sgd_path
from reference.truth import Truth, UncertainError
from reference.vector_norm import normalize, weight_standardization

__all__ = [
    "OPS",
    "Op",
    "Truth",
    "UncertainError",
    "adam",
    "adam_path",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "depth_to_space",
    "elu",
    "error_bound",
    "evaluate",
    "formats",
    "gelu",
    "group_norm",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsumexp",
    "mean",
    "mse_loss",
    "normalize",
    "pixel_shuffle",
    "pixel_unshuffle",
    "plain_float32",
    "prelu",
    "relu",
    "rms_norm",
    "selu",
    "sgd",
    "sgd_path",
    "sigmoid",
    "silu",
    "softplus",
    "space_to_depth",
    "std",
    "tanh",
    "terms",
    "var",
    "weight_standardization",
]
