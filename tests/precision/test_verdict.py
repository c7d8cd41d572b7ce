"""Verdicts: each can be reached, none by the wrong road."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from precision.probe import Probe
from precision.score import errors
from precision.verdict import Evidence, Shares, judge
from reference import Truth

FINE = Probe(4, 0, 0, 0, 0.0, 0.0)
NEARLY = Probe(4, 0, 0, 2, 1e-6, 1e-6)
NARROW = Probe(4, 0, 3, 3, 1e-3, 1e-3)
WITHIN = Shares(0.5, 0.9)


def evidence(output=(1.5, 2.5), value=(1.0, 2.0), **rest):
    array = np.array(value, dtype=np.float64)
    truth = Truth(array, np.zeros_like(array), np.zeros_like(array), np.abs(array))
    found = errors(truth, np.array(output, dtype=np.float32))
    return replace(Evidence(found, FINE, FINE, WITHIN), **rest)


def verdict(**rest):
    found = judge(evidence(**rest))
    return found.verdict, found.evidence


def test_equal_to_the_rounded_truth_is_exact():
    assert verdict(output=(1.0, 2.0)) == ("exact", "proved")
    signed = judge(evidence(output=(-0.0, 2.0), value=(0.0, 2.0)))
    assert signed.verdict == "exact"
    assert "the sign of 1 zeros" in signed.reason


def test_within_the_bound_is_rounding():
    assert verdict() == ("rounding", "bounded")


def test_beyond_the_bound_is_unexplained():
    assert verdict(shares=Shares(1.01, 9.0)) == ("unexplained", "none")


def test_an_infinite_bound_proves_nothing():
    assert verdict(shares=Shares(None, 0.5)) == ("rounding", "consistent")
    assert verdict(shares=Shares(None, 3.0)) == ("unexplained", "none")
    assert verdict(shares=Shares(None, None)) == ("unexplained", "none")
    assert verdict(shares=Shares(None, 5.0, one_pass=None, normalization=True)) == ("unexplained", "none")


def test_more_than_rounding_is_likely_to_make_is_not_bounded():
    found = judge(evidence(shares=Shares(0.45, 4.5)))
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    assert "4.5 times what rounding is likely to make" in found.reason


def test_narrow_operands_pass_only_where_the_mode_allows_them():
    assert verdict(width=NARROW) == ("unexplained", "none")
    assert verdict(width=NARROW, low_format="bfloat16", shares=Shares(0.4, 4.0, 0.4)) == (
        "rounding",
        "bounded",
    )
    assert verdict(width=NARROW, low_format="bfloat16", shares=Shares(0.4, 4.0, 1.4)) == (
        "unexplained",
        "none",
    )
    assert verdict(width=NARROW, low_format="bfloat16", shares=Shares(0.4, 4.0)) == ("unexplained", "none")
    assert "NaN" in judge(evidence(width=replace(NARROW, error_relative_max=math.nan))).reason


def test_a_permission_that_was_not_used_is_said_so():
    assert "no operand was rounded" in judge(evidence(low_format="bfloat16")).reason


@pytest.mark.parametrize("which", ["probe", "width"])
def test_a_probe_that_is_only_nearly_exact_weakens_the_evidence(which):
    found = judge(evidence(**{which: NEARLY}))
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    assert "2 outputs are inexact on" in found.reason
    assert verdict(output=(1.0, 2.0), **{which: NEARLY}) == ("exact", "proved")


def test_an_unlikely_probe_is_unexplained():
    assert verdict(probe=replace(NEARLY, unlikely=1)) == ("unexplained", "none")


def test_one_pass_is_only_consistent_and_only_where_its_bound_is_finite():
    assert verdict(shares=Shares(3.0, 9.0, one_pass=0.5, normalization=True)) == ("rounding", "consistent")
    found = judge(evidence(shares=Shares(3.0, 9.0, one_pass=None, normalization=True)))
    assert found.verdict == "unexplained"
    assert "not proved" in found.reason


def test_nan_is_never_rounding():
    assert verdict(output=(np.nan, 2.0)) == ("unexplained", "none")


def test_a_call_that_does_not_repeat_itself_is_never_proved():
    assert verdict(distinct=2) == ("rounding", "consistent")
    assert verdict(distinct=2, output=(1.0, 2.0)) == ("rounding", "consistent")
    assert verdict(distinct=2, shares=Shares(2.0, 9.0)) == ("unexplained", "none")
    assert judge(evidence(distinct=2)).reason.startswith("2 different results")


def test_the_probe_comes_first_and_names_the_parameter():
    off = Probe(4, 3, 3, 3, 7.0, 1.0)
    found = judge(evidence(probe=off, call={"padding": 1}, params={"padding": "same"}))
    assert (found.verdict, found.evidence) == ("semantics", "proved")
    assert "padding=1 was called, padding='same' is declared" in found.reason
    assert "3 of 4" in found.reason
    # A transform in a low format is off on integers too: only a differing call tells the two apart.
    assert verdict(probe=off, low_format="tf32") == ("unexplained", "none")
    assert verdict(probe=off, low_format="tf32", call={"padding": 1}) == ("semantics", "proved")


def test_another_eps_shows_where_the_variance_is_near_eps():
    off = Probe(4, 3, 3, 3, 0.2, 0.1)
    shares = Shares(0.5, 0.5, normalization=True)
    assert verdict(width=off, shares=shares) == ("semantics", "proved")
