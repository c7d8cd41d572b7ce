"""The plots: what they draw is the data, and they leave nothing behind."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from reports import plots

NAMES = ["$\\notmath$ costs 5", "_hidden", "<b> & 'x'", "漢字\n\x01", "long " * 40, ""]


def _bins(*bins: tuple[float, float, int], label: str = "a") -> pd.DataFrame:
    frame = pd.DataFrame(bins, columns=["bin_left_ulp", "bin_right_ulp", "count"])
    return frame.assign(label=label, framework="torch", note="")


def test_the_spread_has_a_line_at_half_an_ulp_and_a_mark_for_each_result() -> None:
    frame = pd.DataFrame(
        {
            "case": ["a", "a", "b", "b"],
            "framework": ["torch", "both", "tensorflow", "torch"],
            "error_scaled_ulp_rms": [1.0, 16.0, 0.0, math.inf],
        }
    )
    axes = plots.spread(frame).axes[0]
    assert any(np.allclose(line.get_xdata(), -1.0) for line in axes.lines)
    places = axes.collections[0].get_offsets()[:, 0].tolist()
    assert places[:2] == [0.0, 4.0]
    labels = dict(zip(axes.get_xticks(), [text.get_text() for text in axes.get_xticklabels()], strict=True))
    assert labels[places[2]] == "0"
    assert labels[places[3]] == "∞"


def test_the_histogram_is_linear_to_half_an_ulp_and_then_a_unit_a_doubling() -> None:
    heights, edges = plots._steps(
        _bins((-math.inf, -2.0, 2), (-0.5, 0.5, 8), (0.5, 1.0, 3), (2.0, 4.0, 1), (4.0, math.inf, 0)), 4.0
    )
    assert edges == [-5.0, -3.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert heights.tolist() == [1.0, 0.0, 4.0, 3.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("limit", "half"), [(4.0, True), (1024.0, True), (2048.0, False), (1e30, False)])
def test_words_of_the_histogram_s_axis_do_not_lie_upon_each_other(limit: float, half: bool) -> None:
    ticks = plots._ticks(limit)
    assert ticks == sorted(ticks)
    assert (0.5 in ticks) == (-0.5 in ticks) == half
    places = plots._symmetric(np.array(ticks), limit)
    share = np.diff(places).min() / (2 * plots._symmetric(np.array([limit]), limit)[0] + 2)
    assert share > 0.03  # of some 650 pixels


@pytest.mark.parametrize(
    "frame",
    [
        _bins((-0.5, 0.5, 7)),
        _bins((-math.inf, -1e30, 1), (-1e30, 1e30, 5), (1e30, math.inf, 1)),
        _bins((-math.inf, math.inf, 1)),
        pd.concat([_bins((-0.5, 0.5, 7), label=name) for name in NAMES[:5]], ignore_index=True),
    ],
)
def test_odd_histograms_are_drawn(frame: pd.DataFrame) -> None:
    assert plots.svg(plots.histogram(frame)).startswith(b"<svg")


@pytest.mark.parametrize("values", [[1.0] * 6, [0.0] * 6, [1e30, 0.0, math.inf, 1.0, 2.0, 3.0], [5.0]])
def test_odd_maps_are_drawn(values: list[float]) -> None:
    frame = pd.DataFrame(
        {
            "label": "a = b",
            "row": [i // 3 for i in range(len(values))],
            "column": [i % 3 for i in range(len(values))],
            "error_scaled_ulp_rms": values,
        }
    )
    assert plots.svg(plots.error_map(frame)).startswith(b"<svg")


def test_names_are_not_read_as_mathematics_and_nothing_global_changes() -> None:
    before = dict(mpl.rcParams)
    frame = pd.concat([_bins((-0.5, 0.5, 7), label=name) for name in NAMES[:3]], ignore_index=True)
    document = plots.svg(plots.histogram(frame)).decode()
    assert "$\\notmath$ costs 5<" in document
    assert "&lt;b&gt; &amp; 'x'<" in document
    assert dict(mpl.rcParams) == before


def test_a_missing_library_is_named_with_the_mend() -> None:
    code = "import sys; sys.modules['seaborn'] = None\nimport reports.terminal\nimport reports.page"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert "seaborn is missing; install precision[plots]" in done.stderr
