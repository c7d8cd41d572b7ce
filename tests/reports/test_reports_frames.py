"""Results of one frame of one's own: the least that is enough, what is filled in, what is refused."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from reports.cells import grid
from reports.schema import EVIDENCE, SCORES, VERDICTS, SchemaError

LEAST = pd.DataFrame(
    {
        "case": ["a", "a", "b"],
        "mode": ["torch.cpu", "mine", "torch.cpu"],
        "verdict": ["rounding", "semantics", "exact"],
    }
)


def test_three_columns_are_enough_and_nothing_is_claimed_beyond_them():
    result = reports.Result.from_frame(LEAST.assign(error_ulp_median=[1.5, 4e6, 0.0]), "Mine")
    frame = result.to_frame()
    assert frame["evidence"].tolist() == ["none"] * 3
    assert frame["framework"].tolist() == ["torch", "mine", "torch"]
    assert frame["device"].tolist() == ["cpu", "", "cpu"]
    assert frame["error_ulp_median"].tolist() == [1.5, 4e6, 0.0]
    assert frame["error_ulp_max"].isna().all()
    assert frame["bits_group"].isna().all()
    assert result.headline.sentence.startswith("Of 3 scored cells, 1 computed another function")
    assert result.to_frame("modes")["status"].tolist() == ["run", "run"]
    assert (result.results.run["title"], result.fine) == ("Mine", False)
    assert "Mine" in repr(result)
    assert reports.plot_heatmap(frame).texts


def test_all_that_shows_results_takes_it(tmp_path):
    result = reports.Result.from_frame(LEAST)
    page, _ = reports.render(result.results, tmp_path / "page")
    assert "another function" in page.read_text("utf-8")
    assert "another function" in reports.markdown(result.results)
    reports.save(result.results, tmp_path / "results")
    assert len(reports.Result.load(tmp_path / "results").to_frame()) == 3
    names = {path.name for path in result.export(tmp_path / "files", ("svg",), ("markdown",))}
    assert {"heatmap.svg", "results.md", "cases.md", "modes.md", "index.md"} <= names


def test_what_to_frame_gives_goes_in_again(results):
    frame = reports.Result.of(results).to_frame()
    again = reports.Result.from_frame(frame)
    pd.testing.assert_frame_equal(again.to_frame(), frame)
    assert [row["verdict"] for row in grid(again.results)] == [row["verdict"] for row in grid(results)]
    lost = again.to_frame("modes").set_index("mode")["status"]
    assert (lost["torch.cuda"], lost["torch.cpu"]) == ("not run", "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "verdict"}, "scores need the column 'verdict'; the frame has case, mode; add it"),
        ({"drop": "case"}, "scores need the column 'case'; the frame has mode, verdict; add it"),
        ({"error_ulp_meidan": 1.0}, "no column 'error_ulp_meidan'; did you mean 'error_ulp_median'"),
        ({"colour of the sky": 1.0}, "no column 'colour of the sky'; remove it"),
        ({"verdict": "fine"}, r"scores.verdict is one of exact, .*; got 'fine'"),
        ({"evidence": "sure"}, r"scores.evidence is one of proved, .*; got 'sure'"),
        ({"mode": None}, "scores.mode may not be empty; row 0 is; fill it"),
        ({"verdict": None}, "scores.verdict may not be empty; row 0 is; fill it"),
        ({"case": 3}, r"scores.case holds text values; got 3"),
        ({"error_ulp_max": "big"}, "scores.error_ulp_max holds real values; got 'big'"),
        ({"elements": 1.5}, "scores.elements holds integer values"),
        ({"title": ["x", "y", "z"]}, "scores say one thing of each case; of 'a' they say two; mend them"),
        ({"case": "a", "mode": "m"}, r"one row per \(case, mode, output\); \(a, m, output\) is twice"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    frame = LEAST.drop(columns=change["drop"]) if "drop" in change else LEAST.assign(**change)
    with pytest.raises(ValueError, match=message) as caught:
        reports.Result.from_frame(frame)
    assert "\n" not in str(caught.value)


def test_no_frame_and_no_rows():
    with pytest.raises(SchemaError, match="results are made of a data frame; got list"):
        reports.Result.from_frame([1])
    empty = reports.Result.from_frame(LEAST.iloc[:0])
    assert len(empty.to_frame()) == 0
    assert "<table" in empty._repr_html_()
    with pytest.raises(SchemaError, match="the frame has no columns; add it"):
        reports.Result.from_frame(pd.DataFrame())


REALS = [column.name for column in SCORES if column.kind == "real"]
WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from(REALS), max_size=5, unique=True),
    st.data(),
)
def test_any_names_and_figures_come_back_as_they_were(cells, columns, data):
    figure = st.one_of(st.none(), st.floats(0, allow_nan=False))
    rows = [
        {"case": case, "mode": mode, "verdict": data.draw(st.sampled_from(VERDICTS))}
        | {"evidence": data.draw(st.sampled_from(EVIDENCE))}
        | {column: data.draw(figure) for column in columns}
        for case, mode in cells
    ]
    given_frame = pd.DataFrame(rows)
    result = reports.Result.from_frame(given_frame)
    back = result.to_frame()
    for column in given_frame.columns:
        for old, new in zip(given_frame[column], back[column], strict=True):
            assert new == old or (pd.isna(new) and pd.isna(old))
    assert "<table" in result._repr_html_()


def test_everything_is_reached_from_the_package_and_nothing_is_loaded_before():
    code = (
        "import sys, reports\n"
        "assert {'Result', 'export', 'plot_errors'} <= set(dir(reports))\n"
        "reports.Result.from_frame\n"
        "assert not {'matplotlib', 'seaborn'} & set(sys.modules)\n"
        "assert callable(reports.plot_errors) and callable(reports.export.export)\n"
        "assert callable(reports.export.export) and reports.figures.plot_map is reports.plot_map\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in reports.__dict__\n"
        "try:\n    reports.nothing\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "module 'reports' has no attribute 'nothing'\n"), done.stderr
    assert set(reports.__all__) <= set(dir(reports))
    assert {name for name in reports.__all__ if name.startswith("plot_")} == set(reports.figures.__all__)


def test_frames_are_plain_ones_that_seaborn_takes(results):
    import seaborn as sns
    from matplotlib.figure import Figure

    frame = reports.Result.of(results).to_frame()
    assert {str(frame[name].dtype) for name in ("error_ulp_rms", "terms", "bits_group")} <= {
        "float64",
        "int64",
    }
    assert list(frame["verdict"].cat.categories) == list(VERDICTS)
    assert frame["verdict"].max() == "error"  # the order is that of the schema
    ax = Figure().add_subplot()
    sns.scatterplot(frame, x="terms", y="error_scaled_ulp_rms", hue="framework", style="verdict", ax=ax)
    points = sum(len(each.get_offsets()) for each in ax.collections)
    assert points == frame["error_scaled_ulp_rms"].notna().sum()


def test_the_columns_of_layers_are_those_of_a_trace():
    from reports.trace_page import LAYERS

    needed = {f"{name}_relative_{side}" for name in ("own", "inherited", "total") for side in "ab"}
    assert needed | {"layer_a", "verdict"} <= set(LAYERS)
