"""Differences of meaning that a port of a residual block may have, each with the columns that it gives.

All are run in PyTorch against the block as TensorFlow's code builds it outside of a critic (batch
statistics), on the same input and weights; the columns of the document are compared with them.  What fits is
told from what does not by the spread of those columns over draws of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from precision.studies.wgan_figures import COLUMNS, properly
from precision.studies.wgan_live import Models, uniform

Changes = Mapping[str, Mapping[str, Any]]
Figures = dict[str, float]

SHAPE = (512, 12, 32, 32)
DRAWS = 12
SPREADS = 4.44
"""Standard deviations within which a column of the document fits a candidate.

Student's t of 11 degrees of freedom, those of 12 draws, exceeds it once in a thousand times.
"""

_BOTH = ("block.norm1", "block.norm2")


def _norms(**given: Any) -> Changes:
    return dict.fromkeys(_BOTH, given)


CANDIDATES: Mapping[str, tuple[str, Changes]] = {
    "statistics of each sample, std + eps, unbiased": ("hand", {}),
    "statistics of each sample, eps in the root, biased": ("layer", {}),
    "statistics of each sample and channel": ("instance", {}),
    "statistics of each pixel over its channels": ("channels", {}),
    "first normalization of each sample, second of the batch": ("batch", {"block.norm1": {"kind": "layer"}}),
    "second normalization of each sample, first of the batch": ("batch", {"block.norm2": {"kind": "layer"}}),
    "running statistics, mean 0 and variance 1": ("running", {}),
    "no normalization": ("none", {}),
    "eps 1e-3 (Keras)": ("batch", _norms(eps=1e-3)),
    "eps 1e-12": ("batch", _norms(eps=1e-12)),
    "ReLU before the first normalization": ("batch", {"block": {"relu": "first"}}),
    "residual pooled before its last convolution": ("batch", {"block": {"residual": "pooled first"}}),
    "shortcut convolved before it is pooled": ("batch", {"block": {"shortcut": "convolved first"}}),
    "shortcut of every second pixel": ("batch", {"block": {"shortcut": "every second pixel"}}),
    "shortcut pooled by maxima": ("batch", {"block.aside": {"kind": "max"}}),
    "residual pooled by maxima": ("batch", {"block.resample": {"kind": "max"}}),
    "last convolution padded by reflection": ("batch", {"block.conv2": {"padding_mode": "reflect"}}),
    "first convolution without padding, dilated": (
        "batch",
        {"block.conv1": {"dilation": 2, "padding": 2}},
    ),
    "ReLU with slope 0.2": (
        "batch",
        {"block.relu1": {"negative_slope": 0.2}, "block.relu2": {"negative_slope": 0.2}},
    ),
}
"""By name: the normalization, and what else is changed."""


def compared(models: Models, name: str, draw: int = 0) -> Figures:
    """The columns of one candidate on one draw of the input."""
    x = uniform(f"block-down/{draw}", *SHAPE)
    return _against(models, x, _block(models, x, "batch", {}), name)


def _against(models: Models, x: Any, base: Any, name: str) -> Figures:
    norm, changes = CANDIDATES[name]
    return properly(base, _block(models, x, norm, changes))


def _block(models: Models, x: Any, norm: str, changes: Changes) -> Any:
    given = {"norm": norm, "outputs": 4, "changes": {**changes, "down": True}}
    return models.run("torch", "block", x, **given)["output"]


def searched(models: Models, printed: Mapping[str, Any]) -> dict[str, Any]:
    """The table of candidates on the first draw, and for those near the document the spread over draws."""
    x = uniform("block-down/0", *SHAPE)
    base = _block(models, x, "batch", {})
    table = {name: _against(models, x, base, name) for name in CANDIDATES}
    wanted = float(printed["diff.mean"])
    close = [name for name, found in table.items() if wanted / 2 < found["diff.mean"] < wanted * 2]
    draws: dict[str, list[Figures]] = {name: [table[name]] for name in close}
    for draw in range(1, DRAWS if close else 0):
        x = uniform(f"block-down/{draw}", *SHAPE)
        base = _block(models, x, "batch", {})
        for name in close:
            draws[name].append(_against(models, x, base, name))
    return {
        "table": table,
        "fits": {name: misfit(found, printed) for name, found in draws.items()},
        "spread": {name: spread(found) for name, found in draws.items()},
    }


def quantities(found: Mapping[str, Any]) -> dict[str, float]:
    """What is held against the document: its three columns, and the difference of the two means."""
    theirs, ours = (float(found[name]) for name in COLUMNS[:2])
    return {
        "abs.mean": theirs,
        "difference of the means": theirs - ours,
        "diff.mean": float(found["diff.mean"]),
        "cosine distance": float(found["cosine distance"]),
    }


def spread(draws: Sequence[Figures]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each quantity over draws."""
    every = [quantities(each) for each in draws]
    columns = {name: np.array([each[name] for each in every]) for name in every[0]}
    return {name: (float(found.mean()), float(found.std(ddof=1))) for name, found in columns.items()}


def misfit(draws: Sequence[Figures], printed: Mapping[str, Any]) -> float:
    """The largest distance of the document from the mean over draws, in standard deviations of one draw."""
    wanted = quantities(printed)
    room = math.sqrt(1.0 + 1.0 / len(draws))
    return max(
        abs(wanted[name] - mean) / (deviation * room) for name, (mean, deviation) in spread(draws).items()
    )
