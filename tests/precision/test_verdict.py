"""Verdicts: each can be reached, none by the wrong road."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from precision.judging.finding import Cause, OutputExplained
from precision.judging.probe import Probe
from precision.judging.verdict import Evidence, judge, probe_in_doubt

FINE = Probe(4, 0, 0, 0, 0.0, 0.0)
NEARLY = Probe(4, 0, 0, 2, 1e-6, 1e-6)
NARROW = Probe(4, 0, 3, 3, 1e-3, 1e-3)
OFF = Probe(4, 3, 3, 3, 7.0, 1.0)

BOUNDED = Cause("accumulation", share=1.0, evidence="bounded", detail="at most 0.5 of the bound")
PROVED = replace(BOUNDED, evidence="proved", detail="a chain: all 4 outputs, bit for bit; 9 tried")
UNKNOWN = replace(BOUNDED, evidence="consistent", detail="the bound is infinite")
LOST = Cause("unexplained", share=1.0, detail="no change gives this")
ONE_PASS = Cause("algorithm", share=0.9, evidence="proved", detail="a variance in one pass")
PADDING = Cause("semantics", "padding", 1, "same", 1.0, 9.0, "proved", "padding as 'same' gives", "pad")
WEIGHT = replace(PADDING, cause="data", parameter="weight element", detail="one weight differs")
BF16 = Cause("operand rounding", "operands", "binary32", "input and weight: bfloat16 RNE", 1.0, 9.0, "proved")
HALF = Cause("output rounding", "output", "binary32", "binary16 RNE", 1.0, 9.0, "proved", "half results")


def explained(*causes, verdict="rounding", reason="said by the search", **figures):
    return OutputExplained("torch", verdict, reason, causes, figures)


def verdict(*causes, search="rounding", **rest):
    found = judged(*causes, search=search, **rest)
    return found.verdict, found.evidence


def judged(*causes, search="rounding", figures=None, **rest):
    told = explained(*(causes or (BOUNDED,)), verdict=search, **(figures or {}))
    return judge(replace(Evidence(told, FINE, FINE, 0.5, 0.9), **rest))


def test_exact_is_what_the_search_says_is_exact():
    assert verdict(search="exact") == ("exact", "proved")
    assert verdict(search="exact", probe=NEARLY) == ("exact", "proved")


def test_within_the_bound_is_rounding():
    assert verdict() == ("rounding", "bounded")
    assert judged().reason == BOUNDED.detail
    assert verdict(UNKNOWN) == ("rounding", "consistent")


def test_a_replay_of_every_bit_is_proved_whatever_the_probes_round():
    assert verdict(PROVED) == ("rounding", "proved")
    assert judged(PROVED).reason == "bit for bit: a chain"
    revealed = replace(PROVED, detail="a chain: the revealed order gives all 4 outputs, bit for bit")
    assert judged(revealed).reason == "bit for bit: a chain"
    assert verdict(PROVED, width=NEARLY) == ("rounding", "proved")
    assert verdict(PROVED, likely=4.5) == ("rounding", "proved")
    assert verdict(PROVED, LOST) == ("rounding", "bounded")


def test_a_replay_of_another_formula_is_no_leave_to_be_wrong():
    assert verdict(ONE_PASS, PROVED, normalization=True) == ("rounding", "proved")
    assert verdict(ONE_PASS, PROVED, normalization=True, worst=80.0, one_pass=0.3) == ("rounding", "proved")
    for beyond in (None, 1.5):
        assert verdict(ONE_PASS, PROVED, worst=80.0, one_pass=beyond) == ("semantics", "proved")
    assert "80 times" in judged(ONE_PASS, PROVED, worst=80.0).reason
    assert verdict(PROVED, worst=80.0) == ("rounding", "proved")


def test_what_the_search_leaves_unexplained_is_unexplained():
    found = judged(LOST, search="unexplained")
    assert (found.verdict, found.evidence, found.reason) == ("unexplained", "none", "said by the search")


def test_more_than_rounding_is_likely_to_make_is_not_bounded():
    found = judged(likely=4.5)
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    assert "4.5 times what rounding is likely to make" in found.reason


def test_narrow_operands_pass_only_where_the_mode_allows_them():
    assert verdict(width=NARROW) == ("unexplained", "none")
    allowed = {"width": NARROW, "low_format": "bfloat16"}
    assert verdict(operands=0.4, **allowed) == ("rounding", "bounded")
    assert verdict(LOST, search="unexplained", operands=0.4, **allowed) == ("rounding", "bounded")
    for share in (1.4, None):
        assert verdict(operands=share, **allowed) == ("unexplained", "none")
    wild = {"nonfinite_mismatches": 1}
    assert verdict(LOST, search="unexplained", figures=wild, operands=0.4, **allowed)[0] == "unexplained"
    assert "NaN" in judged(width=replace(NARROW, error_relative_max=math.nan)).reason


def test_a_transform_is_not_narrow_where_its_replay_gives_every_bit():
    words = "Winograd's F(6x6, 3x3) gives all 4 outputs"
    assert verdict(width=NARROW) == ("unexplained", "none")
    assert verdict(width=NARROW, transform=words) == ("rounding", "proved")
    assert words in judged(width=NARROW, transform=words).reason
    assert judged(width=NARROW, transform=words).transform == words
    assert judged(transform=words, search="exact").transform == ""
    # It is no leave to be wrong.
    assert verdict(width=NARROW, probe=OFF, transform=words)[0] == "semantics"
    assert verdict(LOST, search="unexplained", width=NARROW, transform=words) == ("unexplained", "none")


@pytest.mark.parametrize("width", [FINE, NARROW])
def test_operands_that_the_search_names_pass_only_where_the_mode_allows_that_format(width):
    assert verdict(BF16, BOUNDED, width=width) == ("unexplained", "none")
    assert verdict(BF16, BOUNDED, width=width, low_format="binary16") == ("unexplained", "none")
    assert verdict(BF16, BOUNDED, width=width, low_format="bfloat16") == ("rounding", "bounded")
    assert verdict(BF16, PROVED, width=width, low_format="bfloat16") == ("rounding", "proved")
    assert verdict(HALF, width=width, low_format="binary16") == ("rounding", "bounded")
    assert verdict(HALF, width=width, low_format="bfloat16") == ("unexplained", "none")


def test_a_format_that_is_allowed_is_no_leave_for_another():
    layer = replace(HALF, found="bfloat16 RNE")
    assert verdict(BF16, layer, width=NARROW, low_format="bfloat16")[0] == "rounding"
    assert verdict(BF16, HALF, width=NARROW, low_format="bfloat16") == ("unexplained", "none")
    assert verdict(HALF, BF16, width=NARROW, low_format="bfloat16") == ("unexplained", "none")


def test_operands_are_not_narrow_where_the_probe_of_full_width_is_exact():
    hidden = replace(BF16, evidence="consistent")
    assert verdict(hidden, BOUNDED, width=FINE) == ("rounding", "bounded")
    assert verdict(hidden, BOUNDED, width=NARROW) == ("unexplained", "none")


def test_a_permission_that_was_not_used_is_said_so():
    assert "no operand was rounded" in judged(low_format="bfloat16").reason


@pytest.mark.parametrize("which", ["probe", "width"])
def test_a_probe_that_is_only_nearly_exact_weakens_the_evidence(which):
    found = judged(**{which: NEARLY})
    assert (found.verdict, found.evidence) == ("rounding", "consistent")
    assert "2 outputs are inexact on" in found.reason


def test_an_unlikely_probe_is_unexplained():
    assert verdict(probe=replace(NEARLY, unlikely=1)) == ("unexplained", "none")
    assert verdict(width=NARROW, normalization=True) == ("unexplained", "none")


def test_another_function_keeps_the_evidence_of_its_weakest_finding():
    found = judged(PADDING, search="semantics", call={"padding": 1}, params={"padding": "same"}, worst=9.0)
    assert (found.verdict, found.evidence) == ("semantics", "proved")
    assert "padding=1 was called, padding='same' is declared" in found.reason
    weak = replace(PADDING, parameter="stride", evidence="consistent")
    assert verdict(PADDING, weak, search="semantics", worst=9.0) == ("semantics", "consistent")
    assert verdict(WEIGHT, search="data", worst=9.0) == ("data", "proved")


def test_a_finding_within_the_bound_does_not_stand_against_two_exact_probes():
    weak = replace(PADDING, evidence="consistent")
    assert verdict(weak, search="semantics") == ("rounding", "consistent")
    assert verdict(weak, search="semantics", width=NEARLY) == ("semantics", "consistent")
    assert verdict(weak, search="semantics", worst=1.5) == ("semantics", "consistent")
    assert verdict(weak, search="semantics", worst=None) == ("semantics", "consistent")
    assert verdict(replace(WEIGHT, evidence="consistent"), search="data") == ("data", "consistent")


def test_a_call_that_does_not_repeat_itself_is_never_proved():
    assert verdict(distinct=2) == ("rounding", "consistent")
    assert verdict(PROVED, distinct=2) == ("rounding", "consistent")
    assert verdict(search="exact", distinct=2) == ("rounding", "consistent")
    assert verdict(LOST, search="unexplained", distinct=2) == ("unexplained", "none")
    assert judged(distinct=2).reason.startswith("2 different results")


def test_the_probe_comes_first_and_names_the_parameter():
    shown = explained(PADDING, verdict="semantics", reason="padding as 'same' gives")
    for search in ("exact", "rounding", "unexplained"):
        found = judged(search=search, probe=OFF, shown=shown, call={"padding": 1}, params={"padding": "same"})
        assert (found.verdict, found.evidence) == ("semantics", "proved")
        assert "padding=1 was called, padding='same' is declared" in found.reason
        assert "3 of 4 outputs are off on small integers, by up to 7; padding as 'same' gives" in found.reason
    assert verdict(PROVED, probe=OFF) == ("semantics", "proved")


def test_a_transform_in_a_low_format_is_off_on_integers_too():
    assert verdict(probe=OFF, low_format="tf32") == ("unexplained", "none")
    assert verdict(probe=OFF, low_format="tf32", call={"padding": 1}) == ("semantics", "proved")
    # What the data prove stands; what only the probe suggests may be the transform's rounding.
    assert verdict(PADDING, search="semantics", probe=OFF, low_format="tf32") == ("semantics", "proved")
    shown = explained(PADDING, verdict="semantics")
    assert verdict(probe=OFF, low_format="tf32", shown=shown) == ("unexplained", "none")


def test_another_eps_shows_where_the_variance_is_near_eps():
    off = Probe(4, 3, 3, 3, 0.2, 0.1)
    assert verdict(width=off, normalization=True) == ("semantics", "proved")
    assert probe_in_doubt(FINE, off, normalization=True) == "width"
    assert probe_in_doubt(FINE, off, normalization=False) == ""
    assert probe_in_doubt(OFF, off, normalization=True) == "probe"


def test_a_probe_of_a_normalization_is_right_where_a_recipe_gives_every_bit_of_it():
    rest = {"probe": OFF, "normalization": True}
    assert verdict(PROVED, shown=explained(PROVED), **rest) == ("rounding", "proved")
    assert verdict(PROVED, shown=explained(BOUNDED), **rest) == ("semantics", "proved")
    assert verdict(PROVED, shown=explained(PROVED), probe=OFF) == ("semantics", "proved")
