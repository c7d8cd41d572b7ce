"""Was an output made by Winograd's transforms?  The emulation must give the data's bits and the probe's.

On the probe of full width a transform looks like narrow operands: it mixes neighbours of other sizes and
rounds what it mixes.  Only a replay of every bit tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from precision.cases import Case
from reference.winograd import NNPACK, winograd_conv2d

_PLAIN = {"stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros"}


def winograd_words(case: Case, samples: Mapping[str, Any]) -> str:
    """What is replayed, in words, where Winograd's F(6x6, 3x3) as in NNPACK gives every bit; else "".

    samples: the kept outputs of `data` and `width` (`precision.capture.Capture.samples`).  Sampled outputs,
    other ops, kernels, strides, dilations and groups give "".
    """
    for variant in ("width", "data"):
        sample, params = samples[variant], case.declared(variant)
        if not sample.whole or case.op != "conv2d" or not _plain(params):
            return ""
        arrays = case.make(variant)
        if arrays["weight"].shape[2:] != (3, 3) or arrays["weight"].shape[1] != arrays["input"].shape[1]:
            return ""
        found = winograd_conv2d(
            arrays["input"],
            arrays["weight"],
            arrays.get("bias"),
            variant=NNPACK,
            padding=params.get("padding", 0),
        )
        if found.tobytes() != np.ascontiguousarray(sample.values).tobytes():
            return ""
    return f"Winograd's {NNPACK.name}, as in NNPACK, gives all {sample.values.size} outputs, and the probe's"


def _plain(params: Mapping[str, Any]) -> bool:
    return all(
        value in (plain, [plain] * 2, (plain, plain))
        for name, plain in _PLAIN.items()
        if (value := params.get(name, plain)) is not None
    )
