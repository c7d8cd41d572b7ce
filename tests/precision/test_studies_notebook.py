"""The notebook's rows: planted variants are named, printed digits decide, missing modes are said."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precision.cases import load_suite
from precision.studies import notebook, notebook_norm, printed_norm
from precision.studies.row import load_document
from precision.studies.wide import split
from precision.suites.notebook import EVEN_PAD, EVEN_SAME, ODD
from reference import evaluate

sys.path.insert(0, str(Path(__file__).parent))  # the fakes are a plain module beside the tests

from study_runs import material, right

MODES = ("torch.cpu", "tensorflow.cpu")
FIGURES = load_document("notebook").entry("batch-norm").figures
PRINTED, SMALLER = (np.array(FIGURES[name]) for name in ("tensorflow", "torch"))


def answer(mode, op, params, arrays):
    """Both frameworks as NumPy and the reference make them; images in float32."""
    x = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    if op == "pointwise":
        return pointwise(params, x["input"])
    if op == "cross_entropy":
        value = evaluate("binary_cross_entropy_with_logits", x, {"reduction": "mean"}).round(np.float32)
        double = {} if mode.startswith("torch") else split("double", np.float64(value))
        return {"output": value, **double}
    if op == "autodiff":
        inner = np.nan if mode.startswith("torch") else 54.0
        rest = [np.nan, np.nan] if mode.startswith("torch") else [18.0, 1.0]
        column = np.float32([54.0, inner, *rest])[:, None]
        return {"values": np.float32([[1], [3], [9], [81]]), "gradients": column}
    if op == "new_batch_norm":
        return {"weight": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)}
    if op == "keras_transposed":
        y = evaluate("conv_transpose2d", x, {"stride": 2, "padding": 2}).round(np.float32)
        return {"output": y if "output_padding" in params else np.zeros((1, 1, 10, 10), np.float32)}
    return {"output": evaluate(op, x, params).round(np.float32)}


def pointwise(params, x):
    double = params.get("dtype") == "float64"
    y = np.asarray(x, np.float64)
    if params["function"] == "sigmoid":
        y = 1 / (1 + np.exp(-y))
    elif params["function"] == "softmax":
        y = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    else:
        y = np.where(x < 0, x * np.float32(params["negative_slope"]), x)
    return split("output", y) if double else {"output": y.astype(np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


def rows(folder, modes=MODES, output=right, faked=answer):
    found = notebook.rows(material(folder, load_suite("notebook"), modes, output, faked))
    return {row.row: row for row in found}


def test_every_row_is_explained_on_right_results(folder):
    found = rows(folder)
    causes = {name: (row.cause, row.evidence) for name, row in found.items()}
    assert causes.pop("conv-even") == ("semantics", "proved")
    assert causes.pop("batch-norm") == ("semantics", "proved")
    assert causes.pop("null-class")[0] in ("none", "algorithm")
    assert set(causes.values()) == {("none", "proved")}
    assert {row.recurs for row in found.values()} == {"yes", "partly"}
    assert "[0, 1, 0, 1]" in found["conv-even"].detail
    assert "[1, 0, 1, 0]" in found["conv-even"].detail
    assert found["deconvolution"].figures[0]["now"] == "[19, 10, 19]"


@pytest.mark.parametrize(
    ("mode", "planted"), [("tensorflow.cpu", {"padding": [1, 0, 1, 0]}), ("tensorflow.cpu", {"stride": 1})]
)
def test_a_planted_meaning_in_an_odd_convolution_is_seen(folder, mode, planted):
    def output(case, of, variant):
        if (case.id, of.name) != (ODD, mode):
            return right(case, of, variant)
        call = {**case.call(of.framework, variant), **planted}
        return evaluate(case.op, case.make(variant), call).round(np.float32)

    row = rows(folder, output=output)["conv-odd"]
    assert (row.cause, row.recurs) == ("semantics", "no")


def test_two_frameworks_that_agree_on_even_inputs_do_not_repeat_the_document(folder):
    def output(case, of, variant):
        call = (
            case.declared(variant) if case.id in (EVEN_PAD, EVEN_SAME) else case.call(of.framework, variant)
        )
        return evaluate(case.op, case.make(variant), call).round(np.float32)

    row = rows(folder, output=output)["conv-even"]
    assert (row.cause, row.recurs, row.evidence) == ("none", "no", "none")


def test_planted_faults_in_experiments_are_not_passed(folder):
    def faulty(mode, op, params, arrays):
        good = answer(mode, op, params, arrays)
        if mode != "tensorflow.cpu":
            return good
        if op == "pointwise" and params["function"] == "maximum":
            return pointwise({**params, "negative_slope": 0.3}, arrays["input"])
        if op == "autodiff":
            return {**good, "gradients": good["gradients"] + np.float32(1)}
        if op == "cross_entropy":
            return {**good, "output": good["output"] * np.float32(1.01)}
        if op == "conv_transpose2d":
            return {"output": good["output"] + np.float32(1)}
        return good

    found = rows(folder, faked=faulty)
    for name in ("leaky-relu", "autodiff", "cross-entropy", "deconvolution"):
        assert (found[name].cause, found[name].evidence) == ("unexplained", "none"), name


@pytest.mark.parametrize("modes", [("torch.cpu",), ("tensorflow.cpu",)])
def test_rows_of_a_run_without_a_framework_say_so(folder, modes):
    found = rows(folder, modes)
    assert {row.evidence for row in found.values()} == {"none"}
    assert all("was asked for" in row.now or "was not asked for" in row.now for row in found.values())
    assert {row.recurs for row in found.values()} == {"no"}


def test_the_printed_digits_leave_one_input():
    (found,) = printed_norm.solutions(PRINTED, 50)
    assert (found.total, found.squares, found.eps, found.unbiased) == (69, 169, 1e-5, False)
    # An oracle in fractions: 3 is 1.33361..., 0 is -1.13604...
    scale = (Fraction(169, 50) - Fraction(69, 50) ** 2 + Fraction(1e-5)) ** -1
    assert float((3 - Fraction(69, 50)) ** 2 * scale) ** 0.5 == pytest.approx(1.3336109, abs=4e-7)
    low, high = printed_norm.weight_interval(SMALLER, 4, PRINTED)
    assert 0.30725 < low < high < 0.30732


@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize("unbiased", [False, True])
def test_another_planted_eps_or_variance_is_named(eps, unbiased):
    planted = printed_norm.Solution(69, 169, eps, unbiased, 50)
    levels = np.array([planted.value(i) for i in range(4)]).astype(np.float32)
    printed = levels[printed_norm.integers(PRINTED)].astype(np.float64)
    assert planted in printed_norm.solutions(printed, 50)
    assert printed_norm.Solution(69, 169, 1e-5, False, 50) not in printed_norm.solutions(printed, 50)


def test_values_of_no_normalization_leave_nothing():
    assert printed_norm.solutions(PRINTED + 0.01, 50) == []
    with pytest.raises(ValueError, match="4 printed values; got 2"):
        printed_norm.integers(np.array([1.0, 2.0]))


def test_two_weights_are_not_one():
    low, high = printed_norm.weight_interval(np.where(PRINTED > 0, SMALLER, 2 * SMALLER), 4, PRINTED)
    assert low > high


@given(st.lists(st.integers(0, 3), min_size=5, max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_completing_integers_have_the_sums(shown, unseen):
    every = np.array(shown + unseen)
    given_ = printed_norm.Solution(int(every.sum()), int((every**2).sum()), 0.0, False, every.size)
    found = printed_norm.filled(np.array(shown), given_)
    assert found is not None
    assert found.size == len(unseen)
    assert (found.sum(), (found**2).sum()) == (sum(unseen), sum(i * i for i in unseen))


def test_sums_that_no_integers_have_are_refused():
    assert printed_norm.filled(np.array([1, 1]), printed_norm.Solution(3, 20, 0.0, False, 3)) is None


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (np.round(PRINTED, 4), "none"),
        (np.round(PRINTED * 0.125, 4), "semantics"),
        (np.where(PRINTED > 0, SMALLER, 2 * SMALLER), "unexplained"),
    ],
)
def test_another_planted_weight_changes_the_row(folder, values, cause):
    # In place of the document's torch values those of weight 1, of another weight, and of no weight at all.
    entry = load_document("notebook").entry("batch-norm")
    planted = replace(entry, figures={**FIGURES, "torch": values.tolist()})
    row = notebook_norm.batch_norm(material(folder, [], MODES, right, answer), planted)
    assert row.cause == cause
    assert row.evidence == ("none" if cause == "unexplained" else "proved")
