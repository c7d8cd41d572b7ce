"""Figures of any frame: right values of any type are drawn, wrong ones are named in one line."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from figure_frames import BINS, BUDGET, CELLS, EVERY, PLANE, PROFILE, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from reports import figures
from reports.figures_base import settle
from reports.schema import SchemaError

TYPES = ("float32", "object", "Int64")
NUMBERS = {
    "plot_heatmap": "error_ulp_median",
    "plot_errors": "error_scaled_ulp_rms",
    "plot_growth": "error_over_magnitude_max",
    "plot_switch": "error_scaled_ulp_rms",
    "plot_histogram": "count",
    "plot_budget": "share",
    "plot_map": "error_scaled_ulp_rms",
    "plot_profile": "error_scaled_ulp_rms",
    "plot_layers": "own_relative_a",
    "plot_invariance": "distinct",
}
NAMES = {
    "plot_heatmap": ("case", "mode", "verdict"),
    "plot_errors": ("case", "framework"),
    "plot_growth": ("framework",),
    "plot_switch": ("case", "mode"),
    "plot_histogram": ("mode",),
    "plot_budget": ("mode", "cause", "evidence"),
    "plot_profile": ("mode",),
    "plot_layers": ("layer_a", "verdict"),
    "plot_invariance": ("mode", "factor", "status"),
}


def ax():
    return Figure(figsize=(3, 2)).add_subplot()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_any_type_are_numbers(name, kind):
    frame = EVERY[name][0]
    whole = frame.assign(**{NUMBERS[name]: pd.Series([1] * len(frame), index=frame.index).astype(kind)})
    draw(name, whole, ax=ax())


@pytest.mark.parametrize("bad", ["big", "1.5", (1,), 2j])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_named(name, bad):
    frame = EVERY[name][0].astype({NUMBERS[name]: object})
    frame.iat[0, frame.columns.get_loc(NUMBERS[name])] = bad
    with pytest.raises(
        SchemaError, match=rf"{name}: {NUMBERS[name]} holds numbers; got .*; convert it"
    ) as caught:
        draw(name, frame, ax=ax())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - {"plot_budget", "plot_invariance"}))
def test_an_error_below_nothing_is_refused(name):
    frame = EVERY[name][0].astype({NUMBERS[name]: float})
    frame.iat[0, frame.columns.get_loc(NUMBERS[name])] = -0.25
    with pytest.raises(SchemaError, match=rf"{NUMBERS[name]} holds -0\.25; take the magnitude"):
        draw(name, frame, ax=ax())


@pytest.mark.parametrize(("name", "column"), [(name, column) for name in NAMES for column in NAMES[name]])
def test_a_row_without_a_name_is_refused(name, column):
    frame = EVERY[name][0].astype({column: object})
    frame.iat[0, frame.columns.get_loc(column)] = None
    with pytest.raises(SchemaError, match=rf"{name}: column '{column}' may not be empty; row 0 is; fill it"):
        draw(name, frame, ax=ax())


@pytest.mark.parametrize("name", EVERY)
def test_a_column_that_is_there_twice_is_refused(name):
    frame, _, columns = EVERY[name]
    twice = pd.concat([frame, frame[[columns[0]]]], axis=1)
    with pytest.raises(
        SchemaError, match=rf"takes one column '{columns[0]}'; the frame has 2; drop the others"
    ):
        draw(name, twice, ax=ax())


@pytest.mark.parametrize("name", sorted(EVERY))
def test_an_index_of_any_kind_changes_nothing(name):
    frame = EVERY[name][0]
    first, second = ax(), ax()
    draw(name, frame, ax=first)
    draw(name, frame.set_axis([7] * len(frame)), ax=second)  # as after `pd.concat`
    assert [text.get_text() for text in first.texts] == [text.get_text() for text in second.texts]
    assert len(first.patches) == len(second.patches)
    for one, two in zip(first.lines, second.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), two.get_xydata())


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("plot_histogram", pd.concat([BINS, BINS]), "one histogram a label; bins of 'torch.cpu' overlap"),
        ("plot_histogram", BINS.assign(bin_right_ulp=-9.0), "bin_left_ulp is below bin_right_ulp"),
        ("plot_profile", pd.concat([PROFILE, PROFILE]), r"a block once; \(torch.cpu, 0.0\) is there twice"),
        ("plot_switch", pd.concat([CELLS, CELLS]), r"a cell once; \(a, output, torch.cpu\) is there twice"),
        ("plot_map", PLANE.assign(row=-1), "row counts from 0 to 4095; got -1"),
        ("plot_map", PLANE.assign(column=[0, 1.5, 2]), "column counts from 0 to 4095; got 1.5"),
        ("plot_map", PLANE.assign(row=10**9), "row counts from 0 to 4095; got "),
        ("plot_map", PLANE.assign(row=math.nan), "row counts from 0 to 4095; got "),
        ("plot_budget", BUDGET.assign(evidence="sure"), r"evidence is one of .*; got 'sure'"),
    ],
)
def test_rows_that_are_not_of_one_picture_are_refused(name, frame, message):
    with pytest.raises(SchemaError, match=message):
        draw(name, frame, ax=ax())


def test_a_switch_needs_no_outputs():
    shown = draw("plot_switch", CELLS.drop(columns="output"))
    assert [text.get_text() for text in shown.get_legend().get_texts()] == ["equal bits: 1", "worse: 1"]


SIZES = st.one_of(st.none(), st.just(0.0), st.just(math.inf), st.floats(2.0**-149, 2.0**127))
WORDS = st.text(max_size=12)


def frames(**columns):
    """Frames of 1 to 6 rows with these columns."""
    rows = st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=6)
    return rows.map(lambda found: pd.DataFrame(found).astype(object))


@settings(max_examples=8)
@given(
    frames(
        case=WORDS, mode=WORDS, verdict=st.sampled_from(["exact", "rounding", "error"]), framework=WORDS,
        terms=st.one_of(st.none(), st.integers(0, 2**60)), error_ulp_median=SIZES, error_scaled_ulp_rms=SIZES,
        error_over_magnitude_max=SIZES,
    ),
    st.sampled_from([None, 3.3]),
)  # fmt: skip
def test_any_cells_are_drawn_and_each_has_its_place(frame, width):
    heat = figures.plot_heatmap(frame, width=width)
    assert len(heat.texts) == frame["case"].nunique() * frame["mode"].nunique()
    errors = figures.plot_errors(frame, width=width)
    drawn = sum(len(line.get_xdata()) for line in errors.lines if line.get_linestyle() == "None")
    assert drawn == frame["error_scaled_ulp_rms"].notna().sum()
    growth = figures.plot_growth(frame, width=width)
    for shown in (heat, errors, growth):
        settle(shown.figure)
        low, high = shown.get_xlim()
        assert math.isfinite(low) and math.isfinite(high)  # noqa: PT018 (one thing: the axis)


@settings(max_examples=8)
@given(
    st.lists(st.floats(-(2.0**40), 2.0**40), min_size=2, max_size=9, unique=True),
    st.booleans(),
    st.data(),
)
def test_any_histogram_has_the_area_of_its_elements(edges, infinite, data):
    edges = sorted(
        {float(np.float32(edge)) for edge in edges} | ({-math.inf, math.inf} if infinite else set())
    )
    if len(edges) < 2:
        return
    counts = data.draw(st.lists(st.integers(0, 1000), min_size=len(edges) - 1, max_size=len(edges) - 1))
    frame = pd.DataFrame(
        {"mode": "m", "bin_left_ulp": edges[:-1], "bin_right_ulp": edges[1:], "count": counts}
    )
    if not sum(counts):
        with pytest.raises(SchemaError, match="every count is 0"):
            figures.plot_histogram(frame)
        return
    (outline,) = [
        patch for patch in figures.plot_histogram(frame, ax=ax()).patches if hasattr(patch, "get_data")
    ]
    values, bounds, _ = outline.get_data()
    assert (np.diff(bounds) * values).sum() == pytest.approx(1.0)


@settings(max_examples=8)
@given(
    frames(
        layer_a=WORDS, verdict=WORDS, own_relative_b=SIZES, inherited_relative_b=SIZES, total_relative_b=SIZES
    )
)
def test_any_layers_are_drawn(frame):
    settle(figures.plot_layers(frame, side="b", width=3.3).figure)
