"""Which of PyTorch's functions move numbers, draw them, or change a tensor in place."""

from __future__ import annotations

NOT_VALUES = frozenset(
    {
        "__get__",
        "__set__",
        "size",
        "dim",
        "is_contiguous",
        "numel",
        "stride",
        "type",
        "is_floating_point",
        "element_size",
        "storage_offset",
        "data_ptr",
        "__len__",
        "__bool__",
        "__repr__",
        "__format__",
        "item",
        "tolist",
        "requires_grad_",
        "retain_grad",
        "register_hook",
        "get_device",
        "is_complex",
        "__hash__",
        "shape",
        "ndimension",
        "_version",
        "manual_seed",
        "argmax",
        "argmin",
    }
)
MOVES = frozenset(
    {
        "__getitem__",
        "chunk",
        "split",
        "unbind",
        "narrow",
        "select",
        "index_select",
        "expand",
        "expand_as",
        "repeat",
        "tile",
        "roll",
        "flip",
        "unfold",
        "tensor_split",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "type_as",
        "cpu",
        "cuda",
        "clone",
        "detach",
        "contiguous",
        "alias",
        "as_strided",
        "swapaxes",
        "movedim",
        "moveaxis",
        "stack",
        "gather",
        "unflatten",
        "channel_shuffle",
        "take_along_dim",
    }
)
"""Functions that only move numbers: nothing to judge, what they return comes from what they took."""
RANDOM_CALLS = frozenset(
    {
        "bernoulli",
        "bernoulli_",
        "rand",
        "randn",
        "rand_like",
        "randn_like",
        "normal",
        "normal_",
        "uniform_",
        "multinomial",
    }
)
DROPOUTS = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
)
UNARY = ("relu", "sigmoid", "tanh", "silu", "selu", "exp", "expm1", "log", "log1p", "erf", "erfc")
ARITHMETIC = {"add": "add", "sub": "sub", "subtract": "sub", "mul": "mul", "multiply": "mul",
               "div": "div", "divide": "div", "true_divide": "div"}  # fmt: skip
IN_PLACE = frozenset(
    [f"{name}_" for name in [*UNARY, *ARITHMETIC, "leaky_relu", "elu", "hardtanh", "clamp", "dropout"]]
    + ["__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__"]
)
