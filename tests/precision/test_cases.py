"""The suites: what they must contain, that ids and declarations are stable, and that probes are exact."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from precision.cases import SUITES, load_probes, load_suite, select_cases
from precision.errors import UserError
from reference import evaluate, terms

EVERY_CASE = list({case.id: case for suite in SUITES for case in load_suite(suite)}.values())


def test_ids_are_unique_and_fit_a_file_name():
    for suite in SUITES:
        ids = [asked.id for asked in (*load_suite(suite), *load_probes(suite))]
        assert len(set(ids)) == len(ids)
        assert all(id.replace("-", "").isalnum() and id.islower() for id in ids)


def test_declarations_do_not_drift():
    # A change here means that captures made before no longer fit: give the case another id instead.
    all_prints = "".join(case.fingerprint() for case in load_suite("default"))
    assert hashlib.sha256(all_prints.encode()).hexdigest()[:16] == "dbbc95b44c9fdc7d"


def test_the_default_suite_holds_the_layers_it_promises():
    cases = {case.id: case for case in load_suite("default")}
    shapes = {
        id: (case.arrays["input"].shape, case.arrays["weight"].shape)
        for id, case in cases.items()
        if case.op == "conv2d"
    }
    assert shapes["conv2d-5x5-s2-uniform"] == ((1, 256, 16, 32), (512, 256, 5, 5))
    assert shapes["conv2d-7x7-s2-stem"] == ((1, 3, 224, 224), (64, 3, 7, 7))
    assert shapes["conv2d-3x3"] == ((1, 64, 56, 56), (64, 64, 3, 3))
    assert shapes["conv2d-1x1"] == ((1, 512, 28, 28), (128, 512, 1, 1))
    norms = {case.op for case in cases.values() if case.family == "normalization"}
    assert norms == {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
    for id, case in cases.items():
        if case.family == "normalization" and not id.endswith("-offset"):
            offset = cases[f"{id}-offset"].make("data")["input"].astype(np.float64)
            assert abs(offset.mean() - 1000) < 0.1
            assert abs(offset.var() - 1) < 0.05


def test_the_ill_conditioned_case_is():
    case = next(case for case in load_suite("default") if case.id == "conv2d-ill-conditioned")
    truth = evaluate(case.op, case.make("data"), case.params)
    assert np.median(truth.magnitude / np.abs(truth.value)) >= 1e6


@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.id)
def test_probes_are_exact_in_any_order(case):
    arrays = case.make("probe")
    assert all(np.array_equal(array, np.rint(array * 4) / 4) for array in arrays.values())
    params = case.declared("probe")
    if case.family == "normalization":
        # With var + eps = 1 the exact result is (x - mean) w + b: integers.
        truth = evaluate(case.op, arrays, params)
        assert np.array_equal(truth.value, np.rint(truth.value))
        assert not truth.residual.any()
    elif case.family != "normalization gradient":
        factors = [np.abs(array).max() for name, array in arrays.items() if name != "bias"]
        largest = np.prod(factors) * terms(case.op, arrays, params)
        assert largest + 8 < 2**24  # every partial sum is an integer that float32 holds


def test_normal_data_fits_its_shape_and_seed():
    case = load_suite("smoke")[0]
    first, second = case.make("data"), case.make("data")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {name: array.shape for name, array in first.items()} == {
        name: array.shape for name, array in case.arrays.items()
    }


def test_selection_and_its_bad_input():
    cases = load_suite("default")
    assert [case.id for case in select_cases(cases, "linear*, conv2d-1x1")] == [
        "conv2d-1x1",
        "linear-1024-1000",
    ]
    assert select_cases(cases, None) == cases
    for pattern in ("conv3d*", "", " , "):
        with pytest.raises(UserError):
            select_cases(cases, pattern)
    with pytest.raises(UserError, match=r"default, smoke, gpu.*; got 'everything'"):
        load_suite("everything")


def test_an_odd_declaration_changes_the_fingerprint():
    from dataclasses import replace

    case = load_suite("smoke")[0]
    assert replace(case, params={**case.params, "stride": 1}).fingerprint() != case.fingerprint()
    assert replace(case, title="another title").fingerprint() == case.fingerprint()


def test_uniform_data_is_exactly_what_it_says():
    values = load_suite("smoke")[0].make("data")["input"]
    assert all(Fraction(float(x)) * 2**24 % 1 == 0 and 0 <= x < 1 for x in values.flat)
