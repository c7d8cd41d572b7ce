"""Decisions against brute force over every output that the bounds allow."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precision.decisions import DecisionError, decide, table
from reference import evaluate

QUARTERS = st.integers(-6, 6).map(lambda n: n / 4)


@st.composite
def rows(draw: Any) -> tuple[Any, Any, Any]:
    count = draw(st.integers(2, 4))
    take = lambda strategy: draw(st.lists(strategy, min_size=count, max_size=count))  # noqa: E731
    truth, bound = np.array(take(QUARTERS)), np.array(take(st.integers(0, 3).map(lambda n: n / 8)))
    steps = np.array(take(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])))
    return truth, bound, truth + steps * bound


@given(rows(), st.integers(1, 3))
@settings(max_examples=300)
def test_safe_is_what_no_output_within_the_bounds_flips(given_row: tuple[Any, Any, Any], k: int) -> None:
    truth, bound, output = given_row
    k = min(k, truth.size - 1)
    (found,) = decide(truth, {"a": output}, bound, kind="argmax" if k == 1 else "top-k", k=k)

    def best(scores: Any) -> set[int]:
        return set(np.argsort(-np.asarray(scores), kind="stable")[:k].tolist())

    # Extremes suffice: a decision depends on differences alone.
    corners = [best(truth + np.array(signs) * bound) for signs in product((-1, 0, 1), repeat=truth.size)]
    always = all(each == best(truth) for each in corners)
    if best(output) != best(truth):
        assert found.status == "flipped"
        assert found.element in best(output) - best(truth)
    elif found.status == "safe":
        assert always
    else:
        # At risk: some corner flips, or a tie is only broken by position.
        inside, outside = sorted(best(truth)), sorted(set(range(truth.size)) - best(truth))
        gap = min(truth[i] - bound[i] for i in inside) - max(truth[j] + bound[j] for j in outside)
        assert gap <= 0
        assert found.element in outside
        assert not always or gap == 0


@given(rows(), QUARTERS)
def test_thresholds_against_brute_force(given_row: tuple[Any, Any, Any], threshold: float) -> None:
    truth, bound, output = given_row
    found = decide(truth, {"a": output}, bound, kind="threshold", threshold=threshold)
    status = {each.index[0]: each.status for each in found if each.status != "safe"}
    for i in range(truth.size):
        low, high = truth[i] - bound[i], truth[i] + bound[i]
        if (truth[i] >= threshold) != (output[i] >= threshold):
            assert status[i] == "flipped"
        elif low > threshold or high < threshold:
            assert i not in status
        else:
            assert status[i] == "at risk"


def test_samples_axes_and_the_table() -> None:
    truth = np.array([[[1.0, 5.0], [2.0, 1.0]], [[0.0, 0.0], [0.5, 3.0]]])  # (N, C, positions)
    other = truth.copy()
    other[0, 0, 0] = 2.5
    found = decide(truth, {"a": truth, "b": other}, 0.25, axis=1)
    status = {(each.output, each.index): each.status for each in found}
    assert status[("a", (0, 0))] == "safe"
    assert status[("b", (0, 0))] == "flipped"
    assert status[("a", (1, 0))] == "at risk"
    flipped = table(found).iloc[0]
    assert (flipped["status"], flipped["truth"], flipped["found"], flipped["element"]) == ("flipped", 1, 0, 0)
    assert flipped["margin"] == 1.0


def test_certified_truth_brings_its_own_uncertainty() -> None:
    x = np.array([[1.0, 1.0]], np.float32)
    truth = evaluate("softmax", {"input": x}, {"dim": 1})
    (found,) = decide(truth, {"a": truth.round(np.float32)}, 0.0)
    assert found.status == "at risk"
    (sure,) = decide(np.array([[1.0, 0.0]]), {"a": np.array([[1.0, 0.0]])}, 0.0)
    assert sure.status == "safe"


def test_nan_in_an_output_is_never_chosen() -> None:
    (found,) = decide([1.0, 2.0, 0.0], {"a": [1.0, np.nan, 0.0]}, 0.1)
    assert (found.status, found.found) == ("flipped", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, 2.0], {"a": [1.0]}, 0.0), "truth's shape"),
        (([1.0, np.nan], {"a": [1.0, 2.0]}, 0.0), "NaN"),
        (([1.0, 2.0], {"a": [1.0, 2.0]}, -1.0), ">= 0"),
        (([1.0, 2.0], {"a": [1.0, 2.0]}, np.nan), ">= 0"),
    ],
)
def test_bad_input_is_one_line(arguments: Any, words: str) -> None:
    with pytest.raises(DecisionError, match=words) as found:
        decide(*arguments)
    assert "\n" not in str(found.value)


def test_bad_k_and_kind() -> None:
    for k in (0, 2, True, 1.5):
        with pytest.raises(DecisionError, match="number of classes"):
            decide([1.0, 2.0], {"a": [1.0, 2.0]}, 0.0, kind="top-k", k=k)  # type: ignore[arg-type]
    with pytest.raises(DecisionError, match="one of argmax"):
        decide([1.0, 2.0], {"a": [1.0, 2.0]}, 0.0, kind="best")
