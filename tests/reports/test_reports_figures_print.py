"""Figures in print: at the width of a column and of a page nothing is cut, overlaps or is too small."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest
from figure_frames import BINS, BUDGET, INVARIANCE, LAYERS, ORDER, PLANE, PROFILE
from matplotlib.figure import Figure

from reports import figures


def many(cases=12, modes=14):
    """Cells with names as long as real ones."""
    rows = [
        {"case": f"conv2d-grouped-3x3-{case}", "mode": f"tensorflow.cpu.deterministic{mode}"}
        | {"framework": ["torch", "tensorflow"][mode % 2], "verdict": ["rounding", "semantics"][case == 2]}
        | {"error_ulp_median": 2.0**case, "error_scaled_ulp_rms": 2.0 ** (2 * case), "terms": 2**case}
        | {"error_over_magnitude_max": 2.0 ** (case - 24), "bits_group": mode, "output": "output"}
        for case in range(cases)
        for mode in range(modes)
    ]
    return pd.DataFrame(rows)


def wide(frame, modes):
    """The frame once for each of so many results."""
    return pd.concat([frame.assign(mode=f"tensorflow.cpu.deterministic{n}") for n in range(modes)])


CROWDED = {
    "plot_heatmap": (many(), {}),
    "plot_errors": (many(), {}),
    "plot_growth": (many(), {}),
    "plot_switch": (
        many(),
        {"before": "tensorflow.cpu.deterministic0", "after": "tensorflow.cpu.deterministic1"},
    ),
    "plot_histogram": (wide(BINS, 5), {}),
    "plot_budget": (wide(BUDGET.iloc[:2], 5), {}),
    "plot_map": (PLANE, {}),
    "plot_profile": (wide(PROFILE, 5), {}),
    "plot_layers": (
        pd.concat([LAYERS.assign(layer_a=LAYERS["layer_a"] + f".block.{n}") for n in range(20)]),
        {},
    ),
    "plot_order": (ORDER, {}),
    "plot_invariance": (
        pd.concat(
            [wide(INVARIANCE, 12).assign(factor=factor) for factor in ("memory format", "repeats", "width")]
        ),
        {},
    ),
}


def overlaps(boxes):
    """Pairs of boxes that share more than a pixel both ways."""
    return [
        (i, j)
        for i in range(len(boxes))
        for j in range(i)
        if min(boxes[i].x1, boxes[j].x1) - max(boxes[i].x0, boxes[j].x0) > 1
        and min(boxes[i].y1, boxes[j].y1) - max(boxes[i].y0, boxes[j].y0) > 1
    ]


def upright(label):
    return label.get_rotation() % 90 == 0


def outside(axis):
    """Labels of ticks that are not in view."""
    low, high = sorted(axis.get_view_interval())
    ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    return [label for place, label in ticks if not low <= place <= high or not axis.axes.axison]


def problems(figure):
    """What a reader of a printed figure would stumble over: cut or overlapping words, letters too small."""
    with mpl.rc_context({"text.hinting": "none"}):  # letters as wide as a PDF has them
        figure.draw_without_rendering()
        return said(figure)


def said(figure):
    whole, found = figure.bbox, []
    unseen = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in outside(axis)}
    every = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    for text in every:
        if text in unseen:
            continue
        box = text.get_window_extent()
        if box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y0 < whole.y0 - 1 or box.y1 > whole.y1 + 1:
            found.append(f"cut: {text.get_text()!r}")
        if text.get_fontsize() < 3.9:
            found.append(f"small: {text.get_text()!r}, {text.get_fontsize()}")
    for axes in figure.axes:
        if not axes.axison:
            continue
        for side in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [label for label in side if label.get_text().strip() and upright(label)]
            shown = [label for label in shown if label not in unseen]
            boxes = [label.get_window_extent() for label in shown]
            found += [f"overlap: {shown[i].get_text()!r} {shown[j].get_text()!r}" for i, j in overlaps(boxes)]
        inner = axes.get_window_extent()
        if inner.width < 0.3 * whole.width and axes.get_label() != "<colorbar>":
            found.append(f"thin axes: {inner.width / whole.width:.2f}")
    return found


@pytest.mark.parametrize("width", [3.3, 6.9, None])
@pytest.mark.parametrize("name", CROWDED)
def test_a_figure_can_be_read_at_the_width_of_a_column_and_of_a_page(name, width):
    frame, options = CROWDED[name]
    figure = getattr(figures, name)(frame, width=width, **options).figure
    if width is not None:
        assert figure.get_figwidth() <= width
    assert problems(figure) == []


@pytest.mark.parametrize("name", sorted(set(CROWDED) - {"plot_order", "plot_heatmap"}))
def test_axes_of_a_column_in_the_caller_s_own_letters_can_be_read(name):
    frame, options = CROWDED[name]
    figure = Figure(figsize=(3.3, 3.0), layout="constrained")
    getattr(figures, name)(frame, ax=figure.add_subplot(), **options)
    assert problems(figure) == []


@pytest.mark.parametrize("cases", [1, 2, 40])
def test_a_heat_map_of_few_or_many_cases_can_be_read(cases):
    assert problems(figures.plot_heatmap(many(cases), width=3.3).figure) == []


def test_a_figure_that_cannot_be_read_is_noticed():
    figure = Figure(figsize=(2, 2))
    ax = figure.add_subplot()
    ax.set_xticks([0, 0.1, 1], ["overlapping", "labels", "x"])
    ax.set_ylabel("words that are longer than the figure is high, by far")
    ax.text(0.5, 0.5, "tiny", fontsize=2)
    said = " ".join(problems(figure))
    assert all(word in said for word in ("overlap: 'labels' 'overlapping'", "cut: 'words", "small: 'tiny'"))
