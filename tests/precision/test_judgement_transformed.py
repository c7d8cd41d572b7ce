"""Winograd's transforms are told from narrow operands by every bit, and by nothing less."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from precision.cases import load_suite
from precision.judging.budget_rows import with_transform
from precision.judging.probe import judge_probe, probe_limits
from precision.judging.transformed import winograd_words
from reference import plain_float32
from reference.winograd import NNPACK, Variant, winograd_conv2d

CASES = {case.id: case for case in load_suite("wgan")}
CONV = CASES["wgan-conv2d"]


@dataclass(frozen=True)
class Sample:
    values: Any
    whole: bool = True


def samples(variant=NNPACK):
    padding = CONV.declared("data")["padding"]
    arrays = {name: CONV.make(name) for name in ("data", "width")}
    return {
        name: Sample(winograd_conv2d(**given, variant=variant, padding=padding))
        for name, given in arrays.items()
    }


def test_a_replay_of_both_outputs_is_said():
    words = winograd_words(CONV, samples())
    assert "F(6x6, 3x3), nnpack" in words
    assert str(samples()["data"].values.size) in words


def test_the_probe_alone_would_call_it_narrow():
    assert judge_probe(probe_limits(CONV, "width"), samples()["width"].values).unlikely


@pytest.mark.parametrize("which", ["data", "width"])
def test_one_bit_elsewhere_is_another_algorithm(which):
    found = samples()
    changed = found[which].values.copy()
    changed[3, 1, 7, 9] = np.nextafter(changed[3, 1, 7, 9], np.float32(np.inf))
    assert winograd_words(CONV, {**found, which: Sample(changed)}) == ""


@pytest.mark.parametrize("variant", [Variant(4), Variant(6), Variant(6, "nnpack", rounding="RNA")], ids=str)
def test_other_transforms_and_rounded_ones_are_not_taken_for_it(variant):
    assert winograd_words(CONV, samples(variant)) == ""


def test_a_plain_sum_a_sample_and_other_ops_are_none():
    found = samples()
    plain = {
        name: Sample(plain_float32("conv2d", CONV.make(name), CONV.declared(name)))
        for name in ("data", "width")
    }
    assert winograd_words(CONV, plain) == ""
    assert winograd_words(CONV, {name: replace(each, whole=False) for name, each in found.items()}) == ""
    assert winograd_words(CASES["wgan-generator-input"], found) == ""
    assert winograd_words(replace(CONV, params={**CONV.params, "stride": 2}), found) == ""


def test_the_budget_says_what_the_replay_proves_and_nothing_more():
    sums = {"cause": "accumulation", "evidence": "bounded", "share": 0.9, "detail": "within the bound"}
    rounding = {"cause": "output rounding", "evidence": "proved", "share": 0.1, "detail": "half an ulp"}
    told = with_transform(sums, "F(6x6, 3x3) gives all 4 outputs")
    assert told == {**sums, "evidence": "proved", "detail": told["detail"]}
    assert told["detail"].startswith("F(6x6, 3x3) gives all 4 outputs")
    assert with_transform(rounding, "F(6x6, 3x3) gives all 4 outputs") == rounding
    assert with_transform(sums, "") == sums
