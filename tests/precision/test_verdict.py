"""Verdicts: each can be reached, none by the wrong road."""

from __future__ import annotations

import numpy as np

from precision.probe import Probe
from precision.score import errors
from precision.verdict import Shares, judge
from reference import Truth

FINE = Probe(4, 0, 0, 0, 0.0)


def truth_of(*value):
    array = np.array(value, dtype=np.float64)
    return Truth(array, np.zeros_like(array), np.zeros_like(array), np.abs(array))


def verdict(shares, probe=FINE, output=(1.5, 2.5), value=(1.0, 2.0), call=(), params=()):
    found = errors(truth_of(*value), np.array(output, dtype=np.float32))
    return judge(found, probe, shares, dict(call), dict(params))


def test_equal_to_the_rounded_truth_is_exact():
    assert verdict(Shares(0.0, True, 0.0), output=(1.0, 2.0)).verdict == "exact"


def test_within_the_bound_is_rounding():
    found = verdict(Shares(0.5, True, 2.0))
    assert (found.verdict, found.evidence) == ("rounding", "bounded")


def test_an_infinite_bound_proves_nothing():
    assert verdict(Shares(0.0, False, 0.5)).evidence == "consistent"
    assert verdict(Shares(0.0, False, 3.0)).verdict == "unexplained"


def test_beyond_the_bound_is_unexplained():
    found = verdict(Shares(1.01, True, 9.0))
    assert (found.verdict, found.evidence) == ("unexplained", "none")


def test_operands_are_rounded_only_where_the_mode_allows_it():
    assert verdict(Shares(50.0, True, 99.0, 0.4, "bfloat16")).verdict == "rounding"
    assert "bfloat16" in verdict(Shares(50.0, True, 99.0, 0.4, "bfloat16")).reason
    assert verdict(Shares(50.0, True, 99.0, 1.4, "bfloat16")).verdict == "unexplained"
    assert verdict(Shares(50.0, True, 99.0)).verdict == "unexplained"


def test_one_pass_is_only_consistent_and_only_where_its_bound_is_finite():
    found = verdict(Shares(3.0, True, 9.0, one_pass=0.5, one_pass_finite=True))
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    found = verdict(Shares(3.0, True, 9.0, one_pass=0.0, one_pass_finite=False))
    assert found.verdict == "unexplained"
    assert "not proved" in found.reason


def test_nan_is_never_rounding():
    assert verdict(Shares(0.0, True, 0.0), output=(np.nan, 2.0)).verdict == "unexplained"


def test_the_probe_comes_first_and_names_the_parameter():
    probe = Probe(4, 3, 3, 3, 7.0)
    found = verdict(Shares(0.0, True, 0.0), probe, call=[("padding", 1)], params=[("padding", "same")])
    assert (found.verdict, found.evidence) == ("semantics", "proved")
    assert "padding=1 was called, padding='same' is declared" in found.reason
    assert "3 of 4" in found.reason


def test_a_probe_that_is_only_nearly_exact_weakens_the_evidence():
    nearly = Probe(4, 0, 0, 2, 1e-6)
    found = verdict(Shares(0.5, True, 2.0), nearly)
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    assert "2 outputs are inexact on small integers" in found.reason
    unlikely = Probe(4, 0, 1, 2, 1e-3)
    assert verdict(Shares(0.5, True, 2.0), unlikely).verdict == "unexplained"
    assert verdict(Shares(0.0, True, 0.0), nearly, output=(1.0, 2.0)).verdict == "exact"
