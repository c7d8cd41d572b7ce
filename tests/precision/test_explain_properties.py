"""Properties: no declaration crashes, tolerances hold and are tight, distances count float32 numbers."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from precision.explanation import explain
from precision.judging.case_folder import CaseError
from precision.judging.output_pairs import compare, distance, likeness
from precision.judging.tolerance import tolerance
from reference import evaluate
from reference.bounds import error_bound

X = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
W = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)

numbers = st.one_of(st.integers(-3, 5), st.floats(allow_nan=False), st.booleans(), st.none())
values = st.recursive(
    st.one_of(numbers, st.sampled_from(["x.npy", "same", "NCHW", "NHWC", "valid", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)
PARAMS = ("stride", "padding", "dilation", "groups", "layout", "padding_mode", "kernel_size", "eps", "dim")
OPS = ("conv2d", "linear", "max_pool2d", "batch_norm", "softmax", "relu", "matmul", "nonsense")
case_json = st.fixed_dictionaries(
    {
        "op": st.one_of(st.sampled_from(OPS), values),
        "arrays": st.one_of(
            st.just({"input": "x.npy"}), st.just({"input": "x.npy", "weight": "w.npy"}), values
        ),
        "outputs": st.one_of(st.just({"torch": "x.npy"}), values),
    },
    optional={
        "params": st.one_of(st.dictionaries(st.sampled_from(PARAMS), values, max_size=2), values),
        "layout": values,
    },
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case_json)
def test_any_case_is_judged_or_refused_in_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("case")
    np.save(folder / "x.npy", X)
    np.save(folder / "w.npy", W)
    (folder / "case.json").write_text(json.dumps(content, allow_nan=True))
    found, refused = None, ""
    try:
        found = explain(folder)
    except CaseError as reason:
        refused = str(reason)
    if found is None:
        assert len(refused.splitlines()) == 1
        assert len(refused) > 20
    else:
        json.dumps(found.to_json(), allow_nan=False)
        assert str(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-20, 1e-3, 1.0, 1e10]), st.sampled_from([1, 5, 400]))
def test_tolerances_hold_for_every_allowed_pair(seed, scale, terms):
    rng = np.random.default_rng(seed)
    arrays = {
        "input": (rng.standard_normal((4, terms)) * scale).astype(np.float32),
        "weight": rng.standard_normal((5, terms)).astype(np.float32),
    }
    truth = evaluate("linear", arrays, {})
    limit = error_bound("linear", arrays, {}, truth)
    found = tolerance("linear", arrays, {}, truth, limit)
    assert found is not None
    t = truth.value
    for a, b in ((t + limit, t - limit), (t - limit, t + limit), (t, t - limit)):
        assert np.all(np.abs(a - b) <= (found.atol + found.rtol * np.abs(b)) * (1 + 1e-12))
    used = 2 * limit / np.where(limit > 0, found.atol + found.rtol * np.maximum(np.abs(t) - limit, 0), 1)
    assert used.max() > 0.8  # no looser than two digits make it
    if found.likely_rtol is not None:
        assert (found.likely_rtol, found.likely_atol) <= (found.rtol, max(found.atol, found.likely_atol))


def test_no_tolerance_where_the_bound_is_infinite():
    arrays = {"input": np.full((1, 4), 3e38, np.float32), "weight": np.ones((1, 4), np.float32)}
    truth = evaluate("linear", arrays, {})
    assert tolerance("linear", arrays, {}, truth, np.full((1, 1), np.inf)) is None


@settings(max_examples=60, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 40))
def test_a_distance_counts_steps(start, steps):
    value = np.float32(start)
    reached = value
    with np.errstate(over="ignore"):  # the step after the largest number
        for _ in range(steps):
            reached = np.nextafter(reached, np.float32(np.inf))
    if np.isfinite(reached):
        assert distance(np.array([value]), np.array([reached])).tolist() == [steps]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["bfloat16", "binary16", "tf32"]))
def test_a_narrower_copy_is_recognised(seed, kind):
    from reference.formats import FORMATS, round_to

    wide = np.random.default_rng(seed).standard_normal(50).astype(np.float32)
    wide *= np.float32(1e6 if kind == "tf32" else 1)  # beyond binary16, which has as many bits
    narrow = round_to(wide, FORMATS[kind]).astype(np.float32)
    words = likeness(compare("a", wide, "b", narrow), wide, narrow)
    assert words.startswith(f"b is a rounded to {kind}, in every element")
    narrow[3] = wide[3] * np.float32(1.5)
    assert "in every element" not in likeness(compare("a", wide, "b", narrow), wide, narrow)
