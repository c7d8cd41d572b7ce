"""Figures for papers: what is drawn is the data; axes that are given are used; a missing column is named."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_frames import BINS, BUDGET, CELLS, EVERY, INVARIANCE, ORDER, PLANE, PROFILE, TREE, draw
from matplotlib.figure import Figure

from reports import figures
from reports.figures_base import Picture, document
from reports.result import Result
from reports.schema import SchemaError


def test_every_public_function_is_tested_here():
    assert sorted(EVERY) == sorted(figures.__all__)


@pytest.mark.parametrize("name", EVERY)
def test_given_axes_are_drawn_on_and_nothing_global_changes(name):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    before, open_figures = dict(mpl.rcParams), plt.get_fignums()
    ax = Figure().add_subplot()
    assert draw(name, ax=ax) is ax
    assert ax.has_data() or ax.texts
    made = draw(name)
    assert isinstance(made.figure, Picture)
    assert made.figure._repr_png_().startswith(b"\x89PNG")
    assert made._repr_png_().startswith(b"\x89PNG")  # what a notebook's cell ends with is shown
    assert plt.get_fignums() == open_figures
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("name", "column"), [(name, column) for name in EVERY for column in EVERY[name][2]])
def test_a_missing_column_is_named(name, column):
    with pytest.raises(SchemaError, match=rf"{name} needs the column '{column}'; the frame has .*; add it"):
        draw(name, EVERY[name][0].drop(columns=column))


@pytest.mark.parametrize("name", EVERY)
def test_other_columns_are_welcome_and_no_rows_are_not(name):
    frame = EVERY[name][0]
    draw(name, frame.assign(mine="anything"))
    with pytest.raises(SchemaError, match="the frame has none; select other rows"):
        draw(name, frame.iloc[:0])
    with pytest.raises(SchemaError, match="takes a data frame; got list"):
        draw(name, [1])


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "svg") for name in EVERY), ("plot_budget", "pdf"), ("plot_growth", "png")]
)
def test_the_same_rows_give_the_same_bytes(name, form):
    first, second = (document(draw(name).figure, form) for _ in range(2))
    assert first == second
    assert b"/Type3" not in first
    assert not any(word in first for word in (b"CreationDate", b"Matplotlib v", b"matplotlib.org"))


def test_a_heat_map_says_error_and_verdict_of_each_cell():
    ax = draw("plot_heatmap")
    at = {text.get_position(): text.get_text() for text in ax.texts}
    assert at == {
        (0.5, 0.5): "2.0\u2009≈",
        (1.5, 0.5): "4096\u2009≠",
        (0.5, 1.5): "0\u2009=",
        (1.5, 1.5): "≈",
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_a_heat_map_shows_the_worst_output_of_a_cell():
    rows = pd.concat([CELLS.iloc[:1], CELLS.iloc[:1].assign(error_ulp_median=9.0), CELLS.iloc[:1]])
    assert [text.get_text() for text in draw("plot_heatmap", rows).texts] == ["9.0\u2009≈"]
    small = CELLS.iloc[:1].assign(verdict="semantics", error_ulp_median=0.5)
    assert [text.get_text() for text in draw("plot_heatmap", pd.concat([rows, small])).texts] == [
        "0.50\u2009≠"
    ]
    with pytest.raises(SchemaError, match=r"verdict is one of exact, .*; got 'fine'"):
        draw("plot_heatmap", CELLS.assign(verdict="fine"))


def test_errors_stand_at_their_log2_and_the_ends_are_marked():
    ax = draw("plot_errors")
    (line,) = [each for each in ax.lines if each.get_linestyle() == "None"]
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["torch"]
    ticks = dict(zip((t.get_text() for t in ax.get_xticklabels()), ax.get_xticks(), strict=True))
    assert line.get_xdata() == pytest.approx([0.0, 2.0, ticks["0"], ticks["∞"]])
    assert ticks["0"] < min(t for word, t in ticks.items() if word != "0")
    assert ticks["∞"] > max(t for word, t in ticks.items() if word != "∞")
    assert ticks["0.5"] == -1


def test_growth_shows_points_and_bounds():
    ax = draw("plot_growth")
    by_label = {line.get_label(): line for line in ax.lines}
    assert by_label["torch"].get_xdata() == pytest.approx([4, 4, 10, 10])
    assert by_label["torch"].get_ydata() == pytest.approx([0, 4, -4, 2])
    span = by_label["√n, likely"].get_xdata()
    assert by_label["√n, likely"].get_ydata() == pytest.approx(span / 2)
    assert by_label["γₙ, the worst case"].get_ydata() == pytest.approx(span, abs=1e-3)
    assert (by_label["n ln(2) / 2, truncation"].get_ydata() - span) == pytest.approx(
        math.log2(math.log(2) / 2)
    )


@pytest.mark.parametrize(
    ("before", "after", "groups", "kind"),
    [
        (1.0, 1.05, (0, 1), "as good"),
        (1.05, 1.0, (0, 1), "as good"),
        (1.0, 1.2, (0, 1), "worse"),
        (1.2, 1.0, (0, 1), "better"),
        (1.0, 1.2, (3, 3), "equal bits"),
        (1.0, 1.2, (None, None), "worse"),
        (0.0, 0.0, (0, 1), "as good"),
    ],
)
def test_a_switch_tells_worse_from_better(before, after, groups, kind):
    frame = pd.DataFrame(
        {
            "case": "a",
            "mode": ["x", "y"],
            "output": "output",
            "bits_group": pd.array(groups, dtype="Int64"),
            "error_scaled_ulp_rms": [before, after],
        }
    )
    ax = figures.plot_switch(frame, "x", "y")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"{kind}: 1"]
    with pytest.raises(SchemaError, match="compares modes of the frame, x, y; got 'z'"):
        figures.plot_switch(frame, "x", "z")


def area(ax):
    return sum(
        float((np.diff(patch.get_data().edges) * patch.get_data().values).sum())
        for patch in ax.patches
        if hasattr(patch, "get_data")
    )


def test_a_histogram_has_the_area_of_its_elements():
    assert area(draw("plot_histogram")) == pytest.approx(1.0)
    half = BINS.assign(expected=BINS["count"] / 2)
    assert area(draw("plot_histogram", half)) == pytest.approx(1.5)
    with pytest.raises(SchemaError, match="every count is 0"):
        draw("plot_histogram", BINS.assign(count=0))


def test_a_budget_draws_each_share_on_its_side():
    ax = draw("plot_budget")
    bars = [(round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 0.0, 1.25), (0, 0.0, -0.25), (1, 0.0, 1.0)]
    assert [text.get_text() for text in ax.texts] == ["P", "B", "N"]
    with pytest.raises(SchemaError, match=r"cause is one of .*; got 'magic'"):
        draw("plot_budget", BUDGET.assign(cause="magic"))


def test_a_map_draws_its_plane_and_one_result_only():
    plane = draw("plot_map").images[0].get_array()
    assert plane[0, 0] == 0.25
    assert plane[0, 1] == 1.0
    assert plane[1, 0] == 4.0
    assert np.ma.getmaskarray(np.ma.masked_invalid(plane))[1, 1]
    with pytest.raises(SchemaError, match="is there twice; select one mode and output"):
        draw("plot_map", pd.concat([PLANE, PLANE]))


def test_profiles_take_the_column_of_their_axis():
    assert draw("plot_profile").lines[0].get_ydata() == pytest.approx([0, 1])
    ax = draw("plot_profile", axis="condition")
    assert ax.lines[0].get_ydata() == pytest.approx([-1, 1])
    assert ax.lines[0].get_xdata() == pytest.approx([0.5, 1.5])
    with pytest.raises(SchemaError, match="the axis is channel or condition; got 'time'"):
        draw("plot_profile", axis="time")
    with pytest.raises(SchemaError, match="the frame has none"):
        draw("plot_profile", PROFILE[PROFILE["axis"] == "channel"], axis="condition")


@pytest.mark.parametrize("name", EVERY)
def test_nothing_known_and_odd_names_are_drawn(name):
    frame = EVERY[name][0].copy()
    for column in frame.columns:
        if "error_" in column or "_relative_" in column:
            frame[column] = pd.array([None] * len(frame), dtype="Float64")
    for column in ("case", "mode", "layer_a"):
        if column in frame.columns and name != "plot_switch":
            frame[column] = "$x^2$ <b>&\n" + frame[column] + "\u202e" + "long " * 40
    ax = Figure().add_subplot()
    draw(name, frame, ax=ax)
    document(ax.figure, "png", 40.0)


def test_results_are_drawn_as_they_are(results):
    frame = Result.of(results).to_frame()
    ax = figures.plot_heatmap(frame)
    cells = frame.groupby(["case", "mode"]).ngroups
    assert len(ax.texts) == cells
    ax = figures.plot_errors(frame)
    points = sum(len(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "None")
    assert points == frame["error_scaled_ulp_rms"].notna().sum()


def test_layers_are_drawn_where_they_are_and_findings_are_marked():
    ax = draw("plot_layers")
    by_label = {line.get_label(): line for line in ax.lines}
    assert by_label["own"].get_ydata() == pytest.approx([-24, -10, math.nan], nan_ok=True)
    assert by_label["inherited"].get_ydata() == pytest.approx([math.nan, -24, math.nan], nan_ok=True)
    assert by_label["more than rounding"].get_xdata().tolist() == [1]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["conv", "norm", "head"]
    with pytest.raises(SchemaError, match="draws the model a or b; got 'c'"):
        draw("plot_layers", side="c")
    with pytest.raises(SchemaError, match="'own_relative_b'"):
        draw("plot_layers", side="b")


def test_an_order_is_drawn_box_by_box():
    ax = draw("plot_order")
    texts = [text.get_text() for text in ax.texts]
    assert "The order of a sum of 6 terms and a bias" in texts
    assert sum("3 terms" in text for text in texts) == 2
    assert "bias" in texts
    assert texts.count("+") == 2
    kinds = [type(patch).__name__ for patch in ax.patches]
    assert (kinds.count("FancyBboxPatch"), kinds.count("Circle")) == (3, 2)
    other = ORDER.assign(tree=[TREE, TREE.replace('"leaves": 6', '"leaves": 7')])
    with pytest.raises(SchemaError, match="the frame has 2 trees that differ; select one result"):
        draw("plot_order", other)
    with pytest.raises(SchemaError, match="has 0 trees"):
        draw("plot_order", ORDER.iloc[1:])
    for bad in ("{}", "no JSON", "[1, 2]"):
        with pytest.raises(SchemaError, match="a tree is an order's JSON"):
            draw("plot_order", ORDER.assign(tree=bad))


def test_determinism_is_told_case_by_case():
    ax = draw("plot_invariance")
    at = {text.get_position(): text.get_text() for text in ax.texts}
    assert at == {(0.5, 0.5): "1/2", (1.5, 0.5): "–", (0.5, 1.5): "0/1", (1.5, 1.5): "✗"}
    with pytest.raises(SchemaError, match=r"status is one of asked, .*; got 'perhaps'"):
        draw("plot_invariance", INVARIANCE.assign(status="perhaps"))


def test_maps_share_their_colours_where_they_are_told_to():
    ax = draw("plot_map", limits=(0.125, 64.0), cbar=False)
    assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (0.125, 64.0)
    assert len(ax.figure.axes) == 1
    assert len(draw("plot_map").figure.axes) == 2


def test_hue_tells_any_names_apart_by_mark_as_well_as_colour():
    frame = CELLS.assign(suite=["x", "y", "x", "y"])
    for name in ("plot_errors", "plot_growth"):
        ax = draw(name, frame, hue="suite")
        marks = {line.get_label(): line for line in ax.lines if line.get_label() in ("x", "y")}
        assert set(marks) == {"x", "y"}
        assert marks["x"].get_marker() != marks["y"].get_marker()
        assert marks["x"].get_color() != marks["y"].get_color()
        with pytest.raises(SchemaError, match="needs the column 'nothing'"):
            draw(name, frame, hue="nothing")


def test_categories_give_the_order():
    frame = CELLS.assign(case=pd.Categorical(CELLS["case"], ["b", "a", "never"]))
    for name in ("plot_errors", "plot_heatmap"):
        assert [label.get_text() for label in draw(name, frame).get_yticklabels()] == ["b", "a"]


@pytest.mark.parametrize("width", [0.5, 100.0, math.nan])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(ValueError, match="a figure is 1 to 40 inches wide; got"):
        draw("plot_errors", width=width)


def test_print_is_on_white_paper():
    for name in EVERY:
        made = draw(name)
        assert mpl.colors.to_hex(made.figure.get_facecolor()) == "#ffffff"
        assert b"#fbfaf8" not in document(made.figure, "svg")
