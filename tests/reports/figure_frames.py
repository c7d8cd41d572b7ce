"""Frames that the figures' tests draw: a small one for each function, and what it needs of it."""

from __future__ import annotations

import json
import math

import pandas as pd

from reports import figures

CELLS = pd.DataFrame(
    {
        "case": ["a", "a", "b", "b"],
        "mode": ["torch.cpu", "torch.x", "torch.cpu", "torch.x"],
        "output": "output",
        "framework": "torch",
        "verdict": ["rounding", "semantics", "exact", "rounding"],
        "bits_group": [0, 1, 0, 0],
        "terms": [16, 16, 1024, 1024],
        "error_ulp_median": [2.0, 4096.0, 0.0, math.nan],
        "error_scaled_ulp_rms": [1.0, 4.0, 0.0, math.inf],
        "error_over_magnitude_max": [2.0**-24, 2.0**-20, 0.0, 2.0**-22],
    }
)
BINS = pd.DataFrame(
    {
        "mode": "torch.cpu",
        "bin_left_ulp": [-math.inf, -2.0, -0.5, 1.0],
        "bin_right_ulp": [-2.0, -0.5, 0.5, 2.0],
        "count": [1, 2, 5, 2],
    }
)
BUDGET = pd.DataFrame(
    {
        "mode": ["torch.cpu", "torch.cpu", "torch.x"],
        "cause": ["accumulation", "output rounding", "semantics"],
        "evidence": ["proved", "bounded", "none"],
        "share": [1.25, -0.25, 1.0],
    }
)
PLANE = pd.DataFrame({"row": [0, 0, 1], "column": [0, 1, 0], "error_scaled_ulp_rms": [0.25, 1.0, 4.0]})
PROFILE = pd.DataFrame(
    {
        "mode": "torch.cpu",
        "axis": ["channel", "channel", "condition", "condition"],
        "low": [0.0, 8.0, 1.0, 2.0],
        "error_ulp_rms": [9.0, 9.0, 0.5, 2.0],
        "error_scaled_ulp_rms": [1.0, 2.0, 9.0, 9.0],
    }
)
LAYERS = pd.DataFrame(
    {
        "layer_a": ["conv", "norm", "head"],
        "verdict": ["rounding", "semantics", "unmatched"],
        "own_relative_a": [2.0**-24, 2.0**-10, math.nan],
        "inherited_relative_a": [0.0, 2.0**-24, math.nan],
        "total_relative_a": [2.0**-24, 2.0**-10, math.nan],
    }
)
TREE = json.dumps(
    {
        "schema": 1, "leaves": 6, "bias": True, "accumulator": "binary32", "operands": "binary32",
        "zero_start": False, "flush": False, "axes": [],
        "root": {
            "series": [
                {"run": [[0, 3, 1]], "fused": True},
                {"run": [[3, 3, 1]], "fused": True},
                {"run": [[6, 1, 1]], "fused": False},
            ]
        },
    }
)  # fmt: skip
ORDER = pd.DataFrame({"mode": ["torch.cpu", "torch.x"], "tree": [TREE, None]})
INVARIANCE = pd.DataFrame(
    {
        "mode": ["torch.cpu", "torch.cpu", "torch.cpu", "torch.x", "torch.x"],
        "factor": ["threads", "threads", "batch", "threads", "batch"],
        "status": ["asked", "asked", "not applicable", "asked", "error"],
        "distinct": [3, 1, None, 1, None],
    }
)
EVERY = {
    "plot_heatmap": (CELLS, {}, ("case", "mode", "verdict", "error_ulp_median")),
    "plot_errors": (CELLS, {}, ("case", "framework", "error_scaled_ulp_rms")),
    "plot_growth": (CELLS, {}, ("terms", "error_over_magnitude_max", "framework")),
    "plot_switch": (
        CELLS,
        {"before": "torch.cpu", "after": "torch.x"},
        ("case", "mode", "bits_group", "error_scaled_ulp_rms"),
    ),
    "plot_histogram": (BINS, {}, ("bin_left_ulp", "bin_right_ulp", "count", "mode")),
    "plot_budget": (BUDGET, {}, ("cause", "evidence", "share", "mode")),
    "plot_map": (PLANE, {}, ("row", "column", "error_scaled_ulp_rms")),
    "plot_profile": (PROFILE, {}, ("axis", "low", "error_scaled_ulp_rms", "mode")),
    "plot_layers": (LAYERS, {}, ("layer_a", "verdict", "own_relative_a", "total_relative_a")),
    "plot_order": (ORDER, {}, ("tree",)),
    "plot_invariance": (INVARIANCE, {}, ("mode", "factor", "status", "distinct")),
}


def draw(name, frame=None, **more):
    own, options, _ = EVERY[name]
    return getattr(figures, name)(own if frame is None else frame, **options, **more)
